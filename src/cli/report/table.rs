//! The tables of a run, as rows of text that terminal and Markdown both show.

use ceiling_core::attribution::LimitedBy;
use ceiling_core::record::{CellRecord, LadderRecord, Run};
use ceiling_core::search::{Status, Undecided};
use ceiling_core::sla::Sla;
use ceiling_core::units::Concurrency;

use super::csv::{axes, plain};
use super::ladders::Ladders;
use super::pivot::Pivot;

/// Columns of a grid, at most: more do not fit a terminal.
const WIDEST: usize = 8;

/// Column heads and rows.
pub struct Table {
    /// One head per column.
    pub head: Vec<String>,
    /// One row per cell.
    pub rows: Vec<Vec<String>>,
}

/// The ceilings as a grid; `None` where cells differ in one thing at most.
pub fn grid(run: &Run) -> Option<Table> {
    let pivot = Pivot::new(run, WIDEST);
    if !pivot.is_grid() {
        return None;
    }
    let says = |column: &Vec<String>| {
        let parts: Vec<String> =
            pivot.across.iter().zip(column).map(|(dimension, value)| dimension.says(value)).collect();
        parts.join(",\n")
    };
    let head =
        pivot.down.iter().map(|dimension| dimension.name.clone()).chain(pivot.columns.iter().map(says)).collect();
    let row = |(index, values): (usize, &Vec<String>)| {
        let ceilings = (0..pivot.columns.len()).map(|column| {
            let ceilings: Vec<String> = pivot.at(index, column).iter().map(|cell| ceiling(cell)).collect();
            ceilings.join(" / ")
        });
        values.iter().cloned().chain(ceilings).collect()
    };
    Some(Table { rows: pivot.rows.iter().enumerate().map(row).collect(), head })
}

/// The table of a run's cells.
pub fn table(run: &Run) -> Table {
    let axes = axes(run);
    let ladders = Ladders::of(run);
    let has_further_limits = run.cells.iter().any(|cell| !further_limits(&cell.sla).is_empty());
    let has_reasons = run.cells.iter().any(|cell| cell.limited_by.is_some());
    let mut head: Vec<String> = axes.iter().map(|axis| short(axis).to_owned()).collect();
    head.extend(["ok rate", "TTFT limit"].map(str::to_owned));
    head.extend(has_further_limits.then(|| "further limits".to_owned()));
    head.extend(["ceiling", "bracket"].map(str::to_owned));
    head.extend(has_reasons.then(|| "limited by".to_owned()));
    head.extend(["TTFT p50", "TTFT p99", "tokens/s"].map(str::to_owned));
    let row = |cell: &CellRecord| {
        let probe = ladders.probe_at_ceiling(cell);
        let ttft = probe.and_then(|probe| probe.ttft);
        let mut row: Vec<String> =
            axes.iter().map(|axis| cell.axes.get(axis).map_or_else(String::new, plain)).collect();
        row.extend([percent(cell.sla.ok_rate.get()), cell.sla.ttft.to_string()]);
        row.extend(has_further_limits.then(|| further_limits(&cell.sla).join(", ")));
        row.extend([ceiling(cell), bracket(cell)]);
        row.extend(has_reasons.then(|| cell.limited_by.map_or_else(String::new, |limit| limit.to_string())));
        row.extend([seconds(ttft.and_then(|ttft| ttft.p50_s)), seconds(ttft.and_then(|ttft| ttft.p99_s))]);
        row.push(
            probe.and_then(|probe| probe.output_tokens_per_s).map_or_else(String::new, |rate| format!("{rate:.0}")),
        );
        row
    };
    Table { rows: run.cells.iter().map(row).collect(), head }
}

/// The ceiling, or why there is none.
pub fn ceiling(cell: &CellRecord) -> String {
    ceiling_of(cell.status, cell.highest_pass)
}

/// The ceiling that an end of a search states, or why there is none.
pub fn ceiling_of(status: Option<Status>, highest_pass: Option<Concurrency>) -> String {
    let pass = highest_pass.map_or(0, Concurrency::get);
    match status {
        None => "not yet measured".to_owned(),
        Some(Status::Found) => pass.to_string(),
        Some(Status::AboveCap) => format!("above cap ({pass})"),
        Some(Status::BelowOne) => "below one".to_owned(),
        Some(Status::Undecided) => "undecided".to_owned(),
        Some(Status::Failed) => "failed".to_owned(),
    }
}

/// Why the search for a cell ended undecided, and what may help; `None` where it did not, or an older version kept no reason.
pub fn undecided(cell: &CellRecord, ladder: Option<&LadderRecord>) -> Option<String> {
    let budget = ladder.map_or_else(String::new, |ladder| format!(" of {}", ladder.search.budget));
    Some(match cell.undecided? {
        Undecided::Budget => format!("the budget{budget} of engine time ended first: raise search.budget"),
        Undecided::Probes => {
            "the most probes that a ladder may have were made first: ask for less with a wider search.resolution or a lower \
             search.confidence"
                .to_owned()
        }
        Undecided::Spread if cell.highest_pass.is_some() && cell.lowest_fail.is_none() => {
            "no level up to search.max_concurrency is sure to fail, nor is that one to pass: raise it, or measure on a machine \
             that drifts less"
                .to_owned()
        }
        Undecided::Spread => {
            "probes differ so much that more of them would not have told, or not at a bounded cost: measure on a machine that \
             drifts less, or lower search.confidence"
                .to_owned()
        }
        Undecided::NoVerdict => {
            "its probes gave no verdict: search.strategy = \"guided\" judges all of them together".to_owned()
        }
    })
}

/// `[highest pass, lowest fail)` with what is known of it.
pub fn bracket(cell: &CellRecord) -> String {
    let confidence = cell.confidence.map_or_else(String::new, |share| format!(" ({})", percent(share.get())));
    match (cell.highest_pass, cell.lowest_fail) {
        (None, None) => String::new(),
        (Some(pass), None) => format!("{pass} …"),
        (None, Some(fail)) => format!("… {fail}"),
        (Some(pass), Some(fail)) => format!("{pass} … {fail}{confidence}"),
    }
}

/// What says that a limit binds.
pub fn figures(by: &LimitedBy) -> String {
    let figures = [
        by.running_peak.map(|count| format!("{count} running")),
        by.waiting_peak.map(|count| format!("{count} waiting")),
        by.kv_peak.map(|share| format!("KV cache {:.0}% full", share.get() * 100.0)),
        by.queued_share.map(|share| format!("{:.0}% of TTFT queued", share * 100.0)),
        (by.preemptions > 0).then(|| format!("{} preempted", by.preemptions)),
        (by.errors > 0).then(|| {
            let of = by.answered.map_or_else(String::new, |answered| format!(" of {answered}"));
            format!("{}{of} requests failed by the engine", by.errors)
        }),
    ];
    figures.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The limits of an SLA beside that on TTFT.
pub fn further_limits(sla: &Sla) -> Vec<String> {
    let limits = [
        sla.tpot.map(|limit| format!("TPOT {limit}")),
        sla.e2e.map(|limit| format!("E2E {limit}")),
        sla.min_tokens_per_second.map(|rate| format!("{} tokens/s", rate.get())),
    ];
    limits.into_iter().flatten().collect()
}

/// A length of time for people.
pub fn seconds(value: Option<f64>) -> String {
    value.map_or_else(
        String::new,
        |value| if value < 1.0 { format!("{:.0} ms", value * 1e3) } else { format!("{value:.2} s") },
    )
}

/// A share for people: `99.9%`.
pub fn percent(share: f64) -> String {
    let shown = rounded(share * 100.0);
    // What is nearly certain is not certain.
    format!("{}%", if share < 1.0 { shown.min(99.999_999) } else { shown })
}

/// Without the digits that binary fractions leave behind.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// The last part of a dotted field.
fn short(axis: &str) -> &str {
    axis.rsplit('.').next().unwrap_or(axis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_is_a_hundred_percent() {
        let table = [(0.07, "7%"), (0.999, "99.9%"), (0.999_999_999_9, "99.999999%"), (1.0, "100%"), (1.5, "150%")];
        for (share, shown) in table {
            assert_eq!(percent(share), shown);
        }
    }
}
