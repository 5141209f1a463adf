//! One request of a probe: what was measured of it, without a word on whether it was good enough.

use serde::{Deserialize, Serialize};

use crate::units::Seconds;

/// What was measured of one request.
///
/// Moments are in seconds since the probe began, on the harness's monotonic clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Number of the request within its probe, from 0 in order of submission.
    pub index: u32,
    /// Whether the request belongs to the measurement: false for those that only make up the load.
    pub judged: bool,
    /// When it was due to be submitted.
    pub planned_s: Seconds,
    /// When it was handed to the engine.
    pub submitted_s: Seconds,
    /// When its first token reached the harness.
    pub first_s: Option<Seconds>,
    /// When its newest token reached the harness.
    pub last_s: Option<Seconds>,
    /// Output tokens received.
    pub tokens: u32,
    /// Longest wait between two of its outputs.
    pub itl_max_s: Option<Seconds>,
    /// When it ended, or when the probe did.
    pub ended_s: Seconds,
    /// How it ended.
    pub end: RequestEnd,
    /// Prompt tokens as the engine counted them.
    pub prompt_tokens: Option<u32>,
    /// Prompt tokens that the engine took from its prefix cache.
    pub cached_tokens: Option<u32>,
    /// Time that it waited in the engine before it was first scheduled.
    pub queued_s: Option<Seconds>,
    /// Times that the engine preempted it.
    pub preemptions: u32,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum RequestEnd {
    /// It produced all of its tokens.
    Finished,
    /// The harness aborted it as planned: its hold was over, or it was to leave before the others that had begun with it.
    Held,
    /// It was in flight when the probe ended.
    Stopped,
    /// The engine failed or aborted it.
    Failed {
        /// The engine's words.
        reason: String,
    },
}

impl RequestRecord {
    /// Time from submission to the first token.
    pub fn ttft(&self) -> Option<Seconds> {
        self.first_s.and_then(|first| Seconds::new(first.get() - self.submitted_s.get()))
    }

    /// Time from submission to the end, or to the end of the probe.
    pub fn age(&self) -> Seconds {
        Seconds::new(self.ended_s.get() - self.submitted_s.get()).unwrap_or(Seconds::ZERO)
    }

    /// Whether it was left in flight for this long: by the sum from which the load's driver tells when that falls due, since
    /// the difference may be short of it by how it is rounded.
    pub fn outlived(&self, limit: Seconds) -> bool {
        self.ended_s.get() >= self.submitted_s.get() + limit.get()
    }

    /// Mean time per output token after the first, in seconds; `None` where there was no more than one to come.
    ///
    /// For a finished request that is (last - first) / (tokens - 1), as vLLM's benchmarks define TPOT. A request that
    /// was aborted after its hold may be stuck in the middle of a gap: the gap counts for as long as it lasted,
    /// since the mean over the tokens so far and the next one is at least (end of hold - first) / tokens.
    pub fn tpot(&self) -> Option<f64> {
        let (first, last) = (self.first_s?.get(), self.last_s?.get());
        let shown = (self.tokens > 1).then(|| (last - first) / f64::from(self.tokens - 1));
        if self.end == RequestEnd::Held {
            let at_least = (self.ended_s.get() - first) / f64::from(self.tokens.max(1));
            return Some(shown.map_or(at_least, |shown| shown.max(at_least)));
        }
        shown
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A request submitted at 0 with the given moments in seconds.
    pub fn request(first: Option<f64>, tokens: u32, last: Option<f64>, end: RequestEnd, ended: f64) -> RequestRecord {
        let seconds = |value: f64| Seconds::new(value).unwrap();
        RequestRecord {
            index: 0,
            judged: true,
            planned_s: Seconds::ZERO,
            submitted_s: Seconds::ZERO,
            first_s: first.map(seconds),
            last_s: last.map(seconds),
            tokens,
            itl_max_s: None,
            ended_s: seconds(ended),
            end,
            prompt_tokens: None,
            cached_tokens: None,
            queued_s: None,
            preemptions: 0,
        }
    }
}
