//! `cells.csv`: one row per cell, one column per axis. Empty means not measured; zero means zero.
//!
//! Numbers are written in full. A text that a spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`, a
//! tab or a carriage return) gets an apostrophe in front, which spreadsheets take for "this is text"; so does one that
//! begins with an apostrophe, so that taking one off gives the text back. Numbers never do.

use anyhow::Result;
use ceiling_core::record::{CellRecord, LadderRecord, Run};
use ceiling_core::sla::TokensPerSecond;
use ceiling_core::units::{Seconds, Share};
use serde_json::Value;

use super::ladders::Ladders;
use super::table::undecided;

const HEAD: [&str; 4] = ["experiment", "run_id", "commit", "cell"];
const SLA: [&str; 5] = ["ok_rate", "ttft_limit_s", "tpot_limit_s", "e2e_limit_s", "min_tokens_per_second"];
const RESULT: [&str; 6] = ["status", "ceiling", "highest_pass", "lowest_fail", "confidence", "limited_by"];
/// Measured by the probe at `highest_pass`; probes and engine time are those of the cell's whole ladder.
const MEASURED: [&str; 5] = ["ttft_p50_s", "ttft_p99_s", "output_tokens_per_s", "probes", "engine_s"];
/// Why a cell has no result. Last, so that every other column stays where it was.
const FAILURE: [&str; 1] = ["failure"];

/// The table of cells.
pub fn render(run: &Run) -> Result<String> {
    let (axes, ladders) = (axes(run), Ladders::of(run));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let of_axes = axes.iter().map(|axis| text(axis));
    let fixed = |names: &'static [&str]| names.iter().map(|name| (*name).to_owned());
    let results = fixed(&RESULT).chain(fixed(&MEASURED)).chain(fixed(&FAILURE));
    let header = fixed(&HEAD).chain(of_axes).chain(fixed(&SLA)).chain(results);
    writer.write_record(header)?;
    for cell in &run.cells {
        writer.write_record(row(run, cell, &axes, &ladders))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// The axes of a run that have a column of their own; those of the SLA have one anyway.
pub fn axes(run: &Run) -> Vec<String> {
    let mut axes: Vec<String> = Vec::new();
    for name in run.cells.iter().flat_map(|cell| cell.axes.keys()) {
        if !name.starts_with("sla.") && !axes.contains(name) {
            axes.push(name.clone());
        }
    }
    axes
}

fn row(run: &Run, cell: &CellRecord, axes: &[String], ladders: &Ladders<'_>) -> Vec<String> {
    let ladder = ladders.of_cell(cell);
    let probe = ladders.probe_at_ceiling(cell);
    let ttft = probe.and_then(|probe| probe.ttft);
    let sla = &cell.sla;
    let commit = run.provenance.git.as_ref().map_or("", |git| git.commit.as_str());
    let mut row = vec![text(&run.experiment.name), text(&run.run_id), text(commit), text(&cell.id)];
    row.extend(axes.iter().map(|axis| cell.axes.get(axis).map_or_else(String::new, axis_value)));
    row.extend([
        sla.ok_rate.to_string(),
        sla.ttft.get().to_string(),
        shown(sla.tpot.map(Seconds::get)),
        shown(sla.e2e.map(Seconds::get)),
        shown(sla.min_tokens_per_second.map(TokensPerSecond::get)),
        cell.status.and_then(|status| serde_json::to_value(status).ok()).as_ref().map_or_else(String::new, plain),
        shown(cell.ceiling),
        shown(cell.highest_pass),
        shown(cell.lowest_fail),
        shown(confidence(cell)),
        shown(cell.limited_by),
        shown(ttft.and_then(|ttft| ttft.p50_s)),
        shown(ttft.and_then(|ttft| ttft.p99_s)),
        shown(probe.and_then(|probe| probe.output_tokens_per_s)),
        shown(ladder.map(|ladder| ladder.probes.len())),
        shown(ladder.map(|ladder| ladder.engine_s.get())),
        why_not(cell, ladder).map_or_else(String::new, |reason| text(&reason)),
    ]);
    row
}

/// Why a cell has no result, where the search of its ladder, or its engine, ended without one.
fn why_not(cell: &CellRecord, ladder: Option<&LadderRecord>) -> Option<String> {
    cell.failure.as_ref().map(|failure| failure.reason.clone()).or_else(|| undecided(cell, ladder))
}

/// The confidence of a bracket; where there is none, there is nothing to be sure of.
pub fn confidence(cell: &CellRecord) -> Option<Share> {
    cell.confidence.filter(|_| cell.highest_pass.is_some() || cell.lowest_fail.is_some())
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A value of an axis, which no spreadsheet takes for a formula where it is a text.
pub fn axis_value(value: &Value) -> String {
    match value {
        Value::String(value) => text(value),
        other => other.to_string(),
    }
}

/// A text that no spreadsheet takes for a formula.
pub fn text(value: &str) -> String {
    let formula = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\'']);
    if formula { format!("'{value}") } else { value.to_owned() }
}

/// A value as a person writes it: text without quotes, everything else as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ceiling_core::search::Undecided;
    use serde_json::json;

    use super::*;
    use crate::report::testing;

    #[test]
    fn no_text_reads_as_a_formula() {
        let mut run = testing::run();
        run.experiment.name = "-2".to_owned();
        let evil = json!({ "engine.a": "=cmd|' /C calc'!A0", "engine.b": -5, "@sum": "x" });
        run.cells[0].axes = evil.as_object().unwrap().clone();
        let table = render(&run).unwrap();
        let mut reader = csv::Reader::from_reader(table.as_bytes());
        assert_eq!(&reader.headers().unwrap()[6], "'@sum");
        let row = reader.records().next().unwrap().unwrap();
        assert_eq!([&row[0], &row[4], &row[5]], ["'-2", "'=cmd|' /C calc'!A0", "-5"]);
    }

    #[test]
    fn empty_is_not_measured() {
        let table = render(&testing::run()).unwrap();
        let mut reader = csv::Reader::from_reader(table.as_bytes());
        let head = reader.headers().unwrap().clone();
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        let at = |row: usize, name: &str| rows[row][head.iter().position(|head| head == name).unwrap()].to_owned();
        assert_eq!([at(0, "ceiling"), at(0, "ttft_p50_s"), at(0, "limited_by")], ["8", "0.5", "kv-cache"]);
        assert_eq!([at(3, "status"), at(3, "ceiling"), at(3, "ttft_p50_s")], ["failed", "", ""]);
        assert_eq!([at(0, "failure"), at(3, "failure")], ["", "ValueError: No memory for <blocks>"]);
    }

    #[test]
    fn an_undecided_cell_says_why_it_has_no_result() {
        let mut run = testing::run();
        run.cells[0].undecided = Some(Undecided::Budget);
        let table = render(&run).unwrap();
        let row = csv::Reader::from_reader(table.as_bytes()).into_records().next().unwrap().unwrap();
        let failure = row.iter().next_back().unwrap();
        assert_eq!(failure, "the budget of 30m of engine time ended first: raise search.budget");
    }

    #[test]
    fn nobody_is_sure_of_a_bracket_that_is_not_there() {
        let mut run = testing::run();
        let sure = run.cells[0].confidence;
        assert_eq!(confidence(&run.cells[0]), sure);
        run.cells[2].confidence = sure;
        assert_eq!(confidence(&run.cells[2]), None);
    }
}
