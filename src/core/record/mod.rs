//! What a run leaves behind.
//!
//! ```text
//! entry    what happened, as the journal keeps it, in the order it happened
//! state    all that entries add up to (a fold: replaying a journal gives the state back)
//! replay   a state, and what is left to do, out of a journal and the plan that goes on with it
//! run      what is published of one experiment: `run.json`
//! summary  the same in brief, for lists and comparisons
//! ```

mod change;
mod columns;
mod entry;
mod probe;
mod provenance;
mod replay;
mod run;
mod schema;
mod state;
mod summary;
mod tallies;

pub use change::changes;
pub use entry::{Entry, Failure, FailureKind};
pub use probe::{Probe, Taken};
pub use provenance::{EngineVersion, Git, Provenance};
pub use replay::Replay;
pub use run::{CellRecord, EngineRecord, ExperimentRecord, LadderRecord, ProbeRecord, RUN_SCHEMA, Run, RunStatus};
pub use schema::run_schema;
pub use state::{Heading, LadderState, State};
pub use summary::{
    Brief, CellSummary, ExperimentSummary, ProbeSummary, ProvenanceSummary, QuantilesSummary, RunSummary, UntilSummary,
};
