//! What keeps a probe, or what goes beside it, from its end.

use ceiling_core::protocol::{Command, EngineError, EngineErrorKind};
use ceiling_core::units::Seconds;

use crate::heard::Heard;

/// Why a probe has no result.
pub enum Interrupted {
    /// This probe cannot be measured; the engine is all right.
    Refused(EngineError),
    /// The engine is dead, or as good as.
    Gone(EngineError),
    /// The executor wants nothing more.
    Leave,
}

/// What ends a probe, or means nothing to it.
pub fn end_or_ignore(heard: Heard) -> Result<(), Interrupted> {
    let garbled = |message| Interrupted::Gone(EngineError { kind: EngineErrorKind::Engine, message });
    match heard {
        Heard::Gone(error) => Err(Interrupted::Gone(error)),
        Heard::NothingMore | Heard::Asked(Command::Shutdown) => Err(Interrupted::Leave),
        Heard::Asked(command) => Err(garbled(format!("asked in the middle of a probe: {command:?}"))),
        Heard::Garbled(what) => Err(garbled(format!("not a command: {what}"))),
        Heard::Step(_) | Heard::Reset(_) => Ok(()),
    }
}

/// An engine that did not do in time what it was asked.
pub fn silent(limit: Seconds, what: &str) -> EngineError {
    EngineError { kind: EngineErrorKind::Engine, message: format!("the engine {what} for {limit}") }
}
