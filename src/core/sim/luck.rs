//! The luck of one probe: everything about it that chance decides.

use rand_distr::{Distribution, LogNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::SimEngine;
use crate::units::Share;

/// The chances that a probe met. The same numbers give the same luck.
#[derive(Clone, Debug)]
pub(super) struct Luck {
    drift: f64,
    step: Option<LogNormal<f64>>,
    error_rate: Share,
    /// Where in the probe it stalls, as a part of its steps.
    pub stall_at: Option<f64>,
    steps: Xoshiro256PlusPlus,
    errors: Xoshiro256PlusPlus,
}

impl Luck {
    /// Keyed by the simulator's seed, the ladder's stream of prompts and the number of the probe in it.
    pub fn new(engine: &SimEngine, seed: u64, stream: u64, probe: u32) -> Self {
        let mut key = blake3::Hasher::new();
        key.update(&seed.to_le_bytes()).update(&stream.to_le_bytes()).update(&probe.to_le_bytes());
        let mut chance = Xoshiro256PlusPlus::from_seed(*key.finalize().as_bytes());
        let drift = factor(engine.probe_drift).map_or(1.0, |drift| drift.sample(&mut chance));
        let stalls = uniform(&mut chance) < engine.stall_rate.get();
        let at = uniform(&mut chance);
        let mut errors = chance.clone();
        errors.jump();
        Self {
            drift,
            step: factor(engine.step_noise),
            error_rate: engine.error_rate,
            stall_at: stalls.then_some(at),
            steps: chance,
            errors,
        }
    }

    /// Whether every step of a kind takes the same time.
    pub fn is_steady(&self) -> bool {
        self.step.is_none()
    }

    /// The factor on the time of the next step.
    pub fn step(&mut self) -> f64 {
        self.drift * self.step.map_or(1.0, |step| step.sample(&mut self.steps))
    }

    /// Whether the engine fails the next request.
    pub fn fails(&mut self) -> bool {
        self.error_rate.get() > 0.0 && uniform(&mut self.errors) < self.error_rate.get()
    }
}

/// A log-normal factor with mean 1 and this standard deviation: never negative, whatever the deviation.
fn factor(deviation: f64) -> Option<LogNormal<f64>> {
    (deviation > 0.0).then(|| LogNormal::from_mean_cv(1.0, deviation).ok()).flatten()
}

/// At least 0 and below 1, to 53 bits.
fn uniform(chance: &mut Xoshiro256PlusPlus) -> f64 {
    (chance.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
