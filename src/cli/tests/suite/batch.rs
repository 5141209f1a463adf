//! Elements of a job array and the merging of what they publish, without a batch system: as if submitted by hand.

use crate::support::{Workplace, stderr, stdout};
use serde_json::Value;

pub const SIMULATED: &str = r#"
    schema = 1
    name = "sim"
    [engine]
    kind = "sim"
    [workload]
    input_tokens = 1000
    output_tokens = 32
    hold = "1s"
    [sla]
    ttft = ["1s", "3s"]
    [search]
    max_concurrency = 256
    resolution = "5%"
    [matrix]
    "engine.max_num_seqs" = [64, 256]
"#;

pub const SHARED: &str = "results/sim/20260101T000000Z-nogit/batch/1";
pub const GROUPS: [&str; 2] = ["sim,max_num_seqs=64", "sim,max_num_seqs=256"];

pub fn simulated() -> Workplace {
    let place = Workplace::new();
    place.write("sim.toml", SIMULATED);
    place
}

pub fn element(place: &Workplace, group: &str) {
    let output = place.run(&["run", "sim.toml", "--shared", SHARED, "--group", group]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// The run as `report` has it, which merges what is published.
fn report(place: &Workplace) -> Value {
    let output = place.run(&["report", "latest", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    serde_json::from_str(&stdout(&output)).unwrap()
}

pub fn outcome(run: &Value) -> Value {
    ["status", "cells", "ladders", "engines", "experiment"].iter().map(|key| run[key].clone()).collect()
}

pub fn local() -> Value {
    let place = simulated();
    assert_eq!(place.run(&["run", "sim.toml"]).status.code(), Some(0));
    outcome(&place.run_json())
}

#[test]
fn groups_that_were_measured_apart_add_up_to_a_local_run() {
    let place = simulated();
    element(&place, GROUPS[1]);
    let half = report(&place);
    assert_eq!(half["status"], "partial");
    assert_eq!(half["cells"].as_array().unwrap().iter().filter(|cell| cell["status"] == "found").count(), 2);
    // The plan was kept: what becomes of the file does not matter any more.
    place.write("sim.toml", &SIMULATED.replace("1000", "2000"));
    element(&place, GROUPS[0]);
    assert!(outcome(&report(&place)) == local());
    let list = place.run(&["list"]);
    assert!(stdout(&list).contains("complete"), "{}", stdout(&list));
}

#[test]
fn merging_twice_and_publishing_twice_change_nothing() {
    let place = simulated();
    GROUPS.iter().for_each(|group| element(&place, group));
    let whole = outcome(&report(&place));
    let journal = place.run_directory().join("journal.jsonl");
    let text = std::fs::read(&journal).unwrap();
    // As if the merging side had been killed before it could note what it had done, in the middle of a line.
    for mark in glob::glob(&place.path(SHARED).join("groups/*/merged").display().to_string()).unwrap() {
        std::fs::remove_file(mark.unwrap()).unwrap();
    }
    std::fs::write(&journal, &text[..text.len() / 2]).unwrap();
    GROUPS.iter().for_each(|group| element(&place, group));
    assert!(outcome(&report(&place)) == whole);
    let mut lines: Vec<_> = text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let again = std::fs::read(&journal).unwrap();
    let mut merged: Vec<_> = again.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.sort();
    merged.sort();
    assert!(merged == lines, "each line once");
    assert!(whole == local());
}

#[test]
fn a_group_that_there_is_not_is_named() {
    let place = simulated();
    let output = place.run(&["run", "sim.toml", "--shared", SHARED, "--group", "sim"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(GROUPS[0]) && stderr(&output).contains(GROUPS[1]), "{}", stderr(&output));
    let output = place.run(&["run", "sim.toml", "--shared", "results/sim", "--group", "sim"]);
    assert!(stderr(&output).contains("results/EXPERIMENT/RUN/batch/N"), "{}", stderr(&output));
}

#[test]
fn a_script_is_printed_without_slurm_and_without_a_trace() {
    let place = simulated();
    let output =
        place.run(&["run", "sim.toml", "--on", "slurm", "--dry-run", "--set", "execution.slurm.partition=h100"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for line in ["#SBATCH --partition=\"h100\"", "#SBATCH --array=0-1", &format!("  '{}'", GROUPS[0])] {
        assert!(stdout(&output).lines().any(|found| found == line), "{line}: {}", stdout(&output));
    }
    assert!(!place.path("results").exists());
}

#[test]
fn what_only_a_batch_system_can_do_is_refused_elsewhere() {
    let place = simulated();
    let output = place.run(&["run", "sim.toml", "--detach"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--on slurm"), "{}", stderr(&output));
    assert_eq!(place.run(&["run", "sim.toml"]).status.code(), Some(0));
    let output = place.run(&["cancel", "latest"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Ctrl-C"), "{}", stderr(&output));
}
