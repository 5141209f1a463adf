use super::*;
use crate::search::level::alone;
use crate::search::observation::UnderSla;
use crate::testing::{seconds, share, sla, workload};

fn engine() -> SimEngine {
    SimEngine {
        decode_step: seconds(6e-3),
        decode_step_per_sequence: seconds(30e-6),
        max_num_seqs: 100,
        max_num_batched_tokens: 2048,
        kv_cache_tokens: 500_000,
        ..SimEngine::unlimited(40_000.0)
    }
}

fn taught(engine: SimEngine, load: Load) -> StandIn {
    taught_under(engine, &workload(load, 1500, 50, 0.2), &[sla(0.95, 1.0)])
}

/// A stand-in that learns from first tokens of 1 and of 6 requests, and from a level of 4.
fn taught_under(engine: SimEngine, workload: &Workload, slas: &[Sla]) -> StandIn {
    let probes = [(1, Until::FirstTokens), (6, Until::FirstTokens), (4, Until::Decided(vec![0]))];
    taught_by(&probes, engine, workload, slas)
}

fn taught_by(probes: &[(u32, Until)], engine: SimEngine, workload: &Workload, slas: &[Sla]) -> StandIn {
    let session = SimSession::new(engine, 3);
    let mut stand_in = StandIn::new(workload, slas, &session.resolved());
    let seen = probes.iter().zip(0..).map(|((level, until), probe)| {
        let concurrency = Concurrency::new(*level).unwrap();
        let trial = Trial { workload, slas, concurrency, until, number: (0, probe) };
        Seen::new(Observation::of_trial(&trial, &trial.measure(session)), None)
    });
    stand_in.learn(&seen.collect::<Vec<_>>());
    stand_in
}

#[test]
fn an_engine_without_chance_is_known_to_the_last_digit() {
    for load in [Load::Burst, Load::Sustained] {
        let stand_in = taught(engine(), load);
        assert!(stand_in.is_exact(), "{stand_in:?}");
        let Times { step, sequence, prompt_token } = stand_in.times.unwrap();
        for (known, truth) in [(step, 6e-3), (sequence, 30e-6), (prompt_token, 1.0 / 40_000.0)] {
            assert!((known / truth - 1.0).abs() < 1e-6, "{known} for {truth}");
        }
    }
}

#[test]
fn what_came_after_the_first_were_held_tells_as_much() {
    // Held for less than a step: up to then, all of a burst is one step.
    let workload = workload(Load::Burst, 1500, 50, 0.01);
    let learn = |engine: SimEngine, sizes: &[u32]| {
        let probes: Vec<(u32, Until)> = sizes.iter().map(|size| (*size, Until::FirstTokens)).collect();
        let stand_in = taught_by(&probes, engine, &workload, &[sla(0.95, 1.0)]);
        (stand_in.exact, stand_in.by_chance)
    };
    assert_eq!(learn(engine(), &[1]), (false, false), "more unknowns than moments");
    assert_eq!(learn(engine(), &[1, 6]), (true, false));
    assert_eq!(learn(engine(), &[1, 6, 20]), (true, false));
    let noisy = SimEngine { step_noise: 0.01, ..engine() };
    assert_eq!(learn(noisy, &[1, 6]), (false, true));
}

#[test]
fn what_a_level_costs_is_known_before_it_is_probed() {
    let slas = [Sla { tpot: Some(seconds(0.02)), ..sla(0.95, 1.0) }];
    let workload = workload(Load::Burst, 1500, 50, 0.2);
    let stand_in = taught_under(engine(), &workload, &slas);
    for level in [2, 10, 30] {
        let (concurrency, until) = (Concurrency::new(level).unwrap(), Until::Decided(vec![0]));
        let trial = Trial { workload: &workload, slas: &slas, concurrency, until: &until, number: (0, 9) };
        let truth = trial.measure(SimSession::new(engine(), 3)).seconds.get();
        assert!((stand_in.seconds(level) / truth - 1.0).abs() < 1e-6, "{level}: {truth}");
    }
}

#[test]
fn what_it_takes_to_take_requests_in_is_known_too() {
    let slow = SimEngine { request_time: seconds(2e-3), ..engine() };
    let workload = workload(Load::Burst, 1500, 50, 0.2);
    let probes = [6, 8, 10, 20, 30, 40].map(|size| (size, Until::FirstTokens));
    let mut stand_in = taught_by(&probes, slow, &workload, &[sla(0.95, 1.0)]);
    assert_eq!(stand_in.limits.request_time, Seconds::ZERO, "nobody has said how much later bursts are");
    let seen = probes.iter().zip(0..).map(|((level, until), probe)| {
        let concurrency = Concurrency::new(*level).unwrap();
        let trial = Trial { workload: &workload, slas: &stand_in.slas, concurrency, until, number: (0, probe) };
        let mut seen = Seen::new(Observation::of_trial(&trial, &trial.measure(SimSession::new(slow, 3))), None);
        seen.take_arrivals_out(2e-3);
        seen
    });
    let seen: Vec<Seen> = seen.collect();
    stand_in.learn(&seen);
    let Times { step, sequence, prompt_token } = stand_in.times.unwrap();
    for (known, truth) in [(step, 6e-3), (sequence, 30e-6), (prompt_token, 1.0 / 40_000.0)] {
        assert!((known / truth - 1.0).abs() < 1e-6, "{known} for {truth}");
    }
    assert_eq!(stand_in.engine(0.0).request_time, seconds(2e-3));
}

#[test]
fn one_that_drifts_is_known_about_and_not_taken_for_exact() {
    let noisy = SimEngine { step_noise: 0.05, probe_drift: 0.03, ..engine() };
    let stand_in = taught(noisy, Load::Sustained);
    assert!(!stand_in.is_exact());
    let foretold = stand_in.draw(40, 0.0, Extent::Decided, 0).under;
    let truth = taught(engine(), Load::Sustained).draw(40, 0.0, Extent::Decided, 0).under;
    let median = |under: &[UnderSla]| under[0].used[under[0].used.len() / 2];
    let off = (median(&foretold) - median(&truth)).abs();
    assert!(off < 0.25, "{off}: {stand_in:?}");
}

#[test]
fn as_many_moments_as_there_are_unknowns_prove_nothing() {
    let noisy = SimEngine { step_noise: 0.05, probe_drift: 0.03, max_num_batched_tokens: 8192, ..engine() };
    // The second is served in two steps, and its first request streams until the other first tokens come.
    let probes = [(1, Until::FirstTokens), (6, Until::FirstTokens)];
    let stand_in = taught_by(&probes, noisy, &workload(Load::Burst, 1400, 50, 2.0), &[sla(0.95, 1.0)]);
    assert!(!stand_in.is_exact(), "{stand_in:?}");
}

#[test]
fn failures_make_levels_of_a_sustained_load_differ_by_as_much_as_they_do() {
    let failing = SimEngine { error_rate: share(0.1), ..engine() };
    let churn = |engine, load| taught(engine, load).sway(80, 0, 0.95).churn;
    assert_eq!((churn(engine(), Load::Sustained), churn(failing, Load::Burst)), (0.0, 0.0));
    let stand_in = taught(failing, Load::Sustained);
    assert!(stand_in.churns() && !stand_in.is_exact(), "{stand_in:?}");
    let truth =
        StandIn { limits: failing, fails: failing.error_rate, times: None, ..taught(engine(), Load::Sustained) };
    let margins: Vec<f64> =
        (0..200).map(|draw| alone(&truth.draw(80, 0.0, Extent::Decided, draw).under[0], 0.95)).collect();
    let mean = margins.iter().sum::<f64>() / 200.0;
    let spread = (margins.iter().map(|margin| (margin - mean).powi(2)).sum::<f64>() / 199.0).sqrt();
    let churn = stand_in.sway(80, 0, 0.95).churn;
    assert!((0.5..2.0).contains(&(churn / spread)), "{churn} for {spread}");
}

#[test]
fn where_a_level_takes_many_probes_few_are_simulated_and_the_others_lie_between_them() {
    let simulated = |engine: SimEngine| {
        let stand_in = taught(engine, Load::Sustained);
        let churns: Vec<f64> = (100..150).map(|level| stand_in.sway(level, 0, 0.95).churn).collect();
        (stand_in.fared.borrow().len(), churns)
    };
    assert_eq!(simulated(engine()).0, 50);
    let (count, churns) = simulated(SimEngine { error_rate: share(0.1), ..engine() });
    // From 100 to 120 by fours, then by eights.
    assert_eq!(count, 10);
    let at = |level: usize| churns[level - 100];
    assert!(at(104) > 0.0);
    assert!((at(106) - (at(104) + at(108)) / 2.0).abs() < 1e-12, "{churns:?}");
}

#[test]
fn a_level_may_be_slower_by_more_than_its_pace() {
    // Prompts take about as long as they are held: one that comes a little later is decoded beside others for much longer.
    let stretch = |engine: SimEngine, tpot: f64| {
        let workload = workload(Load::Burst, 1500, 50, 0.2);
        let tpot = [Sla { tpot: Some(seconds(tpot)), ..sla(0.95, 1.0) }];
        taught_under(engine, &workload, &tpot).sway(10, 0, 0.5).stretch
    };
    let noisy = SimEngine { step_noise: 0.05, probe_drift: 0.03, ..engine() };
    assert!(stretch(noisy, 0.02) > 1.5, "{}", stretch(noisy, 0.02));
    assert_eq!(stretch(engine(), 0.02), 1.0, "known to the last digit");
}
