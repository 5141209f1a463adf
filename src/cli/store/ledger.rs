//! Keeps the books of a run: what happened goes to the journal first, then into the state, then into what is published.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ceiling_core::plan::{ExperimentHead, Key, Plan};
use ceiling_core::record::{Entry, Heading, Provenance, Replay, Run, State};
use jiff::Timestamp;

use super::find::read_run;
use super::journal::{self, Journal, Past};
use super::lock::Lock;
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
    /// Experiments with news that are not published yet.
    unpublished: BTreeSet<usize>,
    /// When they may be.
    next_publication: Instant,
}

/// All cells are published together, and a run of many short ladders would do little else: for each second that this
/// took, so many pass before the next time. The journal has everything at once.
const REST: u32 = 20;

struct Book {
    directory: RunDir,
    journal: Journal,
    _lock: Lock,
}

/// A run that goes on, and what it had come to.
pub struct Resumed {
    /// Its books.
    pub ledger: Ledger,
    /// What is left to do.
    pub replay: Replay,
    /// What a person should know: what was lost, what is not as it was.
    pub notes: Vec<String>,
}

impl Ledger {
    /// Begins a run in directories of its own under `results`.
    pub fn create(plan: Arc<Plan>, results: &Path, provenance: Provenance, now: Timestamp) -> Result<Self> {
        let run_id = run_id(&provenance, now);
        let open = |head: &ExperimentHead| Book::create(results, head, &run_id);
        let books = plan.experiments.iter().map(open).collect::<Result<_>>()?;
        let heading = Heading { run_id, started: rfc3339(now), finished: None, interrupted: false, provenance };
        let owners = owners(&plan);
        let ledger = Self {
            plan,
            state: State::default(),
            heading,
            books,
            owners,
            unpublished: BTreeSet::new(),
            next_publication: Instant::now(),
        };
        ledger.publish_all()?;
        Ok(ledger)
    }

    /// Goes on with a run that ended before everything was measured. An experiment that it did not have begins now.
    pub fn resume(plan: Arc<Plan>, results: &Path, run_id: &str, provenance: &Provenance) -> Result<Resumed> {
        let (mut books, mut entries, mut notes, mut earlier) = (Vec::new(), Vec::new(), Vec::new(), None);
        for head in &plan.experiments {
            let Some(directory) = RunDir::find(results, &head.name, run_id) else {
                notes.push(format!("{} was not part of run {run_id}: it is measured from the start", head.name));
                books.push(Book::create(results, head, run_id)?);
                continue;
            };
            let lock = Lock::take(directory.path())?;
            let run: Run = read_run(directory.path())?;
            let (book, past) = Book::reopen(directory, lock)?;
            if past.lost_lines > 0 {
                let path = book.directory.file("journal.jsonl");
                notes.push(format!("{}: {} damaged lines at the end were dropped", path.display(), past.lost_lines));
            }
            if run.experiment.digest != head.digest {
                notes.push(format!("{} is not as it was: cells that changed are measured again", head.name));
            }
            if past.head.run_id != run_id {
                bail!("{} holds the journal of run {}", book.directory.path().display(), past.head.run_id);
            }
            books.push(book);
            // What belongs to several experiments stands in the journal of each.
            let known: HashSet<Key> = entries.iter().map(|(line, _)| *line).collect();
            entries.extend(past.entries.into_iter().filter(|(line, _)| !known.contains(line)));
            earlier.get_or_insert(run);
        }
        let run = earlier.with_context(|| format!("no experiment of this plan is part of run {run_id}"))?;
        notes.extend(changed(&run.provenance, provenance));
        let replay = Replay::of(&plan, entries.into_iter().map(|(_, entry)| entry));
        let heading = Heading {
            run_id: run_id.to_owned(),
            started: run.started,
            finished: None,
            interrupted: false,
            provenance: run.provenance,
        };
        let owners = owners(&plan);
        let ledger = Self {
            plan,
            state: replay.state.clone(),
            heading,
            books,
            owners,
            unpublished: BTreeSet::new(),
            next_publication: Instant::now(),
        };
        ledger.publish_all()?;
        Ok(Resumed { ledger, replay, notes })
    }

    /// Keeps what happened. Published files follow as cells are answered.
    pub fn record(&mut self, entry: &Entry) -> Result<()> {
        let (key, publishes) = match entry {
            Entry::Loaded { group, .. } | Entry::EngineFailed { group, .. } => (group, true),
            Entry::Probed(probe) => (&probe.ladder, false),
            Entry::Answered { ladder, .. } | Entry::LadderFailed { ladder, .. } => (ladder, true),
        };
        let owners = self.owners.get(key).cloned().unwrap_or_default();
        for &experiment in &owners {
            self.books[experiment].journal.append(entry)?;
        }
        self.state.apply(entry);
        if publishes {
            self.unpublished.extend(owners);
        }
        let began = Instant::now();
        if publishes && began >= self.next_publication {
            while let Some(experiment) = self.unpublished.pop_first() {
                self.publish(experiment)?;
            }
            self.next_publication = Instant::now() + REST * began.elapsed();
        }
        Ok(())
    }

    /// Publishes everything for the last time.
    pub fn finish(&mut self, interrupted: bool, now: Timestamp) -> Result<Vec<Run>> {
        self.heading.finished = Some(rfc3339(now));
        self.heading.interrupted = interrupted;
        let runs = self.publish_all()?;
        for (book, run) in self.books.iter().zip(&runs) {
            requests::write(book.directory.path(), run)?;
        }
        Ok(runs)
    }

    fn publish_all(&self) -> Result<Vec<Run>> {
        (0..self.books.len()).map(|experiment| self.publish(experiment)).collect()
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

impl Book {
    fn create(results: &Path, head: &ExperimentHead, run_id: &str) -> Result<Self> {
        let directory = RunDir::create(results, &head.name, run_id)?;
        let lock = Lock::take(directory.path())?;
        let journal = Journal::create(&directory.file("journal.jsonl"), run_id)?;
        Ok(Self { directory, journal, _lock: lock })
    }

    fn reopen(directory: RunDir, lock: Lock) -> Result<(Self, Past)> {
        let path = directory.file("journal.jsonl");
        let past = journal::read(&path)?;
        let journal = Journal::reopen(&path, &past)?;
        Ok((Self { directory, journal, _lock: lock }, past))
    }
}

/// What is not as it was when a run began, of what its numbers may depend on.
fn changed(before: &Provenance, now: &Provenance) -> Vec<String> {
    let commit = |from: &Provenance| from.git.as_ref().map(|git| format!("{}, dirty: {}", git.commit, git.dirty));
    let memory = |from: &Provenance| from.memory_bytes.map(|bytes| bytes.to_string());
    let number = |count: Option<u32>| count.map(|count| count.to_string());
    let pairs = [
        ("ceiling", Some(before.ceiling.clone()), Some(now.ceiling.clone())),
        ("commit", commit(before), commit(now)),
        ("platform", Some(before.platform.clone()), Some(now.platform.clone())),
        ("CPU", before.cpu.clone(), now.cpu.clone()),
        ("number of CPUs", number(before.cpus), number(now.cpus)),
        ("memory", memory(before), memory(now)),
        ("NVIDIA driver", before.nvidia_driver.clone(), now.nvidia_driver.clone()),
        ("CUDA_VISIBLE_DEVICES", before.cuda_visible_devices.clone(), now.cuda_visible_devices.clone()),
    ];
    let shown = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    let differs = pairs.into_iter().filter(|(_, before, now)| before != now);
    differs.map(|(what, before, now)| format!("{what} was {}, is {}", shown(before), shown(now))).collect()
}

fn owners(plan: &Plan) -> HashMap<Key, Vec<usize>> {
    let mut owners: HashMap<Key, Vec<usize>> = HashMap::new();
    for ladder in &plan.ladders {
        for &cell in &ladder.cells {
            let experiment = plan.cells[cell].experiment;
            for key in [&ladder.key, &plan.groups[ladder.group].key] {
                let owners = owners.entry(*key).or_default();
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
