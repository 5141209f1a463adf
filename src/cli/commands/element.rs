//! `ceiling run --group LABEL --shared DIR`: what an element of a job array runs.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use ceiling_core::plan::{Key, Plan};
use jiff::Timestamp;

use super::carry_out::{Carried, Ended, Start, carry_out_as};
use super::run::planned;
use crate::args::RunArgs;
use crate::batch::{give_up, system};
use crate::exit::{Exit, after_start};
use crate::signals::Told;
use crate::store::{self, Attempt, Ledger, Publication, Shared};

/// Measures one engine group in an attempt of its own, and publishes it.
pub fn element(args: &RunArgs, label: &str, shared: &Path) -> Result<Exit> {
    let shared = Shared::at(shared)?;
    let Some(plan) = kept_plan(args, &shared)? else { return Ok(Exit::Usage) };
    let Some(index) = plan.groups.iter().position(|group| group.label == label) else {
        let labels: Vec<&str> = plan.groups.iter().map(|group| &*group.label).collect();
        bail!("no engine group of {} is called `{label}`; they are {}", shared.path().display(), labels.join(", "));
    };
    let group = plan.groups[index].key;
    if shared.published(&group).exists() {
        tell!("{label}: another attempt has published it already");
        return Ok(Exit::Done);
    }
    let part = Arc::new(plan.group_alone(index));
    let attempt = Attempt::begin(&shared, &part, group)?;
    tell!("{label}: measured in {}", attempt.results().display());
    let start = Start::Again(shared.run_id().to_owned());
    let Carried { ended, runs } =
        carry_out_as((*part).clone(), attempt.results(), start, Some(attempt.logs_name()), None)?;
    match &ended {
        Ended::Done => {
            if after_start(attempt.publish())? == Publication::AnotherWasFirst {
                tell!("{label}: another attempt published it meanwhile; this one changes nothing");
            }
        }
        Ended::Told(Told::Warned) => return after_start(out_of_time(&shared, &plan, group, &attempt)),
        Ended::Told(_) | Ended::CannotGoOn(_) => {}
    }
    Ok(ended.exit(&runs))
}

/// The plan that was handed over. Where a script was submitted by hand, the first element makes it from the files.
fn kept_plan(args: &RunArgs, shared: &Shared) -> Result<Option<Arc<Plan>>> {
    if let Some(plan) = shared.plan()? {
        return Ok(Some(plan));
    }
    let Some(planned) = planned(args)? else { return Ok(None) };
    let plan = Arc::new(planned.plan);
    let provenance = store::provenance(shared.results(), &plan);
    // Where there is one already, another element was first.
    drop(Ledger::create_as(shared.run_id(), plan.clone(), shared.results(), provenance, Timestamp::now())?);
    shared.keep_plan(&plan)?;
    Ok(Some(plan))
}

/// Queues again where that leads anywhere; otherwise the group has failed.
fn out_of_time(shared: &Shared, plan: &Plan, group: Key, attempt: &Attempt<'_>) -> Result<Exit> {
    if attempt.has_come_further()? {
        match system().requeue_own_job() {
            Ok(true) => tell!("queued again"),
            Ok(false) => {}
            Err(error) => tell!("warning: this job could not be queued again: {error:#}"),
        }
        return Ok(Exit::Interrupted);
    }
    let reason = format!("not one probe ended within the time limit: raise {}.time", system().settings());
    give_up(shared, plan, group, Some(reason), None)?;
    Ok(Exit::Failed)
}
