//! `ceiling list`

use anyhow::Result;

use crate::args::ListArgs;
use crate::exit::Exit;
use crate::report::{show, table};
use crate::store::{read_run, runs};

/// Prints the runs under the results directory, newest first.
pub fn list(args: &ListArgs) -> Result<Exit> {
    let results = &args.results.results;
    let head = ["experiment", "run", "started", "status", "ceilings"].map(str::to_owned).to_vec();
    let mut rows = Vec::new();
    for directory in runs(results).into_iter().rev() {
        match read_run(&directory) {
            Ok(run) => {
                let simulated = if run.simulated { ", simulated" } else { "" };
                let ceilings: Vec<String> = run.cells.iter().map(table::ceiling).collect();
                let status = format!("{}{simulated}", run.status);
                rows.push(vec![run.experiment.name, run.run_id, run.started, status, brief(&ceilings)]);
            }
            // A run that cannot be read is shown as such: leaving it out would hide it.
            Err(error) => {
                let name = directory.display().to_string();
                rows.push(vec![name, String::new(), String::new(), "unreadable".to_owned(), format!("{error:#}")]);
            }
        }
    }
    if rows.is_empty() {
        println!("no runs under {}", results.display());
    } else {
        println!("{}", show(&table::Table { head, rows }));
    }
    Ok(Exit::Done)
}

/// The first few of a list.
fn brief(ceilings: &[String]) -> String {
    const MOST: usize = 8;
    let more = if ceilings.len() > MOST { format!(", … ({} cells)", ceilings.len()) } else { String::new() };
    format!("{}{more}", ceilings[..ceilings.len().min(MOST)].join(", "))
}
