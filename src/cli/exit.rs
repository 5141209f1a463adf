//! How a command ends. Scripts rely on these numbers.

use std::process::ExitCode;

/// The outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; nothing that the caller asked to fail on.
    Done,
    /// Cells failed, or regressed.
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
