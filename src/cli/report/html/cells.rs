//! All cells as a table that can be sorted and searched.

use std::collections::HashMap;

use ceiling_core::record::{CellRecord, Run};
use ceiling_core::search::Status;
use maud::{Markup, html};

use super::ladders::anchor;
use super::scale::three_digits;
use crate::report::csv::{axes, confidence, plain};
use crate::report::ladders::Ladders;
use crate::report::table;

/// The table of cells.
pub fn cells(run: &Run) -> Markup {
    let axes = axes(run);
    let ladders = Ladders::of(run);
    let anchors: HashMap<&str, usize> =
        run.ladders.iter().enumerate().map(|(index, l)| (l.id.as_str(), index)).collect();
    let further = run.cells.iter().any(|cell| !table::further_limits(&cell.sla).is_empty());
    let heads = axes.iter().map(String::as_str).chain(["ok rate (%)", "TTFT limit (s)"]);
    let heads = heads.chain(further.then_some("further limits"));
    let heads = heads.chain([
        "status",
        "ceiling",
        "highest pass",
        "lowest fail",
        "confidence (%)",
        "limited by",
        "TTFT p50 (s)",
        "TTFT p99 (s)",
        "tokens/s",
        "ladder",
    ]);
    html! {
        section #cells {
            h2 { "Cells" }
            p.note { "Measured values are those of a probe at the highest level known to pass. A click on a head sorts." }
            input #filter type="search" placeholder="Show the rows that hold …" aria-label="Show the rows that hold this text";
            div.scroll { table.sortable {
                thead { tr { @for head in heads { th aria-sort="none" { button type="button" { (head) } } } } }
                tbody { @for cell in &run.cells { (row(cell, &axes, &ladders, further, anchors.get(cell.ladder.as_str()))) } }
            } }
        }
    }
}

fn row(cell: &CellRecord, axes: &[String], ladders: &Ladders<'_>, further: bool, ladder: Option<&usize>) -> Markup {
    let probe = ladders.probe_at_ceiling(cell);
    let ttft = probe.and_then(|probe| probe.ttft);
    let number = |value: Option<f64>| value.map_or_else(String::new, three_digits);
    let exact = |value: f64| format!("{value}");
    html! {
        tr data-tip=(cell.id) {
            @for axis in axes { td { (cell.axes.get(axis).map_or_else(String::new, plain)) } }
            td { (table::percent(cell.sla.ok_rate.get()).trim_end_matches('%')) }
            td { (exact(cell.sla.ttft.get())) }
            @if further { td { (table::further_limits(&cell.sla).join(", ")) } }
            td.text { (status(cell)) }
            td { @if let Some(ceiling) = cell.ceiling { b { (ceiling) } } }
            td { @if let Some(level) = cell.highest_pass { (level) } }
            td { @if let Some(level) = cell.lowest_fail { (level) } }
            td { @if let Some(share) = confidence(cell) { (table::percent(share.get()).trim_end_matches('%')) } }
            td.text { @if let Some(limit) = cell.limited_by { (limit) } }
            td { (number(ttft.and_then(|ttft| ttft.p50_s))) }
            td { (number(ttft.and_then(|ttft| ttft.p99_s))) }
            td { (number(probe.and_then(|probe| probe.output_tokens_per_s))) }
            td { @if let Some(ladder) = ladder { a href={ "#" (anchor(*ladder)) } { (ladder + 1) } } }
        }
    }
}

/// How the search for a cell ended, as `cells.csv` says it.
pub fn status(cell: &CellRecord) -> &'static str {
    match cell.status {
        None => "not yet measured",
        Some(Status::Found) => "found",
        Some(Status::AboveCap) => "above-cap",
        Some(Status::BelowOne) => "below-one",
        Some(Status::Undecided) => "undecided",
        Some(Status::Failed) => "failed",
    }
}
