//! `journal.jsonl`: what happened in a run, one JSON value a line, on the disk before the run goes on.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ceiling_core::record::Entry;
use serde::{Deserialize, Serialize};

/// The schema of the journals that this version writes.
pub const JOURNAL_SCHEMA: u32 = 1;

/// The first line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHead {
    /// [`JOURNAL_SCHEMA`].
    pub schema: u32,
    /// The run.
    pub run_id: String,
    /// Version of `ceiling` that wrote it.
    pub ceiling: String,
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Begins a new journal; one that is there already is an error.
    pub fn create(path: &Path, run_id: &str) -> Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        let mut journal = Self { file, path: path.to_owned() };
        let ceiling = env!("CARGO_PKG_VERSION").to_owned();
        journal.append_line(&JournalHead { schema: JOURNAL_SCHEMA, run_id: run_id.to_owned(), ceiling })?;
        Ok(journal)
    }

    /// Appends an entry; it is on the disk when this returns.
    pub fn append(&mut self, entry: &Entry) -> Result<()> {
        self.append_line(entry)
    }

    fn append_line(&mut self, value: &impl Serialize) -> Result<()> {
        let mut write = || {
            let mut line = serde_json::to_vec(value)?;
            line.push(b'\n');
            self.file.write_all(&line)?;
            self.file.sync_data()
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The entries of a journal, one after the other. A last line that was torn when its run was killed is left out.
pub fn entries(path: &Path) -> Result<impl Iterator<Item = Result<Entry>>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = Lines { reader: BufReader::new(file), path: path.to_owned(), number: 0 };
    let head: JournalHead = lines.read().unwrap_or_else(|| bail!("{} is empty", path.display()))?;
    if head.schema != JOURNAL_SCHEMA {
        bail!("{} has schema {}; this version reads schema {JOURNAL_SCHEMA}", path.display(), head.schema);
    }
    Ok(std::iter::from_fn(move || lines.read()))
}

/// A journal that is being read.
struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    number: u64,
}

impl Lines {
    /// The next value; `None` after the last whole line.
    fn read<T: serde::de::DeserializeOwned>(&mut self) -> Option<Result<T>> {
        let mut line = Vec::new();
        let read = self.reader.read_until(b'\n', &mut line);
        self.number += 1;
        let value = match read {
            Err(error) => Err(error.into()),
            Ok(_) if line.last() != Some(&b'\n') => return None,
            Ok(_) => serde_json::from_slice(&line).map_err(anyhow::Error::from),
        };
        Some(value.with_context(|| format!("{}, line {}: cannot be read", self.path.display(), self.number)))
    }
}
