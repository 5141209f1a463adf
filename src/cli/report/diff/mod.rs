//! Two runs, compared: what all formats say, in one choice of words.

pub mod html;
pub mod markdown;
pub mod table;

use ceiling_core::compare::{CellComparison, Comparison, LadderComparison, Measurements, Origin, Side, Verdict};
use ceiling_core::units::Share;

use super::table::{ceiling_of, seconds};

/// The most rows that a table for people has; JSON has them all.
const MOST_ROWS: usize = 200;

const CELLS: [&str; 7] = ["verdict", "cell", "baseline", "candidate", "change", "possible", "why"];
const LADDERS: [&str; 6] = ["ladder", "in flight", "TTFT p50", "TTFT p99", "tokens/s", "KV cache tokens"];

/// The cells, those that call for attention first, as many as a person reads.
fn notable<'c, 'a>(comparison: &'c Comparison<'a>) -> Vec<&'c CellComparison<'a>> {
    let mut cells: Vec<_> = comparison.cells.iter().collect();
    cells.sort_by_key(|cell| cell.verdict);
    cells.truncate(MOST_ROWS);
    cells
}

/// What is left out of a table.
fn left_out(all: usize) -> Option<String> {
    (all > MOST_ROWS).then(|| format!("… and {} more rows: --format json has them all", all - MOST_ROWS))
}

fn cell_row(cell: &CellComparison<'_>) -> [String; 7] {
    [
        cell.verdict.to_string(),
        cell.id.to_owned(),
        cell.baseline.as_ref().map_or_else(String::new, side),
        cell.candidate.as_ref().map_or_else(String::new, side),
        cell.change.map_or_else(String::new, percent),
        cell.range.map_or_else(String::new, |range| range_text(range.least, range.most)),
        why(cell),
    ]
}

fn why(cell: &CellComparison<'_>) -> String {
    let limit = cell.limit_changed().map(|(before, after)| format!("limited by {before} → {after}"));
    let parts = [cell.reason.as_ref().map(ToString::to_string), limit];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The ceiling with its bracket and the confidence of that, or why there is none.
fn side(side: &Side) -> String {
    let words = ceiling_of(side.status, side.highest_pass);
    let confidence =
        side.confidence.map_or_else(String::new, |share| format!(", {}", super::table::percent(share.get())));
    match (side.ceiling, side.lowest_fail) {
        (Some(_), Some(fail)) => format!("{words} (below {fail}{confidence})"),
        _ => words,
    }
}

fn range_text(least: f64, most: f64) -> String {
    match (least.is_finite(), most.is_finite()) {
        (true, true) if least == most => percent(least),
        (true, true) => format!("{} … {}", percent(least), percent(most)),
        (true, false) => format!("{} …", percent(least)),
        (false, _) => String::new(),
    }
}

fn ladder_row(ladder: &LadderComparison<'_>) -> [String; 6] {
    let at = ladder.at_equal_load.as_ref();
    let both = |of: fn(&Measurements) -> Option<f64>, show: fn(f64) -> String| {
        at.map_or_else(String::new, |at| pair(of(&at.baseline), of(&at.candidate), show))
    };
    let (before, after) = ladder.kv_cache_tokens;
    [
        ladder.ladder.to_owned(),
        at.map_or_else(String::new, |at| at.concurrency.to_string()),
        both(|m| m.ttft_p50_s, |value| seconds(Some(value))),
        both(|m| m.ttft_p99_s, |value| seconds(Some(value))),
        both(|m| m.output_tokens_per_s, |value| format!("{value:.0}")),
        pair(before.map(|tokens| tokens as f64), after.map(|tokens| tokens as f64), |value| format!("{value:.0}")),
    ]
}

/// A number on both sides, and how it changed.
fn pair(before: Option<f64>, after: Option<f64>, show: fn(f64) -> String) -> String {
    match (before, after) {
        (None, None) => String::new(),
        (Some(before), Some(after)) if before == after => show(before),
        (Some(before), Some(after)) if before > 0.0 => {
            format!("{} → {} ({})", show(before), show(after), percent(after / before - 1.0))
        }
        (before, after) => {
            let text = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), show);
            format!("{} → {}", text(before), text(after))
        }
    }
}

fn origin(origin: &Origin<'_>) -> String {
    let commit = origin.commit.map(|commit| {
        format!(
            "commit {}{}",
            commit.get(..7).unwrap_or(commit),
            if origin.dirty { " with uncommitted changes" } else { "" }
        )
    });
    let simulated = origin.simulated.then(|| "simulated".to_owned());
    let head = format!("{} {}", origin.experiment, origin.run_id);
    [Some(head), commit, Some(origin.status.to_string()), simulated]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

/// `2 regressed, 4 unchanged; a change of 5% or more matters`
fn summary(comparison: &Comparison<'_>) -> String {
    let counts = Verdict::ALL.iter().map(|verdict| (comparison.summary.count(*verdict), verdict));
    let counts: Vec<String> =
        counts.filter(|(count, _)| *count > 0).map(|(count, verdict)| format!("{count} {verdict}")).collect();
    let counts = if counts.is_empty() { "no cells".to_owned() } else { counts.join(", ") };
    format!("{counts}; a change of {} or more matters", threshold(comparison.threshold))
}

fn threshold(share: Share) -> String {
    format!("{}%", whole(share.get() * 100.0))
}

/// Why no cell could be compared.
pub fn why_not_comparable(comparison: &Comparison<'_>) -> String {
    let first = comparison.cells.iter().find_map(|cell| cell.reason.as_ref());
    match first {
        Some(reason) => reason.to_string(),
        None if comparison.apart.is_empty() => {
            "no cell of one run is in the other, or several are alike but for what --across names".to_owned()
        }
        None => format!(
            "no cell of one run is in the other; they differ in {}: name what may differ with --across",
            comparison.apart.join(", ")
        ),
    }
}

/// A relative change in percent, with its sign.
pub fn percent(change: f64) -> String {
    let rounded = (change * 1000.0).round() / 10.0;
    format!("{:+.1}%", rounded + 0.0)
}

fn whole(percent: f64) -> f64 {
    (percent * 1e6).round() / 1e6
}
