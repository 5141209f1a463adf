//! What becomes of probes while the harness gets no CPU.

use serde_json::Value;

use crate::executor::{run_with, workplace};
use crate::support::stderr;

/// Level, audit and whether it is evidence, of each probe of a worker that is stopped for a second in each of its first
/// `starved` probes. The limit of 20 s allows the harness 0.4 s.
fn probes(starved: u32) -> Vec<(u64, &'static str, bool)> {
    let place = workplace(&format!("starved {starved}"), "");
    let arguments = ["--set", "sla.ttft=[\"20s\"]", "--set", "search.max_concurrency=4"];
    let output = run_with(&place, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(run["cells"][0]["status"], "above-cap", "{}", run["cells"]);
    run["ladders"][0]["probes"].as_array().unwrap().iter().map(seen).collect()
}

fn seen(probe: &Value) -> (u64, &'static str, bool) {
    let audit = match &probe["audit"] {
        Value::String(clean) if clean == "clean" => "clean",
        audit => {
            assert!(audit["harness-bound"]["delay_s"].as_f64().unwrap() > 0.4, "{probe}");
            "harness-bound"
        }
    };
    (probe["concurrency"].as_u64().unwrap(), audit, probe["counts"].as_bool().unwrap())
}

#[test]
fn a_harness_that_has_cpu_is_not_flagged() {
    assert_eq!(probes(0), [(1, "clean", true), (2, "clean", true), (4, "clean", true)]);
}

#[test]
fn a_probe_of_a_harness_that_was_starved_once_is_repeated() {
    let expected = [(1, "harness-bound", false), (1, "clean", true), (2, "clean", true), (4, "clean", true)];
    assert_eq!(probes(1), expected);
}

#[test]
fn probes_of_a_harness_that_is_always_starved_are_repeated_once_and_flagged() {
    let flagged = |level| (level, "harness-bound", true);
    assert_eq!(probes(9), [(1, "harness-bound", false), flagged(1), flagged(2), flagged(4)]);
}
