//! Where the ceiling of an SLA is likely to be.

use std::collections::BTreeMap;

use super::curve::Curve;
use super::level::{Level, Machine, Unknown};
use super::line::{Bend, Line, Point, WhenFull};
use super::observation::Half;
use super::pace::{Judged, Pace};
use super::seen::{Needed, Seen};
use crate::load::Load;
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
    /// The engine's token budget in prompts, where it is known.
    pub prompts_per_step: Option<f64>,
    pub load: Load,
    pub sla: &'a Sla,
    /// The level from which on the engine is full, where it is known.
    pub full: Option<u32>,
}

impl Outlook<'_> {
    /// From the times of first tokens, of which a share must come within the limit.
    pub fn by_curve(&self) -> Forecast {
        let Some(longest) = self.longest() else {
            return Forecast { ceiling: 1, low: 0, high: self.cap + 1, blind: f64::INFINITY };
        };
        let (limit, likely) = (self.sla.ttft.get().ln(), self.needed.likely.min(1.0));
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

    /// From the levels that were probed, each half of the SLA by itself; at `guess` where there are none.
    pub fn by_levels(&self, levels: &BTreeMap<u32, Level>, guess: f64) -> Forecast {
        let line = |half: Half| {
            let point = |level: &Level| {
                let spread = self.spread(level.concurrency);
                let margin = level.half_margin(self.machine, self.needed.likely, spread, half)?;
                Some(Point { level: f64::from(level.concurrency), used: (-margin).exp() })
            };
            let points: Vec<Point> = levels.values().filter_map(point).collect();
            (!points.is_empty()).then(|| Line::through(&points, self.bend(half), guess))
        };
        let lines = [Half::First, Half::Later].into_iter().filter_map(line);
        let line = lines.min_by(|a, b| a.ceiling().total_cmp(&b.ceiling()));
        let line = line.unwrap_or_else(|| Line::through(&[], None, guess));
        let ceiling = line.ceiling().clamp(0.0, f64::from(self.cap));
        let (slower, faster) = self.unsure(levels, ceiling);
        let steep = line.steepness();
        Forecast {
            ceiling: (ceiling + 1e-6) as u32,
            low: (ceiling * (-slower / steep).exp() + 1e-6) as u32,
            high: ((ceiling * (faster / steep).exp()) as u32).saturating_add(1).min(self.cap + 1),
            blind: line.reach(),
        }
    }

    /// Where latencies under a sustained load bend, since the engine is full: by Little's law each request more then waits for
    /// one more to leave.
    fn bend(&self, half: Half) -> Option<Bend> {
        let full = f64::from(self.full.filter(|_| self.load == Load::Sustained)?);
        let limit = match half {
            Half::First => Some(self.sla.ttft),
            Half::Later => self.sla.e2e,
        };
        let then = match (limit, self.turnover_when_full(full)) {
            (None, _) => WhenFull::Flat,
            (Some(limit), Some(turnover)) => WhenFull::Queue(1.0 / (turnover * limit.get())),
            (Some(_), None) => WhenFull::Unknown,
        };
        Some(Bend { full, then })
    }

    /// Requests per second that leave an engine that is full. Below that, the life of a request grows in proportion to those
    /// that are decoded with it.
    fn turnover_when_full(&self, full: f64) -> Option<f64> {
        let life = |seen: &Seen| {
            let level = f64::from(seen.concurrency());
            Some(Point { level, used: level / seen.probe.turnover? })
        };
        let mut lives: Vec<Point> = self.seen.iter().filter_map(life).collect();
        lives.sort_by(|a, b| a.level.total_cmp(&b.level));
        if let Some(seen) = lives.iter().find(|life| life.level >= full) {
            return Some(seen.level / seen.used);
        }
        let last = lives.last()?;
        let before = lives.iter().rfind(|life| life.is_apart(last))?;
        let grows = ((last.used - before.used) / (last.level - before.level)).max(0.0);
        Some(full / (last.used + grows * (full - last.level)))
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

    /// The probe that shows most of the curve: of those with as many first tokens the one that waited longest for another.
    fn longest(&self) -> Option<&Seen> {
        let waited = |seen: &Seen| if seen.probe.is_complete() { 0.0 } else { seen.left_after() };
        let shows =
            |a: &&Seen, b: &&Seen| a.opening().len().cmp(&b.opening().len()).then(waited(a).total_cmp(&waited(b)));
        self.seen.iter().max_by(shows)
    }

    /// The curve of the probe that shows most of it, through the middle of all probes at this rank.
    fn curve(&self, longest: &Seen, rank: u32) -> Curve {
        let slower = self
            .machine
            .pace
            .as_ref()
            .map_or(0.0, |pace| longest.standing(pace, Judged::FirstTokens, rank.max(pace.first_rank())).slower);
        let (complete, certain) = (longest.probe.is_complete(), self.machine.is_steady());
        let sizes = self.machine.pace.iter().flat_map(Pace::sizes).map(|(size, time)| (f64::from(size), time));
        let curve = Curve::new(longest.opening(), slower, complete, self.prompts_per_step, certain);
        curve.left_after(longest.left_after(), slower).with_sizes(sizes)
    }

    /// About how much the time of this rank differs from probe to probe.
    fn spread(&self, rank: u32) -> f64 {
        self.machine.beliefs().iter().map(|belief| belief.weight * belief.spread(rank)).sum()
    }

    /// As many as are served within this time, in seconds.
    pub fn served_within(&self, seconds: f64) -> f64 {
        let longest = self.longest();
        longest.map_or(1.0, |longest| self.curve(longest, u32::MAX).done_by(seconds.ln())).max(1.0)
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
