//! The reference: exponential ramp, then bisection, each level believed the first time it is seen.
//!
//! This is how the ceiling has been looked for so far. It is cheap to follow and, on a machine whose speed drifts, often
//! wrong by more than its bracket says; so it states no confidence.

use crate::experiment::SearchSettings;
use crate::sla::{Sla, Verdict};
use crate::units::{Concurrency, Seconds, Share};

use super::{Answer, Observation, Search, Status, Step, Undecided};
use crate::watch::Until;

/// How often a level that was asked for may stay undecided before its SLA is given up.
const UNDECIDED_TRIES: u32 = 3;

/// Exponential ramp and bisection for every SLA of a ladder, which share their probes.
#[derive(Debug)]
pub struct Bisect {
    settings: SearchSettings,
    brackets: Vec<Bracket>,
    spent: Seconds,
}

#[derive(Clone, Copy, Debug)]
struct Bracket {
    ok_rate: Share,
    pass: Option<u32>,
    fail: Option<u32>,
    undecided: u32,
}

impl Bisect {
    /// A search that has seen nothing yet.
    pub fn new(settings: SearchSettings, slas: &[Sla]) -> Self {
        let bracket = |sla: &Sla| Bracket { ok_rate: sla.ok_rate, pass: None, fail: None, undecided: 0 };
        Self { settings, brackets: slas.iter().map(bracket).collect(), spent: Seconds::ZERO }
    }
}

impl Search for Bisect {
    fn next(&self) -> Step {
        if self.spent >= self.settings.budget {
            return Step::Done;
        }
        let Some(level) = self.brackets.iter().find_map(|bracket| bracket.next(&self.settings)) else {
            return Step::Done;
        };
        let learns = |bracket: &&Bracket| bracket.next(&self.settings).is_some() && bracket.is_inside(level.get());
        let for_slas =
            self.brackets.iter().enumerate().filter(|(_, bracket)| learns(bracket)).map(|(i, _)| i).collect();
        Step::Probe { concurrency: level, until: Until::Decided(for_slas) }
    }

    fn observe(&mut self, observation: Observation) {
        self.spent = Seconds::new(self.spent.get() + observation.seconds.get()).unwrap_or(self.spent);
        let level = observation.concurrency;
        for (bracket, under) in self.brackets.iter_mut().zip(&observation.under) {
            let asked = bracket.next(&self.settings) == Some(level);
            match under.tally.verdict(bracket.ok_rate) {
                // A level outside the bracket was settled by an earlier one.
                Verdict::Pass if bracket.is_inside(level.get()) => {
                    (bracket.pass, bracket.undecided) = (Some(level.get()), 0);
                }
                Verdict::Fail if bracket.is_inside(level.get()) => {
                    (bracket.fail, bracket.undecided) = (Some(level.get()), 0);
                }
                Verdict::Undecided if asked => bracket.undecided += 1,
                _ => {}
            }
        }
    }

    fn answers(&self) -> Vec<Answer> {
        let is_spent = self.spent >= self.settings.budget;
        self.brackets.iter().map(|bracket| bracket.answer(&self.settings, is_spent)).collect()
    }
}

impl Bracket {
    /// Whether a level could still narrow the bracket.
    fn is_inside(&self, level: u32) -> bool {
        self.pass.is_none_or(|pass| level > pass) && self.fail.is_none_or(|fail| level < fail)
    }

    /// The level to measure next, or `None` where this SLA is answered or given up.
    fn next(&self, settings: &SearchSettings) -> Option<Concurrency> {
        let cap = settings.max_concurrency.get();
        let level = match (self.pass, self.fail) {
            _ if self.undecided >= UNDECIDED_TRIES => return None,
            (None, None) => settings.start_concurrency.get(),
            (Some(pass), None) if pass >= cap => return None,
            (Some(pass), None) => pass.saturating_mul(2).min(cap),
            (None, Some(1)) => return None,
            (None, Some(fail)) => fail / 2,
            (Some(pass), Some(fail)) if fail - pass <= settings.resolution.width_at(pass) => return None,
            (Some(pass), Some(fail)) => pass + (fail - pass) / 2,
        };
        Concurrency::new(level)
    }

    fn answer(&self, settings: &SearchSettings, is_spent: bool) -> Answer {
        let status = match (self.pass, self.fail) {
            _ if self.next(settings).is_some() || self.undecided >= UNDECIDED_TRIES => Status::Undecided,
            (Some(_), None) => Status::AboveCap,
            (None, _) => Status::BelowOne,
            (Some(_), Some(_)) => Status::Found,
        };
        let level = |level: Option<u32>| level.and_then(Concurrency::new);
        let undecided = match status {
            Status::Undecided if self.undecided >= UNDECIDED_TRIES => Some(Undecided::NoVerdict),
            Status::Undecided => is_spent.then_some(Undecided::Budget),
            _ => None,
        };
        Answer { status, highest_pass: level(self.pass), lowest_fail: level(self.fail), confidence: None, undecided }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attribution::Answered;
    use crate::experiment::{Resolution, Strategy};
    use crate::load::Load;
    use crate::search::UnderSla;
    use crate::sla::Tally;

    fn settings(cap: u32, start: u32, resolution: Resolution) -> SearchSettings {
        SearchSettings {
            max_concurrency: Concurrency::new(cap).unwrap(),
            start_concurrency: Concurrency::new(start).unwrap(),
            resolution,
            confidence: Share::new(0.95).unwrap(),
            strategy: Strategy::Bisect,
            budget: Seconds::new(1e9).unwrap(),
        }
    }

    fn slas(count: usize) -> Vec<Sla> {
        let sla = Sla { ok_rate: Share::ALL, ttft: Seconds::ZERO, tpot: None, e2e: None, min_tokens_per_second: None };
        vec![sla; count]
    }

    /// Runs a search against engines that pass up to the given levels, and returns it with the levels it probed.
    fn run(settings: SearchSettings, ceilings: &[u32]) -> (Bisect, Vec<u32>) {
        let mut search = Bisect::new(settings, &slas(ceilings.len()));
        let mut probed = Vec::new();
        while let Step::Probe { concurrency, .. } = search.next() {
            probed.push(concurrency.get());
            assert!(probed.len() < 1000, "the search does not end");
            let tally = |ceiling: &u32| match concurrency.get() <= *ceiling {
                true => Tally { ok: concurrency.get(), ..Tally::default() },
                false => Tally { failed: concurrency.get(), ..Tally::default() },
            };
            search.observe(observation(concurrency, ceilings.iter().map(tally).collect()));
        }
        (search, probed)
    }

    fn observation(concurrency: Concurrency, tallies: Vec<Tally>) -> Observation {
        let seconds = Seconds::new(1.0).unwrap();
        let under = |tally| UnderSla { tally, used: Vec::new(), sure: None, halves: None, errors: 0, unknown: 0 };
        let under = tallies.into_iter().map(under).collect();
        Observation {
            load: Load::Burst,
            concurrency,
            first_tokens_only: false,
            seconds,
            waited: seconds,
            opening: Vec::new(),
            held_up: Vec::new(),
            answered: Answered::default(),
            streamed: None,
            under,
        }
    }

    #[test]
    fn it_ramps_and_then_bisects() {
        let (search, probed) = run(settings(4096, 1, Resolution::Requests(1)), &[11]);
        assert_eq!(probed, [1, 2, 4, 8, 16, 12, 10, 11]);
        let answer = search.answers()[0];
        assert_eq!(answer.status, Status::Found);
        assert_eq!(answer.highest_pass, Concurrency::new(11));
        assert_eq!(answer.lowest_fail, Concurrency::new(12));
    }

    #[test]
    fn slas_share_their_probes() {
        let (search, probed) = run(settings(4096, 1, Resolution::Requests(1)), &[3, 3, 11]);
        assert_eq!(probed, [1, 2, 4, 3, 8, 16, 12, 10, 11]);
        assert!(search.answers().iter().all(|answer| answer.status == Status::Found));
    }

    #[test]
    fn everything_passing_is_above_the_cap() {
        let (search, probed) = run(settings(20, 1, Resolution::Requests(1)), &[1000]);
        assert_eq!(probed, [1, 2, 4, 8, 16, 20]);
        assert_eq!(search.answers()[0].status, Status::AboveCap);
        assert_eq!(search.answers()[0].lowest_fail, None);
    }

    #[test]
    fn nothing_passing_is_below_one_and_has_no_ceiling() {
        let (search, probed) = run(settings(4096, 8, Resolution::Requests(1)), &[0]);
        assert_eq!(probed, [8, 4, 2, 1]);
        assert_eq!(search.answers()[0].status, Status::BelowOne);
        assert_eq!(search.answers()[0].highest_pass, None);
    }

    #[test]
    fn the_budget_ends_it_undecided_with_the_bracket_so_far() {
        let limited =
            SearchSettings { budget: Seconds::new(5.0).unwrap(), ..settings(4096, 1, Resolution::Requests(1)) };
        let (search, probed) = run(limited, &[11]);
        assert_eq!(probed, [1, 2, 4, 8, 16]);
        let answer = search.answers()[0];
        assert_eq!((answer.status, answer.undecided), (Status::Undecided, Some(Undecided::Budget)));
        assert_eq!((answer.highest_pass, answer.lowest_fail), (Concurrency::new(8), Concurrency::new(16)));
    }

    #[test]
    fn a_level_that_stays_undecided_is_given_up() {
        let mut search = Bisect::new(settings(4096, 4, Resolution::Requests(1)), &slas(1));
        let mut probes = 0;
        while let Step::Probe { concurrency, .. } = search.next() {
            probes += 1;
            search.observe(observation(concurrency, vec![Tally { ok: 0, failed: 0, undetermined: 4 }]));
        }
        assert_eq!(probes, UNDECIDED_TRIES);
        let answer = search.answers()[0];
        assert_eq!((answer.status, answer.undecided), (Status::Undecided, Some(Undecided::NoVerdict)));
    }

    #[test]
    fn levels_that_were_undecided_at_first_do_not_add_up() {
        let mut search = Bisect::new(settings(64, 1, Resolution::Requests(1)), &slas(1));
        let mut tries = std::collections::BTreeMap::new();
        while let Step::Probe { concurrency, .. } = search.next() {
            let tally = match (std::mem::replace(tries.entry(concurrency).or_insert(0), 1), concurrency.get() <= 11) {
                (0, _) => Tally { undetermined: concurrency.get(), ..Tally::default() },
                (_, true) => Tally { ok: concurrency.get(), ..Tally::default() },
                (_, false) => Tally { failed: concurrency.get(), ..Tally::default() },
            };
            search.observe(observation(concurrency, vec![tally]));
        }
        let answer = search.answers()[0];
        assert_eq!((answer.status, answer.highest_pass), (Status::Found, Concurrency::new(11)));
    }

    proptest! {
        #[test]
        fn without_noise_every_ceiling_is_exact(
            ceilings in prop::collection::vec(1u32..900, 1..6),
            start in 1u32..64,
        ) {
            let (search, _) = run(settings(1000, start, Resolution::Requests(1)), &ceilings);
            for (answer, ceiling) in search.answers().iter().zip(&ceilings) {
                prop_assert_eq!(answer.status, Status::Found);
                prop_assert_eq!(answer.highest_pass, Concurrency::new(*ceiling));
                prop_assert_eq!(answer.lowest_fail, Concurrency::new(ceiling + 1));
            }
        }

        #[test]
        fn a_relative_resolution_is_kept(ceiling in 1u32..5000) {
            let resolution = Resolution::Relative(Share::new(0.05).unwrap());
            let (search, _) = run(settings(10_000, 1, resolution), &[ceiling]);
            let answer = search.answers()[0];
            let (pass, fail) = (answer.highest_pass.unwrap().get(), answer.lowest_fail.unwrap().get());
            prop_assert!(pass <= ceiling && ceiling < fail);
            prop_assert!(fail - pass <= 1.max(pass / 20));
        }
    }
}
