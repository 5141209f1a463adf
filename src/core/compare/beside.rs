//! What else changed on a ladder: first tokens and throughput at equal load, KV capacity.

use std::collections::{BTreeMap, HashSet};

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

/// Medians over the probes at one load; absent where too few first tokens came, or where a probe was stopped early.
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

/// Rows as they come up.
#[derive(Default)]
pub(super) struct Ladders<'a> {
    seen: HashSet<(usize, usize)>,
    rows: Vec<LadderComparison<'a>>,
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
            self.rows.push(LadderComparison {
                ladder: &new.id,
                kv_cache_tokens: (baseline.kv_cache_tokens(before), candidate.kv_cache_tokens(after)),
                at_equal_load: at_equal_load(old, new),
            });
        }
    }

    pub fn into_rows(self) -> Vec<LadderComparison<'a>> {
        self.rows
    }
}

/// Probes of one load by what they were measured for: those to the first tokens are bursts under any load.
type Levels<'a> = BTreeMap<(bool, Concurrency), Vec<&'a ProbeSummary>>;

fn at_equal_load(baseline: &ComparedLadder, candidate: &ComparedLadder) -> Option<AtEqualLoad> {
    let (before, after) = (levels(baseline), levels(candidate));
    let (level, probes) = before.iter().rev().find(|(level, _)| after.contains_key(level))?;
    Some(AtEqualLoad {
        concurrency: level.1,
        baseline: Measurements::of(probes),
        candidate: Measurements::of(&after[level]),
    })
}

fn levels(ladder: &ComparedLadder) -> Levels<'_> {
    let mut levels = Levels::new();
    for probe in ladder.probes.iter().filter(|probe| probe.counts && probe.ttft.is_some()) {
        let is_whole = matches!(probe.until, UntilSummary::Decided(_));
        levels.entry((is_whole, probe.concurrency)).or_default().push(probe);
    }
    levels
}

impl Measurements {
    fn of(probes: &[&ProbeSummary]) -> Self {
        let ttft =
            |of: fn(&QuantilesSummary) -> Option<f64>| median(probes.iter().map(|p| p.ttft.as_ref().and_then(of)));
        Self {
            probes: probes.len(),
            ttft_p50_s: ttft(|ttft| ttft.p50_s),
            ttft_p99_s: ttft(|ttft| ttft.p99_s),
            output_tokens_per_s: median(probes.iter().map(|probe| probe.output_tokens_per_s)),
        }
    }
}

/// The median of the values that are there.
fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.flatten().collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, values.len(), 0.5)
}
