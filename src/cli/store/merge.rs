//! Takes into the books of a run what others measured for it, in results directories of their own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ceiling_core::plan::Key;
use ceiling_core::record::Entry;

use super::journal;
use super::ledger::Ledger;

/// Bytes of lines that are held in memory before they are written.
const CHUNK: usize = 8 * 1024 * 1024;

impl Ledger {
    /// Takes in what the run of the same id under each of these results directories has kept, and publishes it.
    ///
    /// A line that the books hold already is left out, so that doing it twice does it once, also where the first time was
    /// cut short. All of it is on the disk when this returns.
    pub fn absorb(&mut self, parts: &[PathBuf]) -> Result<()> {
        let mut waiting: Vec<Vec<u8>> = self.books.iter().map(|_| Vec::new()).collect();
        // What belongs to several experiments stands in the journal of each.
        let mut applied: HashSet<Key> = self.books.iter().flat_map(|book| book.lines.iter().copied()).collect();
        let journals: Vec<PathBuf> = parts.iter().flat_map(|part| self.journals_in(part)).collect();
        for path in journals {
            let mut lines = journal::entries(&path)?;
            if lines.run_id() != self.heading.run_id {
                bail!("{} is the journal of run {}, not of {}", path.display(), lines.run_id(), self.heading.run_id);
            }
            while let Some(entry) = lines.next() {
                let (digest, entry) = entry?;
                let Some(owners) = self.owners.get(key_of(&entry)) else { continue };
                for &owner in owners {
                    if self.books[owner].lines.insert(digest) {
                        waiting[owner].extend_from_slice(lines.line());
                    }
                    if waiting[owner].len() > CHUNK {
                        self.books[owner].journal.append_lines(&std::mem::take(&mut waiting[owner]))?;
                    }
                }
                if applied.insert(digest) {
                    self.state.apply(&entry);
                }
            }
        }
        for (book, lines) in self.books.iter_mut().zip(&waiting) {
            book.journal.append_lines(lines)?;
            book.journal.sync()?;
        }
        self.publish_all()?;
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

/// The engine group or the ladder that an entry speaks of.
fn key_of(entry: &Entry) -> &Key {
    match entry {
        Entry::Loaded { group, .. } | Entry::EngineFailed { group, .. } => group,
        Entry::Probed(probe) => &probe.ladder,
        Entry::Answered { ladder, .. } | Entry::LadderFailed { ladder, .. } => ladder,
    }
}
