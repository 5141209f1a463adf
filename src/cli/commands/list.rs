//! `ceiling list`

use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Result, ensure};
use ceiling_core::record::{Brief, RunSummary};

use crate::args::{DEFAULT_RESULTS, ListArgs};
use crate::batch::refresh_or_warn;
use crate::exit::Exit;
use crate::report::{markdown, show, table};
use crate::store::{Owner, owner_of, read_summary, runs};

/// Prints the runs under the results directory, newest first.
pub fn list(args: &ListArgs) -> Result<Exit> {
    let results = &args.results.results;
    let mut directories = runs(results)?;
    // Nobody names a place that they know to be empty.
    let is_there = results.is_dir() || results == Path::new(DEFAULT_RESULTS);
    ensure!(is_there, "there is no directory {}: name that of the runs with --results", results.display());
    directories.reverse();
    let rows = rows(&directories);
    if rows.is_empty() {
        say!("no runs under {}", results.display());
    } else {
        let head = ["experiment", "run", "commit", "started", "status", "ceilings"].map(str::to_owned).to_vec();
        say!("{}", show(&table::Table { head, rows }));
    }
    Ok(Exit::Done)
}

/// One row for each run, read on all processors.
fn rows(directories: &[PathBuf]) -> Vec<Vec<String>> {
    let readers = thread::available_parallelism().map_or(1, usize::from);
    let part = directories.len().div_ceil(readers).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = directories
            .chunks(part)
            .map(|part| scope.spawn(|| part.iter().map(|directory| row(directory)).collect::<Vec<_>>()))
            .collect();
        let joined = parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    })
}

fn row(directory: &Path) -> Vec<String> {
    if directory.join("batch").is_dir() {
        refresh_or_warn(directory);
    }
    match read_summary(directory) {
        Ok(run) => {
            let simulated = if run.simulated { ", simulated" } else { "" };
            let left_out =
                markdown::left_out(run.left_out).map_or_else(String::new, |left_out| format!(", {left_out}"));
            let status = format!("{}{left_out}{simulated}", status(&run, directory));
            let (commit, ceilings) = (commit(&run), brief(&run));
            vec![run.experiment.name, run.run_id, commit, run.started, status, ceilings]
        }
        // A run that cannot be read is shown as such: leaving it out would hide it.
        Err(error) => {
            let name = directory.display().to_string();
            vec![name, String::new(), String::new(), String::new(), "unreadable".to_owned(), format!("{error:#}")]
        }
    }
}

/// How far a run came. What goes on under a batch system has no process of its own.
fn status(run: &RunSummary, directory: &Path) -> String {
    match owner_of(directory) {
        Owner::Alive if run.finished.is_none() => "running".to_owned(),
        Owner::Gone if run.finished.is_none() && !directory.join("batch").is_dir() => format!("{}, killed", run.status),
        _ => run.status.to_string(),
    }
}

fn commit(run: &RunSummary) -> String {
    let Some(git) = &run.provenance.git else { return String::new() };
    format!("{}{}", git.commit.get(..7).unwrap_or(&git.commit), if git.dirty { " (dirty)" } else { "" })
}

/// The first few ceilings.
fn brief(run: &RunSummary) -> String {
    let Brief { cells, first } = &run.brief;
    let ceilings: Vec<String> = first.iter().map(|cell| table::ceiling_of(cell.status, cell.highest_pass)).collect();
    let more = if *cells > first.len() { format!(", … ({cells} cells)") } else { String::new() };
    format!("{}{more}", ceilings.join(", "))
}
