//! How the variance of the pace splits into drift, which all of a probe shares, and noise, which single steps add.
//!
//! The restricted likelihood of the splits has a peak, which is the sharper the more was probed. Beside it lie splits that find too much drift, since
//! they take the noise for some of it, or too little: the ranks of a probe are many, and what they differ by is noise.

use super::belief::noise;
use super::pace::Data;

/// Odds of drift against noise in the variance of the first step, as natural logarithms: up to where steps differ by a thousandth of
/// what probes do, and farther where that is the likeliest.
const LOG_ODDS: [f64; 14] = [13.8, 11.5, 9.2, 6.9, 4.6, 2.2, 1.1, 0.2, -0.6, -1.4, -2.2, -3.2, -4.4, -5.8];
const MOST_LOG_ODDS: f64 = 21.0;
/// Splits are looked at closely where the misfit (see [`Split::misfit`]) bends by more than this from one to the next.
const BENT: f64 = 4.0;
/// But no more closely than this, in their odds.
const CLOSEST: f64 = 0.05;
/// Splits less likely than the likeliest by this factor are not kept.
const UNLIKELY: f64 = 0.02;
/// No step is as like the other as this, as a part of the time that it takes.
const LEAST_NOISE: f64 = 1e-5;

/// The estimate for one split of the variance. Variances are parts of the scale.
#[derive(Clone, Debug)]
pub(super) struct Split {
    log_odds: f64,
    /// The part of the variance of the first step that all of a probe shares.
    pub drift_part: f64,
    /// Prompts of the first step.
    pub first_step: f64,
    /// Logarithm of the time of each knot.
    pub curve: Vec<f64>,
    /// Variance of each value of the curve.
    pub uncertainty: Vec<f64>,
    /// Variance of the logarithm of the time of the first step, and the degrees of freedom that it was estimated with.
    pub scale: f64,
    pub degrees: f64,
    /// Minus twice the restricted log-likelihood, up to a constant.
    misfit: f64,
}

impl Split {
    /// By generalised least squares (see [`pace`](super::pace)).
    fn new(data: &Data, log_odds: f64) -> Self {
        let first_step = data.first_step;
        let drift_part = 1.0 / (1.0 + (-log_odds).exp());
        let noise = |rank: u32| noise(drift_part, first_step, rank);
        let (ranks, sizes) = data.knots.split_at(data.knots.len() - data.sizes.len());
        let root = cholesky(ranks.len(), |a, b| drift_part + noise(ranks[a].rank().max(ranks[b].rank())));
        let white: Vec<Vec<f64>> = data.ranks.iter().map(|values| forward(&root, values)).collect();
        let mut means = vec![0.0; ranks.len()];
        let mut counts = vec![0.0; ranks.len()];
        for values in &white {
            for (knot, value) in values.iter().enumerate() {
                means[knot] += value;
                counts[knot] += 1.0;
            }
        }
        means.iter_mut().zip(&counts).for_each(|(mean, count)| *mean /= count);
        // Beyond the first knot, what differs is noise.
        let least = |knot: usize| if knot == 0 { 0.0 } else { (LEAST_NOISE / root[knot][knot]).powi(2) };
        let square = |(knot, value): (usize, &f64)| (value - means[knot]).powi(2).max(least(knot));
        let mut squares: f64 = white.iter().flat_map(|values| values.iter().enumerate().map(square)).sum();
        let row = |knot: usize| &root[knot][..=knot];
        let mut curve: Vec<f64> =
            (0..ranks.len()).map(|knot| row(knot).iter().zip(&means).map(|(c, mean)| c * mean).sum()).collect();
        let variance = |knot: usize| row(knot).iter().zip(&counts).map(|(c, count)| c * c / count).sum::<f64>();
        let mut uncertainty: Vec<f64> = (0..ranks.len()).map(variance).collect();
        let mut volume: f64 = (0..ranks.len()).map(|knot| (counts[knot] - 1.0) * 2.0 * root[knot][knot].ln()).sum();
        for (size, times) in sizes.iter().zip(&data.sizes) {
            let (count, variance) = (times.len() as f64, drift_part + noise(size.rank()));
            let mean = times.iter().sum::<f64>() / count;
            squares += times.iter().map(|time| (time - mean) * (time - mean)).sum::<f64>() / variance;
            volume += (count - 1.0) * variance.ln();
            curve.push(mean);
            uncertainty.push(variance / count);
            counts.push(count);
        }
        let degrees = counts.iter().map(|count| count - 1.0).sum::<f64>();
        let scale = if degrees > 0.0 { squares / degrees } else { 0.0 };
        let misfit = degrees * scale.max(f64::MIN_POSITIVE).ln() + volume;
        Self { log_odds, drift_part, first_step, curve, uncertainty, scale, degrees, misfit }
    }

    /// Where nothing differs, beyond how times were rounded.
    pub fn of_none(data: &Data) -> Self {
        Self { scale: 0.0, ..Self::new(data, 0.0) }
    }

    /// Variance of the noise at this rank.
    pub fn noise(&self, rank: u32) -> f64 {
        noise(self.drift_part, self.first_step, rank)
    }

    /// Variance of the time of this rank.
    pub fn variance(&self, rank: u32) -> f64 {
        self.drift_part + self.noise(rank)
    }
}

/// The splits that are likely enough, and the weight of each: its likelihood, times how many it stands for.
pub(super) fn likely(data: &Data) -> (Vec<Split>, Vec<f64>) {
    let mut splits: Vec<Split> = LOG_ODDS.iter().map(|odds| Split::new(data, *odds)).collect();
    let likeliest = |splits: &[Split]| {
        (0..splits.len()).min_by(|a, b| splits[*a].misfit.total_cmp(&splits[*b].misfit)).unwrap_or(0)
    };
    while likeliest(&splits) == 0 && splits[0].log_odds < MOST_LOG_ODDS {
        splits.insert(0, Split::new(data, splits[0].log_odds + 2.3));
    }
    loop {
        let at = likeliest(&splits);
        let (Some(before), Some(after)) = (at.checked_sub(1), Some(at + 1).filter(|after| *after < splits.len()))
        else {
            break;
        };
        let bend = splits[before].misfit + splits[after].misfit - 2.0 * splits[at].misfit;
        let gap = (splits[before].log_odds - splits[at].log_odds).min(splits[at].log_odds - splits[after].log_odds);
        if bend < BENT || gap < CLOSEST {
            break;
        }
        let between = |a: usize, b: usize| Split::new(data, f64::midpoint(splits[a].log_odds, splits[b].log_odds));
        let (upper, lower) = (between(before, at), between(at, after));
        splits.insert(after, lower);
        splits.insert(at, upper);
    }
    let least = splits[likeliest(&splits)].misfit;
    let gap = |at: usize| splits.get(at + 1).map(|next| splits[at].log_odds - next.log_odds);
    let weigh = |at: usize| {
        let (above, below) = (at.checked_sub(1).and_then(gap), gap(at));
        let stands_for = (above.or(below).unwrap_or(1.0) + below.or(above).unwrap_or(1.0)) / 2.0;
        (-(splits[at].misfit - least) / 2.0).exp() * stands_for
    };
    let weights: Vec<f64> = (0..splits.len()).map(weigh).collect();
    let most = weights.iter().copied().fold(0.0, f64::max);
    let (splits, weights): (Vec<Split>, Vec<f64>) =
        splits.into_iter().zip(weights).filter(|(_, weight)| *weight > UNLIKELY * most).unzip();
    let total: f64 = weights.iter().sum();
    (splits, weights.into_iter().map(|weight| weight / total).collect())
}

/// The lower triangular root of a positive definite matrix.
fn cholesky(size: usize, entry: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
    let mut root = vec![vec![0.0; size]; size];
    for row in 0..size {
        for column in 0..=row {
            let below: f64 = (0..column).map(|k| root[row][k] * root[column][k]).sum();
            let rest = entry(row, column) - below;
            root[row][column] = if row == column { rest.max(1e-14).sqrt() } else { rest / root[column][column] };
        }
    }
    root
}

/// Solves `root x = values` for as many rows as there are values.
fn forward(root: &[Vec<f64>], values: &[f64]) -> Vec<f64> {
    let mut solved: Vec<f64> = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        let known: f64 = solved.iter().zip(&root[row]).map(|(x, c)| x * c).sum();
        solved.push((value - known) / root[row][row]);
    }
    solved
}

#[cfg(test)]
mod tests {
    use crate::search::pace::{Opening, Pace};
    use crate::stats::normal_quantile;

    #[test]
    fn drift_is_told_however_small_the_noise_is_beside_it() {
        const PROBES: u32 = 40;
        const DRIFT: f64 = 0.16;
        for noise in [0.0, 1e-4, 1e-3, 4e-3, 0.01, 0.03, 0.1] {
            // Something like chance, the same each time.
            let chance = |probe: u32, step: u32| f64::from((probe * 7919 + step * 104_729) % 997) / 997.0 - 0.5;
            let opening = |probe: u32| {
                let drift = (DRIFT * normal_quantile((f64::from(probe) + 0.5) / f64::from(PROBES))).exp();
                // As many as this are of one size, and so many others larger ones.
                let steps = if probe.is_multiple_of(2) { 13 } else { 13 + 5 * (probe % 20) };
                let mut time = 0.0;
                let after = |step| {
                    time += 0.01 * drift * (12.0_f64.sqrt() * noise * chance(probe, step)).exp();
                    time
                };
                (0..steps).map(after).collect::<Vec<f64>>()
            };
            let openings: Vec<Vec<f64>> = (0..PROBES).map(opening).collect();
            let openings: Vec<Opening> = openings.iter().map(|times| Opening::Steps(times)).collect();
            let pace = Pace::of(&openings, Some(1.0)).unwrap();
            let spread: f64 = pace.beliefs().iter().map(|belief| belief.weight * belief.spread(100)).sum();
            assert!((spread / DRIFT - 1.0).abs() < 0.1, "{noise}: {spread}");
        }
    }
}
