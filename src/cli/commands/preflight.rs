//! Asks vLLM about every engine of a plan before one is loaded: what `check --engine` and `run` share.

use anyhow::{Context, Result};
use ceiling_core::plan::Plan;

use crate::executor::{self, WorkerLibrary};

/// Prints what vLLM refuses, all at once, and counts it; `on_taken` is told of each engine that it takes, with the
/// version of vLLM.
pub fn refused(plan: &Plan, library: &WorkerLibrary, on_taken: &dyn Fn(&str, &str)) -> Result<usize> {
    let logs = tempfile::Builder::new().prefix("ceiling-check-").tempdir().context("cannot make a place for logs")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let findings = runtime.block_on(executor::check(plan, library, logs.path()));
    let mut refused = 0;
    for finding in &findings {
        match &finding.result {
            Ok(resolved) => on_taken(&finding.group.label, &resolved.version),
            Err(error) => {
                refused += 1;
                eprintln!("error: engine {}: {}", finding.group.label, error.reason);
            }
        }
    }
    if refused > 0 {
        eprintln!("what vLLM said lies in {}", logs.keep().display());
    }
    Ok(refused)
}
