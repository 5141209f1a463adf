//! Finds ceilings: a pure state machine, observations in, the next probe or the answers out.
//!
//! One search answers every SLA of a ladder. It never sees an engine: the executor asks it for the next level,
//! measures that level, and tells it what came out.

mod belief;
mod bisect;
mod bounds;
mod bracket;
mod capacity;
mod certificate;
mod choice;
mod curve;
mod edge;
mod evidence;
mod fared;
mod forecast;
mod foretold;
mod guided;
mod held_up;
#[cfg(test)]
mod laws;
mod laxer;
mod level;
mod life;
mod observation;
mod offsets;
mod pace;
mod reach;
mod seen;
mod spending;
mod split;
mod stall;
mod stand_in;
mod steps;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::experiment::Workload;
use crate::experiment::{SearchSettings, Strategy};
use crate::protocol::Resolved;
use crate::sla::Sla;
use crate::units::{Concurrency, Share};
use crate::watch::Until;

pub use bisect::Bisect;
pub use certificate::certificate_seconds;
pub use guided::Guided;
pub use observation::{Half, Halves, Observation, UnderSla};

/// What a search wants next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Measure this level.
    Probe {
        /// Requests in flight.
        concurrency: Concurrency,
        /// What it is measured for: it may stop once that is known.
        until: Until,
    },
    /// Nothing more to learn, or to spend.
    Done,
}

/// How the search for one SLA ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// A bracket as sure as was asked for, and as narrow, or as the machine's spread and a bounded cost allow.
    Found,
    /// Everything up to the highest concurrency allowed passed.
    AboveCap,
    /// Not even one request in flight passed.
    BelowOne,
    /// The budget ended first, or the evidence does not agree with itself.
    Undecided,
    /// It could not be measured.
    Failed,
}

/// Why the search for one SLA ended undecided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undecided {
    /// The budget of its ladder ended first.
    Budget,
    /// As many probes as its ladder may have were made first.
    Probes,
    /// More probes would not have told, or would have cost more than the answer is worth.
    Spread,
    /// A search that judges each level alone met probes without a verdict.
    NoVerdict,
}

/// What is known of the ceiling of one SLA.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// How the search ended.
    pub status: Status,
    /// The highest level known to pass.
    pub highest_pass: Option<Concurrency>,
    /// The lowest level known to fail.
    pub lowest_fail: Option<Concurrency>,
    /// Probability that the bracket holds the true ceiling; absent where it was not estimated.
    pub confidence: Option<Share>,
    /// Why it is undecided, where the search has ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecided: Option<Undecided>,
}

impl Answer {
    /// The ceiling, where it was found. Where everything passed up to the cap it is unknown, not the cap.
    pub fn ceiling(&self) -> Option<Concurrency> {
        (self.status == Status::Found).then_some(self.highest_pass).flatten()
    }

    /// Whether the bracket holds the true ceiling; `None` is one below the first level, and the cap stands for all that is above it.
    /// A bound that is absent says nothing of its side, as at the cap and below one. Where both are, nothing is said, and nothing held.
    pub fn holds(&self, truth: Option<Concurrency>) -> bool {
        let says_anything = self.highest_pass.or(self.lowest_fail).is_some();
        says_anything
            && self.highest_pass.is_none_or(|pass| truth.is_some_and(|truth| pass <= truth))
            && self.lowest_fail.is_none_or(|fail| truth.is_none_or(|truth| truth < fail))
    }
}

/// A way to look for the ceilings of one ladder.
pub trait Search: Send {
    /// The next step. Asked again without an observation in between, it answers the same.
    fn next(&self) -> Step;

    /// Takes in what a probe showed; it need not be one that was asked for.
    fn observe(&mut self, observation: Observation);

    /// What is known so far of each SLA, in the order they were given.
    fn answers(&self) -> Vec<Answer>;
}

/// The search that the settings ask for, for a ladder of these SLAs on this workload and engine.
pub fn search(settings: &SearchSettings, slas: &[Sla], workload: &Workload, engine: &Resolved) -> Box<dyn Search> {
    match settings.strategy {
        Strategy::Guided => Box::new(Guided::new(*settings, slas, workload, engine)),
        Strategy::Bisect => Box::new(Bisect::new(*settings, slas)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracket_holds_what_is_within_its_bounds_and_without_any_nothing() {
        let level = |level: Option<u32>| level.map(|level| Concurrency::new(level).unwrap());
        // The cap is 64.
        let table = [
            (
                Status::Found,
                Some(30),
                Some(32),
                vec![(Some(29), false), (Some(30), true), (Some(31), true), (Some(32), false)],
            ),
            (Status::AboveCap, Some(64), None, vec![(None, false), (Some(63), false), (Some(64), true)]),
            (Status::BelowOne, None, Some(1), vec![(None, true), (Some(1), false)]),
            (Status::Undecided, Some(8), None, vec![(None, false), (Some(7), false), (Some(8), true)]),
            (Status::Undecided, None, Some(8), vec![(None, true), (Some(7), true), (Some(8), false)]),
            (Status::Undecided, None, None, vec![(None, false), (Some(8), false), (Some(64), false)]),
        ];
        for (status, pass, fail, truths) in table {
            let answer = Answer {
                status,
                highest_pass: level(pass),
                lowest_fail: level(fail),
                confidence: None,
                undecided: None,
            };
            for (truth, holds) in truths {
                assert_eq!(answer.holds(level(truth)), holds, "{answer:?} {truth:?}");
            }
        }
    }
}
