//! What an interrupted run had come to, seen from the plan that is to go on with it.
//!
//! Identity is a key, never a name or a place: what the plan still asks for is kept, what it asks for anew is measured
//! anew, and what it no longer asks for stays in the journal and is left alone.

use std::collections::{HashMap, HashSet};

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
    /// Probes of ladders that have not answered yet: how they are to be judged shows in the answer.
    pending: Vec<Vec<Probe>>,
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
            pending: vec![Vec::new(); ladders],
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
            Entry::EngineChanged { ref ladders, .. } => {
                for &at in ladders.iter().filter_map(|ladder| self.place.get(ladder)) {
                    self.pending[at].clear();
                    self.ladders[at] = Some(Vec::new());
                    self.state.number_from(plan.ladders[at].key, self.next_numbers[at]);
                }
                self.state.apply(&entry);
            }
            Entry::Probed(probe) => {
                if let Some(&at) = self.place.get(&probe.ladder) {
                    self.next_numbers[at] = self.next_numbers[at].max(probe.number + 1);
                    self.pending[at].push(*probe);
                }
            }
            Entry::Answered { ladder, ref cells, .. } => {
                let Some(&at) = self.place.get(&ladder) else { return };
                let asked = plan.cell_keys(at);
                if asked.iter().all(|cell| cells.contains(cell)) {
                    for probe in std::mem::take(&mut self.pending[at]) {
                        let probe = if *cells == asked { probe } else { self.judge(plan, at, probe) };
                        self.state.apply(&Entry::Probed(Box::new(probe)));
                    }
                    self.ladders[at] = None;
                    self.state.apply(&entry);
                }
            }
            Entry::LadderLeft { .. } | Entry::LadderFailed { .. } => {}
        }
    }

    /// After the last entry: judges the probes of ladders that are open, for their searches to go on from there.
    pub fn end(&mut self, plan: &Plan) {
        for at in 0..self.pending.len() {
            let (ladder, slas) = (&plan.ladders[at], plan.slas(at));
            for probe in std::mem::take(&mut self.pending[at]) {
                if let (Some(seen), true) = (&mut self.ladders[at], probe.counts) {
                    let Probe { concurrency, until, measured, .. } = &probe;
                    seen.push(Observation::new(&ladder.workload, &slas, *concurrency, until, measured));
                }
                let probe = self.judge(plan, at, probe);
                self.state.apply(&Entry::Probed(Box::new(probe)));
            }
        }
    }

    /// Judges an old probe under the SLAs that its ladder has now.
    fn judge(&self, plan: &Plan, at: usize, probe: Probe) -> Probe {
        let ladder = &plan.ladders[at];
        let engine = self.state.resolved(&plan.groups[ladder.group].key).cloned().unwrap_or_default();
        let taken = Taken { number: probe.number, concurrency: probe.concurrency, until: probe.until };
        let judged = Probe::judge(ladder, &plan.slas(at), &engine, taken, probe.measured, probe.telemetry);
        Probe { counts: probe.counts, ..judged }
    }
}
