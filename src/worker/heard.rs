//! What the session hears, from the executor and from the engine, in one queue.

use ceiling_core::protocol::{Command, EngineError};

/// One thing heard.
pub enum Heard {
    /// The executor asks.
    Asked(Command),
    /// The executor said something else.
    Garbled(String),
    /// The executor has gone.
    NothingMore,
    /// The engine made a step.
    Step(Step),
    /// The engine answers whether it was idle and has emptied its prefix cache.
    Reset(Result<bool, EngineError>),
    /// The engine is dead.
    Gone(EngineError),
}

/// Names a request among all of this process: which run of the probe machinery, and its number therein.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    pub run: u32,
    pub index: u32,
}

impl RequestId {
    /// Reads what [`Display`](std::fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (run, index) = text.split_once('-')?;
        Some(Self { run: run.parse().ok()?, index: index.parse().ok()? })
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.run, self.index)
    }
}

/// What the engine sent at once.
#[derive(Default)]
pub struct Step {
    pub seen: Vec<(RequestId, Seen)>,
    pub scheduler: Option<Scheduler>,
    /// Longest time in seconds between an output leaving the engine and its being stamped.
    pub lag: Option<f64>,
}

impl Step {
    /// When the newest of what it brings of requests reached the harness.
    pub fn newest(&self) -> Option<f64> {
        self.seen.iter().map(|(_, seen)| seen.at()).reduce(f64::max)
    }
}

/// What happened to a request. Moments are on the monotonic clock.
pub enum Seen {
    /// It is about to be handed to the engine.
    Submitted { at: f64 },
    /// The engine sent something of it.
    Output(Output),
    /// The engine does not take it.
    Rejected { at: f64, reason: String },
}

impl Seen {
    fn at(&self) -> f64 {
        match self {
            Self::Submitted { at } | Self::Rejected { at, .. } => *at,
            Self::Output(output) => output.at,
        }
    }
}

/// What the engine sent of a request.
#[derive(Default)]
pub struct Output {
    /// When it reached the harness.
    pub at: f64,
    /// New tokens.
    pub tokens: u32,
    /// Why it is the last, in vLLM's words, where it is.
    pub finish: Option<String>,
    pub prompt_tokens: Option<u32>,
    pub cached_tokens: Option<u32>,
    /// When the engine put it in its queue, where it tells now.
    pub queued: Option<f64>,
    /// When the engine first scheduled it, where it tells now.
    pub scheduled: Option<f64>,
    /// Preemptions that are new.
    pub preemptions: u32,
}

/// The scheduler after a step.
#[derive(Clone, Copy)]
pub struct Scheduler {
    pub running: u32,
    pub waiting: u32,
    /// Used part of the KV cache, 0 to 1.
    pub kv: f64,
}
