//! The table of ceilings, as rows of text that terminal and Markdown both show.

use ceiling_core::record::{CellRecord, Run};
use ceiling_core::search::Status;

use super::csv::{axes, plain, probe_at_ceiling};

/// Column heads and rows.
pub struct Table {
    /// One head per column.
    pub head: Vec<String>,
    /// One row per cell.
    pub rows: Vec<Vec<String>>,
}

/// The table of a run's cells.
pub fn table(run: &Run) -> Table {
    let axes = axes(run);
    let mut head: Vec<String> = axes.iter().map(|axis| short(axis).to_owned()).collect();
    head.extend(["ok rate", "TTFT limit", "ceiling", "bracket", "TTFT p50", "TTFT p99", "tokens/s"].map(str::to_owned));
    if run.cells.iter().any(|cell| further_limits(cell).is_some()) {
        head.insert(axes.len() + 2, "further limits".to_owned());
    }
    let rows = run.cells.iter().map(|cell| row(run, cell, &axes, head.len())).collect();
    Table { head, rows }
}

fn row(run: &Run, cell: &CellRecord, axes: &[String], columns: usize) -> Vec<String> {
    let ladder = run.ladders.iter().find(|ladder| ladder.id == cell.ladder);
    let probe = ladder.and_then(|ladder| probe_at_ceiling(ladder, cell));
    let ttft = probe.and_then(|probe| probe.ttft);
    let mut row: Vec<String> = axes.iter().map(|axis| cell.axes.get(axis).map_or_else(String::new, plain)).collect();
    row.extend([format!("{}%", rounded(cell.sla.ok_rate.get() * 100.0)), cell.sla.ttft.to_string()]);
    let rest = [
        ceiling(cell),
        bracket(cell),
        seconds(ttft.and_then(|ttft| ttft.p50_s)),
        seconds(ttft.and_then(|ttft| ttft.p99_s)),
        probe.and_then(|probe| probe.output_tokens_per_s).map_or_else(String::new, |rate| format!("{rate:.0}")),
    ];
    if row.len() + rest.len() < columns {
        row.push(further_limits(cell).unwrap_or_default());
    }
    row.extend(rest);
    row
}

/// The ceiling, or why there is none.
pub fn ceiling(cell: &CellRecord) -> String {
    let pass = cell.highest_pass.map_or(0, |level| level.get());
    match cell.status {
        None => "not yet measured".to_owned(),
        Some(Status::Found) => pass.to_string(),
        Some(Status::AboveCap) => format!("above cap ({pass})"),
        Some(Status::BelowOne) => "below one".to_owned(),
        Some(Status::Undecided) => "undecided".to_owned(),
        Some(Status::Failed) => "failed".to_owned(),
    }
}

/// `[highest pass, lowest fail)` with what is known of it.
fn bracket(cell: &CellRecord) -> String {
    let confidence = cell.confidence.map_or_else(String::new, |share| format!(" ({}%)", rounded(share.get() * 100.0)));
    match (cell.highest_pass, cell.lowest_fail) {
        (None, None) => String::new(),
        (Some(pass), None) => format!("{pass} …"),
        (None, Some(fail)) => format!("… {fail}"),
        (Some(pass), Some(fail)) => format!("{pass} … {fail}{confidence}"),
    }
}

fn further_limits(cell: &CellRecord) -> Option<String> {
    let sla = &cell.sla;
    let limits = [
        sla.tpot.map(|limit| format!("TPOT {limit}")),
        sla.e2e.map(|limit| format!("E2E {limit}")),
        sla.min_tokens_per_second.map(|rate| format!("{} tokens/s", rate.get())),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    (!limits.is_empty()).then(|| limits.join(", "))
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(
        String::new,
        |value| if value < 1.0 { format!("{:.0} ms", value * 1e3) } else { format!("{value:.2} s") },
    )
}

fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// The last part of a dotted field.
fn short(axis: &str) -> &str {
    axis.rsplit('.').next().unwrap_or(axis)
}
