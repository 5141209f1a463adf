//! What an engine computes until the tokens of a burst come: work, whatever it takes.
//!
//! Which requests a step computes does not depend on how long steps take, as long as none is aborted. The time of a step is linear in
//! what is in it, so times of tokens tell what each part of the work takes. Where requests are held for a while and then aborted, those
//! times tell in turn which steps they were in.

use std::collections::VecDeque;
use std::ops::Sub;

use super::SimEngine;
use super::scheduler::{Batch, Outcome, Scheduler, Sizes};
use crate::load::{more_tokens, parts};
use crate::units::Seconds;

/// What was computed by some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Steps.
    pub steps: f64,
    /// Running sequences, counted once in each step.
    pub sequences: f64,
    /// Tokens of prompts.
    pub prompt_tokens: f64,
}

/// The work that a burst of requests makes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BurstWork {
    /// Until each first token, in the order in which they come.
    pub first_tokens: Vec<Work>,
    /// Until the first request has put out as many tokens as were asked for, or the last where others take their places.
    pub streamed: Option<Work>,
    /// Of each request that has left, in their order.
    pub streams: Vec<Stream>,
}

/// The tokens of a request after its first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stream {
    /// How many there are.
    pub tokens: u32,
    /// What was computed from the first token until the last of them.
    pub work: Work,
}

/// When a request of a burst leaves the engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaves {
    /// When it is finished.
    Finished,
    /// When it is finished, or so long after its first token. How long that is on the engine's clock is taken from the times of its work.
    Held(Seconds),
    /// When it is finished, and then another takes its place; once all have begun they leave one by one, as a sustained load has them.
    Replaced,
}

impl BurstWork {
    /// Of so many requests at once, until each has its first token and the first of them, or the last where others take their places, so many
    /// `tokens`.
    pub fn of(
        engine: &SimEngine,
        (input_tokens, output_tokens): (u32, u32),
        requests: u32,
        tokens: u32,
        leaves: Leaves,
    ) -> Self {
        let mut scheduler = Scheduler::new(engine, Sizes { input: input_tokens, output: output_tokens });
        (0..requests).for_each(|_| scheduler.submit(false));
        let (mut work, mut done, mut outcomes) = (Work::default(), Self::default(), Vec::new());
        let (mut now, mut due, mut begun) = (0.0, VecDeque::new(), vec![None; requests as usize]);
        let watched = if leaves == Leaves::Replaced { requests.saturating_sub(1) } else { 0 };
        let mut are_spread = false;
        while done.first_tokens.len() < requests as usize || (done.streamed.is_none() && tokens > 0) {
            let Some(batch) = scheduler.begin() else { break };
            let next_due = |due: &VecDeque<(f64, u32)>| due.front().map_or(f64::INFINITY, |(at, _)| *at);
            let seconds = engine.step_s(batch);
            let left = u64::from(tokens.saturating_sub(scheduler.tokens(watched)).max(1));
            let before_due = (((next_due(&due) - now) / seconds).ceil() as u64).max(1);
            let alike =
                if scheduler.is_decoding(watched) { batch.alike.min(left) } else { batch.alike }.min(before_due);
            if alike > 1 {
                scheduler.repeat(alike - 1);
            }
            now += seconds * alike as f64;
            // Those that leave during a step are computed in it.
            work.add(batch, alike - 1);
            while next_due(&due) < now {
                let Some((_, index)) = due.pop_front() else { break };
                if !scheduler.is_gone(index) {
                    done.streams.extend(Stream::of(&scheduler, index, begun[index as usize], work));
                    scheduler.abort(index);
                }
            }
            scheduler.finish();
            work.add(batch, 1);
            scheduler.take_outcomes(&mut outcomes);
            for outcome in &outcomes {
                match *outcome {
                    // One that was preempted goes on with a later one.
                    Outcome::Prefilled(index) if begun.get(index as usize).is_some_and(Option::is_none) => {
                        begun[index as usize] = Some(work);
                        done.first_tokens.push(work);
                        if let Leaves::Held(hold) = leaves {
                            due.push_back((now + hold.get(), index));
                        }
                    }
                    Outcome::Finished(index) => {
                        let begun = begun.get(index as usize).copied().flatten();
                        done.streams.extend(Stream::of(&scheduler, index, begun, work));
                    }
                    _ => {}
                }
            }
            if scheduler.tokens(watched) == tokens {
                done.streamed = done.streamed.or(Some(work));
            }
            if leaves == Leaves::Replaced {
                if scheduler.is_gone(watched) || outcomes.iter().any(|outcome| matches!(outcome, Outcome::Failed(_))) {
                    break;
                }
                let finished = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Finished(_))).count();
                (0..finished).for_each(|_| scheduler.submit(false));
                if done.first_tokens.len() == requests as usize && !are_spread {
                    are_spread = true;
                    spread(&mut scheduler, requests, output_tokens);
                }
            }
        }
        done
    }
}

/// Has those of so many requests that are there leave one by one (see [`crate::load`]).
fn spread(scheduler: &mut Scheduler, requests: u32, output_tokens: u32) {
    let there: Vec<u32> = (0..requests).filter(|index| !scheduler.is_gone(*index)).collect();
    for (part, index) in parts(there.len()).zip(there) {
        scheduler.shorten(index, more_tokens(part, output_tokens));
    }
}

impl Stream {
    /// Of a request that leaves now; `None` where its first token was its only one.
    fn of(scheduler: &Scheduler, index: u32, begun: Option<Work>, now: Work) -> Option<Self> {
        let tokens = scheduler.tokens(index).checked_sub(1).filter(|tokens| *tokens > 0)?;
        Some(Self { tokens, work: now - begun? })
    }
}

impl Sub for Work {
    type Output = Self;

    /// What was computed since.
    fn sub(self, before: Self) -> Self {
        Self {
            steps: self.steps - before.steps,
            sequences: self.sequences - before.sequences,
            prompt_tokens: self.prompt_tokens - before.prompt_tokens,
        }
    }
}

impl Work {
    fn add(&mut self, batch: Batch, steps: u64) {
        let steps = steps as f64;
        self.steps += steps;
        self.sequences += steps * f64::from(batch.sequences);
        self.prompt_tokens += steps * f64::from(batch.prefill_tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Hold, Load, LoadPlan};
    use crate::protocol::{ProbeAsk, PromptAsk, PromptSource};
    use crate::request::RequestRecord;
    use crate::sim::SimSession;
    use crate::units::{Concurrency, Seconds};
    use crate::watch::Advice;

    /// Input tokens, output tokens, sequences, token budget, KV cache, requests: short prompts and long ones, a batch that is
    /// full, a cache that is.
    const CASES: [(u32, u32, u32, u32, u64, u32); 5] = [
        (700, 40, 64, 2048, 100_000, 9),
        (5000, 40, 64, 2048, 100_000, 9),
        (700, 40, 4, 2048, 100_000, 9),
        (700, 40, 64, 2048, 3_000, 9),
        (3, 40, 64, 2048, 100_000, 1),
    ];

    fn ascending(mut times: Vec<f64>) -> Vec<f64> {
        times.sort_by(f64::total_cmp);
        times
    }

    #[test]
    fn work_times_what_it_takes_is_when_tokens_come() {
        for (input_tokens, output_tokens, max_num_seqs, max_num_batched_tokens, kv_cache_tokens, requests) in CASES {
            let engine = SimEngine {
                decode_step: Seconds::new(7e-3).unwrap(),
                decode_step_per_sequence: Seconds::new(40e-6).unwrap(),
                max_num_seqs,
                max_num_batched_tokens,
                kv_cache_tokens,
                ..SimEngine::unlimited(30_000.0)
            };
            let patience = Seconds::new(1e3).unwrap();
            let concurrency = Concurrency::new(requests).unwrap();
            let measured = |hold: Hold| {
                let load = LoadPlan { load: Load::Burst, concurrency, hold, window: Seconds::ZERO, patience };
                let source = PromptSource::Random;
                let prompts = PromptAsk { source, input_tokens, shared_prefix: 0, stream: 0, probe: 0 };
                let ask = ProbeAsk { load, prompts, output_tokens, silence: Seconds::ZERO };
                SimSession::new(engine, 0).probe(&ask, &mut |_| Advice::GoOn).requests
            };
            let seconds = |work: &Work| 7e-3 * work.steps + 40e-6 * work.sequences + work.prompt_tokens / 30_000.0;
            let near = |work: &Work, at: Option<Seconds>| (seconds(work) - at.unwrap().get()).abs() < 1e-9;
            // Held for less than a step, for some of them, and to the end.
            for hold in [3e-3, 0.06].map(|hold| Some(Seconds::new(hold).unwrap())).into_iter().chain([None]) {
                let requests = measured(hold.map_or(Hold::UntilFinished, Hold::For));
                let leaves = hold.map_or(Leaves::Finished, Leaves::Held);
                let tokens = requests[0].tokens;
                let work = BurstWork::of(&engine, (input_tokens, output_tokens), requests.len() as u32, tokens, leaves);
                assert_eq!(work.first_tokens.len(), requests.len(), "{hold:?}");
                let mut firsts = work.first_tokens.iter().zip(&requests);
                assert!(firsts.all(|(work, request)| near(work, request.first_s)), "{hold:?}: {work:?}");
                assert!(near(&work.streamed.unwrap(), requests[0].last_s), "{hold:?}: {work:?}");
                // All of them, where they are followed to the end.
                let work =
                    BurstWork::of(&engine, (input_tokens, output_tokens), requests.len() as u32, u32::MAX, leaves);
                let told = |stream: &Stream| seconds(&stream.work) / f64::from(stream.tokens);
                let told = ascending(work.streams.iter().map(told).collect());
                let stream = |request: &RequestRecord| request.last_s.unwrap().get() - request.first_s.unwrap().get();
                let streams = requests.iter().filter(|request| request.tokens > 1);
                let each = |request: &RequestRecord| stream(request) / f64::from(request.tokens - 1);
                let measured = ascending(streams.map(each).collect());
                assert_eq!(told.len(), measured.len(), "{hold:?}");
                let mut both = told.iter().zip(&measured);
                assert!(both.all(|(told, measured)| (told - measured).abs() < 1e-9), "{hold:?}: {told:?} {measured:?}");
            }
        }
    }
}
