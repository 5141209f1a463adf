//! The guided search: the pace of the machine and the shape of the latency curve choose each level and judge it.
//!
//! ```text
//! 1. ramp     bursts of growing size, measured to their first tokens, until the ceiling can be foretold from them
//! 2. pace     for each SLA, cheapest first: small bursts, as long as the machine's spread is unknown or worth knowing better
//! 3. bounds   a level below the foretold ceiling and one above it, far enough apart to be sure of both; under a sustained load, and
//!             limits on later tokens, a stand-in for the engine foretells it
//! ```
//!
//! Every verdict is drawn anew from all probes after each of them, so a bound that no longer stands is withdrawn.

use super::bracket::Bracket;
use super::choice::Choice;
use super::evidence::Evidence;
use super::{Answer, Observation, Search, Status, Step, Undecided};
use crate::experiment::{SearchSettings, Workload};
use crate::protocol::Resolved;
use crate::sla::Sla;

/// Looks for the ceilings of one ladder.
#[derive(Debug)]
pub struct Guided {
    evidence: Evidence,
    brackets: Vec<Bracket>,
    step: Step,
    /// What has ended before every bracket was settled, if anything has.
    over: Option<Undecided>,
}

impl Guided {
    /// A search that has seen nothing yet.
    pub fn new(settings: SearchSettings, slas: &[Sla], workload: &Workload, engine: &Resolved) -> Self {
        let evidence = Evidence::new(settings, slas, workload, engine);
        let mut guided = Self { evidence, brackets: Vec::new(), step: Step::Done, over: None };
        guided.choose();
        guided
    }

    /// Draws every bracket anew, and chooses the next step.
    fn choose(&mut self) {
        let machine = self.evidence.machine();
        let choice = Choice::of(&self.evidence, &machine);
        (self.brackets, self.step) = choice.make();
        self.over = choice.over();
    }

    /// What is published of a bracket.
    fn answer(&self, bracket: &Bracket) -> Answer {
        let answer = bracket.answer(&self.evidence.settings);
        let is_left_open = self.step == Step::Done && answer.status == Status::Undecided;
        // What is settled would be so whatever more could be spent.
        let why = self.over.filter(|_| !bracket.settled).unwrap_or(Undecided::Spread);
        Answer { undecided: is_left_open.then_some(why), ..answer }
    }
}

impl Search for Guided {
    fn next(&self) -> Step {
        self.step.clone()
    }

    fn observe(&mut self, observation: Observation) {
        self.evidence.add(observation);
        self.choose();
    }

    fn answers(&self) -> Vec<Answer> {
        self.brackets.iter().map(|bracket| self.answer(bracket)).collect()
    }
}
