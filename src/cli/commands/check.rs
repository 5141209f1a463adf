//! `ceiling check FILE…`

use anyhow::Result;
use ceiling_core::plan::Plan;

use super::experiments;
use super::preflight::refused;
use crate::args::CheckArgs;
use crate::executor::WorkerLibrary;
use crate::exit::Exit;

/// Validates files, and on demand what vLLM makes of their engine args.
pub fn check(args: &CheckArgs) -> Result<Exit> {
    let Some(plan) = experiments::plan(&args.experiments) else {
        return Ok(Exit::Usage);
    };
    let (cells, loads) = (plan.cells.len(), plan.groups.len());
    println!("{} experiments, {cells} cells on {loads} engine loads: no fault found", plan.experiments.len());
    if args.engine { check_engines(&plan) } else { Ok(Exit::Done) }
}

fn check_engines(plan: &Plan) -> Result<Exit> {
    let taken = |engine: &str, version: &str| println!("engine {engine}: vLLM {version} takes it");
    let refused = refused(plan, &WorkerLibrary::find()?, &taken)?;
    Ok(if refused == 0 { Exit::Done } else { Exit::Usage })
}
