//! `journal.jsonl`: what happened in a run, one JSON value a line, on the disk before the run goes on.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ceiling_core::plan::Key;
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

/// What a journal holds.
#[derive(Debug)]
pub struct Past {
    /// Its first line.
    pub head: JournalHead,
    /// What happened, in order, each with the digest of its line.
    pub entries: Vec<(Key, Entry)>,
    /// Bytes up to the end of the last whole entry.
    pub whole_bytes: u64,
    /// Lines after those that cannot be read: the last one torn by a kill or a full disk, or more by a damaged file.
    pub lost_lines: usize,
}

/// Reads a journal. What comes after the first line that cannot be read is not trusted.
pub fn read(path: &Path) -> Result<Past> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut whole_bytes = 0;
    let mut next = |line: &mut Vec<u8>| -> Result<usize> {
        line.clear();
        reader.read_until(b'\n', line).with_context(|| format!("cannot read {}", path.display()))
    };
    whole_bytes += next(&mut line)? as u64;
    let no_journal = || format!("{} does not begin as a journal does", path.display());
    let value: serde_json::Value = serde_json::from_slice(&line).with_context(no_journal)?;
    let schema = value.get("schema").and_then(serde_json::Value::as_u64).with_context(no_journal)?;
    if schema != u64::from(JOURNAL_SCHEMA) {
        bail!("{} has schema {schema}; this version reads schema {JOURNAL_SCHEMA}", path.display());
    }
    let head = serde_json::from_value(value).with_context(no_journal)?;
    let (mut entries, mut lost_lines) = (Vec::new(), 0);
    loop {
        let bytes = next(&mut line)?;
        if bytes == 0 {
            return Ok(Past { head, entries, whole_bytes, lost_lines });
        }
        match serde_json::from_slice(&line) {
            Ok(entry) if lost_lines == 0 && line.ends_with(b"\n") => {
                entries.push((Key::of_bytes(&line), entry));
                whole_bytes += bytes as u64;
            }
            _ => lost_lines += 1,
        }
    }
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

    /// Goes on with a journal after its last whole entry.
    pub fn reopen(path: &Path, past: &Past) -> Result<Self> {
        let open = || {
            let file = OpenOptions::new().append(true).open(path)?;
            file.set_len(past.whole_bytes)?;
            Ok::<_, std::io::Error>(file)
        };
        let file = open().with_context(|| format!("cannot go on with {}", path.display()))?;
        Ok(Self { file, path: path.to_owned() })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let key = Key::of(&serde_json::Value::Null);
        Entry::Answered { ladder: key, cells: vec![key], answers: Vec::new() }
    }

    fn journal(directory: &Path) -> PathBuf {
        let path = directory.join("journal.jsonl");
        let mut journal = Journal::create(&path, "a-run").unwrap();
        journal.append(&entry()).unwrap();
        journal.append(&entry()).unwrap();
        path
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = journal(directory.path());
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        let past = read(&path).unwrap();
        assert_eq!((past.entries.len(), past.lost_lines), (1, 1));
        Journal::reopen(&path, &past).unwrap().append(&entry()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn what_follows_a_damaged_line_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let path = journal(directory.path());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        std::fs::write(&path, format!("{}\n{{\"entry\":\n{}\n", lines[0], lines[1])).unwrap();
        let past = read(&path).unwrap();
        assert_eq!((past.entries.len(), past.lost_lines), (0, 2));
    }

    #[test]
    fn a_journal_of_a_newer_schema_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.jsonl");
        std::fs::write(&path, "{\"schema\":9,\"run_id\":\"x\",\"ceiling\":\"9.0\"}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("schema 9"));
        std::fs::write(&path, "").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("does not begin"));
    }
}
