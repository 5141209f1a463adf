//! Which run a person means: a path, a run id, `latest`, or a git revision.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ceiling_core::record::{ExperimentSummary, RUN_SCHEMA, Run, RunSummary};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::git::{Commit, Held, Named, Outside, Repository};
use super::run_dir::{holds_run, is_lost, lost, runs};
use super::{head, pieces};
use crate::tail::tail;

/// Looks for runs under a directory of results, and in the git repository around the working directory.
pub struct Finder<'a> {
    results: &'a Path,
    /// Only runs of this experiment, where a name could mean several.
    experiment: Option<&'a str>,
}

/// A run that was found and not yet understood.
pub struct Found {
    /// Where it lies: a path, or a path in a revision.
    pub place: String,
    /// Its directory, where it is on the disk.
    directory: Option<PathBuf>,
    text: Text,
    /// The commit that it was asked for by.
    commit: Option<Commit>,
}

/// The text of a `run.json`: of a file not before it is asked for, and not kept, since it may be large.
enum Text {
    File(PathBuf),
    Held(Vec<u8>),
}

impl Text {
    fn whole(&self) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Held(text) => Ok(Cow::Borrowed(text)),
            Self::File(path) => {
                Ok(Cow::Owned(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
            }
        }
    }

    /// The run of it, understood piece by piece.
    fn run<P: DeserializeOwned>(&self) -> Result<Run<P>> {
        match self {
            Self::Held(text) => pieces::read(&**text),
            Self::File(path) => pieces::read(File::open(path)?),
        }
    }

    /// Whether it ends with a brace at the beginning of a line, as no part of a run that was written in lines does.
    fn ends_as_written(&self) -> Result<bool> {
        const TAIL_BYTES: u64 = 16;
        let cannot_read = |path: &Path| format!("cannot read {}", path.display());
        let tail = match self {
            Self::Held(text) => Cow::Borrowed(text.as_slice()),
            Self::File(path) => Cow::Owned(tail(path, 0, TAIL_BYTES).with_context(|| cannot_read(path))?),
        };
        Ok(tail.trim_ascii_end().ends_with(b"\n}"))
    }

    /// As much of its beginning as holds the head of a run.
    fn beginning(&self) -> Result<Cow<'_, [u8]>> {
        const HEAD_BYTES: usize = 16 * 1024;
        match self {
            Self::Held(text) => Ok(Cow::Borrowed(&text[..text.len().min(HEAD_BYTES)])),
            Self::File(path) => {
                let mut head = Vec::new();
                let read = File::open(path).and_then(|file| file.take(HEAD_BYTES as u64).read_to_end(&mut head));
                read.with_context(|| format!("cannot read {}", path.display()))?;
                Ok(Cow::Owned(head))
            }
        }
    }
}

impl Found {
    pub(super) fn on_disk(directory: &Path, commit: Option<Commit>) -> Self {
        let path = directory.join("run.json");
        let place = path.display().to_string();
        Self { place, directory: Some(directory.to_owned()), text: Text::File(path), commit }
    }

    pub(super) fn held(repository: &Repository, held: &Held) -> Result<Self> {
        let place = format!("{}:{}", held.commit.short(), held.path.display());
        Ok(Self { place, directory: None, text: Text::Held(repository.read(held)?), commit: Some(held.commit.clone()) })
    }

    /// Its id, where what it had published is lost, and its journal is not.
    pub fn lost(&self) -> Option<String> {
        let directory = self.directory().filter(|directory| is_lost(directory))?;
        Some(id(&directory.canonicalize().ok()?).to_owned())
    }

    /// Its directory; `None` where git holds it.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The run, with as much of its probes as `P` takes.
    pub fn read<P: DeserializeOwned>(&self) -> Result<Run<P>> {
        if let Some(run) = self.text.run().ok().filter(|run: &Run<P>| run.schema == RUN_SCHEMA) {
            return Ok(run);
        }
        // What is wrong with it shows in the whole.
        self.text
            .whole()
            .and_then(|text| understand(&text, &self.place, |run: &Run<P>| run.schema))
            .map_err(|error| self.with_remedy(error))
    }

    /// What a person can do where what was published is lost, and the journal is not.
    fn with_remedy(&self, error: anyhow::Error) -> anyhow::Error {
        match self.directory.as_deref().filter(|directory| is_lost(directory)) {
            None => error,
            Some(directory) => {
                let name = id(directory);
                let run_id = if name.is_empty() { "RUN" } else { name };
                anyhow::anyhow!(
                    "{error:#}; its journal has what was measured: `ceiling run FILE --resume {run_id}` makes it anew"
                )
            }
        }
    }

    /// Less than a run: from the beginning of the file alone, where its end shows that it was not cut off.
    fn part<T: DeserializeOwned>(&self, schema: impl Fn(&T) -> u32) -> Result<T> {
        self.read_part(schema).map_err(|error| self.with_remedy(error))
    }

    fn read_part<T: DeserializeOwned>(&self, schema: impl Fn(&T) -> u32) -> Result<T> {
        if self.text.ends_as_written()?
            && let Some(part) = head::of(&self.text.beginning()?).filter(|part| schema(part) == RUN_SCHEMA)
        {
            return Ok(part);
        }
        understand(&self.text.whole()?, &self.place, schema)
    }

    /// The name of its experiment.
    pub fn experiment(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
            experiment: ExperimentSummary,
        }
        Ok(self.part(|head: &Head| head.schema)?.experiment.name)
    }

    /// How many cells of its experiment it was asked to leave out.
    fn left_out(&self) -> Result<usize> {
        Ok(self.part(|run: &RunSummary| run.schema)?.left_out)
    }

    /// Itself, where it is a run of the experiment that was asked for: a path means one run, whatever was asked for beside it.
    ///
    /// # Errors
    /// Where it is a run of another.
    pub fn of_experiment(self, asked: Option<&str>) -> Result<Self> {
        let Some(asked) = asked else { return Ok(self) };
        let name = self.experiment()?;
        if name != asked {
            bail!(
                "{} is a run of {name}, and --experiment asks for {asked}: name another run, or leave it out",
                self.place
            );
        }
        Ok(self)
    }

    fn is(&self, other: &Self) -> Result<bool> {
        Ok(*self.text.whole()? == *other.text.whole()?)
    }
}

impl<'a> Finder<'a> {
    /// Looks under `results`, among the runs of one experiment or of all.
    pub fn new(results: &'a Path, experiment: Option<&'a str>) -> Self {
        Self { results, experiment }
    }

    /// The run that a name means.
    pub fn find(&self, name: &str) -> Result<Found> {
        let path = Path::new(name);
        if holds_run(path) {
            return Ok(Found::on_disk(path, None));
        }
        if path.file_name().is_some_and(|file| file == "run.json") && path.is_file() {
            return Ok(Found::on_disk(path.parent().unwrap_or(Path::new("")), None));
        }
        let all = self.on_disk()?;
        if name == "latest" {
            return match newest(&all, |run| id(run)) {
                [] => bail!("there is no run {}", self.where_looked()),
                [one] => Ok(Found::on_disk(one, None)),
                several => Err(ambiguous(name, several.iter().map(|path| path.display().to_string()))),
            };
        }
        let matching: Vec<&PathBuf> = all.iter().filter(|run| id(run) == name).collect();
        match matching.as_slice() {
            [] => match self.lost(name).as_slice() {
                [one] => Ok(Found::on_disk(one, None)),
                _ => self.by_revision(name, &all, None),
            },
            [one] => Ok(Found::on_disk(one, None)),
            several => Err(ambiguous(name, several.iter().map(|path| path.display().to_string()))),
        }
    }

    /// The run that a name means as the baseline of another.
    ///
    /// A result is checked in by a later commit than it was recorded at, so that a revision can name the very run that is
    /// to be compared with it. That would say nothing: then the baseline is the next that the revision names.
    pub fn find_baseline(&self, name: &str, candidate: &Found) -> Result<Found> {
        let found = self.find(name)?;
        let by_revision = found.commit.is_some() && found.commit != candidate.commit;
        if by_revision && found.is(candidate)? {
            return self.by_revision(name, &self.on_disk()?, Some(candidate));
        }
        Ok(found)
    }

    fn lost(&self, run_id: &str) -> Vec<PathBuf> {
        let of_experiment = |run: &PathBuf| self.experiment.is_none_or(|wanted| experiment(run) == wanted);
        lost(self.results, run_id).into_iter().filter(of_experiment).collect()
    }

    fn on_disk(&self) -> Result<Vec<PathBuf>> {
        let of_experiment = |run: &PathBuf| self.experiment.is_none_or(|wanted| experiment(run) == wanted);
        Ok(runs(self.results)?.into_iter().filter(of_experiment).collect())
    }

    /// The newest run that was recorded at a revision, else the newest that git holds at it.
    fn by_revision(&self, name: &str, all: &[PathBuf], but_not: Option<&Found>) -> Result<Found> {
        let Some(repository) = Repository::around(Path::new("."))? else {
            bail!(
                "`{name}` is neither a run directory, a run id {}, nor `latest`, and there is no git repository here in \
                 which it could be a revision{}",
                self.where_looked(),
                listed(all)
            );
        };
        let named = repository.named(name).map_err(|error| {
            // The list comes last: what follows it would read as if it were said of the last run.
            anyhow::anyhow!(
                "`{name}` is neither a run directory, a run id {}, nor `latest`, and {error:#}{}",
                self.where_looked(),
                listed(all)
            )
        })?;
        let commit = match named {
            Named::Commit(commit) => commit,
            Named::File(text) => {
                return Ok(Found { place: name.to_owned(), directory: None, text: Text::Held(text), commit: None });
            }
        };
        // A run that left cells out answers less than one that did not: it stands for its commit only where there is no other.
        let left_nothing_out = |lead: &Lead| {
            let left_out = lead.follow(&commit, &repository).and_then(|found| found.left_out());
            // What cannot be read says so once it is chosen.
            left_out.map_or(true, |cells| cells == 0)
        };
        let choose = |leads: Vec<Lead>| {
            let (whole, parts) = leads.into_iter().partition(left_nothing_out);
            match choose(name, &commit, &repository, whole, but_not)? {
                Some(found) => Ok(Some(found)),
                None => choose(name, &commit, &repository, parts, but_not),
            }
        };
        if let Some(found) = choose(self.recorded_at(&commit, all)?)? {
            return Ok(found);
        }
        let held = self.held_at(&commit, &repository)?;
        let git = match held {
            Some(_) => format!("git holds none at it {}", self.where_looked()),
            None => format!("git holds none {}, which lies outside its repository", self.where_looked()),
        };
        choose(held.unwrap_or_default())?.with_context(|| {
            let another = if but_not.is_some() { " other than the candidate" } else { "" };
            format!(
                "`{name}` is commit {}: no run{another} was recorded at it, and {git}{}",
                commit.short(),
                listed(all)
            )
        })
    }

    /// The runs in the working tree that were recorded at a commit. What was recorded with uncommitted changes was not
    /// recorded at any.
    fn recorded_at(&self, commit: &Commit, all: &[PathBuf]) -> Result<Vec<Lead>> {
        let suffix = format!("-{}", commit.short());
        let mut recorded = Vec::new();
        for directory in all.iter().filter(|run| id(run).ends_with(&suffix)) {
            let summary = read_summary(directory)?;
            if summary.provenance.git.is_some_and(|git| git.commit == commit.hash() && !git.dirty) {
                recorded.push(Lead::OnDisk(directory.clone()));
            }
        }
        Ok(recorded)
    }

    /// The runs among the results that git holds at a commit; `None` where it can hold none of them.
    fn held_at(&self, commit: &Commit, repository: &Repository) -> Result<Option<Vec<Lead>>> {
        let of_experiment = |held: &Held| self.experiment.is_none_or(|wanted| held.experiment == wanted);
        match repository.runs_at(commit, self.results) {
            Ok(held) => Ok(Some(held.into_iter().filter(of_experiment).map(Lead::Held).collect())),
            Err(error) if error.is::<Outside>() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn where_looked(&self) -> String {
        let of = self.experiment.map_or_else(String::new, |name| format!(" of experiment `{name}`"));
        format!("under {}{of}", self.results.display())
    }
}

/// A run that a revision may mean.
enum Lead {
    OnDisk(PathBuf),
    Held(Held),
}

impl Lead {
    fn run_id(&self) -> &str {
        match self {
            Self::OnDisk(directory) => id(directory),
            Self::Held(held) => &held.run_id,
        }
    }

    /// How a person can name this run and no other.
    fn name(&self, revision: &str) -> String {
        match self {
            Self::OnDisk(directory) => directory.display().to_string(),
            Self::Held(held) => format!("{revision}:{}", held.path.display()),
        }
    }

    fn follow(&self, commit: &Commit, repository: &Repository) -> Result<Found> {
        match self {
            Self::OnDisk(directory) => Ok(Found::on_disk(directory, Some(commit.clone()))),
            Self::Held(held) => Found::held(repository, held),
        }
    }
}

/// The newest of runs that come oldest first, one run apart.
fn choose(
    revision: &str,
    commit: &Commit,
    repository: &Repository,
    mut leads: Vec<Lead>,
    but_not: Option<&Found>,
) -> Result<Option<Found>> {
    loop {
        match newest(&leads, Lead::run_id) {
            [] => return Ok(None),
            [one] => {
                let found = one.follow(commit, repository)?;
                let is_other = but_not.map_or(Ok(true), |other| found.is(other).map(|same| !same))?;
                if is_other {
                    return Ok(Some(found));
                }
            }
            several => return Err(ambiguous(revision, several.iter().map(|lead| lead.name(revision)))),
        }
        leads.pop();
    }
}

/// The last of a list that is sorted by run id, with all that share its id.
fn newest<'t, T>(sorted: &'t [T], id: impl Fn(&'t T) -> &'t str) -> &'t [T] {
    let Some(last) = sorted.last() else { return &[] };
    let first = sorted.iter().position(|one| id(one) == id(last)).unwrap_or(0);
    &sorted[first..]
}

fn ambiguous(name: &str, candidates: impl Iterator<Item = String>) -> anyhow::Error {
    let candidates: String = candidates.map(|candidate| format!("\n  {candidate}")).collect();
    anyhow::anyhow!("`{name}` means several runs; narrow it with --experiment, or name one:{candidates}")
}

/// The newest runs that there are, to choose from.
fn listed(all: &[PathBuf]) -> String {
    const MOST: usize = 5;
    let lines: String = all.iter().rev().take(MOST).map(|run| format!("\n  {}", run.display())).collect();
    match all.len() {
        0 => String::new(),
        count if count > MOST => format!("; the newest of {count} runs there:{lines}"),
        _ => format!("; the runs there:{lines}"),
    }
}

fn id(run: &Path) -> &str {
    run.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn experiment(run: &Path) -> &str {
    run.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default()
}

/// Reads what a run has published, with as much of its probes as `P` takes.
pub fn read_run<P: DeserializeOwned>(directory: &Path) -> Result<Run<P>> {
    Found::on_disk(directory, None).read()
}

/// Reads the same in brief.
pub fn read_summary(directory: &Path) -> Result<RunSummary> {
    read_part(directory, |run: &RunSummary| run.schema)
}

/// Reads what stands at the beginning of what a run has published.
pub fn read_part<T: DeserializeOwned>(directory: &Path, schema: impl Fn(&T) -> u32) -> Result<T> {
    Found::on_disk(directory, None).part(schema)
}

/// Understands a `run.json`, or says what is wrong with it.
fn understand<T: DeserializeOwned>(text: &[u8], place: &str, schema: impl Fn(&T) -> u32) -> Result<T> {
    let broken = match serde_json::from_slice::<T>(text) {
        Ok(run) if schema(&run) == RUN_SCHEMA => return Ok(run),
        Ok(run) => return Err(other_schema(place, schema(&run).into())),
        Err(error) if error.is_eof() => {
            return Err(error).with_context(|| format!("{place} ends too early: it was cut off"));
        }
        Err(error) => error,
    };
    let value: Value = serde_json::from_slice(text).with_context(|| format!("{place} is not JSON"))?;
    match value["schema"].as_u64() {
        None => bail!("{place} is not a run of ceiling: it states no schema number"),
        Some(schema) if schema != u64::from(RUN_SCHEMA) => Err(other_schema(place, schema)),
        Some(_) => Err(broken).with_context(|| format!("{place} is broken")),
    }
}

fn other_schema(place: &str, schema: u64) -> anyhow::Error {
    let (age, remedy) = if schema > u64::from(RUN_SCHEMA) {
        ("newer", "read it with a newer ceiling")
    } else {
        ("older", "read it with the ceiling that wrote it")
    };
    anyhow::anyhow!("{place} has the {age} schema {schema}; this version reads schema {RUN_SCHEMA}: {remedy}")
}
