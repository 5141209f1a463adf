//! Engine groups and ladders: one load for each distinct engine configuration, one series of probes for each distinct
//! workload and search on it, and apart for SLAs that judge the whole request.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::json;

use super::name::{Names, Unique};
use super::{Cell, EngineGroup, Key, Ladder};
use crate::experiment::{Experiment, Point};

/// Groups and ladders as they come up, in the order of the cells.
#[derive(Default)]
pub(super) struct Groups {
    groups: Vec<EngineGroup>,
    group_of: FxHashMap<Key, usize>,
    ladders: Vec<Ladder>,
    ladder_of: FxHashMap<Key, usize>,
    /// For each ladder, the experiment and the row that first asked for it.
    first_asked: Vec<(usize, usize)>,
}

impl Groups {
    /// The ladder that answers a point.
    pub fn ladder(&mut self, experiment: &Experiment, point: &Point, asked: (usize, usize)) -> usize {
        let grid = &experiment.grid;
        let engine = &grid.engines[point.engine as usize];
        let workload = &grid.workloads[point.workload as usize];
        let search = &grid.searches[point.search as usize];
        let mut parts = vec![engine.key, workload.key, search.key];
        // Where the whole request is judged it is let finish, which is another load than one that holds requests for a while.
        parts.extend(grid.slas[point.sla as usize].value.judges_the_end().then(|| Key::of(&json!("until-finished"))));
        let key = Key::of_keys(&parts);
        if let Some(ladder) = self.ladder_of.get(&key) {
            return *ladder;
        }
        let group = *self.group_of.entry(engine.key).or_insert_with(|| {
            self.groups.push(EngineGroup {
                key: engine.key,
                label: String::new(),
                files: engine.files,
                engine: Arc::clone(&engine.value),
                execution: Arc::clone(&experiment.execution),
                ladders: Vec::new(),
            });
            self.groups.len() - 1
        });
        self.ladders.push(Ladder {
            id: String::new(),
            key,
            group,
            texts: workload.files,
            workload: Arc::clone(&workload.value),
            search: *search.value,
            cells: Vec::new(),
        });
        self.first_asked.push(asked);
        let ladder = self.ladders.len() - 1;
        self.ladder_of.insert(key, ladder);
        ladder
    }

    /// The key of a ladder.
    pub fn key_of(&self, ladder: usize) -> Key {
        self.ladders[ladder].key
    }

    /// A ladder answers one more cell.
    pub fn answer(&mut self, ladder: usize, cell: usize) {
        self.ladders[ladder].cells.push(cell);
    }

    /// Names groups and ladders, and puts the ladders in the order in which they are carried out.
    pub fn finish(mut self, experiments: &[Experiment], cells: &mut [Cell]) -> (Vec<EngineGroup>, Vec<Ladder>) {
        self.name(experiments);
        let mut order: Vec<usize> = (0..self.ladders.len()).collect();
        order.sort_by_key(|ladder| {
            let ladder = &self.ladders[*ladder];
            (ladder.group, cost(ladder), ladder.key)
        });
        let mut place_of = vec![0; order.len()];
        for (place, ladder) in order.iter().enumerate() {
            place_of[*ladder] = place;
            self.groups[self.ladders[*ladder].group].ladders.push(place);
        }
        for cell in cells {
            cell.ladder = place_of[cell.ladder];
        }
        let mut ladders: Vec<_> = self.ladders.into_iter().zip(&place_of).collect();
        ladders.sort_unstable_by_key(|(_, place)| **place);
        (self.groups, ladders.into_iter().map(|(ladder, _)| ladder).collect())
    }

    fn name(&mut self, experiments: &[Experiment]) {
        let names: Vec<_> = experiments.iter().map(|experiment| Names::of(&experiment.grid)).collect();
        let mut unique = Unique::with_capacity(self.groups.len());
        for (ladder, (experiment, row)) in self.ladders.iter().zip(&self.first_asked) {
            let group = &mut self.groups[ladder.group];
            if group.label.is_empty() {
                group.label = unique.name(names[*experiment].group(*row, &group.engine), group.key);
            }
        }
        let several = self.groups.len() > 1;
        let mut unique = Unique::with_capacity(self.ladders.len());
        for (ladder, (experiment, row)) in self.ladders.iter_mut().zip(&self.first_asked) {
            let group = several.then(|| &*self.groups[ladder.group].label);
            ladder.id = unique.name(names[*experiment].ladder(*row, group), ladder.key);
        }
    }
}

/// What a ladder costs at most, as far as it can be compared before anything is measured: prompt tokens in flight.
fn cost(ladder: &Ladder) -> u64 {
    u64::from(ladder.workload.input_tokens) * u64::from(ladder.search.max_concurrency.get())
}
