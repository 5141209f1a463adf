//! A comparison as one HTML file that needs nothing else, in the style of all reports.

use ceiling_core::compare::{CellComparison, Change, Comparison, LadderComparison, Side, Verdict};
use maud::{Markup, html};

use super::{CELLS, LADDERS, MOST_ROWS, cell_row, ladder_row, left_out, notable, origin, summary, why_not_comparable};
use crate::report::html::{name, page};

/// What changed, the cells, and what was measured beside.
pub fn render(comparison: &Comparison<'_>) -> String {
    let title = format!(
        "{}: {} against {}",
        comparison.candidate.experiment, comparison.candidate.run_id, comparison.baseline.run_id
    );
    let body = html! {
        (header(comparison))
        main {
            @if !comparison.changed.is_empty() { (changes(&comparison.changed)) }
            (cells(comparison))
            @if !comparison.ladders.is_empty() { (ladders(comparison)) }
        }
    };
    page(&title, &body) + "\n"
}

fn header(comparison: &Comparison<'_>) -> Markup {
    let is_simulated = comparison.baseline.simulated || comparison.candidate.simulated;
    html! {
        header {
            @if is_simulated { p.simulated role="note" { b { "Simulated." } " These numbers come from a model of an engine, not from an engine." } }
            h1 { "Ceilings of " (comparison.candidate.experiment) }
            p.lead { b { (summary(comparison)) } }
            p { "Baseline: " (origin(&comparison.baseline)) }
            p { "Candidate: " (origin(&comparison.candidate)) }
            @if !comparison.comparable { p { b { "Not comparable: " } (why_not_comparable(comparison)) } }
            nav {
                @if !comparison.changed.is_empty() { a href="#changes" { "What changed" } }
                a href="#cells" { "Cells" }
                @if !comparison.ladders.is_empty() { a href="#ladders" { "At equal load" } }
            }
        }
    }
}

fn changes(changes: &[Change]) -> Markup {
    let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "unknown".to_owned());
    html! {
        section #changes {
            h2 { "What changed" }
            div.scroll { table.words {
                thead { tr { @for name in ["what", "baseline", "candidate"] { th scope="col" { (name) } } } }
                tbody { @for change in changes {
                    tr { td { (change.what) } td { (side(&change.baseline)) } td { (side(&change.candidate)) } }
                } }
            } }
        }
    }
}

fn cells(comparison: &Comparison<'_>) -> Markup {
    html! {
        section #cells {
            h2 { "Cells" }
            p.note { "“Possible” is what the brackets of both runs allow. A click on a head sorts." }
            input #filter type="search" placeholder="Show the rows that hold …" aria-label="Show the rows that hold this text";
            div.scroll { table.sortable.comparison {
                (sortable_head(&CELLS, &[0, 1, 6]))
                tbody { @for cell in notable(comparison) {
                    tr class=(cell.verdict) { (columns(cell_row(cell), cell_order(cell))) }
                } }
            } }
            @if let Some(rest) = left_out(comparison.cells.len()) { p.note { (rest) } }
        }
    }
}

fn ladders(comparison: &Comparison<'_>) -> Markup {
    html! {
        section #ladders {
            h2 { "At the highest load that both were probed at" }
            div.scroll { table.sortable.comparison {
                (sortable_head(&LADDERS, &[0]))
                tbody { @for ladder in comparison.ladders.iter().take(MOST_ROWS) {
                    tr { (columns(ladder_row(ladder), ladder_order(ladder))) }
                } }
            } }
            @if let Some(rest) = left_out(comparison.ladders.len()) { p.note { (rest) } }
        }
    }
}

/// Heads of columns, of which those at some places hold words.
fn sortable_head(names: &[&str], words: &[usize]) -> Markup {
    html! {
        thead { tr { @for (place, name) in names.iter().enumerate() {
            th.text[words.contains(&place)] scope="col" aria-sort="none" { button type="button" { (name) } }
        } } }
    }
}

/// Columns of a row with what they are sorted by, where that is not their text.
fn columns<const N: usize>(texts: [String; N], order: [Order; N]) -> Markup {
    html! {
        @for (text, order) in texts.iter().zip(order) {
            @match order {
                Order::Name => td.text { (name(text)) },
                Order::Text => td.text { (text) },
                Order::Number(number) => td data-value=(number.map_or_else(String::new, |number| number.to_string())) { (text) },
            }
        }
    }
}

/// What a column of a row is sorted by.
enum Order {
    /// The name of a cell or a ladder.
    Name,
    Text,
    /// A number; what has none comes last.
    Number(Option<f64>),
}

fn cell_order(cell: &CellComparison<'_>) -> [Order; 7] {
    let rank = Verdict::ALL.iter().position(|verdict| *verdict == cell.verdict);
    let level = |side: Option<Side>| Some(f64::from(side?.highest_pass?.get()));
    [
        Order::Number(rank.map(|rank| rank as f64)),
        Order::Name,
        Order::Number(level(cell.baseline)),
        Order::Number(level(cell.candidate)),
        Order::Number(cell.change),
        Order::Number(cell.range.map(|range| range.least).filter(|least| least.is_finite())),
        Order::Text,
    ]
}

fn ladder_order(ladder: &LadderComparison<'_>) -> [Order; 6] {
    let at = ladder.at_equal_load.as_ref();
    let candidate = at.map(|at| &at.candidate);
    [
        Order::Name,
        Order::Number(at.map(|at| f64::from(at.concurrency.get()))),
        Order::Number(candidate.and_then(|seen| seen.ttft_p50_s)),
        Order::Number(candidate.and_then(|seen| seen.ttft_p99_s)),
        Order::Number(candidate.and_then(|seen| seen.output_tokens_per_s)),
        Order::Number(ladder.kv_cache_tokens.1.map(|tokens| tokens as f64)),
    ]
}
