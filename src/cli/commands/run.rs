//! `ceiling run FILE…`

use anyhow::{Result, bail};
use ceiling_core::experiment::{Experiment, On};
use ceiling_core::plan::{ExperimentHead, Plan};
use serde::de::IgnoredAny;

use super::carry_out::{Start, carry_out};
use super::experiments::Planned;
use super::pattern::Pattern;
use super::preflight::{is_refused, real_engines, require_pythons};
use super::{element, experiments, hand_over, plan, take_back};
use crate::args::{self, PlanFormat, RunArgs};
use crate::executor::WorkerLibrary;
use crate::exit::Exit;
use crate::store::{Finder, newest_unfinished};

/// The most cells that a run measures without being asked twice.
const MOST_CELLS: usize = 100_000;

/// Runs experiments.
pub fn run(args: &RunArgs) -> Result<Exit> {
    if let (Some(group), Some(shared)) = (&args.batch.group, &args.batch.shared) {
        return element::element(args, group, shared);
    }
    let Some(planned) = planned(args)? else { return Ok(Exit::Usage) };
    let plan = &planned.plan;
    let on = on(args, plan)?;
    if args.batch.detach && on == On::Local {
        bail!("--detach is for runs that are handed over: say --on slurm");
    }
    if args.deadline.is_some() && on == On::Slurm {
        bail!(
            "--deadline is for runs on this machine: set execution.slurm.time for what a batch system carries out, or say --on local"
        );
    }
    if args.dry_run && on == On::Local {
        plan::print(plan, PlanFormat::Table, &args.results.results)?;
        return Ok(Exit::Done);
    }
    if plan.cells.len() > MOST_CELLS && !args.yes {
        bail!("the plan has {} cells; say --yes to run more than {MOST_CELLS}", plan.cells.len());
    }
    if on == On::Slurm {
        return hand_over::hand_over(args, planned.plan);
    }
    let real_engines = real_engines(plan);
    if real_engines == 1 {
        require_pythons(plan)?;
    }
    if real_engines > 1 {
        // A single engine says so itself, before it loads anything; of several, the last might say so at dawn.
        tell!("asking vLLM about {real_engines} engine configurations");
        if is_refused(&planned, &WorkerLibrary::find()?, &|_, _| {})? {
            return Ok(Exit::Usage);
        }
    }
    let results = &args.results.results;
    let start = match resumed(args, &planned.plan.experiments)? {
        None => Start::Anew,
        Some(run_id) => {
            take_back::take_back(results, &run_id)?;
            Start::Again(run_id)
        }
    };
    let (exit, _) = carry_out(planned.plan, results, start, args.deadline)?;
    Ok(exit)
}

/// The files, or the part of them that is wanted; `None` where they are faulty, which has been said by then.
pub fn planned(args: &RunArgs) -> Result<Option<Planned>> {
    let Some(mut planned) = experiments::plan(&args.experiments) else { return Ok(None) };
    if let Some(pattern) = &args.only {
        planned.plan = only(&planned.plan, pattern)?;
        let heads = &planned.plan.experiments;
        let (kept, left): (Vec<Experiment>, Vec<Experiment>) = planned
            .experiments
            .into_iter()
            .partition(|experiment| heads.iter().any(|head| head.name == experiment.name));
        for experiment in left {
            tell!("note: no cell of {} matches --only {pattern}: there is no run of it", experiment.name);
        }
        planned.experiments = kept;
    }
    Ok(Some(planned))
}

/// The id of the run to go on with, if there is to be one.
pub fn resumed(args: &RunArgs, experiments: &[ExperimentHead]) -> Result<Option<String>> {
    let results = &args.results.results;
    let experiment = experiments.first().map(|head| head.name.as_str());
    let run_id = match args.resume.as_deref() {
        None => return Ok(None),
        Some("") => newest_unfinished(results, experiments)?,
        Some(run) => {
            let found = Finder::new(results, experiment).find(run)?;
            match found.lost() {
                Some(run_id) => run_id,
                None => found.read::<IgnoredAny>()?.run_id,
            }
        }
    };
    if args.only.is_some() {
        tell!(
            "note: of {run_id} only what --only matches is measured and published now; `--resume {run_id}` without --only brings the \
             other cells back"
        );
    }
    Ok(Some(run_id))
}

/// Where a plan is carried out: one place for all of it.
fn on(args: &RunArgs, plan: &Plan) -> Result<On> {
    match args.batch.on {
        Some(args::On::Local) => return Ok(On::Local),
        Some(args::On::Slurm) => return Ok(On::Slurm),
        None => {}
    }
    let first = plan.groups[0].execution.on;
    if plan.groups.iter().any(|group| group.execution.on != first) {
        bail!("these experiments ask for different machines (execution.on): say --on, or run them one by one");
    }
    Ok(first)
}

/// The part of a plan whose cells' ids hold a text, or match a glob.
fn only(plan: &Plan, pattern: &str) -> Result<Plan> {
    let wanted = Pattern::new(pattern);
    let part = plan.only(|cell| wanted.matches(&cell.id));
    if part.cells.is_empty() {
        bail!("--only {pattern} matches none of the {} cells; `ceiling plan` lists their ids", plan.cells.len());
    }
    Ok(part)
}
