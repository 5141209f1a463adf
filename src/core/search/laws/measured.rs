//! Searches on what a real engine showed: the probes of `results/llama-8b-shape`, as the run's journal has them.

use super::*;
use crate::record::{Entry, Run};
use crate::search::{Answer, Guided, Observation, Search, Step};

/// An H200 under bursts of prompts of 5,000 tokens.
const JOURNAL: &str = include_str!("h200.jsonl");
const RUN: &str = include_str!("../../../../results/llama-8b-shape/20261126T214225Z-f3bec17/run.json");

#[test]
fn a_gpu_that_takes_its_time_to_take_requests_in_does_not_drift() {
    let run: Run = serde_json::from_str(RUN).unwrap();
    let (ladder, engine) = (&run.ladders[0], run.engines[0].resolved.as_ref().unwrap());
    let mut search = Guided::new(ladder.search, &ladder.slas, &ladder.workload, engine);
    for line in JOURNAL.lines().skip(1) {
        let Entry::Probed(probe) = serde_json::from_str(line).unwrap() else { continue };
        let (until, measured) = (&probe.until, &probe.measured);
        search.observe(Observation::new(&ladder.workload, &ladder.slas, probe.concurrency, until, measured));
    }
    let bracket = |answer: &Answer| {
        let level = |bound: Option<Concurrency>| bound.map_or(0, Concurrency::get);
        (level(answer.highest_pass), level(answer.lowest_fail))
    };
    let brackets: Vec<(u32, u32)> = search.answers().iter().map(bracket).collect();
    // 1 s, 3 s and 10 s at an ok rate of 95%, and at 99%. Where all that a large burst comes later is drift, 6 to 8 and 72 to 76 at 99%,
    // and it ends with 75 to 81 at 95%; now it would go on there, since a narrower bracket is likely.
    assert_eq!(brackets, [(7, 8), (22, 24), (72, 81), (7, 8), (21, 23), (72, 75)]);
    assert!(matches!(search.next(), Step::Probe { .. }), "{:?}", search.next());
}
