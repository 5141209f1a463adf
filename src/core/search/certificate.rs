//! What the least evidence for a ladder's answers costs: one probe at each published bound.

use super::Answer;
use crate::units::{Concurrency, Seconds};

/// Engine time of a certificate: one probe at `highest_pass` and one at `lowest_fail` of every cell, where a probe that
/// serves two cells counts once. A probe takes what those that were made at its level took on average.
///
/// `None` where no bound was found. The certificate ratio of a ladder is the engine time of all its probes over this.
pub fn certificate_seconds(answers: &[Answer], probes: &[(Concurrency, Seconds)]) -> Option<Seconds> {
    let mut bounds: Vec<Concurrency> =
        answers.iter().flat_map(|answer| [answer.highest_pass, answer.lowest_fail]).flatten().collect();
    bounds.sort_unstable();
    bounds.dedup();
    let cost = |bound: &Concurrency| {
        let at: Vec<f64> =
            probes.iter().filter(|(level, _)| level == bound).map(|(_, seconds)| seconds.get()).collect();
        at.iter().sum::<f64>() / at.len().max(1) as f64
    };
    let total: f64 = bounds.iter().map(cost).sum();
    Seconds::new(total).filter(|total| *total > Seconds::ZERO)
}
