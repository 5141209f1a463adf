//! What happened in a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::Key;
use crate::protocol::Resolved;
use crate::search::Answer;
use crate::units::Seconds;

use super::Probe;

/// One thing that happened and that a run must remember. Engine groups and ladders are named by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// An engine is up.
    Loaded {
        /// The engine group.
        group: Key,
        /// What the engine made of its configuration.
        resolved: Box<Resolved>,
        /// Time from the start of its worker to an engine that answers.
        seconds: Seconds,
    },
    /// An engine came up that is not what it was: what was measured on it before does not count any more.
    EngineChanged {
        /// The engine group.
        group: Key,
        /// Its ladders.
        ladders: Vec<Key>,
        /// What is not as it was.
        changes: Vec<String>,
    },
    /// An engine did not come up, or was lost; its group may be tried again.
    EngineFailed {
        /// The engine group.
        group: Key,
        /// Why.
        failure: Failure,
    },
    /// A probe was measured.
    Probed(Box<Probe>),
    /// A ladder is over.
    Answered {
        /// The ladder.
        ladder: Key,
        /// The cells it answers.
        cells: Vec<Key>,
        /// What is known of each of them.
        answers: Vec<Answer>,
    },
    /// A ladder was left for another time.
    LadderLeft {
        /// The ladder.
        ladder: Key,
        /// Why.
        reason: String,
    },
    /// A ladder could not be measured, or not to its end.
    LadderFailed {
        /// The ladder.
        ladder: Key,
        /// The cells it was to answer.
        cells: Vec<Key>,
        /// What was known of each of them by then.
        answers: Vec<Answer>,
        /// Why.
        failure: Failure,
    },
}

impl Entry {
    /// The engine group or the ladder that it is about.
    pub fn about(&self) -> &Key {
        match self {
            Self::Loaded { group, .. } | Self::EngineChanged { group, .. } | Self::EngineFailed { group, .. } => group,
            Self::Probed(probe) => &probe.ladder,
            Self::Answered { ladder, .. } | Self::LadderLeft { ladder, .. } | Self::LadderFailed { ladder, .. } => {
                ladder
            }
        }
    }
}

/// Why something could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// One or a few lines that a person understands.
    pub reason: String,
    /// The log that says more, relative to the directory of all results.
    pub log: Option<String>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The Python environment does not hold what is needed.
    Environment,
    /// vLLM does not take the arguments, or cannot read the model.
    Arguments,
    /// The engine ran out of memory.
    OutOfMemory,
    /// The engine failed otherwise.
    Engine,
    /// The worker ended, or was killed.
    WorkerGone,
    /// A time limit ran out.
    Timeout,
}

impl FailureKind {
    /// Whether another attempt may fare better.
    pub fn is_worth_another_try(self) -> bool {
        match self {
            Self::Environment | Self::Arguments => false,
            Self::OutOfMemory | Self::Engine | Self::WorkerGone | Self::Timeout => true,
        }
    }
}
