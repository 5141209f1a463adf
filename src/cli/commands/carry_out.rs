//! Carries a plan out and keeps its books: what `run` and `quick` share.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ceiling_core::plan::{self, Key, Plan};
use ceiling_core::record::{Entry, Replay, Run};
use ceiling_core::secret::{self, Secrets, is_secret_variable};
use ceiling_core::units::Seconds;
use jiff::Timestamp;

use super::preflight::real_engines;
use crate::executor::{self, Deadline, LadderTask, NoDriver, Surroundings, WorkerLibrary};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::report::{markdown, printable, show, table};
use crate::signals::{Told, told_to_stop};
use crate::store::{self, Ledger, Resumed};

/// Where a run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With nothing, in directories of its own.
    Anew,
    /// Where the run of this id ended.
    Again(String),
}

/// Runs a plan and prints the table of each of its experiments.
pub fn carry_out(plan: Plan, results: &Path, start: Start, deadline: Option<Seconds>) -> Result<(Exit, Vec<Run>)> {
    let Carried { ended, runs } = carry_out_as(plan, results, start, None, deadline)?;
    Ok((ended.exit(&runs), runs))
}

/// What came of a plan.
pub struct Carried {
    /// How it ended.
    pub ended: Ended,
    /// What was published.
    pub runs: Vec<Run>,
}

/// The same, where logs may be called otherwise than by their place under `results`.
pub fn carry_out_as(
    plan: Plan,
    results: &Path,
    start: Start,
    logs_name: Option<String>,
    deadline: Option<Seconds>,
) -> Result<Carried> {
    let began = Instant::now();
    let plan = Arc::new(plan);
    let deadline = match deadline {
        Some(limit) => Deadline::new(limit, began, plan::estimate(&plan, &store::measurements(results, &plan)?)),
        None => None,
    };
    let library = if real_engines(&plan) == 0 { None } else { Some(WorkerLibrary::find()?) };
    let provenance = store::provenance(results, &plan);
    let (ledger, tasks) = match start {
        Start::Anew => {
            let ledger = Ledger::create(plan.clone(), results, provenance, Timestamp::now())?;
            (ledger, LadderTask::of(Replay::new(&plan)))
        }
        Start::Again(run_id) => {
            let Resumed { mut ledger, replay, notes } = store::resume(plan.clone(), results, &run_id, &provenance)?;
            let tasks = LadderTask::of(replay);
            tell!("going on with {run_id}: {} of {} ladders are left", tasks.len(), plan.ladders.len());
            notes.iter().for_each(|note| tell!("note: {note}"));
            if !tasks.is_empty() {
                ledger.goes_on_at(&provenance);
            }
            (ledger, tasks)
        }
    };
    let directories: Vec<PathBuf> = ledger.directories().map(Path::to_owned).collect();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let ledger = RefCell::new(ledger);
    let secrets = secrets(&plan)?;
    let execution = execute(&plan, tasks, &ledger, library.as_ref(), logs_name, deadline.as_ref(), &secrets);
    let ended = runtime.block_on(execution);
    // Dropping the runtime reaps what was killed.
    drop(runtime);
    if let Err(error) = store::hide_secrets(&ledger.borrow().logs().0, &secrets) {
        tell!("warning: engines may have written secrets into their logs: {error:#}");
    }

    let interrupted = matches!(ended, Ended::Told(_));
    let runs = ledger.borrow_mut().finish(interrupted, Timestamp::now());
    let (ended, runs) = match (ended, runs) {
        (Ended::CannotGoOn(error), runs) => (Ended::CannotGoOn(error), runs.unwrap_or_default()),
        (_, Err(error)) => (Ended::CannotGoOn(error), Vec::new()),
        (ended, Ok(runs)) => (ended, runs),
    };
    if let Ended::CannotGoOn(error) = &ended {
        tell!("error: the run was stopped: {error:#}");
        tell!("what was measured before is kept: once that is mended, `ceiling run … --resume` goes on");
        return Ok(Carried { ended, runs });
    }
    let (spent, total) = (ledger.borrow().spent(), began.elapsed());
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let (journal, publishing) = (seconds(spent.journal), seconds(spent.publishing));
    tell!("took {}, of which the journal {journal} and publishing {publishing}", seconds(total));
    print_runs(&runs, &directories);
    Ok(Carried { ended, runs })
}

/// How the execution of a plan ended.
pub enum Ended {
    /// Everything that could be measured was.
    Done,
    /// It was told to stop.
    Told(Told),
    /// What was measured could not be kept.
    CannotGoOn(anyhow::Error),
}

impl Ended {
    /// How the command ends.
    pub fn exit(&self, runs: &[Run]) -> Exit {
        match self {
            Self::Told(_) => Exit::Interrupted,
            Self::Done if runs.iter().all(Run::is_answered) => Exit::Done,
            Self::Done | Self::CannotGoOn(_) => Exit::Failed,
        }
    }
}

/// Publishes what happened too soon after the last time, a little later: it may be long until something happens again. Ends where it cannot.
async fn publish_late(ledger: &RefCell<Ledger>) -> anyhow::Error {
    const EVERY: Duration = Duration::from_secs(1);
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = ledger.borrow_mut().publish_news() {
            return error;
        }
    }
}

async fn execute(
    plan: &Plan,
    tasks: Vec<LadderTask>,
    ledger: &RefCell<Ledger>,
    library: Option<&WorkerLibrary>,
    logs_name: Option<String>,
    deadline: Option<&Deadline>,
    secrets: &Secrets,
) -> Ended {
    let progress = Progress::new(plan.cells.len());
    let (logs, own_name) = ledger.borrow().logs();
    let logs_name = logs_name.unwrap_or(own_name);
    let record = |entry: Entry| ledger.borrow_mut().record(&entry);
    let known = |group: &Key| ledger.borrow().resolved(group);
    let next_number = |ladder: &Key| ledger.borrow().next_number(ladder);
    let show = |happening: executor::Happening<'_>| progress.show(happening);
    // A simulated engine has no GPU.
    let gpus = if library.is_some() { executor::of_this_machine() } else { Arc::new(NoDriver) };
    let around = Surroundings {
        logs,
        logs_name,
        library,
        gpus,
        processor: store::machine().cpu,
        secrets,
        deadline,
        known: &known,
        next_number: &next_number,
        record: &record,
        show: &show,
    };
    let ended = tokio::select! {
        biased;
        // Dropping the execution kills its workers with everything that they started.
        told = told_to_stop() => {
            progress.close();
            tell!("{told}: stopping; what was measured is kept");
            Ended::Told(told)
        }
        result = executor::execute(plan, tasks, &around) => match result {
            Ok(()) => Ended::Done,
            Err(error) => Ended::CannotGoOn(error),
        },
        error = publish_late(ledger) => Ended::CannotGoOn(error),
    };
    progress.close();
    ended
}

/// What engines are told in confidence: by the caller's environment, and by the experiments.
fn secrets(plan: &Plan) -> Result<Secrets> {
    let mut secrets: Vec<String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_secret_variable(name))
        .map(|(_, value)| value)
        .collect();
    for group in &plan.groups {
        secrets.extend(secret::held_by(serde_json::to_value(&*group.engine)?));
    }
    Ok(Secrets::of(secrets))
}

/// Prints the table of each run.
pub fn print_runs(runs: &[Run], directories: &[PathBuf]) {
    runs.iter().zip(directories).for_each(|(run, directory)| print_run(run, directory));
}

/// A log as one can open it from here. In a run it is named from the directory of all results, which is two above its own;
/// where it does not lie there, as on another machine, the name is all that is known.
pub fn from_here(log: &str, directory: &Path) -> String {
    let results = directory.ancestors().nth(2).map_or_else(|| directory.join("../.."), Path::to_owned);
    let path = results.join(log);
    if path.is_file() { path.display().to_string() } else { log.to_owned() }
}

fn print_run(run: &Run, directory: &Path) {
    let simulated = if run.simulated { " (simulated)" } else { "" };
    let question = Some(&run.experiment.description).filter(|question| !question.is_empty());
    let question = question.map_or_else(String::new, |question| format!(": {question}"));
    say!("\n{}", printable(&format!("{}{simulated}{question}", run.experiment.name)));
    if let Some(grid) = table::grid(run) {
        say!("most requests in flight:\n{}", show(&grid));
    }
    say!("{}", show(&table::table(run)));
    for (failure, _) in markdown::failed(run) {
        let log = failure.log.as_ref().map_or_else(String::new, |log| format!(" (log: {})", from_here(log, directory)));
        say!("failed: {}", printable(&format!("{}{log}", failure.reason)));
    }
    for (reason, cells) in markdown::undecided(run) {
        say!("undecided: {}", printable(&format!("{}: {reason}", markdown::names(&cells))));
    }
    for (reason, cells) in markdown::left(run) {
        say!("left: {}", printable(&format!("{}: {reason}", markdown::names(&cells))));
    }
    say!("{}", printable(&markdown::provenance(run)));
    say!("{}", directory.join("run.json").display());
}
