//! The service-level agreement (SLA) and what one request is worth under it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::{RequestEnd, RequestRecord};
use crate::units::{Seconds, Share};

/// What a level of load must deliver to pass.
///
/// A request is ok where every limit holds; the level passes where at least `ok_rate` of its requests are ok.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sla {
    /// Least share of requests that are ok.
    pub ok_rate: Share,
    /// Longest time to first token, from submission.
    pub ttft: Seconds,
    /// Longest time per output token after the first, as the mean over the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot: Option<Seconds>,
    /// Longest time from submission to the last token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e: Option<Seconds>,
    /// Least output tokens per second of one request after its first token: the inverse of TPOT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_tokens_per_second: Option<TokensPerSecond>,
}

/// Output tokens per second of one request: finite and above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct TokensPerSecond(f64);

impl TokensPerSecond {
    /// `None` where `value` is not a finite number above zero.
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && value > 0.0).then_some(Self(value))
    }

    /// The number of tokens in a second.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Eq for TokensPerSecond {}

impl<'de> Deserialize<'de> for TokensPerSecond {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| serde::de::Error::custom(format!("{value} is not a rate above zero")))
    }
}

/// What a request is worth under an SLA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every limit held.
    Ok,
    /// A limit was missed, or the engine gave the request up.
    Failed,
    /// The probe ended before it could be told.
    Undetermined,
}

/// Part of a limit for which requests that miss it are waited for: more than most machines differ from probe to probe.
const OVERTIME: f64 = 0.1;

/// This limit, and so much longer.
pub(crate) fn with_overtime(limit: Seconds) -> Seconds {
    Seconds::new(limit.get() * (1.0 + OVERTIME)).unwrap_or(limit)
}

impl Sla {
    /// Whether whatever passes this SLA passes `other` as well: no limit of `other` is tighter.
    pub fn implies(&self, other: &Self) -> bool {
        let within = |mine: Option<Seconds>, theirs: Option<Seconds>| match (mine, theirs) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => mine <= theirs,
        };
        let fast = match (self.min_tokens_per_second, other.min_tokens_per_second) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => mine >= theirs,
        };
        self.ok_rate >= other.ok_rate
            && self.ttft <= other.ttft
            && within(self.tpot, other.tpot)
            && within(self.e2e, other.e2e)
            && fast
    }

    /// The same with every limit at this part of what it is, above 0.
    pub(crate) fn tightened(&self, part: f64) -> Self {
        let time = |limit: Seconds| Seconds::new(limit.get() * part).unwrap_or(limit);
        let rate = |limit: TokensPerSecond| TokensPerSecond::new(limit.get() / part).unwrap_or(limit);
        Self {
            ok_rate: self.ok_rate,
            ttft: time(self.ttft),
            tpot: self.tpot.map(time),
            e2e: self.e2e.map(time),
            min_tokens_per_second: self.min_tokens_per_second.map(rate),
        }
    }

    /// The last of its limits that runs from the submission: E2E where that is limited and not below TTFT, else TTFT. A request of which
    /// nothing has come by then is not ok, nor is one that has not ended where E2E is limited. One that streams then may still turn out ok.
    pub fn deadline(&self) -> Seconds {
        self.e2e.map_or(self.ttft, |e2e| e2e.max(self.ttft))
    }

    /// How long a request is waited for: until its deadline, and where that is the end of it somewhat longer, to see by how much it is
    /// missed. Nothing else would tell: who is left in mid-stream might have ended a moment later.
    pub fn patience(&self) -> Seconds {
        self.e2e.map_or(self.ttft, |e2e| with_overtime(e2e).max(self.ttft))
    }

    /// Whether it judges the whole request, so that requests are let finish.
    pub fn judges_the_end(&self) -> bool {
        self.e2e.is_some()
    }

    /// Whether it limits more than the first token.
    pub(crate) fn limits_later(&self) -> bool {
        self.tpot_limit().is_some() || self.e2e.is_some()
    }

    /// What a request is worth that has ended, or that the probe left behind at its end.
    pub fn judge(&self, request: &RequestRecord) -> Outcome {
        if matches!(request.end, RequestEnd::Failed { .. }) {
            return Outcome::Failed;
        }
        let Some(ttft) = request.ttft() else {
            // A first token at the very limit is in time; none by then is not.
            return if request.outlived(self.ttft) { Outcome::Failed } else { Outcome::Undetermined };
        };
        let overdue = |limit| match request.end {
            RequestEnd::Finished => request.age() > limit,
            _ => request.outlived(limit),
        };
        if ttft > self.ttft || self.e2e.is_some_and(overdue) {
            return Outcome::Failed;
        }
        let tpot_limit = self.tpot_limit();
        match request.end {
            RequestEnd::Failed { .. } => Outcome::Failed,
            RequestEnd::Finished | RequestEnd::Held => {
                let slow = tpot_limit.is_some_and(|limit| request.tpot().is_some_and(|tpot| tpot > limit));
                // A request that was held but not finished has not shown its E2E: it was within the limit so far.
                let unfinished = self.e2e.is_some() && request.end == RequestEnd::Held;
                if slow {
                    Outcome::Failed
                } else if unfinished {
                    Outcome::Undetermined
                } else {
                    Outcome::Ok
                }
            }
            RequestEnd::Stopped => Outcome::Undetermined,
        }
    }

    /// The tighter of the two limits on speed after the first token, as time per token.
    pub(crate) fn tpot_limit(&self) -> Option<f64> {
        let slowest = self.min_tokens_per_second.map(|rate| 1.0 / rate.get());
        match (self.tpot.map(Seconds::get), slowest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// Requests of one probe under one SLA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Tally {
    /// Requests for which every limit held.
    pub ok: u32,
    /// Requests for which one did not.
    pub failed: u32,
    /// Requests of which the probe ended too early to tell.
    pub undetermined: u32,
}

impl Tally {
    /// Counts the requests that belong to the measurement.
    pub fn of<'a>(sla: &Sla, requests: impl IntoIterator<Item = &'a RequestRecord>) -> Self {
        let mut tally = Self::default();
        for request in requests.into_iter().filter(|request| request.judged) {
            tally.add(sla.judge(request));
        }
        tally
    }

    /// Counts one more request.
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Undetermined => self.undetermined += 1,
        }
    }

    /// All requests.
    pub fn total(&self) -> u32 {
        self.ok + self.failed + self.undetermined
    }

    /// What this probe alone says: undecided where the undetermined requests could still tip it.
    pub fn verdict(&self, ok_rate: Share) -> Verdict {
        let needed = ok_rate.least_of(self.total());
        if self.total() == 0 {
            Verdict::Undecided
        } else if self.ok >= needed {
            Verdict::Pass
        } else if self.failed > self.total() - needed {
            Verdict::Fail
        } else {
            Verdict::Undecided
        }
    }
}

/// What a probe says of an SLA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Enough requests were ok.
    Pass,
    /// Too many were not.
    Fail,
    /// It cannot be told.
    Undecided,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::testing::request;

    fn seconds(value: f64) -> Seconds {
        Seconds::new(value).unwrap()
    }

    fn sla(ttft: f64) -> Sla {
        Sla { ok_rate: Share::ALL, ttft: seconds(ttft), tpot: None, e2e: None, min_tokens_per_second: None }
    }

    #[test]
    fn only_those_who_may_miss_the_end_are_waited_for_beyond_their_deadline() {
        let both = |sla: Sla| (sla.deadline().get(), sla.patience().get());
        assert_eq!(both(sla(3.0)), (3.0, 3.0));
        for (e2e, deadline, patience) in [(10.0, 10.0, 11.0), (2.0, 3.0, 3.0), (f64::MAX, f64::MAX, f64::MAX)] {
            let limited = Sla { e2e: Some(seconds(e2e)), ..sla(3.0) };
            assert_eq!(both(limited), (deadline, patience));
        }
    }

    #[test]
    fn every_row_of_the_request_rules() {
        let failed = RequestEnd::Failed { reason: "out of memory".into() };
        // (first token, tokens, last token, end, age at the end) under a TTFT limit of 1 s
        let table = [
            ((Some(0.5), 10, Some(2.0), RequestEnd::Held, 5.5), Outcome::Ok),
            ((Some(0.5), 10, Some(2.0), RequestEnd::Finished, 2.0), Outcome::Ok),
            ((Some(1.0), 1, Some(1.0), RequestEnd::Held, 6.0), Outcome::Ok),
            ((Some(1.5), 10, Some(2.0), RequestEnd::Held, 6.5), Outcome::Failed),
            ((None, 0, None, RequestEnd::Stopped, 1.1), Outcome::Failed),
            ((None, 0, None, RequestEnd::Stopped, 1.0), Outcome::Failed),
            ((None, 0, None, RequestEnd::Stopped, 0.9), Outcome::Undetermined),
            ((Some(0.5), 3, Some(0.8), RequestEnd::Stopped, 0.9), Outcome::Undetermined),
            ((Some(0.5), 3, Some(0.8), failed.clone(), 0.9), Outcome::Failed),
            ((None, 0, None, failed, 0.1), Outcome::Failed),
        ];
        for ((first, tokens, last, end, age), outcome) in table {
            let request = request(first, tokens, last, end, age);
            assert_eq!(sla(1.0).judge(&request), outcome, "{request:?}");
        }
    }

    #[test]
    fn a_request_left_as_its_limit_falls_due_has_missed_it_however_the_moment_is_rounded() {
        for submitted in (0..1000).map(|step| f64::from(step) * 0.005_07) {
            let due = seconds(submitted + 0.0934);
            let left = RequestRecord {
                submitted_s: seconds(submitted),
                ended_s: due,
                ..request(None, 0, None, RequestEnd::Stopped, 0.0)
            };
            assert_eq!(sla(0.0934).judge(&left), Outcome::Failed, "{submitted}");
        }
    }

    #[test]
    fn further_limits_hold_together() {
        let fast = request(Some(0.5), 11, Some(1.5), RequestEnd::Finished, 1.5);
        let tpot = |limit| Sla { tpot: Some(seconds(limit)), ..sla(1.0) };
        let e2e = |limit| Sla { e2e: Some(seconds(limit)), ..sla(1.0) };
        let rate = |limit| Sla { min_tokens_per_second: TokensPerSecond::new(limit), ..sla(1.0) };
        assert_eq!(tpot(0.1).judge(&fast), Outcome::Ok);
        assert_eq!(tpot(0.09).judge(&fast), Outcome::Failed);
        assert_eq!(rate(10.0).judge(&fast), Outcome::Ok);
        assert_eq!(rate(10.5).judge(&fast), Outcome::Failed);
        assert_eq!(e2e(1.5).judge(&fast), Outcome::Ok);
        assert_eq!(e2e(1.4).judge(&fast), Outcome::Failed);
        let held = request(Some(0.5), 11, Some(1.5), RequestEnd::Held, 1.5);
        assert_eq!(e2e(9.0).judge(&held), Outcome::Undetermined);
    }

    #[test]
    fn a_request_that_stalls_while_held_is_slow() {
        // Two quick tokens, then nothing for the rest of a hold of 5 s.
        let stalled = request(Some(0.5), 2, Some(0.6), RequestEnd::Held, 5.5);
        assert_eq!(Sla { tpot: Some(seconds(0.2)), ..sla(1.0) }.judge(&stalled), Outcome::Failed);
    }

    #[test]
    fn verdicts_wait_for_what_could_tip_them() {
        let rate = Share::new(0.9).unwrap();
        let table = [
            ((9, 1, 0), Verdict::Pass),
            ((8, 2, 0), Verdict::Fail),
            ((8, 1, 1), Verdict::Undecided),
            ((9, 0, 1), Verdict::Pass),
            ((0, 2, 8), Verdict::Fail),
            ((0, 0, 0), Verdict::Undecided),
        ];
        for ((ok, failed, undetermined), verdict) in table {
            assert_eq!(Tally { ok, failed, undetermined }.verdict(rate), verdict, "{ok} {failed} {undetermined}");
        }
    }

    #[test]
    fn a_stricter_sla_implies_a_laxer_one() {
        assert!(sla(1.0).implies(&sla(2.0)));
        assert!(!sla(2.0).implies(&sla(1.0)));
        let with_tpot = Sla { tpot: Some(seconds(0.1)), ..sla(1.0) };
        assert!(with_tpot.implies(&sla(1.0)));
        assert!(!sla(1.0).implies(&with_tpot));
    }
}
