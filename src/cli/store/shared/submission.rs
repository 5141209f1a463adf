//! `submission.json`: what was handed to the batch system, for whoever watches or cancels it later.

use std::path::PathBuf;

use ceiling_core::plan::Key;
use serde::{Deserialize, Serialize};

/// The schema of submissions that this version writes, and the only one that it reads.
pub const SUBMISSION_SCHEMA: u32 = 2;

/// An array of jobs, as the batch system calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArrayId(pub String);

impl std::fmt::Display for ArrayId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What elements run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The directory in which they run.
    pub directory: PathBuf,
    /// The words of the command; the name of the group follows.
    pub words: Vec<String>,
}

/// Everything that was handed over for one submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// [`SUBMISSION_SCHEMA`].
    pub schema: u32,
    /// What elements run.
    pub command: Command,
    /// The arrays, in the order they are handed over. A group that is in several was submitted again.
    pub arrays: Vec<Submitted>,
}

/// An array that is handed over. It is kept before that is done, so that a crash in between leaves a name to ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The name that its jobs have, and no others.
    pub name: String,
    /// Its id, once the batch system is known to have taken it.
    pub id: Option<ArrayId>,
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

    /// The ids of all arrays that the batch system took.
    pub fn ids(&self) -> Vec<ArrayId> {
        self.arrays.iter().filter_map(|array| array.id.clone()).collect()
    }

    /// Whether an array that holds this group is not known to have been taken.
    pub fn is_open(&self, group: &Key) -> bool {
        self.arrays.iter().any(|array| array.id.is_none() && array.elements.contains(group))
    }

    /// Every group that is in any array, once.
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
