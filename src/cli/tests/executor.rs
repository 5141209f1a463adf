//! The executor against a worker that is a real process but drives no engine: what it does when things go wrong.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{Workplace, is_alive, send, stderr, stdout, wait_for, wait_until};

/// A workplace with a fake worker that behaves as told, and an experiment on it.
///
/// First tokens come 30.1 ms apart, so limits of 1 s and 3 s have the ceilings 33 and 99 at an ok rate of 1.
fn workplace(behaviour: &str, execution: &str) -> Workplace {
    let place = Workplace::new();
    let python = place.write("fake_worker.py", include_str!("fake_worker.py"));
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    place.write("libceiling_worker.so", "");
    let experiment = format!(
        r#"
        schema = 1
        name = "fake"
        description = "How many?"

        [model]
        id = "some/model"

        [engine]
        kind = "vllm"
        python = "{}"
        env = {{ FAKE = "{behaviour}", FAKE_STARTS = "{}", FAKE_VERSION = "{}" }}

        [workload]
        input_tokens = 512
        output_tokens = 32
        load = "burst"
        hold = "1s"

        [sla]
        ok_rate = [1.0]
        ttft = ["1s", "3s"]

        [search]
        strategy = "bisect"
        max_concurrency = 256
        resolution = 1

        [execution]
        {execution}
        "#,
        python.display(),
        place.path("starts").display(),
        env!("CARGO_PKG_VERSION"),
    );
    place.write("fake.toml", &experiment);
    place
}

fn run(place: &Workplace) -> Output {
    place.ceiling(&["run", "fake.toml"]).env("CEILING_WORKER", place.path("libceiling_worker.so")).output().unwrap()
}

/// What the fake workers noted when they started.
fn starts(place: &Workplace) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path("starts")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// No worker, and nothing that one started, is left.
fn assert_nothing_is_left(place: &Workplace) {
    for start in starts(place) {
        for who in ["pid", "child"] {
            let pid = start[who].as_u64().unwrap();
            wait_until(&format!("the {who} of a worker is gone"), Duration::from_secs(10), || !is_alive(pid));
        }
    }
}

fn statuses(run: &Value) -> Vec<&str> {
    run["cells"].as_array().unwrap().iter().map(|cell| cell["status"].as_str().unwrap_or("none")).collect()
}

fn reason(run: &Value) -> &str {
    run["cells"][0]["failure"]["reason"].as_str().unwrap()
}

#[test]
fn a_plan_is_carried_out_with_one_load_and_published() {
    let place = workplace("well", "");
    let output = run(&place);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(run["status"], "complete");
    assert_eq!(run["simulated"], false);
    assert_eq!(statuses(&run), ["found", "found"]);
    assert_eq!([&run["cells"][0]["ceiling"], &run["cells"][1]["ceiling"]], [33, 99]);
    assert_eq!(run["engines"][0]["loads"], 1);
    assert_eq!(run["provenance"]["engine"], serde_json::json!({ "kind": "vllm", "version": "0.0-fake" }));
    assert!(run["ladders"][0]["certificate_ratio"].as_f64().unwrap() > 1.0);
    assert!(stdout(&output).contains("33"), "{}", stdout(&output));
    assert_nothing_is_left(&place);

    let cells = std::fs::read_to_string(place.run_directory().join("cells.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(cells.as_bytes());
    let head = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let column = |name: &str| head.iter().position(|head| head == name).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(&rows[0][column("ceiling")], "33");
    assert_eq!(&rows[1][column("ttft_limit_s")], "3");
    assert!(std::fs::read_to_string(place.run_directory().join("logs")).is_err(), "logs is a directory");

    assert!(std::fs::read(place.run_directory().join("requests.parquet")).unwrap().ends_with(b"PAR1"));
}

#[test]
fn a_probe_stops_once_its_verdicts_stand() {
    let place = workplace("well", "");
    assert_eq!(run(&place).status.code(), Some(0));
    // Each probe waits for a first token only as long as its laxest open limit allows: none is longer than that and a hold.
    let run = place.run_json();
    for probe in run["ladders"][0]["probes"].as_array().unwrap() {
        assert!(probe["seconds"].as_f64().unwrap() <= 4.0, "{probe}");
    }
}

#[test]
fn an_engine_that_does_not_load_costs_its_cells_and_says_why() {
    let place = workplace("load-fails", "retries = 1");
    let output = run(&place);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(run["status"], "partial");
    assert_eq!(statuses(&run), ["failed", "failed"]);
    assert!(reason(&run).contains("the weights are upside down"), "{}", reason(&run));
    assert_eq!(starts(&place).len(), 2, "one retry");
    let log = run["cells"][0]["failure"]["log"].as_str().unwrap();
    assert!(std::fs::read_to_string(place.path("results").join(log)).unwrap().contains("this goes to the log"));
    assert!(stdout(&output).contains("the weights are upside down"), "{}", stdout(&output));
    assert_nothing_is_left(&place);
}

#[test]
fn a_wrong_argument_is_not_tried_again() {
    let place = workplace("bad-argument", "retries = 3");
    assert_eq!(run(&place).status.code(), Some(1));
    assert_eq!(starts(&place).len(), 1);
    assert!(reason(&place.run_json()).contains("max_num_sqs"));
}

#[test]
fn a_worker_that_dies_keeps_what_was_measured() {
    let place = workplace("dies", "retries = 0");
    assert_eq!(run(&place).status.code(), Some(1));
    let run = place.run_json();
    assert_eq!(run["ladders"][0]["probes"].as_array().unwrap().len(), 2);
    assert_eq!(statuses(&run), ["failed", "failed"]);
    assert!(reason(&run).contains("ended with exit code 7"), "{}", reason(&run));
    assert!(reason(&run).contains("the cat sat on the cable"), "{}", reason(&run));
    assert_eq!(run["cells"][0]["highest_pass"], 2);
    assert_nothing_is_left(&place);
}

#[test]
fn a_ladder_goes_on_with_another_engine() {
    let place = workplace("dies-once", "retries = 1");
    let output = run(&place);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(statuses(&run), ["found", "found"]);
    assert_eq!(run["engines"][0]["loads"], 2);
    let levels: Vec<u64> =
        run["ladders"][0]["probes"].as_array().unwrap().iter().map(|p| p["concurrency"].as_u64().unwrap()).collect();
    assert_eq!(levels[..4], [1, 2, 4, 8], "no probe was repeated");
    assert_nothing_is_left(&place);
}

#[test]
fn an_engine_that_loads_for_too_long_is_ended() {
    let place = workplace("load-hangs", "engine_timeout = \"3s\"\nretries = 0");
    assert_eq!(run(&place).status.code(), Some(1));
    assert!(reason(&place.run_json()).contains("execution.engine_timeout"));
    assert_nothing_is_left(&place);
}

#[test]
fn a_ladder_that_takes_too_long_is_ended() {
    let place = workplace("falls-silent", "cell_timeout = \"500ms\"\nretries = 0");
    assert_eq!(run(&place).status.code(), Some(1));
    let run = place.run_json();
    assert!(reason(&run).contains("execution.cell_timeout"), "{}", reason(&run));
    assert_eq!(run["ladders"][0]["probes"].as_array().unwrap().len(), 2);
    assert_nothing_is_left(&place);
}

#[test]
fn a_worker_of_another_version_says_what_to_build() {
    let place = workplace("wrong-version", "retries = 3");
    assert_eq!(run(&place).status.code(), Some(1));
    assert!(reason(&place.run_json()).contains("cargo build --release"));
    assert_eq!(starts(&place).len(), 1);
}

#[test]
fn a_worker_that_babbles_is_ended() {
    let place = workplace("babbles", "retries = 0");
    assert_eq!(run(&place).status.code(), Some(1));
    assert!(reason(&place.run_json()).contains("cannot be read"));
    assert_nothing_is_left(&place);
}

#[test]
fn signals_end_a_run_at_once_and_keep_what_was_measured() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let place = workplace("falls-silent", "");
        let mut child = place
            .ceiling(&["run", "fake.toml"])
            .env("CEILING_WORKER", place.path("libceiling_worker.so"))
            .spawn()
            .unwrap();
        let log = || glob::glob(&format!("{}/*/*/logs/*.log", place.path("results").display())).unwrap().next();
        let is_silent =
            || log().is_some_and(|log| std::fs::read_to_string(log.unwrap()).unwrap().contains("silent now"));
        wait_until("the third probe runs", Duration::from_secs(20), is_silent);
        send(signal, child.id().into());
        let status = wait_for(&mut child, Duration::from_secs(15));
        assert_eq!(status.code(), Some(130), "{signal}");
        let run = place.run_json();
        assert_eq!(run["status"], "interrupted");
        assert_eq!(run["ladders"][0]["probes"].as_array().unwrap().len(), 2);
        assert_nothing_is_left(&place);
    }
}

#[test]
fn a_missing_library_starts_nothing() {
    let place = workplace("well", "");
    let output = place.ceiling(&["run", "fake.toml"]).env("CEILING_WORKER", "/nowhere/lib.so").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cargo build"), "{}", stderr(&output));
    assert!(!place.path("starts").exists() && !place.path("results").exists());
}

#[test]
fn gpus_narrow_what_the_caller_can_see() {
    let place = workplace("well", "gpus = [1]");
    let output = place
        .ceiling(&["run", "fake.toml"])
        .env("CEILING_WORKER", place.path("libceiling_worker.so"))
        .env("CUDA_VISIBLE_DEVICES", "4,6")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(starts(&place)[0]["devices"], "6");
}
