//! What goes wrong, and costs nothing.

use std::time::Duration;

use crate::place::{ELSEWHERE, LONG, Place, parent};
use crate::slurm::said;
use crate::support::{is_alive, send, stderr, wait_for, wait_until};
use nix::sys::signal::Signal;

fn cpu(more: &str) -> String {
    format!("gpus = \"none\"\n{ELSEWHERE}\n{more}")
}

/// A `PATH` on which `sbatch` is this script, which finds the real one as `$sbatch`.
fn with_sbatch(place: &Place, script: &str) -> String {
    let bin = place.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let text = format!("#!/bin/bash\nsbatch={}\n{script}\n", said("which", &["sbatch"]).trim());
    std::fs::write(bin.join("sbatch"), text).unwrap();
    std::fs::set_permissions(bin.join("sbatch"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_killed_worker_is_replaced_within_its_element() {
    let place = Place::new("slow 0.5", &cpu(""));
    let watched = place.start(&[]);
    place.wait_for_probes(3);
    send(Signal::SIGKILL, place.starts()[0]["pid"].as_u64().unwrap());
    watched.ends_with(0);
    assert_eq!(place.run_json()["engines"][0]["loads"], 2);
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_killed_element_is_submitted_again_and_goes_on() {
    let place = Place::new("slow 0.5", &cpu("retries = 1"));
    let watched = place.start(&[]);
    place.wait_for_probes(3);
    send(Signal::SIGKILL, parent(place.starts()[0]["pid"].as_u64().unwrap()));
    let said = watched.ends_with(0);
    assert!(said.contains("submitting it again"), "{said}");
    assert_eq!(place.arrays().len(), 2);
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn what_is_refused_when_it_is_submitted_again_is_asked_for_until_it_is_taken() {
    let place = Place::new("slow 0.5", &cpu("retries = 1"));
    // Refuses the second and the third time.
    let count = "echo >> calls; [[ $(wc -l < calls) =~ ^[23]$ ]] && { echo 'too many jobs for now' >&2; exit 1; }";
    let path = with_sbatch(&place, &format!("cd {}\n{count}\nexec $sbatch \"$@\"", place.path("").display()));
    let watched = Place::start_as(place.command(&["run", "fake.toml", "--on", "slurm"]).env("PATH", path));
    place.wait_for_probes(3);
    send(Signal::SIGKILL, parent(place.starts()[0]["pid"].as_u64().unwrap()));
    let said = watched.ends_with(0);
    assert!(said.contains("too many jobs for now") && said.contains("asking again"), "{said}");
    assert_eq!(place.arrays().len(), 2);
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_killed_submitting_side_costs_nothing() {
    let place = Place::new("slow 0.7", &cpu(""));
    let mut watched = place.start(&[]);
    place.wait_for_probes(2);
    send(Signal::SIGKILL, watched.child.id().into());
    wait_for(&mut watched.child, LONG);
    let watched = place.start(&["--resume", &place.run_id()]);
    place.wait_for_probes(4);
    send(Signal::SIGINT, watched.child.id().into());
    let said = watched.ends_with(130);
    assert!(said.contains("the jobs go on"), "{said}");
    let output = place.run(&["--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(place.starts().len(), 1, "the job was never disturbed");
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn an_array_whose_id_nobody_lived_to_hear_is_found_by_its_name() {
    let place = Place::new("slow 0.5", &cpu(""));
    // Hands over as the real one does, and ends whoever asked for it before they hear of it.
    let path = with_sbatch(&place, "$sbatch \"$@\"\nkill -KILL $PPID");
    let killed = place.command(&["run", "fake.toml", "--on", "slurm"]).env("PATH", path).output().unwrap();
    assert_eq!(killed.status.code(), None, "{}", stderr(&killed));
    let output = place.run(&["--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("whose jobs are in Slurm's hands"), "{}", stderr(&output));
    assert_eq!((place.arrays().len(), place.starts().len()), (1, 1), "nothing was handed over twice");
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_requeued_element_goes_on_where_it_was() {
    let place = Place::new("slow 0.7", &cpu(""));
    let watched = place.start(&[]);
    place.wait_for_probes(3);
    said("scontrol", &["requeue", &format!("{}_0", place.arrays()[0])]);
    watched.ends_with(0);
    assert_eq!(place.starts().len(), 2);
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_cancelled_run_keeps_what_was_measured_and_can_go_on() {
    let place = Place::new("slow 0.7", &cpu(""));
    let output = place.run(&["--detach"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    place.wait_for_probes(3);
    let cancelled = place.ceiling(&["cancel", &place.run_id()]);
    assert_eq!(cancelled.status.code(), Some(0), "{}", stderr(&cancelled));
    place.assert_nothing_is_left();
    let run = place.run_json();
    assert_eq!(run["status"], "interrupted");
    assert!(run["ladders"][0]["probes"].as_array().unwrap().len() >= 3);
    let output = place.run(&["--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_run_is_taken_back_once_its_jobs_are_over() {
    let place = Place::new("slow 0.7", &cpu(""));
    let output = place.run(&["--detach"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    place.wait_for_probes(3);
    let here = || place.ceiling(&["run", "fake.toml", "--on", "local", "--resume"]);
    let refused = here();
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains(&format!("job {}_0 is running", place.arrays()[0])), "{}", stderr(&refused));
    let cancelled = place.ceiling(&["cancel", &place.run_id()]);
    assert_eq!(cancelled.status.code(), Some(0), "{}", stderr(&cancelled));
    let output = here();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_run_that_is_watched_ends_when_it_is_cancelled() {
    let place = Place::new("slow 0.7", &cpu(""));
    let watched = place.start(&[]);
    place.wait_for_probes(2);
    let cancelled = place.ceiling(&["cancel", &place.run_id()]);
    assert_eq!(cancelled.status.code(), Some(0), "{}", stderr(&cancelled));
    watched.ends_with(130);
    assert_eq!(place.run_json()["status"], "interrupted");
    place.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_time_limit_puts_an_element_back_and_loses_nothing() {
    // Slurm warns a minute before two minutes are over, or up to half a minute earlier.
    let place = Place::new("slow 4", &cpu("slurm.time = \"2m\""));
    let output = place.run(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(place.starts().len(), 2, "it was put back once");
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_job_that_completes_without_a_result_has_failed() {
    let place = Place::new("well", &cpu("retries = 0\nslurm.setup = [\"exit 0\"]"));
    let output = place.run(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(run["cells"][0]["status"], "failed");
    let reason = run["cells"][0]["failure"]["reason"].as_str().unwrap();
    assert!(reason.contains("completed, but it published no result"), "{reason}");
    // Going on measures what failed.
    let output = place.run(&["--resume", "--set", "execution.slurm.setup=[]"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(place.run_json()["status"], "complete");
}

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn an_attempt_that_comes_too_late_changes_nothing() {
    let place = Place::new("slow 0.5", &cpu(""));
    let watched = place.start(&[]);
    place.wait_for_probes(2);
    // A second attempt at the same group beside the first, as an orphan of a lost node would be.
    let script = place.run_directory().join("batch/1/1.sh");
    let job = said(
        "sbatch",
        &[
            "--parsable",
            &format!("--export=ALL,CEILING_WORKER={}", place.path("libceiling_worker.so").display()),
            script.to_str().unwrap(),
        ],
    );
    watched.ends_with(0);
    let is_over = || !said("squeue", &["--noheader"]).contains(job.trim());
    wait_until("the other attempt is over", LONG, is_over);
    let before = place.run_json();
    place.ceiling(&["report", "latest"]);
    assert_eq!(place.run_json()["ladders"], before["ladders"]);
    for start in place.starts() {
        wait_until("a worker is gone", Duration::from_secs(20), || !is_alive(start["pid"].as_u64().unwrap()));
    }
    place.assert_like_a_local_run();
}
