//! What the files of a run say while things happen to it.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::Workplace;

/// What the journals held when they were last looked at, by path: whole lines only.
#[derive(Default)]
pub struct Books {
    journals: Vec<(PathBuf, Vec<u8>)>,
}

/// Every file of this name in a run's directory.
pub fn files(place: &Workplace, name: &str) -> Vec<PathBuf> {
    let pattern = format!("{}/*/*/{name}", place.path("results").display());
    glob::glob(&pattern).unwrap().map(Result::unwrap).collect()
}

pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

impl Books {
    /// After a kill: what is published can be read, nothing that a journal held is lost, and nobody holds a lock.
    pub fn check_whole(&mut self, place: &Workplace) {
        for path in files(place, "run.json") {
            read_json(&path);
        }
        for path in files(place, "run.lock") {
            File::open(&path).unwrap().try_lock().unwrap_or_else(|e| panic!("{} is held: {e}", path.display()));
        }
        let now: Vec<_> =
            files(place, "journal.jsonl").into_iter().map(|path| (path.clone(), whole_lines(&path))).collect();
        for (path, before) in &self.journals {
            let after = now.iter().find(|(other, _)| other == path).map(|(_, lines)| lines.as_slice());
            assert!(after.is_some_and(|after| after.starts_with(before)), "{} lost what it held", path.display());
        }
        // One that nothing was published of is begun again.
        self.journals = now.into_iter().filter(|(path, _)| path.with_file_name("run.json").exists()).collect();
    }

    /// Whether there is a run to go on with.
    pub fn are_kept(&self) -> bool {
        !self.journals.is_empty()
    }

    /// Whether there is a run, and everything is measured.
    pub fn is_complete(&self, place: &Workplace) -> bool {
        let runs = files(place, "run.json");
        let is_over = |run: &Value| run["status"] == "complete" && !run["finished"].is_null();
        !runs.is_empty() && runs.iter().all(|path| is_over(&read_json(path)))
    }

    /// At the end: nothing was measured twice or published without having been measured. Nothing lies about where the run
    /// ended by itself.
    pub fn check_complete(&self, place: &Workplace, ended_by_itself: bool) {
        for (path, _) in &self.journals {
            check_journal(path);
        }
        for (name, why) in [("run.lock", "a lock"), ("*.new", "a half-written file")] {
            let mut left = files(place, name);
            // A run that was killed before it published anything did not end by itself: another is begun beside it.
            left.retain(|path| path.with_file_name("run.json").exists());
            assert!(!ended_by_itself || left.is_empty(), "{why} stays: {left:?}");
        }
        for path in files(place, "run.json") {
            assert!(path.with_file_name("requests.parquet").exists(), "{} has no requests beside it", path.display());
        }
    }
}

fn whole_lines(path: &Path) -> Vec<u8> {
    let mut text = std::fs::read(path).unwrap();
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    text.truncate(end);
    text
}

/// Each probe once, each answer once, and `run.json` has what the journal has.
fn check_journal(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let (mut probes, mut answered) = (HashSet::new(), HashSet::new());
    for line in text.lines().skip(1) {
        let entry: Value = serde_json::from_str(line).unwrap();
        let ladder = entry["ladder"].as_str().unwrap_or_default().to_owned();
        match entry["entry"].as_str().unwrap() {
            "probed" => {
                let number = entry["number"].as_u64().unwrap();
                assert!(probes.insert((ladder, number)), "a probe was measured twice: {line:.100}");
            }
            "answered" => assert!(answered.insert(ladder), "a ladder was answered twice: {line}"),
            _ => {}
        }
    }
    let run = read_json(&path.with_file_name("run.json"));
    let published: HashSet<(String, u64)> = run["ladders"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|ladder| ladder["probes"].as_array().unwrap().iter().map(|probe| (&ladder["key"], &probe["number"])))
        .map(|(key, number)| (key.as_str().unwrap().to_owned(), number.as_u64().unwrap()))
        .collect();
    assert!(published == probes, "{}: published and measured differ", path.display());
}
