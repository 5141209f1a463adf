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
    let mut lines = entries(path)?;
    let entries = lines.by_ref().collect::<Result<_>>()?;
    let lost_lines = lines.lost_lines()?;
    Ok(Past { head: lines.head, entries, whole_bytes: lines.whole_bytes, lost_lines })
}

/// The entries of a journal one after the other, each with the digest of its line, up to the first line that cannot be
/// read: a journal may be larger than memory.
pub fn entries(path: &Path) -> Result<Lines> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    reader.read_until(b'\n', &mut line).with_context(|| format!("cannot read {}", path.display()))?;
    let no_journal = || format!("{} does not begin as a journal does", path.display());
    let value: serde_json::Value = serde_json::from_slice(&line).with_context(no_journal)?;
    let schema = value.get("schema").and_then(serde_json::Value::as_u64).with_context(no_journal)?;
    if schema != u64::from(JOURNAL_SCHEMA) {
        bail!("{} has schema {schema}; this version reads schema {JOURNAL_SCHEMA}", path.display());
    }
    let head = serde_json::from_value(value).with_context(no_journal)?;
    Ok(Lines { head, path: path.to_owned(), reader, whole_bytes: line.len() as u64, damaged: false, line })
}

/// A journal that is being read.
#[derive(Debug)]
pub struct Lines {
    head: JournalHead,
    path: PathBuf,
    reader: BufReader<File>,
    whole_bytes: u64,
    /// Whether a line was met that cannot be read.
    damaged: bool,
    /// The line of the newest entry.
    line: Vec<u8>,
}

impl Lines {
    /// The run that the journal belongs to.
    pub fn run_id(&self) -> &str {
        &self.head.run_id
    }

    /// The bytes of the entry that came last, with the end of its line.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    fn next_line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let read = self.reader.read_until(b'\n', &mut line);
        read.with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(line)
    }

    /// Lines from the first on that cannot be read.
    fn lost_lines(&mut self) -> Result<usize> {
        let mut lost = usize::from(self.damaged);
        while !self.next_line()?.is_empty() {
            lost += 1;
        }
        Ok(lost)
    }

    fn read_entry(&mut self) -> Result<Option<(Key, Entry)>> {
        let line = self.next_line()?;
        match parse(&line) {
            Ok(entry) if line.ends_with(b"\n") => {
                self.whole_bytes += line.len() as u64;
                let key = Key::of_bytes(&line);
                self.line = line;
                Ok(Some((key, entry)))
            }
            _ => {
                self.damaged = !line.is_empty();
                Ok(None)
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<(Key, Entry)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.damaged { None } else { self.read_entry().transpose() }
    }
}

/// How the line of a probe begins.
const PROBED: &[u8] = br#"{"entry":"probed","#;

/// Reads an entry. Nearly all bytes of a journal are those of probes, and serde would copy all of them to find out which
/// variant they are.
fn parse(line: &[u8]) -> serde_json::Result<Entry> {
    if line.starts_with(PROBED) {
        return serde_json::from_slice(line).map(|probe| Entry::Probed(Box::new(probe)));
    }
    serde_json::from_slice(line)
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

    /// Appends whole lines of another journal; they are on the disk when [`Self::sync`] returns.
    pub fn append_lines(&mut self, lines: &[u8]) -> Result<()> {
        self.file.write_all(lines).with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Brings what was appended to the disk.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write {}", self.path.display()))
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
