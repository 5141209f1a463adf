//! The ceilings of an experiment over its runs: a table that is a chart.

use ceiling_core::compare::{Point, Trace, Verdict};
use ceiling_core::units::Concurrency;

use super::diff::percent;
use super::markdown::{code, row};
use super::table::{Table, ceiling_of};
use super::{printable, show};

/// The most cells that are shown at once.
const MOST_CELLS: usize = 20;
/// Characters of the longest bar.
const WIDTH: f64 = 40.0;
const HEAD: [&str; 6] = ["started", "commit", "ceiling", "", "change", "step"];

/// For a terminal.
pub fn table(traces: &[Trace<'_>]) -> String {
    let one = |trace: &Trace<'_>| {
        let rows = rows(trace).into_iter().map(|row| row.to_vec()).collect();
        let table = show(&Table { head: HEAD.map(str::to_owned).to_vec(), rows });
        format!("{}\n{table}\n", printable(trace.id))
    };
    traces.iter().take(MOST_CELLS).map(one).collect::<String>() + &rest(traces)
}

/// For a pull request or a wiki.
pub fn markdown(traces: &[Trace<'_>]) -> String {
    let one = |trace: &Trace<'_>| {
        let head = format!("{}|{}\n", row(&HEAD.map(str::to_owned)), " --- |".repeat(HEAD.len()));
        let rows: String =
            rows(trace).iter().map(|columns| row(&columns.clone().map(|column| code(&column)))).collect();
        format!("### {}\n\n{head}{rows}\n", code(trace.id))
    };
    traces.iter().take(MOST_CELLS).map(one).collect::<String>() + &rest(traces)
}

fn rest(traces: &[Trace<'_>]) -> String {
    match traces.len().checked_sub(MOST_CELLS) {
        None | Some(0) => String::new(),
        Some(more) => format!("… and {more} more cells: choose with --cell, or take --format json\n"),
    }
}

fn rows(trace: &Trace<'_>) -> Vec<[String; 6]> {
    let levels = |point: &Point<'_>| [point.cell.highest_pass, point.cell.lowest_fail];
    let highest = trace.points.iter().flat_map(levels).flatten().map(Concurrency::get).max().unwrap_or(1);
    trace.points.iter().map(|point| point_row(point, f64::from(highest))).collect()
}

fn point_row(point: &Point<'_>, highest: f64) -> [String; 6] {
    let commit = point.run.commit.map_or_else(String::new, |commit| commit.get(..7).unwrap_or(commit).to_owned());
    [
        point.run.started.to_owned(),
        if point.run.dirty { format!("{commit} (dirty)") } else { commit },
        ceiling_of(point.cell.status, point.cell.highest_pass),
        bar(point, highest),
        point.change.map_or_else(String::new, percent),
        step(point),
    ]
}

/// As long as the ceiling is high; what the bracket leaves open is shaded.
fn bar(point: &Point<'_>, highest: f64) -> String {
    let length = |level: Option<Concurrency>| {
        level.map_or(0, |level| (f64::from(level.get()) / highest * WIDTH).round() as usize)
    };
    let (pass, fail) = (length(point.cell.highest_pass), length(point.cell.lowest_fail));
    "█".repeat(pass) + &"░".repeat(fail.saturating_sub(pass))
}

fn step(point: &Point<'_>) -> String {
    match point.verdict {
        Some(Verdict::Improved) => "▲ improved".to_owned(),
        Some(Verdict::Regressed) => "▼ regressed".to_owned(),
        Some(Verdict::Incomparable) => {
            let why = point.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!("incomparable{why}")
        }
        _ => String::new(),
    }
}
