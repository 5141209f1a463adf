//! Where the ceiling of an SLA is likely to be.

use std::collections::BTreeMap;

use super::belief::{Standing, Sway};
use super::curve::Curve;
use super::edge::Grain;
use super::foretold::Foretold;
use super::level::{Level, Machine, Unknown, margin_of};
use super::pace::{Judged, Pace};
use super::seen::{Needed, Seen};
use super::stand_in::StandIn;
use crate::sla::Sla;

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

impl Forecast {
    /// The ceiling between bounds that are certain. A forecast that they have overtaken is mended by about twice as much as it
    /// is known to be off; where that passes over everything between them, it is of no use there, and the middle is as good.
    pub fn between(&self, floor: u32, top: u32) -> u32 {
        let ceiling = self.ceiling;
        let mended = if ceiling < floor {
            floor.saturating_add(floor - ceiling - 1)
        } else if ceiling >= top {
            (top - 1).saturating_sub(ceiling - top)
        } else {
            ceiling
        };
        if (floor..top).contains(&mended) { mended } else { floor + (top - floor) / 2 }
    }
}

/// What a forecast is made from.
pub(super) struct Outlook<'a> {
    pub machine: &'a Machine,
    pub seen: &'a [Seen],
    pub needed: Needed,
    /// The probability with which either bound may be wrong.
    pub miss: f64,
    pub cap: u32,
    /// Most prompts in a step of the engine, where that is known.
    pub prompts_per_step: Option<f64>,
    pub sla: &'a Sla,
    pub sla_index: usize,
    pub stand_in: &'a StandIn,
}

/// So many levels below the ceiling of an engine that is known exactly are looked at one by one, those below them by a fiftieth.
const DIPS: u32 = 64;

impl Outlook<'_> {
    /// From the times of first tokens, of which a share must come within the limit.
    pub fn by_curve(&self) -> Forecast {
        let Some(longest) = self.longest() else {
            return Forecast { ceiling: 1, low: 0, high: self.cap + 1, blind: f64::INFINITY };
        };
        let (limit, likely) = (self.sla.ttft.get().ln(), self.needed.likely.min(1.0));
        let ceiling = |curve: &Curve, limit: f64, needed: f64, near: u32| {
            curve.ceiling(self.machine, limit, needed, self.machine.spread(near), self.cap)
        };
        let rough = ceiling(&self.curve(longest, None), limit, likely, u32::MAX);
        // The curve is that of one probe: it is laid through the middle of all where it matters.
        let curve = self.curve(longest, Some(rough.max(1)));
        let middle = ceiling(&curve, limit, likely, rough.max(1));
        let Some(pace) = self.machine.pace.as_ref().filter(|pace| pace.probes() >= 2) else {
            return Forecast { ceiling: middle, low: 0, high: self.cap + 1, blind: 1.0 };
        };
        // By how much the margin of a level may be less and more than it looks. What is left of it at the ceiling itself is no part of the
        // uncertainty.
        let off = |at: u32, looks: f64, needed: f64, probability: f64| {
            let used: Vec<f64> = curve.burst(at).into_iter().map(|time| time - limit).collect();
            let margin = |spread| margin_of(&used, 0, self.machine, needed, spread);
            let posterior = self.machine.posterior(at, Sway::PACE, &[&pace.middle(at)], margin);
            let own = margin_of(&used, 0, self.machine, looks, self.machine.spread(at)).max(0.0);
            posterior.exceeded_with(probability) - own
        };
        let Needed { strict, lax, .. } = self.needed;
        let at = middle.max(1);
        let sure_below =
            |at: u32, looks: f64| ceiling(&curve, limit + off(at, looks, strict, 1.0 - self.miss).min(0.0), looks, at);
        // Where requests wait for others to leave, a level of which just enough are in time is no more sure for a little more time. One of
        // which more are may be.
        let all_but_sure = strict.min(1.0);
        let farther = ceiling(&curve, limit, all_but_sure, at).max(1);
        let low = sure_below(at, likely).max(sure_below(farther, all_but_sure));
        let high = ceiling(&curve, limit + off(at, likely, lax, self.miss).max(0.0), likely, at).saturating_add(1);
        Forecast { ceiling: middle, low: low.min(middle), high: high.max(middle + 1), blind: 1.0 }
    }

    /// From how the stand-in fares, brought into line with the levels that were probed; at `guess` where there is none.
    pub fn by_levels(&self, levels: &BTreeMap<u32, Level>, guess: f64) -> Forecast {
        let guess = (guess as u32).clamp(1, self.cap);
        let around = |ceiling| Forecast { ceiling, low: ceiling, high: ceiling + 1, blind: f64::INFINITY };
        if !self.stand_in.is_known() || levels.is_empty() && !self.machine.is_steady() {
            return around(guess);
        }
        let foretold = Foretold::new(self.stand_in, self.machine, self.sla_index, self.needed, levels);
        let passes = |level: &&Level| {
            let spread = level.pace_spread(self.machine);
            level.margin(self.machine, self.needed.likely, spread, Unknown::Late) >= 0.0
        };
        let start = levels.values().rfind(passes).map_or(guess, |level| level.concurrency);
        let grain = if self.stand_in.is_exact() { Grain::Request } else { Grain::Fiftieth };
        let holds = |level: u32| foretold.holds(level);
        let (mut ceiling, _) = grain.edge(grain.below(start), self.cap, holds);
        if self.stand_in.is_exact() {
            // A level may fail below one that passes, where just as many end together, or where more wait for a seat in vain.
            let is_looked_at = |level: &u32| *level + DIPS >= ceiling || Grain::Fiftieth.below(*level) == *level;
            if let Some(dip) = (1..ceiling).filter(is_looked_at).find(|level| !holds(*level)) {
                let before = (1..dip).rev().find(is_looked_at).unwrap_or(0);
                ceiling = (before + 1..dip).find(|level| !holds(*level)).unwrap_or(dip) - 1;
            }
        }
        let apart = |level: &u32| (f64::from(*level) / f64::from(ceiling.max(1))).ln().abs();
        let nearest = levels.keys().min_by(|a, b| apart(a).total_cmp(&apart(b)));
        let blind = match nearest {
            _ if self.stand_in.is_exact() => 1.0,
            Some(nearest) => apart(nearest).exp(),
            None => f64::INFINITY,
        };
        if self.machine.is_steady() {
            let (low, _) = grain.edge(ceiling, self.cap, |level| foretold.holds_strictly(level));
            return Forecast { blind, low: low.min(ceiling), ..around(ceiling) };
        }
        let Some(nearest) = nearest.filter(|_| !self.machine.beliefs().is_empty()) else {
            return Forecast { blind, ..around(ceiling) };
        };
        // A probe will stand about as the nearest one does.
        let calm = Standing::default();
        let standing = levels[nearest].standing().unwrap_or(&calm);
        let edge = |needed: f64, probability: f64| {
            grain.edge(ceiling, self.cap, |level| foretold.sureness(level, needed, standing) >= probability)
        };
        let (low, _) = edge(self.needed.strict, 1.0 - self.miss);
        let (_, high) = edge(self.needed.lax, self.miss);
        Forecast { ceiling, low: low.min(ceiling), high: high.max(ceiling + 1), blind }
    }

    /// The probe that shows most of the curve: of those with as many first tokens the one that waited longest for another.
    fn longest(&self) -> Option<&Seen> {
        let waited = |seen: &Seen| if seen.probe.is_complete() { 0.0 } else { seen.left_after() };
        let shows =
            |a: &&Seen, b: &&Seen| a.opening().len().cmp(&b.opening().len()).then(waited(a).total_cmp(&waited(b)));
        self.seen.iter().max_by(shows)
    }

    /// The curve of the probe that shows most of it; for bursts of about this size, and through the middle of all probes at this rank, where
    /// it is known.
    fn curve(&self, longest: &Seen, size: Option<u32>) -> Curve {
        let rank = size.unwrap_or(u32::MAX);
        let later = size.map_or(0.0, |size| longest.later(size));
        let slower = self
            .machine
            .pace
            .as_ref()
            .map_or(0.0, |pace| longest.standing(pace, Judged::FirstTokens, rank.max(pace.first_rank())).slower);
        let (complete, certain) = (longest.probe.is_complete(), self.machine.is_steady());
        let sizes = self.machine.pace.iter().flat_map(Pace::sizes).map(|(size, time)| (f64::from(size), time));
        let opening: Vec<f64> = longest.opening().iter().map(|time| time + later).collect();
        let curve = Curve::new(&opening, slower, complete, self.prompts_per_step, certain);
        curve.left_after(longest.left_after() + later, slower).with_sizes(sizes)
    }

    /// As many as are served within this time, in seconds.
    pub fn served_within(&self, seconds: f64) -> f64 {
        let longest = self.longest();
        longest.map_or(1.0, |longest| self.curve(longest, None).done_by(seconds.ln())).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_is_brought_between_the_bounds_and_never_creeps_along_one() {
        let table = [
            ((50, 40, 60), 50),
            // Just overtaken: mended by about twice that.
            ((38, 40, 60), 41),
            ((62, 40, 60), 57),
            // So far off that it tells nothing.
            ((10, 40, 60), 50),
            ((182, 69, 118), 93),
            ((182, 94, 96), 95),
            ((182, 95, 96), 95),
        ];
        for ((ceiling, floor, top), expected) in table {
            let forecast = Forecast { ceiling, low: ceiling, high: ceiling + 1, blind: 1.0 };
            assert_eq!(forecast.between(floor, top), expected, "{ceiling} between {floor} and {top}");
        }
    }
}
