//! What one probe showed, in the form that a search reasons in.

use serde::{Deserialize, Serialize};

use crate::load::{Load, LoadPlan};
use crate::protocol::Measured;
use crate::request::{RequestEnd, RequestRecord};
use crate::sla::{Outcome, Sla, Tally};
use crate::units::{Concurrency, Seconds};
use crate::watch::Until;

/// What one probe showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The load that was put on the engine: a burst also where first tokens alone were asked for.
    pub load: Load,
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// Whether it was measured for its first tokens alone.
    pub first_tokens_only: bool,
    /// What it cost in engine time.
    pub seconds: Seconds,
    /// Times in seconds at which the first N requests, which arrive together under either load, got their first token
    /// or were failed by the engine: ascending, those that were still waiting are missing at the end.
    pub opening: Vec<f64>,
    /// Its judged requests under each SLA of the ladder.
    pub under: Vec<UnderSla>,
}

/// The judged requests of one probe under one SLA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnderSla {
    /// What they are worth.
    pub tally: Tally,
    /// Of each request that the engine did not fail, the logarithm of the factor by which it used up its tightest
    /// limit, ascending: at most 0 where it kept all of them.
    pub used: Vec<f64>,
    /// Requests that the engine failed.
    pub errors: u32,
    /// Requests of which nothing can be said.
    pub unknown: u32,
}

impl Observation {
    /// Judges what was measured under each SLA.
    pub fn new(load: &LoadPlan, until: &Until, measured: &Measured, slas: &[Sla]) -> Self {
        let (load, concurrency) = (load.load, load.concurrency);
        let first_tokens_only = *until == Until::FirstTokens;
        let first = measured.requests.iter().take(concurrency.get() as usize);
        let mut opening: Vec<f64> = first.filter_map(settled_at).collect();
        opening.sort_by(f64::total_cmp);
        let under = slas.iter().map(|sla| UnderSla::new(load, sla, &measured.requests)).collect();
        Self { load, concurrency, first_tokens_only, seconds: measured.seconds, opening, under }
    }

    /// The leading part of [`Observation::opening`] that came about as it would have with more requests behind it.
    ///
    /// The engine's last step with prompts is shorter than the others, since nothing is left to fill it.
    pub fn full_steps(&self) -> &[f64] {
        let complete = self.opening.len() >= self.concurrency.get() as usize;
        let end = match self.opening.last() {
            Some(last) if complete => self.opening.partition_point(|time| *time < last * (1.0 - LAST_STEP)),
            _ => self.opening.len(),
        };
        &self.opening[..end]
    }
}

/// First tokens that come within this part of the last one's time are taken to be of its step.
const LAST_STEP: f64 = 0.01;

/// When a request got its first token or was failed without one, since its submission.
fn settled_at(request: &RequestRecord) -> Option<f64> {
    let failed = matches!(request.end, RequestEnd::Failed { .. }).then(|| request.age());
    request.ttft().or(failed).map(Seconds::get)
}

impl UnderSla {
    fn new(load: Load, sla: &Sla, requests: &[RequestRecord]) -> Self {
        let mut under = Self { tally: Tally::of(sla, requests), used: Vec::new(), errors: 0, unknown: 0 };
        let mut late = Vec::new();
        for request in requests.iter().filter(|request| request.judged) {
            match sla.used(request) {
                Used::Part(part) => under.used.push(part.ln()),
                Used::AtLeast(part) => late.push(part.ln()),
                Used::Unknown => under.unknown += 1,
                Used::Error => under.errors += 1,
            }
        }
        under.used.sort_by(f64::total_cmp);
        if load == Load::Burst {
            extend(&mut under.used, &late);
        } else {
            under.used.extend(late);
            under.used.sort_by(f64::total_cmp);
        }
        under
    }

    /// Requests that were judged and not failed by the engine.
    pub fn total(&self) -> u32 {
        self.used.len() as u32 + self.unknown
    }
}

/// Adds requests that were still waiting when the probe ended, where the line through those before them would have
/// them come: a burst is served in order.
fn extend(used: &mut Vec<f64>, late: &[f64]) {
    let known = used.len();
    let slope = if known >= 4 {
        ((used[known - 1] - used[known / 2 - 1]) / (known as f64 / (known / 2) as f64).ln()).clamp(0.2, 3.0)
    } else {
        1.0
    };
    let last = used.last().copied();
    for (waiting, at_least) in late.iter().enumerate() {
        let rank = (known + waiting + 1) as f64 / known.max(1) as f64;
        used.push(last.map_or(*at_least, |last| last + slope * rank.ln()).max(*at_least));
    }
    used.sort_by(f64::total_cmp);
}

/// A request that missed a limit has used up more than all of it, also where it was given up as the limit fell due.
const BEYOND: f64 = 1.0 + f64::EPSILON;

/// How much of its tightest limit a request used up.
enum Used {
    /// This part, 1 being all of it.
    Part(f64),
    /// At least this part, which is more than all of it: it was never seen to come.
    AtLeast(f64),
    /// It was left too early to tell.
    Unknown,
    /// The engine failed it.
    Error,
}

impl Sla {
    fn used(&self, request: &RequestRecord) -> Used {
        if matches!(request.end, RequestEnd::Failed { .. }) {
            return Used::Error;
        }
        let outcome = self.judge(request);
        let ttft_limit = self.ttft.get().max(f64::MIN_POSITIVE);
        let Some(ttft) = request.ttft() else {
            let waited = request.age().get() / ttft_limit;
            return if outcome == Outcome::Failed { Used::AtLeast(waited.max(BEYOND)) } else { Used::Unknown };
        };
        let ttft = ttft.get().max(f64::MIN_POSITIVE) / ttft_limit;
        let e2e = self.e2e.map_or(0.0, |limit| request.age().get() / limit.get().max(f64::MIN_POSITIVE));
        let tpot = self.tpot_limit().zip(request.tpot()).map_or(0.0, |(limit, tpot)| tpot / limit);
        let part = ttft.max(e2e).max(tpot);
        let first_token_decides = self.tpot_limit().is_none() && self.e2e.is_none();
        match outcome {
            // Division rounds: what is ok stays within its limit, what failed stays beyond it.
            Outcome::Ok => Used::Part(part.min(1.0)),
            Outcome::Failed => Used::Part(part.max(BEYOND)),
            // It was left in mid-stream: under a limit on its first token alone, that token has told.
            Outcome::Undetermined if first_token_decides => Used::Part(ttft),
            Outcome::Undetermined => Used::Unknown,
        }
    }
}
