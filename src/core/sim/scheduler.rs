//! Which requests run in a step: continuous batching as vLLM's scheduler does it, without a clock.
//!
//! Every running sequence decodes one token per step. What is left of the token budget goes to prompts, first come
//! first served: the one that is part done, then those that wait, as long as a sequence and KV cache for the whole
//! prompt are free. Where the running sequences outgrow the cache, the one admitted last gives its place up, waits at
//! the head of the queue, and is computed again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::SimEngine;

/// What the requests of a probe are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub input: u32,
    pub output: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Prefilling,
    Decoding,
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Sequence {
    phase: Phase,
    /// Tokens put out when it began to decode, or when it last gave its place up.
    tokens: u32,
    /// Decode steps that the engine had made by then.
    since: u64,
    /// The tokens that it is to put out.
    output: u32,
    /// The engine is to fail it once its prompt is computed.
    doomed: bool,
}

/// What one step is to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub prefill_tokens: u32,
    pub sequences: u32,
    /// Steps that would be just like this one, itself included, before anything changes by itself.
    pub alike: u64,
}

/// What became of a request in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken from the queue, for the first time or after a preemption; its wait ended when the step began.
    Scheduled(u32),
    /// It put out the token that its prompt ends in: its first, or the next after a preemption.
    Prefilled(u32),
    /// It has all its tokens.
    Finished(u32),
    /// The engine gave it up.
    Failed(u32),
    /// It gave its place up.
    Preempted(u32),
}

#[derive(Debug)]
pub(super) struct Scheduler {
    sizes: Sizes,
    max_sequences: u32,
    budget: u32,
    capacity: u64,
    sequences: Vec<Sequence>,
    waiting: VecDeque<u32>,
    /// Waiting requests that were aborted and are still in the queue.
    left_queue: u32,
    /// In order of admission; those that are gone are dropped when they come up.
    admitted: Vec<u32>,
    prefilling: Option<(u32, u32)>,
    completing: Vec<u32>,
    decoding: u32,
    running: u32,
    kv_used: u64,
    steps_decoded: u64,
    /// By the decode step that gives them their last token.
    finishing: BinaryHeap<Reverse<(u64, u32)>>,
    outcomes: Vec<Outcome>,
}

impl Scheduler {
    pub fn new(engine: &SimEngine, sizes: Sizes) -> Self {
        Self {
            sizes,
            max_sequences: engine.max_num_seqs,
            budget: engine.max_num_batched_tokens,
            capacity: engine.kv_cache_tokens,
            sequences: Vec::new(),
            waiting: VecDeque::new(),
            left_queue: 0,
            admitted: Vec::new(),
            prefilling: None,
            completing: Vec::new(),
            decoding: 0,
            running: 0,
            kv_used: 0,
            steps_decoded: 0,
            finishing: BinaryHeap::new(),
            outcomes: Vec::new(),
        }
    }

    /// Puts the next request into the queue; a doomed one fails once its prompt is computed.
    pub fn submit(&mut self, doomed: bool) {
        let index = self.sequences.len() as u32;
        let doomed = doomed || !self.prompts_fit();
        let output = self.sizes.output;
        self.sequences.push(Sequence { phase: Phase::Waiting, tokens: 0, since: 0, output, doomed });
        self.waiting.push_back(index);
    }

    /// Has a request end after so many more tokens, if it would put out more than that.
    pub fn shorten(&mut self, index: u32, more: u32) {
        let output = self.tokens(index).saturating_add(more);
        let is_decoding = self.is_decoding(index);
        let sequence = &mut self.sequences[index as usize];
        if output < sequence.output {
            sequence.output = output;
            if is_decoding {
                self.finishing.push(Reverse((self.steps_decoded + u64::from(more), index)));
            }
        }
    }

    /// Whether a request has put out all that was asked for.
    pub fn is_whole(&self, index: u32) -> bool {
        self.tokens(index) >= self.sizes.output
    }

    /// Whether a prompt fits the KV cache when nothing else is in it; where none does, every request is doomed.
    pub fn prompts_fit(&self) -> bool {
        u64::from(self.sizes.input) <= self.capacity
    }

    /// Takes a request out, wherever it is.
    pub fn abort(&mut self, index: u32) {
        match self.sequences[index as usize].phase {
            Phase::Waiting => self.left_queue += 1,
            Phase::Prefilling | Phase::Decoding => self.release(index),
            Phase::Gone => {}
        }
        self.sequences[index as usize].phase = Phase::Gone;
    }

    /// Tokens that a request has put out.
    pub fn tokens(&self, index: u32) -> u32 {
        let sequence = &self.sequences[index as usize];
        match sequence.phase {
            Phase::Decoding => sequence.tokens + (self.steps_decoded - sequence.since) as u32,
            _ => sequence.tokens,
        }
    }

    pub fn is_decoding(&self, index: u32) -> bool {
        self.sequences[index as usize].phase == Phase::Decoding
    }

    /// Whether a request has left, finished or not.
    pub fn is_gone(&self, index: u32) -> bool {
        self.sequences[index as usize].phase == Phase::Gone
    }

    pub fn running(&self) -> u32 {
        self.running
    }

    pub fn waiting(&self) -> u32 {
        self.waiting.len() as u32 - self.left_queue
    }

    /// Tokens in the KV cache.
    pub fn kv_used(&self) -> u64 {
        self.kv_used
    }

    /// What happened to requests since this was last asked.
    pub fn take_outcomes(&mut self, into: &mut Vec<Outcome>) {
        into.clear();
        std::mem::swap(into, &mut self.outcomes);
    }

    /// Chooses what the next step computes; `None` where there is nothing to do.
    pub fn begin(&mut self) -> Option<Batch> {
        let preempted = self.make_room();
        let mut budget = self.budget.saturating_sub(self.decoding);
        let mut prefill_tokens = 0;
        let mut partial_steps = None;
        self.completing.clear();
        if let Some((index, left)) = self.prefilling {
            let share = left.min(budget);
            if share == left {
                self.completing.push(index);
                self.prefilling = None;
            } else {
                self.prefilling = Some((index, left - share));
                // `left - share` more tokens at `share` a step: all but the last of those steps are like this one.
                partial_steps = Some(1 + u64::from((left - share - 1).checked_div(share).unwrap_or(u32::MAX)));
            }
            budget -= share;
            prefill_tokens += share;
        }
        let before = self.running;
        while budget > 0 && !preempted && self.prefilling.is_none() {
            let Some((index, whole)) = self.admit() else { break };
            let share = whole.min(budget);
            if share == whole {
                self.completing.push(index);
            } else {
                self.prefilling = Some((index, whole - share));
            }
            budget -= share;
            prefill_tokens += share;
        }
        if self.running == 0 {
            return None;
        }
        let changes = preempted || self.running != before || !self.completing.is_empty();
        let alike = if changes { 1 } else { self.alike(partial_steps) };
        Some(Batch { prefill_tokens, sequences: self.running, alike })
    }

    /// Makes `count` steps at once that are all like the one that was begun, before that one itself is finished.
    pub fn repeat(&mut self, count: u64) {
        self.decoded(count);
        if let Some((_, left)) = &mut self.prefilling {
            let share = u64::from(self.budget.saturating_sub(self.decoding));
            *left -= (share * count) as u32;
        }
    }

    /// Ends the step that was begun.
    pub fn finish(&mut self) {
        self.decoded(1);
        while let Some(&Reverse((step, index))) = self.finishing.peek() {
            if step > self.steps_decoded {
                break;
            }
            self.finishing.pop();
            // Entries of sequences that were aborted or preempted since are stale.
            let sequence = &self.sequences[index as usize];
            if sequence.phase == Phase::Decoding && self.tokens(index) >= sequence.output {
                self.end(index, Outcome::Finished(index));
            }
        }
        for index in std::mem::take(&mut self.completing) {
            if self.sequences[index as usize].phase == Phase::Prefilling {
                self.prefilled(index);
            }
        }
    }

    fn decoded(&mut self, steps: u64) {
        self.steps_decoded += steps;
        self.kv_used += steps * u64::from(self.decoding);
    }

    fn prefilled(&mut self, index: u32) {
        let now = self.steps_decoded;
        let sequence = &mut self.sequences[index as usize];
        if sequence.doomed {
            return self.end(index, Outcome::Failed(index));
        }
        sequence.phase = Phase::Decoding;
        sequence.tokens += 1;
        sequence.since = now;
        self.decoding += 1;
        let left = sequence.output.saturating_sub(sequence.tokens);
        self.outcomes.push(Outcome::Prefilled(index));
        if left == 0 {
            self.end(index, Outcome::Finished(index));
        } else {
            self.finishing.push(Reverse((now + u64::from(left), index)));
        }
    }

    fn end(&mut self, index: u32, outcome: Outcome) {
        let tokens = self.tokens(index);
        self.release(index);
        let sequence = &mut self.sequences[index as usize];
        sequence.tokens = tokens;
        sequence.phase = Phase::Gone;
        self.outcomes.push(outcome);
    }

    /// Gives back what a running sequence holds.
    fn release(&mut self, index: u32) {
        let tokens = self.tokens(index);
        self.kv_used -= self.kv_of(index);
        self.running -= 1;
        if self.is_decoding(index) {
            self.decoding -= 1;
        }
        if self.prefilling.is_some_and(|(partial, _)| partial == index) {
            self.prefilling = None;
        }
        self.sequences[index as usize].tokens = tokens;
    }

    /// Tokens that a running sequence holds in the KV cache: its prompt, and what it put out but for the newest.
    fn kv_of(&self, index: u32) -> u64 {
        let sequence = &self.sequences[index as usize];
        let held = match sequence.phase {
            Phase::Decoding => self.tokens(index) - 1,
            _ => sequence.tokens,
        };
        if self.prompts_fit() { u64::from(self.sizes.input + held) } else { 0 }
    }

    /// Takes the next request from the queue if it has room: its index and the tokens to compute.
    fn admit(&mut self) -> Option<(u32, u32)> {
        while self.waiting.front().is_some_and(|front| self.sequences[*front as usize].phase == Phase::Gone) {
            self.waiting.pop_front();
            self.left_queue -= 1;
        }
        let index = *self.waiting.front()?;
        let tokens = self.sequences[index as usize].tokens;
        self.sequences[index as usize].phase = Phase::Prefilling;
        let kv = self.kv_of(index);
        if self.running >= self.max_sequences || self.kv_used + u64::from(self.decoding) + kv > self.capacity {
            self.sequences[index as usize].phase = Phase::Waiting;
            return None;
        }
        self.waiting.pop_front();
        self.admitted.push(index);
        self.running += 1;
        self.kv_used += kv;
        self.outcomes.push(Outcome::Scheduled(index));
        Some((index, self.sizes.input + tokens))
    }

    /// Preempts until every decoding sequence can put its next token into the KV cache; whether it had to.
    fn make_room(&mut self) -> bool {
        let mut preempted = false;
        while self.kv_used + u64::from(self.decoding) > self.capacity {
            let Some(last) = self.admitted.pop() else { break };
            if !matches!(self.sequences[last as usize].phase, Phase::Prefilling | Phase::Decoding) {
                continue;
            }
            if self.running == 1 {
                // Alone and still too large: computing it again would end here again.
                self.end(last, Outcome::Failed(last));
                continue;
            }
            self.release(last);
            self.sequences[last as usize].phase = Phase::Waiting;
            self.waiting.push_front(last);
            self.outcomes.push(Outcome::Preempted(last));
            preempted = true;
        }
        preempted
    }

    /// Steps until a sequence finishes, the KV cache is full, or the prompt that is part done is complete.
    fn alike(&self, partial_steps: Option<u64>) -> u64 {
        let finish = self.finishing.peek().map(|Reverse((step, _))| step.saturating_sub(self.steps_decoded));
        let full = (self.capacity - self.kv_used).checked_div(u64::from(self.decoding));
        [finish, full, partial_steps].into_iter().flatten().min().unwrap_or(1).max(1)
    }
}
