//! Keeps the books of a run: what happened goes to the journal first, then into the state, then into what is published.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ceiling_core::experiment::Engine;
use ceiling_core::plan::{Key, Plan};
use ceiling_core::protocol::Resolved;
use ceiling_core::record::{Entry, Heading, Provenance, Run, State};
use jiff::{SignedDuration, Timestamp};

use super::atomic::{replace, replace_by};
use super::journal::{Journal, LineId, Sync};
use super::lock::Lock;
use super::requests;
use super::run_dir::{RunDir, run_ids, time_of};
use crate::report;

/// The books of a run: one directory for each of its experiments.
pub struct Ledger {
    plan: Arc<Plan>,
    pub(super) state: State,
    pub(super) heading: Heading,
    pub(super) books: Vec<Book>,
    /// The experiments that a group or a ladder belongs to, by key.
    pub(super) owners: HashMap<Key, Vec<usize>>,
    /// Experiments with news that are not published yet.
    pub(super) unpublished: BTreeSet<usize>,
    /// When they may be.
    pub(super) next_publication: Instant,
    spent: Spent,
}

/// Time that books took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Appending to journals.
    pub journal: Duration,
    /// Everything that is made of them: `run.json`, `cells.csv`, requests.
    pub publishing: Duration,
}

/// All cells are published together, and a run of many short ladders would do little else: for each second that this
/// took, so many pass before the next time. The journal has everything at once.
const REST: u32 = 20;

pub(super) struct Book {
    pub(super) directory: RunDir,
    pub(super) journal: Journal,
    /// The lines that it began with, and those that it took in from elsewhere.
    pub(super) lines: HashSet<LineId>,
    #[expect(dead_code, reason = "held for as long as the books are open")]
    pub(super) lock: Lock,
}

impl Ledger {
    /// Begins a run in directories of its own under `results`.
    pub fn create(plan: Arc<Plan>, results: &Path, provenance: Provenance, now: Timestamp) -> Result<Self> {
        let mut time = after_all(results, now);
        loop {
            let run_id = run_id(&provenance, time);
            if let Some(directories) = claim(&plan, results, &run_id)? {
                return Self::begin(&run_id, plan, directories, provenance, now);
            }
            // Another run that began in this moment was first.
            time = later(time).context("no run id is left: is the clock right?")?;
        }
    }

    /// The same for a run that has its id already.
    pub fn create_as(
        run_id: &str,
        plan: Arc<Plan>,
        results: &Path,
        provenance: Provenance,
        now: Timestamp,
    ) -> Result<Option<Self>> {
        let Some(directories) = claim(&plan, results, run_id)? else { return Ok(None) };
        Self::begin(run_id, plan, directories, provenance, now).map(Some)
    }

    /// Begins a run in empty directories, one for each experiment.
    fn begin(
        run_id: &str,
        plan: Arc<Plan>,
        directories: Vec<RunDir>,
        provenance: Provenance,
        now: Timestamp,
    ) -> Result<Self> {
        let open = |directory| Book::begin(directory, run_id, sync(&plan));
        let books = directories.into_iter().map(open).collect::<Result<_>>()?;
        let run_id = run_id.to_owned();
        let heading = Heading { run_id, started: rfc3339(now), finished: None, interrupted: false, provenance };
        let ledger = Self::open(plan, books, State::default(), heading);
        ledger.publish_all()?;
        Ok(ledger)
    }

    /// Books that are open, and what they add up to.
    pub(super) fn open(plan: Arc<Plan>, books: Vec<Book>, state: State, heading: Heading) -> Self {
        let owners = owners(&plan);
        Self {
            plan,
            state,
            heading,
            books,
            owners,
            unpublished: BTreeSet::new(),
            next_publication: Instant::now(),
            spent: Spent::default(),
        }
    }

    /// Keeps what happened. Published files follow as cells are answered.
    pub fn record(&mut self, entry: &Entry) -> Result<()> {
        let publishes = !matches!(entry, Entry::Probed(_));
        let owners = self.owners.get(entry.about()).cloned().unwrap_or_default();
        let began = Instant::now();
        for &experiment in &owners {
            self.books[experiment].journal.append(entry)?;
        }
        self.spent.journal += began.elapsed();
        self.state.apply(entry);
        if publishes {
            self.unpublished.extend(owners);
        }
        self.publish_news()
    }

    /// Publishes what is new, unless that was done a moment ago.
    pub fn publish_news(&mut self) -> Result<()> {
        let began = Instant::now();
        if began >= self.next_publication && !self.unpublished.is_empty() {
            while let Some(experiment) = self.unpublished.pop_first() {
                self.publish(experiment, &self.run(experiment))?;
            }
            self.next_publication = Instant::now() + REST * began.elapsed();
            self.spent.publishing += began.elapsed();
        }
        Ok(())
    }

    /// What a group's engine was like when it was up last.
    pub fn resolved(&self, group: &Key) -> Option<Resolved> {
        self.state.resolved(group).cloned()
    }

    /// Number of the next probe of a ladder.
    pub fn next_number(&self, ladder: &Key) -> u32 {
        self.state.ladder(ladder).map_or(0, |state| state.next_number)
    }

    /// Time that the books took since they were opened.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// Whether anything is known of a ladder.
    pub fn knows(&self, ladder: &Key) -> bool {
        self.state.ladder(ladder).is_some()
    }

    /// Publishes everything for the last time.
    pub fn finish(&mut self, interrupted: bool, now: Timestamp) -> Result<Vec<Run>> {
        self.heading.finished = Some(rfc3339(now));
        self.heading.interrupted = interrupted;
        let began = Instant::now();
        // What says that the run is over comes last, and also where there is no room for the rest.
        let runs: Vec<Run> = (0..self.books.len()).map(|experiment| self.run(experiment)).collect();
        let settled = self.books.iter_mut().zip(&runs).try_for_each(|(book, run)| book.settle(run));
        runs.iter().enumerate().try_for_each(|(experiment, run)| self.publish(experiment, run))?;
        settled?;
        self.spent.publishing += began.elapsed();
        Ok(runs)
    }

    /// Publishes everything as it stands.
    pub fn publish_all(&self) -> Result<()> {
        (0..self.books.len()).try_for_each(|experiment| self.publish(experiment, &self.run(experiment)))
    }

    /// The directories of all experiments.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.books.iter().map(|book| book.directory.path())
    }

    /// Removes a run of which nothing was started.
    pub fn discard(self) -> Result<()> {
        let directories: Vec<PathBuf> = self.directories().map(Path::to_owned).collect();
        drop(self);
        directories.iter().try_for_each(|directory| {
            std::fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))
        })
    }

    /// Where the logs of this run's engines go, and how that place is called from the results directory.
    pub fn logs(&self) -> (PathBuf, String) {
        let name = format!("{}/{}/logs", self.plan.experiments[0].name, self.heading.run_id);
        (self.books[0].directory.file("logs"), name)
    }

    /// An experiment's run as it stands.
    fn run(&self, experiment: usize) -> Run {
        self.state.publish(&self.plan, experiment, self.heading.clone())
    }

    fn publish(&self, experiment: usize, run: &Run) -> Result<()> {
        let directory = &self.books[experiment].directory;
        replace(&directory.file("cells.csv"), report::csv::render(run)?.as_bytes())?;
        // Last: a run that says it is over is not published again.
        replace_by(&directory.file("run.json"), |file| report::json::write(run, file))
    }
}

impl Book {
    /// The books of an experiment that begins, in its empty directory.
    pub(super) fn begin(directory: RunDir, run_id: &str, sync: Sync) -> Result<Self> {
        let lock = Lock::take(directory.path())?;
        let journal = Journal::create(&directory.file("journal.jsonl"), run_id, sync)?;
        Ok(Self { directory, journal, lines: HashSet::new(), lock })
    }

    /// Brings the journal to the disk, and makes the table of its requests.
    fn settle(&mut self, run: &Run) -> Result<()> {
        self.journal.sync()?;
        requests::write(self.directory.path(), run)
    }
}

/// How soon what happens must be on the disk.
pub(super) fn sync(plan: &Plan) -> Sync {
    let is_simulated = plan.groups.iter().all(|group| matches!(*group.engine, Engine::Sim(_)));
    if is_simulated { Sync::Sparingly } else { Sync::AtOnce }
}

/// The experiments that each group and each ladder belongs to, by key.
pub(super) fn owners(plan: &Plan) -> HashMap<Key, Vec<usize>> {
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

/// Makes the directories of a run, one for each experiment; `None` where there is one already, and then none is made.
fn claim(plan: &Plan, results: &Path, run_id: &str) -> Result<Option<Vec<RunDir>>> {
    let mut claimed = Vec::with_capacity(plan.experiments.len());
    for head in &plan.experiments {
        match RunDir::claim(results, &head.name, run_id)? {
            Some(directory) => claimed.push(directory),
            None => {
                claimed.iter().try_for_each(RunDir::release)?;
                return Ok(None);
            }
        }
    }
    Ok(Some(claimed))
}

/// An id that lies further ahead than this comes from a clock that was wrong: no later run is to follow it there.
const FURTHEST_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Now, or the second after the newest run under `results`: ids tell seconds apart, and the run that is started last has
/// the last one, at whatever commit.
fn after_all(results: &Path, now: Timestamp) -> Timestamp {
    let ids = run_ids(results);
    let taken = ids.iter().filter_map(|id| time_of(id)).filter(|time| time.duration_since(now) < FURTHEST_AHEAD);
    taken.max().and_then(later).map_or(now, |next| next.max(now))
}

fn later(time: Timestamp) -> Option<Timestamp> {
    time.checked_add(SignedDuration::from_secs(1)).ok()
}

/// UTC time and short commit: `20261124T024500Z-1a2b3c4`, with `-dirty` where the tree is.
pub fn run_id(provenance: &Provenance, now: Timestamp) -> String {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    match &provenance.git {
        None => format!("{time}-nogit"),
        Some(git) => {
            let dirty = if git.dirty { "-dirty" } else { "" };
            format!("{time}-{}{dirty}", git.commit.get(..7).unwrap_or(&git.commit))
        }
    }
}

pub(super) fn rfc3339(time: Timestamp) -> String {
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

    #[test]
    fn a_run_comes_after_all_that_were_begun_before_it() {
        let now: Timestamp = "2026-11-24T02:45:00Z".parse().unwrap();
        let table: [(&[&str], &str); 5] = [
            (&[], "2026-11-24T02:45:00Z"),
            (&["a/20261124T024400Z-1a2b3c4"], "2026-11-24T02:45:00Z"),
            // At whatever commit, and of whatever experiment.
            (&["a/20261124T024500Z-1a2b3c4", "b/20261124T024507Z-nogit"], "2026-11-24T02:45:08Z"),
            (&["a/20991124T024500Z-1a2b3c4", "a/20261124T024500Z-1a2b3c4-dirty"], "2026-11-24T02:45:01Z"),
            (&["a/notes", "a/later-than-this"], "2026-11-24T02:45:00Z"),
        ];
        for (there, expected) in table {
            let results = tempfile::tempdir().unwrap();
            there.iter().for_each(|run| std::fs::create_dir_all(results.path().join(run)).unwrap());
            assert_eq!(after_all(results.path(), now).to_string(), expected, "{there:?}");
        }
    }
}
