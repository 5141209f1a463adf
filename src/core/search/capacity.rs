//! How many requests an engine runs at once, from what it says of itself.

use crate::experiment::Workload;
use crate::load::Load;
use crate::protocol::Resolved;

/// Requests that an engine has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    /// As many as it admits together, by its sequences and by its KV cache; absent where it says nothing of them.
    pub admitted: Option<u32>,
    /// The level from which on it is full, so that more requests wait for others to leave. Under a sustained load it is so too
    /// where every step is full of prompts: each request lives for as many steps as it has tokens to put out.
    pub full: Option<u32>,
    /// As many as it has room for when they have put nothing out yet: beyond it, some of a burst wait for others to leave.
    pub prompts: Option<u32>,
}

impl Capacity {
    /// For requests of this workload.
    pub fn new(workload: &Workload, engine: &Resolved) -> Self {
        let (input, output) = (u64::from(workload.input_tokens), u64::from(workload.output_tokens));
        let parts = |tokens: u64, each: u64| u32::try_from(tokens / each.max(1)).unwrap_or(u32::MAX);
        let room = |each: u64| {
            let in_cache = engine.kv_cache_tokens.map(|tokens| parts(tokens, each));
            engine.max_num_seqs.into_iter().chain(in_cache).min()
        };
        let admitted = room(input + output);
        let by_steps = match workload.load {
            Load::Burst => None,
            Load::Sustained => {
                engine.max_num_batched_tokens.map(|budget| parts(output * u64::from(budget), input + output))
            }
        };
        Self { admitted, full: admitted.into_iter().chain(by_steps).min(), prompts: room(input) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::workload;

    #[test]
    fn what_runs_out_first_fills_an_engine() {
        // Sequences, KV cache and budget in tokens, and what is full of a burst, of prompts, and of a sustained load.
        let table = [
            (Some(256), Some(64_000), Some(2048), Some(64), Some(71), Some(64)),
            (Some(256), Some(900_000), Some(2048), Some(256), Some(256), Some(204)),
            (Some(256), None, Some(8192), Some(256), Some(256), Some(256)),
            (None, None, Some(2048), None, None, Some(204)),
            (None, None, None, None, None, None),
        ];
        for (max_num_seqs, kv_cache_tokens, max_num_batched_tokens, burst, prompts, sustained) in table {
            let engine = Resolved { max_num_seqs, kv_cache_tokens, max_num_batched_tokens, ..Resolved::default() };
            let full = |load| Capacity::new(&workload(load, 900, 100, 0.0), &engine);
            assert_eq!(full(Load::Burst), Capacity { admitted: burst, full: burst, prompts }, "{engine:?}");
            assert_eq!(full(Load::Sustained), Capacity { admitted: burst, full: sustained, prompts }, "{engine:?}");
        }
    }
}
