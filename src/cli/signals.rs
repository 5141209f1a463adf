//! Waits for whoever tells this process to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Why to stop. What was measured is kept in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Ctrl-C.
    Interrupted,
    /// The notice that batch systems and service managers give.
    Terminated,
    /// The warning that a time limit is about to end (SIGUSR1): there may be more time later.
    Warned,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::Warned => "the time limit is near",
        })
    }
}

/// Waits for a signal that says to stop.
pub async fn told_to_stop() -> Told {
    let wait = async |kind| match signal(kind) {
        Ok(mut stream) => stream.recv().await,
        // Without a handler the signal ends this process the default way, and workers see the end of their pipe.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        _ = wait(SignalKind::interrupt()) => Told::Interrupted,
        _ = wait(SignalKind::terminate()) => Told::Terminated,
        _ = wait(SignalKind::user_defined1()) => Told::Warned,
    }
}
