//! Carries a plan out: one session per engine group, ladder by ladder, probe by probe.
//!
//! ```text
//! execute -> group    load, retry, give up      -> ladder   search <-> probe
//!                \                                     \
//!                 session: worker_process (vLLM)        entries -> store, happenings -> progress
//! ```

mod apart;
mod aside;
mod deadline;
mod devices;
mod events;
mod gpu_memory;
mod gpus;
mod group;
mod guard;
mod interpreter;
mod ladder;
mod log_tail;
mod preflight;
mod processes;
mod searching;
mod session;
mod slots;
mod telemetry;
mod worker_library;
mod worker_process;

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use ceiling_core::plan::{Key, Plan};
use ceiling_core::protocol::Resolved;
use ceiling_core::record::Entry;
use ceiling_core::secret::Secrets;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use devices::Needs;
use gpu_memory::GpuMemory;
use slots::Slots;

pub use deadline::Deadline;
pub use devices::{callers_devices, gpus_of, installed};
pub use events::Happening;
pub use gpus::{Gpus, NoDriver, of_this_machine};
pub use interpreter::{Environment, ask};
pub use ladder::LadderTask;
pub use preflight::check;
pub use session::SessionError;
pub use worker_library::WorkerLibrary;

/// What the executor needs from around it.
pub struct Surroundings<'a> {
    /// Where logs go.
    pub logs: PathBuf,
    /// How the log directory is called from the run directory.
    pub logs_name: String,
    /// The library that workers load.
    pub library: Option<&'a WorkerLibrary>,
    /// The driver of the GPUs that engines run on.
    pub gpus: Arc<dyn Gpus>,
    /// Model name of the processor.
    pub processor: Option<String>,
    /// What must not be written.
    pub secrets: &'a Secrets,
    /// When the run is to be over, where that was asked for.
    pub deadline: Option<&'a Deadline>,
    /// What was known of a group's engine, when it was up last.
    pub known: &'a dyn Fn(&Key) -> Option<Resolved>,
    /// Number of a ladder's next probe.
    pub next_number: &'a dyn Fn(&Key) -> u32,
    /// Remembers what happened. An error ends the run: nothing is measured that cannot be kept.
    pub record: &'a dyn Fn(Entry) -> Result<()>,
    /// Tells people what goes on.
    pub show: &'a dyn Fn(Happening<'_>),
}

/// Carries out the tasks: groups side by side where GPUs or slots allow, ladders of a group one after the other.
///
/// A failure of an engine is a result and is recorded; the error is for what cannot be recorded.
pub async fn execute(plan: &Plan, tasks: Vec<LadderTask>, around: &Surroundings<'_>) -> Result<()> {
    let mut by_group: Vec<Vec<LadderTask>> = plan.groups.iter().map(|_| Vec::new()).collect();
    for task in tasks {
        by_group[plan.ladders[task.ladder].group].push(task);
    }
    let gpus = devices::gpus(devices::callers_devices().as_deref(), devices::installed);
    let mut asked = Vec::new();
    for (group, tasks) in by_group.iter_mut().enumerate().filter(|(_, tasks)| !tasks.is_empty()) {
        match devices::needs(&plan.groups[group], &gpus) {
            Ok(needs) => asked.push((group, needs)),
            Err(reason) => group::refuse(plan, group, std::mem::take(tasks), &reason, around)?,
        }
    }
    let memory = &GpuMemory::look(around.gpus.clone(), in_reach(&asked)).await;
    let (mut slots, mut running) = (Slots::default(), FuturesUnordered::new());
    let mut waiting: VecDeque<_> = slots::order(&asked).into();
    loop {
        while let Some((group, lease)) = waiting.front().and_then(|(group, needs)| Some((*group, slots.take(needs)?))) {
            waiting.pop_front();
            let tasks = std::mem::take(&mut by_group[group]);
            running.push(async move {
                let result = group::run_group(plan, group, tasks, &lease, memory, around).await;
                (lease, result)
            });
        }
        // What waits fits once nothing runs: that was made sure of above.
        let Some((lease, result)) = running.next().await else { return Ok(()) };
        result?;
        slots.give_back(&lease);
    }
}

/// All GPUs that a group may come to run on.
fn in_reach(asked: &[(usize, Needs)]) -> Vec<String> {
    let among = asked.iter().flat_map(|(_, needs)| match needs {
        Needs::Gpus { among, .. } => among.as_slice(),
        Needs::Cpu { .. } | Needs::Nothing => &[],
    });
    among.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}
