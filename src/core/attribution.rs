//! Why a ceiling is where it is: what bound the engine in a probe that failed, or what it would have failed by first.
//!
//! What counts is how the requests fared that the engine did not fail, and most of those that missed a limit:
//!
//! | most missed a limit | and | limited by |
//! | --- | --- | --- |
//! | by their first token | the harness was late itself, for this SLA | `harness` |
//! | by later tokens | it was late to take outputs in, for this SLA | `harness` |
//! | | were preempted | `kv-cache` |
//! | by waiting to be scheduled | more had to be running than `max_num_seqs` | `max-num-seqs` |
//! | by waiting to be scheduled | more had to be running than the KV cache held, or many were preempted | `kv-cache` |
//! | by their first token | | `prefill` |
//! | by later tokens | | `decode` |
//!
//! Where they keep the SLA they are judged by tighter limits, and where they would keep those too, but the engine failed so many others
//! that the probe fails, that is `engine-error`.
//!
//! How many requests of one probe the engine fails is a matter of luck. Where a level fails by them alone, or where the probe of one
//! request in flight may have passed by luck, [`attribute_to_errors`] looks at what the engine did with the requests of many probes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::{self, Audit};
use crate::experiment::Workload;
use crate::load::Load;
use crate::protocol::{Measured, Resolved};
use crate::request::{RequestEnd, RequestRecord};
use crate::sla::{Outcome, Sla, Tally, Verdict};
use crate::units::{Concurrency, Seconds, Share};

/// Use of the KV cache from which it counts as full, where its size in tokens is not known.
const FULL: f64 = 0.9;
/// A probe that does not fail is judged by limits that are tighter by this part, and by as much again, down to the part that is the least.
const TIGHTER: f64 = 0.05;
const TIGHTEST: f64 = 0.5;

/// What keeps a ceiling from being higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The engine runs no more sequences at once.
    MaxNumSeqs,
    /// The KV cache holds no more.
    KvCache,
    /// First tokens come too late: computing the prompts takes too long.
    Prefill,
    /// Tokens after the first come too slowly, whether computing them takes the time or computing prompts beside them.
    Decode,
    /// The harness could not keep up.
    Harness,
    /// The engine failed requests.
    EngineError,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MaxNumSeqs => "max-num-seqs",
            Self::KvCache => "kv-cache",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Harness => "harness",
            Self::EngineError => "engine-error",
        })
    }
}

/// A limit, with the figures that say so. Absent where the engine did not say, and where several probes say so together.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct LimitedBy {
    /// What binds.
    pub limit: Limit,
    /// Most requests running at once.
    pub running_peak: Option<u32>,
    /// Most requests waiting at once.
    pub waiting_peak: Option<u32>,
    /// Highest use of the KV cache.
    pub kv_peak: Option<Share>,
    /// Preemptions of all requests.
    pub preemptions: u32,
    /// Mean share of TTFT that requests spent waiting to be scheduled.
    pub queued_share: Option<f64>,
    /// Requests that the engine gave a first token, or failed; absent in runs from before they were counted.
    pub answered: Option<u32>,
    /// Those of them that it failed.
    pub errors: u32,
}

/// What became of requests that the engine answered, be it late: given a first token, or failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// All of them.
    pub requests: u32,
    /// Those that the engine failed.
    pub errors: u32,
}

impl Answered {
    /// Counts these requests.
    pub fn of<'a>(requests: impl IntoIterator<Item = &'a RequestRecord>) -> Self {
        let mut counted = Self::default();
        for request in requests {
            let is_error = matches!(request.end, RequestEnd::Failed { .. });
            counted.errors += u32::from(is_error);
            counted.requests += u32::from(is_error || request.first_s.is_some());
        }
        counted
    }
}

impl std::iter::Sum for Answered {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            requests: sum.requests.saturating_add(one.requests),
            errors: sum.errors.saturating_add(one.errors),
        })
    }
}

/// The engine's failures, where they alone are too many for an SLA with this `ok_rate`, however quick the engine is.
///
/// Asked of all probes of a ladder: how many one of them meets is luck, while all together meet so many requests that their share can be held
/// against the one that the SLA allows. Of few requests, of which it allows not even one to fail, one failure is too many.
pub fn attribute_to_errors(answered: Answered, ok_rate: Share) -> Option<LimitedBy> {
    let Answered { requests, errors } = answered;
    let kindest = Tally { ok: requests - errors, failed: errors, undetermined: 0 };
    (kindest.verdict(ok_rate) == Verdict::Fail).then_some(LimitedBy {
        limit: Limit::EngineError,
        running_peak: None,
        waiting_peak: None,
        kv_peak: None,
        preemptions: 0,
        queued_share: None,
        answered: Some(requests),
        errors,
    })
}

/// What bound the engine in a probe that fails an SLA; in one that does not, what it would fail by first if the limits were tighter. `None` where
/// it would not fail if they were half of what they are.
pub fn attribute(
    measured: &Measured,
    concurrency: Concurrency,
    audit: Audit,
    sla: &Sla,
    workload: &Workload,
    engine: &Resolved,
) -> Option<LimitedBy> {
    let judged: Vec<&RequestRecord> = measured.requests.iter().filter(|request| request.judged).collect();
    let Answered { requests, errors } = Answered::of(judged.iter().copied());
    let scheduler = measured.scheduler;
    let limit = match missed_first(sla, &judged) {
        Some(missed) => {
            let needed = needed_at_once(sla, &judged, concurrency, workload);
            let room = missing_room(measured, needed, missed.requests.len(), workload, engine);
            let is_stamped_late = audit::is_stamped_late_for(&measured.harness, sla);
            if audit.is_harness_bound_for(sla) && (is_stamped_late || missed.most(Missed::by_its_first_token)) {
                Limit::Harness
            } else if missed.most(|_, request| request.preemptions > 0) {
                Limit::KvCache
            } else if let Some(room) = room.filter(|_| missed.most(Missed::by_waiting)) {
                room
            } else if missed.most(Missed::by_its_first_token) {
                Limit::Prefill
            } else {
                Limit::Decode
            }
        }
        None if Tally::of(sla, &measured.requests).verdict(sla.ok_rate) == Verdict::Fail => Limit::EngineError,
        None => return None,
    };
    Some(LimitedBy {
        limit,
        running_peak: scheduler.running_peak,
        waiting_peak: scheduler.waiting_peak,
        kv_peak: scheduler.kv_peak,
        preemptions: scheduler.preemptions,
        queued_share: queued_share(&judged),
        answered: Some(requests),
        errors,
    })
}

/// An SLA, and the requests that missed one of its limits: those that the engine failed missed none.
struct Missed<'a> {
    sla: Sla,
    requests: Vec<&'a RequestRecord>,
}

/// How too many of the requests that the engine did not fail miss this SLA, or the least tight that too many of them do miss.
fn missed_first<'a>(sla: &Sla, judged: &[&'a RequestRecord]) -> Option<Missed<'a>> {
    let steps = ((1.0 - TIGHTEST) / TIGHTER).round() as u32;
    let others = || judged.iter().copied().filter(|request| !matches!(request.end, RequestEnd::Failed { .. }));
    let mut tighter = (0..=steps).map(|step| sla.tightened(1.0 - TIGHTER * f64::from(step)));
    let sla = tighter.find(|sla| Tally::of(sla, others()).verdict(sla.ok_rate) == Verdict::Fail)?;
    Some(Missed { sla, requests: others().filter(|request| sla.judge(request) == Outcome::Failed).collect() })
}

impl Missed<'_> {
    /// Whether this holds of most of them.
    fn most(&self, holds: impl Fn(&Self, &RequestRecord) -> bool) -> bool {
        2 * self.requests.iter().filter(|request| holds(self, request)).count() > self.requests.len()
    }

    /// Whether one would have missed none without the time that it waited to be scheduled. Where that is not known, its first token tells.
    fn by_waiting(&self, request: &RequestRecord) -> bool {
        let Some((queued, first)) = request.queued_s.zip(request.first_s) else {
            return self.by_its_first_token(request);
        };
        // The engine tells the time by another clock: by that of the harness it may seem to have waited for longer.
        let scheduled = Seconds::new(request.submitted_s.get() + queued.get()).unwrap_or(first).min(first);
        self.sla.judge(&RequestRecord { submitted_s: scheduled, ..request.clone() }) != Outcome::Failed
    }

    /// Whether one missed a limit before, or by, its first token; that of E2E, where the first token took most of its time.
    fn by_its_first_token(&self, request: &RequestRecord) -> bool {
        let Some(ttft) = request.ttft() else { return true };
        let is_overdue = self.sla.e2e.is_some_and(|e2e| request.age() >= e2e);
        ttft > self.sla.ttft || is_overdue && 2.0 * ttft.get() > request.age().get()
    }
}

/// How many requests had to be running at once. Of a burst those that had to be in time; under a sustained load all in flight, or some always
/// wait: since one replaces another it is each one's turn to be among them.
fn needed_at_once(sla: &Sla, judged: &[&RequestRecord], concurrency: Concurrency, workload: &Workload) -> u32 {
    match workload.load {
        Load::Burst => sla.ok_rate.least_of(judged.len() as u32),
        Load::Sustained => concurrency.get(),
    }
}

/// What kept `needed` requests from running at once, so that `missed` of them may have waited for it: what they needed room in, where that is it.
fn missing_room(
    measured: &Measured,
    needed: u32,
    missed: usize,
    workload: &Workload,
    engine: &Resolved,
) -> Option<Limit> {
    let scheduler = measured.scheduler;
    let is_short = scheduler.running_peak.is_some_and(|ran| ran < needed);
    let is_seated = engine.max_num_seqs.is_some_and(|most| scheduler.running_peak >= Some(most));
    // All may have run at once for a moment, before their outputs filled the cache: from then on others wait while the engine preempts some,
    // but a few preemptions make few wait.
    let has_preempted = 2 * scheduler.preemptions as usize > missed;
    if is_short && is_seated {
        Some(Limit::MaxNumSeqs)
    } else {
        (has_preempted || is_short && is_full(measured, workload, engine)).then_some(Limit::KvCache)
    }
}

/// Whether the KV cache had no room for one more prompt at its fullest.
fn is_full(measured: &Measured, workload: &Workload, engine: &Resolved) -> bool {
    let scheduler = measured.scheduler;
    let Some(peak) = scheduler.kv_peak else { return scheduler.preemptions > 0 };
    let Some(capacity) = engine.kv_cache_tokens else { return scheduler.preemptions > 0 || peak.get() >= FULL };
    // A prompt takes whole blocks, and vLLM keeps one for itself.
    let block = engine.block_size.unwrap_or(1).max(1);
    let needed = (workload.input_tokens.div_ceil(block) + 1) * block;
    scheduler.preemptions > 0 || (1.0 - peak.get()) * (capacity as f64) < f64::from(needed)
}

fn queued_share(judged: &[&RequestRecord]) -> Option<f64> {
    let share = |request: &&RequestRecord| {
        let ttft = request.ttft()?.get();
        (ttft > 0.0).then_some(request.queued_s?.get() / ttft)
    };
    let shares: Vec<f64> = judged.iter().filter_map(share).collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::load::Hold;
    use crate::protocol::{HarnessSeen, PromptSource, SchedulerSeen};
    use crate::request::testing::request;

    /// A probe whose requests, all submitted at once, got their first token at these moments and were held for 1 s.
    pub fn measured(first_tokens: &[f64]) -> Measured {
        let held = |(index, first): (u32, &f64)| RequestRecord {
            index,
            ..request(Some(*first), 11, Some(*first + 1.0), RequestEnd::Held, *first + 1.0)
        };
        Measured {
            requests: (0..).zip(first_tokens).map(held).collect(),
            seconds: Seconds::new(10.0).unwrap(),
            load_ended_s: None,
            output_tokens: 11 * first_tokens.len() as u64,
            output_seconds: Seconds::new(10.0).unwrap(),
            scheduler: SchedulerSeen::default(),
            harness: HarnessSeen::default(),
        }
    }

    /// As many as were in flight in a burst.
    pub fn all(measured: &Measured) -> Concurrency {
        Concurrency::new(measured.requests.len() as u32).unwrap()
    }

    /// All first tokens within 1 s.
    pub fn sla() -> Sla {
        Sla {
            ok_rate: Share::ALL,
            ttft: Seconds::new(1.0).unwrap(),
            tpot: None,
            e2e: None,
            min_tokens_per_second: None,
        }
    }

    /// Prompts of 100 tokens in a burst.
    pub fn workload() -> Workload {
        Workload {
            input_tokens: 100,
            output_tokens: 11,
            load: Load::Burst,
            hold: Hold::For(Seconds::new(1.0).unwrap()),
            prompt: PromptSource::Random,
            shared_prefix: 0,
            seed: 0,
        }
    }
}

#[cfg(test)]
mod tests;
