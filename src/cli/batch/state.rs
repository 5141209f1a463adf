//! The states of a job, and the only place that knows a batch system's words for them.

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

impl JobState {
    /// Slurm's words, of its versions 22 to 25.
    pub fn of_slurm(word: &str) -> Self {
        // Accounting adds who cancelled it.
        match word.split_whitespace().next().unwrap_or_default() {
            "PENDING" | "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD" | "SPECIAL_EXIT" | "RESV_DEL_HOLD"
            | "CONFIGURING" | "EXPEDITING" => Self::Queued,
            "RUNNING" | "SUSPENDED" | "STOPPED" | "RESIZING" | "SIGNALING" | "POWER_UP_NODE" => Self::Running,
            "COMPLETING" | "STAGE_OUT" | "UPDATE_DB" => Self::Ending,
            "COMPLETED" => Self::Ended(Ending::Completed),
            "FAILED" => Self::Ended(Ending::Failed),
            "CANCELLED" | "REVOKED" => Self::Ended(Ending::Cancelled),
            "TIMEOUT" | "DEADLINE" => Self::Ended(Ending::TimeLimit),
            "OUT_OF_MEMORY" => Self::Ended(Ending::OutOfMemory),
            "NODE_FAIL" | "BOOT_FAIL" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => Self::Ended(Ending::NodeLost),
            "PREEMPTED" => Self::Ended(Ending::Preempted),
            _ => Self::Unknown(word.to_owned()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_slurm_mean_states() {
        let table = [
            ("PENDING", JobState::Queued),
            ("REQUEUE_HOLD", JobState::Queued),
            ("RUNNING", JobState::Running),
            ("COMPLETING", JobState::Ending),
            ("COMPLETED", JobState::Ended(Ending::Completed)),
            ("CANCELLED by 1000", JobState::Ended(Ending::Cancelled)),
            ("TIMEOUT", JobState::Ended(Ending::TimeLimit)),
            ("NODE_FAIL", JobState::Ended(Ending::NodeLost)),
            ("DANCING", JobState::Unknown("DANCING".to_owned())),
            ("", JobState::Unknown(String::new())),
        ];
        for (word, state) in table {
            assert_eq!(JobState::of_slurm(word), state, "{word}");
        }
    }
}
