//! `ceiling check FILE…`

use anyhow::Result;

use super::experiments;
use super::preflight::{is_refused, real_engines};
use crate::args::CheckArgs;
use crate::executor::WorkerLibrary;
use crate::exit::Exit;
use crate::report::printable;

/// Validates files, and on demand what vLLM makes of their engine args.
pub fn check(args: &CheckArgs) -> Result<Exit> {
    let Some(planned) = experiments::plan(&args.experiments) else {
        return Ok(Exit::Usage);
    };
    let (experiments, cells, loads) = (planned.experiments.len(), planned.plan.cells.len(), planned.plan.groups.len());
    if args.engine && real_engines(&planned.plan) > 0 {
        let taken =
            |engine: &str, version: &str| say!("{}", printable(&format!("engine {engine}: vLLM {version} takes it")));
        if is_refused(&planned, &WorkerLibrary::find()?, &taken)? {
            return Ok(Exit::Usage);
        }
    }
    // Not before everybody who was to be asked has answered.
    say!("experiments: {experiments}, cells: {cells}, engine loads: {loads}; no fault found");
    Ok(Exit::Done)
}
