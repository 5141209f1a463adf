//! Carries a plan out: one session per engine group, ladder by ladder, probe by probe.
//!
//! ```text
//! execute -> group    load, retry, give up      -> ladder   search <-> probe
//!                \                                     \
//!                 session: worker_process (vLLM)        entries -> store, happenings -> progress
//! ```

mod devices;
mod events;
mod group;
mod ladder;
mod log_tail;
mod preflight;
mod session;
mod worker_library;
mod worker_process;

use std::path::PathBuf;

use anyhow::Result;
use ceiling_core::plan::Plan;
use ceiling_core::record::Entry;

pub use events::Happening;
pub use ladder::LadderTask;
pub use preflight::check;
pub use worker_library::WorkerLibrary;

/// What the executor needs from around it.
pub struct Surroundings<'a> {
    /// Where logs go.
    pub logs: PathBuf,
    /// How the log directory is called from the run directory.
    pub logs_name: String,
    /// The library that workers load.
    pub library: Option<&'a WorkerLibrary>,
    /// Remembers what happened. An error ends the run: nothing is measured that cannot be kept.
    pub record: &'a dyn Fn(Entry) -> Result<()>,
    /// Tells people what goes on.
    pub show: &'a dyn Fn(Happening<'_>),
}

/// Carries out the tasks, group by group.
///
/// A failure of an engine is a result and is recorded; the error is for what cannot be recorded.
pub async fn execute(plan: &Plan, tasks: Vec<LadderTask>, around: &Surroundings<'_>) -> Result<()> {
    let mut by_group: Vec<Vec<LadderTask>> = plan.groups.iter().map(|_| Vec::new()).collect();
    for task in tasks {
        by_group[plan.ladders[task.ladder].group].push(task);
    }
    for (group, tasks) in by_group.into_iter().enumerate() {
        if !tasks.is_empty() {
            group::run_group(plan, group, tasks, around).await?;
        }
    }
    Ok(())
}
