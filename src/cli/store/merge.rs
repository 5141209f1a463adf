//! Takes into the books of a run what others measured for it, in results directories of their own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ceiling_core::plan::Key;
use ceiling_core::record::{Entry, ProbeRecord, Provenance};
use rayon::prelude::*;
use serde::Deserialize;

use super::find::read_part;
use super::journal;
use super::ledger::Ledger;

/// Journals that are held in memory together.
const AT_ONCE: usize = 64;

impl Ledger {
    /// Takes in what the run of the same id under each of these results directories has kept; it is for the caller to
    /// publish it.
    ///
    /// A line that the books hold already is left out, so that doing it twice does it once, also where the first time was
    /// cut short. All of it is on the disk when this returns.
    pub fn absorb(&mut self, parts: &[PathBuf]) -> Result<()> {
        let mut waiting: Vec<Vec<u8>> = self.books.iter().map(|_| Vec::new()).collect();
        // What belongs to several experiments stands in the journal of each.
        let mut applied: HashSet<Key> = self.books.iter().flat_map(|book| book.lines.iter().copied()).collect();
        let journals: Vec<PathBuf> = parts.iter().flat_map(|part| self.journals_in(part)).collect();
        for journals in journals.chunks(AT_ONCE) {
            for line in read_all(journals, &self.heading.run_id)? {
                let Some(owners) = self.owners.get(&line.about) else { continue };
                for &owner in owners {
                    if self.books[owner].lines.insert(line.digest) {
                        waiting[owner].extend_from_slice(&line.bytes);
                    }
                }
                if applied.insert(line.digest) {
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
        let Some(first) = machines.first().cloned() else { return Ok(()) };
        let own = self.heading.provenance.clone();
        // The commit and the version are those of whoever asked.
        let begin = if replaces { Provenance { ceiling: own.ceiling, git: own.git, ..first } } else { own };
        self.heading.provenance = machines.iter().fold(begin, Provenance::agreed);
        Ok(())
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
    digest: Key,
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
        let (digest, entry) = entry?;
        let about = *entry.about();
        let news = match entry {
            Entry::Probed(probe) => News::Probe(Box::new(ProbeRecord::new(&probe))),
            other => News::Other(other),
        };
        found.push(Line { digest, about, news, bytes: lines.line().to_vec() });
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
