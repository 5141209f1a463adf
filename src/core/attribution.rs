//! Why a ceiling is where it is: what bound the engine in a probe that failed, or what it would have failed by first.
//!
//! | requests failed by | and | limited by |
//! | --- | --- | --- |
//! | the engine | | `engine-error` |
//! | any limit | the harness was late itself, for this SLA | `harness` |
//! | their first token | more had to be running than `max_num_seqs` | `max-num-seqs` |
//! | their first token | more had to be running than the KV cache held, or some were preempted | `kv-cache` |
//! | their first token | all that had to be in time were running: their prompts took too long | `prefill` |
//! | later tokens | some were preempted | `kv-cache` |
//! | later tokens | | `decode` |
//!
//! Where not even one request in flight is sustained, the probe of that level may have passed by luck: then
//! [`attribute_to_errors`] looks at what the engine did with the requests of all probes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::experiment::Workload;
use crate::protocol::{Measured, Resolved};
use crate::request::{RequestEnd, RequestRecord};
use crate::sla::{Outcome, Sla, Tally, Verdict};
use crate::units::{Concurrency, Share};

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
    /// Computing the prompts takes too long.
    Prefill,
    /// Computing the output takes too long.
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
    let (missed, tally) = first_missed(sla, &measured.requests)?;
    let Answered { requests, errors } = Answered::of(judged.iter().copied());
    let scheduler = measured.scheduler;
    let limit = if 2 * errors > tally.failed {
        Limit::EngineError
    } else if audit.is_harness_bound_for(sla) {
        Limit::Harness
    } else if first_tokens_are_late(&judged, &missed) {
        // Under a sustained load more are judged, one after the other, than are ever in flight.
        let needed = sla.ok_rate.least_of(tally.total().min(concurrency.get()));
        why_first_tokens_are_late(measured, needed, workload, engine)
    } else if scheduler.preemptions > 0 {
        Limit::KvCache
    } else {
        Limit::Decode
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

/// The SLA that these requests fail, and how: this one, or the least tight that they do fail.
fn first_missed(sla: &Sla, requests: &[RequestRecord]) -> Option<(Sla, Tally)> {
    let steps = ((1.0 - TIGHTEST) / TIGHTER).round() as u32;
    let tighter = |step: u32| {
        let sla = sla.tightened(1.0 - TIGHTER * f64::from(step));
        (sla, Tally::of(&sla, requests))
    };
    (0..=steps).map(tighter).find(|(sla, tally)| tally.verdict(sla.ok_rate) == Verdict::Fail)
}

/// Whether most of the requests that missed a limit did so before, or by, their first token. Those that the engine failed missed none.
fn first_tokens_are_late(judged: &[&RequestRecord], sla: &Sla) -> bool {
    let missed = |request: &&&RequestRecord| {
        !matches!(request.end, RequestEnd::Failed { .. }) && sla.judge(request) == Outcome::Failed
    };
    let failed: Vec<_> = judged.iter().filter(missed).collect();
    let late = failed.iter().filter(|request| match request.ttft() {
        None => true,
        // A request that missed its E2E limit did so by its first token where that took most of its time.
        Some(ttft) => ttft > sla.ttft || sla.e2e.is_some() && 2.0 * ttft.get() > request.age().get(),
    });
    2 * late.count() > failed.len()
}

/// Why, where `needed` requests had to be in time.
fn why_first_tokens_are_late(measured: &Measured, needed: u32, workload: &Workload, engine: &Resolved) -> Limit {
    let scheduler = measured.scheduler;
    // As long as all that had to be in time ran at once, no room was missing: their prompts took their time.
    let Some(ran) = scheduler.running_peak.filter(|&ran| ran < needed) else {
        return if scheduler.preemptions > 0 { Limit::KvCache } else { Limit::Prefill };
    };
    match engine.max_num_seqs {
        Some(most) if ran >= most => Limit::MaxNumSeqs,
        _ if is_full(measured, workload, engine) => Limit::KvCache,
        _ => Limit::Prefill,
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
    use crate::load::{Hold, Load};
    use crate::protocol::{HarnessSeen, PromptSource, SchedulerSeen};
    use crate::request::testing::request;
    use crate::units::Seconds;

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
mod tests {
    use super::testing::{all, measured, sla, workload};
    use super::*;
    use crate::protocol::SchedulerSeen;
    use crate::units::Seconds;

    const LATE: [f64; 4] = [0.5, 0.8, 1.1, 1.4];

    fn engine(max_num_seqs: u32) -> Resolved {
        Resolved { max_num_seqs: Some(max_num_seqs), ..Resolved::default() }
    }

    /// 3% of its KV cache hold more than a prompt.
    fn roomy() -> Resolved {
        Resolved { kv_cache_tokens: Some(10_000), block_size: Some(16), ..engine(8) }
    }

    fn saw(running: u32, kv: f64, preemptions: u32) -> SchedulerSeen {
        let (running_peak, kv_peak) = (Some(running), Share::new(kv));
        SchedulerSeen { running_peak, waiting_peak: Some(4), kv_peak, steps: 10, preemptions }
    }

    #[test]
    fn late_first_tokens_are_put_down_to_what_was_missing() {
        let table = [
            ("all ran", saw(4, 0.5, 0), engine(8), Limit::Prefill),
            ("no more were let in", saw(2, 0.5, 0), engine(2), Limit::MaxNumSeqs),
            ("no more fitted", saw(2, 0.97, 0), engine(8), Limit::KvCache),
            ("some were thrown out again", saw(4, 0.6, 3), engine(8), Limit::KvCache),
            ("the token budget let fewer run", saw(2, 0.2, 0), engine(8), Limit::Prefill),
            ("a prompt still fitted", saw(2, 0.97, 0), roomy(), Limit::Prefill),
            ("the engine said nothing", SchedulerSeen::default(), Resolved::default(), Limit::Prefill),
        ];
        for (what, scheduler, engine, limit) in table {
            let probe = Measured { scheduler, ..measured(&LATE) };
            let found = attribute(&probe, all(&probe), Audit::Clean, &sla(), &workload(), &engine).unwrap();
            assert_eq!(found.limit, limit, "{what}");
        }
    }

    #[test]
    fn where_one_replaces_another_as_many_need_run_at_once_as_are_in_flight() {
        let probe = Measured { scheduler: saw(2, 0.5, 0), ..measured(&LATE) };
        let of = |concurrency: u32| {
            let concurrency = Concurrency::new(concurrency).unwrap();
            attribute(&probe, concurrency, Audit::Clean, &sla(), &workload(), &engine(2)).unwrap().limit
        };
        assert_eq!((of(4), of(2)), (Limit::MaxNumSeqs, Limit::Prefill));
    }

    #[test]
    fn slow_tokens_are_put_down_to_decode_or_to_preemption() {
        let slow = Sla { tpot: Seconds::new(0.05), ttft: Seconds::new(9.0).unwrap(), ..sla() };
        let of = |scheduler| {
            let probe = Measured { scheduler, ..measured(&LATE) };
            attribute(&probe, all(&probe), Audit::Clean, &slow, &workload(), &engine(8)).unwrap().limit
        };
        assert_eq!(of(saw(4, 0.5, 0)), Limit::Decode);
        assert_eq!(of(saw(4, 0.5, 2)), Limit::KvCache);
    }

    #[test]
    fn errors_and_a_late_harness_come_first() {
        let mut probe = measured(&LATE);
        let late = Audit::HarnessBound { delay_s: Seconds::new(0.1).unwrap() };
        let found = attribute(&probe, all(&probe), late, &sla(), &workload(), &engine(8)).unwrap();
        assert_eq!(found.limit, Limit::Harness);
        let lax = Sla { ttft: Seconds::new(10.0).unwrap(), e2e: Seconds::new(1.5), ..sla() };
        let found = attribute(&probe, all(&probe), late, &lax, &workload(), &engine(8)).unwrap();
        assert_ne!(found.limit, Limit::Harness, "0.1 s of 10 s");
        for request in &mut probe.requests {
            request.end = RequestEnd::Failed { reason: "no".into() };
        }
        let found = attribute(&probe, all(&probe), late, &sla(), &workload(), &engine(8)).unwrap();
        assert_eq!((found.limit, found.answered, found.errors), (Limit::EngineError, Some(4), 4));
    }

    #[test]
    fn what_the_engine_failed_is_no_late_first_token() {
        // Of seven that are not ok three were failed, one had a late first token, and three decode too slowly.
        let mut probe = measured(&[0.1, 0.2, 0.3, 0.4, 1.5, 0.5, 0.6, 0.7]);
        for request in &mut probe.requests[..3] {
            request.first_s = None;
            request.end = RequestEnd::Failed { reason: "no".into() };
        }
        for request in &mut probe.requests[5..] {
            request.last_s = Seconds::new(request.first_s.unwrap().get() + 2.0);
        }
        let sla = Sla { tpot: Seconds::new(0.15), ..sla() };
        let found = attribute(&probe, all(&probe), Audit::Clean, &sla, &workload(), &engine(8)).unwrap();
        assert_eq!((found.limit, found.errors), (Limit::Decode, 3));
    }

    #[test]
    fn failures_of_many_probes_bind_where_they_alone_are_too_many() {
        let limit = |requests, errors, ok_rate| {
            attribute_to_errors(Answered { requests, errors }, Share::new(ok_rate).unwrap()).map(|by| by.limit)
        };
        assert_eq!(limit(200, 4, 0.99), Some(Limit::EngineError));
        assert_eq!(limit(200, 4, 0.95), None);
        assert_eq!(limit(200, 2, 0.99), None, "as many as are allowed");
        assert_eq!(limit(0, 0, 1.0), None);
    }

    #[test]
    fn a_request_that_still_waits_is_not_answered() {
        let mut probe = measured(&LATE);
        probe.requests[0].first_s = None;
        probe.requests[1].end = RequestEnd::Failed { reason: "no".into() };
        assert_eq!(Answered::of(&probe.requests), Answered { requests: 3, errors: 1 });
        probe.requests[1].judged = false;
        let found = attribute(&probe, all(&probe), Audit::Clean, &sla(), &workload(), &engine(8)).unwrap();
        assert_eq!((found.answered, found.errors), (Some(2), 0), "of those that belong to the measurement");
    }

    #[test]
    fn a_probe_that_passes_says_what_it_would_fail_by_first() {
        let of = |first_tokens: &[f64], sla: &Sla| {
            let probe = Measured { scheduler: saw(2, 0.5, 0), ..measured(first_tokens) };
            attribute(&probe, all(&probe), Audit::Clean, sla, &workload(), &engine(2)).map(|by| by.limit)
        };
        let all_sorts = [0.2, 0.5, 0.6, 0.9];
        assert_eq!(of(&all_sorts, &sla()), Some(Limit::MaxNumSeqs));
        assert_eq!(of(&[0.1, 0.2, 0.3, 0.4], &sla()), None, "far from failing");
        // Tokens come 0.1 s apart.
        let slow = Sla { tpot: Seconds::new(0.105), ttft: Seconds::new(9.0).unwrap(), ..sla() };
        assert_eq!(of(&all_sorts, &slow), Some(Limit::Decode));
        // One in four may be late: the others are in time even if they had to come sooner by a third.
        let lax = Sla { ok_rate: Share::new(0.75).unwrap(), ..sla() };
        let found =
            attribute(&measured(&all_sorts), all(&measured(&all_sorts)), Audit::Clean, &lax, &workload(), &engine(8))
                .unwrap();
        assert_eq!((found.limit, found.answered), (Limit::Prefill, Some(4)));
        let (missed, tally) = first_missed(&lax, &measured(&all_sorts).requests).unwrap();
        assert_eq!((tally.failed, missed.ttft), (2, Seconds::new(0.55).unwrap()));
    }

    #[test]
    fn the_share_of_waiting_is_a_mean_over_requests() {
        let mut probe = measured(&LATE);
        probe.requests[0].queued_s = Seconds::new(0.25);
        probe.requests[1].queued_s = Seconds::new(0.0);
        let found = attribute(&probe, all(&probe), Audit::Clean, &sla(), &workload(), &engine(8)).unwrap();
        let share = found.queued_share.unwrap();
        assert!((share - 0.25).abs() < 1e-12, "{share}");
    }
}
