//! What a batch system must be able to do. Another one than Slurm needs this much.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::state::JobState;

/// An array of jobs, as the batch system calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArrayId(pub String);

impl std::fmt::Display for ArrayId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
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
    /// Hands over the script of an array.
    ///
    /// # Errors
    /// Where it is refused, with the batch system's words.
    fn submit(&self, script: &Path) -> Result<ArrayId>;

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
}
