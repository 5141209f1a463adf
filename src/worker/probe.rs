//! One probe: puts a load on the engine and notes what becomes of each request.
//!
//! When to submit, abort and end is [`LoadDriver`]'s business; here is what it takes to do so and to measure.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use ceiling_core::load::{Act, LoadDriver, more_tokens};
use ceiling_core::protocol::{Command, Event, HarnessSeen, Measured, ProbeAsk, SchedulerSeen};
use ceiling_core::request::{RequestEnd, RequestRecord};
use ceiling_core::units::{Seconds, Share};
use ceiling_core::workload::PromptMaker;

use crate::beside::{self, Told};
use crate::clock;
use crate::heard::{Heard, Output, RequestId, Seen, Step};
use crate::idle;
use crate::interrupted::{Interrupted, end_or_ignore, silent};
use crate::prompts;
use crate::stock::Stock;
use crate::teller::Teller;
use crate::vllm::Vllm;

/// Pause between two pieces of a request that is made before it is due: whoever waits for Python's lock gets it.
const REST: Duration = Duration::from_micros(100);

/// Runs one probe to its end: returns when the engine is idle and its prefix cache empty. A prefix that its prompts share is in the cache from
/// the beginning, as it is where others went before.
pub fn run(
    ask: &ProbeAsk,
    run: u32,
    maker: &PromptMaker,
    vllm: &Vllm,
    heard: &Receiver<Heard>,
    tell: &Sender<Heard>,
    mut teller: Teller<'_>,
) -> Result<Measured, Interrupted> {
    if ask.prompts.shared_prefix > 0 && beside::answer(maker.prefix(), run, ask.silence, vllm, heard)? == Told::Stop {
        // Meant for the load, which has not begun. The session holds the receiver, so this cannot fail.
        let _ = tell.send(Heard::Asked(Command::Stop));
    }
    let mut driver = LoadDriver::new(ask.load);
    let acts = driver.begin();
    // The clock starts when every prompt of the first moment is ready to be sent.
    let stock = Stock::new(ask, run, maker, vllm, acts.len() as u32, &mut teller)?;
    let (began, cpu) = (clock::monotonic(), clock::cpu());
    let mut probe = Probe {
        ask,
        run,
        vllm,
        teller,
        driver,
        stock,
        began,
        heard_last: began,
        requests: Vec::new(),
        over: false,
        load_ended: None,
        output_tokens: 0,
        output_last: 0.0,
        scheduler: SchedulerSeen::default(),
        lag: 0.0,
    };
    let driven = probe.drive(acts, heard);
    let cpu = clock::cpu() - cpu;
    // Of a probe that cannot go on, the engine is all right: it must be idle for the next.
    if matches!(driven, Ok(()) | Err(Interrupted::Refused(_))) {
        probe.load_ended = Some(probe.stop_the_rest()?);
        // An engine that schedules ahead takes aborts, and answers a reset, while it computes a step still; the next comes after it.
        let first = maker.prompt(0).map_err(|error| Interrupted::Refused(prompts::refuse(error)))?;
        beside::answer(beside::shortest(first), run, ask.silence, vllm, heard)?;
        idle::wait(ask.silence, vllm, heard, tell)?;
    }
    driven.map(|()| probe.measured(cpu))
}

struct Probe<'a> {
    ask: &'a ProbeAsk,
    run: u32,
    vllm: &'a Vllm,
    teller: Teller<'a>,
    driver: LoadDriver,
    stock: Stock<'a>,
    /// Moment on the monotonic clock; every other moment here is in seconds since then.
    began: f64,
    /// When the engine last said anything, on the monotonic clock.
    heard_last: f64,
    requests: Vec<Request>,
    over: bool,
    load_ended: Option<f64>,
    output_tokens: u64,
    output_last: f64,
    scheduler: SchedulerSeen,
    lag: f64,
}

/// What is known of a request so far.
struct Request {
    judged: bool,
    planned: f64,
    submitted: Option<f64>,
    first: Option<f64>,
    last: Option<f64>,
    itl_max: Option<f64>,
    tokens: u32,
    prompt_tokens: Option<u32>,
    cached_tokens: Option<u32>,
    queued: Option<f64>,
    scheduled: Option<f64>,
    preemptions: u32,
    /// After how many tokens it is aborted, where it is to leave before its end.
    leaves_after: Option<u32>,
    end: Option<(f64, RequestEnd)>,
}

impl Probe<'_> {
    fn drive(&mut self, first: Vec<Act>, heard: &Receiver<Heard>) -> Result<(), Interrupted> {
        self.perform(first, 0.0)?;
        while !self.over {
            self.listen(heard)?;
            self.teller.tell_alive();
        }
        Ok(())
    }

    /// Waits for the next thing to happen, and deals with it.
    fn listen(&mut self, heard: &Receiver<Heard>) -> Result<(), Interrupted> {
        let silent_at = self.heard_last + self.ask.silence.get();
        let due_at = self.driver.next_due().map_or(f64::INFINITY, |due| self.began + due.get());
        let now = clock::monotonic();
        let wake_at = silent_at.min(due_at).min(self.teller.alive_at());
        let patience = Seconds::new((wake_at - now).max(0.0)).unwrap_or(Seconds::ZERO);
        // Until when all is known that came: what came after a step may be in the queue, and nobody is overdue whose token is there.
        let known = match self.hear(heard, patience.to_std()) {
            Ok(Heard::Step(step)) => {
                let newest = step.newest();
                self.step(step)?;
                newest
            }
            Ok(Heard::Asked(Command::Stop)) => {
                self.over = true;
                None
            }
            Ok(other) => {
                end_or_ignore(other)?;
                None
            }
            Err(RecvTimeoutError::Timeout) => Some(now),
            Err(RecvTimeoutError::Disconnected) => return Err(Interrupted::Leave),
        };
        let Some(known) = known else { return Ok(()) };
        if known >= self.heard_last + self.ask.silence.get() {
            return Err(Interrupted::Gone(silent(self.ask.silence, "answered nothing")));
        }
        let acts = self.driver.tick(seconds(known - self.began));
        self.perform(acts, known - self.began)
    }

    /// The next thing heard. While nothing is, requests are made that are not due yet.
    fn hear(&mut self, heard: &Receiver<Heard>, patience: Duration) -> Result<Heard, RecvTimeoutError> {
        match heard.try_recv() {
            Ok(heard) => return Ok(heard),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        let is_full = patience.is_zero() || !self.stock.refill();
        heard.recv_timeout(if is_full { patience } else { patience.min(REST) })
    }

    /// Does what the driver wants; what it wants now was due at `planned`.
    fn perform(&mut self, acts: Vec<Act>, planned: f64) -> Result<(), Interrupted> {
        let (mut submit, mut abort) = (Vec::new(), Vec::new());
        let mut acts = VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            match act {
                Act::Submit { judged } => {
                    self.requests.push(Request::new(judged, planned));
                    submit.push(self.stock.take()?);
                }
                Act::Abort(index) => {
                    abort.push(RequestId { run: self.run, index });
                    acts.extend(self.end(index, clock::monotonic() - self.began, RequestEnd::Held));
                }
                Act::Shorten { index, part } => {
                    let request = &mut self.requests[index as usize];
                    request.leaves_after = Some(request.tokens + more_tokens(part, self.ask.output_tokens));
                }
                Act::CloseWindow(judged) => {
                    let at_s = seconds(clock::monotonic() - self.began);
                    self.teller.tell(&Event::WindowClosed { judged, at_s });
                }
                Act::End => self.over = true,
            }
        }
        self.vllm.abort(&abort).map_err(Interrupted::Gone)?;
        for (index, at) in self.vllm.submit(submit).map_err(Interrupted::Gone)? {
            self.submitted(index, at - self.began);
        }
        Ok(())
    }

    fn submitted(&mut self, index: u32, at: f64) {
        self.requests[index as usize].submitted = Some(at);
        self.driver.submitted(index, seconds(at));
    }

    fn step(&mut self, step: Step) -> Result<(), Interrupted> {
        self.heard_last = clock::monotonic();
        if let Some(scheduler) = step.scheduler {
            let seen = &mut self.scheduler;
            seen.steps += 1;
            seen.running_peak = seen.running_peak.max(Some(scheduler.running));
            seen.waiting_peak = seen.waiting_peak.max(Some(scheduler.waiting));
            seen.kv_peak = seen.kv_peak.max(Share::new(scheduler.kv.clamp(0.0, 1.0)));
        }
        self.lag = self.lag.max(step.lag.unwrap_or(0.0));
        for (id, seen) in step.seen {
            // The tail of an earlier probe, or of what went before the load.
            if id.run != self.run || id.index == beside::INDEX {
                continue;
            }
            match seen {
                Seen::Submitted { at } => self.submitted(id.index, at - self.began),
                Seen::Output(output) => self.output(id.index, output)?,
                Seen::Rejected { at, reason } => {
                    self.ended(id.index, at - self.began, RequestEnd::Failed { reason })?;
                }
            }
        }
        Ok(())
    }

    fn output(&mut self, index: u32, output: Output) -> Result<(), Interrupted> {
        let at = output.at - self.began;
        let request = &mut self.requests[index as usize];
        // Already aborted: what was on its way does not count.
        if request.end.is_some() {
            return Ok(());
        }
        self.scheduler.preemptions += output.preemptions;
        let is_first = request.note(&output, at);
        if output.tokens > 0 {
            self.output_tokens += u64::from(output.tokens);
            self.output_last = at;
        }
        if is_first {
            let (judged, submitted) = (request.judged, request.submitted.unwrap_or(request.planned));
            let acts = self.driver.first_token(index, seconds(at));
            if judged {
                self.teller.tell(&Event::First { index, ttft_s: seconds(at - submitted) });
            }
            self.perform(acts, at)?;
        }
        let Some(finish) = output.finish else {
            if self.requests[index as usize].leaves() {
                self.vllm.abort(&[RequestId { run: self.run, index }]).map_err(Interrupted::Gone)?;
                self.ended(index, at, RequestEnd::Held)?;
            }
            return Ok(());
        };
        let end = self.requests[index as usize].finished(&finish, self.ask.output_tokens);
        self.ended(index, at, end)
    }

    fn ended(&mut self, index: u32, at: f64, end: RequestEnd) -> Result<(), Interrupted> {
        let acts = self.end(index, at, end);
        self.perform(acts, at)
    }

    #[must_use]
    fn end(&mut self, index: u32, at: f64, end: RequestEnd) -> Vec<Act> {
        let request = &mut self.requests[index as usize];
        if request.end.is_some() {
            return Vec::new();
        }
        request.end = Some((at, end.clone()));
        let record = request.record(index, at, end);
        self.teller.tell(&Event::Ended(record));
        self.driver.ended(index, seconds(at))
    }

    /// Aborts what is still in flight; gives the moment.
    fn stop_the_rest(&mut self) -> Result<f64, Interrupted> {
        let now = clock::monotonic() - self.began;
        let mut rest = Vec::new();
        for (index, request) in (0..).zip(&mut self.requests) {
            if request.end.is_none() {
                request.end = Some((now, RequestEnd::Stopped));
                rest.push(RequestId { run: self.run, index });
            }
        }
        self.vllm.abort(&rest).map_err(Interrupted::Gone)?;
        Ok(now)
    }

    fn measured(self, cpu: f64) -> Measured {
        let now = clock::monotonic() - self.began;
        let delay = |request: &Request| request.submitted.map(|at| at - request.planned);
        let submit_delay = self
            .requests
            .iter()
            .filter_map(delay)
            .fold(None, |most: Option<f64>, delay| Some(most.map_or(delay, |most| most.max(delay))));
        let cpu_us = cpu * 1e6 / self.output_tokens as f64;
        Measured {
            seconds: seconds(now),
            load_ended_s: self.load_ended.map(seconds),
            output_tokens: self.output_tokens,
            output_seconds: seconds(self.output_last),
            scheduler: self.scheduler,
            harness: HarnessSeen {
                cpu_us_per_token: (self.output_tokens > 0).then_some(cpu_us),
                submit_delay_s: submit_delay.map(seconds),
                lag_s: (self.output_tokens > 0).then_some(seconds(self.lag)),
            },
            requests: (0..)
                .zip(self.requests)
                .map(|(index, request)| {
                    let (at, end) = request.end.clone().unwrap_or((now, RequestEnd::Stopped));
                    request.record(index, at, end)
                })
                .collect(),
        }
    }
}

impl Request {
    fn new(judged: bool, planned: f64) -> Self {
        Self {
            judged,
            planned,
            submitted: None,
            first: None,
            last: None,
            itl_max: None,
            tokens: 0,
            prompt_tokens: None,
            cached_tokens: None,
            queued: None,
            scheduled: None,
            preemptions: 0,
            leaves_after: None,
            end: None,
        }
    }

    /// Whether it has put out as many tokens as it was to.
    fn leaves(&self) -> bool {
        self.leaves_after.is_some_and(|tokens| self.tokens >= tokens)
    }

    /// Notes an output; says whether it brought the first token.
    fn note(&mut self, output: &Output, at: f64) -> bool {
        self.prompt_tokens = self.prompt_tokens.or(output.prompt_tokens);
        self.cached_tokens = self.cached_tokens.or(output.cached_tokens);
        self.queued = self.queued.or(output.queued);
        self.scheduled = self.scheduled.or(output.scheduled);
        self.preemptions += output.preemptions;
        if output.tokens == 0 {
            return false;
        }
        self.tokens += output.tokens;
        if let Some(last) = self.last.replace(at) {
            self.itl_max = Some(self.itl_max.unwrap_or(0.0).max(at - last));
            return false;
        }
        self.first = Some(at);
        true
    }

    /// What vLLM's reason to finish means: a request asks for a fixed number of tokens, and anything else is a failure.
    fn finished(&self, finish: &str, output_tokens: u32) -> RequestEnd {
        if finish == "length" && self.tokens == output_tokens {
            return RequestEnd::Finished;
        }
        RequestEnd::Failed { reason: format!("the engine ended it after {} tokens: {finish}", self.tokens) }
    }

    fn record(&self, index: u32, ended: f64, end: RequestEnd) -> RequestRecord {
        let queued = self.queued.zip(self.scheduled).map(|(queued, scheduled)| seconds(scheduled - queued));
        RequestRecord {
            index,
            judged: self.judged,
            planned_s: seconds(self.planned),
            // One that was never handed over was stopped before its turn came.
            submitted_s: seconds(self.submitted.unwrap_or(ended)),
            first_s: self.first.map(seconds),
            last_s: self.last.map(seconds),
            tokens: self.tokens,
            itl_max_s: self.itl_max.map(seconds),
            ended_s: seconds(ended),
            end,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            queued_s: queued,
            preemptions: self.preemptions,
        }
    }
}

/// Clocks of two processes are read a moment apart: what would lie before the beginning lies at it.
fn seconds(value: f64) -> Seconds {
    Seconds::new(value.max(0.0)).unwrap_or(Seconds::ZERO)
}
