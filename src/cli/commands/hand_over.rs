//! `ceiling run --on slurm`: hands a plan to the batch system, and watches it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ceiling_core::plan::Plan;
use ceiling_core::record::Run;
use jiff::Timestamp;

use super::carry_out::print_runs;
use super::preflight::real_engines;
use super::run::resumed;
use crate::args::RunArgs;
use crate::batch::{
    Settled, Watch, alive, arrays, recover, refresh, script_of, settle, submit, submit_open, system, utf8,
};
use crate::executor::{LadderTask, WorkerLibrary};
use crate::exit::{Exit, after_start};
use crate::progress::Progress;
use crate::signals::told_to_stop;
use crate::store::{self, Attempt, Command, Ledger, Resumed, Shared, Submission, read_run};

/// Hands a plan over, or goes on with one that was handed over before.
pub fn hand_over(args: &RunArgs, plan: Plan) -> Result<Exit> {
    let plan = Arc::new(plan);
    // What cannot be asked for is said before anything is made.
    let all: Vec<usize> = (0..plan.groups.len()).collect();
    let planned = arrays(&plan, &all, system())?;
    let results = &args.results.results;
    let run_id = resumed(args, &plan.experiments)?;
    if args.dry_run {
        if let Some(run_id) = run_id {
            bail!("--dry-run prints the scripts of a new run; those of {run_id} lie in its directory, under batch/");
        }
        let run_id = store::run_id(&store::provenance(results, &plan), Timestamp::now());
        let shared = Shared::first(&results.join(plan.experiments[0].name.as_str()).join(run_id))?;
        let command = command(args, &shared, Plans::InFiles)?;
        for array in &planned {
            say!("{}", script_of(array, &plan, &command, None, system())?);
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
    let ledger = Ledger::create(plan.clone(), results, store::provenance(results, plan), Timestamp::now())?;
    let first = ledger.directories().next().map(Path::to_owned).context("a plan has an experiment")?;
    let shared = Shared::first(&first)?;
    match hand(args, plan, groups, &shared) {
        Ok(submission) => watch(args, &shared, plan, submission, ledger, None),
        Err(error) => {
            // Where nothing was started, nothing is left.
            if shared.submission()?.is_none_or(|submission| submission.arrays.is_empty()) {
                ledger.discard()?;
            }
            Err(error)
        }
    }
}

/// Hands groups over. Where one array is refused, none is left.
fn hand(args: &RunArgs, plan: &Plan, groups: &[usize], shared: &Shared) -> Result<Submission> {
    let mut submission = Submission::new(command(args, shared, Plans::Kept)?);
    // Before the plan: whoever comes after a crash sees that nothing was handed over by hand.
    shared.keep_submission(&submission)?;
    shared.keep_plan(plan)?;
    if let Err(error) = submit(shared, plan, groups, &mut submission, system()) {
        let refused = format!("{error:#}");
        after_start(withdraw(shared, &mut submission).with_context(|| {
            let remedy = format!("`ceiling cancel {}` ends what was taken", shared.run_id());
            format!("{refused}; and it cannot be told whether some of it was taken all the same: {remedy}")
        }))?;
        return Err(error);
    }
    announce(&submission);
    Ok(submission)
}

/// Ends what was taken of a submission that was not taken as a whole. An array may have been taken although the answer
/// said otherwise.
fn withdraw(shared: &Shared, submission: &mut Submission) -> Result<()> {
    recover(submission, system())?;
    let ids = submission.ids();
    if !ids.is_empty() {
        system().cancel(&ids)?;
    }
    submission.arrays.clear();
    shared.keep_submission(submission)
}

fn announce(submission: &Submission) {
    for array in &submission.arrays {
        let id = array.id.as_ref().map_or("", |id| &id.0);
        tell!("handed to {}: job array {id}, {} engine groups", system().name(), array.elements.len());
    }
}

/// Where elements have their plan from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plans {
    /// It lies in the shared directory, where nobody else can read it. What the command line sets may be a secret: it is left out.
    Kept,
    /// The first element makes it from the experiment files.
    InFiles,
}

/// What elements run.
fn command(args: &RunArgs, shared: &Shared, plans: Plans) -> Result<Command> {
    let binary = std::env::current_exe().context("cannot tell where this binary lies")?;
    let mut words = vec![utf8(&binary)?, "run".to_owned()];
    words.extend(args.experiments.files.iter().cloned());
    if plans == Plans::InFiles {
        words.extend(args.experiments.overrides.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
        words.extend(args.only.iter().flat_map(|only| ["--only".to_owned(), only.clone()]));
    }
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
    // Elements need the plan: without it nothing was handed over.
    let Some(kept) = shared.plan()? else { return rest(args, plan, &shared.next()?) };
    let Some(mut submission) = shared.submission()? else {
        tell!(
            "run {run_id} was submitted by hand: what is published so far is merged; to measure the rest, submit again"
        );
        return refreshed(&shared, &kept);
    };
    let mut ledger = Ledger::reopen(kept.clone(), results, run_id)?;
    let asked = Instant::now();
    match recover(&mut submission, system()).and_then(|()| alive(&shared, &submission, system())) {
        Ok(Some(_)) if is_same(plan, &kept) => {
            tell!("going on with {run_id}, whose jobs are in {}'s hands", system().name());
            shared.keep_submission(&submission)?;
            if !shared.is_cancelled() {
                submit_open(&shared, &mut submission, system())?;
            }
            watch(args, &shared, &kept, submission, ledger, Some(asked))
        }
        Ok(Some(job)) => bail!(
            "the experiment is not as it was when {run_id} was handed over, and {job}: wait for its jobs, or end them with \
             `ceiling cancel {run_id}`"
        ),
        Ok(None) => {
            settle(&shared, &kept, &mut ledger)?;
            drop(ledger);
            rest(args, plan, &shared.next()?)
        }
        Err(error) => {
            drop(ledger);
            tell!("warning: {error:#}; what is published so far is merged");
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
    let provenance = store::provenance(shared.results(), plan);
    let Resumed { mut ledger, replay, notes } =
        store::resume(plan.clone(), shared.results(), shared.run_id(), &provenance)?;
    ledger.publish_all()?;
    notes.iter().for_each(|note| tell!("note: {note}"));
    let known = known(plan, &ledger);
    let groups: BTreeSet<usize> = LadderTask::of(replay).iter().map(|task| plan.ladders[task.ladder].group).collect();
    if groups.is_empty() {
        tell!("nothing is left to measure");
        let directories: Vec<PathBuf> = ledger.directories().map(Path::to_owned).collect();
        let runs = ledger.finish(false, Timestamp::now())?;
        print_runs(&runs, &directories);
        return Ok(exit_of(&runs));
    }
    tell!("going on with {}: {} of {} engine groups are left", shared.run_id(), groups.len(), plan.groups.len());
    for &group in groups.intersection(&known) {
        Attempt::seed(shared, &Arc::new(plan.group_alone(group)), plan.groups[group].key)?;
    }
    let groups: Vec<usize> = groups.into_iter().collect();
    let submission = hand(args, plan, &groups, shared)?;
    watch(args, shared, plan, submission, ledger, None)
}

/// The groups of which anything is known.
fn known(plan: &Plan, ledger: &Ledger) -> BTreeSet<usize> {
    let ladders = plan.ladders.iter().filter(|ladder| ledger.knows(&ladder.key)).map(|ladder| ladder.group);
    ladders.collect()
}

/// Watches a submission to its end, unless nobody is to wait for it. The batch system was last asked about it at `asked`.
fn watch(
    args: &RunArgs,
    shared: &Shared,
    plan: &Arc<Plan>,
    submission: Submission,
    mut ledger: Ledger,
    asked: Option<Instant>,
) -> Result<Exit> {
    let directories: Vec<PathBuf> = ledger.directories().map(Path::to_owned).collect();
    let run_id = shared.run_id();
    if args.batch.detach {
        say!("{run_id}");
        return Ok(Exit::Done);
    }
    let progress = Progress::new(plan.cells.len());
    let mut watch = Watch::new(shared, plan.clone(), submission, system(), &progress, asked);
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
        Ok(settled) => after_start(settled)?,
        Err(told) => {
            tell!("{told}: the jobs go on without anybody who watches");
            tell!("watch again with --resume {run_id}, or end them with `ceiling cancel {run_id}`");
            return Ok(Exit::Interrupted);
        }
    };
    let runs = after_start(ledger.finish(settled == Settled::Cancelled, Timestamp::now()))?;
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
    if runs.iter().all(Run::is_answered) { Exit::Done } else { Exit::Failed }
}
