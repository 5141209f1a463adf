//! Drives one probe on the simulated engine: the load's clock on one side, the scheduler's steps on the other.

use std::collections::VecDeque;

use super::SimEngine;
use super::luck::Luck;
use super::scheduler::{Batch, Outcome, Scheduler, Sizes};
use crate::load::{Act, LoadDriver, more_tokens};
use crate::protocol::{Event, HarnessSeen, Measured, ProbeAsk, Resolved, SchedulerSeen};
use crate::request::{RequestEnd, RequestRecord};
use crate::units::{Seconds, Share};
use crate::watch::Advice;

/// A simulated engine that answers probes.
///
/// What a probe meets depends on the seed, on the stream of its prompts and on its number in it, and on nothing that
/// was asked before: a sweep that is resumed sees what an uninterrupted one would have seen.
#[derive(Clone, Copy, Debug)]
pub struct SimSession {
    engine: SimEngine,
    seed: u64,
}

impl SimSession {
    /// An engine that is loaded and idle.
    pub fn new(engine: SimEngine, seed: u64) -> Self {
        Self { engine, seed }
    }

    /// What the engine says of itself once it is up.
    pub fn resolved(&self) -> Resolved {
        Resolved {
            version: format!("sim-{}", env!("CARGO_PKG_VERSION")),
            kv_cache_tokens: Some(self.engine.kv_cache_tokens),
            max_num_seqs: Some(self.engine.max_num_seqs),
            max_num_batched_tokens: Some(self.engine.max_num_batched_tokens),
            load_seconds: Some(self.engine.load_time),
            ..Resolved::default()
        }
    }

    /// Measures one level of load in virtual time.
    ///
    /// `observe` hears of every event at the moment it happens, and can stop the probe.
    pub fn probe(&self, ask: &ProbeAsk, observe: &mut dyn FnMut(&Event) -> Advice) -> Measured {
        let mut luck = Luck::new(&self.engine, self.seed, ask.prompts.stream, ask.prompts.probe);
        let stall = luck.stall_at.map(|part| {
            // One step at random stalls: to know how many there are, the probe is run without the stall first.
            let calm = Probe::new(&self.engine, ask, luck.clone(), None, &mut |_| Advice::GoOn).run();
            (part * f64::from(calm.scheduler.steps)) as u64
        });
        luck.stall_at = None;
        Probe::new(&self.engine, ask, luck, stall, observe).run()
    }
}

/// One probe as it runs.
struct Probe<'a> {
    engine: &'a SimEngine,
    driver: LoadDriver,
    scheduler: Scheduler,
    luck: Luck,
    /// The step that stalls.
    stall: Option<u64>,
    observe: &'a mut dyn FnMut(&Event) -> Advice,
    records: Vec<RequestRecord>,
    acts: VecDeque<Act>,
    gaps: Gaps,
    now: f64,
    /// When the newest step ended: every decoding sequence put a token out then.
    stepped: f64,
    /// When the step in progress ends: an engine that is told to stop finishes it first.
    idle_at: f64,
    steps: u64,
    /// Requests since the newest step was begun.
    came: u32,
    input_tokens: u32,
    /// Tokens that each request is to put out.
    asked_tokens: u32,
    output_tokens: u64,
    seen: SchedulerSeen,
    kv_peak: u64,
    over: bool,
}

impl<'a> Probe<'a> {
    fn new(
        engine: &'a SimEngine,
        ask: &ProbeAsk,
        luck: Luck,
        stall: Option<u64>,
        observe: &'a mut dyn FnMut(&Event) -> Advice,
    ) -> Self {
        let sizes = Sizes { input: ask.prompts.input_tokens, output: ask.output_tokens };
        let seen = SchedulerSeen { running_peak: Some(0), waiting_peak: Some(0), ..SchedulerSeen::default() };
        Self {
            engine,
            driver: LoadDriver::new(ask.load),
            scheduler: Scheduler::new(engine, sizes),
            luck,
            stall,
            observe,
            records: Vec::with_capacity(ask.load.concurrency.get() as usize),
            acts: VecDeque::new(),
            gaps: Gaps::default(),
            now: 0.0,
            stepped: 0.0,
            idle_at: 0.0,
            steps: 0,
            came: 0,
            input_tokens: sizes.input,
            asked_tokens: sizes.output,
            output_tokens: 0,
            seen,
            kv_peak: 0,
            over: false,
        }
    }

    fn run(mut self) -> Measured {
        let first = self.driver.begin();
        self.act(first);
        let mut outcomes = Vec::new();
        while !self.over {
            let batch = self.scheduler.begin();
            self.scheduler.take_outcomes(&mut outcomes);
            self.before_step(&outcomes);
            match batch {
                // A request that failed for want of room may have been the last to wait for.
                _ if self.over => {}
                Some(batch) => {
                    self.step(batch);
                    self.scheduler.take_outcomes(&mut outcomes);
                    self.after_step(&outcomes);
                }
                None => match self.driver.next_due() {
                    Some(due) => self.wait_until(due.get()),
                    None => break,
                },
            }
        }
        self.measured()
    }

    /// Lets time pass until the step has ended; what falls due meanwhile is done meanwhile.
    fn step(&mut self, batch: Batch) {
        self.note_peaks();
        let came = self.engine.request_time.get() * f64::from(std::mem::take(&mut self.came));
        let mut seconds = (self.engine.step_s(batch) + came) * self.luck.step();
        let skipped = if came > 0.0 { 0 } else { self.alike(batch, seconds) - 1 };
        if skipped > 0 {
            self.scheduler.repeat(skipped);
            self.advance(skipped, self.now + skipped as f64 * seconds, seconds);
            self.note_peaks();
        }
        if self.stall == Some(self.steps) {
            seconds += self.engine.stall.get();
        }
        let end = self.now + seconds;
        while let Some(due) = self.driver.next_due().filter(|due| due.get() < end && !self.over) {
            self.wait_until(due.get());
        }
        self.idle_at = end;
        if !self.over {
            self.advance(1, end, seconds);
            self.scheduler.finish();
        }
    }

    /// How many steps of this kind end before anything happens, this one included.
    fn alike(&self, batch: Batch, seconds: f64) -> u64 {
        if batch.alike == 1 || !self.luck.is_steady() {
            return 1;
        }
        let due = self.driver.next_due().map_or(u64::MAX, |due| ((due.get() - self.now) / seconds).ceil() as u64);
        let stall = self.stall.filter(|stall| *stall >= self.steps).map_or(u64::MAX, |stall| stall - self.steps);
        batch.alike.min(due).min(stall).max(1)
    }

    fn advance(&mut self, steps: u64, to: f64, seconds: f64) {
        self.steps += steps;
        self.now = to;
        self.stepped = to;
        self.gaps.push(self.steps, seconds);
    }

    fn note_peaks(&mut self) {
        self.kv_peak = self.kv_peak.max(self.scheduler.kv_used());
        self.seen.running_peak = self.seen.running_peak.max(Some(self.scheduler.running()));
        self.seen.waiting_peak = self.seen.waiting_peak.max(Some(self.scheduler.waiting()));
    }

    fn before_step(&mut self, outcomes: &[Outcome]) {
        let now = self.now();
        for outcome in outcomes {
            match *outcome {
                Outcome::Scheduled(index) => {
                    let record = &mut self.records[index as usize];
                    let waited = Seconds::new(now.get() - record.submitted_s.get());
                    record.queued_s = record.queued_s.or(waited);
                }
                Outcome::Preempted(index) => {
                    self.note_gap(index);
                    let last = self.stepped();
                    let record = &mut self.records[index as usize];
                    record.preemptions += 1;
                    if record.first_s.is_some() {
                        record.last_s = Some(last);
                    }
                    self.seen.preemptions += 1;
                }
                Outcome::Failed(index) => self.end(index, self.failure()),
                Outcome::Prefilled(_) | Outcome::Finished(_) => {}
            }
            self.follow_up();
        }
    }

    fn after_step(&mut self, outcomes: &[Outcome]) {
        // Also once the probe is over: what one step puts out arrives together.
        for outcome in outcomes {
            match *outcome {
                Outcome::Prefilled(index) => self.token_after_prompt(index),
                Outcome::Finished(index) if self.scheduler.is_whole(index) => self.end(index, RequestEnd::Finished),
                Outcome::Finished(index) => self.end(index, RequestEnd::Held),
                Outcome::Failed(index) => self.end(index, self.failure()),
                Outcome::Scheduled(_) | Outcome::Preempted(_) => {}
            }
            self.follow_up();
        }
        if !self.over {
            let acts = self.driver.tick(self.now());
            self.act(acts);
        }
    }

    fn failure(&self) -> RequestEnd {
        let reason = if self.scheduler.prompts_fit() {
            "the simulated engine failed the request".to_owned()
        } else {
            format!(
                "a prompt of {} tokens does not fit a KV cache of {}",
                self.input_tokens, self.engine.kv_cache_tokens
            )
        };
        RequestEnd::Failed { reason }
    }

    /// The first token of a request, or the one that it goes on with after a preemption.
    fn token_after_prompt(&mut self, index: u32) {
        let now = self.now();
        let steps = self.steps;
        let record = &mut self.records[index as usize];
        if record.first_s.is_some() {
            let wait = record.last_s.and_then(|last| Seconds::new(now.get() - last.get()));
            record.itl_max_s = record.itl_max_s.max(wait);
        }
        self.gaps.begin(index, steps);
        if record.first_s.is_none() {
            record.first_s = Some(now);
            let (judged, ttft) = (record.judged, record.ttft());
            let acts = self.driver.first_token(index, now);
            self.acts.extend(acts);
            if let (true, Some(ttft_s)) = (judged, ttft) {
                self.tell(&Event::First { index, ttft_s });
            }
        }
    }

    fn wait_until(&mut self, due: f64) {
        self.now = self.now.max(due);
        let acts = self.driver.tick(self.now());
        self.act(acts);
    }

    /// Does these acts, those that are still to do, and what follows from them.
    fn act(&mut self, acts: Vec<Act>) {
        self.acts.extend(acts);
        self.follow_up();
    }

    /// Does the acts that are still to do, and what follows from them.
    fn follow_up(&mut self) {
        while let Some(act) = self.acts.pop_front().filter(|_| !self.over) {
            match act {
                Act::Submit { judged } => self.submit(judged),
                Act::Abort(index) => self.end(index, RequestEnd::Held),
                Act::Shorten { index, part } => self.scheduler.shorten(index, more_tokens(part, self.asked_tokens)),
                Act::CloseWindow(judged) => self.tell(&Event::WindowClosed { judged, at_s: self.now() }),
                Act::End => self.over = true,
            }
        }
    }

    fn submit(&mut self, judged: bool) {
        let (index, now) = (self.records.len() as u32, self.now());
        self.came += 1;
        self.records.push(RequestRecord {
            index,
            judged,
            planned_s: now,
            submitted_s: now,
            first_s: None,
            last_s: None,
            tokens: 0,
            itl_max_s: None,
            ended_s: now,
            end: RequestEnd::Stopped,
            prompt_tokens: Some(self.input_tokens),
            cached_tokens: Some(0),
            queued_s: None,
            preemptions: 0,
        });
        self.scheduler.submit(self.luck.fails());
        self.driver.submitted(index, now);
    }

    /// Closes a request's record, whether it ended by itself or is aborted, and asks the load's driver what follows.
    fn end(&mut self, index: u32, end: RequestEnd) {
        self.close(index, end);
        let record = self.records[index as usize].clone();
        self.tell(&Event::Ended(record));
        let acts = self.driver.ended(index, self.now());
        self.acts.extend(acts);
    }

    fn close(&mut self, index: u32, end: RequestEnd) {
        self.note_gap(index);
        let (now, last, tokens) = (self.now(), self.stepped(), self.scheduler.tokens(index));
        let has_ended = end == RequestEnd::Finished || end == RequestEnd::Held && self.scheduler.is_gone(index);
        let streamed = self.scheduler.is_decoding(index) || has_ended;
        let record = &mut self.records[index as usize];
        record.end = end;
        record.ended_s = now;
        record.tokens = tokens;
        if streamed && tokens > 0 {
            record.last_s = Some(last);
        }
        self.output_tokens += u64::from(tokens);
        self.scheduler.abort(index);
    }

    /// Notes the longest wait between two tokens since the request began to decode.
    fn note_gap(&mut self, index: u32) {
        let gap = self.gaps.longest(index).and_then(Seconds::new);
        let record = &mut self.records[index as usize];
        record.itl_max_s = record.itl_max_s.max(gap);
    }

    fn tell(&mut self, event: &Event) {
        if !self.over && (self.observe)(event) == Advice::Stop {
            self.over = true;
        }
    }

    fn now(&self) -> Seconds {
        Seconds::new(self.now).unwrap_or(Seconds::ZERO)
    }

    fn stepped(&self) -> Seconds {
        Seconds::new(self.stepped).unwrap_or(Seconds::ZERO)
    }

    fn measured(mut self) -> Measured {
        for index in 0..self.records.len() {
            if self.records[index].end == RequestEnd::Stopped {
                self.close(index as u32, RequestEnd::Stopped);
            }
        }
        self.seen.steps = u32::try_from(self.steps).unwrap_or(u32::MAX);
        self.seen.kv_peak = Share::new(self.kv_peak as f64 / self.engine.kv_cache_tokens.max(1) as f64);
        Measured {
            seconds: Seconds::new(self.now.max(self.idle_at)).unwrap_or(Seconds::ZERO),
            load_ended_s: Some(self.now()),
            output_tokens: self.output_tokens,
            output_seconds: self.stepped(),
            scheduler: self.seen,
            harness: HarnessSeen::default(),
            requests: self.records,
        }
    }
}

/// The longest step since each sequence began to decode.
#[derive(Debug, Default)]
struct Gaps {
    /// Steps that no later one was longer than: number and seconds, falling.
    falling: Vec<(u64, f64)>,
    /// The step in which each request began to decode, by request.
    since: Vec<Option<u64>>,
}

impl Gaps {
    fn push(&mut self, step: u64, seconds: f64) {
        while self.falling.last().is_some_and(|(_, shorter)| *shorter <= seconds) {
            self.falling.pop();
        }
        self.falling.push((step, seconds));
    }

    fn begin(&mut self, index: u32, step: u64) {
        let index = index as usize;
        if self.since.len() <= index {
            self.since.resize(index + 1, None);
        }
        self.since[index] = Some(step);
    }

    /// The longest step since this request began to decode, which is forgotten.
    fn longest(&mut self, index: u32) -> Option<f64> {
        let since = self.since.get_mut(index as usize)?.take()?;
        let next = self.falling.partition_point(|(step, _)| *step <= since);
        self.falling.get(next).map(|(_, seconds)| *seconds)
    }
}
