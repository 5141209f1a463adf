//! Runs that go well.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::place::{ELSEWHERE, LONG, Place};
use crate::slurm::said;
use crate::support::{stderr, stdout, wait_until};

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn groups_of_different_width_run_side_by_side_on_gpus_of_their_own() {
    let place = Place::new("slow 0.2", ELSEWHERE);
    let file = std::fs::read_to_string(place.path("fake.toml")).unwrap();
    std::fs::write(place.path("fake.toml"), file + "\n[matrix]\n\"engine.tensor_parallel_size\" = [1, 2, 4]\n")
        .unwrap();
    let output = place.run(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(place.arrays().len(), 3, "an array for each width");
    let starts = place.starts();
    let devices = |start: &Value| -> BTreeSet<String> {
        start["devices"].as_str().unwrap().split(',').map(str::to_owned).collect()
    };
    let mut widths: Vec<usize> = starts.iter().map(|start| devices(start).len()).collect();
    widths.sort_unstable();
    assert_eq!(widths, [1, 2, 4]);
    for (index, start) in starts.iter().enumerate() {
        for other in &starts[..index] {
            let after = |one: &Value, other: &Value| one["at"].as_f64().unwrap() > place.end_of(&other["pid"]);
            let side_by_side = start["node"] == other["node"] && !after(start, other) && !after(other, start);
            assert!(!side_by_side || devices(start).is_disjoint(&devices(other)), "{starts:?}");
        }
    }
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_run_without_anybody_who_watches_is_seen_from_anywhere() {
    let place = Place::new("slow 0.1", &format!("gpus = \"none\"\n{ELSEWHERE}"));
    let began = Instant::now();
    let output = place.run(&["--detach"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let submitted = began.elapsed();
    let id = stdout(&output).trim().to_owned();
    assert_eq!(id, place.run_id());
    wait_until("the first engine loads", LONG, || !place.starts().is_empty());
    println!("handed over after {submitted:?}, first engine started {:?} after the command", began.elapsed());
    let groups = place.run_directory().join("batch/1/groups");
    wait_until("its group is published", LONG, || std::fs::read_dir(&groups).unwrap().next().is_some());
    let list = place.ceiling(&["list"]);
    assert!(stdout(&list).contains("complete"), "{}", stdout(&list));
    let report = place.ceiling(&["report", &id]);
    assert!(stdout(&report).contains("| 99 |"), "{}", stdout(&report));
    let again = place.run(&["--resume", &id]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(stderr(&again).contains("nothing is left"), "{}", stderr(&again));
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_printed_script_can_be_submitted_by_hand() {
    let place = Place::new("well", &format!("gpus = \"none\"\n{ELSEWHERE}"));
    let printed = place.run(&["--dry-run"]);
    assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
    assert!(!place.path("results").exists(), "printing makes nothing");
    let mut sbatch = Command::new("sbatch");
    let sbatch =
        sbatch.arg("--parsable").current_dir(place.path("")).env("CEILING_WORKER", place.path("libceiling_worker.so"));
    let mut sbatch = sbatch.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    sbatch.stdin.take().unwrap().write_all(&printed.stdout).unwrap();
    assert!(sbatch.wait().unwrap().success());
    let groups = place.run_directory().join("batch/1/groups");
    let is_published = || std::fs::read_dir(&groups).is_ok_and(|mut groups| groups.next().is_some());
    wait_until("its group is published", LONG, is_published);
    let output = place.run(&["--resume", &place.run_id()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_request_that_no_node_can_meet_is_refused_and_leaves_nothing() {
    let place = Place::new("well", ELSEWHERE);
    let output = place.run(&["--set", "engine.tensor_parallel_size=64"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("sbatch says"), "{}", stderr(&output));
    let runs = glob::glob(&place.path("results/*/*").display().to_string()).unwrap().count();
    assert_eq!(runs, 0);
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn slurm_is_asked_once_in_five_seconds_at_most() {
    let place = Place::new("slow 1", &format!("gpus = \"none\"\n{ELSEWHERE}"));
    // Notes each call of squeue on its way to the real one.
    let bin = place.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let real = said("which", &["squeue"]);
    let script = format!("#!/bin/bash\ndate +%s.%N >>{}\nexec {} \"$@\"\n", place.path("polls").display(), real.trim());
    std::fs::write(bin.join("squeue"), script).unwrap();
    std::fs::set_permissions(bin.join("squeue"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let arguments = ["run", "fake.toml", "--on", "slurm", "--set", "matrix.\"engine.max_num_seqs\"=[1,2,3,4]"];
    let output = place.command(&arguments).env("PATH", path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let polls = std::fs::read_to_string(place.path("polls")).unwrap();
    let polls: Vec<f64> = polls.lines().map(|line| line.parse().unwrap()).collect();
    assert!(polls.len() >= 3, "{polls:?}");
    // Each is noted a little after it was started.
    assert!(polls.windows(2).all(|two| two[1] - two[0] > 4.5), "{polls:?}");
}
