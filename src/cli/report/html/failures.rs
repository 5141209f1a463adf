//! What could not be measured, why, and what the log says.

use ceiling_core::record::{Failure, Run};
use maud::{Markup, html};

use crate::report::markdown::{failed, undecided};
use crate::store::LogTails;

/// Ids of cells that are listed with a failure.
const MOST_IDS: usize = 20;

/// The failures of a run: of cells, and of attempts to load an engine, also where another attempt went well.
pub fn failures(run: &Run, logs: &LogTails) -> Markup {
    let of_cells = failed(run);
    let of_engines: Vec<_> = run.engines.iter().filter(|engine| !engine.failures.is_empty()).collect();
    html! {
        @if !of_cells.is_empty() || !of_engines.is_empty() {
            section #failures {
                h2 { "Failures" }
                @for (failure, cells) in of_cells {
                    h3 { (cells.len()) @if cells.len() == 1 { " cell" } @else { " cells" } }
                    (ids(&cells))
                    (reason(failure, logs))
                }
                @for engine in of_engines {
                    h3 { "Engine " (engine.label) ": " (engine.failures.len()) " of " (engine.failures.len() as u64 + u64::from(engine.loads)) " attempts failed" }
                    @for failure in &engine.failures { (reason(failure, logs)) }
                }
            }
        }
    }
}

/// Why searches ended without an answer.
pub fn left_open(run: &Run) -> Markup {
    let reasons = undecided(run);
    html! {
        @if !reasons.is_empty() {
            section #undecided {
                h2 { "Undecided" }
                @for (reason, cells) in reasons {
                    h3 { (cells.len()) @if cells.len() == 1 { " cell" } @else { " cells" } }
                    (ids(&cells))
                    p { (reason) }
                }
            }
        }
    }
}

fn ids(cells: &[&str]) -> Markup {
    html! { p.ids { (cells[..cells.len().min(MOST_IDS)].join("; ")) @if cells.len() > MOST_IDS { "; …" } } }
}

fn reason(failure: &Failure, logs: &LogTails) -> Markup {
    let tail = failure.log.as_ref().and_then(|log| logs.get(log));
    html! {
        pre.reason { (failure.reason) }
        @if let Some(log) = &failure.log {
            details open[tail.is_some()] {
                summary { "Log " code { (log) } }
                @match tail {
                    Some(tail) => pre { (tail) },
                    None => p.note { "The log is not where this report was made." },
                }
            }
        }
    }
}
