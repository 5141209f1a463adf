//! The probes of a ladder, level by level, and what charts over levels have in common.

use std::collections::BTreeMap;

use ceiling_core::metric::quantile;
use ceiling_core::record::{LadderRecord, ProbeRecord};
use ceiling_core::sla::Verdict;
use maud::{Markup, html};

use super::chart::{ACROSS, place};
use super::scale::Scale;
use crate::report::ladders::evidence;

/// The probes at one level.
pub struct Level<'a> {
    /// Requests in flight.
    pub n: u32,
    /// Its probes, in the order they were measured.
    pub probes: Vec<&'a ProbeRecord>,
}

/// The levels of a ladder that there is evidence of, ascending.
pub fn levels(ladder: &LadderRecord) -> Vec<Level<'_>> {
    let mut levels: BTreeMap<u32, Vec<&ProbeRecord>> = BTreeMap::new();
    for probe in evidence(ladder) {
        levels.entry(probe.concurrency.get()).or_default().push(probe);
    }
    levels.into_iter().map(|(n, probes)| Level { n, probes }).collect()
}

impl Level<'_> {
    /// The level as a number on an axis.
    pub fn x(&self) -> f64 {
        f64::from(self.n)
    }

    /// The median over its probes of something that each may have.
    pub fn median(&self, of: impl Fn(&ProbeRecord) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.probes.iter().filter_map(|probe| of(probe)).collect();
        values.sort_by(f64::total_cmp);
        quantile(&values, values.len(), 0.5)
    }

    /// The median over its probes of a time; where a probe has none, it was stopped before that time could be seen, and
    /// it counts as later than all others.
    pub fn median_time(&self, of: impl Fn(&ProbeRecord) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.probes.iter().filter_map(|probe| of(probe)).collect();
        values.sort_by(f64::total_cmp);
        quantile(&values, self.probes.len(), 0.5)
    }

    /// How many probes passed and how many failed one SLA of the ladder.
    pub fn votes(&self, ladder: &LadderRecord, sla: usize) -> (usize, usize) {
        let verdicts = self.probes.iter().filter_map(|probe| verdict(ladder, probe, sla));
        verdicts.fold((0, 0), |(pass, fail), verdict| match verdict {
            Verdict::Pass => (pass + 1, fail),
            Verdict::Fail => (pass, fail + 1),
            Verdict::Undecided => (pass, fail),
        })
    }
}

/// What a probe says of one SLA of its ladder.
pub fn verdict(ladder: &LadderRecord, probe: &ProbeRecord, sla: usize) -> Option<Verdict> {
    Some(probe.slas.get(sla)?.verdict(ladder.slas.get(sla)?.ok_rate))
}

/// Median time to first token of a probe.
pub fn p50(probe: &ProbeRecord) -> Option<f64> {
    probe.ttft.and_then(|ttft| ttft.p50_s)
}

fn p90(probe: &ProbeRecord) -> Option<f64> {
    probe.ttft.and_then(|ttft| ttft.p90_s)
}

fn p99(probe: &ProbeRecord) -> Option<f64> {
    probe.ttft.and_then(|ttft| ttft.p99_s)
}

/// Median time that its requests waited to be scheduled.
pub fn queued(probe: &ProbeRecord) -> Option<f64> {
    probe.queued.and_then(|queued| queued.p50_s)
}

/// Something that a probe may have.
pub type OfProbe = fn(&ProbeRecord) -> Option<f64>;
/// The quantiles of time to first token that are shown.
pub const TTFT: [(&str, OfProbe); 3] = [("p50", p50), ("p90", p90), ("p99", p99)];

/// The axis of requests in flight.
pub fn across(levels: &[Level<'_>]) -> Option<Scale> {
    Scale::ratios(levels.iter().map(Level::x), ACROSS)
}

/// A chart over the requests in flight, with the columns of the data table that its tooltip shows, where there is one.
pub fn figure(
    name: &str,
    legend: &[(&str, &str)],
    levels: &[Level<'_>],
    x: &Scale,
    columns: Option<&str>,
    drawing: &Markup,
) -> Markup {
    let stops = || levels.iter().map(|level| place(x.at(level.x()))).collect::<Vec<_>>().join(" ");
    html! {
        figure {
            figcaption { (name) @for (class, label) in legend { span class={ "key " (class) } { (label) } } }
            div.plot data-x=[columns.map(|_| stops())] data-columns=[columns] { (drawing) }
        }
    }
}
