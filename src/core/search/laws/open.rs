//! What is said of a search that ends without an answer.

use super::*;
use crate::protocol::Resolved;
use crate::search::{Observation, Step, Undecided, search};
use crate::sim::Trial;
use crate::watch::Until;

#[test]
fn it_is_the_spread_also_where_the_budget_ends_with_the_last_probe_and_the_budget_where_it_ends_before() {
    let wide = SimEngine {
        decode_step: seconds(35e-3),
        decode_step_per_sequence: seconds(80e-6),
        max_num_batched_tokens: 2048,
        step_noise: 0.2,
        probe_drift: 0.3,
        ..SimEngine::unlimited(9_000.0)
    };
    let (workload, slas) = (workload(Load::Burst, 2500, 128, 4.0), [sla(0.95, 2.5)]);
    let within = |seed: u64, budget: f64| {
        let settings = SearchSettings { budget: seconds(budget), ..settings(relative(0.05), 1) };
        climb(wide, &workload, &settings, &slas, seed)
    };
    let is_open = |(_, climb): &(u64, Climb)| climb.answers[0].status == Status::Undecided;
    let open: Vec<(u64, Climb)> = (0..40).map(|seed| (seed, within(seed, 1e6))).filter(is_open).collect();
    assert!(!open.is_empty());
    for (seed, whole) in open {
        assert_eq!(whole.answers[0].undecided, Some(Undecided::Spread), "{seed}");
        let (_, _, last) = whole.probes[whole.probes.len() - 1];
        assert_eq!(within(seed, whole.seconds() - last.get() / 2.0), whole, "{seed}");
        let cut_off = within(seed, whole.seconds() - last.get() * 1.01);
        assert_eq!(cut_off.probes.len(), whole.probes.len() - 1, "{seed}");
        assert_eq!(cut_off.answers[0].undecided, Some(Undecided::Budget), "{seed}");
    }
}

#[test]
fn it_is_the_number_of_probes_where_a_ladder_has_had_all_it_may_have() {
    let workload = workload(Load::Burst, 1500, 64, 2.0);
    let (session, engine) = (SimSession::new(noisy(), 1), Resolved::default());
    // A single request tells next to nothing of either.
    let until = Until::FirstTokens;
    for (slas, most) in [(vec![sla(0.95, 1.5)], 52), (vec![sla(0.95, 1.5), sla(0.99, 4.0)], 64)] {
        let mut search = search(&settings(Resolution::Requests(1), 1), &slas, &workload, &engine);
        for number in 0..most {
            assert!(matches!(search.next(), Step::Probe { .. }), "{number} of {most}");
            assert!(search.answers().iter().all(|answer| answer.undecided.is_none()));
            let trial = Trial {
                workload: &workload,
                slas: &slas,
                concurrency: Concurrency::ONE,
                until: &until,
                number: (0, number),
            };
            search.observe(Observation::of_trial(&trial, &trial.measure(session)));
        }
        assert_eq!(search.next(), Step::Done);
        for answer in search.answers() {
            assert_eq!((answer.status, answer.undecided), (Status::Undecided, Some(Undecided::Probes)));
        }
    }
}
