//! How far from the ceiling that its curve foretells for a burst levels are sure to pass, and to fail.

use super::belief::{Posterior, Sway};
use super::curve::Curve;
use super::level::{Machine, margin_of};
use super::pace::Pace;
use super::seen::Needed;

/// What is foretold of one SLA on the first token.
pub(super) struct Reach<'a> {
    pub machine: &'a Machine,
    pub pace: &'a Pace,
    pub curve: Curve,
    /// Logarithm of the limit, in seconds.
    pub limit: f64,
    pub needed: Needed,
    /// The probability with which either bound may be wrong.
    pub miss: f64,
    pub cap: u32,
    pub ceiling: u32,
}

impl Reach<'_> {
    /// The highest level that is sure to pass.
    pub fn low(&self) -> u32 {
        let Needed { strict, likely, .. } = self.needed;
        let sure_below = |at: u32, looks: f64| {
            let off = self.off(at, looks, strict, 1.0 - self.miss).min(0.0);
            self.served(at, self.limit + off, looks)
        };
        // Where requests wait for others to leave, a level of which just enough are in time is no more sure for a little more time. One of
        // which more are may be.
        let all_but_sure = strict.min(1.0);
        let farther = self.served(self.at(), self.limit, all_but_sure).max(1);
        sure_below(self.at(), likely.min(1.0)).max(sure_below(farther, all_but_sure)).min(self.ceiling)
    }

    /// The lowest level that is sure to fail.
    pub fn high(&self) -> u32 {
        let (at, likely) = (self.at(), self.needed.likely.min(1.0));
        let off = self.off(at, likely, self.needed.lax, self.miss).max(0.0);
        self.served(at, self.limit + off, likely).saturating_add(1).max(self.ceiling + 1)
    }

    fn at(&self) -> u32 {
        self.ceiling.max(1)
    }

    /// The highest level of which a share of `needed` is served within this limit, where the machine is spread as it is at a level near it.
    fn served(&self, near: u32, limit: f64, needed: f64) -> u32 {
        self.curve.ceiling(self.machine, limit, needed, self.machine.spread(near), self.cap)
    }

    /// By how much the margin of this level, which `looks` in time as much as is needed there, may be more than it looks: that is exceeded with
    /// this probability. What is left of it at the ceiling itself is no part of the uncertainty.
    fn off(&self, at: u32, looks: f64, needed: f64, probability: f64) -> f64 {
        let used: Vec<f64> = self.curve.burst(at).into_iter().map(|time| time - self.limit).collect();
        let margin = |needed: f64, spread: f64| margin_of(&used, 0, self.machine, needed, spread);
        let middle = self.pace.middle(at);
        let posterior: Posterior = self.machine.posterior(at, Sway::PACE, &[&middle], |spread| margin(needed, spread));
        posterior.exceeded_with(probability) - margin(looks, self.machine.spread(at)).max(0.0)
    }
}
