//! A loaded engine that answers probes.

use ceiling_core::protocol::{EngineError, EngineErrorKind, Event, Measured, ProbeAsk, Resolved};
use ceiling_core::record::{Failure, FailureKind};
use ceiling_core::secret::Secrets;
use ceiling_core::sim::SimSession;
use ceiling_core::units::Seconds;
use ceiling_core::watch::Watch;
use nix::unistd::Pid;

use super::worker_process::WorkerProcess;

/// An engine that has been started for one group.
#[derive(Debug)]
pub enum Session {
    /// A worker process that drives vLLM.
    Worker(Box<WorkerProcess>),
    /// The simulator: no process, and no time but its own.
    Sim(SimSession),
}

/// An engine that answers.
#[derive(Debug)]
pub struct Loaded {
    /// What it made of its configuration.
    pub resolved: Resolved,
    /// Time from the start of its process; for the simulator, in virtual time.
    pub seconds: Seconds,
}

/// Why a session did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionError {
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// One or a few lines that a person understands.
    pub reason: String,
    /// Whether the session still answers.
    pub engine_lives: bool,
}

impl SessionError {
    /// A failure after which the session is of no more use.
    pub fn fatal(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), engine_lives: false }
    }

    /// As it is recorded: without the secrets that an engine may quote.
    pub fn into_failure(self, log: Option<String>, secrets: &Secrets) -> Failure {
        Failure { kind: self.kind, reason: secrets.hide(&self.reason), log }
    }
}

impl From<EngineError> for SessionError {
    fn from(error: EngineError) -> Self {
        let kind = match error.kind {
            EngineErrorKind::Environment => FailureKind::Environment,
            EngineErrorKind::Arguments => FailureKind::Arguments,
            EngineErrorKind::OutOfMemory => FailureKind::OutOfMemory,
            EngineErrorKind::Engine => FailureKind::Engine,
        };
        Self { kind, reason: error.message, engine_lives: false }
    }
}

impl Session {
    /// The process that leads the engine's; `None` for the simulator.
    pub fn worker(&self) -> Option<Pid> {
        match self {
            Self::Worker(worker) => Some(worker.pid()),
            Self::Sim(_) => None,
        }
    }

    /// Loads the engine and waits until it answers, at most `timeout`.
    pub async fn load(&mut self, timeout: Seconds) -> Result<Loaded, SessionError> {
        match self {
            Self::Worker(worker) => {
                let resolved = worker.load(timeout).await?;
                Ok(Loaded { resolved, seconds: worker.age() })
            }
            Self::Sim(sim) => {
                let resolved = sim.resolved();
                let seconds = resolved.load_seconds.unwrap_or(Seconds::ZERO);
                Ok(Loaded { resolved, seconds })
            }
        }
    }

    /// Measures one level of load; `watch` may end it early, `on_event` is told of each request.
    pub async fn probe(
        &mut self,
        ask: &ProbeAsk,
        watch: &mut Watch,
        on_event: &mut dyn FnMut(&Event),
    ) -> Result<Measured, SessionError> {
        match self {
            Self::Worker(worker) => worker.probe(ask, watch, on_event).await,
            Self::Sim(sim) => {
                // It never waits for anything: without this nobody would hear that the run is to stop.
                tokio::task::yield_now().await;
                Ok(sim.probe(ask, &mut |event| {
                    on_event(event);
                    watch.observe(event);
                    watch.advice()
                }))
            }
        }
    }

    /// Ends the engine.
    pub async fn shut_down(self) {
        match self {
            Self::Worker(worker) => worker.shut_down().await,
            Self::Sim(_) => {}
        }
    }
}
