//! Tells the executor what happens.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use ceiling_core::protocol::Event;

use crate::lifeline;

/// The way to the executor.
pub struct Events(File);

impl Events {
    pub fn new(descriptor: OwnedFd) -> Self {
        Self(File::from(descriptor))
    }

    /// Sends one event. Where nobody reads any more, the worker has no purpose left and ends.
    pub fn send(&mut self, event: &Event) {
        let sent = serde_json::to_vec(event).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.0.write_all(&line)
        });
        if let Err(error) = sent {
            eprintln!("ceiling: the executor does not listen: {error}");
            lifeline::end();
        }
    }
}
