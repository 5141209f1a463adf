//! Carries a plan out and keeps its books: what `run` and `quick` share.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ceiling_core::plan::Plan;
use ceiling_core::record::{Entry, Replay, Run, RunStatus};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::preflight::real_engines;
use crate::executor::{self, LadderTask, Surroundings, WorkerLibrary};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::report::{markdown, printable, show, table};
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
pub fn carry_out(plan: Plan, results: &Path, start: Start) -> Result<(Exit, Vec<Run>)> {
    let plan = Arc::new(plan);
    let library = if real_engines(&plan) == 0 { None } else { Some(WorkerLibrary::find()?) };
    let provenance = store::provenance(results);
    let (ledger, tasks) = match start {
        Start::Anew => {
            let ledger = Ledger::create(plan.clone(), results, provenance, Timestamp::now())?;
            (ledger, LadderTask::of(Replay::new(&plan)))
        }
        Start::Again(run_id) => {
            let Resumed { ledger, replay, notes } = Ledger::resume(plan.clone(), results, &run_id, &provenance)?;
            let tasks = LadderTask::of(replay);
            eprintln!("going on with {run_id}: {} of {} ladders are left", tasks.len(), plan.ladders.len());
            notes.iter().for_each(|note| eprintln!("note: {note}"));
            (ledger, tasks)
        }
    };
    let directories: Vec<PathBuf> = ledger.directories().map(Path::to_owned).collect();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let ledger = RefCell::new(ledger);
    let ended = runtime.block_on(execute(&plan, tasks, &ledger, library.as_ref()));
    // Dropping the runtime reaps what was killed.
    drop(runtime);

    let interrupted = matches!(ended, Ended::Interrupted);
    let runs = ledger.borrow_mut().finish(interrupted, Timestamp::now());
    if let Ended::CannotGoOn(error) = ended {
        eprintln!("error: the run was stopped: {error:#}");
        return Ok((Exit::Failed, runs.unwrap_or_default()));
    }
    let runs = runs?;
    for (run, directory) in runs.iter().zip(&directories) {
        print_run(run, directory);
    }
    let exit = match runs.iter().all(|run| run.status == RunStatus::Complete) {
        _ if interrupted => Exit::Interrupted,
        true => Exit::Done,
        false => Exit::Failed,
    };
    Ok((exit, runs))
}

enum Ended {
    Done,
    Interrupted,
    CannotGoOn(anyhow::Error),
}

async fn execute(
    plan: &Plan,
    tasks: Vec<LadderTask>,
    ledger: &RefCell<Ledger>,
    library: Option<&WorkerLibrary>,
) -> Ended {
    let progress = Progress::new(plan.cells.len());
    let (logs, logs_name) = ledger.borrow().logs();
    let record = |entry: Entry| ledger.borrow_mut().record(&entry);
    let show = |happening: executor::Happening<'_>| progress.show(happening);
    let around = Surroundings { logs, logs_name, library, record: &record, show: &show };
    let ended = tokio::select! {
        biased;
        // Dropping the execution kills its workers with everything that they started.
        name = told_to_stop() => {
            progress.close();
            eprintln!("{name}: stopping; what was measured is kept");
            Ended::Interrupted
        }
        result = executor::execute(plan, tasks, &around) => match result {
            Ok(()) => Ended::Done,
            Err(error) => Ended::CannotGoOn(error),
        },
    };
    progress.close();
    ended
}

/// Waits for Ctrl-C, or for the notice that batch systems and service managers give.
async fn told_to_stop() -> &'static str {
    let wait = async |kind| match signal(kind) {
        Ok(mut stream) => stream.recv().await,
        // Without a handler the signal ends this process the default way, and workers see the end of their pipe.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        _ = wait(SignalKind::interrupt()) => "interrupted",
        _ = wait(SignalKind::terminate()) => "terminated",
    }
}

fn print_run(run: &Run, directory: &Path) {
    let simulated = if run.simulated { " (simulated)" } else { "" };
    println!("\n{}{simulated}: {}", run.experiment.name, run.experiment.description);
    if let Some(grid) = table::grid(run) {
        println!("most requests in flight:\n{}", show(&grid));
    }
    println!("{}", show(&table::table(run)));
    for (failure, _) in markdown::failed(run) {
        let log = failure.log.as_ref().map_or_else(String::new, |log| format!(" (log: {log})"));
        println!("failed: {}", printable(&format!("{}{log}", failure.reason)));
    }
    println!("{}", markdown::provenance(run));
    println!("{}", directory.join("run.json").display());
}
