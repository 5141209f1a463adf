//! What the engine's bad luck, stalls and failures, may do to a bracket.

use super::*;

#[test]
fn a_probe_in_twenty_that_stalls_neither_caps_the_answer_nor_is_explained_away() {
    let stalling = SimEngine { stall_rate: share(0.05), stall: seconds(6.0), ..noisy() };
    let trials = Trials::run(stalling, &workload(Load::Burst, 1500, 1, 0.0), relative(0.05), &[sla(0.9, 3.0)], 300);
    // 0.917, where a stall of which few steps are seen is none.
    assert!(trials.coverage(0) >= 0.94, "{}", trials.coverage(0));
    assert!(trials.ended(0, Status::Found) >= 0.85, "{}", trials.ended(0, Status::Found));
}

#[test]
fn failures_are_allowed_for_and_leave_no_level_where_they_are_too_many() {
    let failing = SimEngine { error_rate: share(0.02), ..noisy() };
    let slas = [sla(0.95, 6.0), sla(0.99, 6.0)];
    let trials = Trials::run(failing, &workload(Load::Burst, 1500, 64, 2.0), relative(0.05), &slas, 100);
    assert_eq!(trials.truths[1], None);
    assert!(trials.coverage(0) >= 0.95, "{}", trials.coverage(0));
    assert!(trials.ended(0, Status::Found) >= 0.9);
    assert!(trials.ended(1, Status::BelowOne) >= 0.9, "{}", trials.ended(1, Status::BelowOne));
}

#[test]
fn few_requests_are_not_taken_for_proof_that_the_engine_fails_none() {
    let failing = SimEngine { error_rate: share(0.02), ..engine() };
    let workload = workload(Load::Burst, 1500, 64, 0.5);
    let trials = Trials::run(failing, &workload, relative(0.05), &[sla(0.99, 1.8)], 200);
    assert_eq!(trials.truths[0], None);
    // One in four, where no burst is made for its own sake.
    assert!(trials.ended(0, Status::Found) <= 0.15, "{}", trials.ended(0, Status::Found));
    let trials = Trials::run(failing, &workload, relative(0.05), &[sla(0.95, 1.8)], 200);
    // Three in two hundred, where the first request that fails is believed to be one of many.
    assert_eq!(trials.ended(0, Status::BelowOne), 0.0);
}

#[test]
fn a_machine_without_spread_may_stall_all_the_same() {
    let stalling = SimEngine { stall_rate: share(0.05), stall: seconds(3.6), ..engine() };
    let workload = workload(Load::Burst, 1500, 64, 0.5);
    let trials = Trials::run(stalling, &workload, relative(0.05), &[sla(0.9, 1.8)], 200);
    assert!(trials.coverage(0) >= 0.9, "{}", trials.coverage(0));
}

#[test]
fn an_engine_that_fails_far_too_many_is_given_up_on() {
    let failing = SimEngine { error_rate: share(0.2), ..noisy() };
    let trials = Trials::run(failing, &workload(Load::Burst, 1500, 64, 2.0), relative(0.05), &[sla(0.9, 1.0)], 100);
    assert!(trials.ended(0, Status::BelowOne) >= 0.95, "{}", trials.ended(0, Status::BelowOne));
}

#[test]
fn an_engine_that_fails_all_or_nearly_all_lets_no_level_pass() {
    let workload = workload(Load::Burst, 1500, 64, 2.0);
    let full = SimEngine { kv_cache_tokens: 1000, ..engine() };
    let failing = |rate: f64| SimEngine { error_rate: share(rate), ..noisy() };
    for engine in [full, failing(1.0), failing(0.9)] {
        for load in [Load::Burst, Load::Sustained] {
            let workload = Workload { load, ..workload.clone() };
            let trials = Trials::run(engine, &workload, Resolution::Requests(1), &[sla(0.9, 1.0), sla(0.5, 3.0)], 50);
            assert_eq!(trials.truths, [None, None]);
            for sla in 0..2 {
                assert_eq!(trials.ended(sla, Status::BelowOne), 1.0, "{sla} of {engine:?} under {load}");
            }
        }
    }
}

#[test]
fn failures_that_make_levels_of_a_sustained_load_differ_are_allowed_for() {
    let failing = SimEngine { error_rate: share(0.02), ..engine() };
    let workload = workload(Load::Sustained, 1500, 64, 2.0);
    let trials = Trials::run(failing, &workload, relative(0.05), &[sla(0.95, 1.0), sla(0.99, 1.0)], 200);
    assert_eq!(trials.truths[1], None);
    // Three in four, where each probe is believed.
    assert!(trials.coverage(0) >= 0.95, "{}", trials.coverage(0));
    assert!(trials.ended(0, Status::Found) >= 0.9, "{}", trials.ended(0, Status::Found));
    assert!(trials.ended(1, Status::BelowOne) >= 0.95, "{}", trials.ended(1, Status::BelowOne));
}

#[test]
fn failures_do_not_hide_that_later_tokens_are_slow() {
    let failing = SimEngine { error_rate: share(0.03), ..noisy() };
    let workload = workload(Load::Burst, 1500, 256, 2.0);
    // One request alone takes longer than that.
    let endless = Sla { e2e: Some(seconds(1.0)), ..sla(0.95, 4.0) };
    let trials = Trials::run(failing, &workload, relative(0.05), &[endless], 100);
    assert_eq!((trials.truths[0], trials.ended(0, Status::BelowOne)), (None, 1.0));
    let slow = Sla { tpot: Some(seconds(0.04)), ..sla(0.95, 4.0) };
    let trials = Trials::run(failing, &workload, relative(0.05), &[slow], 100);
    assert!(trials.coverage(0) >= 0.95, "{}", trials.coverage(0));
}
