//! A part of a plan.

use super::{Cell, Plan};

impl Plan {
    /// The cells that are wanted, with the ladders, groups and experiments that they need. Keys, ids and order stay as they
    /// are.
    pub fn only(&self, wants: impl Fn(&Cell) -> bool) -> Self {
        let mut part = Self { experiments: self.experiments.clone(), groups: vec![], ladders: vec![], cells: vec![] };
        let place: Vec<Option<usize>> = self.cells.iter().map(|cell| part.take(cell, wants(cell))).collect();
        for group in &self.groups {
            let mut kept = super::EngineGroup { ladders: vec![], ..group.clone() };
            for &index in &group.ladders {
                let ladder = &self.ladders[index];
                let cells: Vec<usize> = ladder.cells.iter().filter_map(|&cell| place[cell]).collect();
                if cells.is_empty() {
                    continue;
                }
                for &cell in &cells {
                    part.cells[cell].ladder = part.ladders.len();
                }
                kept.ladders.push(part.ladders.len());
                part.ladders.push(super::Ladder { group: part.groups.len(), cells, ..ladder.clone() });
            }
            if !kept.ladders.is_empty() {
                part.groups.push(kept);
            }
        }
        part.leave_experiments_without_cells();
        part
    }

    /// One engine group by itself, with the experiments that ask for it.
    pub fn group_alone(&self, group: usize) -> Self {
        self.only(|cell| self.ladders[cell.ladder].group == group)
    }

    /// An experiment that nothing is asked of would be a run of nothing, which looks complete.
    fn leave_experiments_without_cells(&mut self) {
        let asked: Vec<usize> = (0..self.experiments.len())
            .filter(|experiment| self.cells.iter().any(|cell| cell.experiment == *experiment))
            .collect();
        self.experiments = asked.iter().map(|&experiment| self.experiments[experiment].clone()).collect();
        for cell in &mut self.cells {
            cell.experiment = asked.iter().position(|&asked| asked == cell.experiment).unwrap_or_default();
        }
    }

    fn take(&mut self, cell: &Cell, is_wanted: bool) -> Option<usize> {
        if !is_wanted {
            self.experiments[cell.experiment].left_out += 1;
            return None;
        }
        self.cells.push(cell.clone());
        Some(self.cells.len() - 1)
    }
}
