//! Bursts of which some requests wait for others to be held and to leave.

use super::*;
use crate::search::Observation;
use crate::search::evidence::Evidence;
use crate::sim::Trial;
use crate::watch::Until;

/// Has room for 20 of the prompts below.
fn small() -> SimEngine {
    SimEngine {
        prefill_tokens_per_second: 47_000.0,
        decode_step: seconds(22.7e-3),
        decode_step_per_sequence: seconds(71e-6),
        max_num_seqs: 512,
        max_num_batched_tokens: 8192,
        kv_cache_tokens: 80_300,
        ..noisy()
    }
}

#[test]
fn no_slower_machine_is_thought_to_hold_requests_for_longer() {
    // Whoever does not have room is served 8 s later, and has 0.9 s to spare: far more than the machine's spread is of that, and less than it is
    // of the whole limit.
    let workload = workload(Load::Burst, 3300, 600, 8.0);
    let trials = Trials::run(small(), &workload, relative(0.05), &[sla(0.99, 8.87)], 60);
    assert_eq!(trials.truths[0], Concurrency::new(28));
    // 68% where the hold is taken to be a part of the pace.
    assert!(trials.coverage(0) >= 0.95, "{}", trials.coverage(0));
    assert!(trials.ended(0, Status::Undecided) <= 0.1);
}

#[test]
fn few_that_are_a_little_late_are_not_excused_by_a_slow_machine() {
    let engine = SimEngine {
        prefill_tokens_per_second: 23_700.0,
        max_num_batched_tokens: 2048,
        kv_cache_tokens: 26_566,
        ..small()
    };
    let workload = workload(Load::Burst, 1700, 600, 5.0);
    let trials = Trials::run(engine, &workload, relative(0.05), &[sla(0.9, 5.221)], 100);
    assert!(trials.coverage(0) >= 0.95, "{}", trials.coverage(0));
}

#[test]
fn what_is_served_once_there_is_room_has_the_noise_of_few_steps() {
    let engine = SimEngine { step_noise: 0.0, probe_drift: 0.0, ..small() };
    let (workload, slas) = (workload(Load::Burst, 3300, 600, 8.0), [sla(0.99, 8.87)]);
    let steps = |level: u32| {
        let (concurrency, until) = (Concurrency::new(level).unwrap(), Until::Decided(vec![0]));
        let trial = Trial { workload: &workload, slas: &slas, concurrency, until: &until, number: (0, 0) };
        let session = SimSession::new(engine, 0);
        let measured = trial.measure(session);
        let mut evidence = Evidence::new(settings(relative(0.05), 1), &slas, &workload, &session.resolved());
        evidence.add(Observation::of_trial(&trial, &measured));
        evidence.steps_once_there_was_room(&evidence.seen[0], 0)
    };
    // The last of 28 has 0.87 s left, in which the engine takes four steps with two and a half prompts each.
    assert!(steps(28).is_some_and(|steps| (3.0..5.5).contains(&steps)), "{:?}", steps(28));
    assert_eq!(steps(20), None);
}
