//! A comparison for the terminal.

use std::fmt::Write;

use ceiling_core::compare::Comparison;

use super::{CELLS, LADDERS, cell_row, ladder_row, left_out, notable, origin, summary};
use crate::report::show;
use crate::report::table::Table;

/// What changed, the cells, and what was measured beside.
pub fn render(comparison: &Comparison<'_>) -> String {
    let mut text = format!("baseline   {}\n", origin(&comparison.baseline));
    text += &format!("candidate  {}\n", origin(&comparison.candidate));
    for change in &comparison.changed {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "unknown".to_owned());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "changed    {}: {} → {}", change.what, side(&change.baseline), side(&change.candidate));
    }
    let mut text = super::super::printable(&text);
    let rows = notable(comparison).into_iter().map(|cell| cell_row(cell).to_vec()).collect();
    text += &section(&CELLS, rows, comparison.cells.len());
    if !comparison.ladders.is_empty() {
        text += "beside the ceilings, at the highest load that both were probed at:\n";
        let rows = comparison.ladders.iter().take(super::MOST_ROWS).map(|ladder| ladder_row(ladder).to_vec()).collect();
        text += &section(&LADDERS, rows, comparison.ladders.len());
    }
    text + &summary(comparison) + "\n"
}

fn section(head: &[&str], rows: Vec<Vec<String>>, all: usize) -> String {
    let table = show(&Table { head: head.iter().map(|&head| head.to_owned()).collect(), rows });
    let rest = left_out(all).map_or_else(String::new, |rest| format!("{rest}\n"));
    format!("{table}\n{rest}")
}
