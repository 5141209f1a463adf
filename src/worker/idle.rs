//! Waits until the engine is idle and its prefix cache empty.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use ceiling_core::protocol::Command;
use ceiling_core::units::Seconds;

use crate::clock;
use crate::heard::Heard;
use crate::interrupted::{Interrupted, end_or_ignore, silent};
use crate::vllm::Vllm;

/// Longest pause between two questions whether the engine is idle.
const IDLE_PAUSE: Duration = Duration::from_millis(50);

/// Resetting the prefix cache fails as long as any block is in use: it empties the cache and shows that the engine is
/// idle, in one.
pub fn wait(limit: Seconds, vllm: &Vllm, heard: &Receiver<Heard>, tell: &Sender<Heard>) -> Result<(), Interrupted> {
    let until = clock::monotonic() + limit.get();
    let mut pause = Duration::from_millis(1);
    loop {
        vllm.reset_prefix_cache(tell.clone());
        if answer(until, limit, heard)? {
            return Ok(());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(IDLE_PAUSE);
    }
}

/// The engine's answer to a reset.
fn answer(until: f64, limit: Seconds, heard: &Receiver<Heard>) -> Result<bool, Interrupted> {
    loop {
        let left = Seconds::new(until - clock::monotonic())
            .ok_or_else(|| Interrupted::Gone(silent(limit, "was not idle, with every request ended or aborted,")))?;
        match heard.recv_timeout(left.to_std()) {
            Ok(Heard::Reset(reset)) => return reset.map_err(Interrupted::Gone),
            Ok(Heard::Step(_) | Heard::Asked(Command::Stop)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(other) => end_or_ignore(other)?,
            Err(RecvTimeoutError::Disconnected) => return Err(Interrupted::Leave),
        }
    }
}
