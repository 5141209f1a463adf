//! Waits for whoever tells this process to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Why to stop. What was measured is kept in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Ctrl-C.
    Interrupted,
    /// The notice that batch systems and service managers give.
    Terminated,
    /// The terminal is gone, or the connection to it.
    HungUp,
    /// The warning that a time limit is about to end (SIGUSR1): there may be more time later.
    Warned,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::HungUp => "the terminal is gone",
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
    // Under `nohup` it is to go on.
    let hung_up =
        async || if ignores_hangups() { std::future::pending().await } else { wait(SignalKind::hangup()).await };
    tokio::select! {
        _ = wait(SignalKind::interrupt()) => Told::Interrupted,
        _ = wait(SignalKind::terminate()) => Told::Terminated,
        _ = hung_up() => Told::HungUp,
        _ = wait(SignalKind::user_defined1()) => Told::Warned,
    }
}

/// Whether whoever started this process had it ignore SIGHUP.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
