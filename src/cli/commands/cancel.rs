//! `ceiling cancel RUN`

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::de::IgnoredAny;

use crate::args::CancelArgs;
use crate::batch::{alive, recover, settle, system};
use crate::exit::Exit;
use crate::store::{Finder, Held, Ledger, Shared};

/// How often the batch system is asked whether it is over.
const POLL: Duration = Duration::from_secs(5);

/// How long jobs may take to end: their grace, and a node that does not answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Ends the jobs of a run and publishes what they had measured.
pub fn cancel(args: &CancelArgs) -> Result<Exit> {
    let results = &args.results.results;
    let run_id = Finder::new(results, None).find(&args.run)?.read::<IgnoredAny>()?.run_id;
    let shared = Shared::newest(results, &run_id)?;
    let shared =
        shared.with_context(|| format!("run {run_id} was not handed to a batch system: end it with Ctrl-C"))?;
    let submission = shared.submission()?;
    let mut submission = submission.with_context(|| {
        format!("run {run_id} was submitted by hand: end its jobs with {}, which names them", system().cancels_by())
    })?;
    let plan = shared.plan()?.with_context(|| format!("{} holds no plan", shared.path().display()))?;
    shared.mark_cancelled()?;
    // What whoever submits has not heard yet is not kept here: they may still be at it.
    recover(&mut submission, system())?;
    let ids = submission.ids();
    if !ids.is_empty() {
        system().cancel(&ids)?;
    }
    let deadline = Instant::now() + PATIENCE;
    while alive(&shared, &submission, system())?.is_some() {
        if Instant::now() > deadline {
            bail!("the jobs of {run_id} were cancelled, but did not end within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(POLL);
    }
    match Ledger::reopen(plan.clone(), results, &run_id) {
        Err(error) if error.is::<Held>() => {
            tell!("cancelled; whoever watches {run_id} publishes what was measured");
        }
        Err(error) => return Err(error),
        Ok(mut ledger) => {
            settle(&shared, &plan, &mut ledger)?;
            ledger.finish(true, Timestamp::now())?;
            tell!("cancelled; what was measured is kept, and --resume {run_id} goes on");
        }
    }
    Ok(Exit::Done)
}
