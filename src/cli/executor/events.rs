//! What goes on while a plan is carried out, for those who look on. Nothing here is kept.

use ceiling_core::plan::{EngineGroup, Ladder};
use ceiling_core::protocol::Resolved;
use ceiling_core::record::{Failure, Probe};
use ceiling_core::search::Answer;
use ceiling_core::sla::Sla;
use ceiling_core::units::{Concurrency, Seconds};

/// One thing that goes on.
#[derive(Clone, Copy, Debug)]
pub enum Happening<'a> {
    /// The next engine is not loaded yet: what the last one had of these GPUs is still in use.
    AwaitingMemory { group: &'a EngineGroup, gpus: &'a [String] },
    /// It did not come back.
    MemoryHeld { group: &'a EngineGroup, reason: &'a str },
    /// A worker is started and told to load its engine.
    EngineLoading { group: &'a EngineGroup, attempt: u32 },
    /// The engine answers.
    EngineLoaded { group: &'a EngineGroup, resolved: &'a Resolved, seconds: Seconds },
    /// The engine is not what it was when it was measured before.
    EngineChanged { group: &'a EngineGroup, changes: &'a [String] },
    /// The engine did not come up, or was lost.
    EngineFailed { group: &'a EngineGroup, failure: &'a Failure, tries_again: bool },
    /// A probe begins.
    ProbeStarted { ladder: &'a Ladder, number: u32, concurrency: Concurrency, answers: &'a [Answer] },
    /// A probe goes on: judged requests that have their first token, and all that have ended.
    ProbeGoesOn { first_tokens: u32, ended: u32 },
    /// A probe is over: what it says of each SLA of the ladder.
    ProbeDone { ladder: &'a Ladder, slas: &'a [Sla], probe: &'a Probe },
    /// A ladder is over.
    LadderDone { ladder: &'a Ladder, answers: &'a [Answer] },
    /// A ladder is not measured, or not to its end, since that would take too long.
    LadderLeft { ladder: &'a Ladder, reason: &'a str },
    /// A ladder could not be measured to its end.
    LadderFailed { ladder: &'a Ladder, failure: &'a Failure },
}
