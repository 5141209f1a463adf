//! Where one group stands, from what the batch system says and from what is published.

use ceiling_core::plan::Key;

use super::state::{Ending, JobState};
use super::system::{BatchSystem, Sighting};
use crate::store::ArrayId;

/// How often in a row a job must be seen ended before its group counts as lost: a job that is put back looks ended for a
/// moment, and on some file systems a result is seen late.
const SURE: u32 = 2;

/// One group that was handed over.
#[derive(Clone, Debug)]
pub struct Track {
    /// The group.
    pub group: Key,
    /// The array that it was handed over in last.
    pub array: ArrayId,
    /// Its place in the array.
    pub element: u32,
    /// How often it was handed over.
    pub submissions: u32,
    /// What was last heard of it.
    pub state: JobState,
    /// Why, in the batch system's words.
    pub reason: String,
    /// How often in a row it was seen ended.
    ended: u32,
}

/// What to do about a group that is not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Its job may publish it yet.
    Wait,
    /// Its job is over, without a result.
    Lost(Ending),
}

impl Track {
    /// A group that was handed over, and of which nothing is known yet.
    pub fn new(group: Key, array: ArrayId, element: u32, submissions: u32) -> Self {
        Self { group, array, element, submissions, state: JobState::Queued, reason: String::new(), ended: 0 }
    }

    /// Takes in what the batch system said, or that it said nothing.
    pub fn see(&mut self, sighting: Option<&Sighting>) {
        match sighting {
            Some(sighting) => {
                self.state = sighting.state.clone();
                self.reason.clone_from(&sighting.reason);
            }
            // How it ended is remembered where it was seen.
            None if matches!(self.state, JobState::Ended(_)) => {}
            None => {
                self.state = JobState::Ended(Ending::Forgotten);
                self.reason.clear();
            }
        }
        self.ended = if matches!(self.state, JobState::Ended(_)) { self.ended + 1 } else { 0 };
    }

    /// What to do, as long as it is not published.
    pub fn next(&self) -> Next {
        match self.state {
            JobState::Ended(ending) if self.ended >= SURE => Next::Lost(ending),
            _ => Next::Wait,
        }
    }

    /// What is said of a group that was lost.
    pub fn obituary(&self, ending: Ending, system: &dyn BatchSystem) -> String {
        let (job, system) = (self.job(), (system.name(), system.settings()));
        let reason = if self.reason.is_empty() { String::new() } else { format!(" ({})", self.reason) };
        match ending {
            Ending::Completed => format!("{} calls {job} completed{reason}, but it published no result", system.0),
            Ending::Forgotten => format!("{} does not know {job} any more, and it published no result", system.0),
            Ending::TimeLimit => {
                format!("{job} ran out of time ({}.time){reason} before it published a result", system.1)
            }
            _ => format!("{job} {}{reason} before it published a result", verb(ending)),
        }
    }

    /// What is said of a job that is alive: `job 7_2 is queued (Priority)`.
    pub fn whereabouts(&self) -> String {
        let reason = if self.reason.is_empty() { String::new() } else { format!(" ({})", self.reason) };
        let state = match &self.state {
            JobState::Queued => "is queued",
            JobState::Running => "is running",
            JobState::Ending => "is ending",
            JobState::Ended(_) => "has ended",
            JobState::Unknown(word) => return format!("{} is `{word}`{reason}", self.job()),
        };
        format!("{} {state}{reason}", self.job())
    }

    fn job(&self) -> String {
        format!("job {}_{}", self.array, self.element)
    }
}

fn verb(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed | Ending::Forgotten | Ending::TimeLimit => "ended",
        Ending::Failed => "failed",
        Ending::Cancelled => "was cancelled",
        Ending::OutOfMemory => "ran out of memory",
        Ending::NodeLost => "was lost with its node",
        Ending::Preempted => "was preempted and not put back",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::slurm::Slurm;

    fn sighting(state: JobState, reason: &str) -> Sighting {
        Sighting { array: ArrayId("7".to_owned()), element: 2, state, reason: reason.to_owned() }
    }

    fn track() -> Track {
        Track::new(Key::of_bytes(b"a group"), ArrayId("7".to_owned()), 2, 1)
    }

    #[test]
    fn a_group_is_lost_once_its_job_is_surely_over() {
        let over = || Some(sighting(JobState::Ended(Ending::Failed), ""));
        let queued = || Some(sighting(JobState::Queued, "BeginTime"));
        let table = [
            (vec![queued(), queued()], Next::Wait),
            (vec![over()], Next::Wait),
            (vec![over(), over()], Next::Lost(Ending::Failed)),
            // It is called failed for a moment before it is put back.
            (vec![over(), queued(), over()], Next::Wait),
            (vec![over(), None], Next::Lost(Ending::Failed)),
            (vec![queued(), None, None], Next::Lost(Ending::Forgotten)),
            (vec![Some(sighting(JobState::Unknown("DANCING".to_owned()), "")); 3], Next::Wait),
        ];
        for (seen, wanted) in table {
            let mut track = track();
            seen.iter().for_each(|sighting| track.see(sighting.as_ref()));
            assert_eq!(track.next(), wanted, "{seen:?}");
        }
    }

    #[test]
    fn a_lost_group_says_what_the_batch_system_said() {
        let mut track = track();
        track.see(Some(&sighting(JobState::Ended(Ending::Completed), "")));
        assert_eq!(
            track.obituary(Ending::Completed, &Slurm),
            "Slurm calls job 7_2 completed, but it published no result"
        );
        track.see(Some(&sighting(JobState::Ended(Ending::OutOfMemory), "OutOfMemory")));
        let wanted = "job 7_2 ran out of memory (OutOfMemory) before it published a result";
        assert_eq!(track.obituary(Ending::OutOfMemory, &Slurm), wanted);
        track.see(Some(&sighting(JobState::Ended(Ending::TimeLimit), "")));
        let wanted = "job 7_2 ran out of time (execution.slurm.time) before it published a result";
        assert_eq!(track.obituary(Ending::TimeLimit, &Slurm), wanted);
    }

    #[test]
    fn a_job_that_is_alive_says_where_it_stands() {
        let mut track = track();
        let table = [
            (JobState::Queued, "Priority", "job 7_2 is queued (Priority)"),
            (JobState::Running, "", "job 7_2 is running"),
            (JobState::Ending, "", "job 7_2 is ending"),
            (JobState::Unknown("DANCING".to_owned()), "", "job 7_2 is `DANCING`"),
        ];
        for (state, reason, wanted) in table {
            track.see(Some(&sighting(state, reason)));
            assert_eq!(track.whereabouts(), wanted);
        }
    }
}
