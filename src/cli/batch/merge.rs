//! Merges published groups into the books of their run.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use ceiling_core::plan::{Key, Plan};
use jiff::Timestamp;

use crate::store::{Held, Ledger, Shared};

/// The groups of a plan that are published and not merged yet.
pub fn unmerged(shared: &Shared, plan: &Plan) -> Result<Vec<Key>> {
    let published: std::collections::HashSet<String> = shared.all_published()?.into_iter().collect();
    let groups = plan.groups.iter().map(|group| group.key);
    Ok(groups.filter(|key| published.contains(key.as_str()) && !shared.is_merged(key)).collect())
}

/// Merges groups, all at once; it is for the caller to publish them.
pub fn merge(shared: &Shared, groups: &[Key], ledger: &mut Ledger) -> Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    let parts: Vec<_> = groups.iter().map(|group| shared.published(group)).collect();
    let replaces = ledger.is_empty();
    ledger.measured_where(&parts, replaces)?;
    ledger.absorb(&parts)?;
    // Only now is it safe never to look at them again.
    groups.iter().try_for_each(|group| shared.mark_merged(group))
}

/// Brings a run up to date that was handed to a batch system and that nobody may be watching; others are left alone.
///
/// What it has published already can be shown in any case, so that what goes wrong is said and no more.
pub fn refresh_or_warn(run: &Path) {
    if let Err(error) = refresh(run) {
        tell!("warning: {} is not up to date: {error:#}", run.display());
    }
}

/// The same, for those who must know.
///
/// # Errors
/// Where its results cannot be read or written.
pub fn refresh(run: &Path) -> Result<()> {
    let (Some(run_id), Some(results)) = (run.file_name().and_then(|id| id.to_str()), run.ancestors().nth(2)) else {
        return Ok(());
    };
    let results = if results.as_os_str().is_empty() { Path::new(".") } else { results };
    let Some(shared) = Shared::newest(results, run_id)? else { return Ok(()) };
    let Some(plan) = shared.plan()? else { return Ok(()) };
    let groups = unmerged(&shared, &plan)?;
    if groups.is_empty() {
        return Ok(());
    }
    match Ledger::reopen(plan.clone(), results, run_id) {
        // Whoever watches it merges.
        Err(error) if error.is::<Held>() => Ok(()),
        Err(error) => Err(error),
        Ok(mut ledger) => {
            merge(&shared, &groups, &mut ledger)?;
            if is_over(&shared, &plan)? {
                ledger.finish(false, Timestamp::now())?;
            } else {
                ledger.publish_all()?;
            }
            Ok(())
        }
    }
}

/// Whether every group that was handed over is published.
pub fn is_over(shared: &Shared, plan: &Arc<Plan>) -> Result<bool> {
    let groups = match shared.submission()? {
        Some(submission) => submission.groups(),
        None => plan.groups.iter().map(|group| group.key).collect(),
    };
    Ok(groups.iter().all(|group| shared.published(group).exists()))
}
