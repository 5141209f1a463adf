//! How much the life of a request differs from one to the next, beside what its probe has in common.

use crate::experiment::Workload;
use crate::sim::SimEngine;
use crate::sim::times::Times;

/// No more steps of a life are taken to be independent than these: how the variance splits into what they share and what is their own is seen in
/// first tokens alone, and so of few of them.
const MOST_STEPS: f64 = 8.0;

/// Equal steps whose sum differs as much as the life of a request does beside `concurrency - 1` others, on an engine with these limits: in most of its
/// steps all decode, and a few are long, in which prompts of the others are computed, as many as there are others.
///
/// Of a sum of independent parts that each differ by the same share of themselves, the share is that of `(sum d)^2 / sum d^2` equal ones.
pub(super) fn steps_of_a_life(times: Times, limits: &SimEngine, workload: &Workload, concurrency: u32) -> f64 {
    let tokens = f64::from(workload.output_tokens);
    let decode = times.step + times.sequence * f64::from(concurrency.min(limits.max_num_seqs));
    let prompts = f64::from(workload.input_tokens) * f64::from(concurrency);
    let prefill = prompts * times.prompt_token;
    let long = (prompts / f64::from(limits.max_num_batched_tokens)).ceil().max(1.0);
    let squares = (tokens - long).max(0.0) * decode * decode + long * (decode + prefill / long).powi(2);
    ((tokens.max(long) * decode + prefill).powi(2) / squares).clamp(1.0, MOST_STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Load;
    use crate::testing::workload;

    #[test]
    fn long_steps_count_for_as_much_as_they_take() {
        let limits = SimEngine { max_num_batched_tokens: 8_000, ..SimEngine::unlimited(1.0) };
        let times = |prompt_token: f64| Times { step: 0.01, sequence: 0.0, prompt_token };
        // Output tokens, seconds for a prompt token, and steps: sixteen prompts of 1,000 are computed in two. The fourth: 2 of 0.81 s and 98 of
        // 0.01 s, 2.6^2 / (2 x 0.81^2 + 98 x 0.01^2).
        let table = [(4, 0.0, 4.0), (1_000, 0.0, MOST_STEPS), (1_000, 1.0, 2.0), (100, 1e-4, 5.11), (1, 0.0, 2.0)];
        for (output, prompt_token, steps) in table {
            let workload = workload(Load::Sustained, 1_000, output, 1.0);
            let told = steps_of_a_life(times(prompt_token), &limits, &workload, 16);
            assert!((told / steps - 1.0).abs() < 0.02, "{output}, {prompt_token}: {told} for {steps}");
        }
    }
}
