//! Every run of an experiment that there is: those in the working tree, and those that git alone still holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Error, Result};
use ceiling_core::record::Run;
use serde::de::DeserializeOwned;

use super::find::Found;
use super::git::{Held, Repository};
use super::run_dir::runs;

/// The runs of one experiment, in the order they were made.
pub struct Past {
    repository: Option<Repository>,
    runs: BTreeMap<String, Source>,
    /// Names of the other experiments in the working tree.
    pub others: BTreeSet<String>,
    /// Why there may be more runs than were found.
    pub gaps: Vec<Error>,
}

enum Source {
    OnDisk(PathBuf),
    Held(Held),
}

impl Past {
    /// Looks under `results`, and in all commits up to `HEAD` of the repository around the working directory. A run that is in
    /// both is taken from the disk.
    pub fn of(results: &Path, experiment: &str) -> Result<Self> {
        let (repository, gap) = match Repository::around(Path::new(".")) {
            Ok(repository) => (repository, None),
            Err(error) => (None, Some(error)),
        };
        let mut past = Self {
            repository,
            runs: BTreeMap::new(),
            others: BTreeSet::new(),
            // What lies on the disk can be read whatever git says.
            gaps: gap.into_iter().collect(),
        };
        if let Some(repository) = &past.repository {
            if repository.is_shallow() {
                let gap = "this clone is shallow; `git fetch --unshallow` gets the older runs that were checked in";
                past.gaps.push(Error::msg(gap));
            }
            match repository.runs_ever(results, experiment) {
                Ok(held) => past.runs.extend(held.into_iter().map(|held| (held.run_id.clone(), Source::Held(held)))),
                Err(error) => past.gaps.push(error.context("git was not asked for runs")),
            }
        }
        for directory in runs(results)? {
            let name = |path: Option<&Path>| {
                path.and_then(Path::file_name).map_or_else(String::new, |name| name.to_string_lossy().into_owned())
            };
            let (of, id) = (name(directory.parent()), name(Some(&directory)));
            if of == experiment {
                past.runs.insert(id, Source::OnDisk(directory));
            } else {
                past.others.insert(of);
            }
        }
        Ok(past)
    }

    /// Reads them one after the other, oldest first, with as much of their probes as `P` takes.
    pub fn read<P: DeserializeOwned>(&self) -> impl Iterator<Item = Result<Run<P>>> {
        self.runs.values().filter_map(|source| {
            let found = match source {
                Source::OnDisk(directory) => Ok(Found::on_disk(directory, None)),
                Source::Held(held) => Found::held(self.repository.as_ref()?, held),
            };
            Some(found.and_then(|found| found.read()))
        })
    }
}
