//! What an interrupted run had come to, seen from the plan that is to go on with it.
//!
//! Identity is a key, never a name or a place: what the plan still asks for is kept, what it asks for anew is measured
//! anew, and what it no longer asks for stays in the journal and is left alone.

use std::collections::{HashMap, HashSet};

use crate::plan::{Key, Plan};
use crate::protocol::Resolved;
use crate::search::Observation;
use crate::sla::Tally;
use crate::watch::Until;

use super::{Entry, Probe, State, Taken, changes};

/// What is left to do, and what is known already.
#[derive(Debug)]
pub struct Replay {
    /// What is known.
    pub state: State,
    /// For each ladder of the plan what its search has seen; `None` where it has answered.
    pub ladders: Vec<Option<Vec<Observation>>>,
    /// Number of the next probe of each ladder.
    pub next_numbers: Vec<u32>,
    /// Ladders that had been measured on an engine that is not any more what it was, and are begun anew.
    pub outdated: usize,
    /// The ladders of the plan by key.
    place: HashMap<Key, usize>,
    groups: HashSet<Key>,
    /// Probes of ladders that have not answered yet: how they are to be judged shows in the answer.
    pending: Vec<Vec<Probe>>,
    /// What engines were like while probes were made on them.
    engines: Vec<Resolved>,
    /// Of these, the one of each group, as far as the journal tells that is being read.
    running: HashMap<Key, usize>,
    /// The one that each ladder was measured on last.
    measured_on: Vec<Option<usize>>,
}

impl Replay {
    /// Nothing has happened yet.
    pub fn new(plan: &Plan) -> Self {
        let ladders = plan.ladders.len();
        Self {
            state: State::default(),
            ladders: vec![Some(Vec::new()); ladders],
            next_numbers: vec![0; ladders],
            outdated: 0,
            place: plan.ladders.iter().enumerate().map(|(at, ladder)| (ladder.key, at)).collect(),
            groups: plan.groups.iter().map(|group| group.key).collect(),
            pending: vec![Vec::new(); ladders],
            engines: Vec::new(),
            running: HashMap::new(),
            measured_on: vec![None; ladders],
        }
    }

    /// Begins with the journal of another experiment of the run. An engine group may stand in both, and either may have been gone on
    /// with alone.
    pub fn begin_journal(&mut self) {
        self.running.clear();
    }

    /// Takes note of an entry that an earlier journal had, too, and [`take`](Self::take) has taken in: the engine is that one from here on.
    pub fn pass_over(&mut self, entry: &Entry) {
        match entry {
            Entry::Loaded { group, resolved, .. } => {
                let engine = *self.running.entry(*group).or_insert(self.engines.len());
                match self.engines.get_mut(engine) {
                    // It was found to be the one that it was, and the next is compared with what it is like now.
                    Some(same) => same.clone_from(resolved),
                    None => self.engines.push((**resolved).clone()),
                }
            }
            Entry::EngineChanged { group, .. } => {
                self.running.remove(group);
            }
            _ => {}
        }
    }

    /// Takes in the next entry of a journal.
    ///
    /// A ladder whose cells changed is searched again, on what its probes showed: each is judged under the SLAs that the
    /// plan asks for now. A ladder that failed is measured again.
    pub fn take(&mut self, plan: &Plan, entry: Entry) {
        self.pass_over(&entry);
        match entry {
            Entry::Loaded { group, .. } | Entry::EngineFailed { group, .. } => {
                if self.groups.contains(&group) {
                    self.state.apply(&entry);
                }
            }
            Entry::EngineChanged { ref ladders, .. } => {
                let places: Vec<usize> = ladders.iter().filter_map(|ladder| self.place.get(ladder)).copied().collect();
                places.into_iter().for_each(|at| self.begin_anew(plan, at));
            }
            Entry::Probed(probe) => {
                if let Some(&at) = self.place.get(&probe.ladder) {
                    self.next_numbers[at] = self.next_numbers[at].max(probe.number + 1);
                    self.measured_on[at] = self.running.get(&plan.groups[plan.ladders[at].group].key).copied();
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

    /// After the last entry: has ladders begun anew whose engine is not any more what it was, and judges the probes of those that are open, for their
    /// searches to go on from there.
    pub fn end(&mut self, plan: &Plan) {
        self.forget_other_engines(plan);
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

    /// Whoever went on with a part of the run only found that an engine had changed, and began that part anew: the others were measured on the
    /// one that is no more.
    fn forget_other_engines(&mut self, plan: &Plan) {
        for (at, ladder) in plan.ladders.iter().enumerate() {
            let group = &plan.groups[ladder.group].key;
            let before = self.measured_on[at].map(|engine| &self.engines[engine]);
            if let (Some(before), Some(now)) = (before, self.state.resolved(group))
                && !changes(before, now).is_empty()
            {
                self.begin_anew(plan, at);
                self.outdated += 1;
            }
        }
    }

    fn begin_anew(&mut self, plan: &Plan, at: usize) {
        self.pending[at].clear();
        self.ladders[at] = Some(Vec::new());
        self.measured_on[at] = None;
        self.state.begin_anew(plan.ladders[at].key, self.next_numbers[at]);
    }

    /// Judges an old probe under the SLAs that its ladder has now. Where they are others than it was made for, it stands for all of them, and what was
    /// found of the harness for the old ones.
    fn judge(&self, plan: &Plan, at: usize, probe: Probe) -> Probe {
        let (ladder, slas) = (&plan.ladders[at], plan.slas(at));
        if slas.iter().map(|sla| Tally::of(sla, &probe.measured.requests)).eq(probe.tallies.iter().copied()) {
            return probe;
        }
        let engine = self.state.resolved(&plan.groups[ladder.group].key).cloned().unwrap_or_default();
        let until = match probe.until {
            Until::Decided(_) => Until::Decided((0..slas.len()).collect()),
            Until::FirstTokens => Until::FirstTokens,
        };
        let taken = Taken { number: probe.number, concurrency: probe.concurrency, until };
        let judged = Probe::judge(ladder, &slas, &engine, taken, probe.measured, probe.telemetry);
        Probe { counts: probe.counts, audit: probe.audit, ..judged }
    }
}
