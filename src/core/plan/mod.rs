//! The work that experiments ask for: cells, in ladders, in engine groups.
//!
//! One engine load serves a group, one series of probes a ladder. Ids and order depend on the experiments' meaning
//! alone.

mod estimate;
mod group;
#[cfg(test)]
mod laws;
mod matrix;
mod name;
mod only;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::experiment::{Engine, Execution, Experiment, ExperimentName, Place, SearchSettings, Workload};
use crate::load::Hold;
use crate::sla::Sla;

pub use crate::key::Key;
pub use estimate::{Basis, Estimate, Guess, Measurements, RULE, estimate};

/// Everything that one `run` is to measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The experiments, in the order they were named.
    pub experiments: Vec<ExperimentHead>,
    /// Engine loads, in the order they are carried out.
    pub groups: Vec<EngineGroup>,
    /// Series of probes, group by group, in the order they are carried out.
    pub ladders: Vec<Ladder>,
    /// Rows of the result, in the order that the experiments' files give.
    pub cells: Vec<Cell>,
}

/// What is said of an experiment as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExperimentHead {
    /// Its name, and that of its directory under `results/`.
    pub name: ExperimentName,
    /// A sentence on what it asks.
    pub description: String,
    /// The file it came from, as it was named.
    pub source: String,
    /// Digest of what it asks: equal where the keys of all cells are, in whatever order they stand, and the execution settings but for
    /// `on` and `slurm`, which say on which machines only. Its name, description, source and axes are no part of it.
    pub digest: Key,
    /// Cells of it that the plan leaves out, since nobody wants them now.
    #[serde(default)]
    pub left_out: usize,
}

impl Plan {
    /// The SLAs of a ladder, in the order of its cells.
    pub fn slas(&self, ladder: usize) -> Vec<Sla> {
        self.ladders[ladder].cells.iter().map(|&cell| self.cells[cell].sla).collect()
    }

    /// The keys of a ladder's cells.
    pub fn cell_keys(&self, ladder: usize) -> Vec<Key> {
        self.ladders[ladder].cells.iter().map(|&cell| self.cells[cell].key).collect()
    }
}

/// The cells that share one engine configuration: one engine load serves them all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineGroup {
    /// Digest of the engine configuration.
    pub key: Key,
    /// A short name that is unique in the plan, for people and for file names: letters, digits, `.`, `_`, `=`, `,`, `-`.
    pub label: String,
    /// Digest of the model and the tokenizer that it names, wherever they lie; absent where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Key>,
    /// The engine configuration.
    pub engine: Arc<Engine>,
    /// How to carry it out; from the first experiment that asks for it.
    pub execution: Arc<Execution>,
    /// Its ladders: indices into [`Plan::ladders`], cheapest first.
    pub ladders: Vec<usize>,
}

/// The cells of a group that differ in their SLA only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ladder {
    /// A short name that is unique in the plan.
    pub id: String,
    /// Digest of engine, workload and search settings, and of whether requests are let finish.
    pub key: Key,
    /// The group: index into [`Plan::groups`].
    pub group: usize,
    /// Digest of the texts that its prompts are made of, wherever they lie; absent where they are made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<Key>,
    /// What the requests are like.
    pub workload: Arc<Workload>,
    /// How the ceilings are looked for.
    pub search: SearchSettings,
    /// The cells it answers: indices into [`Plan::cells`].
    pub cells: Vec<usize>,
}

/// One point of the expanded matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Digest of all that can change its number.
    pub key: Key,
    /// A short name, unique in its experiment: `max_num_seqs=256,ttft=1s`.
    pub id: String,
    /// The experiment: index into [`Plan::experiments`].
    pub experiment: usize,
    /// The ladder: index into [`Plan::ladders`].
    pub ladder: usize,
    /// Its place on each axis of its experiment: dotted field and value, in the order of the file.
    pub axes: Place,
    /// The SLA.
    pub sla: Sla,
}

/// Plans everything that experiments ask for: one engine load for each distinct engine configuration among them all.
pub fn plan(experiments: &[Experiment]) -> Plan {
    matrix::plan(experiments)
}

impl Ladder {
    /// How long a request is kept in flight: where a limit on the whole request is to be judged, until it finishes.
    pub fn hold(&self, cells: &[Cell]) -> Hold {
        let judges_the_end = self.cells.iter().any(|cell| cells[*cell].sla.judges_the_end());
        if judges_the_end { Hold::UntilFinished } else { self.workload.hold }
    }
}
