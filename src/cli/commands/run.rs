//! `ceiling run FILE…`

use anyhow::{Result, bail};
use ceiling_core::plan::Plan;

use super::carry_out::carry_out;
use super::pattern::Pattern;
use super::{experiments, plan};
use crate::args::{PlanFormat, RunArgs};
use crate::exit::Exit;

/// The most cells that a run measures without being asked twice.
const MOST_CELLS: usize = 100_000;

/// Runs experiments.
pub fn run(args: &RunArgs) -> Result<Exit> {
    let Some(plan) = experiments::plan(&args.experiments) else {
        return Ok(Exit::Usage);
    };
    let plan = match &args.only {
        None => plan,
        Some(pattern) => only(&plan, pattern)?,
    };
    if args.dry_run {
        plan::print(&plan, PlanFormat::Table)?;
        return Ok(Exit::Done);
    }
    if plan.cells.len() > MOST_CELLS && !args.yes {
        bail!("the plan has {} cells; say --yes to run more than {MOST_CELLS}", plan.cells.len());
    }
    let (exit, _) = carry_out(plan, &args.results.results)?;
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
