//! Keeps the books of a run: what happened goes to the journal first, then into the state, then into what is published.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use ceiling_core::plan::{Key, Plan};
use ceiling_core::record::{Entry, Heading, Provenance, Run, State};
use jiff::Timestamp;

use super::journal::Journal;
use super::replace;
use super::requests;
use super::run_dir::RunDir;
use crate::report;

/// The books of a run: one directory for each of its experiments.
pub struct Ledger {
    plan: Arc<Plan>,
    state: State,
    heading: Heading,
    books: Vec<Book>,
    /// The experiments that a group or a ladder belongs to, by key.
    owners: HashMap<Key, Vec<usize>>,
}

struct Book {
    directory: RunDir,
    journal: Journal,
}

impl Ledger {
    /// Begins a run in directories of its own under `results`.
    pub fn create(plan: Arc<Plan>, results: &Path, provenance: Provenance, now: Timestamp) -> Result<Self> {
        let run_id = run_id(&provenance, now);
        let open = |head: &ceiling_core::plan::ExperimentHead| {
            let directory = RunDir::create(results, &head.name, &run_id)?;
            let journal = Journal::create(&directory.file("journal.jsonl"), &run_id)?;
            Ok(Book { directory, journal })
        };
        let books = plan.experiments.iter().map(open).collect::<Result<_>>()?;
        let heading = Heading { run_id, started: rfc3339(now), finished: None, interrupted: false, provenance };
        let owners = owners(&plan);
        Ok(Self { plan, state: State::default(), heading, books, owners })
    }

    /// Keeps what happened. Published files follow whenever a cell is answered.
    pub fn record(&mut self, entry: &Entry) -> Result<()> {
        let (key, publishes) = match entry {
            Entry::Loaded { group, .. } | Entry::EngineFailed { group, .. } => (group, true),
            Entry::Probed { ladder, .. } => (ladder, false),
            Entry::Answered { ladder, .. } | Entry::LadderFailed { ladder, .. } => (ladder, true),
        };
        let owners = self.owners.get(key).cloned().unwrap_or_default();
        for &experiment in &owners {
            self.books[experiment].journal.append(entry)?;
        }
        self.state.apply(entry);
        if publishes {
            owners.into_iter().try_for_each(|experiment| self.publish(experiment).map(drop))?;
        }
        Ok(())
    }

    /// Publishes everything for the last time.
    pub fn finish(&mut self, interrupted: bool, now: Timestamp) -> Result<Vec<Run>> {
        self.heading.finished = Some(rfc3339(now));
        self.heading.interrupted = interrupted;
        let runs: Vec<Run> = (0..self.books.len()).map(|experiment| self.publish(experiment)).collect::<Result<_>>()?;
        for (book, run) in self.books.iter().zip(&runs) {
            requests::write(book.directory.path(), run)?;
        }
        Ok(runs)
    }

    /// The directories of all experiments.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.books.iter().map(|book| book.directory.path())
    }

    /// Where the logs of this run's engines go, and how that place is called from the results directory.
    pub fn logs(&self) -> (PathBuf, String) {
        let name = format!("{}/{}/logs", self.plan.experiments[0].name, self.heading.run_id);
        (self.books[0].directory.file("logs"), name)
    }

    fn publish(&self, experiment: usize) -> Result<Run> {
        let run = self.state.publish(&self.plan, experiment, self.heading.clone());
        let directory = &self.books[experiment].directory;
        replace(&directory.file("run.json"), report::json::render(&run)?.as_bytes())?;
        replace(&directory.file("cells.csv"), report::csv::render(&run)?.as_bytes())?;
        Ok(run)
    }
}

fn owners(plan: &Plan) -> HashMap<Key, Vec<usize>> {
    let mut owners: HashMap<Key, Vec<usize>> = HashMap::new();
    for ladder in &plan.ladders {
        for &cell in &ladder.cells {
            let experiment = plan.cells[cell].experiment;
            for key in [&ladder.key, &plan.groups[ladder.group].key] {
                let owners = owners.entry(key.clone()).or_default();
                if !owners.contains(&experiment) {
                    owners.push(experiment);
                }
            }
        }
    }
    owners
}

/// UTC time and short commit: `20261124T024500Z-1a2b3c4`, with `-dirty` where the tree is.
fn run_id(provenance: &Provenance, now: Timestamp) -> String {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    match &provenance.git {
        None => format!("{time}-nogit"),
        Some(git) => {
            let dirty = if git.dirty { "-dirty" } else { "" };
            format!("{time}-{}{dirty}", git.commit.get(..7).unwrap_or(&git.commit))
        }
    }
}

fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use ceiling_core::record::Git;

    use super::*;

    #[test]
    fn a_run_id_is_time_and_commit() {
        let now: Timestamp = "2026-11-24T02:45:00Z".parse().unwrap();
        let at = |dirty| {
            let git = Git { commit: "1a2b3c4d5e6f".into(), branch: None, dirty };
            run_id(&Provenance { git: Some(git), ..Provenance::default() }, now)
        };
        assert_eq!(at(false), "20261124T024500Z-1a2b3c4");
        assert_eq!(at(true), "20261124T024500Z-1a2b3c4-dirty");
        assert_eq!(run_id(&Provenance::default(), now), "20261124T024500Z-nogit");
    }
}
