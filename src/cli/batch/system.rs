//! What a batch system must be able to do. Another one than Slurm needs this much, and nothing outside its own module knows
//! which one it is.

use std::path::Path;

use anyhow::Result;
use ceiling_core::experiment::Execution;

use super::state::JobState;
use crate::store::ArrayId;

/// What the script of an array says beside what an experiment asks of the batch system.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The experiment.
    pub experiment: &'a str,
    /// GPUs of each element.
    pub gpus: u32,
    /// The names of the groups that its elements measure.
    pub labels: &'a [&'a str],
    /// The directory in which elements run.
    pub directory: &'a Path,
    /// The directory in which each element has a file that it prints to; where there is none, that of whoever submits.
    pub output: Option<&'a Path>,
    /// What elements run; the name of the group follows.
    pub command: &'a [String],
}

/// What the batch system says of one element of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The array.
    pub array: ArrayId,
    /// Which of its elements, from 0.
    pub element: u32,
    /// Its state.
    pub state: JobState,
    /// Why it is in it, in the batch system's words; may be empty.
    pub reason: String,
}

/// A batch system.
pub trait BatchSystem {
    /// How people call it.
    fn name(&self) -> &'static str;

    /// The table of an experiment that says what to ask of it.
    fn settings(&self) -> &'static str;

    /// How people end jobs by hand.
    fn cancels_by(&self) -> &'static str;

    /// The most elements of one array.
    fn most_elements(&self) -> usize;

    /// Whether engine groups with these settings ask it for the same, their GPUs apart.
    fn asks_the_same(&self, one: &Execution, other: &Execution) -> bool;

    /// The script of an array whose groups ask for this: something that a person can read, and submit by hand.
    ///
    /// # Errors
    /// Where something cannot stand in a script.
    fn script(&self, asked: &Execution, job: &Job<'_>) -> Result<String>;

    /// The name of the file that an element prints to.
    fn output_name(&self, array: &ArrayId, element: u32) -> String;

    /// Hands over the script of an array, whose jobs get this name.
    ///
    /// # Errors
    /// Where it is refused, with the batch system's words.
    fn submit(&self, script: &Path, name: &str) -> Result<ArrayId>;

    /// The arrays whose jobs have these names, as far as they are known, by one command.
    ///
    /// # Errors
    /// Where the batch system does not answer.
    fn find(&self, names: &[&str]) -> Result<Vec<(String, ArrayId)>>;

    /// What is known of the elements of all these arrays, by one command. One that it does not speak of is known no more.
    ///
    /// # Errors
    /// Where the batch system does not answer.
    fn poll(&self, arrays: &[ArrayId]) -> Result<Vec<Sighting>>;

    /// Ends all elements of these arrays; those that are over are no error.
    ///
    /// # Errors
    /// Where the batch system does not answer.
    fn cancel(&self, arrays: &[ArrayId]) -> Result<()>;

    /// Puts the job that this process runs in back into the queue, which ends this process; `false` where it is no job.
    ///
    /// # Errors
    /// Where it is refused.
    fn requeue_own_job(&self) -> Result<bool>;
}
