//! Goes on with a run that ended before everything was measured.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ceiling_core::experiment::ExperimentName;
use ceiling_core::plan::{ExperimentHead, Key, Plan};
use ceiling_core::record::{Entry, Heading, Provenance, Replay};
use serde::Deserialize;

use super::find::read_part;
use super::journal::{self, Journal, LineId, Sync};
use super::ledger::{Book, Ledger, owners, rfc3339, sync};
use super::lock::Lock;
use super::run_dir::{RunDir, is_lost, time_of};

/// What a run had published stands for so long after it was resumed.
const FIRST_PUBLICATION: Duration = Duration::from_secs(10);

/// A run that goes on, and what it had come to.
pub struct Resumed {
    /// Its books.
    pub ledger: Ledger,
    /// What is left to do; what is known is in the books.
    pub replay: Replay,
    /// What a person should know: what was lost, what is not as it was.
    pub notes: Vec<String>,
}

/// Goes on with a run. An experiment that it did not have begins now.
pub fn resume(plan: Arc<Plan>, results: &Path, run_id: &str, provenance: &Provenance) -> Result<Resumed> {
    let Opened { books, mut replay, mut notes, mut heading, .. } = open(&plan, results, run_id, Some(provenance))?;
    if replay.outdated > 0 {
        notes.push(format!(
            "engines changed while a part of the run was gone on with: {} other ladders are measured again",
            replay.outdated
        ));
    }
    notes.extend(changed(&heading.provenance, provenance));
    if let (Some(before), Some(now)) = (&mut heading.provenance.git, &provenance.git) {
        // Not all of it was recorded at the commit that it names.
        before.dirty |= now.dirty || now.commit != before.commit;
    }
    let mut ledger = Ledger::open(plan, books, std::mem::take(&mut replay.state), heading);
    // Going on need not wait for what takes long in a large run.
    ledger.unpublished.extend(0..ledger.books.len());
    ledger.next_publication = Instant::now() + FIRST_PUBLICATION;
    Ok(Resumed { ledger, replay, notes })
}

impl Ledger {
    /// Opens the books of a run to add to them what was measured elsewhere; nothing in them is forgotten, a failure neither.
    pub fn reopen(plan: Arc<Plan>, results: &Path, run_id: &str) -> Result<Self> {
        let Opened { books, replay, failures, heading, .. } = open(&plan, results, run_id, None)?;
        let Replay { mut state, ladders, .. } = replay;
        let ladders = plan.ladders.iter().zip(&ladders);
        let open: HashSet<Key> = ladders.filter(|(_, seen)| seen.is_some()).map(|(ladder, _)| ladder.key).collect();
        failures.iter().filter(|failure| open.contains(failure.about())).for_each(|failure| state.apply(failure));
        Ok(Self::open(plan, books, state, heading))
    }
}

/// The books of a run that is there, and what they hold.
struct Opened {
    books: Vec<Book>,
    replay: Replay,
    /// Ladders that could not be measured.
    failures: Vec<Entry>,
    notes: Vec<String>,
    heading: Heading,
}

/// A journal that was read to its end, and is open again.
struct Reopened {
    book: Book,
    /// Each line, with what it is about.
    lines: Vec<(LineId, Key)>,
}

/// Opens them. What was published and is lost is made of the journal again, where there is a provenance to stand in for what is not in it.
fn open(plan: &Plan, results: &Path, run_id: &str, stand_in: Option<&Provenance>) -> Result<Opened> {
    // It may stand in a file that somebody else wrote, and it is going to be a directory under `results`.
    if ExperimentName::new(run_id).is_none() {
        bail!("{run_id:?} is not the id of a run: letters, digits, `.`, `_` and `-`, not beginning with a dot");
    }
    let (mut replay, mut failures, mut notes) = (Replay::new(plan), Vec::new(), Vec::new());
    let (mut first, mut known) = (None, HashSet::new());
    let planned: HashSet<Key> = plan.cells.iter().map(|cell| cell.key).collect();
    let mut books: Vec<Option<Reopened>> = Vec::new();
    for head in &plan.experiments {
        let Some(directory) = RunDir::find(results, &head.name, run_id) else {
            notes.push(format!("{} was not part of run {run_id}: it is measured from the start", head.name));
            books.push(None);
            continue;
        };
        let lock = Lock::take(directory.path())?;
        let run = match stand_in.filter(|_| is_lost(directory.path())) {
            None => Some(read_head(directory.path())?),
            Some(_) => {
                notes.push(format!(
                    "{} is gone or torn, and is made anew from the journal; where the run was begun is not known any more: what is \
                     published says where it goes on",
                    directory.file("run.json").display()
                ));
                None
            }
        };
        if run.as_ref().is_some_and(|run| run.experiment.digest != head.digest) {
            notes.push(format!("{} is not as it was: cells that changed are measured again", head.name));
        }
        let mut left_out: HashSet<Key> = HashSet::new();
        replay.begin_journal();
        let take = |line: LineId, entry: Entry| {
            if let Entry::Answered { cells, .. } = &entry {
                left_out.extend(cells.iter().filter(|cell| !planned.contains(cell)));
            }
            // What belongs to several experiments stands in the journal of each.
            if known.contains(&line) {
                replay.pass_over(&entry);
            } else {
                failures.extend(Some(&entry).filter(|entry| matches!(entry, Entry::LadderFailed { .. })).cloned());
                replay.take(plan, entry);
            }
        };
        let reopened = reopen(directory, lock, run_id, sync(plan), take, &mut notes)?;
        if !left_out.is_empty() {
            notes.push(format!(
                "{}: {} cells that were measured are not part of it any more, and are left out of what is published; the journal keeps \
                 them for when the file and --set are as they were",
                head.name,
                left_out.len()
            ));
        }
        known.extend(reopened.lines.iter().map(|(line, _)| *line));
        books.push(Some(reopened));
        first = first.or(run);
    }
    replay.end(plan);
    if books.iter().all(Option::is_none) {
        bail!("no experiment of this plan is part of run {run_id}");
    }
    let (started, provenance) = match (first, stand_in) {
        (Some(run), _) => (run.started, run.provenance),
        (None, Some(now)) => (time_of(run_id).map_or_else(String::new, rfc3339), now.clone()),
        (None, None) => bail!("what run {run_id} had published is lost"),
    };
    let heading = Heading { run_id: run_id.to_owned(), started, finished: None, interrupted: false, provenance };
    let begin = |(head, book): (&ExperimentHead, Option<Reopened>)| match book {
        Some(reopened) => Ok(reopened),
        None => begin_again(results, head, run_id, sync(plan)).map(|book| Reopened { book, lines: Vec::new() }),
    };
    let mut books: Vec<Reopened> = plan.experiments.iter().zip(books).map(begin).collect::<Result<_>>()?;
    complete(plan, &mut books)?;
    let books = books.into_iter().map(|reopened| reopened.book).collect();
    Ok(Opened { books, replay, failures, notes, heading })
}

/// Reads a journal to its last whole entry, and opens it to go on from there.
fn reopen(
    directory: RunDir,
    lock: Lock,
    run_id: &str,
    sync: Sync,
    mut take: impl FnMut(LineId, Entry),
    notes: &mut Vec<String>,
) -> Result<Reopened> {
    let path = directory.file("journal.jsonl");
    let mut journal = journal::entries(&path)?;
    if journal.run_id() != run_id {
        bail!("{} holds the journal of run {}", directory.path().display(), journal.run_id());
    }
    let mut lines = Vec::new();
    for entry in journal.by_ref() {
        let (line, entry) = entry?;
        lines.push((line, *entry.about()));
        take(line, entry);
    }
    let whole_bytes = journal.whole_bytes();
    let lost = journal.lost_lines()?;
    if lost > 0 {
        notes.push(match lost {
            1 => format!("{}: its last line is damaged, and was dropped", path.display()),
            _ => format!("{}: a line is damaged; it and the {} after it were dropped", path.display(), lost - 1),
        });
    }
    let journal = Journal::reopen(&path, whole_bytes, sync)?;
    let known = lines.iter().map(|(line, _)| *line).collect();
    Ok(Reopened { book: Book { directory, journal, lines: known, lock }, lines })
}

/// For an experiment that the run had not, or that nothing was published of before it was killed.
fn begin_again(results: &Path, head: &ExperimentHead, run_id: &str, sync: Sync) -> Result<Book> {
    RunDir::clear(results, &head.name, run_id)?;
    let directory = RunDir::claim(results, &head.name, run_id)?;
    let directory = directory.with_context(|| format!("another process begins {} of run {run_id}", head.name))?;
    Book::begin(directory, run_id, sync)
}

/// A run that was killed between one journal and the next left an entry in the first only.
fn complete(plan: &Plan, books: &mut [Reopened]) -> Result<()> {
    let owners = owners(plan);
    for from in 0..books.len() {
        let source = &books[from];
        let lacking = |about: &Key, line: &LineId| -> Vec<usize> {
            let owners = owners.get(about).into_iter().flatten().copied();
            owners.filter(|&to| !books[to].book.lines.contains(line)).collect()
        };
        let missing = source.lines.iter().map(|(line, about)| (*line, lacking(about, line)));
        let missing: HashMap<LineId, Vec<usize>> = missing.filter(|(_, to)| !to.is_empty()).collect();
        if missing.is_empty() {
            continue;
        }
        let mut entries = journal::entries(&source.book.directory.file("journal.jsonl"))?;
        while let Some(entry) = entries.next() {
            let (line, _) = entry?;
            for &to in missing.get(&line).into_iter().flatten() {
                let target = &mut books[to].book;
                if target.lines.insert(line) {
                    // The same bytes: an entry is known by them, and another version may have written them.
                    target.journal.append_lines(entries.line())?;
                }
            }
        }
        books.iter_mut().try_for_each(|reopened| reopened.book.journal.sync())?;
    }
    Ok(())
}

/// As much of a `run.json` as going on with it takes.
#[derive(Deserialize)]
struct RunHead {
    schema: u32,
    started: String,
    experiment: ExperimentHeadRead,
    provenance: Provenance,
}

#[derive(Deserialize)]
struct ExperimentHeadRead {
    digest: Key,
}

fn read_head(directory: &Path) -> Result<RunHead> {
    read_part(directory, |head: &RunHead| head.schema)
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
