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

use super::belief::{Belief, Standing, View};
use super::split::{Split, likely};

/// Ranks at which the curve is followed differ by at least this factor.
const KNOT_RATIO: f64 = 1.15;
/// Values that the variance of each split may have.
const VARIANCES: i32 = 6;
/// Relative spread below which a machine does not drift at all. No real clock is as steady as that.
const STEADY: f64 = 1e-7;

/// The pace of the machine, from all the probes of a ladder.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// What is compared, first ranks and then sizes, each ascending.
    knots: Vec<Knot>,
    /// The splits that are kept.
    splits: Vec<Split>,
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
pub(super) enum Knot {
    /// The time of this rank.
    Rank(u32),
    /// The time of a burst of this size that one step serves whole.
    Size(u32),
}

impl Knot {
    pub fn rank(self) -> u32 {
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
        let (splits, weights) = if data.is_steady() { (vec![Split::of_none(&data)], vec![1.0]) } else { likely(&data) };
        // All splits have as many degrees of freedom.
        let slices = variance_slices(splits.first().map_or(0.0, |split| split.degrees), VARIANCES);
        let beliefs = splits.iter().zip(&weights).enumerate().flat_map(|(at, (split, weight))| {
            slices.iter().map(move |slice| Belief {
                weight: weight * slice.weight,
                view: at,
                scale: split.scale * slice.factor,
                drift_part: split.drift_part,
                first_step: split.first_step,
            })
        });
        let beliefs = beliefs.collect();
        Some(Self { beliefs, probes: data.compared(), knots: data.knots, weights, splits })
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
        self.splits.iter().zip(&self.weights).map(|(split, weight)| split.curve[knot] * weight).sum()
    }

    /// All the ways the machine may be; their weights add up to 1.
    pub fn beliefs(&self) -> &[Belief] {
        &self.beliefs
    }

    /// Whether the machine shows no spread at all, in as many probes as it takes to see one.
    pub fn is_steady(&self) -> bool {
        self.probes >= 2 && self.splits.iter().all(|split| split.scale == 0.0)
    }

    /// How a probe of `concurrency` requests stands whose first tokens came so, with a view to what is judged of it.
    pub fn standing(&self, opening: Opening, concurrency: u32, judged: Judged) -> Standing {
        if self.is_steady() {
            return Standing { slower: 0.0, views: vec![View::default(); self.splits.len()] };
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
            let view = |split: &Split| View { own: split.variance(concurrency), ..View::default() };
            return Standing { slower: 0.0, views: self.splits.iter().map(view).collect() };
        };
        let (rank, time) = (self.knots[knot].rank(), time.ln());
        let views = self.splits.iter().map(|split| {
            let (slower, noise) = (time - split.curve[knot], split.noise(rank));
            let shared = split.uncertainty[knot];
            match judged {
                Judged::FirstTokens => {
                    View { offset: slower, shared, own: (noise - split.noise(concurrency)).max(0.0), noise: 0.0 }
                }
                // The noise of the opening is not in what came later: only its drift is, as far as the two can be told
                // apart.
                Judged::Later => {
                    let part = split.drift_part / (split.drift_part + noise);
                    let own = split.drift_part * (1.0 - part);
                    View { offset: slower * part, shared: shared * part * part, own, noise }
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
        let noise_between = |split: &Split| (split.noise(self.knots[knot].rank()) - split.noise(rank)).abs();
        let mean = self.curve(knot);
        let view = |split: &Split| View {
            // A faster curve is a probe that was slower than it.
            offset: mean - split.curve[knot],
            shared: split.uncertainty[knot],
            own: noise_between(split),
            noise: 0.0,
        };
        Standing { slower: 0.0, views: self.splits.iter().map(view).collect() }
    }
}

/// What the probes show, as logarithms of times.
pub(super) struct Data {
    pub knots: Vec<Knot>,
    /// Of each probe that shows ranks, those of the first of them.
    pub ranks: Vec<Vec<f64>>,
    /// By size, of each burst of this size.
    pub sizes: Vec<Vec<f64>>,
    /// Prompts of a full step.
    pub first_step: f64,
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
        let largest = sizes.keys().last().map_or(1.0, |size| f64::from(*size));
        let first_step = prompts_per_step.unwrap_or(1.0).max(largest);
        let mut ranks = followed(&steps);
        // Ranks of one step have the same noise: they say the same.
        let within = ranks.partition_point(|rank| f64::from(*rank) <= first_step);
        if within > 1 {
            ranks.drain(1..within);
        }
        let logs = |times: &&[f64]| {
            let shown = ranks.iter().take_while(|rank| **rank as usize <= times.len());
            shown.map(|rank| times[*rank as usize - 1].ln()).collect()
        };
        Self {
            ranks: steps.iter().map(logs).collect(),
            knots: ranks.iter().copied().map(Knot::Rank).chain(sizes.keys().copied().map(Knot::Size)).collect(),
            first_step,
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
    fn ranks_within_one_full_step_are_followed_as_one() {
        // Of requests that trickle in, of which a step could hold 64: two probes that end within the first, and two larger ones.
        let opening = |ranks: usize, slower: f64| (1..=ranks).map(|rank| slower * (0.1 + 1e-3 * rank as f64)).collect();
        let openings: [Vec<f64>; 4] = [opening(20, 1.0), opening(45, 1.03), opening(150, 0.98), opening(400, 1.01)];
        let openings: Vec<Opening> = openings.iter().map(|times| Opening::Steps(times)).collect();
        let pace = Pace::of(&openings, Some(64.0)).unwrap();
        assert_eq!(pace.first_rank(), 20);
        let spread: f64 = pace.beliefs().iter().map(|belief| belief.weight * belief.spread(100)).sum();
        assert!((0.01..0.2).contains(&spread), "{spread}");
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
