//! `ceiling check FILE…`

use anyhow::{Context, Result};
use ceiling_core::plan::Plan;

use super::experiments;
use crate::args::CheckArgs;
use crate::executor::{self, WorkerLibrary};
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
    let library = WorkerLibrary::find()?;
    let logs = std::env::temp_dir().join(format!("ceiling-check-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let findings = runtime.block_on(executor::check(plan, &library, &logs));
    let mut refused = 0;
    for finding in &findings {
        match &finding.result {
            Ok(resolved) => println!("{}: vLLM {} takes it", finding.group.label, resolved.version),
            Err(error) => {
                refused += 1;
                eprintln!("error: {}: {}", finding.group.label, error.reason);
            }
        }
    }
    if refused == 0 {
        std::fs::remove_dir_all(&logs).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error).with_context(|| format!("cannot remove {}", logs.display())),
        })?;
        return Ok(Exit::Done);
    }
    eprintln!("what vLLM said lies in {}", logs.display());
    Ok(Exit::Usage)
}
