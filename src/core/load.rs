//! When a probe submits, aborts and ends: the two loads as a state machine.
//!
//! The simulator and the worker for vLLM both ask this driver what to do next, so that a load means the same on
//! either. It reads no clock: every moment comes in as seconds since the probe began.
//!
//! | load | submits | judges | ends |
//! | --- | --- | --- | --- |
//! | burst | N at once | all of them | when each was held, has finished, failed or is overdue |
//! | sustained | N, then one in the place of each that ends | those submitted while the window is open | when each judged one has ended or is overdue; the load goes on until then |
//!
//! A burst of which nothing at all has come when all of it is overdue is waited for as long again, until its first token: without
//! one it would show that every request is late, and not by how much.
//!
//! The window of a sustained load opens once every slot has turned over, and stays open for the hold and at least N
//! submissions.
//!
//! All N begin together, which users do not. An engine that computes several prompts in a step would keep them together: they would end
//! together, be replaced together, and wait for each other ever after. So once all of the first N have their first token, those that are
//! still there leave one after the other, evenly over the tokens of one request.
//!
//! Where the engine answers request after request of a slot with an error and no token, the slot pauses before the next, ever longer, as
//! clients do. An engine that refuses at once would otherwise be sent thousands in a second, by which it slows what it took, and of
//! which hardly any would be one that it could have taken.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::experiment::Workload;
use crate::sla::{Sla, with_overtime};
use crate::units::{Concurrency, Seconds, Share};
use crate::watch::Until;

/// How requests arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// N requests at once, each held for a while past its first token.
    Burst,
    /// N requests in flight all the time.
    Sustained,
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Burst => "burst",
            Self::Sustained => "sustained",
        })
    }
}

/// How long a burst keeps a request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// It is aborted this long after its first token, if it has not finished by then.
    For(Seconds),
    /// It is watched until it finishes by itself.
    UntilFinished,
}

impl Hold {
    /// How long a request is held past its first token at the longest, as far as that is laid down: not at all where it
    /// finishes by itself.
    pub fn laid_down(self) -> Seconds {
        match self {
            Self::For(hold) => hold,
            Self::UntilFinished => Seconds::ZERO,
        }
    }
}

/// The load that one probe puts on the engine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadPlan {
    /// How requests arrive.
    pub load: Load,
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// How long a burst keeps each; under a sustained load, whether each is watched to its end.
    pub hold: Hold,
    /// The least time that the window of a sustained load is open; a burst has none.
    pub window: Seconds,
    /// How long after its submission a request is waited for that has no first token, or, where it is watched to its end, no end (see
    /// [`Sla::patience`]): it cannot turn out ok after that.
    pub patience: Seconds,
}

impl LoadPlan {
    /// The load of a probe at `concurrency` on a ladder with these SLAs.
    ///
    /// Where a limit on E2E is among them, requests are watched to their end: a shorter hold could not show it. Under a sustained load
    /// none is aborted, and the hold is how long those that come in are judged. First tokens alone are asked for with a burst under either
    /// load, since both begin with one.
    pub fn new(workload: &Workload, slas: &[Sla], concurrency: Concurrency, until: &Until) -> Self {
        let to_the_end = slas.iter().any(Sla::judges_the_end);
        let patience = slas.iter().map(Sla::patience).max().unwrap_or(Seconds::ZERO);
        let hold = if to_the_end { Hold::UntilFinished } else { workload.hold };
        let (load, hold, window) = match (until, workload.load) {
            (Until::FirstTokens, Load::Sustained) => (Load::Burst, Hold::UntilFinished, Seconds::ZERO),
            (Until::Decided(_), Load::Sustained) => (Load::Sustained, hold, workload.hold.laid_down()),
            (_, Load::Burst) => (Load::Burst, hold, Seconds::ZERO),
        };
        Self { load, concurrency, hold, window, patience }
    }

    /// How long it takes where requests wait as long as they may, and are held: all of a burst. Under a sustained load requests that are not
    /// judged go before; how long they take is the engine's.
    pub fn laid_down(&self) -> Seconds {
        sum(self.patience, self.hold.laid_down().max(self.window))
    }
}

/// What the harness must do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Submit the next request; requests are numbered in this order from 0.
    Submit {
        /// Whether it belongs to the measurement.
        judged: bool,
    },
    /// Abort this request: its hold is over.
    Abort(u32),
    /// Abort this request after some more tokens (see [`more_tokens`]), if it has not finished by then.
    Shorten {
        /// The request.
        index: u32,
        /// How many, as a part of the tokens of a whole one.
        part: Share,
    },
    /// Tell that the window of a sustained load has closed, with this many requests judged.
    CloseWindow(u32),
    /// End the probe: abort whatever is still in flight.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for its first token.
    Waiting,
    /// Streaming.
    Streaming,
    /// Ended, or so late that nobody waits for it.
    Settled,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    phase: Phase,
    judged: bool,
    /// Still in the engine: an overdue request is settled but may be in flight.
    in_flight: bool,
    /// Requests in a row that ended without a token in its place, itself included once it has.
    fruitless: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Its hold is over.
    Hold,
    /// Nothing it can still do would make it ok.
    Patience,
    /// Nor is it waited for any longer to see how late it is.
    Abandoned,
    /// The pause before another takes its place is over.
    Replacement,
}

/// Seconds between the second request in a row that ended without a token and the next, and the most that doubling leads to.
const FIRST_PAUSE: f64 = 0.01;
const LONGEST_PAUSE: f64 = 1.0;

/// How long a slot is empty in which so many requests in a row have ended without a token. One alone may have had bad luck: were it not
/// replaced at once, an engine that fails a few would be under less load than it is asked about.
fn pause(fruitless: u32) -> Option<Seconds> {
    let doublings = fruitless.checked_sub(2)?;
    Seconds::new((FIRST_PAUSE * f64::from(doublings).exp2()).min(LONGEST_PAUSE))
}

/// Steps within which a burst goes on, as long as the longest so far.
const STEPS: f64 = 2.0;

/// Drives one probe. Tell it what happened; do what it answers.
#[derive(Debug)]
pub struct LoadDriver {
    plan: LoadPlan,
    slots: Vec<Slot>,
    /// Moments at which something falls due, earliest first.
    due: BinaryHeap<Reverse<(Seconds, u32, Due)>>,
    /// Of the first requests of a sustained load, those that have neither a first token nor an end.
    unopened: u32,
    /// Judged requests that are not settled.
    unsettled: u32,
    window: Window,
    /// Whether a request has had its first token or its end.
    shown: bool,
    /// The newest first token, and the longest wait for the next.
    newest: Seconds,
    longest_wait: f64,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Window {
    /// Sustained load, before every slot has turned over: slots that have not.
    Filling(u32),
    /// Requests submitted now are judged; since when, and how many were.
    Open(Seconds, u32),
    /// All judged requests are submitted.
    Closed,
}

impl LoadDriver {
    /// A driver for one probe.
    pub fn new(plan: LoadPlan) -> Self {
        let due = BinaryHeap::new();
        Self {
            plan,
            slots: Vec::new(),
            due,
            unopened: 0,
            unsettled: 0,
            window: Window::Closed,
            shown: false,
            newest: Seconds::ZERO,
            longest_wait: 0.0,
            ended: false,
        }
    }

    /// The first requests, all due at time 0.
    pub fn begin(&mut self) -> Vec<Act> {
        let count = self.plan.concurrency.get();
        let judged = match self.plan.load {
            Load::Burst => true,
            Load::Sustained => {
                (self.window, self.unopened) = (Window::Filling(count), count);
                false
            }
        };
        (0..count).map(|_| self.submit(judged, 0)).collect()
    }

    /// A request was handed to the engine at this moment, in the order of [`Act::Submit`].
    pub fn submitted(&mut self, index: u32, at: Seconds) {
        if self.slots[index as usize].judged {
            self.due.push(Reverse((sum(at, self.plan.patience), index, Due::Patience)));
        }
    }

    /// A request's first token came.
    #[must_use]
    pub fn first_token(&mut self, index: u32, at: Seconds) -> Vec<Act> {
        self.shown = true;
        self.longest_wait = self.longest_wait.max(at.get() - self.newest.get());
        self.newest = self.newest.max(at);
        let slot = &mut self.slots[index as usize];
        let waited = slot.phase == Phase::Waiting;
        if waited {
            slot.phase = Phase::Streaming;
        }
        if let (Load::Burst, Hold::For(hold)) = (self.plan.load, self.plan.hold) {
            self.due.push(Reverse((sum(at, hold), index, Due::Hold)));
        }
        if waited { self.opened(index) } else { Vec::new() }
    }

    /// One of the first requests has its first token, or its end without one. Once all have, those that are there leave one by one, the first
    /// of them at once. One alone has nobody to wait for.
    fn opened(&mut self, index: u32) -> Vec<Act> {
        if index >= self.plan.concurrency.get() || self.unopened == 0 {
            return Vec::new();
        }
        self.unopened -= 1;
        if self.unopened > 0 {
            return Vec::new();
        }
        let first = 0..self.plan.concurrency.get();
        let there: Vec<u32> = first.filter(|index| self.slots[*index as usize].in_flight).collect();
        parts(there.len()).zip(&there).map(|(part, &index)| Act::Shorten { index, part }).collect()
    }

    /// A request ended, by itself or because it was aborted.
    #[must_use]
    pub fn ended(&mut self, index: u32, at: Seconds) -> Vec<Act> {
        let slot = &mut self.slots[index as usize];
        if !std::mem::replace(&mut slot.in_flight, false) {
            return Vec::new();
        }
        let is_fruitless = slot.phase == Phase::Waiting;
        slot.fruitless = if is_fruitless { slot.fruitless + 1 } else { 0 };
        let pause = pause(slot.fruitless);
        self.shown = true;
        self.settle(index);
        if self.ended {
            return Vec::new();
        }
        let mut acts = if is_fruitless { self.opened(index) } else { Vec::new() };
        acts.extend(match (self.plan.load, pause) {
            (Load::Burst, _) => self.end_if_settled(),
            (Load::Sustained, None) => self.replace(index, at),
            (Load::Sustained, Some(pause)) => {
                self.due.push(Reverse((sum(at, pause), index, Due::Replacement)));
                self.end_if_settled()
            }
        });
        acts
    }

    /// The next moment at which [`LoadDriver::tick`] has something to do.
    pub fn next_due(&self) -> Option<Seconds> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// Time has come to `now`.
    #[must_use]
    pub fn tick(&mut self, now: Seconds) -> Vec<Act> {
        let mut acts = Vec::new();
        while let Some(&Reverse((at, index, due))) = self.due.peek() {
            if at > now {
                break;
            }
            self.due.pop();
            let slot = self.slots[index as usize];
            match due {
                Due::Hold if slot.in_flight => acts.push(Act::Abort(index)),
                Due::Patience if self.plan.load == Load::Burst && !self.shown => {
                    self.due.push(Reverse((sum(at, self.plan.patience), index, Due::Abandoned)));
                }
                Due::Abandoned => self.settle(index),
                Due::Replacement if !self.ended => acts.extend(self.replace(index, now)),
                Due::Patience if slot.phase == Phase::Waiting && self.overtime(at) > at => {
                    self.due.push(Reverse((self.overtime(at), index, Due::Abandoned)));
                }
                Due::Patience if slot.phase == Phase::Waiting || self.plan.hold == Hold::UntilFinished => {
                    self.settle(index);
                }
                Due::Hold | Due::Patience | Due::Replacement => {}
            }
        }
        acts.extend(self.end_if_settled());
        acts
    }

    /// Until when a request is waited for that has no first token when it falls due: in a burst for the next two steps, to see how late
    /// theirs are, and for a tenth of the limit at most. One that does not go on by then has stalled. All of a burst are submitted at 0, so
    /// that the moment at which they fall due is the limit.
    fn overtime(&self, due: Seconds) -> Seconds {
        let goes_on = Seconds::new(self.newest.get() + STEPS * self.longest_wait).unwrap_or(due);
        if self.plan.load == Load::Burst { goes_on.min(with_overtime(due)) } else { due }
    }

    fn submit(&mut self, judged: bool, fruitless: u32) -> Act {
        self.slots.push(Slot { phase: Phase::Waiting, judged, in_flight: true, fruitless });
        self.unsettled += u32::from(judged);
        Act::Submit { judged }
    }

    fn settle(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if std::mem::replace(&mut slot.phase, Phase::Settled) != Phase::Settled && slot.judged {
            self.unsettled -= 1;
        }
    }

    /// Puts a new request in the place of one that ended under a sustained load.
    fn replace(&mut self, ended: u32, at: Seconds) -> Vec<Act> {
        let count = self.plan.concurrency.get();
        self.window = match self.window {
            Window::Filling(left) if ended < count && left == 1 => Window::Open(at, 0),
            Window::Filling(left) if ended < count => Window::Filling(left - 1),
            window => window,
        };
        let mut acts = Vec::new();
        let judged = match self.window {
            Window::Open(since, judged) => {
                if judged >= count && at >= sum(since, self.plan.window) {
                    self.window = Window::Closed;
                    acts.push(Act::CloseWindow(judged));
                    false
                } else {
                    self.window = Window::Open(since, judged + 1);
                    true
                }
            }
            Window::Filling(_) | Window::Closed => false,
        };
        acts.extend(self.end_if_settled());
        if !self.ended {
            acts.push(self.submit(judged, self.slots[ended as usize].fruitless));
        }
        acts
    }

    fn end_if_settled(&mut self) -> Vec<Act> {
        let over = self.window == Window::Closed && self.unsettled == 0 && !self.ended;
        self.ended |= over;
        if over { vec![Act::End] } else { Vec::new() }
    }
}

/// After which parts of a request's tokens so many leave one after the other, where there are several.
pub(crate) fn parts(requests: usize) -> impl Iterator<Item = Share> {
    (0..requests)
        .filter(move |_| requests > 1)
        .map(move |nth| Share::new(nth as f64 / requests as f64).unwrap_or(Share::NONE))
}

/// How many more tokens a request puts out that is left after this part of the tokens of a whole one: at least one.
pub fn more_tokens(part: Share, output_tokens: u32) -> u32 {
    ((part.get() * f64::from(output_tokens)).ceil() as u32).max(1)
}

fn sum(a: Seconds, b: Seconds) -> Seconds {
    Seconds::new(a.get() + b.get()).unwrap_or(a)
}

#[cfg(test)]
mod tests;
