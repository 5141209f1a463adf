//! Engines that are not, when a run goes on, what they were.

use serde_json::Value;

use crate::executor::{behave, levels, run, run_two_ladders, run_with, starts, statuses, workplace};
use crate::support::{read_requests, rewrite_json, stderr};

#[test]
fn an_engine_that_changed_is_measured_again() {
    let place = workplace("dies", "retries = 0");
    run(&place);
    assert_eq!(levels(&place.run_json()), [1, 2]);
    behave(&place, "newer");
    let output = run_with(&place, &["--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("version was 0.0-fake, is 0.1-fake"), "{}", stderr(&output));
    let resumed = place.run_json();
    let whole = workplace("well", "retries = 0");
    assert_eq!(run(&whole).status.code(), Some(0));
    assert_eq!(levels(&resumed), levels(&whole.run_json()), "all levels again, none of the old engine's");
    assert_eq!(resumed["ladders"][0]["probes"][0]["number"], 2, "no prompt comes twice");
    assert_eq!(resumed["provenance"]["engine"]["version"], "0.1-fake");
    let requests = read_requests(&place.run_directory().join("requests.parquet"));
    let rows: u64 = requests["probes"].as_array().unwrap().iter().map(|probe| probe[3].as_u64().unwrap()).sum();
    assert_eq!(rows, levels(&resumed).iter().sum::<u64>(), "what is published, and no more");
}

#[test]
fn what_an_engine_measured_that_is_no_more_is_measured_again_whoever_saw_it_change() {
    let place = workplace("well", "retries = 0");
    let lengths = ["--set", "matrix.'workload.input_tokens'=[512, 1024]"];
    let with = |more: &[&str]| {
        let output = run_with(&place, &[&lengths, more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stderr(&output)
    };
    with(&["--only", "input_tokens=512"]);
    behave(&place, "newer");
    // Of the ladder that was measured before, this knows nothing.
    with(&["--resume", "--only", "input_tokens=1024"]);
    let said = with(&["--resume"]);
    assert!(said.contains("1 other ladders are measured again"), "{said}");
    let run = place.run_json();
    assert_eq!((run["status"].as_str(), statuses(&run).len()), (Some("complete"), 4));
    assert_eq!(run["provenance"]["engine"]["version"], "0.1-fake");
    let first_number = |ladder: &Value| ladder["probes"][0]["number"].as_u64().unwrap();
    let numbers: Vec<u64> = run["ladders"].as_array().unwrap().iter().map(first_number).collect();
    assert!(numbers[0] > 0 && numbers[1] == 0, "{numbers:?}");
}

#[test]
fn what_an_engine_measured_for_another_experiment_is_measured_again_too() {
    let place = workplace("dies at 2048", "retries = 0");
    let text = std::fs::read_to_string(place.path("fake.toml")).unwrap();
    let other = text.replace("\"fake\"", "\"other\"").replace("input_tokens = 512", "input_tokens = 2048");
    place.write("other.toml", &other);
    let run = |files: &[&str], more: &[&str]| {
        let arguments = [&["run"], files, more].concat();
        let output = place.ceiling(&arguments).env("CEILING_WORKER", place.path("libceiling_worker.so")).output();
        output.unwrap()
    };
    let both = ["fake.toml", "other.toml"];
    assert_eq!(run(&both, &[]).status.code(), Some(1));
    behave(&place, "newer dies");
    assert_eq!(run(&["other.toml"], &["--resume"]).status.code(), Some(1));
    behave(&place, "newer");
    let output = run(&both, &["--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for published in glob::glob(&format!("{}/*/*/run.json", place.path("results").display())).unwrap() {
        let run: Value = serde_json::from_slice(&std::fs::read(published.unwrap()).unwrap()).unwrap();
        assert_eq!(run["provenance"]["engine"]["version"], "0.1-fake");
        let numbers = run["ladders"][0]["probes"].as_array().unwrap();
        let is_again = numbers[0]["number"].as_u64().unwrap() > 0;
        assert_eq!(is_again, run["experiment"]["name"] == "fake", "{run}");
    }
}

#[test]
fn a_ladder_that_fails_after_its_engine_changed_costs_no_other() {
    let place = workplace("dies at 1024", "retries = 1");
    let lengths = ["--set", "matrix.'workload.input_tokens'=[512, 1024, 2048]"];
    let output = run_with(&place, &lengths);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    // One ladder is left, and all are begun anew: of these two fail for themselves.
    behave(&place, "newer, dies at 512 and 1024");
    let output = run_with(&place, &[&lengths as &[&str], &["--resume"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(statuses(&run), ["failed", "failed", "failed", "failed", "found", "found"], "{}", stderr(&output));
}

#[test]
fn an_engine_that_changes_twice_gives_no_probe_an_old_number() {
    let place = workplace("dies", "retries = 0");
    run(&place);
    for behaviour in ["newer dies", "newest"] {
        behave(&place, behaviour);
        run_with(&place, &["--resume"]);
    }
    let run = place.run_json();
    assert_eq!(run["provenance"]["engine"]["version"], "0.2-fake");
    assert_eq!(
        (run["status"].as_str(), run["ladders"][0]["probes"][0]["number"].as_u64()),
        (Some("complete"), Some(2))
    );
}

#[test]
fn an_engine_that_is_another_each_time_and_dies_is_given_up() {
    let place = workplace("never the same", "retries = 1");
    assert_eq!(run_two_ladders(&place).status.code(), Some(1));
    assert_eq!(statuses(&place.run_json()), ["failed"; 4]);
    assert_eq!(starts(&place).len(), 4);
}

#[test]
fn an_engine_on_another_processor_is_measured_again() {
    // The second is of a version that did not say what processor it was.
    for before in [Some("Another CPU"), None] {
        let place = workplace("dies", "retries = 0");
        let on_the_processor = |more: &[&str]| {
            let mut command = place.ceiling(&[&["run", "fake.toml"], more].concat());
            command.env("CEILING_WORKER", place.path("libceiling_worker.so")).env("FAKE_DEVICES", "cpu");
            command.output().unwrap()
        };
        on_the_processor(&[]);
        if place.run_json()["provenance"]["cpu"].is_null() {
            // Not every kernel names its processor.
            return;
        }
        let journal = place.run_directory().join("journal.jsonl");
        let text = std::fs::read_to_string(&journal).unwrap();
        let measured_there = |line: &str| {
            let mut entry: Value = serde_json::from_str(line).unwrap();
            if entry["entry"] != "loaded" {
                return line.to_owned();
            }
            entry["resolved"].as_object_mut().unwrap().shift_remove("cpu");
            before.into_iter().for_each(|cpu| entry["resolved"]["cpu"] = cpu.into());
            entry.to_string()
        };
        let lines: String = text.lines().map(|line| measured_there(line) + "\n").collect();
        std::fs::write(&journal, lines).unwrap();
        behave(&place, "well");
        let output = on_the_processor(&["--resume"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let is_again = before.is_some();
        assert_eq!(stderr(&output).contains("processor was Another CPU, is "), is_again, "{}", stderr(&output));
        assert_eq!(place.run_json()["ladders"][0]["probes"][0]["number"], if is_again { 2 } else { 0 });
    }
}

#[test]
fn a_run_that_went_on_on_another_machine_says_what_both_agree_on() {
    let place = workplace("dies", "retries = 0");
    run(&place);
    let here = place.run_json()["provenance"].clone();
    let measured_there =
        || rewrite_json(&place.run_directory().join("run.json"), |run| run["provenance"]["cpu"] = "Another CPU".into());
    measured_there();
    behave(&place, "well");
    let said = stderr(&run_with(&place, &["--resume"]));
    assert!(said.contains("CPU was Another CPU, is "), "{said}");
    let run = place.run_json();
    assert_eq!((&run["provenance"]["cpu"], &run["provenance"]["cpus"]), (&Value::Null, &here["cpus"]));
    // Where nothing is left to measure, all of it was measured there.
    measured_there();
    run_with(&place, &["--resume", run["run_id"].as_str().unwrap()]);
    assert_eq!(place.run_json()["provenance"]["cpu"], "Another CPU");
}
