//! One ladder: its first tokens over the requests in flight, where their time went, and what the engine was doing.

use std::collections::HashMap;

use ceiling_core::audit::Audit;
use ceiling_core::record::{CellRecord, EngineRecord, LadderRecord, ProbeRecord, Run};
use maud::{Markup, html};

use super::engine_charts::{kv_use, requests, where_time_went};
use super::first_tokens::first_tokens;
use super::level_table::level_table;
use super::levels::levels;
use super::name;
use super::scale::brief;

/// Ladders that are shown with everything. Beyond, each keeps its chart of first tokens: the page stays within what a
/// browser opens and a pull request carries, and the rest is asked for with `--only`.
const SHOWN_IN_FULL: usize = 150;

/// Ladders that are open from the start.
const OPEN: usize = 4;

/// How much of a ladder is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All charts with every probe, and the data of the charts.
    Full,
    /// The lines of its first tokens.
    Brief,
}

/// All ladders of a run.
pub fn ladders(run: &Run) -> Markup {
    let detail = if run.ladders.len() <= SHOWN_IN_FULL { Detail::Full } else { Detail::Brief };
    let open = if run.ladders.len() <= 2 * OPEN { OPEN } else { 0 };
    let mut cells: HashMap<&str, Vec<&CellRecord>> = HashMap::new();
    run.cells.iter().for_each(|cell| cells.entry(&cell.ladder).or_default().push(cell));
    let cells = |ladder: &LadderRecord| cells.get(ladder.id.as_str()).map_or(&[][..], Vec::as_slice);
    let engine = |ladder: &LadderRecord| run.engines.iter().find(|engine| engine.label == ladder.engine);
    html! {
        section #ladders {
            h2 { "Ladders" }
            p.note {
                "One series of probes each, over the requests in flight. A dot is a probe, a line goes through the middle of each level; a "
                "dashed line is a limit. "
                "Below the first tokens, each SLA has a row: its bracket, the probes that passed and those that failed."
            }
            @if detail == Detail::Brief {
                p.note {
                    (run.ladders.len()) " ladders are too many to show each in full: only their first tokens are drawn. "
                    "For all of some, " code { "ceiling report RUN --format html --only PATTERN" } "."
                }
            }
            @for (index, ladder) in run.ladders.iter().enumerate() {
                details.ladder id=(anchor(index)) open[index < open] {
                    summary {
                        span.name { (name(&ladder.id)) }
                        span.facts { (workload(ladder)) ", " (probes(ladder)) ", " (engine_time(ladder)) }
                    }
                    (charts(ladder, cells(ladder), engine(ladder), detail))
                }
            }
        }
    }
}

/// The name of a ladder's place in the page.
pub fn anchor(index: usize) -> String {
    format!("ladder-{index}")
}

fn charts(ladder: &LadderRecord, cells: &[&CellRecord], engine: Option<&EngineRecord>, detail: Detail) -> Markup {
    let levels = levels(ladder);
    html! {
        @if levels.is_empty() {
            p.note { "Nothing was measured." }
        } @else {
            div.charts {
                (first_tokens(ladder, cells, &levels, detail))
                @if detail == Detail::Full {
                    (where_time_went(&levels))
                    (kv_use(&levels))
                    (requests(&levels, engine))
                }
            }
            @if detail == Detail::Full { (level_table(ladder, &levels)) }
        }
    }
}

/// What the requests of a ladder are like.
pub fn workload(ladder: &LadderRecord) -> String {
    let workload = &ladder.workload;
    let shared = match workload.shared_prefix {
        0 => String::new(),
        tokens => format!(", {tokens} of them shared"),
    };
    format!("{}, {} tokens in{shared}, {} out", workload.load, workload.input_tokens, workload.output_tokens)
}

fn probes(ladder: &LadderRecord) -> String {
    let count = |is_meant: &dyn Fn(&ProbeRecord) -> bool| ladder.probes.iter().filter(|probe| is_meant(probe)).count();
    let notes = [
        (count(&|probe| !probe.counts), "no evidence: see `audit` in run.json"),
        (count(&|probe| probe.audit == Audit::Throttled), "on a GPU that was throttled: see `telemetry` in run.json"),
    ];
    let notes = notes.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("; {count} of them {what}"));
    format!("{} probes{}", ladder.probes.len(), notes.collect::<String>())
}

fn engine_time(ladder: &LadderRecord) -> String {
    let ratio =
        ladder.certificate_ratio.map_or_else(String::new, |ratio| format!(", {} x the certificate", brief(ratio)));
    format!("{} s of engine time{ratio}", brief(ladder.engine_s.get()))
}
