//! What the least evidence for a ladder's answers costs: one probe at each published bound.

use super::Answer;
use crate::units::{Concurrency, Seconds};
use crate::watch::Until;

/// Engine time of a certificate: one probe at `highest_pass` and one at `lowest_fail` of every cell, where a probe that
/// serves two cells counts once. A probe takes what those that were made at its level took on average, those for
/// first tokens alone left out where there are others.
///
/// `None` where no bound was found. The certificate ratio of a ladder is the engine time of all its probes over this.
pub fn certificate_seconds(answers: &[Answer], probes: &[(Concurrency, Until, Seconds)]) -> Option<Seconds> {
    let mut bounds: Vec<Concurrency> =
        answers.iter().flat_map(|answer| [answer.highest_pass, answer.lowest_fail]).flatten().collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mean = |costs: Vec<f64>| (!costs.is_empty()).then(|| costs.iter().sum::<f64>() / costs.len() as f64);
    let cost = |bound: &Concurrency| {
        let at = || probes.iter().filter(|(level, ..)| level == bound);
        let whole = at().filter(|(_, until, _)| *until != Until::FirstTokens);
        mean(whole.map(|(.., seconds)| seconds.get()).collect())
            .or_else(|| mean(at().map(|(.., seconds)| seconds.get()).collect()))
            .unwrap_or_default()
    };
    let total: f64 = bounds.iter().map(cost).sum();
    Seconds::new(total).filter(|total| *total > Seconds::ZERO)
}
