//! The directory of one run, and all there are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ceiling_core::experiment::ExperimentName;
use ceiling_core::plan::ExperimentHead;
use ceiling_core::record::RunStatus;

use super::find::read_summary;

/// `results/<experiment>/<run id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes the directory of a new run.
    pub fn create(results: &Path, experiment: &ExperimentName, run_id: &str) -> Result<Self> {
        let parent = results.join(experiment.as_str());
        let path = parent.join(run_id);
        std::fs::create_dir_all(&parent)
            .and_then(|()| std::fs::create_dir(&path))
            .with_context(|| format!("cannot create {}; name a writable place with --results", path.display()))?;
        Ok(Self(path))
    }

    /// The directory of a run that has published something.
    pub fn find(results: &Path, experiment: &ExperimentName, run_id: &str) -> Option<Self> {
        let found = Self(results.join(experiment.as_str()).join(run_id));
        found.file("run.json").is_file().then_some(found)
    }

    /// Whether a run of this id was begun, even if it was killed before it published anything.
    pub fn is_taken(results: &Path, experiment: &ExperimentName, run_id: &str) -> bool {
        results.join(experiment.as_str()).join(run_id).exists()
    }

    /// Removes what a run left that was killed before it published anything.
    pub fn clear(results: &Path, experiment: &ExperimentName, run_id: &str) -> Result<()> {
        let path = results.join(experiment.as_str()).join(run_id);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot begin {} again", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Every directory under `results` that holds a `run.json`, oldest run first; none where there is no `results` yet.
///
/// What cannot be looked into is an error: it may hold the very run that is asked for.
pub fn runs(results: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if results
        .try_exists()
        .with_context(|| format!("cannot look for runs at {}; name another place with --results", results.display()))?
    {
        for experiment in directories(results)? {
            found.extend(directories(&experiment)?.into_iter().filter(|path| path.join("run.json").is_file()));
        }
    }
    // Run ids begin with the time, so their order is that of the runs.
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()).then_with(|| a.cmp(b)));
    Ok(found)
}

fn directories(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = || std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>();
    let entries = entries()
        .with_context(|| format!("cannot look for runs in {}; name another place with --results", path.display()))?;
    Ok(entries.into_iter().filter(|path| path.is_dir()).collect())
}

/// The newest run of these experiments that has not measured everything, or was killed before it could say so.
pub fn newest_unfinished(results: &Path, experiments: &[ExperimentHead]) -> Result<String> {
    let mine: Vec<PathBuf> = experiments.iter().map(|head| results.join(head.name.as_str())).collect();
    let is_mine = |run: &PathBuf| run.parent().is_some_and(|parent| mine.iter().any(|directory| directory == parent));
    for path in runs(results)?.into_iter().rev().filter(is_mine) {
        let run = read_summary(&path)?;
        if run.status != RunStatus::Complete || run.finished.is_none() {
            return Ok(run.run_id);
        }
    }
    let names: Vec<&str> = experiments.iter().map(|head| head.name.as_str()).collect();
    bail!("every run of {} under {} is complete, or there is none", names.join(", "), results.display())
}
