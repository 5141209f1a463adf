//! `ceiling report RUN`

use std::path::Path;

use anyhow::{Result, bail};
use ceiling_core::record::{Brief, Run};

use super::carry_out::from_here;
use super::pattern::Pattern;
use crate::args::{ReportArgs, ReportFormat};
use crate::batch::refresh_or_warn;
use crate::exit::Exit;
use crate::output;
use crate::report::{csv, html, json, markdown};
use crate::store::{self, Finder, LogTails, Owner, complete_requests, log_tails, owner_of};

/// Prints a run, or writes it to a file.
pub fn report(args: &ReportArgs) -> Result<Exit> {
    let asked = args.experiment.as_deref();
    let find = || Finder::new(&args.results.results, asked).find(&args.run)?.of_experiment(asked);
    let mut found = find()?;
    if let Some(directory) = found.directory() {
        refresh_or_warn(directory);
        found = find()?;
    }
    let mut run: Run = found.read()?;
    // A report is worth having also where the results cannot be written to.
    if let Some(directory) = found.directory()
        && let Err(error) = complete_requests(directory, &run)
    {
        tell!("warning: the table of requests is not up to date: {error:#}");
    }
    if let Some(directory) = found.directory().filter(|_| run.finished.is_none()) {
        match owner_of(directory) {
            Owner::Alive => tell!("note: {} goes on: this is what it has published so far", run.run_id),
            Owner::Gone if !directory.join("batch").is_dir() => {
                tell!("note: {0} was killed: `ceiling run FILE --resume {0}` goes on with it", run.run_id);
            }
            Owner::Gone | Owner::Unknown => {}
        }
    }
    let mut logs = found.directory().map_or_else(LogTails::default, |directory| log_tails(directory, &run));
    if let Some(pattern) = &args.only {
        only(&mut run, pattern)?;
    }
    if let (Some(directory), ReportFormat::Markdown | ReportFormat::Html) = (found.directory(), args.format) {
        name_logs(&mut run, &mut logs, directory);
    }
    let text = match args.format {
        ReportFormat::Markdown => markdown::render(&run),
        ReportFormat::Csv => csv::render(&run)?,
        ReportFormat::Json => json::render(&run)?,
        ReportFormat::Html => html::render(&run, &logs),
    };
    match &args.output {
        Some(path) => store::write(path, text.as_bytes())?,
        None => output::text(&text),
    }
    Ok(Exit::Done)
}

/// Names logs for people, as one can open them from here; what is read by programs names them as `run.json` does.
fn name_logs(run: &mut Run, logs: &mut LogTails, directory: &Path) {
    let of_cells = run.cells.iter_mut().filter_map(|cell| cell.failure.as_mut());
    let of_engines = run.engines.iter_mut().flat_map(|engine| &mut engine.failures);
    for log in of_cells.chain(of_engines).filter_map(|failure| failure.log.as_mut()) {
        *log = from_here(log, directory);
    }
    *logs = std::mem::take(logs).into_iter().map(|(log, tail)| (from_here(&log, directory), tail)).collect();
}

/// Keeps the cells whose ids match, and what belongs to them.
fn only(run: &mut Run, pattern: &str) -> Result<()> {
    let (wanted, all) = (Pattern::new(pattern), run.cells.len());
    run.cells.retain(|cell| wanted.matches(&cell.id));
    if run.cells.is_empty() {
        bail!("--only {pattern} matches none of the {all} cells");
    }
    run.ladders.retain(|ladder| run.cells.iter().any(|cell| cell.ladder == ladder.id));
    run.engines.retain(|engine| run.cells.iter().any(|cell| cell.engine == engine.label));
    run.brief = Brief::of(&run.cells);
    Ok(())
}
