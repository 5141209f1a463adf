//! What a plan will cost in engine time, before anything is measured: from earlier runs where there are any, else by a
//! rule of thumb.

use std::collections::{BTreeSet, HashMap};

use super::{EngineGroup, Key, Ladder, Plan};
use crate::experiment::{Engine, Strategy};
use crate::load::Load;
use crate::units::Seconds;

/// The rule of thumb, in words for people.
pub const RULE: &str = "An engine of vLLM loads in 90 s. For each TTFT limit of a ladder a search makes 6 probes (bisect: one, \
                        and one more for each doubling up to the highest concurrency) that each last as long as the limit and \
                        the hold, or as the limit on the whole request; a sustained load takes twice as long. A \
                        ladder whose budget is used up begins no other probe. A simulated engine takes no time.";

/// Load of a vLLM: 65 to 100 s were seen on two CPU cores.
const LOAD_SECONDS: f64 = 90.0;

/// Probes near the ceiling that a guided search makes for one TTFT limit: 18 were seen for three limits.
const GUIDED_PROBES: f64 = 6.0;

/// What earlier runs took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurements {
    /// Load times by key of the engine group.
    pub loads: HashMap<Key, Seconds>,
    /// Engine time of all probes by key of the ladder.
    pub ladders: HashMap<Key, Seconds>,
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// An earlier run took as long.
    Measured,
    /// [`RULE`].
    Rule,
}

/// A length of time, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    /// Engine time.
    pub seconds: Seconds,
    /// Where it comes from.
    pub basis: Basis,
}

/// What a plan will cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// The load of each group, in the order of the plan.
    pub loads: Vec<Guess>,
    /// The probes of each ladder, in the order of the plan.
    pub ladders: Vec<Guess>,
}

impl Estimate {
    /// Engine time of everything, one group after another.
    pub fn total(&self) -> Seconds {
        let sum = self.loads.iter().chain(&self.ladders).map(|guess| guess.seconds.get()).sum();
        Seconds::new(sum).unwrap_or(Seconds::ZERO)
    }

    /// How many of the figures are measured, of how many.
    pub fn measured(&self) -> (usize, usize) {
        let all = || self.loads.iter().chain(&self.ladders);
        (all().filter(|guess| guess.basis == Basis::Measured).count(), all().count())
    }
}

/// Estimates what a plan will cost.
pub fn estimate(plan: &Plan, earlier: &Measurements) -> Estimate {
    let guess = |measured: Option<&Seconds>, rule: f64| match measured {
        Some(seconds) => Guess { seconds: *seconds, basis: Basis::Measured },
        None => Guess { seconds: Seconds::new(rule).unwrap_or(Seconds::ZERO), basis: Basis::Rule },
    };
    // What was measured of a simulated engine are seconds of its own clock.
    let is_real = |group: &EngineGroup| matches!(*group.engine, Engine::Vllm(_));
    let load =
        |group: &EngineGroup| guess(earlier.loads.get(&group.key).filter(|_| is_real(group)), load_seconds(group));
    let ladder = |ladder: &Ladder| {
        let measured = earlier.ladders.get(&ladder.key).filter(|_| is_real(&plan.groups[ladder.group]));
        guess(measured, ladder_seconds(plan, ladder))
    };
    Estimate { loads: plan.groups.iter().map(load).collect(), ladders: plan.ladders.iter().map(ladder).collect() }
}

fn load_seconds(group: &EngineGroup) -> f64 {
    match *group.engine {
        Engine::Vllm(_) => LOAD_SECONDS,
        Engine::Sim(_) => 0.0,
    }
}

/// Probes at the ceiling of each TTFT limit, none longer than its requests may take.
fn ladder_seconds(plan: &Plan, ladder: &Ladder) -> f64 {
    if matches!(*plan.groups[ladder.group].engine, Engine::Sim(_)) {
        return 0.0;
    }
    let slas = || ladder.cells.iter().map(|cell| plan.cells[*cell].sla);
    // Under a sustained load that is how long those that come in are judged, also where they are watched to their end.
    let tail = match ladder.workload.load {
        Load::Burst => ladder.hold(&plan.cells),
        Load::Sustained => ladder.workload.hold,
    };
    let tail = tail.laid_down().get();
    let limits: BTreeSet<Seconds> = slas().map(|sla| sla.deadline()).collect();
    let probes = match ladder.search.strategy {
        Strategy::Guided => GUIDED_PROBES,
        Strategy::Bisect => {
            let (start, most) = (ladder.search.start_concurrency.get(), ladder.search.max_concurrency.get());
            1.0 + (f64::from(most) / f64::from(start)).log2()
        }
    };
    let turns = match ladder.workload.load {
        Load::Burst => 1.0,
        Load::Sustained => 2.0,
    };
    let once: f64 = limits.iter().map(|limit| limit.get() + tail).sum();
    (probes * turns * once).min(ladder.search.budget.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::testing::{complete, read_text};
    use crate::plan::plan;

    fn of(text: &str, earlier: &Measurements) -> (Plan, Estimate) {
        let plan = plan(&[read_text(&complete(text)).unwrap()]);
        let estimate = estimate(&plan, earlier);
        (plan, estimate)
    }

    #[test]
    fn the_rule_is_what_it_says() {
        // One TTFT limit of 1 s and a hold of 5 s unless said otherwise.
        let table = [
            ("", 6.0 * 6.0),
            ("sla.ok_rate = [0.9, 0.99]", 6.0 * 6.0),
            ("sla.e2e = \"9s\"", 6.0 * 9.0),
            ("workload.load = \"sustained\"", 2.0 * 6.0 * 6.0),
            ("workload.load = \"sustained\"\nsla.e2e = \"9s\"", 2.0 * 6.0 * (9.0 + 5.0)),
            ("search.strategy = \"bisect\"", 13.0 * 6.0),
            ("search.budget = \"10s\"", 10.0),
        ];
        for (text, seconds) in table {
            let (_, estimate) = of(text, &Measurements::default());
            assert_eq!(estimate.ladders[0].seconds.get(), seconds, "{text}");
            assert_eq!(estimate.total().get(), seconds + LOAD_SECONDS, "{text}");
            assert_eq!(estimate.measured(), (0, 2));
        }
    }

    #[test]
    fn what_was_measured_counts_more_than_the_rule() {
        let (plan, _) = of("", &Measurements::default());
        let seconds = |value| Seconds::new(value).unwrap();
        let earlier = Measurements {
            loads: [(plan.groups[0].key, seconds(61.0))].into(),
            ladders: [(plan.ladders[0].key, seconds(17.0))].into(),
        };
        let (_, estimate) = of("", &earlier);
        assert_eq!((estimate.total(), estimate.measured()), (seconds(78.0), (2, 2)));
    }

    #[test]
    fn a_simulation_takes_no_time() {
        let (plan, _) = of("engine.kind = \"sim\"", &Measurements::default());
        let seconds = Seconds::new(90.0).unwrap();
        let earlier = Measurements {
            loads: [(plan.groups[0].key, seconds)].into(),
            ladders: [(plan.ladders[0].key, seconds)].into(),
        };
        for earlier in [Measurements::default(), earlier] {
            let (_, estimate) = of("engine.kind = \"sim\"", &earlier);
            assert_eq!(estimate.total(), Seconds::ZERO);
        }
    }
}
