//! Finds out why the engine died: vLLM tells its client to look into the log, so this looks into the log.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// A place in the file that this process's stderr goes to, where it is a file, and what the engine does from there on.
#[derive(Clone, Copy)]
pub struct LogMark {
    at: Option<u64>,
    pub phase: Phase,
}

/// What an engine is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It sees its configuration for the first time.
    Loading,
    /// It answers requests: its configuration was good enough to come up with.
    Serving,
}

/// The process's own stderr, opened anew for reading.
const LOG: &str = "/proc/self/fd/2";

/// The end of a log that is read at most, in bytes.
const TAIL: u64 = 256 * 1024;

/// Words by which vLLM sends the reader elsewhere.
const POINTERS: [&str; 7] = [
    "root cause above",
    "(above) for the root cause",
    "stack trace above",
    "stack trace for root cause",
    "see root cause",
    "engine core proc",
    "EngineDeadError",
];

/// Whether a message says no more than that there is a log.
pub fn is_a_pointer(message: &str) -> bool {
    POINTERS.iter().any(|words| message.contains(words))
}

impl LogMark {
    /// Here and now.
    pub fn now(phase: Phase) -> Self {
        let file = File::open(LOG).and_then(|file| file.metadata()).ok();
        Self { at: file.filter(std::fs::Metadata::is_file).map(|file| file.len()), phase }
    }

    /// The last error since then that says something.
    pub fn last_error(self) -> Option<String> {
        let text = self.read().ok()?;
        text.lines().rev().filter_map(error_of).find(|error| !is_a_pointer(error)).map(str::to_owned)
    }

    fn read(self) -> std::io::Result<String> {
        let mark = self.at.ok_or(std::io::ErrorKind::NotFound)?;
        let mut file = File::open(LOG)?;
        let from = mark.max(file.metadata()?.len().saturating_sub(TAIL));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The exception on a line such as `(EngineCore pid=7) ERROR 11-24 03:50:18 [core.py:1510] ValueError: too large`: the
/// last line of a traceback, which is not indented.
fn error_of(line: &str) -> Option<&str> {
    // With a stamp there is `] ` before the text, without (the interpreter's own traceback) `) ` or nothing.
    let text = line.split_once(".py:").and_then(|(_, rest)| rest.split_once("] ")).map_or(line, |(_, text)| text);
    let text = if text.starts_with('(') { text.split_once(") ").map_or(text, |(_, text)| text) } else { text };
    let (name, _) = text.split_once(':')?;
    let last = name.rsplit('.').next()?;
    let is_exception = (last.ends_with("Error") || last.ends_with("Exception"))
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
    is_exception.then(|| text.trim_end())
}
