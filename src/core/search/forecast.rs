//! Where the ceiling of an SLA is likely to be.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::belief::CALM;
use super::curve::Curve;
use super::edge::Grain;
use super::foretold::Foretold;
use super::level::{Level, Machine};
use super::pace::{Judged, Pace};
use super::reach::Reach;
use super::seen::{Needed, Seen};
use super::stand_in::StandIn;
use crate::sla::Sla;

/// Where to look for the ceiling of one SLA.
pub(super) struct Forecast<'a> {
    pub ceiling: u32,
    /// The highest level that is sure to pass, and the lowest that is sure to fail, as far as can be foretold.
    pub low: Found<'a>,
    pub high: Found<'a>,
    /// Between how far apart levels it was foretold; 1 where the curve was seen all the way.
    pub blind: f64,
}

/// A level that is found when it is first asked for: after most probes, of most SLAs nobody asks.
pub(super) type Found<'a> = LazyCell<u32, Box<dyn FnOnce() -> u32 + 'a>>;

fn found<'a>(find: impl FnOnce() -> u32 + 'a) -> Found<'a> {
    LazyCell::new(Box::new(find))
}

impl<'a> Forecast<'a> {
    /// With bounds that are known.
    fn within(low: u32, ceiling: u32, high: u32, blind: f64) -> Self {
        Self { ceiling, low: found(move || low), high: found(move || high), blind }
    }

    /// Whether this level may be the ceiling.
    pub fn spans(&self, level: u32) -> bool {
        if level <= self.ceiling { *self.low <= level } else { level <= *self.high }
    }

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
#[derive(Clone, Copy)]
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
const DIPS: u32 = 1024;

impl<'a> Outlook<'a> {
    /// From the times of first tokens, of which a share must come within the limit.
    pub fn by_curve(self) -> Forecast<'a> {
        let Some(longest) = self.longest() else { return Forecast::within(0, 1, self.cap + 1, f64::INFINITY) };
        let (limit, likely) = (self.sla.ttft.get().ln(), self.needed.likely.min(1.0));
        let ceiling =
            |curve: &Curve, near: u32| curve.ceiling(self.machine, limit, likely, self.machine.spread(near), self.cap);
        let rough = ceiling(&self.curve(longest, None), u32::MAX);
        // The curve is that of one probe: it is laid through the middle of all where it matters.
        let curve = self.curve(longest, Some(rough.max(1)));
        let middle = ceiling(&curve, rough.max(1));
        let Some(pace) = self.machine.pace.as_ref().filter(|pace| pace.probes() >= 2) else {
            return Forecast::within(0, middle, self.cap + 1, 1.0);
        };
        let Self { machine, needed, miss, cap, .. } = self;
        let reach = Rc::new(Reach { machine, pace, curve, limit, needed, miss, cap, ceiling: middle });
        let below = Rc::clone(&reach);
        Forecast { ceiling: middle, low: found(move || below.low()), high: found(move || reach.high()), blind: 1.0 }
    }

    /// From how the stand-in fares, brought into line with the levels that were probed; at `guess` where there is none.
    pub fn by_levels(self, levels: &BTreeMap<u32, Level<'a>>, guess: f64) -> Forecast<'a> {
        let (machine, cap) = (self.machine, self.cap);
        let guess = (guess as u32).clamp(1, cap);
        let around = |ceiling: u32, blind: f64| Forecast::within(ceiling, ceiling, ceiling + 1, blind);
        if !self.stand_in.is_known() || levels.is_empty() && !machine.is_steady() {
            return around(guess, f64::INFINITY);
        }
        let foretold = Foretold::new(self.stand_in, machine, self.sla_index, self.needed, levels);
        let passes = |level: &&Level| level.likely(machine) >= 0.0;
        let start = levels.values().rfind(passes).map_or(guess, |level| level.concurrency);
        let grain = if self.stand_in.is_exact() { Grain::Request } else { Grain::Fiftieth };
        let (edge, _) = grain.edge(grain.below(start), cap, |level| foretold.holds(level));
        let ceiling = if self.stand_in.is_exact() { below_dips(&foretold, edge) } else { edge };
        let apart = |level: &u32| (f64::from(*level) / f64::from(ceiling.max(1))).ln().abs();
        let nearest = levels.keys().min_by(|a, b| apart(a).total_cmp(&apart(b)));
        let blind = match nearest {
            _ if self.stand_in.is_exact() => 1.0,
            Some(nearest) => apart(nearest).exp(),
            None => f64::INFINITY,
        };
        if machine.is_steady() {
            let low = move || grain.edge(ceiling, cap, |level| foretold.holds_strictly(level)).0.min(ceiling);
            return Forecast { low: found(low), ..around(ceiling, blind) };
        }
        let Some(nearest) = nearest.filter(|_| !machine.beliefs().is_empty()) else { return around(ceiling, blind) };
        // A probe will stand about as the nearest one does.
        let standing = levels[nearest].standing().unwrap_or(&CALM);
        let edge = Rc::new(move |needed: f64, probability: f64| {
            grain.edge(ceiling, cap, |level| foretold.sureness(level, needed, standing) >= probability)
        });
        let (Needed { strict, lax, .. }, miss, below) = (self.needed, self.miss, Rc::clone(&edge));
        Forecast {
            ceiling,
            low: found(move || below(strict, 1.0 - miss).0.min(ceiling)),
            high: found(move || edge(lax, miss).1.max(ceiling + 1)),
            blind,
        }
    }

    /// The probe that shows most of the curve: of those with as many first tokens the one that waited longest for another.
    fn longest(&self) -> Option<&'a Seen> {
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

/// The highest level up to this one below which none is foretold to fail by an engine that is known exactly: under a level that passes one may
/// fail, where just as many end together, or where more wait for a seat in vain.
fn below_dips(foretold: &Foretold, ceiling: u32) -> u32 {
    let is_looked_at = |level: &u32| *level + DIPS >= ceiling || Grain::Fiftieth.below(*level) == *level;
    let fails = |level: &u32| !foretold.holds(*level);
    let Some(dip) = (1..ceiling).filter(is_looked_at).find(fails) else { return ceiling };
    let before = (1..dip).rev().find(is_looked_at).unwrap_or(0);
    (before + 1..dip).find(fails).unwrap_or(dip) - 1
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
            let forecast = Forecast::within(ceiling, ceiling, ceiling + 1, 1.0);
            assert_eq!(forecast.between(floor, top), expected, "{ceiling} between {floor} and {top}");
        }
    }
}
