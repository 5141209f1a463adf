//! The directory in which the elements of a submission and whoever watches them meet.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ceiling_core::plan::{Key, Plan};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::atomic::{replace, sync_names};
use super::children::children;

mod attempt;
mod submission;

pub use attempt::{Attempt, Publication};
use submission::SUBMISSION_SCHEMA;
pub use submission::{ArrayId, Command, Submission, Submitted};

/// The schema of plans that this version keeps, and the only one that it reads.
const PLAN_SCHEMA: u32 = 1;

/// `plan.json`.
#[derive(Serialize, Deserialize)]
struct Kept<P> {
    schema: u32,
    plan: P,
}

/// `results/<experiment>/<run id>/batch/<submission>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    path: PathBuf,
    results: PathBuf,
    run_id: String,
}

impl Shared {
    /// The one of this path, whether or not it is there.
    ///
    /// # Errors
    /// Where the path is not of that form.
    pub fn at(path: &Path) -> Result<Self> {
        let form = || format!("{} is not of the form results/EXPERIMENT/RUN/batch/N", path.display());
        let batch = path.parent().filter(|batch| batch.ends_with("batch")).with_context(form)?;
        let run = batch.parent().with_context(form)?;
        let run_id = run.file_name().and_then(|name| name.to_str()).with_context(form)?;
        let results = run.parent().and_then(Path::parent).with_context(form)?;
        number(path).with_context(form)?;
        Ok(Self { path: path.to_owned(), results: results.to_owned(), run_id: run_id.to_owned() })
    }

    /// The newest submission of a run, if there is any. A run of several experiments has it with the first.
    ///
    /// # Errors
    /// Where a directory cannot be listed.
    pub fn newest(results: &Path, run_id: &str) -> Result<Option<Self>> {
        let runs = children(results)?.into_iter().map(|experiment| experiment.join(run_id).join("batch"));
        let Some(batch) = runs.into_iter().find(|batch| batch.is_dir()) else { return Ok(None) };
        let newest =
            children(&batch)?.into_iter().filter(|path| number(path).is_some()).max_by_key(|path| number(path));
        newest.map(|path| Self::at(&path)).transpose()
    }

    /// The first submission of the run in this directory.
    ///
    /// # Errors
    /// Where that is no run directory.
    pub fn first(run: &Path) -> Result<Self> {
        Self::at(&run.join("batch/1"))
    }

    /// The submission after this one.
    ///
    /// # Errors
    /// None in practice: this one has a number.
    pub fn next(&self) -> Result<Self> {
        let next = number(&self.path).unwrap_or_default() + 1;
        Self::at(&self.path.with_file_name(next.to_string()))
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of all results.
    pub fn results(&self) -> &Path {
        &self.results
    }

    /// The run.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// How a place in it is called from the directory of all results.
    pub fn name_of(&self, place: &Path) -> String {
        place.strip_prefix(&self.results).unwrap_or(place).display().to_string()
    }

    fn make_directories(&self) -> Result<()> {
        ["out", "attempts", "groups"].iter().try_for_each(|directory| {
            let path = self.path.join(directory);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))
        })
    }

    /// Keeps the plan for elements to come. One that is kept already stays.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep_plan(&self, plan: &Plan) -> Result<()> {
        self.make_directories()?;
        let path = self.path.join("plan.json");
        if path.exists() {
            return Ok(());
        }
        let write = || {
            // Elements on several nodes may write theirs at once. Environment variables of an engine may be secrets: only
            // its owner may read such a file.
            let mut file = NamedTempFile::new_in(&self.path)?;
            file.write_all(&serde_json::to_vec(&Kept { schema: PLAN_SCHEMA, plan })?)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            sync_names(&self.path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// The plan, if it is kept yet.
    ///
    /// # Errors
    /// Where it cannot be read, or is of another version.
    pub fn plan(&self) -> Result<Option<Arc<Plan>>> {
        let kept: Option<Kept<Plan>> = read(&self.path.join("plan.json"), PLAN_SCHEMA)?;
        Ok(kept.map(|kept| Arc::new(kept.plan)))
    }

    /// Keeps the script of an array by its number; where it lies.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep_script(&self, number: usize, text: &str) -> Result<PathBuf> {
        let path = self.path.join(format!("{number}.sh"));
        replace(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Keeps what was handed over.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep_submission(&self, submission: &Submission) -> Result<()> {
        self.make_directories()?;
        replace(&self.path.join("submission.json"), &serde_json::to_vec_pretty(submission)?)
    }

    /// What was handed over; `None` where that was done by hand.
    ///
    /// # Errors
    /// Where it cannot be read, or is of another version.
    pub fn submission(&self) -> Result<Option<Submission>> {
        read(&self.path.join("submission.json"), SUBMISSION_SCHEMA)
    }

    /// Where the attempts at a group lie.
    pub fn attempts(&self, group: &Key) -> PathBuf {
        self.path.join("attempts").join(group.as_str())
    }

    /// The newest attempt at a group.
    ///
    /// # Errors
    /// Where they cannot be listed.
    pub fn newest_attempt(&self, group: &Key) -> Result<Option<PathBuf>> {
        Ok(children(&self.attempts(group))?.into_iter().max_by_key(|attempt| number(attempt)))
    }

    /// Where elements print to.
    pub fn out(&self) -> PathBuf {
        self.path.join("out")
    }

    /// Where a group is published.
    pub fn published(&self, group: &Key) -> PathBuf {
        self.path.join("groups").join(group.as_str())
    }

    /// The groups that are published, by one listing.
    ///
    /// # Errors
    /// Where the directory cannot be listed.
    pub fn all_published(&self) -> Result<Vec<String>> {
        let name = |path: PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        Ok(children(&self.path.join("groups"))?.into_iter().filter_map(name).collect())
    }

    /// Whether a published group has been merged.
    pub fn is_merged(&self, group: &Key) -> bool {
        self.published(group).join("merged").exists()
    }

    /// Notes that a published group has been merged.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn mark_merged(&self, group: &Key) -> Result<()> {
        touch(&self.published(group).join("merged"))
    }

    /// Notes that somebody asked for the run's end.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn mark_cancelled(&self) -> Result<()> {
        touch(&self.path.join("cancelled"))
    }

    /// Whether somebody asked for the run's end.
    pub fn is_cancelled(&self) -> bool {
        self.path.join("cancelled").exists()
    }
}

/// What a file of this schema holds, if it is there.
fn read<T: DeserializeOwned>(path: &Path, schema: u32) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Head {
        schema: Option<u32>,
    }
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let is_broken = || format!("{} is broken", path.display());
    let head: Head = serde_json::from_slice(&text).with_context(is_broken)?;
    if head.schema != Some(schema) {
        let has = head.schema.map_or_else(|| "no schema number".to_owned(), |schema| format!("schema {schema}"));
        bail!(
            "{} has {has}; this version reads schema {schema}: go on with the run by the ceiling that began it",
            path.display()
        );
    }
    serde_json::from_slice(&text).map(Some).with_context(is_broken)
}

fn touch(path: &Path) -> Result<()> {
    File::create(path).map(drop).with_context(|| format!("cannot write {}", path.display()))
}

/// The number that a path ends with.
fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_states_its_schema() {
        let directory = tempfile::tempdir().unwrap();
        let shared = Shared::at(&directory.path().join("results/night/run/batch/1")).unwrap();
        assert!(shared.plan().unwrap().is_none() && shared.submission().unwrap().is_none());
        let empty = Plan { experiments: vec![], cells: vec![], ladders: vec![], groups: vec![] };
        shared.keep_plan(&empty).unwrap();
        assert!(shared.plan().unwrap().unwrap().cells.is_empty());
        let path = shared.path().join("plan.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let table = [
            (text.replace("\"schema\":1", "\"schema\":2"), "has schema 2; this version reads schema 1"),
            (text.replace("\"schema\":1,", ""), "has no schema number; this version reads schema 1"),
            (text[..text.len() / 2].to_owned(), "is broken"),
        ];
        for (text, complaint) in table {
            std::fs::write(&path, text).unwrap();
            let said = format!("{:#}", shared.plan().unwrap_err());
            assert!(said.contains(complaint) && said.contains("plan.json"), "{said}");
        }
    }

    #[test]
    fn a_place_to_meet_is_known_by_its_path() {
        let shared = Shared::at(Path::new("results/night/20261124T024500Z-1a2b3c4/batch/2")).unwrap();
        assert_eq!((shared.results(), shared.run_id()), (Path::new("results"), "20261124T024500Z-1a2b3c4"));
        assert_eq!(shared.next().unwrap().path(), Path::new("results/night/20261124T024500Z-1a2b3c4/batch/3"));
        assert_eq!(shared.name_of(&shared.path().join("out")), "night/20261124T024500Z-1a2b3c4/batch/2/out");
        for wrong in ["", "batch/1", "results/night/run/batch", "results/night/run/1", "results/night/run/batch/x"] {
            assert!(Shared::at(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
