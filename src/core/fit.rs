//! Fits the simulator to a measured ladder, and says how far off it is.
//!
//! A burst whose requests all fit is one line of prompts and then decode steps. From its probes follow
//!
//! | parameter | from |
//! | --- | --- |
//! | decode step, and its part per sequence | the line through the fastest TPOT of each probe (that of the request that came last, after the prompts) over requests in flight |
//! | prefill rate | the slope of the slowest TTFT over prompt tokens, less the decode step that every full step holds |
//! | drift | the spread of the slowest TTFT around that line |
//! | sequences, KV cache, token budget, load time | what the engine said of itself |

use crate::experiment::Workload;
use crate::load::{Load, LoadPlan};
use crate::metric::{Metric, Quantiles};
use crate::protocol::{ProbeAsk, PromptAsk};
use crate::record::{CellRecord, LadderRecord, ProbeRecord, Run};
use crate::sim::{SimEngine, SimSession, true_ceilings};
use crate::units::{Concurrency, Seconds};
use crate::watch::{Advice, Until};

/// A simulated engine in the place of a measured one.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Its parameters.
    pub engine: SimEngine,
    /// How well it stands in.
    pub quality: Quality,
}

/// How far the simulator is off, on the ladder that it was fitted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// Probes that it was fitted to.
    pub probes: usize,
    /// Median over those probes of the relative error of the median TTFT.
    pub ttft_p50_error: f64,
    /// The same for the 99th percentile.
    pub ttft_p99_error: f64,
    /// Each cell with a ceiling: its id, the measured bracket, and the ceiling of the simulated engine without drift.
    pub ceilings: Vec<(String, (Concurrency, Concurrency), Option<Concurrency>)>,
}

/// Why a ladder cannot be fitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// The run has no such ladder.
    #[error("the run has no ladder `{0}`")]
    NoLadder(String),
    /// A simulated engine needs no stand-in, and only bursts are understood.
    #[error("ladder `{0}` is not a burst on a real engine")]
    NotABurst(String),
    /// The line needs points.
    #[error("ladder `{ladder}` has {found} probes of different size that ran to their end; it takes {needed}")]
    TooFew {
        /// The ladder.
        ladder: String,
        /// Probes that serve.
        found: usize,
        /// Probes that it takes.
        needed: usize,
    },
    /// What was measured is not what the simulator can show.
    #[error("ladder `{0}`: first tokens do not come later with more prompts")]
    NotALine(String),
}

/// Sizes of probe that a line is drawn through, at least.
const POINTS: usize = 3;

/// Fits the simulator to a ladder of a run: the first one where none is named.
///
/// # Errors
/// Where it was not measured in a way that tells enough.
pub fn fit(run: &Run, ladder: Option<&str>) -> Result<Fit, FitError> {
    let found = run.ladders.iter().find(|known| ladder.is_none_or(|id| known.id == id));
    let ladder = found.ok_or_else(|| FitError::NoLadder(ladder.unwrap_or("(any)").to_owned()))?;
    if run.simulated || ladder.workload.load != Load::Burst {
        return Err(FitError::NotABurst(ladder.id.clone()));
    }
    let probes = whole_probes(ladder);
    let engine = parameters(run, ladder, &probes)?;
    Ok(Fit { engine, quality: quality(run, ladder, &probes, engine) })
}

/// Probes of a burst that ran to their end: every request has its first token.
fn whole_probes(ladder: &LadderRecord) -> Vec<&ProbeRecord> {
    let is_whole = |probe: &&ProbeRecord| {
        probe.counts && probe.ttft.is_some_and(|ttft| ttft.max_s.is_some() && ttft.count == probe.requests)
    };
    ladder.probes.iter().filter(is_whole).collect()
}

fn parameters(run: &Run, ladder: &LadderRecord, probes: &[&ProbeRecord]) -> Result<SimEngine, FitError> {
    let resolved = run.engines.iter().find(|engine| engine.label == ladder.engine).and_then(|e| e.resolved.as_ref());
    let budget = resolved.and_then(|engine| engine.max_num_batched_tokens).unwrap_or(8192);
    let tokens = |probe: &ProbeRecord| f64::from(probe.concurrency.get()) * f64::from(ladder.workload.input_tokens);
    let slowest: Vec<(f64, f64)> = probes.iter().filter_map(|p| Some((tokens(p), p.ttft?.max_s?))).collect();
    // A probe that was stopped ended among its prompts, and has no throughput: its tokens came no faster than those did.
    let ran_on = probes.iter().filter(|probe| probe.output_tokens_per_s.is_some());
    let held = |probe: &&ProbeRecord| Some((f64::from(probe.concurrency.get()), probe.tpot?.min_s));
    let steps: Vec<(f64, f64)> = ran_on.filter_map(held).filter(|(_, step)| *step > 0.0).collect();

    let too_few = |found| FitError::TooFew { ladder: ladder.id.clone(), found, needed: POINTS };
    let prefill = Line::through(&slowest).ok_or_else(|| too_few(sizes(&slowest)))?;
    let decode = Line::through(&steps).ok_or_else(|| too_few(sizes(&steps)))?;
    let step = if decode.slope > 0.0 { decode.at_zero.max(0.0) } else { mean(&steps) };
    let per_token = prefill.slope - step / f64::from(budget);
    if per_token <= 0.0 {
        return Err(FitError::NotALine(ladder.id.clone()));
    }
    let seconds = |value: f64| Seconds::new(value).unwrap_or(Seconds::ZERO);
    Ok(SimEngine {
        decode_step: seconds(step),
        decode_step_per_sequence: seconds(decode.slope.max(0.0)),
        max_num_seqs: resolved.and_then(|engine| engine.max_num_seqs).unwrap_or(256),
        max_num_batched_tokens: budget,
        kv_cache_tokens: resolved.and_then(|engine| engine.kv_cache_tokens).unwrap_or(u64::from(u32::MAX)),
        load_time: resolved.and_then(|engine| engine.load_seconds).unwrap_or(Seconds::ZERO),
        probe_drift: prefill.relative_spread(&slowest),
        ..SimEngine::unlimited(1.0 / per_token)
    })
}

fn quality(run: &Run, ladder: &LadderRecord, probes: &[&ProbeRecord], engine: SimEngine) -> Quality {
    let steady = SimEngine { probe_drift: 0.0, ..engine };
    let errors = |of: fn(&Quantiles) -> Option<f64>| {
        let error = |probe: &&ProbeRecord| {
            let (measured, simulated) = (of(&probe.ttft?)?, of(&simulate(steady, ladder, probe.concurrency)?)?);
            Some((simulated / measured - 1.0).abs())
        };
        median(probes.iter().filter_map(error).collect())
    };
    let cap = ladder.search.max_concurrency;
    let truths = true_ceilings(steady, &ladder.workload, &ladder.slas, cap);
    let bracket = |cell: &CellRecord| {
        let truth = ladder.slas.iter().position(|sla| *sla == cell.sla).and_then(|sla| truths[sla]);
        Some((cell.id.clone(), (cell.highest_pass?, cell.lowest_fail?), truth))
    };
    let cells = run.cells.iter().filter(|cell| cell.ladder == ladder.id);
    Quality {
        probes: probes.len(),
        ttft_p50_error: errors(|ttft| ttft.p50_s),
        ttft_p99_error: errors(|ttft| ttft.p99_s),
        ceilings: cells.filter_map(bracket).collect(),
    }
}

/// TTFT of the same burst on the simulator.
fn simulate(engine: SimEngine, ladder: &LadderRecord, concurrency: Concurrency) -> Option<Quantiles> {
    let Workload { input_tokens, output_tokens, shared_prefix, ref prompt, .. } = ladder.workload;
    let prompts = PromptAsk { source: prompt.clone(), input_tokens, shared_prefix, stream: 0, probe: 0 };
    let load = LoadPlan::new(&ladder.workload, &ladder.slas, concurrency, &Until::FirstTokens);
    let ask = ProbeAsk { load, prompts, output_tokens, silence: Seconds::ZERO };
    let measured = SimSession::new(engine, 0).probe(&ask, &mut |_| Advice::GoOn);
    Quantiles::of(Metric::Ttft, &measured.requests)
}

/// `y = at_zero + slope x`, by least squares.
struct Line {
    at_zero: f64,
    slope: f64,
}

impl Line {
    /// `None` where there are fewer than [`POINTS`] different `x`.
    fn through(points: &[(f64, f64)]) -> Option<Self> {
        if sizes(points) < POINTS {
            return None;
        }
        let count = points.len() as f64;
        let (mean_x, mean_y) = (points.iter().map(|p| p.0).sum::<f64>() / count, mean(points));
        let above: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let below: f64 = points.iter().map(|(x, _)| (x - mean_x) * (x - mean_x)).sum();
        let slope = above / below;
        Some(Self { at_zero: mean_y - slope * mean_x, slope })
    }

    /// Standard deviation of the points around the line, as a part of the line's height.
    fn relative_spread(&self, points: &[(f64, f64)]) -> f64 {
        let off = |(x, y): &(f64, f64)| y / (self.at_zero + self.slope * x) - 1.0;
        let squares: f64 = points.iter().map(off).filter(|off| off.is_finite()).map(|off| off * off).sum();
        (squares / (points.len() as f64 - 2.0).max(1.0)).sqrt()
    }
}

fn sizes(points: &[(f64, f64)]) -> usize {
    let mut sizes: Vec<u64> = points.iter().map(|(x, _)| x.to_bits()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.len()
}

fn mean(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|(_, y)| y).sum::<f64>() / points.len() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    crate::metric::quantile(&values, values.len(), 0.5).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_points() {
        let line = Line::through(&[(1.0, 3.0), (2.0, 5.0), (3.0, 7.0)]).unwrap();
        assert!((line.at_zero - 1.0).abs() < 1e-12 && (line.slope - 2.0).abs() < 1e-12);
        assert!(line.relative_spread(&[(1.0, 3.0), (2.0, 5.0), (3.0, 7.0)]) < 1e-12);
    }

    #[test]
    fn two_sizes_are_too_few_for_a_line() {
        assert!(Line::through(&[(1.0, 3.0), (1.0, 3.1), (2.0, 5.0), (2.0, 5.1)]).is_none());
    }
}
