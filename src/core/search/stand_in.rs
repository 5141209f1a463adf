//! A simulated engine that stands in for the measured one, to foretell levels that were not probed.
//!
//! How a level fares under a sustained load, or under limits on later tokens, hangs on which requests share a step and which
//! end together; latencies lie on no line. So the simulator is made to serve what was measured: the limits of its batches are those
//! that the engine stated, and what a step, a sequence in it and a prompt token take follows from the probes by least squares.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::belief::Standing;
use super::level::Level;
use super::observation::{Observation, UnderSla};
use super::pace::Judged;
use super::seen::Seen;
use crate::experiment::Workload;
use crate::load::{Hold, Load, LoadPlan};
use crate::protocol::{ProbeAsk, PromptAsk, Resolved};
use crate::sim::{BurstWork, SimEngine, SimSession, Work};
use crate::sla::Sla;
use crate::units::{Concurrency, Seconds, Share};
use crate::watch::{Until, Watch};

/// Stands in for the engine of one ladder.
#[derive(Debug)]
pub(super) struct StandIn {
    workload: Workload,
    slas: Vec<Sla>,
    /// The engine, and how it fared at the levels that were asked for; the times of its steps are those of `times`.
    engine: SimEngine,
    times: Option<Times>,
    exact: bool,
    fared: RefCell<BTreeMap<u32, Vec<UnderSla>>>,
}

/// What work takes, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    step: f64,
    sequence: f64,
    prompt_token: f64,
}

impl StandIn {
    /// For an engine that says so of itself, of which nothing was measured yet.
    pub fn new(workload: &Workload, slas: &[Sla], engine: &Resolved) -> Self {
        let none = Share::new(0.0).unwrap_or(Share::ALL);
        let engine = SimEngine {
            prefill_tokens_per_second: 1.0,
            decode_step: Seconds::ZERO,
            decode_step_per_sequence: Seconds::ZERO,
            max_num_seqs: engine.max_num_seqs.unwrap_or(u32::MAX),
            max_num_batched_tokens: engine.max_num_batched_tokens.unwrap_or(u32::MAX),
            kv_cache_tokens: engine.kv_cache_tokens.unwrap_or(u64::from(u32::MAX)),
            load_time: Seconds::ZERO,
            step_noise: 0.0,
            probe_drift: 0.0,
            error_rate: none,
            stall_rate: none,
            stall: Seconds::ZERO,
        };
        Self {
            workload: workload.clone(),
            slas: slas.to_vec(),
            engine,
            times: None,
            exact: false,
            fared: RefCell::default(),
        }
    }

    /// Brings it up to these probes, unless it is within `tolerance` of what they say.
    pub fn learn(&mut self, seen: &[Seen], tolerance: f64) {
        let rows: Vec<[f64; 3]> = seen.iter().flat_map(|seen| self.rows(seen)).collect();
        let Some(times) = Times::of(&rows) else { return };
        let is_certain = least_squares(&rows, &[0, 1, 2]).is_some() && rows.len() > 3;
        self.exact = is_certain && rows.iter().all(|row| (times.of_row(row) - 1.0).abs() < EXACT);
        let is_near = |old: Times| rows.iter().all(|row| (old.of_row(row) / times.of_row(row) - 1.0).abs() < tolerance);
        if self.times.is_some_and(is_near) {
            return;
        }
        self.times = Some(times);
        self.engine.prefill_tokens_per_second = 1.0 / times.prompt_token.max(LEAST);
        self.engine.decode_step = Seconds::new(times.step).unwrap_or(Seconds::ZERO);
        self.engine.decode_step_per_sequence = Seconds::new(times.sequence).unwrap_or(Seconds::ZERO);
        self.fared.borrow_mut().clear();
    }

    /// Whether enough was measured.
    pub fn is_known(&self) -> bool {
        self.times.is_some()
    }

    /// Whether it says what was measured to the last digit, in more moments than it has unknowns: no machine that drifts could be
    /// like that.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Steps, sequences and prompt tokens in a second of the probe: until some of its first tokens, and from the first of them
    /// until that request was left, which is decoding for the most part.
    fn rows(&self, seen: &Seen) -> Vec<[f64; 3]> {
        let Workload { input_tokens, output_tokens, .. } = self.workload;
        let (tokens, until) = seen.probe.streamed.filter(|_| seen.stall.is_none()).unwrap_or_default();
        let work = BurstWork::of(&self.engine, input_tokens, output_tokens, seen.concurrency(), tokens);
        // Those of a burst are aborted once they were held.
        let left = match (seen.probe.load, self.workload.hold) {
            (Load::Burst, Hold::For(hold)) => seen.opening().first().map_or(0.0, |first| first + hold.get()),
            _ => f64::INFINITY,
        };
        let shown = seen.opening().partition_point(|at| *at <= left);
        let known = work.first_tokens.len().min(shown);
        let Some(first) = known.checked_sub(1).map(|_| (work.first_tokens[0], seen.opening()[0])) else {
            return Vec::new();
        };
        let ranks = [0, known / 2, known - 1];
        let opening = work.first_tokens[..known].iter().copied().zip(seen.opening().iter().copied()).enumerate();
        let opening = opening.filter(|(rank, _)| ranks.contains(rank)).map(|(_, row)| row);
        let streamed = work.streamed.map(|work| (work - first.0, until - first.1));
        let row = |(work, seconds): (Work, f64)| {
            [work.steps / seconds, work.sequences / seconds, work.prompt_tokens / seconds]
        };
        opening.chain(streamed).filter(|(_, seconds)| *seconds > 0.0).map(row).collect()
    }

    /// What a probe of this level that stands so is foretold to show of an SLA.
    pub fn at<T>(&self, concurrency: u32, sla: usize, standing: Standing, ask: impl FnOnce(&Level) -> T) -> T {
        let mut fared = self.fared.borrow_mut();
        let under = &fared.entry(concurrency).or_insert_with(|| self.probe(concurrency))[sla];
        let mut level = Level::new(concurrency, Judged::Later);
        level.add(under, standing);
        ask(&level)
    }

    fn probe(&self, concurrency: u32) -> Vec<UnderSla> {
        let concurrency = Concurrency::new(concurrency).unwrap_or(Concurrency::ONE);
        let until = Until::Decided((0..self.slas.len()).collect());
        let load = LoadPlan::new(&self.workload, &self.slas, concurrency, &until);
        let prompts = PromptAsk {
            source: self.workload.prompt.clone(),
            input_tokens: self.workload.input_tokens,
            shared_prefix: self.workload.shared_prefix,
            stream: 0,
            probe: 0,
        };
        let ask = ProbeAsk { load, prompts, output_tokens: self.workload.output_tokens, silence: Seconds::ZERO };
        let mut watch = Watch::new(&load, &self.slas, &until);
        let measured = SimSession::new(self.engine, 0).probe(&ask, &mut |event| {
            watch.observe(event);
            watch.advice()
        });
        Observation::new(&load, &until, &measured, &self.slas).under
    }
}

impl Times {
    /// Those that explain the rows best, none of them negative; `None` where there are no rows.
    ///
    /// The least squares of three unknowns that may not be negative are those of one of the subsets of them.
    fn of(rows: &[[f64; 3]]) -> Option<Self> {
        let subsets: [&[usize]; 7] = [&[0, 1, 2], &[0, 2], &[1, 2], &[0, 1], &[2], &[0], &[1]];
        let solved = subsets.iter().filter_map(|columns| least_squares(rows, columns));
        let fits = solved.filter(|times| times.iter().all(|time| *time >= 0.0));
        let misfit = |times: &[f64; 3]| -> f64 {
            rows.iter().map(|row| (row.iter().zip(times).map(|(a, b)| a * b).sum::<f64>() - 1.0).powi(2)).sum()
        };
        let [step, sequence, prompt_token] = fits.min_by(|a, b| misfit(a).total_cmp(&misfit(b)))?;
        Some(Self { step, sequence, prompt_token })
    }

    fn of_row(&self, row: &[f64; 3]) -> f64 {
        row[0] * self.step + row[1] * self.sequence + row[2] * self.prompt_token
    }
}

/// What of these columns adds up to 1 in each row, by least squares; `None` where the columns do not differ.
fn least_squares(rows: &[[f64; 3]], columns: &[usize]) -> Option<[f64; 3]> {
    // Gram and Schmidt, as modified: q is orthonormal, and columns = q r.
    let mut q: Vec<Vec<f64>> = columns.iter().map(|at| rows.iter().map(|row| row[*at]).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut r = vec![vec![0.0; columns.len()]; columns.len()];
    for at in 0..columns.len() {
        let whole = dot(&q[at], &q[at]).sqrt();
        for before in 0..at {
            let part = dot(&q[before], &q[at]);
            r[before][at] = part;
            let (done, rest) = q.split_at_mut(at);
            rest[0].iter_mut().zip(&done[before]).for_each(|(value, unit)| *value -= part * unit);
        }
        let length = dot(&q[at], &q[at]).sqrt();
        if length <= whole * ALIKE {
            return None;
        }
        r[at][at] = length;
        q[at].iter_mut().for_each(|value| *value /= length);
    }
    let mut solved = vec![0.0; columns.len()];
    for at in (0..columns.len()).rev() {
        let known: f64 = (at + 1..columns.len()).map(|after| r[at][after] * solved[after]).sum();
        solved[at] = (q[at].iter().sum::<f64>() - known) / r[at][at];
    }
    let mut times = [0.0; 3];
    columns.iter().zip(solved).for_each(|(at, value)| times[*at] = value);
    Some(times)
}

/// Parts of what was measured that are how times were rounded.
const EXACT: f64 = 1e-7;
/// Columns that differ by less than this part of them do not differ.
const ALIKE: f64 = 1e-7;
/// Least time of a prompt token, in seconds.
const LEAST: f64 = 1e-12;
