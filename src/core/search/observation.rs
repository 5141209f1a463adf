//! What one probe showed, in the form that a search reasons in.

use super::held_up::held_up;
use super::steps::steps;
use crate::attribution::Answered;
use crate::experiment::Workload;
use crate::load::{Load, LoadPlan};
use crate::protocol::Measured;
use crate::request::{RequestEnd, RequestRecord};
use crate::sim::Trial;
use crate::sla::{Outcome, Sla, Tally, Verdict};
use crate::units::{Concurrency, Seconds, Share};
use crate::watch::Until;

/// What one probe showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The load that was put on the engine: a burst also where first tokens alone were asked for.
    pub load: Load,
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// Whether it was measured for its first tokens alone.
    pub first_tokens_only: bool,
    /// What it cost in engine time.
    pub seconds: Seconds,
    /// How long its load was on the engine: whoever had no first token by then waited for that long.
    pub waited: Seconds,
    /// Times in seconds at which the first N requests, which arrive together under either load, got their first token
    /// or were failed by the engine: ascending, those that were still waiting are missing at the end.
    pub opening: Vec<f64>,
    /// For how many seconds of these times others had to be held, one after the other, before each of them had room: so much of it hangs
    /// on no machine's pace.
    pub held_up: Vec<f64>,
    /// Of the first request of a burst, and of the last that a sustained load begins with, which is there for longest: how many tokens it had
    /// put out, and when the last of them came, in seconds. Absent where the engine took its place from it for a while.
    pub streamed: Option<(u32, f64)>,
    /// What became of its requests, judged or not: what an engine fails it need not fail among those.
    pub answered: Answered,
    /// Its judged requests under each SLA of the ladder.
    pub under: Vec<UnderSla>,
}

/// The judged requests of one probe under one SLA.
#[derive(Clone, Debug, PartialEq)]
pub struct UnderSla {
    /// What they are worth.
    pub tally: Tally,
    /// Of each request that the engine did not fail, the logarithm of the factor by which it used up its tightest
    /// limit, ascending: at most 0 where it kept all of them.
    pub used: Vec<f64>,
    /// The same, where the whole request is limited, without those that were left before their end: of these it is the least that they
    /// would have used up. Absent where there are none.
    pub sure: Option<Vec<f64>>,
    /// The two halves of that, of an SLA that limits more than the first token.
    pub halves: Option<Halves>,
    /// Requests that the engine failed.
    pub errors: u32,
    /// Requests of which nothing can be said.
    pub unknown: u32,
}

/// How far the limits on the first token, and those on what follows, were used up, each alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Halves {
    /// As [`UnderSla::used`], of the limit on the first token.
    pub first: Vec<f64>,
    /// As [`UnderSla::used`], of the limits on what follows, for the requests that were watched to their end.
    pub later: Vec<f64>,
}

/// One half of an SLA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The limit on the first token.
    First,
    /// The limits on what follows it.
    Later,
}

impl Observation {
    /// Judges what was measured of this workload under each SLA.
    pub fn new(
        workload: &Workload,
        slas: &[Sla],
        concurrency: Concurrency,
        until: &Until,
        measured: &Measured,
    ) -> Self {
        let plan = LoadPlan::new(workload, slas, concurrency, until);
        let load = plan.load;
        let first_tokens_only = *until == Until::FirstTokens;
        let holds = held_up(&plan, &measured.requests);
        let first = measured.requests.iter().zip(&holds).take(concurrency.get() as usize);
        let mut settled: Vec<(f64, f64)> =
            first.filter_map(|(request, held_up)| Some((settled_at(request)?, *held_up))).collect();
        settled.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (opening, held_up) = settled.into_iter().unzip();
        let under_sla = |sla| UnderSla::new(&Judge { load, sla }, &measured.requests, &holds);
        let mut under: Vec<UnderSla> = Vec::with_capacity(slas.len());
        for sla in slas {
            // What a request uses up of its limits does not hang on how many must keep them.
            let alike = slas[..under.len()].iter().position(|other| Sla { ok_rate: sla.ok_rate, ..*other } == *sla);
            under.push(alike.map_or_else(|| under_sla(sla), |alike| under[alike].clone()));
        }
        let watched = if load == Load::Sustained { concurrency.get() as usize - 1 } else { 0 };
        let streamed = measured.requests.get(watched).and_then(streamed);
        let answered = Answered::of(&measured.requests);
        let (seconds, waited) = (measured.seconds, measured.waited());
        Self { load, concurrency, first_tokens_only, seconds, waited, opening, held_up, streamed, answered, under }
    }

    /// The same of a trial on the simulator.
    pub fn of_trial(trial: &Trial, measured: &Measured) -> Self {
        Self::new(trial.workload, trial.slas, trial.concurrency, trial.until, measured)
    }

    /// The number of leading times in [`Observation::opening`] that came about as it would have with more requests behind it, by the engine's
    /// own pace.
    ///
    /// The engine's last step with prompts is shorter than the others, since nothing is left to fill it.
    pub fn full_steps(&self) -> usize {
        let ends = steps(&self.opening);
        let full = match ends.as_slice() {
            [.., before, _] if self.is_complete() => before.done,
            [_] if self.is_complete() => 0,
            _ => self.opening.len(),
        };
        full.min(self.unhindered())
    }

    /// The number of leading times in [`Observation::opening`] before which nobody had to leave.
    fn unhindered(&self) -> usize {
        self.held_up.iter().position(|held_up| *held_up > 0.0).unwrap_or(self.opening.len())
    }

    /// Whether every request of the opening got its first token or was failed.
    pub fn is_complete(&self) -> bool {
        self.opening.len() >= self.concurrency.get() as usize
    }
}

/// How many tokens a request has put out without a break, and when the last of them came since its submission.
fn streamed(request: &RequestRecord) -> Option<(u32, f64)> {
    let last = request.last_s.filter(|_| request.preemptions == 0 && request.tokens > 0)?;
    Some((request.tokens, last.get() - request.submitted_s.get()))
}

/// When a request got its first token or was failed without one, since its submission.
fn settled_at(request: &RequestRecord) -> Option<f64> {
    let failed = matches!(request.end, RequestEnd::Failed { .. }).then(|| request.age());
    request.ttft().or(failed).map(Seconds::get)
}

impl UnderSla {
    fn new(judge: &Judge, requests: &[RequestRecord], held_up: &[f64]) -> Self {
        let (load, sla) = (judge.load, judge.sla);
        let waits = || requests.iter().zip(held_up).map(|(request, held_up)| Wait { request, held_up: *held_up });
        let judged = || waits().filter(|wait| wait.request.judged);
        let answered = || judged().filter(|wait| !matches!(wait.request.end, RequestEnd::Failed { .. }));
        let parts = Parts::of(judge, answered());
        let halves = sla.limits_later().then(|| {
            let first_alone = Sla { tpot: None, e2e: None, min_tokens_per_second: None, ..*sla };
            let mut later: Vec<f64> =
                answered().filter_map(|wait| judge.known_later(wait.request)).map(f64::ln).collect();
            later.sort_by(f64::total_cmp);
            let first = Parts::of(&Judge { sla: &first_alone, ..*judge }, answered()).ascending(load);
            Halves { first, later }
        });
        let errors = (judged().count() - answered().count()) as u32;
        let (unknown, sure) = (parts.unknown, sla.judges_the_end().then(|| parts.sure()).flatten());
        Self { tally: Tally::of(sla, requests), errors, unknown, used: parts.ascending(load), sure, halves }
    }

    /// As [`UnderSla::used`], of one half alone: of the first token nothing is unknown under a burst; of what follows it there
    /// may be nothing.
    pub fn half(&self, half: Half) -> &[f64] {
        match (half, &self.halves) {
            (Half::First, Some(halves)) => &halves.first,
            (Half::First, None) => &self.used,
            (Half::Later, Some(halves)) => &halves.later,
            (Half::Later, None) => &[],
        }
    }

    /// What the requests that the engine did not fail say alone.
    pub fn verdict(&self, ok_rate: Share) -> Verdict {
        Tally { failed: self.tally.failed - self.errors, ..self.tally }.verdict(ok_rate)
    }

    /// Requests that were judged and not failed by the engine.
    pub fn total(&self) -> u32 {
        self.used.len() as u32 + self.unknown
    }
}

/// How much the requests of one probe used up, as logarithms.
#[derive(Default)]
struct Parts {
    known: Vec<f64>,
    /// Of those that were left late in mid-stream, the least that it would have been.
    late: Vec<f64>,
    /// Of those that were never seen to come, the least that it was.
    at_least: Vec<f64>,
    unknown: u32,
}

impl Parts {
    fn of<'a>(judge: &Judge, waits: impl Iterator<Item = Wait<'a>>) -> Self {
        let mut parts = Self::default();
        waits.for_each(|wait| parts.add(judge.load, judge.used(wait)));
        parts
    }

    fn add(&mut self, load: Load, used: Used) {
        match used {
            Used::Part(part) => self.known.push(part.ln()),
            Used::Late(part) => self.late.push(part.ln()),
            Used::AtLeast(part) => self.at_least.push(part.ln()),
            Used::Waiting(part) if load == Load::Burst => self.at_least.push(part.ln()),
            Used::Waiting(_) | Used::Unknown => self.unknown += 1,
        }
    }

    /// What is known, ascending, if that is not all.
    fn sure(&self) -> Option<Vec<f64>> {
        let is_all = self.late.is_empty() && self.at_least.is_empty();
        (!is_all).then(|| {
            let mut known = self.known.clone();
            known.sort_by(f64::total_cmp);
            known
        })
    }

    /// All that is known or can be told, ascending. A burst is served in order: requests that were still waiting when the
    /// probe ended are put where the line through those before them would have them come.
    fn ascending(self, load: Load) -> Vec<f64> {
        let Self { known: mut used, late, at_least, .. } = self;
        used.extend(late);
        used.sort_by(f64::total_cmp);
        if load == Load::Burst && !used.is_empty() {
            let (known, last) = (used.len(), used[used.len() - 1]);
            let slope = match known {
                4.. => (last - used[known / 2 - 1]) / (known as f64 / (known / 2) as f64).ln(),
                _ => 1.0,
            };
            for (waiting, at_least) in at_least.iter().enumerate() {
                let rank = (known + waiting + 1) as f64 / known as f64;
                used.push(at_least.max(last + slope.clamp(0.2, 3.0) * rank.ln()));
            }
        } else {
            used.extend(at_least);
        }
        used.sort_by(f64::total_cmp);
        used
    }
}

/// A request that missed a limit has used up more than all of it, also where it was given up as the limit fell due.
const BEYOND: f64 = 1.0 + f64::EPSILON;

/// It would have missed its limit however quick the machine.
const NEVER: f64 = 1e9;

/// How much of its tightest limit a request used up.
enum Used {
    /// This part, 1 being all of it.
    Part(f64),
    /// At least this part, which is more than all of it: it was left in mid-stream.
    Late(f64),
    /// At least this part, which is more than all of it: it was never seen to come.
    AtLeast(f64),
    /// It was left before its first token, when it had used up this part.
    Waiting(f64),
    /// It was left too early to tell.
    Unknown,
}

/// A request, and for how many seconds others had to be held before its first token came.
#[derive(Clone, Copy)]
struct Wait<'a> {
    request: &'a RequestRecord,
    held_up: f64,
}

/// Tells how much of the limits of an SLA requests used up.
#[derive(Clone, Copy)]
struct Judge<'a> {
    load: Load,
    sla: &'a Sla,
}

impl Judge<'_> {
    /// How much of its tightest limit on what follows the first token a request used up, as far as it went.
    fn used_later(&self, request: &RequestRecord) -> Option<f64> {
        request.ttft()?;
        let e2e = self.sla.e2e.map(|limit| request.age().get() / limit.get().max(f64::MIN_POSITIVE));
        let tpot = self.sla.tpot_limit().zip(request.tpot()).map(|(limit, tpot)| tpot / limit);
        e2e.into_iter().chain(tpot).reduce(f64::max)
    }

    /// Whether it was left when it had missed its E2E limit.
    fn is_too_old(&self, request: &RequestRecord) -> bool {
        request.end == RequestEnd::Stopped && self.sla.e2e.is_some_and(|limit| request.age() >= limit)
    }

    /// The same where no more could come of it: it ended by itself, its hold was over, or it was too old already when it was left.
    fn known_later(&self, request: &RequestRecord) -> Option<f64> {
        let used = self.used_later(request)?;
        match request.end {
            RequestEnd::Stopped if self.is_too_old(request) => Some(used.max(BEYOND)),
            RequestEnd::Stopped => None,
            _ => Some(used),
        }
    }

    /// The part of the limit on the first token that a wait of so many seconds used up. While others were held, it was none: no slower machine
    /// would have made that longer.
    fn used_of_ttft(&self, waited: Seconds, held_up: f64) -> f64 {
        let limit = self.sla.ttft.get();
        if held_up >= limit {
            return NEVER;
        }
        ((waited.get() - held_up) / (limit - held_up)).max(f64::MIN_POSITIVE)
    }

    /// How much of its tightest limit a request used up that the engine did not fail.
    fn used(&self, Wait { request, held_up }: Wait) -> Used {
        let sla = self.sla;
        let outcome = sla.judge(request);
        let Some(ttft) = request.ttft() else {
            // Others might have left before its limit, had it not been left itself.
            let held_up = if outcome == Outcome::Failed || held_up.is_finite() { held_up } else { 0.0 };
            let waited = self.used_of_ttft(request.age(), held_up);
            return if outcome == Outcome::Failed { Used::AtLeast(waited.max(BEYOND)) } else { Used::Waiting(waited) };
        };
        let ttft = self.used_of_ttft(ttft, held_up);
        let later = if sla.limits_later() { self.used_later(request) } else { None };
        let part = ttft.max(later.unwrap_or_default());
        match outcome {
            // Division rounds: what is ok stays within its limit, what failed stays beyond it.
            Outcome::Ok => Used::Part(part.min(1.0)),
            Outcome::Failed if self.is_too_old(request) => Used::Late(part.max(BEYOND)),
            Outcome::Failed => Used::Part(part.max(BEYOND)),
            // It was left in mid-stream: under a limit on its first token alone, that token has told.
            Outcome::Undetermined if !sla.limits_later() => Used::Part(ttft),
            Outcome::Undetermined => Used::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{seconds, share, sla};

    /// A request that had its first token after a second and `tokens` of them after two, when it was left or failed.
    fn request(tokens: u32, end: RequestEnd) -> RequestRecord {
        RequestRecord {
            index: 0,
            judged: true,
            planned_s: Seconds::ZERO,
            submitted_s: Seconds::ZERO,
            first_s: Some(seconds(1.0)),
            last_s: Some(seconds(2.0)),
            tokens,
            itl_max_s: None,
            ended_s: seconds(2.0),
            end,
            prompt_tokens: None,
            cached_tokens: None,
            queued_s: None,
            preemptions: 0,
        }
    }

    fn under(e2e: f64, requests: &[RequestRecord]) -> UnderSla {
        let sla = Sla { e2e: Seconds::new(e2e), ..sla(0.5, 1.5) };
        UnderSla::new(&Judge { load: Load::Burst, sla: &sla }, requests, &vec![0.0; requests.len()])
    }

    #[test]
    fn by_how_much_somebody_is_late_who_was_left_is_not_known() {
        let (left, finished) = (request(11, RequestEnd::Stopped), request(41, RequestEnd::Finished));
        let late = under(1.6, &[left.clone(), finished.clone()]);
        let known = f64::ln(2.0 / 1.6);
        assert!(late.used.iter().all(|used| (used - known).abs() < 1e-9), "{late:?}");
        assert_eq!((late.sure.map(|sure| sure.len()), late.unknown), (Some(1), 0));
        // In time so far, it tells nothing.
        let in_time = under(2.5, &[left, finished]);
        assert_eq!((in_time.sure, in_time.unknown), (None, 1));
    }

    #[test]
    fn what_the_engine_does_once_the_load_has_ended_is_paid_for_and_no_wait() {
        let workload = crate::attribution::testing::workload();
        let observe = |load_ended_s: Option<f64>| {
            let measured = crate::attribution::testing::measured(&[0.5]);
            let measured = Measured { load_ended_s: load_ended_s.and_then(Seconds::new), ..measured };
            let seen = Observation::new(&workload, &[sla(0.5, 1.5)], Concurrency::ONE, &Until::FirstTokens, &measured);
            (seen.seconds.get(), seen.waited.get())
        };
        assert_eq!(observe(Some(1.6)), (10.0, 1.6));
        assert_eq!(observe(None), (10.0, 10.0), "a journal of a version that did not note it");
    }

    #[test]
    fn failures_are_counted_among_all_requests_and_judged_among_those_of_the_measurement() {
        let failed = |judged| RequestRecord { judged, ..request(1, RequestEnd::Failed { reason: "no".into() }) };
        let requests = [failed(false), failed(true), request(41, RequestEnd::Finished)];
        assert_eq!(Answered::of(&requests), Answered { requests: 3, errors: 2 });
        assert_eq!(under(2.5, &requests).errors, 1);
    }

    #[test]
    fn failures_are_no_verdict_on_what_the_engine_did_not_fail() {
        let failed = || request(1, RequestEnd::Failed { reason: "no".into() });
        let ok_rate = share(0.5);
        let waiting = under(2.5, &[failed(), failed(), request(11, RequestEnd::Stopped)]);
        assert_eq!((waiting.tally.verdict(ok_rate), waiting.verdict(ok_rate)), (Verdict::Fail, Verdict::Undecided));
        let late = under(2.0, &[failed(), request(11, RequestEnd::Stopped)]);
        assert_eq!((late.errors, late.verdict(ok_rate)), (1, Verdict::Fail));
        let in_time = under(2.5, &[failed(), failed(), request(41, RequestEnd::Finished)]);
        assert_eq!((in_time.tally.verdict(ok_rate), in_time.verdict(ok_rate)), (Verdict::Fail, Verdict::Pass));
    }
}
