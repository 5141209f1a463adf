//! Engines without chance: every ceiling is exact, and costs little.

use super::*;

#[test]
fn a_ceiling_of_one_is_found_however_coarse_the_resolution() {
    let workload = workload(Load::Burst, 1500, 64, 2.0);
    for resolution in [2, 5, 100] {
        let trials = Trials::run(engine(), &workload, Resolution::Requests(resolution), &[sla(0.9, 0.1)], 1);
        let answer = trials.climbs[0].answers[0];
        assert_eq!((answer.status, answer.ceiling()), (Status::Found, trials.truths[0]), "{resolution}");
        assert_eq!(answer.ceiling(), Some(Concurrency::ONE));
    }
}

#[test]
fn ceilings_above_the_cap_pay_for_one_probe_and_no_number_of_requests_shows_that_none_fails() {
    let workload = workload(Load::Burst, 1500, 64, 0.5);
    let slas = [sla(0.9, 2.0), sla(1.0, 2.0), sla(1.0, 100.0), sla(0.9, 1000.0)];
    let trials = Trials::run(engine(), &workload, relative(0.01), &slas, 1);
    for sla in 0..slas.len() {
        assert_eq!(trials.coverage(sla), 1.0, "{sla}");
    }
    let ended: Vec<Status> = trials.climbs[0].answers.iter().map(|answer| answer.status).collect();
    assert_eq!(ended, [Status::Found, Status::Found, Status::AboveCap, Status::AboveCap]);
    // As many probes as a ladder may have, where limits that no burst comes near are taken to be what bounds cost.
    assert!(trials.certificate_ratio() <= 1.5, "{}", trials.certificate_ratio());
}

#[test]
fn a_limit_has_the_same_ceiling_alone_and_within_a_grid_and_from_either_end() {
    let workload = workload(Load::Burst, 1500, 64, 2.0);
    let grid = [sla(0.9, 1.0), sla(0.99, 1.0), sla(0.9, 3.0), sla(0.99, 3.0)];
    let exact = settings(Resolution::Requests(1), 1);
    let whole = climb(engine(), &workload, &exact, &grid, 0).answers;
    for (sla, within) in grid.iter().zip(&whole) {
        let alone = climb(engine(), &workload, &exact, &[*sla], 0).answers[0];
        let downwards = climb(engine(), &workload, &settings(Resolution::Requests(1), CAP), &[*sla], 0).answers[0];
        assert_eq!((alone, downwards), (*within, *within));
    }
}

#[test]
fn a_sustained_load_has_the_same_ceiling_when_it_is_held_twice_as_long() {
    let slas = [sla(0.95, 1.0)];
    let ceiling = |hold: f64| {
        let workload = workload(Load::Sustained, 1000, 50, hold);
        let answer = climb(engine(), &workload, &settings(Resolution::Requests(1), 1), &slas, 0).answers[0];
        assert_eq!(answer.status, Status::Found);
        f64::from(answer.ceiling().unwrap().get())
    };
    let (once, twice) = (ceiling(10.0), ceiling(20.0));
    assert!((once - twice).abs() <= 0.05 * once, "{once} and {twice}");
}

#[test]
fn without_chance_a_sustained_ceiling_costs_hardly_more_than_its_certificate() {
    // Requests share their steps and end in bunches, so that the share of late ones jumps: no line through levels tells where.
    let bunched = SimEngine {
        prefill_tokens_per_second: 20_000.0,
        decode_step: seconds(25e-3),
        decode_step_per_sequence: seconds(100e-6),
        max_num_seqs: 20,
        max_num_batched_tokens: 8192,
        ..engine()
    };
    let cramped = SimEngine { kv_cache_tokens: 60_000, ..engine() };
    for (engine, input, output) in [(bunched, 4000, 300), (cramped, 1500, 200), (engine(), 1000, 50)] {
        let workload = workload(Load::Sustained, input, output, 2.0);
        let fast = Sla { tpot: Some(seconds(0.04)), ..sla(0.95, 3.0) };
        for slas in [[sla(0.95, 3.0)], [sla(0.99, 1.0)], [fast]] {
            let trials = Trials::run(engine, &workload, Resolution::Requests(1), &slas, 1);
            let answer = trials.climbs[0].answers[0];
            assert_eq!((answer.status, answer.ceiling()), (Status::Found, trials.truths[0]), "{engine:?} {slas:?}");
            assert!(trials.certificate_ratio() <= 1.6, "{}: {engine:?} {slas:?}", trials.certificate_ratio());
        }
    }
}

#[test]
fn without_chance_a_burst_under_a_limit_on_later_tokens_costs_hardly_more_than_its_certificate() {
    let slow = SimEngine {
        prefill_tokens_per_second: 6_500.0,
        decode_step: seconds(16.4e-3),
        max_num_batched_tokens: 1547,
        ..engine()
    };
    let tpot = [Sla { tpot: Some(seconds(0.0775)), ..sla(0.95, 8.3) }];
    let trials = Trials::run(slow, &workload(Load::Burst, 2750, 23, 4.1), relative(0.05), &tpot, 1);
    assert_eq!(trials.climbs[0].answers[0].ceiling(), trials.truths[0]);
    assert!(trials.certificate_ratio() <= 2.0, "{}", trials.certificate_ratio());
}

#[test]
fn without_chance_below_one_costs_no_more_than_two_probes_of_one() {
    let slas = [sla(0.9, 0.05)];
    let workload = workload(Load::Burst, 1500, 64, 2.0);
    let trials = Trials::run(engine(), &workload, Resolution::Requests(1), &slas, 1);
    assert_eq!(trials.climbs[0].answers[0].status, Status::BelowOne);
    assert!(trials.certificate_ratio() <= 2.0, "{}", trials.certificate_ratio());
}

#[test]
fn without_chance_a_ceiling_of_a_few_costs_no_more_than_two_certificates() {
    // A step or two serve all of them: no burst that shows the pace is much smaller than the ceiling.
    let workload = workload(Load::Burst, 1000, 1, 0.0);
    for limit in (1..=22).map(|step| 0.02 * f64::from(step)) {
        let trials = Trials::run(engine(), &workload, Resolution::Requests(1), &[sla(0.99, limit)], 1);
        assert_eq!(trials.coverage(0), 1.0, "{limit}");
        let ratio = trials.certificate_ratio();
        assert!(ratio <= 2.0, "{ratio} of {:?}: {limit}", trials.truths[0]);
    }
}

#[test]
fn without_chance_a_grid_costs_a_quarter_of_what_the_reference_spends_on_it() {
    let workload = workload(Load::Burst, 1500, 64, 0.5);
    let limits = [0.7, 1.4, 2.8, 5.6];
    let grid: Vec<Sla> = limits.iter().flat_map(|ttft| [sla(0.9, *ttft), sla(0.99, *ttft)]).collect();
    let exact = settings(Resolution::Requests(1), 1);
    let bisect = SearchSettings { strategy: SearchStrategy::Bisect, ..exact };
    let guided = climb(engine(), &workload, &exact, &grid, 0);
    let alone: Vec<Climb> = grid.iter().map(|sla| climb(engine(), &workload, &bisect, &[*sla], 0)).collect();
    let reference: f64 = alone.iter().map(Climb::seconds).sum();
    for (found, reference) in guided.answers.iter().zip(&alone) {
        assert_eq!(found.ceiling(), reference.answers[0].ceiling());
    }
    assert!(guided.seconds() <= reference / 4.0, "{} of {reference}", guided.seconds());
}

#[test]
fn limits_closer_together_than_the_resolution_share_both_their_bounds() {
    let workload = workload(Load::Burst, 1500, 64, 0.5);
    let grid = [sla(0.95, 6.0), sla(0.99, 6.0), sla(0.95, 12.0), sla(0.99, 12.0)];
    let trials = Trials::run(engine(), &workload, relative(0.1), &grid, 1);
    for pair in [0, 2] {
        let [lax, strict] = [pair, pair + 1].map(|sla| trials.climbs[0].answers[sla]);
        assert!(trials.truths[pair] > trials.truths[pair + 1]);
        assert_eq!((lax.highest_pass, lax.lowest_fail), (strict.highest_pass, strict.lowest_fail));
        assert_eq!([trials.coverage(pair), trials.coverage(pair + 1)], [1.0, 1.0]);
    }
    assert!(trials.certificate_ratio() <= 1.1, "{}", trials.certificate_ratio());
}

#[test]
fn cells_that_share_a_ceiling_pay_for_it_once() {
    let engine = SimEngine {
        prefill_tokens_per_second: 7500.0,
        decode_step: seconds(2e-3),
        decode_step_per_sequence: seconds(130e-6),
        max_num_batched_tokens: 2048,
        ..engine()
    };
    let limits = || [4.4, 13.0].into_iter().flat_map(|ttft| [0.0032, 0.0089].map(|tpot| (ttft, tpot)));
    let of = |rate: f64| limits().map(move |(ttft, tpot)| Sla { tpot: Some(seconds(tpot)), ..sla(rate, ttft) });
    let slas: Vec<Sla> = [0.8, 0.95].into_iter().flat_map(of).collect();
    let trials = Trials::run(engine, &workload(Load::Burst, 4200, 16, 0.5), relative(0.05), &slas, 1);
    assert_eq!(trials.truths, [Some(Concurrency::ONE); 8]);
    assert!(trials.climbs[0].answers.iter().all(|answer| answer.ceiling() == Some(Concurrency::ONE)));
    // 9.4, where what a bound costs is reckoned once for each of the eight cells.
    assert!(trials.certificate_ratio() <= 2.0, "{}", trials.certificate_ratio());
}

#[test]
fn a_limit_a_hair_before_the_end_of_a_step_is_not_crept_up_to() {
    let engine = SimEngine {
        prefill_tokens_per_second: 30_825.748_403_065_387,
        decode_step: Seconds::ZERO,
        decode_step_per_sequence: Seconds::ZERO,
        max_num_seqs: 99,
        max_num_batched_tokens: 14_452,
        kv_cache_tokens: 20_000,
        ..engine()
    };
    // A burst of 98 just fits; every larger one fills the step to the brim, which then ends too late by 20 microseconds.
    let slas = [sla(0.538_125_269_204_862_3, 0.468_809_315_786_479_4)];
    let found = climb(engine, &workload(Load::Burst, 146, 1, 0.0), &settings(Resolution::Requests(1), 1), &slas, 0);
    assert_eq!(found.answers[0].status, Status::Found);
    assert_eq!(found.answers[0].highest_pass, Concurrency::new(98));
    assert!(found.probes.len() <= 25, "{}", found.probes.len());
}
