//! What a run leaves behind.
//!
//! ```text
//! entry    what happened, as the journal keeps it, in the order it happened
//! state    all that entries add up to (a fold: replaying a journal gives the state back)
//! run      what is published of one experiment: `run.json`
//! ```

mod entry;
mod provenance;
mod run;
mod state;

pub use entry::{Entry, Failure, FailureKind};
pub use provenance::{EngineVersion, Git, Provenance};
pub use run::{CellRecord, EngineRecord, ExperimentRecord, LadderRecord, ProbeRecord, RUN_SCHEMA, Run, RunStatus};
pub use state::{Heading, LadderState, State};
