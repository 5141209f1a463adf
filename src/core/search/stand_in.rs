//! A simulated engine that stands in for the measured one, to foretell levels that were not probed.
//!
//! How a level fares under a sustained load, or under limits on later tokens, hangs on which requests share a step and which
//! end together; latencies lie on no line. So the simulator is made to serve what was measured: the limits of its batches are those
//! that the engine stated, and what a step, a sequence in it and a prompt token take follows from the probes by least squares.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;

use super::belief::Sway;
use super::fared::{APART, Draw, Fared};
use super::level::Machine;
use super::life::steps_of_a_life;
use super::observation::Observation;
use super::seen::{Seen, likely_errors};
use crate::experiment::Workload;
use crate::load::{Hold, Load, LoadPlan};
use crate::protocol::Resolved;
use crate::sim::times::{EXACT, Row, Times, UNKNOWNS, row};
use crate::sim::{BurstWork, Leaves, SimEngine, SimSession, Trial};
use crate::sla::Sla;
use crate::units::{Concurrency, Seconds, Share};
use crate::watch::Until;

/// Stands in for the engine of one ladder.
#[derive(Debug)]
pub(super) struct StandIn {
    workload: Workload,
    slas: Vec<Sla>,
    /// An engine with the limits of the measured one, and what its work takes as far as that is known.
    limits: SimEngine,
    times: Option<Times>,
    exact: bool,
    /// What was measured is known to be no work of an engine without chance.
    by_chance: bool,
    /// The share of requests that it fails, where it matters to the others which these are: they change which share a step.
    fails: Share,
    /// Of each probe.
    told: Vec<Told>,
    /// How it fared at the levels that were asked for.
    fared: RefCell<BTreeMap<u32, Fared>>,
}

/// How long a probe is made.
#[derive(Clone, Copy)]
enum Extent {
    /// As the search has probes made: until it can tell nothing more.
    Decided,
    ToTheEnd,
}

impl StandIn {
    /// For an engine that says so of itself, of which nothing was measured yet.
    pub fn new(workload: &Workload, slas: &[Sla], engine: &Resolved) -> Self {
        let unlimited = SimEngine::unlimited(1.0);
        let limits = SimEngine {
            max_num_seqs: engine.max_num_seqs.unwrap_or(unlimited.max_num_seqs),
            max_num_batched_tokens: engine.max_num_batched_tokens.unwrap_or(unlimited.max_num_batched_tokens),
            kv_cache_tokens: engine.kv_cache_tokens.unwrap_or(unlimited.kv_cache_tokens),
            ..unlimited
        };
        Self {
            workload: workload.clone(),
            slas: slas.to_vec(),
            limits,
            times: None,
            exact: false,
            by_chance: false,
            fails: Share::NONE,
            told: Vec::new(),
            fared: RefCell::default(),
        }
    }

    /// Brings it up to these probes, unless it is near to what they say already.
    pub fn learn(&mut self, seen: &[Seen]) {
        let takes_in_otherwise = self.learn_arrival(seen);
        let known = self.times.filter(|_| self.exact);
        for seen in &seen[self.told.len()..] {
            self.told.push(self.told_by(seen, known));
        }
        let rows = calm(&self.told, seen);
        let Some(mut times) = Times::of(&rows) else { return };
        let failed = likely_errors(seen);
        let was_exact = self.exact;
        self.exact = failed == 0.0 && self.is_overdetermined(&self.told, seen) && times.explain(&rows);
        if failed == 0.0 && !self.exact && !self.by_chance {
            times = self.look_beyond_holds(times, seen);
        }
        let rows = calm(&self.told, seen);
        let tolerance = if self.exact { EXACT } else { SIMILAR };
        let is_near = |old: Times| rows.iter().all(|row| (old.of_row(row) / times.of_row(row) - 1.0).abs() < tolerance);
        let others_differ = self.workload.load == Load::Sustained || self.slas.iter().any(Sla::limits_later);
        let fails = if others_differ { failed } else { 0.0 };
        let as_many_fail = (fails - self.fails.get()).abs() <= SIMILAR_FAILS * self.fails.get();
        // What is exact is simulated on one machine alone.
        let is_as_before = was_exact == self.exact && as_many_fail && !takes_in_otherwise;
        if self.times.is_some_and(is_near) && is_as_before {
            return;
        }
        self.times = Some(times);
        self.fails = Share::new(fails).unwrap_or(Share::NONE);
        self.fared.borrow_mut().clear();
    }

    /// Brings what it takes to take a request in up to these probes, unless it is near to that already; whether it did.
    fn learn_arrival(&mut self, seen: &[Seen]) -> bool {
        let (known, shown) = (self.limits.request_time.get(), seen.last().map_or(0.0, Seen::arrival));
        let is_other = (known - shown).abs() > SIMILAR * shown;
        if is_other {
            self.limits.request_time = Seconds::new(shown).unwrap_or(Seconds::ZERO);
            self.told.clear();
        }
        is_other
    }

    /// Whether these probes tell of more moments than they have unknowns. All must be told from each other where requests decode for long; in a burst
    /// what decodes beside prompts comes with as many of their tokens at any level, and so does what puts out one token.
    fn is_overdetermined(&self, told: &[Told], seen: &[Seen]) -> bool {
        let moments: usize = without_stall(told, seen).map(|told| told.moments).sum();
        let unknowns = Times::told_by(&calm(told, seen));
        let decodes = self.workload.load == Load::Sustained && self.workload.output_tokens > 1;
        moments > unknowns && (unknowns == UNKNOWNS || !decodes)
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

    /// These times, or those that explain to the last digit also what came after the first requests were held. When that was on the
    /// engine's clock is known once its times are.
    fn look_beyond_holds(&mut self, times: Times, seen: &[Seen]) -> Times {
        let mut mended = times;
        for _ in 0..ROUNDS {
            let by_probe: Vec<Told> = seen.iter().map(|seen| self.told_by(seen, Some(mended))).collect();
            let rows = calm(&by_probe, seen);
            let Some(next) = Times::of(&rows) else { break };
            let is_told = self.is_overdetermined(&by_probe, seen);
            self.exact = is_told && next.explain(&rows);
            self.by_chance = is_told && !self.exact;
            if self.exact {
                self.told = by_probe;
                return next;
            }
            mended = next;
        }
        times
    }

    /// Steps, sequences and prompt tokens in a second of the probe: until some of its first tokens, and from the first of them
    /// until that request was left, which is decoding for the most part. Up to where the first request of a burst was held, where
    /// the times are not `known` from which it follows when that was.
    fn told_by(&self, seen: &Seen, known: Option<Times>) -> Told {
        let Workload { input_tokens, output_tokens, .. } = self.workload;
        let (tokens, until) = seen.probe.streamed.unwrap_or_default();
        let asked = if seen.probe.first_tokens_only { Until::FirstTokens } else { Until::Decided(Vec::new()) };
        let plan = LoadPlan::new(&self.workload, &self.slas, seen.probe.concurrency, &asked);
        let first = seen.opening().first().copied().unwrap_or_default();
        let (leaves, left) = match (plan.load, plan.hold, known) {
            (Load::Sustained, ..) => (Leaves::Replaced, f64::INFINITY),
            (Load::Burst, Hold::UntilFinished, _) => (Leaves::Finished, f64::INFINITY),
            (Load::Burst, Hold::For(hold), Some(_)) => (Leaves::Held(hold), f64::INFINITY),
            (Load::Burst, Hold::For(hold), None) => (Leaves::Finished, first + hold.get()),
        };
        let (engine, sizes) = (self.engine_of(known), (input_tokens, output_tokens));
        let work = BurstWork::of(&engine, sizes, seen.concurrency(), tokens, leaves);
        let shown = seen.opening().partition_point(|at| *at <= left);
        let count = work.first_tokens.len().min(shown);
        let Some(begun) = work.first_tokens.first().filter(|_| count > 0) else { return Told::default() };
        let mut ranks = vec![0, count / 2, count - 1];
        // Those of one step say the same.
        ranks.dedup_by_key(|rank| work.first_tokens[*rank]);
        let arrived = self.limits.request_time.get() * f64::from(seen.concurrency());
        let opening = ranks.iter().map(|rank| (work.first_tokens[*rank], seen.opening()[*rank] - arrived));
        let streamed = work.streamed.map(|work| (work - *begun, until - first));
        let told = opening.chain(streamed).filter(|(_, seconds)| *seconds > 0.0);
        let rows: Vec<Row> = told.map(|(work, seconds)| row(work, seconds)).collect();
        // What was streamed until another first token came is the difference of two moments that are told anyway.
        let is_told = ranks.iter().any(|rank| (seen.opening()[*rank] / until - 1.0).abs() < EXACT);
        Told { moments: rows.len() - usize::from(is_told && streamed.is_some_and(|(_, seconds)| seconds > 0.0)), rows }
    }

    /// The margin that is foretold for a level (see [`Level::margin`]), of a probe that is no slower than the machine is in the middle.
    pub fn margin(&self, machine: &Machine, concurrency: u32, sla: usize, needed: f64, spread: f64) -> f64 {
        self.smooth(concurrency, |level| self.fared(level).margin(machine, sla, needed, spread))
    }

    /// Whether probes of a level differ because the engine fails some of their requests.
    pub fn churns(&self) -> bool {
        self.fails > Share::NONE
    }

    /// How the margin of a level differs from probe to probe.
    pub fn sway(&self, concurrency: u32, sla: usize, needed: f64) -> Sway {
        if !self.is_known() {
            return Sway::PACE;
        }
        let stretch = self.smooth(concurrency, |level| self.fared(level).stretch(sla, needed));
        // What single steps differ by is not stretched, but where it hangs on those that compute prompts.
        let steps = self.later_steps(concurrency, sla, needed).filter(|_| stretch < STRETCHED);
        Sway {
            churn: self.smooth(concurrency, |level| self.fared(level).churn(sla, needed)),
            stretch,
            steps: steps.map(|steps| steps * stretch * stretch),
            opening: if steps.is_some() && !self.is_judged_by_tokens(sla) { 0.0 } else { 1.0 },
        }
    }

    /// Whether it is the time between the tokens of a burst that an SLA limits, many of which come beside prompts of the opening.
    fn is_judged_by_tokens(&self, sla: usize) -> bool {
        let limits = &self.slas[sla];
        self.workload.load == Load::Burst && limits.tpot_limit().is_some() && limits.e2e.is_none()
    }

    /// Steps that the times are a sum of which an SLA limits, where these are not those of first tokens.
    fn later_steps(&self, concurrency: u32, sla: usize, needed: f64) -> Option<f64> {
        let (times, limits) = (self.times?, &self.slas[sla]);
        match () {
            () if self.is_judged_by_tokens(sla) => {
                // Between its first token and its last.
                let held = self.workload.hold.laid_down().get() / times.step.max(f64::MIN_POSITIVE);
                Some(f64::from(self.workload.output_tokens.saturating_sub(1)).min(held).max(1.0))
            }
            () if !limits.limits_later() => None,
            () => {
                // What a level is about is what its neighbour is about, where each takes many probes.
                let level = if self.churns() { around(concurrency).0 } else { concurrency };
                let is_about_others = !self.fared(level).is_about_first_tokens(sla, needed);
                is_about_others.then(|| steps_of_a_life(times, &self.limits, &self.workload, concurrency))
            }
        }
    }

    /// What is foretold for a level, of which `at` tells it of levels that are simulated: where each of them takes many probes, it lies on
    /// the line between a few.
    fn smooth(&self, concurrency: u32, at: impl Fn(u32) -> f64) -> f64 {
        let (low, high) = if self.churns() { around(concurrency) } else { (concurrency, concurrency) };
        if low == concurrency {
            return at(concurrency);
        }
        let part = f64::from(concurrency - low) / f64::from(high - low);
        at(low) * (1.0 - part) + at(high) * part
    }

    /// How long a probe of a level takes that is measured for all SLAs, in seconds.
    pub fn seconds(&self, concurrency: u32) -> f64 {
        self.fared(concurrency).seconds()
    }

    /// How it fares at a level, simulated when it is first asked for.
    fn fared(&self, concurrency: u32) -> RefMut<'_, Fared> {
        RefMut::map(self.fared.borrow_mut(), |fared| {
            fared.entry(concurrency).or_insert_with(|| self.probe(concurrency))
        })
    }

    fn probe(&self, concurrency: u32) -> Fared {
        let is_stretched = self.workload.load == Load::Burst && !self.exact;
        let at = |slower: f64| self.draws(concurrency, slower, Extent::ToTheEnd);
        let apart = is_stretched.then(|| [-APART, 0.0, APART].map(at));
        Fared::new(self.draws(concurrency, 0.0, Extent::Decided), apart)
    }

    /// A few probes where some requests fail, or one, on a machine that is slower by this logarithm than the one measured.
    fn draws(&self, concurrency: u32, slower: f64, extent: Extent) -> Vec<Draw> {
        let draws = if self.churns() { DRAWS } else { 1 };
        (0..draws).map(|draw| self.draw(concurrency, slower, extent, draw)).collect()
    }

    fn draw(&self, concurrency: u32, slower: f64, extent: Extent, draw: u32) -> Draw {
        let concurrency = Concurrency::new(concurrency).unwrap_or(Concurrency::ONE);
        let until = Until::Decided((0..self.slas.len()).collect());
        let (workload, slas) = (&self.workload, self.slas.as_slice());
        let trial = Trial { workload, slas, concurrency, until: &until, number: (0, draw) };
        let session = SimSession::new(self.engine(slower), 0);
        let measured = match extent {
            Extent::Decided => trial.measure(session),
            Extent::ToTheEnd => trial.measure_to_the_end(session),
        };
        Draw { seconds: measured.seconds.get(), under: Observation::of_trial(&trial, &measured).under }
    }

    fn engine(&self, slower: f64) -> SimEngine {
        self.engine_of(self.times.map(|times| times.slower(slower)))
    }

    /// An engine whose work takes these times.
    fn engine_of(&self, times: Option<Times>) -> SimEngine {
        let Some(times) = times else { return self.limits };
        SimEngine { error_rate: self.fails, ..times.engine(self.limits) }
    }
}

/// What one probe tells of the times of the engine.
#[derive(Debug, Default)]
struct Told {
    rows: Vec<Row>,
    /// Rows that do not follow from the others.
    moments: usize,
}

fn without_stall<'a>(told: &'a [Told], seen: &'a [Seen]) -> impl Iterator<Item = &'a Told> {
    told.iter().zip(seen).filter(|(_, seen)| seen.stall.is_none()).map(|(told, _)| told)
}

/// All rows of probes that did not stall.
fn calm(told: &[Told], seen: &[Seen]) -> Vec<Row> {
    without_stall(told, seen).flat_map(|told| &told.rows).copied().collect()
}

/// The levels on either side of this one, of those that are simulated where each takes many probes: about a twentieth apart.
fn around(level: u32) -> (u32, u32) {
    let stride = (level / 24).max(1).next_power_of_two();
    let low = level - level % stride;
    (low, low + stride)
}

/// A level that is stretched by this hangs on when prompts are computed.
const STRETCHED: f64 = 2.0;
/// How often what a probe shows beyond its holds is brought into line with when that was.
const ROUNDS: usize = 3;
/// Part by which a stand-in may be off: where it is brought into line with the levels that were probed, its shape is what counts.
const SIMILAR: f64 = 0.1;
/// And by which part the share of requests that it fails may be off.
const SIMILAR_FAILS: f64 = 0.3;
/// Probes of a level that tell how much they differ.
const DRAWS: u32 = 16;

#[cfg(test)]
mod tests;
