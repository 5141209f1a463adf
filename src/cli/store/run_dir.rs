//! The directory of one run, and all there are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ceiling_core::experiment::ExperimentName;

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
