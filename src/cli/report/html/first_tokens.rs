//! The chart of first tokens of a ladder.

use ceiling_core::record::{CellRecord, LadderRecord};
use ceiling_core::sla::Sla;
use ceiling_core::units::Seconds;
use maud::{Markup, html};

use super::chart::{ACROSS, Frame, HEIGHT, UP, chart, place};
use super::ladders::Detail;
use super::level_table::{self, says};
use super::levels::{Level, OfProbe, TTFT, across, figure};
use super::scale::{Scale, brief};
use crate::report::table;

/// Height of one SLA in the strip of verdicts.
const STRIP: f64 = 13.0;

/// Time to first token over requests in flight, with the limits; below it what each level says of each SLA.
pub fn first_tokens(ladder: &LadderRecord, cells: &[&CellRecord], levels: &[Level<'_>], detail: Detail) -> Markup {
    let mut limits: Vec<Seconds> = ladder.slas.iter().map(|sla| sla.ttft).collect();
    limits.sort_unstable();
    limits.dedup();
    let probes = || levels.iter().flat_map(|level| &level.probes);
    let values = probes().flat_map(|probe| TTFT.map(|(_, of)| of(probe))).flatten();
    let values = values.chain(limits.iter().map(|limit| limit.get()));
    let (Some(x), Some(y)) = (across(levels), Scale::ratios(values, UP)) else { return html! {} };
    let frame = Frame { x, y };
    let points = |of: OfProbe| probes().filter_map(move |probe| Some((f64::from(probe.concurrency.get()), of(probe)?)));
    let drawing = html! {
        (frame.axes(brief))
        @for limit in &limits { (frame.limit(limit.get(), &limit.to_string())) }
        @for (class, of) in TTFT {
            (frame.line(class, levels.iter().map(|level| (level.x(), level.median_time(of)))))
            @if detail == Detail::Full { (frame.dots(class, points(of))) }
        }
        (verdicts(ladder, cells, levels, &x))
    };
    let height = HEIGHT + 6.0 + STRIP * ladder.slas.len() as f64;
    let drawing = chart("Time to first token over requests in flight", &in_words(cells, levels), height, &drawing);
    let legend = TTFT.map(|(class, _)| (class, class));
    let columns = (detail == Detail::Full).then(|| level_table::first_token_columns(ladder));
    figure("Time to first token (s)", &legend, levels, &x, columns.as_deref(), &drawing)
}

fn in_words(cells: &[&CellRecord], levels: &[Level<'_>]) -> String {
    let (low, high) = (levels.first().map_or(0, |level| level.n), levels.last().map_or(0, |level| level.n));
    let ceilings: Vec<String> = cells
        .iter()
        .map(|cell| format!("{}: ceiling {}, bracket {}", says(&cell.sla), table::ceiling(cell), table::bracket(cell)))
        .collect();
    let probes: usize = levels.iter().map(|level| level.probes.len()).sum();
    format!("{probes} probes between {low} and {high} in flight. {}.", ceilings.join("; "))
}

/// A strip below the chart with a row for each SLA: its bracket, and what each probe said of it.
fn verdicts(ladder: &LadderRecord, cells: &[&CellRecord], levels: &[Level<'_>], x: &Scale) -> Markup {
    html! {
        g.verdicts {
            @for (index, sla) in ladder.slas.iter().enumerate() {
                @let y = HEIGHT + 8.0 + STRIP * index as f64;
                @let cell = cells.iter().find(|cell| cell.sla == *sla);
                @if let Some((pass, fail)) = cell.and_then(|cell| Some((cell.highest_pass?, cell.lowest_fail?))) {
                    @let (from, to) = (x.at(f64::from(pass.get())), x.at(f64::from(fail.get())));
                    rect.bracket x=(place(from)) y=(place(y - 5.5)) width=(place((to - from).max(1.0))) height="11" {}
                }
                text x=(place(ACROSS.0 - 5.0)) y=(place(y + 3.0)) { (row_label(sla)) }
                @let votes = |wanted: fn((usize, usize)) -> usize| levels.iter().filter(move |level| wanted(level.votes(ladder, index)) > 0);
                (marks("pass", votes(|(pass, _)| pass), x, y, "h0"))
                (marks("fail", votes(|(_, fail)| fail), x, y, "m-2.5-2.5l5 5m0-5l-5 5"))
            }
        }
    }
}

/// As [`says`], short enough for the margin of a chart.
fn row_label(sla: &Sla) -> String {
    format!("{} {}", table::percent(sla.ok_rate.get()), sla.ttft)
}

fn marks<'a>(class: &str, levels: impl Iterator<Item = &'a Level<'a>>, x: &Scale, y: f64, shape: &str) -> Markup {
    let path: String = levels.map(|level| format!("M{} {}{shape}", place(x.at(level.x())), place(y))).collect();
    html! { @if !path.is_empty() { path class=(class) d=(path) {} } }
}
