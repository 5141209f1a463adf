//! Runs for tests: published by the books themselves, from an experiment and the answers that were found.

use super::ComparedRun;
use crate::experiment::testing::read_text;
use crate::plan::{Ladder, Plan, plan};
use crate::protocol::Resolved;
use crate::record::{Entry, Heading, Provenance, State};
use crate::search::{Answer, Status};
use crate::units::{Concurrency, Seconds, Share};

/// The run of one experiment whose ladders ended with these answers, on an engine that says this of itself.
pub fn run_on(text: &str, resolved: &Resolved, mut answers: impl FnMut(&Plan, &Ladder) -> Vec<Answer>) -> ComparedRun {
    let plan = plan(&[read_text(text).unwrap_or_else(|faults| panic!("{}", faults.render(false)))]);
    let mut state = State::default();
    for group in &plan.groups {
        let resolved = Box::new(resolved.clone());
        state.apply(&Entry::Loaded { group: group.key, resolved, seconds: Seconds::ZERO });
    }
    for ladder in &plan.ladders {
        let cells = ladder.cells.iter().map(|cell| plan.cells[*cell].key).collect();
        state.apply(&Entry::Answered { ladder: ladder.key, cells, answers: answers(&plan, ladder) });
    }
    let heading = Heading {
        run_id: "20260101T000000Z-1a2b3c4".into(),
        started: "2026-01-01T00:00:00Z".into(),
        finished: None,
        interrupted: false,
        provenance: Provenance::default(),
    };
    serde_json::from_value(serde_json::to_value(state.publish(&plan, 0, heading)).unwrap()).unwrap()
}

/// The same where every cell was found with this bracket.
pub fn run(text: &str, pass: u32, fail: u32) -> ComparedRun {
    let resolved = Resolved { devices: vec!["H100".into()], ..Resolved::default() };
    run_on(text, &resolved, |_, ladder| vec![found(pass, fail); ladder.cells.len()])
}

/// A bracket that was found.
pub fn found(pass: u32, fail: u32) -> Answer {
    Answer {
        status: Status::Found,
        highest_pass: Concurrency::new(pass),
        lowest_fail: Concurrency::new(fail),
        confidence: Share::new(0.95),
        undecided: None,
    }
}
