//! `journal.jsonl`: what happened in a run, one JSON value a line.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ceiling_core::plan::Key;
use ceiling_core::record::Entry;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::atomic::sync_names;

/// The schema of the journals that this version writes.
pub const JOURNAL_SCHEMA: u32 = 2;

/// When an entry is on the disk, and so survives a machine that loses its power. A process that is killed loses nothing
/// either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before the run goes on.
    AtOnce,
    /// As often as that costs little: what a simulator measured can be had again for nothing.
    Sparingly,
}

/// For each second that a sparing sync took, so many pass before the next.
const REST: u32 = 200;

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

/// A line, by which it is known again in a copy: events that are alike are the same bytes, and each of them counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LineId {
    digest: Key,
    /// Lines of the same bytes before it in its journal.
    before: u32,
}

/// The entries of a journal one after the other, each with what its line is known by, up to the first line that cannot be
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
    let (path, whole_bytes) = (path.to_owned(), line.len() as u64);
    Ok(Lines { head, path, reader, ahead: VecDeque::new(), came: HashMap::new(), whole_bytes, damaged: false, line })
}

/// Whether a journal holds more than its first line, as that of a run does which has measured something.
pub fn has_entries(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    let has_head = reader.read_until(b'\n', &mut line).is_ok() && line.ends_with(b"\n");
    has_head && reader.fill_buf().is_ok_and(|rest| !rest.is_empty())
}

/// A journal that is being read. What comes after the first line that cannot be read is not trusted.
#[derive(Debug)]
pub struct Lines {
    head: JournalHead,
    path: PathBuf,
    reader: BufReader<File>,
    /// Lines that were read already.
    ahead: VecDeque<Line>,
    /// How often each line came, by its digest.
    came: HashMap<Key, u32>,
    /// The newest line.
    line: Vec<u8>,
    whole_bytes: u64,
    /// Whether a line was met that cannot be read.
    damaged: bool,
}

impl Lines {
    /// Bytes of lines that are read together; understood, they take about twenty times as much.
    const AHEAD_BYTES: usize = 1 << 20;

    /// The run that the journal belongs to.
    pub fn run_id(&self) -> &str {
        &self.head.run_id
    }

    /// The bytes of the entry that came last, with the end of its line.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Bytes up to the end of the last whole entry so far.
    pub fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// After the last entry: lines from the first on that cannot be read. The last one was torn by a kill or a full disk;
    /// more are a damaged file's.
    pub fn lost_lines(&mut self) -> Result<usize> {
        let mut lost = usize::from(self.damaged);
        while self.next_line()?.is_some() {
            lost += 1;
        }
        Ok(lost)
    }

    fn next_line(&mut self) -> Result<Option<Line>> {
        if self.ahead.is_empty() {
            self.read_ahead().with_context(|| format!("cannot read {}", self.path.display()))?;
        }
        Ok(self.ahead.pop_front())
    }

    /// Reads lines together, for all processors to understand them.
    fn read_ahead(&mut self) -> std::io::Result<()> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while bytes < Self::AHEAD_BYTES {
            let mut line = Vec::new();
            match self.reader.read_until(b'\n', &mut line)? {
                0 => break,
                read => bytes += read,
            }
            lines.push(line);
        }
        self.ahead = lines.into_par_iter().map(Line::new).collect::<Vec<_>>().into();
        Ok(())
    }

    fn read_entry(&mut self) -> Result<Option<(LineId, Entry)>> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        self.line = line.bytes;
        let Some((digest, entry)) = line.entry else {
            self.damaged = true;
            return Ok(None);
        };
        self.whole_bytes += self.line.len() as u64;
        let came = self.came.entry(digest).or_default();
        let id = LineId { digest, before: *came };
        *came += 1;
        Ok(Some((id, entry)))
    }
}

/// A line, and the entry that it is with the digest of the line.
#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    entry: Option<(Key, Entry)>,
}

impl Line {
    fn new(bytes: Vec<u8>) -> Self {
        let entry = parse(&bytes).ok().filter(|_| bytes.ends_with(b"\n"));
        Self { entry: entry.map(|entry| (Key::of_bytes(&bytes), entry)), bytes }
    }
}

impl Iterator for Lines {
    type Item = Result<(LineId, Entry)>;

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
    sync: Sync,
    /// When the next sparing sync may be.
    next_sync: Instant,
}

impl Journal {
    /// Begins a new journal; one that is there already is an error.
    pub fn create(path: &Path, run_id: &str, sync: Sync) -> Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        let mut journal = Self { file, path: path.to_owned(), sync, next_sync: Instant::now() };
        let ceiling = env!("CARGO_PKG_VERSION").to_owned();
        journal.append_line(&JournalHead { schema: JOURNAL_SCHEMA, run_id: run_id.to_owned(), ceiling })?;
        path.parent().map_or(Ok(()), sync_names).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(journal)
    }

    /// Goes on with a journal after its last whole entry.
    pub fn reopen(path: &Path, whole_bytes: u64, sync: Sync) -> Result<Self> {
        let open = || {
            let mut file = OpenOptions::new().read(true).append(true).open(path)?;
            file.set_len(whole_bytes)?;
            // A first line may have been torn just before its end: it says all that it has to, and gets its end now.
            if whole_bytes > 0 {
                let mut last = [0];
                file.read_exact_at(&mut last, whole_bytes - 1)?;
                if last != *b"\n" {
                    file.write_all(b"\n")?;
                }
            }
            Ok::<_, std::io::Error>(file)
        };
        let file = open().with_context(|| format!("cannot go on with {}", path.display()))?;
        Ok(Self { file, path: path.to_owned(), sync, next_sync: Instant::now() })
    }

    /// Appends an entry.
    pub fn append(&mut self, entry: &Entry) -> Result<()> {
        self.append_line(entry)
    }

    /// Appends whole lines of another journal; they are on the disk when [`Self::sync`] returns.
    pub fn append_lines(&mut self, lines: &[u8]) -> Result<()> {
        self.file.write_all(lines).with_context(|| self.complaint())
    }

    /// Brings what was appended to the disk.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync_data().with_context(|| self.complaint())
    }

    fn append_line(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value).with_context(|| self.complaint())?;
        line.push(b'\n');
        self.append_lines(&line)?;
        let began = Instant::now();
        if self.sync == Sync::AtOnce || began >= self.next_sync {
            self.sync()?;
            self.next_sync = Instant::now() + REST * began.elapsed();
        }
        Ok(())
    }

    fn complaint(&self) -> String {
        format!("cannot write {}", self.path.display())
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
        let mut journal = Journal::create(&path, "a-run", Sync::AtOnce).unwrap();
        journal.append(&entry()).unwrap();
        journal.append(&entry()).unwrap();
        path
    }

    /// Whole entries, bytes of them, lines that are lost.
    fn read(path: &Path) -> (usize, u64, usize) {
        let mut lines = entries(path).unwrap();
        let count = lines.by_ref().map(Result::unwrap).count();
        (count, lines.whole_bytes(), lines.lost_lines().unwrap())
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = journal(directory.path());
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        let (count, whole_bytes, lost) = read(&path);
        assert_eq!((count, lost), (1, 1));
        Journal::reopen(&path, whole_bytes, Sync::Sparingly).unwrap().append(&entry()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn a_first_line_without_its_end_is_not_written_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = journal(directory.path());
        let whole = std::fs::read(&path).unwrap();
        let end_of_head = whole.iter().position(|byte| *byte == b'\n').unwrap();
        std::fs::write(&path, &whole[..end_of_head]).unwrap();
        let (count, whole_bytes, lost) = read(&path);
        assert_eq!((count, lost), (0, 0));
        let mut journal = Journal::reopen(&path, whole_bytes, Sync::AtOnce).unwrap();
        journal.append(&entry()).unwrap();
        journal.append(&entry()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn what_follows_a_damaged_line_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let path = journal(directory.path());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        std::fs::write(&path, format!("{}\n{{\"entry\":\n{}\n", lines[0], lines[1])).unwrap();
        let (count, _, lost) = read(&path);
        assert_eq!((count, lost), (0, 2));
    }

    #[test]
    fn a_journal_of_a_newer_schema_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.jsonl");
        std::fs::write(&path, "{\"schema\":9,\"run_id\":\"x\",\"ceiling\":\"9.0\"}\n").unwrap();
        assert!(entries(&path).unwrap_err().to_string().contains("schema 9"));
        std::fs::write(&path, "").unwrap();
        assert!(entries(&path).unwrap_err().to_string().contains("does not begin"));
    }
}
