//! How a command ends. Scripts rely on these numbers.

use std::process::ExitCode;

use anyhow::Result;

/// The outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; nothing that the caller asked to fail on.
    Done,
    /// Cells failed, or regressed, or something is missing or stale; or what was started did not come to its end.
    Failed,
    /// The command line or an experiment file is wrong; nothing was started.
    Usage,
    /// Not comparable, or undecided where a decision was asked for.
    Undecided,
    /// Interrupted; what was measured is kept.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Undecided => 3,
            Exit::Interrupted => 130,
        })
    }
}

/// An error after something was started: it may have cost hours, and is no mistake on the command line.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct AfterStart(anyhow::Error);

/// Says of an error that it came after something was started.
pub fn after_start<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| AfterStart(error).into())
}

impl Exit {
    /// How a command ends that failed for this reason.
    pub fn of_error(error: &anyhow::Error) -> Self {
        if error.is::<AfterStart>() { Self::Failed } else { Self::Usage }
    }
}
