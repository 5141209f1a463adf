//! The states of a job, whatever a batch system's words for them.

/// What a batch system says of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It waits; also one that was put back.
    Queued,
    /// It runs, or could at any moment go on.
    Running,
    /// It is being ended, or cleaned up after.
    Ending,
    /// It is over.
    Ended(Ending),
    /// A word that this version does not know; such a job is waited for.
    Unknown(String),
}

/// How a job ended, as the batch system has it. It is no proof: the published result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With exit code 0.
    Completed,
    /// With another exit code, or by a signal.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// Its time limit ended.
    TimeLimit,
    /// It took more memory than it had asked for.
    OutOfMemory,
    /// Its node was lost, or did not start.
    NodeLost,
    /// It had to make room, and was not put back.
    Preempted,
    /// The batch system does not know it any more.
    Forgotten,
}

impl Ending {
    /// Whether the same job, submitted again, may fare better.
    pub fn is_worth_another_try(self) -> bool {
        self != Self::Cancelled
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimeLimit => "out of time",
            Self::OutOfMemory => "out of memory",
            Self::NodeLost => "lost with its node",
            Self::Preempted => "preempted",
            Self::Forgotten => "unknown by now",
        })
    }
}
