//! Elements of a job array that end early, and are put back into the queue to go on elsewhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::executor::{behave, levels, run_with, statuses, workplace};
use crate::support::{Workplace, rewrite_json, send, stderr, wait_for, wait_until};

const SHARED: &str = "results/fake/20260101T000000Z-nogit/batch/1";
const LONG: Duration = Duration::from_secs(60);

/// Two ladders, of which a worker that is `silent at 1024` measures the first.
const LENGTHS: [&str; 2] = ["--set", "matrix.'workload.input_tokens'=[512, 1024]"];

/// The element of the only group.
fn element(place: &Workplace) -> Command {
    let plan = place.run(&["plan", "fake.toml", "--format", "json"]);
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    let group = plan["engines"][0]["label"].as_str().unwrap();
    let arguments = ["run", "fake.toml", "--shared", SHARED, "--group", group];
    let mut command = place.ceiling(&[&arguments[..], &LENGTHS].concat());
    command.env("CEILING_WORKER", place.path("libceiling_worker.so"));
    command
}

/// Preempts the element once the engine that is the `loads`-th has answered the first ladder.
fn preempt(place: &Workplace, loads: usize) {
    let mut child = element(place).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the first ladder is answered", LONG, || {
        let Some(journal) = attempts(place, "journal.jsonl").pop() else { return false };
        let text = std::fs::read_to_string(journal).unwrap();
        let is = |line: &str, entry: &str| line.starts_with(&format!("{{\"entry\":\"{entry}\""));
        text.lines().filter(|line| is(line, "loaded")).count() == loads
            && text.lines().last().is_some_and(|line| is(line, "answered"))
    });
    send(Signal::SIGTERM, child.id().into());
    assert_eq!(wait_for(&mut child, LONG).code(), Some(130));
}

/// A file of each attempt, the newest last.
fn attempts(place: &Workplace, name: &str) -> Vec<PathBuf> {
    glob::glob(&place.path(SHARED).join("attempts/*/*/fake/*").join(name).display().to_string())
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// The run, once the element has ended well and what it published is merged.
fn ended(place: &Workplace) -> Value {
    let output = element(place).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = place.run(&["report", "latest"]);
    assert_eq!(stderr(&report), "");
    place.run_json()
}

#[test]
fn an_element_that_finds_another_engine_each_time_publishes_what_the_last_one_gave() {
    let place = workplace("", "");
    for (loads, behaviour) in (1..).zip(["silent at 1024", "newer, silent at 1024", "silent at 1024"]) {
        behave(&place, behaviour);
        preempt(&place, loads);
    }
    behave(&place, "newer");
    let run = ended(&place);
    let alone = workplace("newer", "");
    run_with(&alone, &LENGTHS);
    assert_eq!(statuses(&run), ["found"; 4]);
    assert_eq!(levels(&run), levels(&alone.run_json()));
    assert_eq!(run["provenance"]["engine"]["version"], "0.1-fake");
}

#[test]
fn what_two_machines_measured_says_what_they_agree_on() {
    let place = workplace("silent at 1024", "");
    preempt(&place, 1);
    let published = attempts(&place, "run.json").pop().unwrap();
    rewrite_json(&published, |run| run["provenance"]["cpu"] = "Another CPU".into());
    let here = place.run_json()["provenance"].clone();
    behave(&place, "well");
    let run = ended(&place);
    assert_eq!((&run["provenance"]["cpu"], &run["provenance"]["cpus"]), (&Value::Null, &here["cpus"]));
}

#[test]
fn an_element_that_was_killed_before_it_had_measured_anything_costs_nothing() {
    let place = workplace("well", "");
    assert_eq!(element(&place).output().unwrap().status.code(), Some(0));
    let group =
        glob::glob(&place.path(SHARED).join("groups/*").display().to_string()).unwrap().next().unwrap().unwrap();
    let attempt = place.path(SHARED).join("attempts").join(group.file_name().unwrap()).join("1");
    std::fs::create_dir_all(attempt.parent().unwrap()).unwrap();
    std::fs::rename(&group, &attempt).unwrap();
    let journal = attempts(&place, "journal.jsonl").pop().unwrap();
    keep_the_head(&journal);
    std::fs::remove_file(journal.with_file_name("run.json")).unwrap();
    assert_eq!(statuses(&ended(&place)), ["found"; 4]);
}

fn keep_the_head(journal: &Path) {
    let text = std::fs::read_to_string(journal).unwrap();
    std::fs::write(journal, text.split_inclusive('\n').next().unwrap()).unwrap();
}
