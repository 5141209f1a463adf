//! What else changed on a ladder: first tokens and throughput at equal load, KV capacity.

use std::collections::BTreeSet;

use rayon::prelude::*;
use rustc_hash::FxHashSet;
use serde::Serialize;

use super::ComparedLadder;
use super::pair::Judge;
use crate::metric::quantile;
use crate::record::{CellRecord, ProbeSummary, QuantilesSummary, UntilSummary};
use crate::units::Concurrency;

/// Two ladders behind cells that were compared. No verdict is drawn from these numbers: they say where to look.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LadderComparison<'a> {
    /// Its id in the candidate.
    pub ladder: &'a str,
    /// KV cache capacity in tokens, of the baseline and of the candidate.
    pub kv_cache_tokens: (Option<u64>, Option<u64>),
    /// What was measured at the highest load that both were probed at; absent where there is none.
    pub at_equal_load: Option<AtEqualLoad>,
}

/// What was measured at one load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtEqualLoad {
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// On the baseline.
    pub baseline: Measurements,
    /// On the candidate.
    pub candidate: Measurements,
}

/// Medians over the probes at one load; absent where too few first tokens came. A probe that was stopped before a time could be seen
/// counts as later than all others, and tells nothing of the throughput.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measurements {
    /// Probes.
    pub probes: usize,
    /// Median time to first token in seconds.
    pub ttft_p50_s: Option<f64>,
    /// Its 99th percentile.
    pub ttft_p99_s: Option<f64>,
    /// Output tokens of all requests in a second.
    pub output_tokens_per_s: Option<f64>,
}

/// Pairs of ladders as they come up.
#[derive(Default)]
pub(super) struct Ladders<'a> {
    seen: FxHashSet<(usize, usize)>,
    pairs: Vec<Pair<'a>>,
}

struct Pair<'a> {
    ladders: (&'a ComparedLadder, &'a ComparedLadder),
    kv_cache_tokens: (Option<u64>, Option<u64>),
}

impl<'a> Ladders<'a> {
    /// Adds the ladders of a pair of cells, once.
    pub fn add(&mut self, judge: &Judge<'a>, before: &CellRecord, after: &CellRecord) {
        let (baseline, candidate) = (&judge.baseline, &judge.candidate);
        let indices = baseline.ladder_index(before).zip(candidate.ladder_index(after));
        if !indices.is_some_and(|indices| self.seen.insert(indices)) {
            return;
        }
        if let (Some(old), Some(new)) = (baseline.ladder(before), candidate.ladder(after)) {
            let kv_cache_tokens = (baseline.kv_cache_tokens(before), candidate.kv_cache_tokens(after));
            self.pairs.push(Pair { ladders: (old, new), kv_cache_tokens });
        }
    }

    /// Compares them on all processors: they may have a million probes.
    pub fn into_rows(self) -> Vec<LadderComparison<'a>> {
        let row = |Pair { ladders: (old, new), kv_cache_tokens }: Pair<'a>| LadderComparison {
            ladder: &new.id,
            kv_cache_tokens,
            at_equal_load: at_equal_load(old, new),
        };
        self.pairs.into_par_iter().map(row).collect()
    }
}

/// What was measured at one load, and for what: probes to the first tokens are bursts under any load.
type Level = (bool, Concurrency);

fn at_equal_load(baseline: &ComparedLadder, candidate: &ComparedLadder) -> Option<AtEqualLoad> {
    let levels = |ladder| probes(ladder).map(|(level, _)| level).collect::<BTreeSet<Level>>();
    let highest = *levels(baseline).intersection(&levels(candidate)).last()?;
    let measured = |ladder| {
        let at_level = probes(ladder).filter(|(level, _)| *level == highest);
        Measurements::of(&at_level.map(|(_, probe)| probe).collect::<Vec<_>>())
    };
    Some(AtEqualLoad { concurrency: highest.1, baseline: measured(baseline), candidate: measured(candidate) })
}

/// The probes that are evidence and saw first tokens.
fn probes(ladder: &ComparedLadder) -> impl Iterator<Item = (Level, &ProbeSummary)> {
    let seen = ladder.probes.iter().filter(|probe| probe.counts && probe.ttft.is_some());
    seen.map(|probe| ((matches!(probe.until, UntilSummary::Decided(_)), probe.concurrency), probe))
}

impl Measurements {
    fn of(probes: &[&ProbeSummary]) -> Self {
        let ttft = |of: fn(&QuantilesSummary) -> Option<f64>| {
            median(probes.iter().filter_map(|probe| probe.ttft.as_ref().and_then(of)), Some(probes.len()))
        };
        Self {
            probes: probes.len(),
            ttft_p50_s: ttft(|ttft| ttft.p50_s),
            ttft_p99_s: ttft(|ttft| ttft.p99_s),
            output_tokens_per_s: median(probes.iter().filter_map(|probe| probe.output_tokens_per_s), None),
        }
    }
}

/// The median of so many values, of which those that are not there are above all others; of those that are there, where nobody says how many.
fn median(values: impl Iterator<Item = f64>, of: Option<usize>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, of.unwrap_or(values.len()), 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_most_probes_were_stopped_before_has_no_median() {
        let times = [0.9, 1.0];
        assert_eq!(median(times.into_iter(), Some(3)), Some(1.0));
        assert_eq!(median(times.into_iter(), Some(5)), None);
        assert_eq!(median(times.into_iter(), None), Some(0.95));
    }
}
