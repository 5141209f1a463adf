//! The directory of one run, and all there are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ceiling_core::experiment::ExperimentName;
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

    /// The directory of a run that is there.
    pub fn find(results: &Path, experiment: &ExperimentName, run_id: &str) -> Option<Self> {
        let path = results.join(experiment.as_str()).join(run_id);
        path.is_dir().then_some(Self(path))
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

/// Every directory under `results` that holds a `run.json`, oldest run first.
pub fn runs(results: &Path) -> Vec<PathBuf> {
    let directories = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let all = directories(results).into_iter().flat_map(|experiment| directories(&experiment));
    let mut found: Vec<PathBuf> = all.filter(|path| path.join("run.json").is_file()).collect();
    // Run ids begin with the time, so their order is that of the runs.
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()).then_with(|| a.cmp(b)));
    found
}

/// The newest run of an experiment that has not measured everything.
pub fn newest_unfinished(results: &Path, experiment: &ExperimentName) -> Result<String> {
    let directory = results.join(experiment.as_str());
    let mine = runs(results).into_iter().rev().filter(|run| run.parent() == Some(&directory));
    for path in mine {
        let run = read_summary(&path)?;
        if run.status != RunStatus::Complete {
            return Ok(run.run_id);
        }
    }
    bail!("every run of {experiment} under {} is complete, or there is none", results.display())
}
