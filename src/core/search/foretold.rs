//! What the stand-in foretells of levels, once it is brought into line with those that were probed.

use std::collections::BTreeMap;

use super::belief::{Standing, Sway};
use super::level::{Level, Machine};
use super::offsets::Offsets;
use super::seen::Needed;
use super::stand_in::StandIn;

/// Margins up to this, as a logarithm, tell how far apart two engines are.
const COMPARABLE: f64 = 1.9;
/// Up to this level all of them are looked at for one that fails below it, and beyond it so many: each is simulated.
const ALL_UP_TO: u32 = 64;
const SO_FAR_BELOW: u32 = 16;
/// Levels below one that passes are taken to pass from this probability on, and to fail below that one.
const LIKELY: f64 = 0.9;
const UNLIKELY: f64 = 0.1;

/// What is foretold of the levels of one SLA. Margins are logarithms (see [`Level::margin`]).
pub(super) struct Foretold<'a> {
    stand_in: &'a StandIn,
    machine: &'a Machine,
    sla: usize,
    needed: Needed,
    offsets: Offsets,
}

impl<'a> Foretold<'a> {
    /// For the SLA of this index, of which `levels` were probed.
    pub fn new(
        stand_in: &'a StandIn,
        machine: &'a Machine,
        sla: usize,
        needed: Needed,
        levels: &BTreeMap<u32, Level>,
    ) -> Self {
        let mut foretold = Self { stand_in, machine, sla, needed, offsets: Offsets::default() };
        // One that is exact is taken at its word: a probe that was left early shows less of its level.
        if stand_in.is_exact() {
            return foretold;
        }
        let both =
            levels.values().map(|level| (level.concurrency, level.likely(machine), foretold.likely(level.concurrency)));
        let comparable = both.filter(|(_, measured, foretold)| measured.abs().max(foretold.abs()) < COMPARABLE);
        let offsets =
            Offsets::new(comparable.map(|(level, measured, foretold)| (level, measured - foretold)).collect());
        foretold.offsets = offsets;
        foretold
    }

    /// Whether enough requests of a level are likely to be ok.
    pub fn holds(&self, level: u32) -> bool {
        self.likely(level) >= 0.0
    }

    /// As [`holds`](Self::holds) on a machine without spread, with as many failures and stalls as there may be.
    pub fn holds_strictly(&self, level: u32) -> bool {
        self.margin(level, self.needed.strict, 0.0) + self.offsets.at(level) >= 0.0
    }

    fn likely(&self, level: u32) -> f64 {
        let sway = self.sway(level);
        let spread = sway.stretch * self.machine.spread_of(level, sway);
        self.margin(level, self.needed.likely, spread) + self.offsets.at(level)
    }

    /// How sure a probe of this level that stands so would make it that `needed` of its requests are ok.
    pub fn sureness(&self, level: u32, needed: f64, standing: &Standing) -> f64 {
        let sway = self.sway(level);
        let margin = |spread| self.margin(level, needed, sway.stretch * spread);
        self.machine.posterior(level, sway, &[standing], margin).at_least(-self.offsets.at(level))
    }

    /// Of the levels below one that passes, those that are `open`: the lowest that is foretold to fail, else the one that is the least likely to
    /// pass, where that is not likely enough.
    pub fn dip(&self, pass: u32, standing: &Standing, open: impl Fn(u32) -> bool) -> Option<u32> {
        let lowest = if pass <= ALL_UP_TO { 1 } else { pass.saturating_sub(SO_FAR_BELOW) };
        let mut worst = None;
        let mut least = LIKELY;
        for level in (lowest..pass).filter(|level| open(*level)) {
            let passes = self.sureness(level, self.needed.likely, standing);
            if passes < UNLIKELY {
                return Some(level);
            }
            if passes < least {
                (worst, least) = (Some(level), passes);
            }
        }
        worst
    }

    fn margin(&self, level: u32, needed: f64, spread: f64) -> f64 {
        self.stand_in.margin(self.machine, level, self.sla, needed, spread)
    }

    fn sway(&self, level: u32) -> Sway {
        self.stand_in.sway(level, self.sla, self.needed.likely)
    }
}
