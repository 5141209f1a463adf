//! A comparison as Markdown, for a pull request.

use ceiling_core::compare::{CellComparison, Comparison, Verdict};

use super::{CELLS, LADDERS, MOST_ROWS, cell_row, ladder_row, left_out, notable, origin, summary, why_not_comparable};
use crate::report::markdown::{code, row};

/// What changed, the cells that call for attention, the rest folded away.
pub fn render(comparison: &Comparison<'_>) -> String {
    let mut text = format!("## {}\n\n", title(comparison));
    text += &format!("- baseline: {}\n", code(&origin(&comparison.baseline)));
    text += &format!("- candidate: {}\n", code(&origin(&comparison.candidate)));
    for change in &comparison.changed {
        let side = |side: &Option<String>| side.as_deref().map_or_else(|| "unknown".to_owned(), code);
        text += &format!("- changed: {} {} → {}\n", change.what, side(&change.baseline), side(&change.candidate));
    }
    if !comparison.comparable {
        text += &format!("\n**Not comparable**: {}\n", code(&why_not_comparable(comparison)));
    }
    let (calm, notable): (Vec<_>, Vec<_>) =
        notable(comparison).into_iter().partition(|cell| cell.verdict == Verdict::Unchanged);
    if !notable.is_empty() {
        text += &format!("\n{}", cells(&notable));
    }
    if !calm.is_empty() {
        let count = comparison.summary.unchanged;
        text += &format!("\n<details><summary>{count} unchanged</summary>\n\n{}\n</details>\n", cells(&calm));
    }
    if let Some(rest) = left_out(comparison.cells.len()) {
        text += &format!("\n{rest}\n");
    }
    if !comparison.ladders.is_empty() {
        text += "\n<details><summary>At the highest load that both were probed at</summary>\n\n";
        text += &head(&LADDERS);
        text += &comparison
            .ladders
            .iter()
            .take(MOST_ROWS)
            .map(|ladder| row(&ladder_row(ladder).map(|c| code(&c))))
            .collect::<String>();
        text += "\n</details>\n";
    }
    text + &format!("\n{}\n", summary(comparison))
}

/// What matters most, in a word.
fn title(comparison: &Comparison<'_>) -> &'static str {
    let count = comparison.summary;
    match () {
        () if !comparison.comparable => "Ceilings: not comparable",
        () if count.regressed > 0 => "Ceilings: regressed",
        () if count.improved > 0 => "Ceilings: improved",
        () if count.undecided + count.incomparable > 0 => "Ceilings: undecided",
        () => "Ceilings: unchanged",
    }
}

fn cells(cells: &[&CellComparison<'_>]) -> String {
    let rows = cells.iter().map(|cell| {
        let [verdict, rest @ ..] = cell_row(cell);
        let verdict = if cell.verdict == Verdict::Regressed { format!("**{verdict}**") } else { verdict };
        let mut columns = vec![verdict];
        columns.extend(rest.iter().map(|column| code(column)));
        row(&columns)
    });
    head(&CELLS) + &rows.collect::<String>()
}

fn head(columns: &[&str]) -> String {
    let names: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
    format!("{}|{}\n", row(&names), " --- |".repeat(columns.len()))
}
