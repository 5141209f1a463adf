//! Fits the simulator to a measured ladder, and says how far off it is.
//!
//! | parameter | from |
//! | --- | --- |
//! | prefill rate, decode step, and its part per sequence | those with which the simulator shows the TTFT and TPOT of the probes best, by least squares of the parts by which they are off |
//! | time to take a request in | how much later the first token of all comes in larger bursts |
//! | drift | how probes of the same size differ in their slowest TTFT; where too few were repeated, how they differ from the simulator |
//! | sequences, KV cache, token budget, load time | what the engine said of itself |
//! | error rate | how many of the requests that the engine answered it failed |
//!
//! Step noise and stalls are not told apart from drift: where they make whole probes differ they are part of it, else they are left out.
//!
//! Latencies are linear in what a step, a sequence in it and a prompt token take, as long as the same requests share the same steps.
//! When a held request leaves hangs on those times themselves, so they are found in rounds.

use std::collections::{BTreeMap, BTreeSet};

use crate::arrival::arrival;
use crate::attribution::Answered;
use crate::experiment::Workload;
use crate::load::{Hold, Load, LoadPlan};
use crate::metric::{Metric, Quantiles};
use crate::record::{CellRecord, LadderRecord, ProbeRecord, Run};
use crate::sim::times::{Row, Times, UNKNOWNS, row};
use crate::sim::{BurstWork, Leaves, SimEngine, SimSession, Stream, Trial, Work, true_ceilings};
use crate::units::{Concurrency, Seconds, Share};
use crate::watch::Until;

/// A simulated engine in the place of a measured one.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Its parameters.
    pub engine: SimEngine,
    /// Whether the engine failed requests and the run does not say how many, as older ones do not: its `error_rate` is 0 then.
    pub error_rate_is_unknown: bool,
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
    /// Median over those probes that were held after their first tokens of the relative error of the median TPOT.
    pub tpot_p50_error: f64,
    /// Each cell with a ceiling: its id, the measured bracket, and the ceiling of the simulated engine without drift.
    pub ceilings: Vec<(String, (Concurrency, Concurrency), Option<Concurrency>)>,
}

/// Why a ladder cannot be fitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// A simulated engine needs no stand-in.
    #[error("the run was made on a simulated engine: there is nothing to fit one to; take a run on vLLM")]
    Simulated,
    /// It ended before anything was measured.
    #[error("the run has no ladder")]
    Empty,
    /// The run has no such ladder.
    #[error("the run has no ladder `{asked}`; it has `{}`", known.join("`, `"))]
    NoLadder {
        /// What was asked for.
        asked: String,
        /// The run's ladders.
        known: Vec<String>,
    },
    /// Only bursts are understood.
    #[error(
        "ladder `{0}` is a sustained load, and only a burst can be fitted: measure one, with load = \"burst\" in [workload]"
    )]
    NotABurst(String),
    /// Times follow from sizes.
    #[error(
        "ladder `{ladder}` has bursts of {found} different sizes in which every request had its first token, and it takes {needed}: \
         measure it again with a higher TTFT limit beside those it has, so that more sizes of burst are let through"
    )]
    TooFew {
        /// The ladder.
        ladder: String,
        /// Sizes that serve.
        found: usize,
        /// Sizes that it takes.
        needed: usize,
    },
    /// How fast tokens come after the first was not seen.
    #[error(
        "ladder `{0}` has no burst that was held after its first tokens, so that nothing is known of how fast the others come: \
         measure it again with a longer hold, or with more than one of output_tokens"
    )]
    NotHeld(String),
    /// Bursts of which requests failed tell too little, and there are too few others.
    #[error(
        "the engine failed requests in {failing} bursts of ladder `{ladder}` (`{reason}`), which tell too little without the first tokens \
         of those, and the other bursts are too few: find out why it fails them, and measure it again"
    )]
    Failing {
        /// The ladder.
        ladder: String,
        /// Bursts of which requests failed.
        failing: usize,
        /// The most frequent reason in the first of them.
        reason: String,
    },
    /// What was measured is not what the simulator can show.
    #[error("ladder `{0}`: first tokens do not come later with more prompts, as they would on the simulator")]
    NotALine(String),
}

/// Sizes of probe that it takes: as many as there are times to find.
const SIZES: usize = UNKNOWNS;
/// Rounds after which times no longer change; most ladders take three.
const ROUNDS: usize = 8;
/// Probes beyond the first of their size that tell how such probes differ.
const REPEATS: usize = 3;

/// The ladder of a run of this id; the first burst where none is named.
///
/// # Errors
/// Where there is none of which the simulator could be made to stand in.
pub fn ladder_to_fit<'a>(run: &'a Run, asked: Option<&str>) -> Result<&'a LadderRecord, FitError> {
    if run.simulated {
        return Err(FitError::Simulated);
    }
    let is_burst = |ladder: &&LadderRecord| ladder.workload.load == Load::Burst;
    let first = run.ladders.first().ok_or(FitError::Empty)?;
    let ladder = match asked {
        None => run.ladders.iter().find(is_burst).unwrap_or(first),
        Some(id) => run.ladders.iter().find(|ladder| ladder.id == id).ok_or_else(|| FitError::NoLadder {
            asked: id.to_owned(),
            known: run.ladders.iter().map(|ladder| ladder.id.clone()).collect(),
        })?,
    };
    Some(ladder).filter(is_burst).ok_or_else(|| FitError::NotABurst(ladder.id.clone()))
}

/// Fits the simulator to a ladder of a run (see [`ladder_to_fit`]).
///
/// # Errors
/// Where it was not measured in a way that tells enough.
pub fn fit(run: &Run, ladder: &LadderRecord) -> Result<Fit, FitError> {
    let probes: Vec<&ProbeRecord> = ladder.probes.iter().filter(|probe| is_whole(probe)).collect();
    let engine = parameters(run, ladder, &probes).map_err(|error| why(error, ladder))?;
    let error_rate = error_rate(ladder);
    let engine = SimEngine { error_rate: error_rate.unwrap_or(Share::NONE), ..engine };
    Ok(Fit { engine, error_rate_is_unknown: error_rate.is_none(), quality: quality(run, ladder, &probes, engine) })
}

/// Whether a probe of a burst ran to its end: every request has its first token, or was failed, most of them not.
fn is_whole(probe: &ProbeRecord) -> bool {
    let Some(ttft) = probe.ttft.filter(|ttft| probe.counts && ttft.p50_s.is_some()) else { return false };
    ttft.count == probe.requests || failed_any(probe) && probe.answered.requests == probe.requests
}

/// Whether the engine failed requests of it; how many, older runs do not say.
fn failed_any(probe: &ProbeRecord) -> bool {
    !probe.errors.is_empty()
}

/// What a ladder lacks, or that this is for the requests that were failed.
fn why(error: FitError, ladder: &LadderRecord) -> FitError {
    let is_lack = matches!(error, FitError::TooFew { .. } | FitError::NotHeld(_));
    let mut failing = ladder.probes.iter().filter(|probe| probe.counts && failed_any(probe) && !is_whole(probe));
    match failing.next() {
        Some(first) if is_lack => FitError::Failing {
            ladder: ladder.id.clone(),
            failing: 1 + failing.count(),
            reason: first.errors.first().cloned().unwrap_or_default(),
        },
        _ => error,
    }
}

/// The share of all requests answered that the engine failed; `None` where it failed some, and nobody counted them.
fn error_rate(ladder: &LadderRecord) -> Option<Share> {
    let counted = |probe: &ProbeRecord| match probe.answered {
        Answered { errors: 0, .. } if failed_any(probe) => None,
        // Where none failed, how many were answered is not written down beside how many first tokens came.
        Answered { errors: 0, .. } => Some(Answered { requests: probe.ttft.map_or(0, |ttft| ttft.count), errors: 0 }),
        answered => Some(answered),
    };
    let all: Option<Answered> = ladder.probes.iter().filter(|probe| probe.counts).map(counted).sum();
    all.map(|all| Share::new(f64::from(all.errors) / f64::from(all.requests.max(1))).unwrap_or(Share::NONE))
}

fn parameters(run: &Run, ladder: &LadderRecord, probes: &[&ProbeRecord]) -> Result<SimEngine, FitError> {
    let resolved = run.engines.iter().find(|engine| engine.label == ladder.engine).and_then(|e| e.resolved.as_ref());
    let limits = SimEngine {
        max_num_seqs: resolved.and_then(|engine| engine.max_num_seqs).unwrap_or(256),
        max_num_batched_tokens: resolved.and_then(|engine| engine.max_num_batched_tokens).unwrap_or(8192),
        kv_cache_tokens: resolved.and_then(|engine| engine.kv_cache_tokens).unwrap_or(u64::from(u32::MAX)),
        load_time: resolved.and_then(|engine| engine.load_seconds).unwrap_or(Seconds::ZERO),
        ..SimEngine::unlimited(1.0)
    };
    let found = sizes(probes);
    if found < SIZES {
        return Err(FitError::TooFew { ladder: ladder.id.clone(), found, needed: SIZES });
    }
    if !probes.iter().any(|probe| ran_on(probe)) {
        return Err(FitError::NotHeld(ladder.id.clone()));
    }
    // Of bursts that fill the step in which the first prompt ends, which takes as long in each of them.
    let (input, budget) = (u64::from(ladder.workload.input_tokens), u64::from(limits.max_num_batched_tokens.max(1)));
    let fills = |probe: &&&ProbeRecord| u64::from(probe.concurrency.get()) * input >= input.div_ceil(budget) * budget;
    let first = |probe: &&ProbeRecord| Some((f64::from(probe.concurrency.get()), probe.ttft?.min_s));
    let arrival = arrival(&probes.iter().filter(fills).filter_map(first).collect::<Vec<_>>());
    let limits = SimEngine { request_time: Seconds::new(arrival).unwrap_or(Seconds::ZERO), ..limits };
    let mut times = guess(ladder, probes);
    for _ in 0..ROUNDS {
        let rows = rows(ladder, probes, times, limits);
        times = Times::of(&rows).unwrap_or(times);
    }
    if times.prompt_token <= 0.0 {
        return Err(FitError::NotALine(ladder.id.clone()));
    }
    let steady = times.engine(limits);
    Ok(SimEngine { probe_drift: drift(ladder, probes, steady), ..steady })
}

/// Whether a probe was left to run on: the tokens of one that was stopped among its prompts came no faster than those did.
fn ran_on(probe: &ProbeRecord) -> bool {
    probe.output_tokens_per_s.is_some() && probe.tpot.is_some_and(|tpot| tpot.min_s > 0.0)
}

/// Times of roughly the right size: all of a first token is its prompt, and a step is as long as the fastest token takes.
fn guess(ladder: &LadderRecord, probes: &[&ProbeRecord]) -> Times {
    let tokens = |probe: &ProbeRecord| f64::from(probe.concurrency.get()) * f64::from(ladder.workload.input_tokens);
    // Where the last first token never came, half of the prompts are computed by the median.
    let all = |ttft: Quantiles| ttft.max_s.or(Some(2.0 * ttft.p50_s?));
    let per_token = probes.iter().filter_map(|probe| Some(all(probe.ttft?)? / tokens(probe))).collect();
    let fastest = probes.iter().filter(|probe| ran_on(probe)).filter_map(|probe| Some(probe.tpot?.min_s));
    Times { step: fastest.fold(f64::INFINITY, f64::min), sequence: 0.0, prompt_token: median(per_token) }
}

/// How much of each latency steps, sequences and prompt tokens are, where these take about such times: of the median and the slowest
/// TTFT, and of the fastest and the slowest TPOT where requests were held.
fn rows(ladder: &LadderRecord, probes: &[&ProbeRecord], times: Times, limits: SimEngine) -> Vec<Row> {
    let mut of_size = BTreeMap::new();
    let mut rows = Vec::new();
    for probe in probes {
        let burst = of_size.entry(probe.concurrency);
        let burst = burst.or_insert_with(|| burst_of(ladder, probe.concurrency, times.engine(limits)));
        if let Some(ttft) = probe.ttft {
            let arrived = limits.request_time.get() * f64::from(probe.concurrency.get());
            // Of those that came it is the median and somewhat more, where others were failed.
            let middle = 0.5 * f64::from(probe.requests - 1) / f64::from(ttft.count.saturating_sub(1).max(1));
            let shown = [(middle, ttft.p50_s), (1.0, ttft.max_s)].into_iter();
            let shown =
                shown.filter_map(|(share, at)| Some((share, at? - arrived))).filter(|(_, seconds)| *seconds > 0.0);
            rows.extend(shown.filter_map(|(share, seconds)| Some(row(first_token(burst, share)?, seconds))));
        }
        if let Some(tpot) = probe.tpot.filter(|_| ran_on(probe)) {
            // What a stream of this TPOT is made of.
            let made_of = |stream: &Stream, tpot: f64| row(stream.work, tpot * f64::from(stream.tokens));
            let slower =
                |a: &&Stream, b: &&Stream| times.of_row(&made_of(a, 1.0)).total_cmp(&times.of_row(&made_of(b, 1.0)));
            let (fastest, slowest) = (burst.streams.iter().min_by(slower), burst.streams.iter().max_by(slower));
            let shown = [fastest.zip(Some(tpot.min_s)), slowest.zip(tpot.max_s)];
            rows.extend(shown.into_iter().flatten().map(|(stream, tpot)| made_of(stream, tpot)));
        }
    }
    rows.retain(|row: &Row| row.iter().all(|work| work.is_finite()));
    rows
}

fn burst_of(ladder: &LadderRecord, concurrency: Concurrency, engine: SimEngine) -> BurstWork {
    let Workload { input_tokens, output_tokens, .. } = ladder.workload;
    let load = LoadPlan::new(&ladder.workload, &ladder.slas, concurrency, &Until::Decided(Vec::new()));
    let leaves = match load.hold {
        Hold::For(hold) => Leaves::Held(hold),
        Hold::UntilFinished => Leaves::Finished,
    };
    BurstWork::of(&engine, (input_tokens, output_tokens), concurrency.get(), u32::MAX, leaves)
}

/// The work until the first token at this quantile, up to 1, as [`Quantiles`] has it.
fn first_token(burst: &BurstWork, share: f64) -> Option<Work> {
    let rank = share.min(1.0) * burst.first_tokens.len().checked_sub(1)? as f64;
    let (low, high) = (burst.first_tokens[rank.floor() as usize], burst.first_tokens[rank.ceil() as usize]);
    let part = rank.fract();
    Some(Work {
        steps: low.steps + (high.steps - low.steps) * part,
        sequences: low.sequences + (high.sequences - low.sequences) * part,
        prompt_tokens: low.prompt_tokens + (high.prompt_tokens - low.prompt_tokens) * part,
    })
}

/// The relative standard deviation of the pace from probe to probe.
fn drift(ladder: &LadderRecord, probes: &[&ProbeRecord], steady: SimEngine) -> f64 {
    let mut by_size: BTreeMap<Concurrency, Vec<f64>> = BTreeMap::new();
    // The slowest of all shows most of a probe; where it was failed in one of them, all are compared by their medians.
    let all_came = probes.iter().all(|probe| probe.ttft.is_some_and(|ttft| ttft.max_s.is_some()));
    let paced = |ttft: Option<Quantiles>| ttft.and_then(|ttft| if all_came { ttft.max_s } else { ttft.p50_s });
    for probe in probes {
        let simulated = paced(simulate(steady, ladder, probe.concurrency, Metric::Ttft));
        let off = paced(probe.ttft).zip(simulated).map(|(measured, simulated)| (measured / simulated).ln());
        if let Some(off) = off {
            by_size.entry(probe.concurrency).or_default().push(off);
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let squares = |values: &[f64], around: f64| values.iter().map(|value| (value - around).powi(2)).sum::<f64>();
    let repeats: usize = by_size.values().map(|of_size| of_size.len() - 1).sum();
    if repeats >= REPEATS {
        let within: f64 = by_size.values().map(|of_size| squares(of_size, mean(of_size))).sum();
        return (within / repeats as f64).sqrt();
    }
    let all: Vec<f64> = by_size.into_values().flatten().collect();
    (squares(&all, 0.0) / all.len().saturating_sub(UNKNOWNS).max(1) as f64).sqrt()
}

fn quality(run: &Run, ladder: &LadderRecord, probes: &[&ProbeRecord], engine: SimEngine) -> Quality {
    let steady = SimEngine { probe_drift: 0.0, ..engine };
    let calm = SimEngine { error_rate: Share::NONE, ..steady };
    let errors = |metric: Metric, of: fn(&Quantiles) -> Option<f64>| {
        let measured = |probe: &ProbeRecord| match metric {
            Metric::Tpot => probe.tpot.filter(|_| ran_on(probe)),
            _ => probe.ttft,
        };
        let error = |probe: &&ProbeRecord| {
            let measured = of(&measured(probe)?)?;
            Some((of(&simulate(calm, ladder, probe.concurrency, metric)?)? / measured - 1.0).abs())
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
        ttft_p50_error: errors(Metric::Ttft, |ttft| ttft.p50_s),
        ttft_p99_error: errors(Metric::Ttft, |ttft| ttft.p99_s),
        tpot_p50_error: errors(Metric::Tpot, |tpot| tpot.p50_s),
        ceilings: cells.filter_map(bracket).collect(),
    }
}

/// TTFT of a burst of this size on the simulator, or what else of it, for which it is held.
fn simulate(engine: SimEngine, ladder: &LadderRecord, concurrency: Concurrency, metric: Metric) -> Option<Quantiles> {
    let until = if metric == Metric::Ttft { Until::FirstTokens } else { Until::Decided(Vec::new()) };
    let trial = Trial { workload: &ladder.workload, slas: &ladder.slas, concurrency, until: &until, number: (0, 0) };
    Quantiles::of(metric, &trial.measure_to_the_end(SimSession::new(engine, 0)).requests)
}

fn sizes(probes: &[&ProbeRecord]) -> usize {
    probes.iter().map(|probe| probe.concurrency).collect::<BTreeSet<_>>().len()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    crate::metric::quantile(&values, values.len(), 0.5).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Run {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_gpu_is_stood_in_for_within_a_few_parts_in_a_hundred() {
        let run = run(include_str!("../../results/llama-8b-shape/20261126T214225Z-f3bec17/run.json"));
        let Fit { engine, quality, .. } = fit(&run, ladder_to_fit(&run, None).unwrap()).unwrap();
        assert!(quality.ttft_p50_error < 0.02 && quality.ttft_p99_error < 0.015, "{quality:?}");
        assert!(quality.tpot_p50_error < 0.05, "{quality:?}");
        assert_eq!(engine.error_rate, Share::NONE);
        // Thirteen bursts of five, of which the last first tokens came after 0.643 to 0.667 s.
        assert!((0.008..0.016).contains(&engine.probe_drift), "{engine:?}");
        assert!((1e-3..2e-3).contains(&engine.request_time.get()), "{engine:?}");
        // Tokens of one sequence take 5.05 ms, of two 5.24 ms, of four 5.55 ms (measured by another run, which this knows nothing of).
        for (sequences, measured) in [(1.0, 5.05e-3), (2.0, 5.24e-3), (4.0, 5.55e-3)] {
            let step = engine.decode_step.get() + sequences * engine.decode_step_per_sequence.get();
            assert!((step / measured - 1.0).abs() < 0.05, "{sequences}: {step}");
        }
        for (cell, (pass, fail), simulated) in quality.ceilings {
            let simulated = simulated.unwrap();
            assert!(pass <= simulated && simulated < fail, "{cell}: {simulated}");
        }
    }

    #[test]
    fn the_ladder_to_fit_is_the_one_that_is_named_or_else_the_first_burst() {
        let mut run = run(include_str!("../../results/llama-8b-shape/20261126T214225Z-f3bec17/run.json"));
        let burst = run.ladders[0].id.clone();
        let asked = |run: &Run, id: Option<&str>| ladder_to_fit(run, id).map(|ladder| ladder.id.clone());
        let mut sustained = run.ladders[0].clone();
        sustained.id = "sustained".into();
        sustained.workload.load = Load::Sustained;
        run.ladders.insert(0, sustained);
        assert_eq!(asked(&run, None), Ok(burst.clone()));
        assert_eq!(asked(&run, Some(&burst)), Ok(burst.clone()));
        assert_eq!(asked(&run, Some("sustained")), Err(FitError::NotABurst("sustained".into())));
        let unknown = asked(&run, Some("other")).unwrap_err().to_string();
        assert_eq!(unknown, format!("the run has no ladder `other`; it has `sustained`, `{burst}`"));
        run.ladders.truncate(1);
        assert_eq!(asked(&run, None), Err(FitError::NotABurst("sustained".into())));
        run.ladders.clear();
        assert_eq!(asked(&run, None), Err(FitError::Empty));
        run.simulated = true;
        assert_eq!(asked(&run, None), Err(FitError::Simulated));
    }

    #[test]
    fn what_was_not_measured_in_a_way_that_tells_is_refused() {
        let run = run(include_str!("../../results/llama-8b-shape/20261126T214225Z-f3bec17/run.json"));
        let id = || run.ladders[0].id.clone();
        let with = |keep: fn(&ProbeRecord) -> bool| {
            let mut ladder = run.ladders[0].clone();
            ladder.probes.retain(keep);
            fit(&run, &ladder)
        };
        let too_few = FitError::TooFew { ladder: id(), found: 2, needed: 3 };
        assert_eq!(with(|probe| probe.concurrency.get() > 60), Err(too_few));
        assert_eq!(with(|probe| probe.until == Until::FirstTokens), Err(FitError::NotHeld(id())));
    }

    /// The first ladder of a run whose bursts lost these shares of their requests before the first token, and whether that was counted.
    fn failing(run: &Run, share: f64, is_counted: bool) -> LadderRecord {
        let mut ladder = run.ladders[0].clone();
        for probe in ladder.probes.iter_mut().filter(|probe| is_whole(probe)) {
            let errors = (f64::from(probe.requests) * share).round() as u32;
            if let Some(ttft) = probe.ttft.as_mut().filter(|_| errors > 0) {
                ttft.count -= errors;
                (ttft.p99_s, ttft.max_s) = (None, None);
                probe.errors = vec!["CUDA error".into()];
                probe.answered =
                    if is_counted { Answered { requests: probe.requests, errors } } else { Answered::default() };
            }
        }
        ladder
    }

    #[test]
    fn requests_that_the_engine_failed_are_its_error_rate() {
        let run = run(include_str!("../../results/llama-8b-shape/20261126T214225Z-f3bec17/run.json"));
        let whole = fit(&run, &run.ladders[0]).unwrap().engine;
        let ladder = failing(&run, 0.02, true);
        // As it is published, and read back.
        let ladder: LadderRecord = serde_json::from_value(serde_json::to_value(&ladder).unwrap()).unwrap();
        let Fit { engine, quality, error_rate_is_unknown } = fit(&run, &ladder).unwrap();
        assert!((0.004..0.02).contains(&engine.error_rate.get()) && !error_rate_is_unknown, "{engine:?}");
        assert!((engine.prefill_tokens_per_second / whole.prefill_tokens_per_second - 1.0).abs() < 0.05, "{engine:?}");
        assert!(quality.ttft_p50_error < 0.05 && quality.tpot_p50_error < 0.05, "{quality:?}");
        // As they come after their first tokens, nothing else is lost.
        let mut ladder = run.ladders[0].clone();
        let probe = ladder.probes.iter_mut().find(|probe| is_whole(probe)).unwrap();
        probe.errors = vec!["aborted".into()];
        let unknown = fit(&run, &ladder).unwrap();
        assert!(unknown.error_rate_is_unknown && unknown.engine.error_rate == Share::NONE);
    }

    #[test]
    fn a_run_that_cannot_be_fitted_for_its_failures_says_so() {
        let run = run(include_str!("../../results/llama-8b-shape/20261126T214225Z-f3bec17/run.json"));
        let mut ladder = failing(&run, 0.1, false);
        ladder.probes.iter_mut().filter(|probe| is_whole(probe)).for_each(|probe| probe.counts = false);
        let refused = fit(&run, &ladder).unwrap_err().to_string();
        assert!(refused.contains("failed requests") && refused.contains("(`CUDA error`)"), "{refused}");
        assert!(!refused.contains("longer hold") && !refused.contains("TTFT limit"), "{refused}");
    }
}
