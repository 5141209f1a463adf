//! A continuous-batching engine in virtual time.
//!
//! ```text
//! luck       drift, step noise, stalls, failures of one probe, by seed
//! scheduler  which requests a step computes: admission, chunked prefill, preemption
//! truth      the true ceilings, by brute force
//! work       what an engine computes until tokens come, whatever that takes
//! times      what that work takes, from what took how long
//! session    the load's driver and the scheduler on one virtual clock: a probe asked, requests measured
//! trial      a probe of a ladder, measured as the executor would have it measured
//! ```
//!
//! A step takes `decode_step`, `decode_step_per_sequence` for each sequence in it, its prompt tokens at the prefill rate, and
//! `request_time` for each request that came before it; times the step's noise and the probe's drift.

mod luck;
mod scheduler;
mod session;
#[cfg(test)]
mod tests;
pub(crate) mod times;
mod trial;
mod truth;
mod work;

pub use session::SimSession;
pub use trial::Trial;
pub use truth::true_ceilings;
pub use work::{BurstWork, Leaves, Stream, Work};

use serde::{Deserialize, Serialize};

use crate::units::{Seconds, Share};

/// What the simulated engine is like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimEngine {
    /// Prompt tokens computed in a second; above zero.
    pub prefill_tokens_per_second: f64,
    /// Time of one step, whatever the batch.
    pub decode_step: Seconds,
    /// And per running sequence.
    pub decode_step_per_sequence: Seconds,
    /// Time to take a request in, before the next step.
    #[serde(default = "nothing", skip_serializing_if = "is_nothing")]
    pub request_time: Seconds,
    /// Most sequences in one step; at least 1.
    pub max_num_seqs: u32,
    /// Token budget of one step, shared by prefill and decode; at least 1.
    pub max_num_batched_tokens: u32,
    /// KV cache capacity in tokens; at least 1.
    pub kv_cache_tokens: u64,
    /// Time to load, in virtual time.
    pub load_time: Seconds,
    /// Relative standard deviation of a step's time; not negative.
    pub step_noise: f64,
    /// Relative standard deviation of a factor on all times, drawn once per probe; not negative.
    pub probe_drift: f64,
    /// Share of requests that the engine fails.
    pub error_rate: Share,
    /// Share of probes in which one step, at random, takes `stall` longer.
    pub stall_rate: Share,
    /// How much longer.
    pub stall: Seconds,
}

/// What older runs had no word for: left out, it changes no key.
fn nothing() -> Seconds {
    Seconds::ZERO
}

fn is_nothing(time: &Seconds) -> bool {
    *time == Seconds::ZERO
}

impl SimEngine {
    /// An engine that computes so many prompt tokens a second, decodes for nothing, has room for everything, and knows no chance.
    pub fn unlimited(prefill_tokens_per_second: f64) -> Self {
        Self {
            prefill_tokens_per_second,
            decode_step: Seconds::ZERO,
            decode_step_per_sequence: Seconds::ZERO,
            request_time: Seconds::ZERO,
            max_num_seqs: u32::MAX,
            max_num_batched_tokens: u32::MAX,
            kv_cache_tokens: u64::from(u32::MAX),
            load_time: Seconds::ZERO,
            step_noise: 0.0,
            probe_drift: 0.0,
            error_rate: Share::NONE,
            stall_rate: Share::NONE,
            stall: Seconds::ZERO,
        }
    }

    /// What a step takes in seconds, luck apart.
    fn step_s(&self, batch: scheduler::Batch) -> f64 {
        self.decode_step.get()
            + self.decode_step_per_sequence.get() * f64::from(batch.sequences)
            + f64::from(batch.prefill_tokens) / self.prefill_tokens_per_second
    }
}
