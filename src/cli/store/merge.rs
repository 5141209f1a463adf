//! Takes into the books of a run what others measured for it, in results directories of their own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ceiling_core::plan::Key;
use ceiling_core::record::{Entry, ProbeRecord, Provenance};
use rayon::prelude::*;
use serde::Deserialize;

use super::find::read_part;
use super::journal::{self, LineId};
use super::ledger::Ledger;

/// Journals that are held in memory together.
const AT_ONCE: usize = 64;

impl Ledger {
    /// Takes in what the run of the same id under each of these results directories has kept; it is for the caller to
    /// publish it.
    ///
    /// A line that the books hold already is left out, so that doing it twice does it once, also where the first time was
    /// cut short. One that came several times in a journal is taken in as often. All of it is on the disk when this returns.
    pub fn absorb(&mut self, parts: &[PathBuf]) -> Result<()> {
        let mut waiting: Vec<Vec<u8>> = self.books.iter().map(|_| Vec::new()).collect();
        // What belongs to several experiments stands in the journal of each.
        let mut applied: HashSet<LineId> = self.books.iter().flat_map(|book| book.lines.iter().copied()).collect();
        let journals: Vec<PathBuf> = parts.iter().flat_map(|part| self.journals_in(part)).collect();
        for journals in journals.chunks(AT_ONCE) {
            for line in read_all(journals, &self.heading.run_id)? {
                let Some(owners) = self.owners.get(&line.about) else { continue };
                for &owner in owners {
                    if self.books[owner].lines.insert(line.id) {
                        waiting[owner].extend_from_slice(&line.bytes);
                    }
                }
                if applied.insert(line.id) {
                    match line.news {
                        News::Probe(probe) => self.state.add_probe(line.about, *probe),
                        News::Other(entry) => self.state.apply(&entry),
                    }
                }
            }
            for (book, lines) in self.books.iter_mut().zip(&mut waiting) {
                book.journal.append_lines(lines)?;
                lines.clear();
            }
        }
        self.unpublished.extend(0..self.books.len());
        self.books.iter_mut().try_for_each(|book| book.journal.sync())
    }

    /// Whether nothing was measured yet.
    pub fn is_empty(&self) -> bool {
        self.books.iter().all(|book| book.lines.is_empty())
    }

    /// States where the numbers of these results directories come from: with those that the books had, or in their place.
    ///
    /// # Errors
    /// Where one of them cannot be read.
    pub fn measured_where(&mut self, parts: &[PathBuf], replaces: bool) -> Result<()> {
        let mut machines = parts.iter().filter_map(|part| self.journals_in(part).into_iter().next());
        let machines: Vec<Provenance> = machines
            .by_ref()
            .map(|journal| provenance_of(journal.parent().unwrap_or(Path::new(""))))
            .collect::<Result<_>>()?;
        self.measured_on(&machines, replaces);
        Ok(())
    }

    /// States that what is left is measured on this machine.
    pub fn goes_on_at(&mut self, here: &Provenance) {
        self.measured_on(std::slice::from_ref(here), self.is_empty());
    }

    fn measured_on(&mut self, machines: &[Provenance], replaces: bool) {
        let Some(first) = machines.first().cloned() else { return };
        let own = self.heading.provenance.clone();
        // The commit and the version are those of whoever asked.
        let begin = if replaces { Provenance { ceiling: own.ceiling, git: own.git, ..first } } else { own };
        self.heading.provenance = machines.iter().fold(begin, Provenance::agreed);
    }

    /// The journals of this run's experiments under a results directory.
    fn journals_in(&self, part: &Path) -> Vec<PathBuf> {
        let journal = |book: &super::ledger::Book| {
            let run = book.directory.path();
            let experiment = run.parent()?.file_name()?;
            Some(part.join(experiment).join(run.file_name()?).join("journal.jsonl"))
        };
        self.books.iter().filter_map(journal).filter(|path| path.is_file()).collect()
    }
}

/// A line of a journal.
struct Line {
    id: LineId,
    /// The engine group or the ladder that it is about.
    about: Key,
    news: News,
    bytes: Vec<u8>,
}

/// What a line says. Probes are summed up where they are read, on all processors, and their requests let go.
enum News {
    Probe(Box<ProbeRecord>),
    Other(Entry),
}

/// The lines of journals of one run, in order, read on all processors.
fn read_all(journals: &[PathBuf], run_id: &str) -> Result<Vec<Line>> {
    let all: Vec<Vec<Line>> = journals.par_iter().map(|path| read(path, run_id)).collect::<Result<_>>()?;
    Ok(all.into_iter().flatten().collect())
}

fn read(path: &Path, run_id: &str) -> Result<Vec<Line>> {
    let mut lines = journal::entries(path)?;
    if lines.run_id() != run_id {
        bail!("{} is the journal of run {}, not of {run_id}", path.display(), lines.run_id());
    }
    let mut found = Vec::new();
    while let Some(entry) = lines.next() {
        let (id, entry) = entry?;
        let about = *entry.about();
        let news = match entry {
            Entry::Probed(probe) => News::Probe(Box::new(ProbeRecord::new(&probe))),
            other => News::Other(other),
        };
        found.push(Line { id, about, news, bytes: lines.line().to_vec() });
    }
    Ok(found)
}

/// Where the run in this directory says that it comes from.
fn provenance_of(directory: &Path) -> Result<Provenance> {
    #[derive(Deserialize)]
    struct Head {
        schema: u32,
        provenance: Provenance,
    }
    Ok(read_part(directory, |head: &Head| head.schema)?.provenance)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use ceiling_core::plan::{Plan, plan};
    use ceiling_core::record::{Failure, FailureKind};
    use ceiling_core::search::{Answer, Status};
    use jiff::Timestamp;

    use super::*;
    use crate::files::Disk;
    use crate::store::{Resumed, resume};

    const RUN: &str = "20260101T000000Z-nogit";

    /// One ladder that belongs to two experiments.
    fn shared_by_two(place: &Path) -> Arc<Plan> {
        let experiment = |name: &str| {
            let path = place.join(name);
            let text = format!("schema = 1\nname = \"{name}\"\nengine.kind = \"sim\"\nsla.ttft = \"1s\"\n");
            fs::write(&path, text + "workload = { input_tokens = 1000, output_tokens = 32 }\n").unwrap();
            path
        };
        let paths = ["one", "two"].map(experiment);
        let plan = plan(&ceiling_core::experiment::read(&paths, &[], &Disk).unwrap());
        assert_eq!((plan.experiments.len(), plan.ladders.len()), (2, 1));
        Arc::new(plan)
    }

    fn ledger(plan: &Arc<Plan>, results: &Path) -> Ledger {
        let (provenance, now) = (Provenance::default(), Timestamp::UNIX_EPOCH);
        Ledger::create_as(RUN, plan.clone(), results, provenance, now).unwrap().unwrap()
    }

    /// An answer, an engine that is another one, and the same answer again; and so with a failure.
    fn histories(plan: &Plan) -> [[Entry; 3]; 2] {
        let (group, ladder, cells) = (plan.groups[0].key, plan.ladders[0].key, plan.cell_keys(0));
        let answer =
            |status| Answer { status, highest_pass: None, lowest_fail: None, confidence: None, undecided: None };
        let changed = || Entry::EngineChanged { group, ladders: vec![ladder], changes: vec!["another".to_owned()] };
        let found = Entry::Answered { ladder, cells: cells.clone(), answers: vec![answer(Status::Found); cells.len()] };
        let answers = vec![answer(Status::Failed); cells.len()];
        let failure = Failure { kind: FailureKind::Engine, reason: "dead".to_owned(), log: None };
        let failed = Entry::LadderFailed { ladder, cells, answers, failure };
        [found, failed].map(|end| [end.clone(), changed(), end])
    }

    fn journals(results: &Path) -> [String; 2] {
        ["one", "two"].map(|name| fs::read_to_string(results.join(name).join(RUN).join("journal.jsonl")).unwrap())
    }

    #[test]
    fn what_repeats_in_a_journal_is_taken_in_as_often_as_it_came_and_once() {
        let place = tempfile::tempdir().unwrap();
        let plan = shared_by_two(place.path());
        for (number, history) in histories(&plan).iter().enumerate() {
            let parts = [place.path().join(format!("part-{number}"))];
            let whole = place.path().join(format!("whole-{number}"));
            let mut part = ledger(&plan, &parts[0]);
            let mut ledger = ledger(&plan, &whole);
            for entry in history {
                part.record(entry).unwrap();
                // The part went on meanwhile, and begins with what was taken in before.
                ledger.absorb(&parts).unwrap();
                ledger.absorb(&parts).unwrap();
                assert_eq!(journals(&whole), journals(&parts[0]));
            }
            let state = ledger.state.ladder(&plan.ladders[0].key).unwrap();
            assert_eq!((state.answers.is_some(), state.failure.is_some()), (true, number == 1));
            drop(ledger);
            let mut ledger = Ledger::reopen(plan.clone(), &whole, RUN).unwrap();
            ledger.absorb(&parts).unwrap();
            assert_eq!(journals(&whole), journals(&parts[0]), "opened again");
        }
    }

    #[test]
    fn what_repeats_and_stands_in_one_of_two_journals_only_is_known_and_completed() {
        let place = tempfile::tempdir().unwrap();
        let plan = shared_by_two(place.path());
        let [found, _] = histories(&plan);
        for cut in ["one", "two"] {
            let results = place.path().join(format!("without-{cut}"));
            let mut ledger = ledger(&plan, &results);
            found.iter().for_each(|entry| ledger.record(entry).unwrap());
            drop(ledger);
            let whole = journals(&results);
            let shorter: String = whole[0].split_inclusive('\n').take(2).collect();
            fs::write(results.join(cut).join(RUN).join("journal.jsonl"), shorter).unwrap();
            let Resumed { ledger, replay, .. } = resume(plan.clone(), &results, RUN, &Provenance::default()).unwrap();
            assert_eq!((journals(&results), replay.ladders[0].is_none()), (whole, true), "{cut}");
            drop(ledger);
        }
    }
}
