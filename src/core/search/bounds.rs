//! Where to probe for a bound.

use super::evidence::{Evidence, Sight};
use super::level::{Machine, Unknown};

/// Levels no farther from the aim than this, as a logarithm, are its neighbours: where one stays open, the next probe goes farther out.
const NEIGHBOUR: f64 = 0.25;
/// How much farther out than it must be a bound is probed, as a part of the least width of the bracket: the probe itself
/// moves the estimate.
const SLACK: f64 = 0.06;
/// Part of the way to a better bound that a probe must go to be worth it.
const GAIN: f64 = 0.4;
/// Part of the bracket that a probe must take off it to be worth it.
const NARROWING: f64 = 0.2;
/// How often a bound that is not there yet is tried for at one level.
const TRIES: usize = 3;

/// What stands of one SLA, and what is foretold between it.
pub(super) struct Bounds<'a, 'b> {
    pub evidence: &'a Evidence,
    pub machine: &'a Machine,
    pub sight: &'a Sight<'b>,
    /// The lower bound, or 0.
    pub floor: u32,
    /// The upper bound, or one more than may be probed.
    pub top: u32,
    /// Where the ceiling is likely to be.
    pub ceiling: u32,
    /// A bracket wider than this is worth a probe that takes anything off it.
    pub wide: u32,
}

/// On which side of the ceiling a bound is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Below,
    Above,
}

impl Side {
    fn farther(self, a: u32, b: u32) -> u32 {
        match self {
            Self::Below => a.min(b),
            Self::Above => a.max(b),
        }
    }

    /// A level farther out by this logarithm, by one request at least.
    fn beyond(self, level: u32, by: f64) -> u32 {
        match self {
            Self::Below => ((f64::from(level) * (-by).exp()) as u32).min(level.saturating_sub(1)),
            Self::Above => ((f64::from(level) * by.exp()).ceil() as u32).max(level + 1),
        }
    }
}

impl Bounds<'_, '_> {
    /// The highest level that is expected to pass for sure, and the lowest to fail, between those that stand.
    pub fn foretold(&self) -> (u32, u32) {
        let &Self { machine, sight, floor, top, ceiling, .. } = self;
        let forecast = &sight.forecast;
        if !machine.is_steady() {
            return ((*forecast.low).clamp(floor, ceiling), (*forecast.high).clamp(ceiling + 1, top));
        }
        // Below the ceiling only where something is set aside for bad luck.
        let low = if sight.needed.strict > sight.needed.likely { *forecast.low } else { ceiling };
        (low.clamp(floor, ceiling), ceiling + 1)
    }

    /// Where to probe for bounds that are expected there, between those that stand.
    pub fn aims(&self, low: u32, high: u32) -> (u32, u32) {
        let width = |low: u32| self.evidence.settings.resolution.width_at(low.max(1));
        // There is no level below one to be probed instead.
        let lowest = low.min(1).max(self.floor);
        let (low, high) = if high - low <= width(low) {
            // What the resolution leaves goes below, since bad luck that no probe has met yet lowers a ceiling; to both
            // sides where a part of it was set aside for that already.
            let least = (lowest..low).rev().take_while(|lower| high - lower <= width(*lower)).last().unwrap_or(low);
            let low = if self.machine.is_steady() { least } else { low - (low - least).div_ceil(2) };
            (low, high.max(low + width(low)))
        } else {
            let slack = (f64::from(high - low) * SLACK).round() as u32;
            (low.saturating_sub(slack), high + slack)
        };
        (low.max(lowest), high.min(self.top))
    }

    /// The level to probe for a bound on this side: the one that is aimed at, or one farther out where levels nearer to
    /// the ceiling stay open; `None` where that gains little over the bound that stands.
    pub fn approach(&self, side: Side, aim: u32) -> Option<u32> {
        let &Self { evidence, machine, sight, floor, top, ceiling, wide } = self;
        let (mut target, mut open) = (aim, 0.0);
        for (tried, level) in sight.levels.range(floor + 1..top.max(floor + 1)) {
            let other_side = (*tried > ceiling) == (side == Side::Below);
            let far_off = (f64::from(*tried) / f64::from(aim.max(1))).ln().abs() > NEIGHBOUR;
            if other_side || far_off || machine.beliefs().is_empty() {
                continue;
            }
            let missing = match side {
                Side::Below => {
                    -level.posterior(machine, sight.needed.strict, Unknown::Failed).exceeded_with(1.0 - evidence.miss())
                }
                Side::Above => level.posterior(machine, sight.needed.lax, Unknown::Ok).exceeded_with(evidence.miss()),
            };
            open += 1.0;
            let farther = (missing * (1.0 + SLACK * open)).clamp(0.0, 0.5);
            target = side.farther(target, side.beyond(*tried, farther));
        }
        let (wanted, gained, first) = match side {
            Side::Below => (aim - floor, target.saturating_sub(floor), floor == 0),
            Side::Above => (top - aim, top.saturating_sub(target), top > evidence.cap()),
        };
        if first {
            let target = target.clamp(floor + 1, (top - 1).max(floor + 1)).min(evidence.cap());
            return (wanted > 0 && evidence.tries(target) < TRIES).then_some(target);
        }
        let both = floor > 0 && top <= evidence.cap();
        let least = match () {
            () if machine.is_steady() || top - floor > wide => 0.0,
            () if both => (NARROWING * f64::from(top - floor)).max(GAIN * f64::from(wanted)),
            () => GAIN * f64::from(wanted),
        };
        (gained > 0 && f64::from(gained) >= least).then_some(target)
    }
}
