//! `cells.csv`: one row per cell, one column per axis. Empty means not measured; zero means zero.

use anyhow::Result;
use ceiling_core::record::{CellRecord, LadderRecord, ProbeRecord, Run};
use ceiling_core::units::Seconds;
use serde_json::Value;

const HEAD: [&str; 4] = ["experiment", "run_id", "commit", "cell"];
const SLA: [&str; 5] = ["ok_rate", "ttft_limit_s", "tpot_limit_s", "e2e_limit_s", "min_tokens_per_second"];
const RESULT: [&str; 6] = ["status", "ceiling", "highest_pass", "lowest_fail", "confidence", "limited_by"];
/// Measured by the newest probe at `highest_pass`; probes and engine time are those of the cell's whole ladder.
const MEASURED: [&str; 5] = ["ttft_p50_s", "ttft_p99_s", "output_tokens_per_s", "probes", "engine_s"];

/// The table of cells.
pub fn render(run: &Run) -> Result<String> {
    let axes = axes(run);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = HEAD.into_iter().chain(axes.iter().map(String::as_str)).chain(SLA).chain(RESULT).chain(MEASURED);
    writer.write_record(header)?;
    for cell in &run.cells {
        writer.write_record(row(run, cell, &axes))?;
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

fn row(run: &Run, cell: &CellRecord, axes: &[String]) -> Vec<String> {
    let ladder = run.ladders.iter().find(|ladder| ladder.id == cell.ladder);
    let probe = ladder.and_then(|ladder| probe_at_ceiling(ladder, cell));
    let ttft = probe.and_then(|probe| probe.ttft);
    let sla = &cell.sla;
    let commit = run.provenance.git.as_ref().map(|git| git.commit.clone());
    let mut row = vec![run.experiment.name.clone(), run.run_id.clone(), commit.unwrap_or_default(), cell.id.clone()];
    row.extend(axes.iter().map(|axis| cell.axes.get(axis).map_or_else(String::new, plain)));
    row.extend([
        sla.ok_rate.to_string(),
        sla.ttft.get().to_string(),
        shown(sla.tpot.map(Seconds::get)),
        shown(sla.e2e.map(Seconds::get)),
        shown(sla.min_tokens_per_second.map(|rate| rate.get())),
        cell.status.and_then(|status| serde_json::to_value(status).ok()).as_ref().map_or_else(String::new, plain),
        shown(cell.ceiling),
        shown(cell.highest_pass),
        shown(cell.lowest_fail),
        shown(cell.confidence),
        shown(cell.limited_by),
        shown(ttft.and_then(|ttft| ttft.p50_s)),
        shown(ttft.and_then(|ttft| ttft.p99_s)),
        shown(probe.and_then(|probe| probe.output_tokens_per_s)),
        shown(ladder.map(|ladder| ladder.probes.len())),
        shown(ladder.map(|ladder| ladder.engine_s.get())),
    ]);
    row
}

/// The newest probe at the highest level known to pass.
pub fn probe_at_ceiling<'a>(ladder: &'a LadderRecord, cell: &CellRecord) -> Option<&'a ProbeRecord> {
    ladder.probes.iter().rfind(|probe| Some(probe.concurrency) == cell.highest_pass)
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A value as a person writes it: text without quotes, everything else as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
