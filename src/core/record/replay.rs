//! What an interrupted run had come to, seen from the plan that is to go on with it.
//!
//! Identity is a key, never a name or a place: what the plan still asks for is kept, what it asks for anew is measured
//! anew, and what it no longer asks for stays in the journal and is left alone.

use std::collections::{HashMap, HashSet};

use crate::load::LoadPlan;
use crate::plan::{Key, Plan};
use crate::search::Observation;

use super::{Entry, Probe, State, Taken};

/// What is left to do, and what is known already.
#[derive(Debug)]
pub struct Replay {
    /// What is known.
    pub state: State,
    /// For each ladder of the plan what its search has seen; `None` where it has answered.
    pub ladders: Vec<Option<Vec<Observation>>>,
    /// Number of the next probe of each ladder.
    pub next_numbers: Vec<u32>,
    /// The ladders of the plan by key.
    place: HashMap<Key, usize>,
    groups: HashSet<Key>,
}

impl Replay {
    /// Nothing has happened yet.
    pub fn new(plan: &Plan) -> Self {
        let ladders = plan.ladders.len();
        Self {
            state: State::default(),
            ladders: vec![Some(Vec::new()); ladders],
            next_numbers: vec![0; ladders],
            place: plan.ladders.iter().enumerate().map(|(at, ladder)| (ladder.key, at)).collect(),
            groups: plan.groups.iter().map(|group| group.key).collect(),
        }
    }

    /// Takes in the next entry of a journal.
    ///
    /// A ladder whose cells changed is searched again, on what its probes showed: each is judged under the SLAs that the
    /// plan asks for now. A ladder that failed is measured again.
    pub fn take(&mut self, plan: &Plan, entry: Entry) {
        match entry {
            Entry::Loaded { group, .. } | Entry::EngineFailed { group, .. } => {
                if self.groups.contains(&group) {
                    self.state.apply(&entry);
                }
            }
            Entry::Probed(probe) => {
                if let Some(&at) = self.place.get(&probe.ladder) {
                    self.probe(plan, at, *probe);
                }
            }
            Entry::Answered { ladder, ref cells, .. } => {
                let Some(&at) = self.place.get(&ladder) else { return };
                if plan.ladders[at].cells.iter().all(|&cell| cells.contains(&plan.cells[cell].key)) {
                    self.ladders[at] = None;
                    self.state.apply(&entry);
                }
            }
            Entry::LadderFailed { .. } => {}
        }
    }

    /// Judges an old probe under the SLAs that its ladder has now.
    fn probe(&mut self, plan: &Plan, at: usize, probe: Probe) {
        let ladder = &plan.ladders[at];
        let slas = plan.slas(at);
        let load = LoadPlan::new(&ladder.workload, &slas, probe.concurrency, &probe.until);
        if let (Some(seen), true) = (&mut self.ladders[at], probe.counts) {
            seen.push(Observation::new(&load, &probe.until, &probe.measured, &slas));
        }
        self.next_numbers[at] = self.next_numbers[at].max(probe.number + 1);
        let engine = self.state.resolved(&plan.groups[ladder.group].key).cloned().unwrap_or_default();
        let taken = Taken { number: probe.number, concurrency: probe.concurrency, until: probe.until };
        let judged = Probe::judge(ladder, &slas, &engine, taken, probe.measured);
        self.state.apply(&Entry::Probed(Box::new(Probe { counts: probe.counts, ..judged })));
    }
}
