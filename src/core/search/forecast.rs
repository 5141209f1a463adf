//! Where the ceiling of an SLA is likely to be.

use std::collections::BTreeMap;

use super::curve::Curve;
use super::level::{Level, Machine, Unknown};
use super::pace::Judged;
use super::seen::{Needed, Seen};

/// Where to look for the ceiling of one SLA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forecast {
    pub ceiling: u32,
    /// The highest level that is sure to pass, and the lowest that is sure to fail, as far as can be foretold.
    pub low: u32,
    pub high: u32,
    /// Between how far apart levels it was foretold; 1 where the curve was seen all the way.
    pub blind: f64,
}

/// What a forecast is made from.
pub(super) struct Outlook<'a> {
    pub machine: &'a Machine,
    pub seen: &'a [Seen],
    pub needed: Needed,
    /// The probability with which either bound may be wrong.
    pub miss: f64,
    pub cap: u32,
    /// The engine's token budget in prompts, where it is known.
    pub prompts_per_step: Option<f64>,
}

impl Outlook<'_> {
    /// From the times of first tokens, of which a share must come within `limit` seconds.
    pub fn by_curve(&self, limit: f64) -> Forecast {
        let Some(longest) = self.seen.iter().max_by_key(|seen| seen.opening().len()) else {
            return Forecast { ceiling: 1, low: 0, high: self.cap + 1, blind: f64::INFINITY };
        };
        let (limit, likely) = (limit.ln(), self.needed.likely.min(1.0));
        let ceiling = |curve: &Curve, limit: f64, near: u32| {
            curve.ceiling(self.machine, limit, likely, self.spread(near), self.cap)
        };
        let rough = ceiling(&self.curve(longest, u32::MAX), limit, u32::MAX);
        // The curve is that of one probe: it is laid through the middle of all where it matters.
        let curve = self.curve(longest, rough.max(1));
        let middle = ceiling(&curve, limit, rough.max(1));
        let Some(pace) = self.machine.pace.as_ref().filter(|pace| pace.probes() >= 2) else {
            return Forecast { ceiling: middle, low: 0, high: self.cap + 1, blind: 1.0 };
        };
        let at = middle.max(1);
        let margin = |needed: f64| {
            let margin = |spread| curve.margin(self.machine, at, limit, needed, spread);
            self.machine.posterior(at, &[pace.middle(at)], margin)
        };
        let least = margin(self.needed.strict).exceeded_with(1.0 - self.miss);
        let most = margin(self.needed.lax).exceeded_with(self.miss);
        // What is left of the margin at the ceiling itself is no part of the uncertainty.
        let own = curve.margin(self.machine, at, limit, likely, self.spread(at)).max(0.0);
        let low = ceiling(&curve, limit + (least - own).min(0.0), at);
        let high = ceiling(&curve, limit + (most - own).max(0.0), at).saturating_add(1);
        Forecast { ceiling: middle, low: low.min(middle), high: high.max(middle + 1), blind: 1.0 }
    }

    /// Between the highest level with a margin and the lowest without one; `guess` where there is neither.
    pub fn by_margins(&self, levels: &BTreeMap<u32, Level>, guess: impl Fn() -> f64) -> Forecast {
        let likely = self.needed.likely;
        let margins: Vec<(f64, f64)> = levels
            .values()
            .map(|level| {
                let spread = self.spread(level.concurrency);
                (f64::from(level.concurrency), level.margin(self.machine, likely, spread, Unknown::Failed))
            })
            .collect();
        let above = margins.iter().find(|(_, margin)| *margin < 0.0);
        let lower = |(level, _): &&(f64, f64)| above.is_none_or(|(above, _)| level < above);
        let below = margins.iter().rfind(lower);
        let (at, slope, blind) = match (below, above) {
            (Some(a), Some(b)) => {
                // Latencies grow in proportion to the level where requests queue: what is interpolated is the latency.
                let (used_below, used_above) = ((-a.1).exp(), (-b.1).exp());
                let part = ((1.0 - used_below) / (used_above - used_below)).clamp(0.08, 0.92);
                (a.0 + part * (b.0 - a.0), (a.1 - b.1) / (b.0 / a.0).ln(), b.0 / a.0)
            }
            (None, Some(b)) => (b.0 * b.1.max(-1.5).exp(), 1.0, f64::INFINITY),
            // As they grow no faster than that, the ceiling is at least as far off as the margin.
            (Some(a), None) => (a.0 * a.1.clamp(0.15, 1.4).exp(), 1.0, f64::INFINITY),
            (None, None) => (guess(), 1.0, f64::INFINITY),
        };
        let ceiling = at.clamp(0.0, f64::from(self.cap));
        let (slower, faster) = self.unsure(levels, ceiling);
        let slope = slope.clamp(0.5, 20.0);
        Forecast {
            ceiling: (ceiling + 1e-6) as u32,
            low: (ceiling * (-slower / slope).exp() + 1e-6) as u32,
            high: ((ceiling * (faster / slope).exp()) as u32).saturating_add(1).min(self.cap + 1),
            blind,
        }
    }

    /// By how much, as a logarithm, the margin at the level nearest to this one may be less, and more, than it seems.
    fn unsure(&self, levels: &BTreeMap<u32, Level>, at: f64) -> (f64, f64) {
        let off = |level: &u32| (f64::from(*level) / at.max(1.0)).ln().abs();
        let nearest = levels.iter().min_by(|a, b| off(a.0).total_cmp(&off(b.0)));
        let Some((_, level)) = nearest.filter(|_| !self.machine.beliefs().is_empty()) else { return (1.0, 1.0) };
        let own = level.margin(self.machine, self.needed.likely, self.spread(level.concurrency), Unknown::Failed);
        let least = level.posterior(self.machine, self.needed.strict, Unknown::Failed).exceeded_with(1.0 - self.miss);
        let most = level.posterior(self.machine, self.needed.lax, Unknown::Failed).exceeded_with(self.miss);
        ((own - least).clamp(0.0, 1.0), (most - own).clamp(0.0, 1.0))
    }

    /// The curve of the probe that shows most of it, through the middle of all probes at this rank.
    fn curve(&self, longest: &Seen, rank: u32) -> Curve {
        let slower = self
            .machine
            .pace
            .as_ref()
            .map_or(0.0, |pace| longest.standing(pace, Judged::FirstTokens, rank.max(pace.first_rank())).slower);
        let (complete, certain) = (longest.probe.is_complete(), self.machine.is_steady());
        Curve::new(longest.opening(), slower, complete, self.prompts_per_step, certain)
    }

    /// About how much the time of this rank differs from probe to probe.
    fn spread(&self, rank: u32) -> f64 {
        self.machine.beliefs().iter().map(|belief| belief.weight * belief.spread(rank)).sum()
    }

    /// As many as are served within this time, in seconds.
    pub fn served_within(&self, seconds: f64) -> f64 {
        let longest = self.seen.iter().max_by_key(|seen| seen.opening().len());
        longest.map_or(1.0, |longest| self.curve(longest, u32::MAX).done_by(seconds.ln())).max(1.0)
    }
}
