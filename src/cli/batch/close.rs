//! Ends a group that no element will publish any more, by publishing what its attempts had measured.
//!
//! It takes the way of every element, one rename: an element that is still somewhere out there comes too late, and
//! changes nothing.

use std::sync::Arc;

use anyhow::Result;
use ceiling_core::plan::{Key, Plan};
use ceiling_core::record::{Entry, Failure, FailureKind};
use ceiling_core::search::Status;

use crate::executor::LadderTask;
use crate::store::{self, Attempt, Publication, Resumed, Shared};

/// Publishes a group as it stands; where there is a reason, its open ladders have failed for it. `log` says more, by its
/// name from the directory of all results.
pub fn give_up(
    shared: &Shared,
    plan: &Plan,
    group: Key,
    reason: Option<String>,
    log: Option<String>,
) -> Result<Publication> {
    let Some(index) = plan.groups.iter().position(|known| known.key == group) else {
        return Ok(Publication::AnotherWasFirst);
    };
    let part = Arc::new(plan.group_alone(index));
    let attempt = Attempt::begin(shared, &part, group)?;
    if let Some(reason) = reason {
        let failure = Failure { kind: FailureKind::WorkerGone, reason, log };
        fail(shared, &attempt, &part, group, &failure)?;
    }
    attempt.publish()
}

fn fail(shared: &Shared, attempt: &Attempt<'_>, part: &Arc<Plan>, group: Key, failure: &Failure) -> Result<()> {
    let provenance = store::provenance(shared.results(), part);
    let resumed = store::resume(part.clone(), attempt.results(), shared.run_id(), &provenance)?;
    let Resumed { mut ledger, replay, .. } = resumed;
    ledger.record(&Entry::EngineFailed { group, failure: failure.clone() })?;
    for task in LadderTask::of(replay) {
        let mut answers = task.answers(part);
        answers.iter_mut().for_each(|answer| answer.status = Status::Failed);
        ledger.record(&Entry::LadderFailed {
            ladder: part.ladders[task.ladder].key,
            cells: part.cell_keys(task.ladder),
            answers,
            failure: failure.clone(),
        })?;
    }
    ledger.publish_all()?;
    Ok(())
}
