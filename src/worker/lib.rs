//! What of ceiling runs inside the Python of a vLLM environment: it loads one engine and answers probes.
//!
//! The executor starts `<venv>/bin/python -c <bootstrap.py> <this library> <command descriptor> <event descriptor>` in
//! a process group of its own. Commands come in and events go out as lines of JSON ([`ceiling_core::protocol`]).
//!
//! ```text
//! command descriptor -> commands (thread) ─┐
//!                                          ├> heard -> session -> probe ─> events -> event descriptor
//! engine -> collector (thread) ────────────┘             └> vllm: submit, abort, reset
//! ```
//!
//! The session runs on Python's main thread without holding Python's lock, and takes it to speak to vLLM.

mod beside;
mod clock;
mod commands;
mod events;
mod heard;
mod idle;
mod interrupted;
mod lifeline;
mod probe;
mod prompts;
mod session;
mod stock;
mod teller;
mod vllm;

use pyo3::prelude::*;

#[pymodule]
mod ceiling_worker {
    use std::os::fd::{FromRawFd, OwnedFd};

    use pyo3::prelude::*;

    /// Serves the executor until it wants no more, and gives the exit status of the process.
    #[pyfunction]
    fn main(py: Python<'_>, command_fd: i32, event_fd: i32) -> PyResult<i32> {
        // SAFETY: the executor opened both for this process and names them on its command line; nothing else uses them.
        let (commands, events) = unsafe { (OwnedFd::from_raw_fd(command_fd), OwnedFd::from_raw_fd(event_fd)) };
        crate::session::serve(py, commands, events)
    }
}
