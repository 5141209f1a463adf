//! Levels that fail below others that pass.
//!
//! Under a sustained load, and under limits on later tokens, how a level fares hangs on which requests share a step and end together, so
//! that every level below the edge is looked at, with as few repetitions as tell.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use super::{FINE, Requests, Truth};
use crate::sim::{SimEngine, SimSession};
use crate::units::{Concurrency, Seconds};

/// Repetitions after which a level may be told from the rate, if it is off by more than this many standard errors.
const GLANCES: [u32; 3] = [16, 128, 512];
const SURE: f64 = 4.0;
/// A level of which no probe has lost a request may yet be one of which few probes lose all. It passes after so many times the probes of
/// which one more than are allowed would fail: one time in fifty none of them has, where just too many do.
const NONE_LOST: f64 = 4.0;
/// Nor is it looked at as often where all are ok on a machine that is slower by this many times what one step differs by.
const SLOWER: f64 = 3.0;

/// The levels up to these edges, by SLA, below which none fails.
pub(super) fn below_dips(truth: &Truth, engine: SimEngine, edges: Vec<u32>) -> Vec<u32> {
    let differs = engine.probe_drift.hypot(engine.step_noise);
    let slow = Truth { session: SimSession::new(engine.slower((SLOWER * differs).exp()), 0), ..*truth };
    let ceilings: Vec<AtomicU32> = edges.into_iter().map(AtomicU32::new).collect();
    let top = ceilings.iter().map(|edge| edge.load(Ordering::Relaxed)).max().unwrap_or(0);
    (1..top).into_par_iter().filter_map(Concurrency::new).for_each(|level| {
        let is_below = |sla: &usize| level.get() < ceilings[*sla].load(Ordering::Relaxed);
        for sla in failing(truth, &slow, level, (0..ceilings.len()).filter(is_below).collect()) {
            ceilings[sla].fetch_min(level.get() - 1, Ordering::Relaxed);
        }
    });
    ceilings.into_iter().map(AtomicU32::into_inner).collect()
}

/// Of these SLAs, those that fail at a level.
fn failing(truth: &Truth, slow: &Truth, level: Concurrency, mut open: Vec<usize>) -> Vec<usize> {
    let mut failing = Vec::new();
    let mut look = |truth: &Truth, repetitions: u32, tells: &dyn Fn(&[Requests], f64) -> Option<bool>| {
        if open.is_empty() {
            return;
        }
        let probes: Vec<Vec<Requests>> =
            (0..repetitions).into_par_iter().map(|one| truth.requests(level, one)).collect();
        open.retain(|sla| {
            let shown: Vec<Requests> = probes.iter().map(|probe| probe[*sla]).collect();
            let told = tells(&shown, truth.slas[*sla].ok_rate.get());
            failing.extend((told == Some(false)).then_some(*sla));
            told.is_none()
        });
    };
    look(slow, GLANCES[0], &|shown, _| shown.iter().all(|probe| probe.share() >= 1.0).then_some(true));
    for repetitions in GLANCES {
        look(truth, repetitions, &told);
    }
    failing.extend(open.into_iter().filter(|sla| !truth.passes(*sla, level.get(), FINE)));
    failing
}

/// Whether a level of which these probes were made passes; `None` where they leave it open.
fn told(shown: &[Requests], rate: f64) -> Option<bool> {
    let count = shown.len() as f64;
    let shares = || shown.iter().map(|probe| probe.share());
    if shares().all(|share| share >= 1.0) {
        return (count * (1.0 - rate) >= NONE_LOST).then_some(true);
    }
    let mean = shares().sum::<f64>() / count;
    let variance = shares().map(|share| (share - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let off = mean - rate;
    (off.abs() > SURE * (variance / count).sqrt() + 1e-9).then_some(off > 0.0)
}

impl SimEngine {
    /// The same engine where everything takes this many times as long.
    fn slower(self, times: f64) -> Self {
        let longer = |time: Seconds| Seconds::new(time.get() * times).unwrap_or(time);
        Self {
            prefill_tokens_per_second: self.prefill_tokens_per_second / times,
            decode_step: longer(self.decode_step),
            decode_step_per_sequence: longer(self.decode_step_per_sequence),
            request_time: longer(self.request_time),
            ..self
        }
    }
}
