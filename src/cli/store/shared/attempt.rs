//! One attempt at an engine group: a results directory of its own, and the rename that publishes it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ceiling_core::plan::{Key, Plan};
use ceiling_core::record::Entry;
use jiff::Timestamp;

use super::{Shared, number};
use crate::store::atomic::sync_names;
use crate::store::children::children;
use crate::store::{self, Ledger};

/// An attempt that has begun.
pub struct Attempt<'a> {
    shared: &'a Shared,
    group: Key,
    /// The experiment whose run directory holds the logs.
    experiment: String,
    results: PathBuf,
    /// Probes that it was begun with.
    known: usize,
}

/// What came of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// This attempt is the group's result.
    Done,
    /// Another attempt was first, and stays.
    AnotherWasFirst,
}

impl<'a> Attempt<'a> {
    /// Begins an attempt at the only group of `part`, with all that the earlier attempt that came furthest had measured.
    pub fn begin(shared: &'a Shared, part: &Arc<Plan>, group: Key) -> Result<Self> {
        let earlier = furthest(&shared.attempts(&group))?;
        let results = new_directory(&shared.attempts(&group))?;
        let mut ledger = new_ledger(shared, part, &results)?;
        if let Some(earlier) = earlier {
            take_in(&mut ledger, &earlier)?;
            copy_logs(&earlier, &results)?;
        }
        let known = probes(&results)?;
        let experiment = part.experiments[0].name.to_string();
        Ok(Self { shared, group, experiment, results, known })
    }

    /// Begins the first attempt at a group with all that its run knows of it, and leaves it to be gone on with.
    pub fn seed(shared: &Shared, part: &Arc<Plan>, group: Key) -> Result<()> {
        let results = new_directory(&shared.attempts(&group))?;
        let mut ledger = new_ledger(shared, part, &results)?;
        take_in(&mut ledger, shared.results())
    }

    /// Its results directory.
    pub fn results(&self) -> &Path {
        &self.results
    }

    /// How its logs will be called, from the directory of all results, once it is published.
    pub fn logs_name(&self) -> String {
        let run = self.shared.published(&self.group).join(&self.experiment).join(self.shared.run_id());
        self.shared.name_of(&run.join("logs"))
    }

    /// Whether it has measured any probe that the earlier ones had not.
    pub fn has_come_further(&self) -> Result<bool> {
        Ok(probes(&self.results)? > self.known)
    }

    /// Makes it the group's result, unless another is by now.
    pub fn publish(self) -> Result<Publication> {
        let place = self.shared.published(&self.group);
        match std::fs::rename(&self.results, &place) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                return Ok(Publication::AnotherWasFirst);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot publish {}", place.display())),
        }
        let parent = place.parent().unwrap_or(Path::new("."));
        sync_names(parent).with_context(|| format!("cannot bring {} to the disk", parent.display()))?;
        Ok(Publication::Done)
    }
}

/// The books of an attempt, in a directory that it has for itself.
fn new_ledger(shared: &Shared, part: &Arc<Plan>, results: &Path) -> Result<Ledger> {
    let (provenance, now) = (store::provenance(shared.results(), part), Timestamp::now());
    let ledger = Ledger::create_as(shared.run_id(), part.clone(), results, provenance, now)?;
    ledger.with_context(|| format!("there is a run {} under {} already", shared.run_id(), results.display()))
}

/// Takes what another results directory holds of it into the empty books of an attempt, as measured where that says.
fn take_in(ledger: &mut Ledger, earlier: &Path) -> Result<()> {
    let earlier = [earlier.to_owned()];
    ledger.measured_where(&earlier, true)?;
    // First: what the next attempt finds in the journal was measured where this says, also if this one is killed now.
    ledger.publish_all()?;
    ledger.absorb(&earlier)
}

/// The attempt with the most entries, among those in a directory; one without any has nothing to go on with, and may have been killed
/// before it published where it ran.
fn furthest(attempts: &Path) -> Result<Option<PathBuf>> {
    let mut counted = Vec::new();
    for attempt in children(attempts)? {
        counted.push((entries(&attempt)?, attempt));
    }
    counted.retain(|(entries, _)| *entries > 0);
    Ok(counted.into_iter().max().map(|(_, attempt)| attempt))
}

/// Whole lines of all journals of an attempt.
fn entries(attempt: &Path) -> Result<usize> {
    let mut count = 0;
    for journal in runs_in(attempt)?.iter().map(|run| run.join("journal.jsonl")).filter(|journal| journal.is_file()) {
        let text = std::fs::read(&journal).with_context(|| format!("cannot read {}", journal.display()))?;
        // The first line is no entry.
        count += text.iter().filter(|&&byte| byte == b'\n').count().saturating_sub(1);
    }
    Ok(count)
}

/// Probes in all journals of an attempt.
fn probes(attempt: &Path) -> Result<usize> {
    let mut count = 0;
    for run in runs_in(attempt)? {
        for entry in store::entries(&run.join("journal.jsonl"))? {
            count += usize::from(matches!(entry?.1, Entry::Probed(_)));
        }
    }
    Ok(count)
}

/// The run directories of a results directory.
fn runs_in(results: &Path) -> Result<Vec<PathBuf>> {
    let experiments: Vec<_> = children(results)?.into_iter().filter(|path| path.is_dir()).collect();
    let runs: Vec<_> = experiments.iter().map(|experiment| children(experiment)).collect::<Result<_>>()?;
    Ok(runs.into_iter().flatten().collect())
}

/// Makes the directory of the next attempt; two that begin at once get one each.
fn new_directory(attempts: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(attempts).with_context(|| format!("cannot create {}", attempts.display()))?;
    let mut next = children(attempts)?.iter().filter_map(|path| number(path)).max().unwrap_or(0) + 1;
    loop {
        let path = attempts.join(next.to_string());
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => next += 1,
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
        }
    }
}

/// Logs go with the failures that point to them.
fn copy_logs(from: &Path, to: &Path) -> Result<()> {
    for run in runs_in(from)? {
        let Ok(place) = run.strip_prefix(from) else { continue };
        let target = to.join(place).join("logs");
        for log in children(&run.join("logs"))? {
            let copy = || {
                std::fs::create_dir_all(&target)?;
                std::fs::copy(&log, target.join(log.file_name().unwrap_or_default()))
            };
            copy().with_context(|| format!("cannot copy {}", log.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(attempts: &Path, number: u32, lines: usize) {
        let run = attempts.join(format!("{number}/night/a-run"));
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("journal.jsonl"), "x\n".repeat(lines) + "torn").unwrap();
    }

    #[test]
    fn the_next_attempt_goes_on_where_the_best_one_ended() {
        let attempts = tempfile::tempdir().unwrap();
        assert_eq!(furthest(attempts.path()).unwrap(), None);
        // It was killed before it measured anything, and may have published nothing.
        journal(attempts.path(), 3, 1);
        assert_eq!(furthest(attempts.path()).unwrap(), None);
        journal(attempts.path(), 1, 3);
        journal(attempts.path(), 2, 5);
        assert_eq!(furthest(attempts.path()).unwrap(), Some(attempts.path().join("2")));
        assert_eq!(new_directory(attempts.path()).unwrap(), attempts.path().join("4"));
    }
}
