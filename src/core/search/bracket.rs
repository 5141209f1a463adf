//! Between which levels the ceiling of one SLA lies.

use std::collections::BTreeMap;

use super::level::{Level, Machine};
use super::seen::Needed;
use super::{Answer, Status};
use crate::experiment::SearchSettings;
use crate::sla::Sla;
use crate::units::{Concurrency, Share};

/// Requests between the bounds that are as good as none.
pub(super) const FEW: u32 = 4;
/// Widest bracket, as a part of its lower bound, that is still an answer.
pub(super) const WIDEST: f64 = 1.0;

/// What is known of one SLA.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bracket {
    pub pass: Option<u32>,
    pub fail: Option<u32>,
    /// The bracket is as narrow as it will get.
    pub settled: bool,
}

impl Bracket {
    /// The bracket that these levels bear out: the narrowest whose bounds are wrong with no more than the probability
    /// allowed, both together, or one bound that is wrong with no more than half of it.
    pub fn of(levels: &BTreeMap<u32, Level>, machine: &Machine, needed: &Needed, confidence: Share) -> Self {
        if machine.beliefs().is_empty() {
            return Self::default();
        }
        let allowed = 1.0 - confidence.get();
        let mut passing: Vec<(u32, f64)> = Vec::new();
        let highest = |passing: &[(u32, f64)], allowed: f64| {
            passing.iter().rev().find(|(_, wrong)| *wrong <= allowed).map(|(level, _)| *level)
        };
        for (concurrency, level) in levels {
            let (passes, fails) = level.belief(machine, needed.strict, needed.lax);
            let wrong = 1.0 - fails;
            let pass = highest(&passing, allowed - wrong);
            if pass.is_some() || wrong <= allowed / 2.0 {
                // Above the first level that fails, nothing counts.
                let pass = pass.or_else(|| highest(&passing, allowed / 2.0));
                return Self { pass, fail: Some(*concurrency), settled: false };
            }
            if 1.0 - passes <= allowed {
                passing.push((*concurrency, 1.0 - passes));
            }
        }
        Self { pass: highest(&passing, allowed / 2.0), ..Self::default() }
    }

    /// The same with what others tell: what passes a stricter SLA passes a laxer one; what fails a laxer one fails a
    /// stricter one. What contradicts its own bounds, or others of what is told, counts for nothing. By SLA.
    pub fn share_evidence(own: &[Self], slas: &[Sla]) -> Vec<Self> {
        let shared = own.iter().zip(slas).map(|(mine, sla)| {
            let others = || own.iter().zip(slas);
            let pass = others().filter(|(_, other)| other.implies(sla)).filter_map(|(told, _)| told.pass).max();
            let fail = others().filter(|(_, other)| sla.implies(other)).filter_map(|(told, _)| told.fail).min();
            let agrees = |pass: Option<u32>, fail: Option<u32>| pass.zip(fail).is_none_or(|(pass, fail)| pass < fail);
            match (agrees(pass, mine.fail), agrees(mine.pass, fail)) {
                _ if agrees(pass, fail) => Self { pass, fail, ..*mine },
                (true, false) => Self { pass, ..*mine },
                (false, true) => Self { fail, ..*mine },
                _ => *mine,
            }
        });
        shared.collect()
    }

    /// What is published of it.
    pub fn answer(&self, settings: &SearchSettings) -> Answer {
        let level = |level: Option<u32>| level.and_then(Concurrency::new);
        let status = match (self.pass, self.fail) {
            (Some(pass), None) if pass == settings.max_concurrency.get() => Status::AboveCap,
            (None, Some(1)) => Status::BelowOne,
            (Some(pass), Some(fail)) if self.is_answer(settings, pass, fail) => Status::Found,
            _ => Status::Undecided,
        };
        Answer {
            status,
            highest_pass: level(self.pass),
            lowest_fail: level(self.fail),
            confidence: Some(settings.confidence),
            undecided: None,
        }
    }

    fn is_answer(&self, settings: &SearchSettings, pass: u32, fail: u32) -> bool {
        let width = fail - pass;
        width <= settings.resolution.width_at(pass) || self.settled && !self.says_nothing()
    }

    /// Whether one of its bounds, or both, were not found.
    pub fn lacks_a_bound(&self) -> bool {
        self.pass.is_none() || self.fail.is_none()
    }

    /// Whether its bounds are so far apart that it is no answer.
    pub fn says_nothing(&self) -> bool {
        let (Some(pass), Some(fail)) = (self.pass, self.fail) else { return false };
        f64::from(fail - pass) > WIDEST * f64::from(pass) && fail - pass > FEW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Resolution, Strategy};
    use crate::units::Seconds;

    fn sla(ok_rate: f64) -> Sla {
        let ok_rate = Share::new(ok_rate).unwrap();
        Sla { ok_rate, ttft: Seconds::ZERO, tpot: None, e2e: None, min_tokens_per_second: None }
    }

    fn bracket(pass: Option<u32>, fail: Option<u32>) -> Bracket {
        Bracket { pass, fail, settled: false }
    }

    #[test]
    fn evidence_is_shared_where_it_does_not_contradict() {
        let slas = [sla(0.9), sla(0.99)];
        // Of the laxer and the stricter SLA: their own, and with what the other tells.
        let table = [
            ((None, Some(30)), (Some(10), None), (Some(10), Some(30)), (Some(10), Some(30))),
            ((Some(15), Some(30)), (Some(10), Some(20)), (Some(15), Some(30)), (Some(10), Some(20))),
            // A pass of the stricter above a fail of the laxer counts for neither.
            ((None, Some(10)), (Some(12), None), (None, Some(10)), (Some(12), None)),
        ];
        for (lax, strict, lax_told, strict_told) in table {
            let own = [bracket(lax.0, lax.1), bracket(strict.0, strict.1)];
            let shared = Bracket::share_evidence(&own, &slas);
            let told: Vec<_> = shared.iter().map(|bracket| (bracket.pass, bracket.fail)).collect();
            assert_eq!(told, [lax_told, strict_told], "{own:?}");
        }
    }

    #[test]
    fn what_contradicts_tells_a_third_sla_nothing_in_whichever_order_they_come() {
        let (strict, middle, lax) = ((sla(0.99), Some(12), None), (sla(0.95), None, None), (sla(0.9), None, Some(10)));
        for order in [[strict, middle, lax], [lax, middle, strict], [middle, lax, strict]] {
            let own = order.map(|(_, pass, fail)| bracket(pass, fail));
            let shared = Bracket::share_evidence(&own, &order.map(|(sla, ..)| sla));
            let told: Vec<_> = shared.iter().map(|bracket| (bracket.pass, bracket.fail)).collect();
            assert_eq!(told, order.map(|(_, pass, fail)| (pass, fail)), "{order:?}");
        }
        // One that has a bound of its own takes what agrees with it.
        let own = [bracket(Some(12), None), bracket(Some(11), None), bracket(None, Some(10))];
        let shared = Bracket::share_evidence(&own, &[strict.0, middle.0, lax.0]);
        assert_eq!((shared[1].pass, shared[1].fail), (Some(12), None));
    }

    #[test]
    fn a_bracket_is_an_answer_where_it_is_narrow_or_as_narrow_as_it_gets() {
        let settings = SearchSettings {
            max_concurrency: Concurrency::new(100).unwrap(),
            start_concurrency: Concurrency::ONE,
            resolution: Resolution::Relative(Share::new(0.1).unwrap()),
            confidence: Share::new(0.95).unwrap(),
            strategy: Strategy::Guided,
            budget: Seconds::ZERO,
        };
        let table = [
            (Some(50), Some(55), false, Status::Found),
            (Some(50), Some(60), false, Status::Undecided),
            (Some(50), Some(60), true, Status::Found),
            (Some(3), Some(7), true, Status::Found),
            (Some(10), Some(21), true, Status::Undecided),
            (Some(100), None, true, Status::AboveCap),
            (Some(99), None, true, Status::Undecided),
            (None, Some(1), true, Status::BelowOne),
            (None, Some(2), true, Status::Undecided),
        ];
        for (pass, fail, settled, expected) in table {
            let answer = Bracket { pass, fail, settled }.answer(&settings);
            assert_eq!(answer.status, expected, "{pass:?} {fail:?} {settled}");
        }
    }
}
