//! A comparison as one HTML file that needs nothing else.

use ceiling_core::compare::{Change, Comparison};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{CELLS, LADDERS, MOST_ROWS, cell_row, ladder_row, left_out, notable, origin, summary, why_not_comparable};

const STYLE: &str = "
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: .3rem .7rem; text-align: left; vertical-align: top; }
.cells, .ladders { font-size: .9rem; }
.cells td:not(:nth-child(2), :last-child), .ladders td:not(:first-child) { white-space: nowrap; }
.cells td:nth-child(2), .cells td:last-child { min-width: 10rem; overflow-wrap: anywhere; }
@media (min-width: 60rem) { .cells td:nth-child(2) { min-width: 21rem; } }
@media print { .wide { overflow-x: visible; } .cells, .ladders { font-size: .65rem; } .cells td:nth-child(n) { min-width: 0; white-space: normal; } }
tr.regressed td:first-child { color: light-dark(#a40000, #ff8a80); font-weight: bold; }
tr.improved td:first-child { color: light-dark(#0a5c0a, #8bd98b); font-weight: bold; }
tr.incomparable td:first-child, tr.undecided td:first-child { font-style: italic; }
";

/// What changed, the cells, and what was measured beside.
pub fn render(comparison: &Comparison<'_>) -> String {
    let title = format!(
        "{}: {} against {}",
        comparison.candidate.experiment, comparison.candidate.run_id, comparison.baseline.run_id
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Ceilings of " (comparison.candidate.experiment) }
                p { strong { (summary(comparison)) } }
                p { "Baseline: " (origin(&comparison.baseline)) }
                p { "Candidate: " (origin(&comparison.candidate)) }
                @if !comparison.comparable {
                    p { strong { "Not comparable: " } (why_not_comparable(comparison)) }
                }
                @if !comparison.changed.is_empty() {
                    h2 { "What changed" }
                    (changes(&comparison.changed))
                }
                h2 { "Cells" }
                (cells(comparison))
                @if !comparison.ladders.is_empty() {
                    h2 { "At the highest load that both were probed at" }
                    (ladders(comparison))
                }
            }
        }
    };
    page.into_string() + "\n"
}

fn changes(changes: &[Change]) -> Markup {
    let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "unknown".to_owned());
    table(
        "changes",
        &["what", "baseline", "candidate"],
        html! {
            @for change in changes {
                tr { td { (change.what) } td { (side(&change.baseline)) } td { (side(&change.candidate)) } }
            }
        },
    )
}

fn cells(comparison: &Comparison<'_>) -> Markup {
    html! {
        (table("cells", &CELLS, html! {
            @for cell in notable(comparison) {
                tr class=(cell.verdict) { @for column in cell_row(cell) { td { (column) } } }
            }
        }))
        @if let Some(rest) = left_out(comparison.cells.len()) { p { (rest) } }
    }
}

fn ladders(comparison: &Comparison<'_>) -> Markup {
    table(
        "ladders",
        &LADDERS,
        html! {
            @for ladder in comparison.ladders.iter().take(MOST_ROWS) {
                tr { @for column in ladder_row(ladder) { td { (column) } } }
            }
        },
    )
}

fn table(class: &str, head: &[&str], rows: Markup) -> Markup {
    html! {
        div.wide {
            table class=(class) {
                thead { tr { @for name in head { th scope="col" { (name) } } } }
                tbody { (rows) }
            }
        }
    }
}
