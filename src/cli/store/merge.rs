//! Takes into the books of a run what others measured for it, in results directories of their own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Result, bail};
use ceiling_core::plan::Key;
use ceiling_core::record::{Entry, Provenance};
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
            for (digest, entry, line) in read_all(journals, &self.heading.run_id)? {
                let Some(owners) = self.owners.get(entry.about()) else { continue };
                for &owner in owners {
                    if self.books[owner].lines.insert(digest) {
                        waiting[owner].extend_from_slice(&line);
                    }
                }
                if applied.insert(digest) {
                    self.state.apply(&entry);
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

/// An entry, with the digest of its line and the line.
type Line = (Key, Entry, Vec<u8>);

/// The entries of journals of one run, in order, read on all processors.
fn read_all(journals: &[PathBuf], run_id: &str) -> Result<Vec<Line>> {
    let readers = thread::available_parallelism().map_or(1, usize::from);
    let part = journals.len().div_ceil(readers).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = journals.chunks(part).map(|part| scope.spawn(|| read_some(part, run_id))).collect();
        let joined = parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let all: Vec<Vec<Line>> = joined.collect::<Result<_>>()?;
        Ok(all.into_iter().flatten().collect())
    })
}

fn read_some(journals: &[PathBuf], run_id: &str) -> Result<Vec<Line>> {
    let mut found = Vec::new();
    for path in journals {
        let mut lines = journal::entries(path)?;
        if lines.run_id() != run_id {
            bail!("{} is the journal of run {}, not of {run_id}", path.display(), lines.run_id());
        }
        while let Some(entry) = lines.next() {
            let (digest, entry) = entry?;
            found.push((digest, entry, lines.line().to_vec()));
        }
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
