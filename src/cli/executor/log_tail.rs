//! The last words of an engine, out of its log.

use std::path::Path;

use crate::tail::tail;

/// How much of the end of a log is looked at.
const TAIL_BYTES: u64 = 256 * 1024;

/// The line of a log, from this byte on, that most likely says why its engine failed; `None` where there is none, or no log.
pub fn last_error(log: &Path, begin: u64) -> Option<String> {
    pick(&String::from_utf8_lossy(&tail(log, begin, TAIL_BYTES).ok()?))
}

/// Python's tracebacks end in a line `SomeError: why`. The last such line that is no echo of another is taken for the root cause.
fn pick(log: &str) -> Option<String> {
    let candidates: Vec<&str> = log.lines().filter_map(exception).collect();
    let is_echo = |line: &&str| ECHOES.iter().any(|echo| line.contains(echo));
    candidates.iter().copied().rfind(|line| !is_echo(line)).or(candidates.last().copied()).map(str::to_owned)
}

/// What stands above a failed engine says, without saying why.
const ECHOES: [&str; 4] = [
    "Engine core initialization failed",
    "EngineCore encountered an issue",
    "EngineDeadError",
    "WorkerProc initialization failed",
];

/// The exception that a log line ends a traceback with, without the logger's prefix.
fn exception(line: &str) -> Option<&str> {
    let line = line.rsplit_once("] ").map_or(line, |(_, message)| message);
    let (name, _) = line.split_once(": ")?;
    let is_path = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
    let is_error = ["Error", "Exception", "Interrupt"].iter().any(|end| name.ends_with(end));
    (is_path && is_error).then_some(line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_cause_is_found_under_its_echoes() {
        let log = "INFO 11-24 loading\n\
            (EngineCore pid=7) ERROR 11-24 03:00:00 [core.py:1] Traceback (most recent call last):\n\
            (EngineCore pid=7) ERROR 11-24 03:00:00 [core.py:1]   File \"x.py\", line 1, in <module>\n\
            (EngineCore pid=7) ERROR 11-24 03:00:00 [core.py:1] ValueError: No available memory for the cache blocks.\n\
            Traceback (most recent call last):\n\
            RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n";
        assert_eq!(pick(log).as_deref(), Some("ValueError: No available memory for the cache blocks."));
    }

    #[test]
    fn a_log_without_an_exception_has_no_last_error() {
        assert_eq!(pick("INFO fine\nWARNING: note: all is well\n"), None);
    }

    #[test]
    fn an_echo_is_better_than_nothing() {
        let log = "RuntimeError: Engine core initialization failed.";
        assert_eq!(pick(log).as_deref(), Some(log));
    }
}
