//! Reads what the executor asks, whatever Python is doing.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use crate::heard::Heard;
use crate::lifeline;

/// Whether the session is at work: an engine at work is not asked to shut down, since it would not listen.
#[derive(Clone, Default)]
pub struct Busy(Arc<AtomicBool>);

impl Busy {
    pub fn set(&self, busy: bool) {
        self.0.store(busy, Ordering::SeqCst);
    }
}

/// Starts the thread that reads commands. When they end it ends the process: at once from work, else within
/// [`lifeline::GRACE`].
pub fn listen(commands: OwnedFd, heard: Sender<Heard>, busy: Busy) {
    std::thread::spawn(move || {
        read(commands, &heard);
        if busy.0.load(Ordering::SeqCst) {
            lifeline::end();
        }
        // As above.
        let _ = heard.send(Heard::NothingMore);
        std::thread::sleep(lifeline::GRACE);
        lifeline::end();
    });
}

fn read(commands: OwnedFd, heard: &Sender<Heard>) {
    // An error of the descriptor is its end.
    for line in BufReader::new(File::from(commands)).lines().map_while(Result::ok) {
        let what = serde_json::from_str(&line).map_or_else(|e| Heard::Garbled(format!("{e}: {line}")), Heard::Asked);
        // Where the session has ended there is nobody left to tell, and the process is about to end.
        if heard.send(what).is_err() {
            return;
        }
    }
}
