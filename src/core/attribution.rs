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
mod tests {
    use super::testing::{all, measured, sla, workload};
    use super::*;
    use crate::protocol::SchedulerSeen;

    const LATE: [f64; 4] = [0.5, 0.8, 1.1, 1.4];

    fn engine(max_num_seqs: u32) -> Resolved {
        Resolved { max_num_seqs: Some(max_num_seqs), ..Resolved::default() }
    }

    /// 3% of its KV cache hold more than a prompt.
    fn roomy() -> Resolved {
        Resolved { kv_cache_tokens: Some(10_000), block_size: Some(16), ..engine(8) }
    }

    /// Each of its requests was preempted.
    fn thrown_out(first_tokens: &[f64]) -> Measured {
        let mut probe = measured(first_tokens);
        probe.requests.iter_mut().for_each(|request| request.preemptions = 1);
        probe
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
            ("some were thrown out again", saw(4, 1.0, 3), engine(8), Limit::KvCache),
            ("one was thrown out again", saw(4, 1.0, 1), engine(8), Limit::Prefill),
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
    fn where_one_replaces_another_all_in_flight_need_run_at_once() {
        let probe = Measured { scheduler: saw(2, 0.5, 0), ..measured(&LATE) };
        let of = |load, concurrency: u32, ok_rate| {
            let (workload, sla) =
                (Workload { load, ..workload() }, Sla { ok_rate: Share::new(ok_rate).unwrap(), ..sla() });
            let concurrency = Concurrency::new(concurrency).unwrap();
            attribute(&probe, concurrency, Audit::Clean, &sla, &workload, &engine(2)).unwrap().limit
        };
        assert_eq!(of(Load::Sustained, 4, 1.0), Limit::MaxNumSeqs);
        assert_eq!(of(Load::Sustained, 2, 1.0), Limit::Prefill);
        // Of a burst half may come late; under a sustained load each waits its turn.
        assert_eq!(of(Load::Burst, 4, 0.5), Limit::Prefill);
        assert_eq!(of(Load::Sustained, 4, 0.5), Limit::MaxNumSeqs);
    }

    #[test]
    fn an_end_is_late_by_waiting_where_without_the_wait_it_would_be_in_time() {
        // Each ends 1.5 s after its submission, of which the first token took 0.5 s.
        let limited = Sla { e2e: Seconds::new(1.2), ..sla() };
        let of = |queued: Option<f64>, ran, sla: &Sla| {
            let mut probe = Measured { scheduler: saw(ran, 0.5, 0), ..measured(&[0.5; 4]) };
            for request in &mut probe.requests {
                request.end = RequestEnd::Finished;
                request.queued_s = queued.and_then(Seconds::new);
            }
            attribute(&probe, all(&probe), Audit::Clean, sla, &workload(), &engine(2)).unwrap().limit
        };
        assert_eq!(of(Some(0.4), 2, &limited), Limit::MaxNumSeqs);
        assert_eq!(of(Some(0.2), 2, &limited), Limit::Decode, "it would take 1.3 s");
        assert_eq!(of(None, 2, &limited), Limit::Decode, "the first token did not take most of the time");
        assert_eq!(of(Some(0.4), 4, &limited), Limit::Decode, "all ran: none waited for a seat");
        let slow = Sla { tpot: Seconds::new(0.05), ..limited };
        assert_eq!(of(Some(0.4), 2, &slow), Limit::Decode, "its tokens would still be slow");
        let hasty = Sla { ttft: Seconds::new(0.3).unwrap(), ..sla() };
        assert_eq!(of(Some(0.4), 2, &hasty), Limit::MaxNumSeqs);
        assert_eq!(of(Some(0.1), 2, &hasty), Limit::Prefill, "its prompt alone takes 0.4 s");
        assert_eq!(of(Some(9.0), 2, &hasty), Limit::MaxNumSeqs, "by another clock");
    }

    #[test]
    fn preemption_binds_where_most_of_those_that_missed_were_preempted() {
        let slow = Sla { tpot: Seconds::new(0.05), ttft: Seconds::new(9.0).unwrap(), ..sla() };
        let of = |probe: Measured, sla: &Sla| {
            let probe = Measured { scheduler: saw(4, 1.0, 1), ..probe };
            attribute(&probe, all(&probe), Audit::Clean, sla, &workload(), &engine(8)).unwrap().limit
        };
        let mut once = measured(&LATE);
        once.requests[3].preemptions = 1;
        assert_eq!(of(once.clone(), &slow), Limit::Decode);
        assert_eq!(of(thrown_out(&LATE), &slow), Limit::KvCache);
        once.requests[2].preemptions = 1;
        assert_eq!(of(once, &sla()), Limit::KvCache, "two of them are late");
        let mut others = thrown_out(&LATE);
        others.requests[2..].iter_mut().for_each(|request| request.preemptions = 0);
        assert_eq!(of(others, &sla()), Limit::Prefill, "those that are late were not");
    }

    #[test]
    fn a_late_hand_over_excuses_no_slow_tokens() {
        let slow = Sla { tpot: Seconds::new(0.05), ..sla() };
        let late = Audit::HarnessBound { delay_s: Seconds::new(0.1).unwrap() };
        let of = |first_tokens: &[f64], submit_delay: f64, lag: f64| {
            let mut probe = measured(first_tokens);
            (probe.harness.submit_delay_s, probe.harness.lag_s) = (Seconds::new(submit_delay), Seconds::new(lag));
            attribute(&probe, all(&probe), late, &slow, &workload(), &engine(8)).unwrap().limit
        };
        assert_eq!(of(&[0.3; 4], 0.1, 0.0), Limit::Decode);
        assert_eq!(of(&[0.3; 4], 0.0, 0.1), Limit::Harness);
        assert_eq!(of(&[1.3; 4], 0.1, 0.0), Limit::Harness, "first tokens are late too");
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
    fn where_the_engine_fails_some_it_counts_what_the_others_miss_first() {
        let mut probe = measured(&[0.1, 0.2, 0.8, 0.9]);
        probe.requests[0].first_s = None;
        probe.requests[0].end = RequestEnd::Failed { reason: "no".into() };
        let of = |sla: &Sla| attribute(&probe, all(&probe), Audit::Clean, sla, &workload(), &engine(8)).unwrap();
        assert_eq!((of(&sla()).limit, of(&sla()).errors), (Limit::Prefill, 1), "nearly late");
        let lax = Sla { ttft: Seconds::new(2.0).unwrap(), ..sla() };
        assert_eq!(of(&lax).limit, Limit::EngineError, "far from late");
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
        let probe = measured(&all_sorts);
        let missed = missed_first(&lax, &probe.requests.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!((missed.requests.len(), missed.sla.ttft), (2, Seconds::new(0.55).unwrap()));
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
