//! Runs that are handed to a batch system that fails at the worst moment, or are taken back from it.

use std::process::Stdio;
use std::time::Duration;

use crate::batch::{GROUPS, SHARED, SIMULATED, element, local, outcome, simulated};
use crate::stand_in::StandIn;
use crate::support::{stderr, wait_until};

const ON_SLURM: [&str; 4] = ["run", "sim.toml", "--on", "slurm"];
const RESUME: [&str; 5] = ["run", "sim.toml", "--on", "slurm", "--resume"];

#[test]
fn an_array_whose_id_nobody_lived_to_hear_is_found_by_its_name() {
    let slurm = StandIn::new(simulated(), &["dies-after", "well"], &["hold", "run"]);
    assert_eq!(slurm.run(&ON_SLURM).status.code(), None, "it was killed");
    let kept = slurm.submission(1);
    let name = kept["arrays"][0]["name"].as_str().unwrap();
    assert!(kept["arrays"][0]["id"].is_null());
    slurm.ends_with(0, &RESUME);
    assert_eq!(slurm.submission(1)["arrays"][0]["id"], "1");
    assert_eq!(slurm.calls("sbatch").len(), 1, "nothing was handed over twice");
    let polls = slurm.calls("squeue");
    assert!(polls[0].1.contains(&format!("--name={name}")), "{polls:?}");
    assert!(outcome(&slurm.place.run_json()) == local());
}

#[test]
fn an_array_that_was_never_taken_is_handed_over_anew() {
    let slurm = StandIn::new(simulated(), &["dies-before", "well"], &["run"]);
    assert_eq!(slurm.run(&ON_SLURM).status.code(), None, "it was killed");
    slurm.ends_with(0, &RESUME);
    assert_eq!(slurm.calls("sbatch").len(), 2);
    assert!(outcome(&slurm.place.run_json()) == local());
}

#[test]
fn what_was_not_taken_follows_what_was_and_slurm_is_not_asked_too_often() {
    let slurm = StandIn::new(simulated(), &["well", "dies-before", "well"], &["hold", "hold", "run"]);
    // Another engine that asks Slurm for something else, and so an array of its own.
    let other = SIMULATED.replace("name = \"sim\"", "name = \"other\"\nexecution.slurm.partition = \"p\"");
    let other = other.replace("kind = \"sim\"", "kind = \"sim\"\nkv_cache_tokens = 300000");
    slurm.place.write("other.toml", &other);
    let both = ["run", "sim.toml", "other.toml", "--on", "slurm"];
    assert_eq!(slurm.run(&both).status.code(), None, "it was killed");
    slurm.ends_with(0, &[&both[..], &["--resume"]].concat());
    let ids: Vec<_> =
        slurm.submission(1)["arrays"].as_array().unwrap().iter().map(|array| array["id"].clone()).collect();
    assert_eq!(ids, ["1", "2"]);
    for name in ["sim", "other"] {
        let pattern = slurm.place.path(&format!("results/{name}/*/run.json"));
        let path = glob::glob(pattern.to_str().unwrap()).unwrap().next().unwrap().unwrap();
        assert!(std::fs::read_to_string(path).unwrap().contains("\"status\": \"complete\""), "{name}");
    }
    let polls = slurm.calls("squeue").into_iter().filter(|(_, arguments)| arguments.contains("--jobs="));
    let times: Vec<f64> = polls.map(|(time, _)| time).collect();
    assert!(times.len() >= 3, "{times:?}");
    // Each is noted a little after it was started.
    assert!(times.windows(2).all(|two| two[1] - two[0] > 4.5), "{times:?}");
}

#[test]
fn jobs_that_were_taken_although_slurm_said_otherwise_are_ended() {
    let slurm = StandIn::new(simulated(), &["times-out"], &["hold"]);
    let said = slurm.ends_with(2, &ON_SLURM);
    assert!(said.contains("Socket timed out"), "{said}");
    assert_eq!(slurm.calls("scancel")[0].1, "1");
    assert_eq!(glob::glob(slurm.place.path("results/*/*").to_str().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_run_is_taken_back_once_its_jobs_are_over() {
    let slurm = StandIn::new(simulated(), &["well"], &["hold"]);
    slurm.ends_with(0, &[&ON_SLURM[..], &["--detach"]].concat());
    let run = slurm.place.run_directory();
    let shared = run.join("batch/1");
    let shared = shared.strip_prefix(slurm.place.path("")).unwrap().to_str().unwrap();
    slurm.ends_with(0, &["run", "sim.toml", "--shared", shared, "--group", GROUPS[0]]);
    let here = ["run", "sim.toml", "--resume", run.file_name().unwrap().to_str().unwrap()];
    let refused = slurm.ends_with(2, &here);
    assert!(refused.contains("job 1_1 is queued") && refused.contains("--on slurm"), "{refused}");
    slurm.behave("squeue", &["down"]);
    let refused = slurm.ends_with(2, &here);
    assert!(refused.contains("cannot be told") && refused.contains("Unable to contact"), "{refused}");
    slurm.behave("squeue", &["hold"]);
    slurm.ends_with(0, &["cancel", "latest"]);
    let said = slurm.ends_with(0, &here);
    assert!(said.contains("1 of 2 ladders are left"), "{said}");
    assert!(outcome(&slurm.place.run_json()) == local());
}

#[test]
fn a_run_that_was_submitted_by_hand_is_taken_back_once_it_is_whole() {
    let place = simulated();
    element(&place, GROUPS[0]);
    let id = SHARED.split('/').nth(2).unwrap();
    let refused = place.run(&["run", "sim.toml", "--resume", id]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("submitted by hand"), "{}", stderr(&refused));
    element(&place, GROUPS[1]);
    let whole = place.run(&["run", "sim.toml", "--resume", id]);
    assert_eq!(whole.status.code(), Some(0), "{}", stderr(&whole));
    assert!(outcome(&place.run_json()) == local());
}

#[test]
fn a_plan_of_another_version_is_refused_with_its_schema() {
    let slurm = StandIn::new(simulated(), &["well"], &["hold"]);
    slurm.ends_with(0, &[&ON_SLURM[..], &["--detach"]].concat());
    let path = slurm.place.run_directory().join("batch/1/plan.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("{\"schema\":1,", "{\"schema\":2,", 1)).unwrap();
    let said = slurm.ends_with(2, &RESUME);
    assert!(said.contains("plan.json has schema 2; this version reads schema 1"), "{said}");
}

#[test]
fn what_an_element_writes_may_be_unreadable_for_a_while() {
    let slurm = StandIn::new(simulated(), &["well"], &["hold"]);
    let mut watched = slurm.command(&ON_SLURM).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let state = slurm.place.path("slurm/1.state");
    wait_until("it is handed over", Duration::from_secs(30), || !slurm.calls("squeue").is_empty());
    let run = slurm.place.run_directory();
    let group = slurm.submission(1)["arrays"][0]["elements"][0].as_str().unwrap().to_owned();
    let attempts = run.join("batch/1/attempts").join(group);
    let attempt = attempts.join("1/sim").join(run.file_name().unwrap());
    std::fs::create_dir_all(&attempt).unwrap();
    // A file, of which no byte can be read.
    std::os::unix::fs::symlink("/proc/self/mem", attempt.join("journal.jsonl")).unwrap();
    std::fs::write(&state, "RUNNING\n").unwrap();
    let polls = slurm.calls("squeue").len();
    wait_until("it is looked at many times", Duration::from_secs(30), || {
        watched.try_wait().unwrap().is_some() || slurm.calls("squeue").len() > polls + 1
    });
    std::fs::remove_dir_all(attempts).unwrap();
    let shared = run.join("batch/1");
    let shared = shared.strip_prefix(slurm.place.path("")).unwrap().to_str().unwrap();
    GROUPS
        .iter()
        .for_each(|group| drop(slurm.ends_with(0, &["run", "sim.toml", "--shared", shared, "--group", group])));
    let watched = watched.wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(0), "{}", stderr(&watched));
    assert_eq!(stderr(&watched).matches("journal.jsonl").count(), 1, "{}", stderr(&watched));
    assert!(outcome(&slurm.place.run_json()) == local());
}
