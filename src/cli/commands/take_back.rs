//! `ceiling run --resume` on this machine, of a run that was handed to a batch system: takes it back, if nobody else may still
//! measure a part of it.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::batch::{alive, is_over, recover, refresh, settle, system};
use crate::store::{Ledger, Shared};

/// Takes into the books of a run all that was measured of it elsewhere; one that was never handed over is left alone.
///
/// # Errors
/// Where a job of it may still be alive, and where that cannot be told.
pub fn take_back(results: &Path, run_id: &str) -> Result<()> {
    let Some(shared) = Shared::newest(results, run_id)? else { return Ok(()) };
    // Elements need the plan: without it nothing was handed over.
    let Some(plan) = shared.plan()? else { return Ok(()) };
    let Some(mut submission) = shared.submission()? else {
        if !is_over(&shared, &plan)? {
            bail!(
                "run {run_id} was submitted by hand, so that it cannot be told whether all of its jobs are over: submit what \
                 is left again, or measure it as a run of its own"
            );
        }
        let run = shared.path().ancestors().nth(2).context("a run directory lies around the shared one")?;
        return refresh(run);
    };
    let mut ledger = Ledger::reopen(plan.clone(), results, run_id)?;
    let job = recover(&mut submission, system()).and_then(|()| alive(&shared, &submission, system()));
    let job = job.with_context(|| {
        format!("run {run_id} was handed to {}, and it cannot be told whether its jobs are over", system().name())
    })?;
    if let Some(job) = job {
        bail!(
            "run {run_id} was handed to {}, and {job}: go on with it by --on slurm, or end it with `ceiling cancel {run_id}` \
             and take it back then",
            system().name()
        );
    }
    settle(&shared, &plan, &mut ledger)
}
