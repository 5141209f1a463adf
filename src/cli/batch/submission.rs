//! `submission.json`: what was handed to the batch system, for whoever watches or cancels it later.

use std::path::PathBuf;

use ceiling_core::plan::Key;
use serde::{Deserialize, Serialize};

use super::submit::Command;
use super::system::ArrayId;

/// The schema of submissions that this version writes, and the only one that it reads.
pub const SUBMISSION_SCHEMA: u32 = 1;

/// Everything that was handed over for one submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// [`SUBMISSION_SCHEMA`].
    pub schema: u32,
    /// What elements run.
    pub command: Command,
    /// The arrays, in the order they were handed over. A group that is in several was submitted again.
    pub arrays: Vec<Submitted>,
}

/// An array that was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Its id.
    pub id: ArrayId,
    /// Its script.
    pub script: PathBuf,
    /// The engine group of each element.
    pub elements: Vec<Key>,
}

impl Submission {
    /// Nothing was handed over yet.
    pub fn new(command: Command) -> Self {
        Self { schema: SUBMISSION_SCHEMA, command, arrays: Vec::new() }
    }

    /// The ids of all arrays.
    pub fn ids(&self) -> Vec<ArrayId> {
        self.arrays.iter().map(|array| array.id.clone()).collect()
    }

    /// Every group that was handed over, once.
    pub fn groups(&self) -> Vec<Key> {
        let mut groups: Vec<Key> = Vec::new();
        let mut known = std::collections::HashSet::new();
        for &group in self.arrays.iter().flat_map(|array| &array.elements) {
            if known.insert(group) {
                groups.push(group);
            }
        }
        groups
    }
}
