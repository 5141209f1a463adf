//! The last lines of the logs that failures point to.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use ceiling_core::record::Run;

use crate::tail::tail;

/// The last lines of a log, by the log's name in `run.json`.
pub type LogTails = BTreeMap<String, String>;

/// How much of the end of a log is looked at, and how many lines of it are kept.
const TAIL_BYTES: u64 = 16 * 1024;
const TAIL_LINES: usize = 40;

/// The tails of all logs that a run's failures point to, as far as they are there.
///
/// Logs are named from the directory of all results, which is two above that of the run. A name that leads out of it
/// is no log of ours, whoever wrote that `run.json`.
pub fn log_tails(directory: &Path, run: &Run) -> LogTails {
    let of_cells = run.cells.iter().filter_map(|cell| cell.failure.as_ref());
    let of_engines = run.engines.iter().flat_map(|engine| &engine.failures);
    let mut tails = LogTails::new();
    for name in of_cells.chain(of_engines).filter_map(|failure| failure.log.as_ref()) {
        if !tails.contains_key(name) && stays_inside(Path::new(name)) {
            let log = directory.join("../..").join(name);
            tails.extend(last_lines(&log).map(|lines| (name.clone(), lines)));
        }
    }
    tails
}

fn stays_inside(name: &Path) -> bool {
    name.components().all(|part| matches!(part, Component::Normal(_)))
}

/// `None` where the log cannot be read: results are often looked at without their logs.
fn last_lines(log: &Path) -> Option<String> {
    let bytes = tail(log, 0, TAIL_BYTES).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Some(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_looked_for_under_the_results_only() {
        let table = [("a/b/logs/x.log", true), ("../secret", false), ("/etc/passwd", false), ("a/../../b", false)];
        for (name, inside) in table {
            assert_eq!(stays_inside(Path::new(name)), inside, "{name}");
        }
    }

    #[test]
    fn the_last_lines_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("x.log");
        std::fs::write(&log, (0..20_000).map(|line| format!("line {line}\n")).collect::<String>()).unwrap();
        let tail = last_lines(&log).unwrap();
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert_eq!(tail.lines().last(), Some("line 19999"));
    }
}
