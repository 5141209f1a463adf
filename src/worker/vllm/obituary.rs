//! Notices that a process of the engine has ended. vLLM's clients tell of errors, and wait forever for a process that
//! was killed.

use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;

use pyo3::Python;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Shim;
use super::root_cause::LogMark;
use crate::heard::Heard;

/// Tells as soon as the first of these processes has ended.
pub fn watch(pids: Vec<i32>, shim: Shim, tell: Sender<Heard>, log: LogMark) -> std::io::Result<()> {
    let pids = pids.into_iter().filter_map(Pid::from_raw);
    let alive: Vec<OwnedFd> = pids.map(|pid| pidfd_open(pid, PidfdFlags::empty())).collect::<Result<_, _>>()?;
    if alive.is_empty() {
        return Ok(());
    }
    std::thread::spawn(move || {
        let mut ends: Vec<_> = alive.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        while matches!(poll(&mut ends, None), Err(rustix::io::Errno::INTR)) {}
        let error = Python::attach(|py| shim.last_words(py, log));
        // Where the session has ended, the end of the engine is no news.
        let _ = tell.send(Heard::Gone(error));
    });
    Ok(())
}
