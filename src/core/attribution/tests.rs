use super::testing::{all, measured, sla, workload};
use super::*;
use crate::protocol::SchedulerSeen;

const LATE: [f64; 4] = [0.5, 0.8, 1.1, 1.4];

fn engine(max_num_seqs: u32) -> Resolved {
    Resolved { max_num_seqs: Some(max_num_seqs), ..Resolved::default() }
}

/// 3% of its KV cache hold more than a prompt.
fn roomy() -> Resolved {
    Resolved { kv_cache_tokens: Some(10_000), block_size: Some(16), ..engine(8) }
}

/// Each of its requests was preempted.
fn thrown_out(first_tokens: &[f64]) -> Measured {
    let mut probe = measured(first_tokens);
    probe.requests.iter_mut().for_each(|request| request.preemptions = 1);
    probe
}

fn saw(running: u32, kv: f64, preemptions: u32) -> SchedulerSeen {
    let (running_peak, kv_peak) = (Some(running), Share::new(kv));
    SchedulerSeen { running_peak, waiting_peak: Some(4), kv_peak, steps: 10, preemptions }
}

#[test]
fn late_first_tokens_are_put_down_to_what_was_missing() {
    let table = [
        ("all ran", saw(4, 0.5, 0), engine(8), Limit::Prefill),
        ("no more were let in", saw(2, 0.5, 0), engine(2), Limit::MaxNumSeqs),
        ("no more fitted", saw(2, 0.97, 0), engine(8), Limit::KvCache),
        ("some were thrown out again", saw(4, 1.0, 3), engine(8), Limit::KvCache),
        ("one was thrown out again", saw(4, 1.0, 1), engine(8), Limit::Prefill),
        ("the token budget let fewer run", saw(2, 0.2, 0), engine(8), Limit::Prefill),
        ("a prompt still fitted", saw(2, 0.97, 0), roomy(), Limit::Prefill),
        ("the engine said nothing", SchedulerSeen::default(), Resolved::default(), Limit::Prefill),
    ];
    for (what, scheduler, engine, limit) in table {
        let probe = Measured { scheduler, ..measured(&LATE) };
        let found = attribute(&probe, all(&probe), Audit::Clean, &sla(), &workload(), &engine).unwrap();
        assert_eq!(found.limit, limit, "{what}");
    }
}

#[test]
fn where_one_replaces_another_all_in_flight_need_run_at_once() {
    let probe = Measured { scheduler: saw(2, 0.5, 0), ..measured(&LATE) };
    let of = |load, concurrency: u32, ok_rate| {
        let (workload, sla) = (Workload { load, ..workload() }, Sla { ok_rate: Share::new(ok_rate).unwrap(), ..sla() });
        let concurrency = Concurrency::new(concurrency).unwrap();
        attribute(&probe, concurrency, Audit::Clean, &sla, &workload, &engine(2)).unwrap().limit
    };
    assert_eq!(of(Load::Sustained, 4, 1.0), Limit::MaxNumSeqs);
    assert_eq!(of(Load::Sustained, 2, 1.0), Limit::Prefill);
    // Of a burst half may come late; under a sustained load each waits its turn.
    assert_eq!(of(Load::Burst, 4, 0.5), Limit::Prefill);
    assert_eq!(of(Load::Sustained, 4, 0.5), Limit::MaxNumSeqs);
}

#[test]
fn an_end_is_late_by_waiting_where_without_the_wait_it_would_be_in_time() {
    // Each ends 1.5 s after its submission, of which the first token took 0.5 s.
    let limited = Sla { e2e: Seconds::new(1.2), ..sla() };
    let of = |queued: Option<f64>, ran, sla: &Sla| {
        let mut probe = Measured { scheduler: saw(ran, 0.5, 0), ..measured(&[0.5; 4]) };
        for request in &mut probe.requests {
            request.end = RequestEnd::Finished;
            request.queued_s = queued.and_then(Seconds::new);
        }
        attribute(&probe, all(&probe), Audit::Clean, sla, &workload(), &engine(2)).unwrap().limit
    };
    assert_eq!(of(Some(0.4), 2, &limited), Limit::MaxNumSeqs);
    assert_eq!(of(Some(0.2), 2, &limited), Limit::Decode, "it would take 1.3 s");
    assert_eq!(of(None, 2, &limited), Limit::Decode, "the first token did not take most of the time");
    assert_eq!(of(Some(0.4), 4, &limited), Limit::Decode, "all ran: none waited for a seat");
    let slow = Sla { tpot: Seconds::new(0.05), ..limited };
    assert_eq!(of(Some(0.4), 2, &slow), Limit::Decode, "its tokens would still be slow");
    let hasty = Sla { ttft: Seconds::new(0.3).unwrap(), ..sla() };
    assert_eq!(of(Some(0.4), 2, &hasty), Limit::MaxNumSeqs);
    assert_eq!(of(Some(0.1), 2, &hasty), Limit::Prefill, "its prompt alone takes 0.4 s");
    assert_eq!(of(Some(9.0), 2, &hasty), Limit::MaxNumSeqs, "by another clock");
}

#[test]
fn preemption_binds_where_most_of_those_that_missed_were_preempted() {
    let slow = Sla { tpot: Seconds::new(0.05), ttft: Seconds::new(9.0).unwrap(), ..sla() };
    let of = |probe: Measured, sla: &Sla| {
        let probe = Measured { scheduler: saw(4, 1.0, 1), ..probe };
        attribute(&probe, all(&probe), Audit::Clean, sla, &workload(), &engine(8)).unwrap().limit
    };
    let mut once = measured(&LATE);
    once.requests[3].preemptions = 1;
    assert_eq!(of(once.clone(), &slow), Limit::Decode);
    assert_eq!(of(thrown_out(&LATE), &slow), Limit::KvCache);
    once.requests[2].preemptions = 1;
    assert_eq!(of(once, &sla()), Limit::KvCache, "two of them are late");
    let mut others = thrown_out(&LATE);
    others.requests[2..].iter_mut().for_each(|request| request.preemptions = 0);
    assert_eq!(of(others, &sla()), Limit::Prefill, "those that are late were not");
}

#[test]
fn a_late_hand_over_excuses_no_slow_tokens() {
    let slow = Sla { tpot: Seconds::new(0.05), ..sla() };
    let late = Audit::HarnessBound { delay_s: Seconds::new(0.1).unwrap() };
    let of = |first_tokens: &[f64], submit_delay: f64, lag: f64| {
        let mut probe = measured(first_tokens);
        (probe.harness.submit_delay_s, probe.harness.lag_s) = (Seconds::new(submit_delay), Seconds::new(lag));
        attribute(&probe, all(&probe), late, &slow, &workload(), &engine(8)).unwrap().limit
    };
    assert_eq!(of(&[0.3; 4], 0.1, 0.0), Limit::Decode);
    assert_eq!(of(&[0.3; 4], 0.0, 0.1), Limit::Harness);
    assert_eq!(of(&[1.3; 4], 0.1, 0.0), Limit::Harness, "first tokens are late too");
}

#[test]
fn errors_and_a_late_harness_come_first() {
    let mut probe = measured(&LATE);
    let late = Audit::HarnessBound { delay_s: Seconds::new(0.1).unwrap() };
    let found = attribute(&probe, all(&probe), late, &sla(), &workload(), &engine(8)).unwrap();
    assert_eq!(found.limit, Limit::Harness);
    let lax = Sla { ttft: Seconds::new(10.0).unwrap(), e2e: Seconds::new(1.5), ..sla() };
    let found = attribute(&probe, all(&probe), late, &lax, &workload(), &engine(8)).unwrap();
    assert_ne!(found.limit, Limit::Harness, "0.1 s of 10 s");
    for request in &mut probe.requests {
        request.end = RequestEnd::Failed { reason: "no".into() };
    }
    let found = attribute(&probe, all(&probe), late, &sla(), &workload(), &engine(8)).unwrap();
    assert_eq!((found.limit, found.answered, found.errors), (Limit::EngineError, Some(4), 4));
}

#[test]
fn what_the_engine_failed_is_no_late_first_token() {
    // Of seven that are not ok three were failed, one had a late first token, and three decode too slowly.
    let mut probe = measured(&[0.1, 0.2, 0.3, 0.4, 1.5, 0.5, 0.6, 0.7]);
    for request in &mut probe.requests[..3] {
        request.first_s = None;
        request.end = RequestEnd::Failed { reason: "no".into() };
    }
    for request in &mut probe.requests[5..] {
        request.last_s = Seconds::new(request.first_s.unwrap().get() + 2.0);
    }
    let sla = Sla { tpot: Seconds::new(0.15), ..sla() };
    let found = attribute(&probe, all(&probe), Audit::Clean, &sla, &workload(), &engine(8)).unwrap();
    assert_eq!((found.limit, found.errors), (Limit::Decode, 3));
}

#[test]
fn where_the_engine_fails_some_it_counts_what_the_others_miss_first() {
    let mut probe = measured(&[0.1, 0.2, 0.8, 0.9]);
    probe.requests[0].first_s = None;
    probe.requests[0].end = RequestEnd::Failed { reason: "no".into() };
    let of = |sla: &Sla| attribute(&probe, all(&probe), Audit::Clean, sla, &workload(), &engine(8)).unwrap();
    assert_eq!((of(&sla()).limit, of(&sla()).errors), (Limit::Prefill, 1), "nearly late");
    let lax = Sla { ttft: Seconds::new(2.0).unwrap(), ..sla() };
    assert_eq!(of(&lax).limit, Limit::EngineError, "far from late");
}

#[test]
fn failures_of_many_probes_bind_where_they_alone_are_too_many() {
    let limit = |requests, errors, ok_rate| {
        attribute_to_errors(Answered { requests, errors }, Share::new(ok_rate).unwrap()).map(|by| by.limit)
    };
    assert_eq!(limit(200, 4, 0.99), Some(Limit::EngineError));
    assert_eq!(limit(200, 4, 0.95), None);
    assert_eq!(limit(200, 2, 0.99), None, "as many as are allowed");
    assert_eq!(limit(0, 0, 1.0), None);
}

#[test]
fn a_request_that_still_waits_is_not_answered() {
    let mut probe = measured(&LATE);
    probe.requests[0].first_s = None;
    probe.requests[1].end = RequestEnd::Failed { reason: "no".into() };
    assert_eq!(Answered::of(&probe.requests), Answered { requests: 3, errors: 1 });
    probe.requests[1].judged = false;
    let found = attribute(&probe, all(&probe), Audit::Clean, &sla(), &workload(), &engine(8)).unwrap();
    assert_eq!((found.answered, found.errors), (Some(2), 0), "of those that belong to the measurement");
}

#[test]
fn a_probe_that_passes_says_what_it_would_fail_by_first() {
    let of = |first_tokens: &[f64], sla: &Sla| {
        let probe = Measured { scheduler: saw(2, 0.5, 0), ..measured(first_tokens) };
        attribute(&probe, all(&probe), Audit::Clean, sla, &workload(), &engine(2)).map(|by| by.limit)
    };
    let all_sorts = [0.2, 0.5, 0.6, 0.9];
    assert_eq!(of(&all_sorts, &sla()), Some(Limit::MaxNumSeqs));
    assert_eq!(of(&[0.1, 0.2, 0.3, 0.4], &sla()), None, "far from failing");
    // Tokens come 0.1 s apart.
    let slow = Sla { tpot: Seconds::new(0.105), ttft: Seconds::new(9.0).unwrap(), ..sla() };
    assert_eq!(of(&all_sorts, &slow), Some(Limit::Decode));
    // One in four may be late: the others are in time even if they had to come sooner by a third.
    let lax = Sla { ok_rate: Share::new(0.75).unwrap(), ..sla() };
    let found =
        attribute(&measured(&all_sorts), all(&measured(&all_sorts)), Audit::Clean, &lax, &workload(), &engine(8))
            .unwrap();
    assert_eq!((found.limit, found.answered), (Limit::Prefill, Some(4)));
    let probe = measured(&all_sorts);
    let missed = missed_first(&lax, &probe.requests.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!((missed.requests.len(), missed.sla.ttft), (2, Seconds::new(0.55).unwrap()));
}

#[test]
fn the_share_of_waiting_is_a_mean_over_requests() {
    let mut probe = measured(&LATE);
    probe.requests[0].queued_s = Seconds::new(0.25);
    probe.requests[1].queued_s = Seconds::new(0.0);
    let found = attribute(&probe, all(&probe), Audit::Clean, &sla(), &workload(), &engine(8)).unwrap();
    let share = found.queued_share.unwrap();
    assert!((share - 0.25).abs() < 1e-12, "{share}");
}
