//! What is believed of a quantity that depends on how the machine is, which a few probes do not tell for sure.
//!
//! Each [`Belief`] is one way the machine may be. Under each, a margin (by which factor everything could become slower
//! before too few requests are ok) is normal around its estimate; over all of them it is a [`Posterior`], a mixture. With
//! one split of the variance that mixture is Student's t; with all of them it is wider where the split is in doubt.

use crate::stats::{normal_below, normal_quantile};

/// One way the machine may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belief {
    /// How likely, of all ways together.
    pub weight: f64,
    /// Which of the [`Standing::views`] is its own.
    pub view: usize,
    /// Variance of the logarithm of the time of the first step.
    pub scale: f64,
    /// The part of it that all of a probe shares; the rest is noise that falls with the number of steps.
    pub drift_part: f64,
    /// Prompts of the first step.
    pub first_step: f64,
}

/// The part of the variance of the first step that is left of its noise at this rank: the time of a rank is a sum of steps, and
/// what is served in the first step has the noise of all of it.
pub(super) fn noise(drift_part: f64, first_step: f64, rank: u32) -> f64 {
    (1.0 - drift_part) / (f64::from(rank) / first_step).max(1.0)
}

impl Belief {
    /// Standard deviation of the logarithm of the time of this rank, from probe to probe.
    pub fn spread(&self, rank: u32) -> f64 {
        (self.scale * (self.drift_part + noise(self.drift_part, self.first_step, rank))).sqrt()
    }

    /// The same of what is judged of a level of this size.
    pub fn spread_of(&self, level: u32, sway: Sway) -> f64 {
        let later = |steps| (self.scale * (self.drift_part + self.noise_of(steps))).sqrt();
        sway.steps.map_or_else(|| self.spread(level), later)
    }

    /// The part of the variance of the first step that the noise of so many steps leaves of their sum.
    pub fn noise_of(&self, steps: f64) -> f64 {
        (1.0 - self.drift_part) / steps.max(1.0)
    }
}

/// One probe as the pace sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Logarithm of how much slower it was than the machine is in the middle.
    pub slower: f64,
    /// How each split of the variance sees that.
    pub views: Vec<View>,
}

/// One that is as the machine is in the middle.
pub(super) static CALM: Standing = Standing { slower: 0.0, views: Vec::new() };

/// How probes of one level differ, given how their paces do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sway {
    /// By so much more than their paces, both as logarithms: where a few prompts more decode at the same time, a machine that is a
    /// little slower is much slower.
    pub stretch: f64,
    /// And by so much, as a logarithm, where their paces do not differ: the standard deviation that failures alone make.
    pub churn: f64,
    /// Equal steps whose sum differs as much as what is judged does, where that is a sum of many: what comes after the first token.
    pub steps: Option<f64>,
    /// The part of [`View::noise`] that is in what is judged.
    pub opening: f64,
}

impl Sway {
    /// Of a level that differs as its pace does.
    pub const PACE: Self = Self { stretch: 1.0, churn: 0.0, steps: None, opening: 1.0 };

    /// The spread of the level, of a pace of this spread.
    pub fn spread(&self, pace: f64) -> f64 {
        (self.stretch * pace).hypot(self.churn)
    }
}

/// A probe under one split of the variance. Variances are parts of the scale.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    /// By how much more it was slower than [`Standing::slower`] says.
    pub offset: f64,
    /// Variance that all probes share: that of the middle.
    pub shared: f64,
    /// Variance that is this probe's own and averages out over probes of its level.
    pub own: f64,
    /// The noise of its opening, where what is judged came later.
    pub noise: f64,
}

/// What is believed of a margin.
#[derive(Clone, Debug, Default)]
pub(super) struct Posterior {
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    weight: f64,
    mean: f64,
    error: f64,
}

impl Posterior {
    /// Adds a way it may be.
    pub fn add(&mut self, weight: f64, mean: f64, error: f64) {
        self.parts.push(Part { weight, mean, error });
    }

    /// The probability that the margin is at least this.
    pub fn at_least(&self, value: f64) -> f64 {
        let above = |part: &Part| match part.error > 0.0 {
            true => normal_below((part.mean - value) / part.error),
            false => f64::from(u8::from(part.mean >= value)),
        };
        self.parts.iter().map(|part| part.weight * above(part)).sum()
    }

    /// The value that the margin exceeds with this probability.
    pub fn exceeded_with(&self, probability: f64) -> f64 {
        // It lies among those that its parts exceed with it.
        let z = normal_quantile(1.0 - probability);
        let of_parts = || self.parts.iter().map(|part| (part.mean + z * part.error).clamp(-WIDE, WIDE));
        let mut low = of_parts().fold(WIDE, f64::min);
        let mut high = of_parts().fold(-WIDE, f64::max);
        let least_error = self.parts.iter().map(|part| part.error).fold(f64::INFINITY, f64::min);
        let precision = PRECISE.max(least_error * ERROR_PRECISION);
        while high - low > precision {
            let middle = (low + high) / 2.0;
            if self.at_least(middle) >= probability { low = middle } else { high = middle }
        }
        low
    }
}

/// Margins are logarithms: none beyond this matters.
const WIDE: f64 = 8.0;
/// And none finer than this, or than this part of the least error.
const PRECISE: f64 = 1e-4;
const ERROR_PRECISION: f64 = 1.0 / 64.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_normal_has_the_quantiles_of_the_tables() {
        let mut posterior = Posterior::default();
        posterior.add(1.0, 0.5, 0.1);
        assert!((posterior.exceeded_with(0.975) - (0.5 - 0.196)).abs() < 2e-4);
        assert!((posterior.exceeded_with(0.025) - (0.5 + 0.196)).abs() < 2e-4);
        assert!((posterior.at_least(0.5) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_may_be_one_of_two_is_exceeded_by_what_both_together_exceed() {
        let mut posterior = Posterior::default();
        posterior.add(0.25, 0.0, 0.02);
        posterior.add(0.75, 1.0, 0.1);
        for probability in [0.05, 0.5, 0.74, 0.76, 0.975] {
            let value = posterior.exceeded_with(probability);
            let (least, most) = (posterior.at_least(value + 4e-4), posterior.at_least(value));
            assert!(least < probability && probability <= most, "{probability}: {least} to {most} at {value}");
        }
    }

    #[test]
    fn what_is_certain_is_a_step() {
        let mut posterior = Posterior::default();
        posterior.add(1.0, 0.25, 0.0);
        assert_eq!((posterior.at_least(0.25), posterior.at_least(0.2501)), (1.0, 0.0));
        assert!((posterior.exceeded_with(0.975) - 0.25).abs() < 2e-4);
    }
}
