//! `ceiling run FILE…`

use anyhow::{Result, bail};
use ceiling_core::plan::Plan;
use serde::de::IgnoredAny;

use super::carry_out::{Start, carry_out};
use super::pattern::Pattern;
use super::preflight::{is_refused, real_engines};
use super::{experiments, plan};
use crate::args::{PlanFormat, RunArgs};
use crate::executor::WorkerLibrary;
use crate::exit::Exit;
use crate::store::{Finder, newest_unfinished};

/// The most cells that a run measures without being asked twice.
const MOST_CELLS: usize = 100_000;

/// Runs experiments.
pub fn run(args: &RunArgs) -> Result<Exit> {
    let Some(mut planned) = experiments::plan(&args.experiments) else {
        return Ok(Exit::Usage);
    };
    if let Some(pattern) = &args.only {
        planned.plan = only(&planned.plan, pattern)?;
    }
    let plan = &planned.plan;
    if args.dry_run {
        plan::print(plan, PlanFormat::Table, &args.results.results)?;
        return Ok(Exit::Done);
    }
    if plan.cells.len() > MOST_CELLS && !args.yes {
        bail!("the plan has {} cells; say --yes to run more than {MOST_CELLS}", plan.cells.len());
    }
    let real_engines = real_engines(plan);
    if real_engines > 1 {
        // A single engine says so itself, before it loads anything; of several, the last might say so at dawn.
        eprintln!("asking vLLM about {real_engines} engine configurations");
        if is_refused(&planned, &WorkerLibrary::find()?, &|_, _| {})? {
            return Ok(Exit::Usage);
        }
    }
    let results = &args.results.results;
    let experiment = &planned.plan.experiments[0].name;
    let start = match args.resume.as_deref() {
        None => Start::Anew,
        Some("") => Start::Again(newest_unfinished(results, experiment)?),
        Some(run) => {
            Start::Again(Finder::new(results, Some(experiment.as_str())).find(run)?.read::<IgnoredAny>()?.run_id)
        }
    };
    let (exit, _) = carry_out(planned.plan, results, start)?;
    Ok(exit)
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
