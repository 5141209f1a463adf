//! `ceiling report RUN`

use anyhow::Result;

use crate::args::{ReportArgs, ReportFormat};
use crate::exit::Exit;
use crate::report::{csv, json, markdown};
use crate::store::{read_run, resolve_run};

/// Prints a run.
pub fn report(args: &ReportArgs) -> Result<Exit> {
    let run = read_run(&resolve_run(&args.results.results, &args.run)?)?;
    let text = match args.format {
        ReportFormat::Markdown => markdown::render(&run),
        ReportFormat::Csv => csv::render(&run)?,
        ReportFormat::Json => json::render(&run)?,
    };
    print!("{text}");
    Ok(Exit::Done)
}
