//! How much a search spent, against the least that could prove its answers.

use std::collections::BTreeSet;

use crate::search::{Answer, Status};

use super::ProbeRecord;

/// Engine-seconds of all probes over those of the certificate: one probe at `highest_pass` and one at `lowest_fail`
/// of every cell, a probe that serves two cells counting once. A level measured several times counts its mean.
///
/// `None` where no cell has a bracket, or where the certificate cost nothing.
pub fn certificate_ratio(probes: &[ProbeRecord], answers: &[Answer]) -> Option<f64> {
    let proven = answers.iter().filter(|answer| answer.status != Status::Failed);
    let bounds: BTreeSet<_> = proven.flat_map(|answer| [answer.highest_pass, answer.lowest_fail]).flatten().collect();
    let mean_at = |level| {
        let costs: Vec<f64> =
            probes.iter().filter(|probe| probe.concurrency == level).map(|probe| probe.seconds.get()).collect();
        (!costs.is_empty()).then(|| costs.iter().sum::<f64>() / costs.len() as f64)
    };
    let certificate: f64 = bounds.into_iter().map(mean_at).sum::<Option<f64>>()?;
    let spent: f64 = probes.iter().map(|probe| probe.seconds.get()).sum();
    (certificate > 0.0).then(|| spent / certificate)
}
