//! The directory of one run, and all there are.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ceiling_core::experiment::ExperimentName;
use ceiling_core::plan::ExperimentHead;
use ceiling_core::record::RunStatus;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::IgnoredAny;

use super::atomic::sync_names;
use super::find::read_summary;
use super::git::Repository;
use super::journal::has_entries;

/// `results/<experiment>/<run id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes the directory of a new run; `None` where there is one of this id already.
    pub fn claim(results: &Path, experiment: &ExperimentName, run_id: &str) -> Result<Option<Self>> {
        let parent = results.join(experiment.as_str());
        let path = parent.join(run_id);
        let complaint = || format!("cannot create {}; name a writable place with --results", path.display());
        std::fs::create_dir_all(&parent).with_context(complaint)?;
        // To look first and then to make it would let two runs that begin together both find it free.
        match std::fs::create_dir(&path) {
            Ok(()) => {
                sync_names(&parent).with_context(complaint)?;
                Ok(Some(Self(path)))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error).with_context(complaint),
        }
    }

    /// Gives up the directory of a run in which nothing was written yet.
    pub fn release(&self) -> Result<()> {
        std::fs::remove_dir(&self.0).with_context(|| format!("cannot remove {}", self.0.display()))
    }

    /// The directory of a run that has published something, or measured it.
    pub fn find(results: &Path, experiment: &ExperimentName, run_id: &str) -> Option<Self> {
        let found = Self(results.join(experiment.as_str()).join(run_id));
        holds_run(found.path()).then_some(found)
    }

    /// Removes what a run left that was killed before it published anything.
    pub fn clear(results: &Path, experiment: &ExperimentName, run_id: &str) -> Result<()> {
        let path = results.join(experiment.as_str()).join(run_id);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
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

/// What a run keeps in its directory. Everything that is published can be made of it again, by nobody but the run.
const OWN: [&str; 7] = ["run.json", "cells.csv", "journal.jsonl", "requests.parquet", "run.lock", "logs", "batch"];

/// The run directory whose own a file is, or would be once it was written; `None` where it belongs to no run.
pub fn owner(file: &Path) -> Option<PathBuf> {
    let beside = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A link is written through.
    let file = file
        .canonicalize()
        .or_else(|_| Ok::<_, std::io::Error>(beside.canonicalize()?.join(file.file_name().unwrap_or_default())));
    let file = file.ok()?;
    let owns = |directory: &&Path| {
        let first = file.strip_prefix(directory).ok().and_then(|rest| rest.components().next());
        first.is_some_and(|first| OWN.iter().any(|own| first.as_os_str() == *own)) && is_run(directory)
    };
    file.ancestors().skip(1).find(owns).map(Path::to_owned)
}

/// Whether a directory is that of a run; a lone `run.json` may be anybody's.
fn is_run(directory: &Path) -> bool {
    let named = directory.file_name().and_then(|name| name.to_str()).is_some_and(|name| time_of(name).is_some());
    directory.join("journal.jsonl").is_file() || (named && directory.join("run.json").is_file())
}

/// Whether a directory holds what was published of a run, or a journal that it can be made of again.
pub fn holds_run(directory: &Path) -> bool {
    directory.join("run.json").is_file() || has_entries(&directory.join("journal.jsonl"))
}

/// Whether what a run had published is gone or torn, and its journal has what it can be made of again.
pub fn is_lost(directory: &Path) -> bool {
    let is_torn = |text: Vec<u8>| serde_json::from_slice::<IgnoredAny>(&text).is_err();
    let published = match std::fs::read(directory.join("run.json")) {
        Ok(text) => is_torn(text),
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    published && has_entries(&directory.join("journal.jsonl"))
}

/// The runs of this id of which what was published is lost, or is not in the commit that git has checked out.
pub fn lost(results: &Path, run_id: &str) -> Vec<PathBuf> {
    if ExperimentName::new(run_id).is_none() {
        return Vec::new();
    }
    let runs = directories(results).unwrap_or_default().into_iter().map(|experiment| experiment.join(run_id));
    runs.filter(|run| is_lost(run)).collect()
}

/// The time that a run id begins with.
pub fn time_of(run_id: &str) -> Option<Timestamp> {
    let (time, _) = run_id.split_once('-')?;
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// The ids of all runs that were begun under `results`, as far as one may look there.
pub fn run_ids(results: &Path) -> Vec<String> {
    let inside = |path: PathBuf| directories(&path).unwrap_or_default();
    let runs = inside(results.to_owned()).into_iter().flat_map(inside);
    runs.filter_map(|run| Some(run.file_name()?.to_str()?.to_owned())).collect()
}

/// Every directory of a run under `results`, oldest run first; none where there is no `results` yet. It holds a `run.json`, or held one
/// that is lost.
///
/// What cannot be looked into is an error: it may hold the very run that is asked for.
pub fn runs(results: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    if results
        .try_exists()
        .with_context(|| format!("cannot look for runs at {}; name another place with --results", results.display()))?
    {
        for experiment in directories(results)? {
            let (published, others): (Vec<_>, Vec<_>) =
                directories(&experiment)?.into_iter().partition(|path| path.join("run.json").is_file());
            found.extend(published);
            lost.extend(others.into_iter().filter(|path| is_lost(path)));
        }
    }
    if !lost.is_empty() {
        found.extend(unknown_to_git(results, lost));
    }
    // Run ids begin with the time, so their order is that of the runs.
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()).then_with(|| a.cmp(b)));
    Ok(found)
}

/// The runs of which git holds no `run.json`. It takes those away that it holds where it checks another commit out, and brings them back.
fn unknown_to_git(results: &Path, runs: Vec<PathBuf>) -> Vec<PathBuf> {
    let Ok(Some(repository)) = Repository::around(results) else { return runs };
    // What git cannot tell of is shown rather than hidden.
    let held = repository.runs_on_any_branch(results).unwrap_or_default();
    let is_held = |run: &PathBuf| run.strip_prefix(results).is_ok_and(|run| held.contains(run));
    runs.into_iter().filter(|run| !is_held(run)).collect()
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
        if is_lost(&path)
            && let Some(run_id) = path.file_name().and_then(|name| name.to_str())
        {
            return Ok(run_id.to_owned());
        }
        let run = read_summary(&path)?;
        if run.status != RunStatus::Complete || run.finished.is_none() {
            return Ok(run.run_id);
        }
    }
    let names: Vec<&str> = experiments.iter().map(|head| head.name.as_str()).collect();
    bail!(
        "every run of {} under {} is complete, or there is none; without --resume a new one begins",
        names.join(", "),
        results.display()
    )
}
