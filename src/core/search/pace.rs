//! How fast the machine is, and how much that differs from probe to probe.
//!
//! Every probe begins with N requests at once, which the engine serves in order. So the time of the r-th first token
//! can be compared between probes of any size, as long as both were still busy with prompts after it:
//!
//! ```text
//! log time of rank r in probe i  =  curve(r) + drift(i) + noise(i, r)
//! ```
//!
//! `drift` is the luck that all of a probe shares: a hot GPU, a busy host. `noise` is what single steps add: the time of
//! rank r is a sum of steps, so the part of it that is noise falls as 1/r from the first full step on, and two ranks share the
//! noise of the steps that they have in common: its covariance is that of a random walk divided by the rank, 1/max(r, s).
//! A probe of N requests shows the ranks below N, the largest probes show all. For such nested data the generalised
//! least squares estimate has a closed form (Anderson, "Maximum likelihood estimates for a multivariate normal
//! distribution when some observations are missing", 1957): with C the Cholesky factor of the covariance and D the
//! number of probes that show each rank, curve = C mean(C⁻¹ y) and its covariance is C D⁻¹ Cᵀ.
//! A burst that one step serves whole shows no rank of a full step. That step is as long as what is in it, so that such a burst
//! compares with those of its own size alone, which differ by drift and by the noise of one step.
//! How the variance splits into drift and noise is not known, and a few probes do not tell: every split is kept, weighted
//! by its restricted likelihood, and with each the range of what its variance may be. Many probes tell it closely: then splits between
//! those are looked at too, since one that has too much noise finds too little drift.

use std::collections::BTreeMap;

use crate::stats::variance_slices;

use super::belief::{Belief, Standing, View, noise};

/// Ranks at which the curve is followed differ by at least this factor.
const KNOT_RATIO: f64 = 1.15;
/// Odds of drift against noise in the variance of the first step, as natural logarithms: up to where steps differ by a thousandth of
/// what probes do, and beyond where that is the likeliest.
const LOG_ODDS: [f64; 14] = [13.8, 11.5, 9.2, 6.9, 4.6, 2.2, 1.1, 0.2, -0.6, -1.4, -2.2, -3.2, -4.4, -5.8];
const MOST_LOG_ODDS: f64 = 21.0;
/// Splits are looked at closely where the misfit (see [`Fit::misfit`]) bends by more than this from one to the next.
const BENT: f64 = 4.0;
/// But no more closely than this, in their odds.
const CLOSEST: f64 = 0.05;
/// Splits less likely than the likeliest by this factor are not kept.
const UNLIKELY: f64 = 0.02;
/// Values that the variance of each split may have.
const VARIANCES: usize = 6;
/// Relative spread below which a machine does not drift at all. No real clock is as steady as that.
const STEADY: f64 = 1e-7;
/// Nor is one step as like the other as this.
const LEAST_NOISE: f64 = 1e-5;

/// The pace of the machine, from all the probes of a ladder.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// What is compared, first ranks and then sizes, each ascending.
    knots: Vec<Knot>,
    /// The splits that are kept.
    fits: Vec<Fit>,
    /// The weight of each: together 1.
    weights: Vec<f64>,
    beliefs: Vec<Belief>,
    probes: usize,
}

/// How the first tokens of a probe came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Opening<'a> {
    /// In full steps, at these times in seconds, ascending.
    Steps(&'a [f64]),
    /// All of a burst of this size in one step that was not full, at this time in seconds.
    Whole { size: u32, time: f64 },
}

/// What is compared between probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knot {
    /// The time of this rank.
    Rank(u32),
    /// The time of a burst of this size that one step serves whole.
    Size(u32),
}

impl Knot {
    fn rank(self) -> u32 {
        match self {
            Self::Rank(rank) | Self::Size(rank) => rank,
        }
    }
}

/// What is judged of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// The first tokens that the pace is taken from.
    FirstTokens,
    /// What came after them.
    Later,
}

impl Pace {
    /// The pace that these probes show of an engine whose steps hold so many prompts, where that is known; `None` where nothing
    /// of them can be compared.
    pub fn of(openings: &[Opening], prompts_per_step: Option<f64>) -> Option<Self> {
        let data = Data::of(openings, prompts_per_step);
        if data.knots.is_empty() {
            return None;
        }
        let (fits, weights) = if data.is_steady() {
            // What is left is how times were rounded.
            (vec![Fit { scale: 0.0, ..Fit::new(&data, 0.0) }], vec![1.0])
        } else {
            splits(&data)
        };
        let beliefs = fits.iter().zip(&weights).enumerate().flat_map(|(at, (fit, weight))| {
            let slices = variance_slices(fit.degrees, VARIANCES).into_iter();
            slices.map(move |factor| Belief {
                weight: weight / VARIANCES as f64,
                view: at,
                scale: fit.scale * factor,
                drift_part: fit.drift_part,
                first_step: fit.first_step,
            })
        });
        let beliefs = beliefs.collect();
        Some(Self { beliefs, probes: data.compared(), knots: data.knots, weights, fits })
    }

    /// Probes that it was estimated from, those aside to which there is no other to compare.
    pub fn probes(&self) -> usize {
        self.probes
    }

    /// The lowest rank of full steps that it follows; 0 where it follows none.
    pub fn first_rank(&self) -> u32 {
        self.knots.iter().find_map(|knot| if let Knot::Rank(rank) = knot { Some(*rank) } else { None }).unwrap_or(0)
    }

    /// The sizes of bursts that one step served whole, ascending, and the logarithm of the time in seconds of each, in the
    /// middle.
    pub fn sizes(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        let size = |(at, knot): (usize, &Knot)| match knot {
            Knot::Size(size) => Some((*size, self.curve(at))),
            Knot::Rank(_) => None,
        };
        self.knots.iter().enumerate().filter_map(size)
    }

    /// Logarithm of the time of a knot, in the middle.
    fn curve(&self, knot: usize) -> f64 {
        self.fits.iter().zip(&self.weights).map(|(fit, weight)| fit.curve[knot] * weight).sum()
    }

    /// All the ways the machine may be; their weights add up to 1.
    pub fn beliefs(&self) -> &[Belief] {
        &self.beliefs
    }

    /// Whether the machine shows no spread at all, in as many probes as it takes to see one.
    pub fn is_steady(&self) -> bool {
        self.probes >= 2 && self.fits.iter().all(|fit| fit.scale == 0.0)
    }

    /// How a probe of `concurrency` requests stands whose first tokens came so, with a view to what is judged of it.
    pub fn standing(&self, opening: Opening, concurrency: u32, judged: Judged) -> Standing {
        if self.is_steady() {
            return Standing { slower: 0.0, views: vec![View::default(); self.fits.len()] };
        }
        let shown = match opening {
            Opening::Steps(times) => {
                let knot = self
                    .knots
                    .iter()
                    .rposition(|knot| matches!(knot, Knot::Rank(rank) if *rank as usize <= times.len()));
                knot.map(|knot| (knot, times[self.knots[knot].rank() as usize - 1]))
            }
            Opening::Whole { size, time } => {
                self.knots.iter().position(|knot| *knot == Knot::Size(size)).map(|knot| (knot, time))
            }
        };
        let Some((knot, time)) = shown else {
            let view = |fit: &Fit| View { offset: 0.0, shared: 0.0, own: fit.variance(concurrency) };
            return Standing { slower: 0.0, views: self.fits.iter().map(view).collect() };
        };
        let (rank, time) = (self.knots[knot].rank(), time.ln());
        let views = self.fits.iter().map(|fit| {
            let (slower, noise) = (time - fit.curve[knot], fit.noise(rank));
            let shared = fit.uncertainty[knot];
            match judged {
                Judged::FirstTokens => View { offset: slower, shared, own: (noise - fit.noise(concurrency)).max(0.0) },
                // The noise of the opening is not in what came later: only its drift is, as far as the two can be told
                // apart.
                Judged::Later => {
                    let part = fit.drift_part / (fit.drift_part + noise);
                    let own = fit.drift_part * (1.0 - part) + noise;
                    View { offset: slower * part, shared: shared * part * part, own }
                }
            }
        });
        let mut views: Vec<View> = views.collect();
        let slower: f64 = views.iter().zip(&self.weights).map(|(view, weight)| view.offset * weight).sum();
        views.iter_mut().for_each(|view| view.offset -= slower);
        Standing { slower, views }
    }

    /// What is unknown of the middle of the machine at this rank, which no probe need have shown.
    pub fn middle(&self, rank: u32) -> Standing {
        let knot = self.knots.iter().rposition(|knot| matches!(knot, Knot::Rank(known) if *known <= rank));
        let off = |knot: &usize| (f64::from(self.knots[*knot].rank()) / f64::from(rank)).ln().abs();
        let nearest = || (0..self.knots.len()).min_by(|a, b| off(a).total_cmp(&off(b)));
        let knot = knot.or_else(nearest).unwrap_or(0);
        let noise_between = |fit: &Fit| (fit.noise(self.knots[knot].rank()) - fit.noise(rank)).abs();
        let mean = self.curve(knot);
        let view = |fit: &Fit| View {
            // A faster curve is a probe that was slower than it.
            offset: mean - fit.curve[knot],
            shared: fit.uncertainty[knot],
            own: noise_between(fit),
        };
        Standing { slower: 0.0, views: self.fits.iter().map(view).collect() }
    }
}

/// The splits that are likely enough, and the weight of each: its likelihood, times how many it stands for.
fn splits(data: &Data) -> (Vec<Fit>, Vec<f64>) {
    let mut fits: Vec<Fit> = LOG_ODDS.iter().map(|odds| Fit::new(data, *odds)).collect();
    let likeliest =
        |fits: &[Fit]| (0..fits.len()).min_by(|a, b| fits[*a].misfit.total_cmp(&fits[*b].misfit)).unwrap_or(0);
    while likeliest(&fits) == 0 && fits[0].log_odds < MOST_LOG_ODDS {
        fits.insert(0, Fit::new(data, fits[0].log_odds + 2.3));
    }
    loop {
        let at = likeliest(&fits);
        let (Some(before), Some(after)) = (at.checked_sub(1), Some(at + 1).filter(|after| *after < fits.len())) else {
            break;
        };
        let bend = fits[before].misfit + fits[after].misfit - 2.0 * fits[at].misfit;
        let gap = (fits[before].log_odds - fits[at].log_odds).min(fits[at].log_odds - fits[after].log_odds);
        if bend < BENT || gap < CLOSEST {
            break;
        }
        let between = |a: usize, b: usize| Fit::new(data, f64::midpoint(fits[a].log_odds, fits[b].log_odds));
        let (upper, lower) = (between(before, at), between(at, after));
        fits.insert(after, lower);
        fits.insert(at, upper);
    }
    let least = fits[likeliest(&fits)].misfit;
    let gap = |at: usize| fits.get(at + 1).map(|next| fits[at].log_odds - next.log_odds);
    let weigh = |at: usize| {
        let (above, below) = (at.checked_sub(1).and_then(gap), gap(at));
        let stands_for = (above.or(below).unwrap_or(1.0) + below.or(above).unwrap_or(1.0)) / 2.0;
        (-(fits[at].misfit - least) / 2.0).exp() * stands_for
    };
    let weights: Vec<f64> = (0..fits.len()).map(weigh).collect();
    let most = weights.iter().copied().fold(0.0, f64::max);
    let (fits, weights): (Vec<Fit>, Vec<f64>) =
        fits.into_iter().zip(weights).filter(|(_, weight)| *weight > UNLIKELY * most).unzip();
    let total: f64 = weights.iter().sum();
    (fits, weights.into_iter().map(|weight| weight / total).collect())
}

/// What the probes show, as logarithms of times.
struct Data {
    knots: Vec<Knot>,
    /// Of each probe that shows ranks, those of the first of them.
    ranks: Vec<Vec<f64>>,
    /// By size, of each burst of this size.
    sizes: Vec<Vec<f64>>,
    /// Prompts of a full step.
    first_step: f64,
}

impl Data {
    fn of(openings: &[Opening], prompts_per_step: Option<f64>) -> Self {
        let mut steps: Vec<&[f64]> = Vec::new();
        let mut sizes: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for opening in openings {
            match opening {
                Opening::Steps([]) => {}
                Opening::Steps(times) => steps.push(times),
                Opening::Whole { size, time } => sizes.entry(*size).or_default().push(time.ln()),
            }
        }
        let ranks = followed(&steps);
        let logs = |times: &&[f64]| {
            let shown = ranks.iter().take_while(|rank| **rank as usize <= times.len());
            shown.map(|rank| times[*rank as usize - 1].ln()).collect()
        };
        let largest = sizes.keys().last().map_or(1.0, |size| f64::from(*size));
        Self {
            ranks: steps.iter().map(logs).collect(),
            knots: ranks.iter().copied().map(Knot::Rank).chain(sizes.keys().copied().map(Knot::Size)).collect(),
            first_step: prompts_per_step.unwrap_or(1.0).max(largest),
            sizes: sizes.into_values().collect(),
        }
    }

    /// Whether what is shown of each knot is the same in all probes.
    fn is_steady(&self) -> bool {
        let of_rank = |knot: usize| self.ranks.iter().filter_map(|values| values.get(knot).copied()).collect();
        let ranks = (0..self.knots.len() - self.sizes.len()).map(of_rank);
        let knots: Vec<Vec<f64>> = ranks.chain(self.sizes.iter().cloned()).collect();
        let degrees: usize = knots.iter().map(|values| values.len() - 1).sum();
        let squares = |values: &Vec<f64>| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
        };
        degrees > 0 && (knots.iter().map(squares).sum::<f64>() / degrees as f64).sqrt() < STEADY
    }

    fn compared(&self) -> usize {
        let others: usize = self.sizes.iter().map(|times| times.len() - 1).sum();
        self.ranks.len().max(1) + others
    }
}

/// The last rank that each probe shows, thinned so that neighbours differ by [`KNOT_RATIO`].
fn followed(probes: &[&[f64]]) -> Vec<u32> {
    let mut ends: Vec<u32> = probes.iter().map(|times| times.len() as u32).collect();
    ends.sort_unstable();
    let mut ranks: Vec<u32> = Vec::new();
    for end in ends {
        if ranks.last().is_none_or(|last| f64::from(end) >= f64::from(*last) * KNOT_RATIO) {
            ranks.push(end);
        }
    }
    ranks
}

/// The estimate for one split of the variance. Variances are parts of the scale.
#[derive(Clone, Debug)]
struct Fit {
    log_odds: f64,
    drift_part: f64,
    first_step: f64,
    /// Logarithm of the time of each knot.
    curve: Vec<f64>,
    /// Variance of each value of the curve.
    uncertainty: Vec<f64>,
    /// Variance of the logarithm of the time of the first step, and the degrees of freedom that it was estimated with.
    scale: f64,
    degrees: f64,
    /// Minus twice the restricted log-likelihood, up to a constant.
    misfit: f64,
}

impl Fit {
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

    fn noise(&self, rank: u32) -> f64 {
        noise(self.drift_part, self.first_step, rank)
    }

    fn variance(&self, rank: u32) -> f64 {
        self.drift_part + self.noise(rank)
    }
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
    use super::*;

    fn whole(size: u32, time: f64) -> Opening<'static> {
        Opening::Whole { size, time }
    }

    #[test]
    fn bursts_that_one_step_serves_whole_compare_with_their_own_size_alone() {
        let pace = |openings: &[Opening]| Pace::of(openings, Some(40.0)).unwrap();
        let apart = pace(&[whole(6, 0.1), whole(10, 0.2)]);
        assert!(apart.probes() == 1 && !apart.is_steady());
        let alike = pace(&[whole(6, 0.1), whole(10, 0.2), whole(6, 0.1)]);
        assert!(alike.probes() == 2 && alike.is_steady());
        let unlike = pace(&[whole(6, 0.1), whole(10, 0.2), whole(6, 0.11)]);
        assert!(unlike.probes() == 2 && !unlike.is_steady());
        let sizes: Vec<(u32, f64)> = unlike.sizes().collect();
        assert_eq!(sizes.iter().map(|size| size.0).collect::<Vec<_>>(), [6, 10]);
        assert!((sizes[0].1 - (0.1_f64.ln() + 0.11_f64.ln()) / 2.0).abs() < 1e-9);
        // The slower of two is slower than their middle by half of what they differ by.
        let slower = unlike.standing(whole(6, 0.11), 6, Judged::FirstTokens).slower;
        assert!((slower - 1.1_f64.ln() / 2.0).abs() < 1e-9, "{slower}");
        assert_eq!(unlike.standing(whole(8, 0.15), 8, Judged::FirstTokens).slower, 0.0);
    }

    #[test]
    fn noise_averages_out_over_steps_and_not_within_the_first() {
        let pace = Pace::of(&[whole(6, 0.1), whole(6, 0.11)], Some(40.0)).unwrap();
        for belief in pace.beliefs() {
            assert!((belief.spread(1) - belief.spread(40)).abs() < 1e-12);
            assert!(belief.spread(80) < belief.spread(40));
        }
    }

    #[test]
    fn full_steps_and_whole_bursts_tell_of_one_machine() {
        let (quick, slow) = ([0.1, 0.2, 0.3], [0.11, 0.22, 0.33]);
        let pace = Pace::of(&[Opening::Steps(&quick), Opening::Steps(&slow), whole(1, 0.05), whole(1, 0.05)], None);
        let pace = pace.unwrap();
        assert_eq!((pace.probes(), pace.first_rank()), (3, 3));
        assert!(pace.standing(Opening::Steps(&slow), 4, Judged::FirstTokens).slower > 0.0);
        assert_eq!(Pace::of(&[Opening::Steps(&[])], None).map(|pace| pace.probes()), None);
    }
}
