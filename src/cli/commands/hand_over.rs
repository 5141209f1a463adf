//! `ceiling run --on slurm`: hands a plan to Slurm, and watches it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ceiling_core::plan::Plan;
use ceiling_core::record::{Run, RunStatus};
use jiff::Timestamp;

use super::carry_out::print_runs;
use super::preflight::real_engines;
use super::run::resumed;
use crate::args::RunArgs;
use crate::batch::{
    Attempt, BatchSystem, Command, Settled, Shared, Slurm, Submission, Watch, arrays, is_alive, refresh, script_of,
    settle, submit, utf8,
};
use crate::executor::{LadderTask, WorkerLibrary};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::signals::told_to_stop;
use crate::store::{self, Ledger, Resumed, read_run};

/// Where the elements of a script that is submitted by hand print to.
const OUTPUT_BY_HAND: &str = "ceiling-%A_%a.out";

/// Hands a plan over, or goes on with one that was handed over before.
pub fn hand_over(args: &RunArgs, plan: Plan) -> Result<Exit> {
    let plan = Arc::new(plan);
    // What cannot be asked for is said before anything is made.
    let all: Vec<usize> = (0..plan.groups.len()).collect();
    let planned = arrays(&plan, &all)?;
    let results = &args.results.results;
    let run_id = resumed(args, &plan.experiments)?;
    if args.dry_run {
        if let Some(run_id) = run_id {
            bail!("--dry-run prints the scripts of a new run; those of {run_id} lie in its directory, under batch/");
        }
        let run_id = store::run_id(&store::provenance(results), Timestamp::now());
        let shared = Shared::first(&results.join(plan.experiments[0].name.as_str()).join(run_id))?;
        let command = command(args, &shared)?;
        for array in &planned {
            println!("{}", script_of(array, &plan, &command, OUTPUT_BY_HAND)?);
        }
        return Ok(Exit::Done);
    }
    if real_engines(&plan) > 0 {
        WorkerLibrary::find()?;
    }
    match run_id {
        None => anew(args, &plan, &all),
        Some(run_id) => again(args, &plan, &run_id),
    }
}

/// Hands over all groups of a new run.
fn anew(args: &RunArgs, plan: &Arc<Plan>, groups: &[usize]) -> Result<Exit> {
    let results = &args.results.results;
    let ledger = Ledger::create(plan.clone(), results, store::provenance(results), Timestamp::now())?;
    let directories: Vec<PathBuf> = ledger.directories().map(Path::to_owned).collect();
    let shared = Shared::first(&directories[0])?;
    let handed = hand(args, plan, groups, &shared);
    let submission = match handed {
        Ok(submission) => submission,
        Err(error) => {
            drop(ledger);
            // Nothing was started, so nothing is left.
            for directory in &directories {
                std::fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
            }
            return Err(error);
        }
    };
    watch(args, &shared, plan, submission, ledger)
}

/// Hands groups over. Where one array is refused, none is left.
fn hand(args: &RunArgs, plan: &Plan, groups: &[usize], shared: &Shared) -> Result<Submission> {
    shared.keep_plan(plan)?;
    let mut submission = Submission::new(command(args, shared)?);
    // Whoever comes after a crash sees that nothing was handed over by hand.
    shared.keep_submission(&submission)?;
    if let Err(error) = submit(shared, plan, groups, &mut submission, &Slurm) {
        let ids = submission.ids();
        if !ids.is_empty() {
            Slurm.cancel(&ids)?;
        }
        return Err(error);
    }
    for array in &submission.arrays {
        eprintln!("handed to Slurm: job array {}, {} engine groups", array.id, array.elements.len());
    }
    Ok(submission)
}

/// What elements run.
fn command(args: &RunArgs, shared: &Shared) -> Result<Command> {
    let binary = std::env::current_exe().context("cannot tell where this binary lies")?;
    let mut words = vec![utf8(&binary)?, "run".to_owned()];
    words.extend(args.experiments.files.iter().cloned());
    words.extend(args.experiments.overrides.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
    words.extend(args.only.iter().flat_map(|only| ["--only".to_owned(), only.clone()]));
    words.extend(["--shared".to_owned(), utf8(shared.path())?]);
    let directory = std::env::current_dir().context("cannot tell the working directory")?;
    Ok(Command { directory, words })
}

/// Goes on with a run: watches it where its jobs are alive, and hands over what is left where they are not.
fn again(args: &RunArgs, plan: &Arc<Plan>, run_id: &str) -> Result<Exit> {
    let results = &args.results.results;
    let shared = match Shared::newest(results, run_id)? {
        None => {
            let run = results.join(plan.experiments[0].name.as_str()).join(run_id);
            return rest(args, plan, &Shared::first(&run)?);
        }
        Some(shared) => shared,
    };
    let kept = shared.plan()?.with_context(|| format!("{} holds no plan", shared.path().display()))?;
    let Some(submission) = shared.submission()? else {
        eprintln!(
            "run {run_id} was submitted by hand: what is published so far is merged; to measure the rest, submit again"
        );
        return refreshed(&shared, &kept);
    };
    match is_alive(&shared, &submission, &Slurm) {
        Ok(true) if is_same(plan, &kept) => {
            let ledger = Ledger::reopen(kept.clone(), results, run_id)?;
            eprintln!("going on with {run_id}, whose jobs are in Slurm's hands");
            watch(args, &shared, &kept, submission, ledger)
        }
        Ok(true) => bail!(
            "the experiment is not as it was when {run_id} was handed over, and its jobs still run: wait for them, or end \
             them with `ceiling cancel {run_id}`"
        ),
        Ok(false) => {
            let mut ledger = Ledger::reopen(kept.clone(), results, run_id)?;
            settle(&shared, &kept, &submission, &mut ledger)?;
            drop(ledger);
            rest(args, plan, &shared.next()?)
        }
        Err(error) => {
            eprintln!("warning: {error:#}; what is published so far is merged");
            refreshed(&shared, &kept)
        }
    }
}

/// Whether two plans ask the same.
fn is_same(plan: &Plan, kept: &Plan) -> bool {
    let cells = |plan: &Plan| plan.cells.iter().map(|cell| cell.key).collect::<Vec<_>>();
    cells(plan) == cells(kept)
}

/// Hands over the groups that are not measured yet, with all that is known of them.
fn rest(args: &RunArgs, plan: &Arc<Plan>, shared: &Shared) -> Result<Exit> {
    let provenance = store::provenance(shared.results());
    let Resumed { mut ledger, replay, notes } =
        store::resume(plan.clone(), shared.results(), shared.run_id(), &provenance)?;
    ledger.publish_all()?;
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    let known = known(plan, &ledger);
    let groups: BTreeSet<usize> = LadderTask::of(replay).iter().map(|task| plan.ladders[task.ladder].group).collect();
    if groups.is_empty() {
        eprintln!("nothing is left to measure");
        let directories: Vec<PathBuf> = ledger.directories().map(Path::to_owned).collect();
        let runs = ledger.finish(false, Timestamp::now())?;
        print_runs(&runs, &directories);
        return Ok(exit_of(&runs));
    }
    eprintln!("going on with {}: {} of {} engine groups are left", shared.run_id(), groups.len(), plan.groups.len());
    shared.keep_plan(plan)?;
    for &group in groups.intersection(&known) {
        Attempt::seed(shared, &Arc::new(plan.group_alone(group)), plan.groups[group].key)?;
    }
    let groups: Vec<usize> = groups.into_iter().collect();
    let submission = hand(args, plan, &groups, shared)?;
    watch(args, shared, plan, submission, ledger)
}

/// The groups of which anything is known.
fn known(plan: &Plan, ledger: &Ledger) -> BTreeSet<usize> {
    let ladders = plan.ladders.iter().filter(|ladder| ledger.knows(&ladder.key)).map(|ladder| ladder.group);
    ladders.collect()
}

/// Watches a submission to its end, unless nobody is to wait for it.
fn watch(
    args: &RunArgs,
    shared: &Shared,
    plan: &Arc<Plan>,
    submission: Submission,
    mut ledger: Ledger,
) -> Result<Exit> {
    let directories: Vec<PathBuf> = ledger.directories().map(Path::to_owned).collect();
    let run_id = shared.run_id();
    if args.batch.detach {
        println!("{run_id}");
        return Ok(Exit::Done);
    }
    let progress = Progress::new(plan.cells.len());
    let mut watch = Watch::new(shared, plan.clone(), submission, &Slurm, &progress);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            told = told_to_stop() => Err(told),
            settled = watch.until_settled(&mut ledger) => Ok(settled),
        }
    });
    progress.close();
    let settled = match ended {
        Ok(settled) => settled?,
        Err(told) => {
            eprintln!("{told}: the jobs go on without anybody who watches");
            eprintln!("watch again with --resume {run_id}, or end them with `ceiling cancel {run_id}`");
            return Ok(Exit::Interrupted);
        }
    };
    let runs = ledger.finish(settled == Settled::Cancelled, Timestamp::now())?;
    print_runs(&runs, &directories);
    Ok(if settled == Settled::Cancelled { Exit::Interrupted } else { exit_of(&runs) })
}

/// Merges what is published and shows it.
fn refreshed(shared: &Shared, plan: &Plan) -> Result<Exit> {
    let run = |name: &str| shared.results().join(name).join(shared.run_id());
    let directories: Vec<PathBuf> = plan.experiments.iter().map(|head| run(head.name.as_str())).collect();
    refresh(&directories[0])?;
    let runs = directories.iter().map(|directory| read_run(directory)).collect::<Result<Vec<_>>>()?;
    print_runs(&runs, &directories);
    Ok(exit_of(&runs))
}

fn exit_of(runs: &[Run]) -> Exit {
    if runs.iter().all(|run| run.status == RunStatus::Complete) { Exit::Done } else { Exit::Failed }
}
