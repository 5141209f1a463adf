//! One engine group: load the engine, measure its ladders, try again where that makes sense.

use std::path::Path;

use anyhow::Result;
use ceiling_core::experiment;
use ceiling_core::plan::{EngineGroup, Plan};
use ceiling_core::record::{Entry, Failure, FailureKind, changes};
use ceiling_core::search::Status;
use ceiling_core::sim::SimSession;

use super::apart::Numbering;
use super::gpu_memory::GpuMemory;
use super::ladder::{self, End, Engine, LadderTask};
use super::session::{Loaded, Session, SessionError};
use super::slots::Lease;
use super::worker_process::{Launch, WorkerProcess};
use super::{Happening, Surroundings, apart};

/// What went wrong since it last went well: each is made good for by itself, so that an engine that is slow to come back does not use
/// up what a ladder has left.
#[derive(Default)]
struct Setbacks {
    /// Loads in a row that failed.
    loads: u32,
    /// Engines that were lost in the ladder that is to be gone on with.
    losses: u32,
}

/// How one engine load ended.
enum Ended {
    /// Nothing is left to do.
    Done,
    /// With a ladder that was given up for this reason; those after it need another engine.
    WithLadder(Failure),
    /// The engine never answered: where it never will, no ladder of the group can do better.
    NotLoaded(Failure),
    /// It was lost in the midst of the first ladder that is left.
    Lost(Failure),
}

/// Measures the ladders of one group. Whatever its engine does costs only this group, and what it does in one ladder only that ladder.
pub async fn run_group(
    plan: &Plan,
    index: usize,
    mut tasks: Vec<LadderTask>,
    lease: &Lease,
    memory: &GpuMemory,
    around: &Surroundings<'_>,
) -> Result<()> {
    let group = &plan.groups[index];
    let retries = group.execution.retries;
    let mut setbacks = Setbacks::default();
    // An engine that is another each time it comes up has all its ladders begun anew, and would have them for ever.
    let most_loads = (retries as usize + 1).saturating_mul(group.ladders.len());
    let mut loaded = 0;
    while !tasks.is_empty() {
        let ladders = tasks.iter().map(|task| task.ladder);
        if let Some(reason) = around.deadline.and_then(|deadline| deadline.forbids_load(index, ladders)) {
            return tasks.iter().try_for_each(|task| leave(plan, task, &reason, around));
        }
        let held = await_memory(group, lease, memory, around).await.err();
        let ended = attempt_group(plan, group, &mut setbacks, &mut tasks, lease, around).await?;
        loaded += usize::from(!matches!(ended, Ended::NotLoaded(_)));
        let may_load = loaded < most_loads;
        let (mut failure, setback, costs) = match ended {
            Ended::Done => return Ok(()),
            Ended::WithLadder(_) if may_load || tasks.is_empty() => continue,
            Ended::NotLoaded(failure) => (failure, &mut setbacks.loads, tasks.len()),
            Ended::Lost(failure) if may_load => (failure, &mut setbacks.losses, 1),
            Ended::WithLadder(failure) | Ended::Lost(failure) => (failure, &mut setbacks.losses, tasks.len()),
        };
        if let Some(held) = held {
            failure.reason = format!("{}; {held}", failure.reason);
        }
        let tries_again = may_load && *setback < retries && failure.kind.is_worth_another_try();
        *setback += 1;
        (around.record)(Entry::EngineFailed { group: group.key, failure: failure.clone() })?;
        (around.show)(Happening::EngineFailed { group, failure: &failure, tries_again });
        if !tries_again {
            tasks.drain(..costs).try_for_each(|task| give_up(plan, &task, &failure, around))?;
            setbacks = Setbacks::default();
        }
    }
    Ok(())
}

/// An engine that comes up while another's memory is being freed finds too little of it. One that never comes back is
/// reported, and whether what is left will do is the engine's to say.
async fn await_memory(
    group: &EngineGroup,
    lease: &Lease,
    memory: &GpuMemory,
    around: &Surroundings<'_>,
) -> Result<(), String> {
    let waiting = || (around.show)(Happening::AwaitingMemory { group, gpus: &lease.gpus });
    let result = memory.is_back(&lease.gpus, group.execution.engine_timeout, waiting).await;
    if let Err(reason) = &result {
        (around.show)(Happening::MemoryHeld { group, reason });
    }
    result
}

/// One engine load and all the ladders it can serve, which leave `tasks` as they end. Setbacks are forgotten as what they were in goes
/// well, or is given up.
async fn attempt_group(
    plan: &Plan,
    group: &EngineGroup,
    setbacks: &mut Setbacks,
    tasks: &mut Vec<LadderTask>,
    lease: &Lease,
    around: &Surroundings<'_>,
) -> Result<Ended> {
    let log_name = format!("{}.log", group.label);
    // A simulated engine writes none.
    let is_real = matches!(*group.engine, experiment::Engine::Vllm(_));
    let log = is_real.then(|| format!("{}/{log_name}", around.logs_name));
    let failure = |error: SessionError| error.into_failure(log.clone(), around.secrets);

    (around.show)(Happening::EngineLoading { group, attempt: setbacks.loads + setbacks.losses });
    let mut session = match start(group, &around.logs.join(&log_name), lease, around) {
        Ok(session) => session,
        Err(error) => return Ok(Ended::NotLoaded(failure(error))),
    };
    let Loaded { mut resolved, seconds } = match session.load(group.execution.engine_timeout).await {
        Ok(loaded) => loaded,
        Err(error) => return Ok(Ended::NotLoaded(failure(error))),
    };
    if resolved.is_on_the_processor() {
        resolved.cpu.clone_from(&around.processor);
    }
    setbacks.loads = 0;
    (around.show)(Happening::EngineLoaded { group, resolved: &resolved, seconds });
    let changes = (around.known)(&group.key).map_or_else(Vec::new, |before| changes(&before, &resolved));
    if !changes.is_empty() {
        *tasks = begin_again(plan, group, changes, around)?;
    }
    (around.record)(Entry::Loaded { group: group.key, resolved: Box::new(resolved.clone()), seconds })?;
    let mut engine = Engine { session, resolved: &resolved, gpus: &lease.gpus };

    while let Some(task) = tasks.first_mut() {
        let forbidden = around.deadline.and_then(|deadline| deadline.forbids_ladder(task.ladder));
        let end = match forbidden {
            Some(reason) => End::Left(reason),
            None => ladder::run_ladder(plan, task, group, &mut engine, around).await?,
        };
        match end {
            End::Answered => {}
            End::Left(reason) => leave(plan, task, &reason, around)?,
            End::Failed(error) => {
                let lives = error.engine_lives;
                let failure = failure(error);
                give_up(plan, task, &failure, around)?;
                if !lives {
                    tasks.remove(0);
                    setbacks.losses = 0;
                    return Ok(Ended::WithLadder(failure));
                }
            }
            End::EngineLost(error) => return Ok(Ended::Lost(failure(error))),
        }
        tasks.remove(0);
        setbacks.losses = 0;
    }
    engine.session.shut_down().await;
    Ok(Ended::Done)
}

/// All ladders of a group whose engine is not what it was, from their beginning.
fn begin_again(
    plan: &Plan,
    group: &EngineGroup,
    changes: Vec<String>,
    around: &Surroundings<'_>,
) -> Result<Vec<LadderTask>> {
    (around.show)(Happening::EngineChanged { group, changes: &changes });
    let ladders = group.ladders.iter().map(|&ladder| plan.ladders[ladder].key).collect();
    (around.record)(Entry::EngineChanged { group: group.key, ladders, changes })?;
    let anew = |&ladder: &usize| {
        let next_number = (around.next_number)(&plan.ladders[ladder].key);
        LadderTask::new(ladder, Vec::new(), next_number)
    };
    Ok(group.ladders.iter().map(anew).collect())
}

fn start(group: &EngineGroup, log: &Path, lease: &Lease, around: &Surroundings<'_>) -> Result<Session, SessionError> {
    match &*group.engine {
        experiment::Engine::Vllm(engine) => {
            let library = around.library.ok_or_else(|| {
                SessionError::fatal(FailureKind::Environment, "no worker library was looked up for this run")
            })?;
            let env = apart::env(lease, Numbering::of_caller(), apart::caches().as_deref());
            let launch = Launch { engine, library, log: log.to_owned(), env };
            WorkerProcess::spawn(launch).map(|worker| Session::Worker(Box::new(worker)))
        }
        // Its luck is keyed by the stream of each probe, which holds the experiment's seed.
        experiment::Engine::Sim(engine) => Ok(Session::Sim(SimSession::new(*engine, 0))),
    }
}

/// Records that a group cannot run at all.
pub fn refuse(
    plan: &Plan,
    index: usize,
    tasks: Vec<LadderTask>,
    reason: &str,
    around: &Surroundings<'_>,
) -> Result<()> {
    let group = &plan.groups[index];
    let failure = SessionError::fatal(FailureKind::Environment, reason).into_failure(None, around.secrets);
    (around.record)(Entry::EngineFailed { group: group.key, failure: failure.clone() })?;
    (around.show)(Happening::EngineFailed { group, failure: &failure, tries_again: false });
    tasks.iter().try_for_each(|task| give_up(plan, task, &failure, around))
}

/// Records that a ladder is left for another time; what its probes showed stays.
fn leave(plan: &Plan, task: &LadderTask, reason: &str, around: &Surroundings<'_>) -> Result<()> {
    let ladder = &plan.ladders[task.ladder];
    (around.show)(Happening::LadderLeft { ladder, reason });
    (around.record)(Entry::LadderLeft { ladder: ladder.key, reason: reason.to_owned() })
}

/// Records that a ladder could not be measured; what it had answered by then stays.
fn give_up(plan: &Plan, task: &LadderTask, failure: &Failure, around: &Surroundings<'_>) -> Result<()> {
    let ladder = &plan.ladders[task.ladder];
    let mut answers = task.answers(plan);
    for answer in answers.iter_mut().filter(|answer| answer.status == Status::Undecided) {
        (answer.status, answer.undecided) = (Status::Failed, None);
    }
    (around.show)(Happening::LadderFailed { ladder, failure });
    (around.record)(Entry::LadderFailed {
        ladder: ladder.key,
        cells: plan.cell_keys(task.ladder),
        answers,
        failure: failure.clone(),
    })
}
