//! The true ceilings of a simulated engine, by brute force over R(N).
//!
//! R(N) is the share of ok requests in all of many repeated probes of N in flight. Without chance one probe of each level
//! tells it exactly, and every level up to the ceiling is probed. With chance the same many repetitions are made at each
//! level that matters: R(N) is followed to where it falls below the rate, and where it may do so at lower levels too, each of
//! them is looked at as often as it takes to be sure.

mod dips;

use rayon::prelude::*;

use self::dips::below_dips;
use super::{SimEngine, SimSession, Trial};
use crate::experiment::Workload;
use crate::load::Load;
use crate::request::RequestRecord;
use crate::sla::{Outcome, Sla, Tally};
use crate::units::{Concurrency, Seconds};
use crate::watch::Until;

/// Repetitions for a first look and for the answer.
const ROUGH: u32 = 64;
const FINE: u32 = 2000;
/// Probes whose luck is no search's luck.
const STREAM: u64 = 0x7275_7468;

impl SimEngine {
    /// Whether a probe asked twice would differ.
    pub fn has_chance(&self) -> bool {
        self.step_noise > 0.0
            || self.probe_drift > 0.0
            || self.error_rate.get() > 0.0
            || (self.stall_rate.get() > 0.0 && self.stall > Seconds::ZERO)
    }
}

/// The highest level up to `cap` at which the long-run share of ok requests is at least the rate asked for, of each SLA;
/// `None` where not even one request in flight is enough.
pub fn true_ceilings(
    engine: SimEngine,
    workload: &Workload,
    slas: &[Sla],
    cap: Concurrency,
) -> Vec<Option<Concurrency>> {
    let truth = Truth { session: SimSession::new(engine, 0), workload, slas };
    let ceilings = match engine.has_chance() {
        true => {
            let edges = (0..slas.len()).into_par_iter().map(|sla| truth.edge(sla, cap.get())).collect();
            if truth.falls_only() { edges } else { below_dips(&truth, engine, edges) }
        }
        false => truth.level_by_level(cap.get()),
    };
    ceilings.into_iter().map(Concurrency::new).collect()
}

struct Truth<'a> {
    session: SimSession,
    workload: &'a Workload,
    slas: &'a [Sla],
}

impl Truth<'_> {
    fn level_by_level(&self, cap: u32) -> Vec<u32> {
        let mut ceilings = vec![None; self.slas.len()];
        for level in (1..=cap).filter_map(Concurrency::new) {
            let requests = self.requests(level, 0);
            for (ceiling, (requests, sla)) in ceilings.iter_mut().zip(requests.iter().zip(self.slas)) {
                if ceiling.is_none() && !requests.keeps(sla) {
                    *ceiling = Some(level.get() - 1);
                }
            }
            if ceilings.iter().all(Option::is_some) {
                break;
            }
        }
        ceilings.into_iter().map(|ceiling| ceiling.unwrap_or(cap)).collect()
    }

    /// A level that passes beside one that fails, or the cap: the ceiling, unless one below it fails.
    fn edge(&self, sla: usize, cap: u32) -> u32 {
        // A first look over the whole range, doubling so that no level is much larger than it must be.
        let (mut pass, mut fail) = (0, 1);
        while fail <= cap && self.passes(sla, fail, ROUGH) {
            (pass, fail) = (fail, fail.saturating_mul(2));
        }
        fail = fail.min(cap + 1);
        while fail - pass > (pass / 32).max(1) {
            let level = pass + (fail - pass) / 2;
            if self.passes(sla, level, ROUGH) { pass = level } else { fail = level }
        }
        // Widened until it holds with all repetitions.
        let mut step = (pass / 64).max(1);
        while pass > 0 && !self.passes(sla, pass, FINE) {
            (fail, pass) = (pass, pass.saturating_sub(step));
            step *= 2;
        }
        while fail <= cap && self.passes(sla, fail, FINE) {
            (pass, fail) = (fail, (fail + step).min(cap + 1));
            step *= 2;
        }
        while fail - pass > 1 {
            let level = pass + (fail - pass) / 2;
            if self.passes(sla, level, FINE) { pass = level } else { fail = level }
        }
        pass
    }

    /// Whether R(N) falls with N wherever it is below 1: in a burst the first tokens of those that were there before come no sooner with one
    /// more, which comes last. Otherwise it hangs on which requests share a step and end together.
    fn falls_only(&self) -> bool {
        self.workload.load == Load::Burst && !self.slas.iter().any(Sla::limits_later)
    }

    fn passes(&self, sla: usize, level: u32, repetitions: u32) -> bool {
        let Some(level) = Concurrency::new(level) else { return true };
        let only = Truth { slas: &self.slas[sla..=sla], ..*self };
        let all: Requests =
            (0..repetitions).into_par_iter().map(|repetition| only.requests(level, repetition)[0]).sum();
        all.keeps(&self.slas[sla])
    }

    /// The requests of one probe under each SLA.
    fn requests(&self, level: Concurrency, repetition: u32) -> Vec<Requests> {
        // A simulated request that has its first token is not failed later: its hold need not be waited for.
        let short = self.falls_only();
        let until = if short { Until::FirstTokens } else { Until::Decided(Vec::new()) };
        let (workload, slas, number) = (self.workload, self.slas, (STREAM, repetition));
        let trial = Trial { workload, slas, concurrency: level, until: &until, number };
        let measured = if short { trial.measure(self.session) } else { trial.measure_to_the_end(self.session) };
        let requests = |sla: &Sla| {
            let tally = Tally::of(sla, &measured.requests);
            // It was left before its hold was over.
            let will_be_ok =
                |request: &&RequestRecord| request.first_s.is_some() && sla.judge(request) != Outcome::Failed;
            let ok = if short { measured.requests.iter().filter(will_be_ok).count() as u32 } else { tally.ok };
            Requests { ok: u64::from(ok), all: u64::from(tally.total()) }
        };
        slas.iter().map(requests).collect()
    }
}

/// Requests that were judged.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    ok: u64,
    all: u64,
}

impl Requests {
    fn share(self) -> f64 {
        self.ok as f64 / self.all.max(1) as f64
    }

    /// Whether enough of them are ok.
    fn keeps(self, sla: &Sla) -> bool {
        self.share() >= sla.ok_rate.get() - 1e-9
    }
}

impl std::iter::Sum for Requests {
    fn sum<I: Iterator<Item = Self>>(requests: I) -> Self {
        requests.fold(Self::default(), |sum, one| Self { ok: sum.ok + one.ok, all: sum.all + one.all })
    }
}
