//! Tells the executor of a probe: what happens and, while nothing does, that the probe goes on.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use ceiling_core::protocol::Event;
use ceiling_core::units::Seconds;

use crate::clock;

/// The executor is told at least so often that a probe goes on.
const ALIVE_EVERY: f64 = 10.0;

/// The way to whoever waits for a probe.
pub struct Teller<'a> {
    report: Box<dyn FnMut(&Event) + 'a>,
    /// Longest time without a word, in seconds.
    every: f64,
    /// When anything was last told, on the monotonic clock.
    told_last: f64,
}

impl<'a> Teller<'a> {
    /// Of a probe whose engine may be silent for so long.
    pub fn new(silence: Seconds, report: impl FnMut(&Event) + 'a) -> Self {
        Self { report: Box::new(report), every: ALIVE_EVERY.min(silence.get() / 2.0), told_last: clock::monotonic() }
    }

    /// Tells what happened.
    pub fn tell(&mut self, event: &Event) {
        (self.report)(event);
        self.told_last = clock::monotonic();
    }

    /// Tells that the probe goes on, where nothing else was told for a while.
    pub fn tell_alive(&mut self) {
        if clock::monotonic() >= self.alive_at() {
            self.tell(&Event::Alive);
        }
    }

    /// When that is to be told, if nothing else is until then.
    pub fn alive_at(&self) -> f64 {
        self.told_last + self.every
    }

    /// Tells it while something is done that may take long in one piece, on a thread of its own.
    pub fn during<T: Send>(&mut self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let (working, is_over) = channel::<()>();
            let worker = scope.spawn(move || {
                // Dropped however it ends.
                let _working = working;
                work()
            });
            let left = |teller: &Self| Duration::from_secs_f64((teller.alive_at() - clock::monotonic()).max(0.0));
            while is_over.recv_timeout(left(self)) == Err(RecvTimeoutError::Timeout) {
                self.tell_alive();
            }
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}
