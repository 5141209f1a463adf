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
//! rank r is a sum of steps, so the part of it that is noise falls as 1/r, and two ranks share the noise of the steps
//! that they have in common: its covariance is that of a random walk divided by the rank, 1/max(r, s).
//! A probe of N requests shows the ranks below N, the largest probes show all. For such nested data the generalised
//! least squares estimate has a closed form (Anderson, "Maximum likelihood estimates for a multivariate normal
//! distribution when some observations are missing", 1957): with C the Cholesky factor of the covariance and D the
//! number of probes that show each rank, curve = C mean(C⁻¹ y) and its covariance is C D⁻¹ Cᵀ.
//! How the variance splits into drift and noise is chosen by restricted likelihood.

use crate::stats::t_quantile;

/// Ranks at which the curve is followed differ by at least this factor.
const KNOT_RATIO: f64 = 1.15;
/// Parts of the variance of rank 1 that drift may make up.
const DRIFT_PARTS: [f64; 14] = [0.999, 0.95, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2, 0.13, 0.08, 0.04, 0.015, 0.005, 0.0005];
/// Relative spread below which a machine does not drift at all. No real clock is as steady as that.
const STEADY: f64 = 1e-7;

/// The pace of the machine, from all the probes of a ladder.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    knots: Vec<u32>,
    curve: Vec<f64>,
    /// Variance of each value of the curve.
    uncertainty: Vec<f64>,
    scale: f64,
    drift_part: f64,
    probes: usize,
}

/// One probe as the pace sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Logarithm of how much slower it was than the machine is in the middle.
    pub slower: f64,
    /// Variance of that, its share of the uncertainty of the curve included.
    pub shared_variance: f64,
    /// Variance that is this probe's own and averages out over probes of its level.
    pub own_variance: f64,
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
    /// The pace that these first-token times show, each ascending and of full steps only; `None` where none has any.
    pub fn of(probes: &[&[f64]]) -> Option<Self> {
        let shown: Vec<&[f64]> = probes.iter().copied().filter(|times| !times.is_empty()).collect();
        let knots = knots(&shown);
        if knots.is_empty() {
            return None;
        }
        let logs = |times: &&[f64]| {
            knots
                .iter()
                .take_while(|rank| **rank as usize <= times.len())
                .map(|rank| times[*rank as usize - 1].ln())
                .collect()
        };
        let data: Vec<Vec<f64>> = shown.iter().map(logs).collect();
        let fits = DRIFT_PARTS.iter().filter(|part| knots.len() > 1 || **part > 0.99);
        let best = fits.map(|part| Fit::new(&knots, &data, *part)).min_by(|a, b| a.misfit.total_cmp(&b.misfit))?;
        Some(Self {
            uncertainty: best.uncertainty,
            curve: best.curve,
            scale: best.scale,
            drift_part: best.drift_part,
            probes: data.len(),
            knots,
        })
    }

    /// Probes that it was estimated from.
    pub fn probes(&self) -> usize {
        self.probes
    }

    /// Whether the machine shows no spread at all, in as many probes as it takes to see one.
    pub fn is_steady(&self) -> bool {
        self.probes >= 2 && self.scale.sqrt() < STEADY
    }

    /// Standard deviation of the logarithm of the time of this rank, from probe to probe.
    pub fn spread(&self, rank: u32) -> f64 {
        if self.is_steady() { 0.0 } else { self.variance(rank).sqrt() }
    }

    /// The factor on a standard error that gives a bound missed with probability `miss`.
    pub fn t(&self, miss: f64) -> f64 {
        t_quantile(1.0 - miss, self.probes.saturating_sub(1))
    }

    /// How a probe of `concurrency` requests stands whose first tokens in full steps came at these times, with a view to
    /// what is judged of it.
    pub fn standing(&self, times: &[f64], concurrency: u32, judged: Judged) -> Standing {
        if self.is_steady() {
            return Standing { slower: 0.0, shared_variance: 0.0, own_variance: 0.0 };
        }
        let Some(knot) = self.knots.iter().rposition(|rank| *rank as usize <= times.len()) else {
            return Standing { slower: 0.0, shared_variance: 0.0, own_variance: self.variance(concurrency) };
        };
        let slower = times[self.knots[knot] as usize - 1].ln() - self.curve[knot];
        let (drift, noise) = (self.scale * self.drift_part, self.noise(self.knots[knot]));
        let shared_variance = self.uncertainty[knot];
        match judged {
            Judged::FirstTokens => {
                Standing { slower, shared_variance, own_variance: (noise - self.noise(concurrency)).max(0.0) }
            }
            // The noise of the opening is not in what came later: only its drift is, as far as the two can be told apart.
            Judged::Later => {
                let part = drift / (drift + noise).max(f64::MIN_POSITIVE);
                Standing { slower: slower * part, shared_variance, own_variance: drift * (1.0 - part) + noise }
            }
        }
    }

    /// Relative standard error of the spread.
    pub fn spread_error(&self) -> f64 {
        if self.is_steady() { 0.0 } else { (0.5 / (self.probes.max(2) - 1) as f64).sqrt() }
    }

    /// Standard error of the curve at the last knot up to this rank.
    pub fn error_at(&self, rank: u32) -> f64 {
        let knot = self.knots.iter().rposition(|knot| *knot <= rank).unwrap_or(0);
        if self.is_steady() { 0.0 } else { self.uncertainty[knot].sqrt() }
    }

    fn variance(&self, rank: u32) -> f64 {
        self.scale * self.drift_part + self.noise(rank)
    }

    fn noise(&self, rank: u32) -> f64 {
        self.scale * (1.0 - self.drift_part) / f64::from(rank.max(1))
    }
}

/// The last rank that each probe shows, thinned so that neighbours differ by [`KNOT_RATIO`].
fn knots(probes: &[&[f64]]) -> Vec<u32> {
    let mut ends: Vec<u32> = probes.iter().map(|times| times.len() as u32).collect();
    ends.sort_unstable();
    let mut knots: Vec<u32> = Vec::new();
    for end in ends {
        if knots.last().is_none_or(|last| f64::from(end) >= f64::from(*last) * KNOT_RATIO) {
            knots.push(end);
        }
    }
    knots
}

/// The estimate for one split of the variance.
struct Fit {
    drift_part: f64,
    curve: Vec<f64>,
    uncertainty: Vec<f64>,
    scale: f64,
    /// Minus twice the restricted log-likelihood, up to a constant.
    misfit: f64,
}

impl Fit {
    fn new(knots: &[u32], data: &[Vec<f64>], drift_part: f64) -> Self {
        let root = cholesky(knots.len(), |a, b| drift_part + (1.0 - drift_part) / f64::from(knots[a].max(knots[b])));
        let white: Vec<Vec<f64>> = data.iter().map(|values| forward(&root, values)).collect();
        let mut means = vec![0.0; knots.len()];
        let mut counts = vec![0.0; knots.len()];
        for values in &white {
            for (knot, value) in values.iter().enumerate() {
                means[knot] += value;
                counts[knot] += 1.0;
            }
        }
        means.iter_mut().zip(&counts).for_each(|(mean, count)| *mean /= count);
        let square = |(value, mean): (&f64, &f64)| (value - mean) * (value - mean);
        let squares: f64 = white.iter().flat_map(|values| values.iter().zip(&means).map(square)).sum();
        let degrees = counts.iter().map(|count| count - 1.0).sum::<f64>();
        let scale = if degrees > 0.0 { squares / degrees } else { 0.0 };
        let row = |knot: usize| &root[knot][..=knot];
        let curve = (0..knots.len()).map(|knot| row(knot).iter().zip(&means).map(|(c, mean)| c * mean).sum()).collect();
        let variance = |knot: usize| row(knot).iter().zip(&counts).map(|(c, count)| c * c / count).sum::<f64>() * scale;
        let uncertainty = (0..knots.len()).map(variance).collect();
        let volume: f64 = (0..knots.len()).map(|knot| (counts[knot] - 1.0) * 2.0 * root[knot][knot].ln()).sum();
        let misfit = degrees * scale.max(f64::MIN_POSITIVE).ln() + volume;
        Self { drift_part, curve, uncertainty, scale, misfit }
    }
}

/// The lower triangular root of a positive definite matrix.
fn cholesky(size: usize, entry: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
    let mut root = vec![vec![0.0; size]; size];
    for row in 0..size {
        for column in 0..=row {
            let below: f64 = (0..column).map(|k| root[row][k] * root[column][k]).sum();
            let rest = entry(row, column) - below;
            root[row][column] = if row == column { rest.max(1e-12).sqrt() } else { rest / root[column][column] };
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
