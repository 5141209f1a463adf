//! Slurm's words for the states of a job.

use super::super::state::{Ending, JobState};

/// Slurm's words, of its versions 22 to 25.
pub fn state(word: &str) -> JobState {
    // Accounting adds who cancelled it.
    match word.split_whitespace().next().unwrap_or_default() {
        "PENDING" | "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" | "CONFIGURING"
        | "EXPEDITING" => JobState::Queued,
        "RUNNING" | "SUSPENDED" | "STOPPED" | "RESIZING" | "SIGNALING" | "POWER_UP_NODE" => JobState::Running,
        "COMPLETING" | "STAGE_OUT" | "UPDATE_DB" => JobState::Ending,
        "COMPLETED" => JobState::Ended(Ending::Completed),
        "FAILED" => JobState::Ended(Ending::Failed),
        "CANCELLED" | "REVOKED" => JobState::Ended(Ending::Cancelled),
        "TIMEOUT" | "DEADLINE" => JobState::Ended(Ending::TimeLimit),
        "OUT_OF_MEMORY" => JobState::Ended(Ending::OutOfMemory),
        "NODE_FAIL" | "BOOT_FAIL" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => JobState::Ended(Ending::NodeLost),
        "PREEMPTED" => JobState::Ended(Ending::Preempted),
        _ => JobState::Unknown(word.to_owned()),
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
            assert_eq!(super::state(word), state, "{word}");
        }
    }
}
