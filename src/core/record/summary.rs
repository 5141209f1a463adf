//! As much of `run.json` as a list of runs shows: read without what is large.

use serde::Deserialize;

use super::{Git, RunStatus};
use crate::search::Status;
use crate::units::Concurrency;

/// A run in brief.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RunSummary {
    /// The schema of its file.
    pub schema: u32,
    /// UTC time and short commit.
    pub run_id: String,
    /// How far it came.
    pub status: RunStatus,
    /// Whether every number comes from the simulator.
    pub simulated: bool,
    /// When it was started, UTC, in RFC 3339.
    pub started: String,
    /// When it ended; absent while it goes on, and where it was killed.
    pub finished: Option<String>,
    /// What was asked.
    pub experiment: ExperimentSummary,
    /// Where it comes from.
    pub provenance: ProvenanceSummary,
    /// Its cells, in the order of the experiment.
    pub cells: Vec<CellSummary>,
}

/// What was asked, in brief.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ExperimentSummary {
    /// Name of the experiment.
    pub name: String,
}

/// Where a run comes from, in brief.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProvenanceSummary {
    /// The repository in whose working tree it was started.
    pub git: Option<Git>,
}

/// A cell in brief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct CellSummary {
    /// How the search ended; absent while it has not.
    pub status: Option<Status>,
    /// The highest level known to pass.
    pub highest_pass: Option<Concurrency>,
}
