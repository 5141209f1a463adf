//! What the charts of a ladder show, as a table: one row per level.

use ceiling_core::record::LadderRecord;
use ceiling_core::sla::Sla;
use ceiling_core::units::Share;
use maud::{Markup, html};

use super::levels::{Level, TTFT, queued};
use super::scale::brief;
use crate::report::table;

/// Columns of the data table before those of the SLAs.
const FIXED_COLUMNS: usize = 11;
const COLUMNS: [&str; FIXED_COLUMNS] = [
    "in flight",
    "probes",
    "TTFT p50 (s)",
    "TTFT p90 (s)",
    "TTFT p99 (s)",
    "queued p50 (s)",
    "KV use",
    "running",
    "waiting",
    "preempted",
    "tokens/s",
];

/// What the charts show, as a table: one row per level. The tooltips of the charts read from it.
pub fn level_table(ladder: &LadderRecord, levels: &[Level<'_>]) -> Markup {
    let number = |value: Option<f64>| value.map_or_else(String::new, brief);
    html! {
        details.data {
            summary { "Data of the charts" }
            div.scroll { table {
                thead { tr {
                    @for name in COLUMNS { th { (name) } }
                    @for sla in &ladder.slas { th { (says(sla)) } }
                } }
                tbody { @for level in levels { tr {
                    td { (level.n) }
                    td { (level.probes.len()) }
                    @for (_, of) in TTFT { td { (number(level.median_time(of))) } }
                    td { (number(level.median_time(queued))) }
                    td { (level.median(|probe| probe.scheduler.kv_peak.map(Share::get)).map_or_else(String::new, |share| format!("{:.1}%", share * 100.0))) }
                    td { (number(level.median(|probe| probe.scheduler.running_peak.map(f64::from)))) }
                    td { (number(level.median(|probe| probe.scheduler.waiting_peak.map(f64::from)))) }
                    td { (number(level.median(|probe| Some(f64::from(probe.scheduler.preemptions))))) }
                    td { (number(level.median(|probe| probe.output_tokens_per_s))) }
                    @for sla in 0..ladder.slas.len() { td { (votes(level.votes(ladder, sla))) } }
                } } }
            } }
        }
    }
}

fn votes((pass, fail): (usize, usize)) -> String {
    match (pass, fail) {
        (0, 0) => "undecided".to_owned(),
        (_, 0) => "pass".to_owned(),
        (0, _) => "fail".to_owned(),
        (pass, fail) => format!("{pass} pass, {fail} fail"),
    }
}

/// The columns of the data table that belong to first tokens: level, probes, quantiles and votes.
pub fn first_token_columns(ladder: &LadderRecord) -> String {
    let votes = (0..ladder.slas.len()).map(|sla| FIXED_COLUMNS + sla);
    (0..5).chain(votes).map(|column| column.to_string()).collect::<Vec<_>>().join(" ")
}

/// An SLA in a few characters: `99% in 1s`.
pub fn says(sla: &Sla) -> String {
    let mut text = format!("{} in {}", table::percent(sla.ok_rate.get()), sla.ttft);
    let further = [
        sla.tpot.map(|limit| format!(", TPOT {limit}")),
        sla.e2e.map(|limit| format!(", E2E {limit}")),
        sla.min_tokens_per_second.map(|rate| format!(", {}/s", rate.get())),
    ];
    further.into_iter().flatten().for_each(|limit| text.push_str(&limit));
    text
}
