//! A worker: a process of its own that drives one vLLM engine. The only place that starts processes of an engine.
//!
//! The worker leads a process group, so that whatever its engine starts can be ended with it. When a `WorkerProcess` is
//! dropped, however that comes about, the whole group is killed.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ceiling_core::experiment::VllmEngine;
use ceiling_core::protocol::{Command, EngineSpec, Event, Hello, Measured, ProbeAsk, Resolved, VERSION};
use ceiling_core::record::FailureKind;
use ceiling_core::units::Seconds;
use ceiling_core::watch::{Advice, Watch};
use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::time::timeout;

use super::WorkerLibrary;
use super::log_tail;
use super::processes;
use super::session::SessionError;

/// What the Python of the environment is told to run: it loads the library and hands over.
const BOOTSTRAP: &str = include_str!("../../worker/bootstrap.py");

/// The worker's end of the command pipe and of the event pipe.
const COMMAND_FD: i32 = 3;
const EVENT_FD: i32 = 4;

/// How long a worker may take to shut its engine down before it is killed.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

/// How long the rest of a killed worker's process group may take to go by itself.
const GROUP_GRACE: Duration = Duration::from_secs(3);

/// How much longer than the worker itself waits for its engine the executor waits for the worker's word.
const SILENCE_MARGIN: f64 = 30.0;

/// What to start.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The environment and the engine.
    pub engine: &'a VllmEngine,
    /// The library to load.
    pub library: &'a WorkerLibrary,
    /// Where the worker's and the engine's output goes; appended.
    pub log: PathBuf,
    /// Environment variables beside the caller's and, where both set one, below the experiment's.
    pub env: Vec<(String, String)>,
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerProcess {
    child: Child,
    group: Pid,
    commands: pipe::Sender,
    events: Lines<BufReader<pipe::Receiver>>,
    spec: EngineSpec,
    python: PathBuf,
    log: PathBuf,
    /// Bytes of the log that earlier workers wrote.
    log_begin: u64,
    started: Instant,
}

impl WorkerProcess {
    /// Starts a worker; its engine is not loaded yet.
    pub fn spawn(launch: Launch<'_>) -> Result<Self, SessionError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            SessionError::fatal(FailureKind::Environment, format!("{what}: {error}"))
        };
        let python = &launch.engine.python;
        let log = open_log(&launch.log).map_err(|e| failed(&format!("cannot write {}", launch.log.display()), &e))?;
        let log_begin = log.metadata().map_err(|e| failed("cannot tell how long the log is", &e))?.len();
        let log_for_stderr = log.try_clone().map_err(|e| failed("cannot share the log", &e))?;
        let (command_reader, command_writer) = std::io::pipe().map_err(|e| failed("cannot make a pipe", &e))?;
        let (event_reader, event_writer) = std::io::pipe().map_err(|e| failed("cannot make a pipe", &e))?;

        let mut command = tokio::process::Command::new(python);
        command
            .args(["-c", BOOTSTRAP])
            .arg(launch.library.path())
            .args([COMMAND_FD.to_string(), EVENT_FD.to_string()])
            .envs(launch.env)
            .envs(&launch.engine.env)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_for_stderr)
            .process_group(0)
            .kill_on_drop(true);
        command
            .fd_mappings(vec![
                FdMapping { parent_fd: OwnedFd::from(command_reader), child_fd: COMMAND_FD },
                FdMapping { parent_fd: OwnedFd::from(event_writer), child_fd: EVENT_FD },
            ])
            .map_err(|e| failed("cannot hand pipes to the worker", &e))?;
        let started = Instant::now();
        let child = command.spawn().map_err(|error| {
            let remedy = "name the Python of an environment that holds vLLM as engine.python, or run `make setup`";
            failed(&format!("cannot start {} ({remedy})", python.display()), &error)
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let group = group.ok_or_else(|| failed("the worker", &"ended at once"))?;
        let commands = pipe::Sender::from_owned_fd(OwnedFd::from(command_writer));
        let events = pipe::Receiver::from_owned_fd(OwnedFd::from(event_reader));
        Ok(Self {
            child,
            group,
            commands: commands.map_err(|e| failed("cannot use a pipe", &e))?,
            events: BufReader::new(events.map_err(|e| failed("cannot use a pipe", &e))?).lines(),
            spec: launch.engine.spec.clone(),
            python: python.clone(),
            log: launch.log,
            log_begin,
            started,
        })
    }

    /// Its id, and that of its process group.
    pub fn pid(&self) -> Pid {
        self.group
    }

    /// Time since it was started.
    pub fn age(&self) -> Seconds {
        self.started.elapsed().into()
    }

    /// Loads the engine and waits until it answers.
    pub async fn load(&mut self, limit: Seconds) -> Result<Resolved, SessionError> {
        let loading = async {
            self.greet().await?;
            self.send(&Command::Load(self.spec.clone())).await?;
            match self.receive().await? {
                Event::Loaded(resolved) => Ok(*resolved),
                Event::LoadFailed(error) => Err(self.with_root_cause(SessionError::from(error))),
                other => Err(self.unexpected(&other)),
            }
        };
        match timeout(limit.to_std(), loading).await {
            Ok(result) => result.map_err(|error| SessionError { engine_lives: false, ..error }),
            Err(_) => Err(SessionError::fatal(
                FailureKind::Timeout,
                format!("the engine did not answer within {limit} (execution.engine_timeout)"),
            )),
        }
    }

    /// Lets the engine's own code check a configuration, without loading weights. After [`Self::greet`].
    pub async fn check(&mut self, spec: &EngineSpec, limit: Seconds) -> Result<Resolved, SessionError> {
        let checking = async {
            self.send(&Command::Check(spec.clone())).await?;
            match self.receive().await? {
                Event::Checked(resolved) => Ok(*resolved),
                // Nothing was loaded, so that nothing was lost.
                Event::LoadFailed(error) => Err(SessionError { engine_lives: true, ..error.into() }),
                other => Err(self.unexpected(&other)),
            }
        };
        let late = || format!("the configuration was not checked within {limit} (execution.engine_timeout)");
        timeout(limit.to_std(), checking)
            .await
            .unwrap_or_else(|_| Err(SessionError::fatal(FailureKind::Timeout, late())))
    }

    /// Measures one level of load.
    pub async fn probe(
        &mut self,
        ask: &ProbeAsk,
        watch: &mut Watch,
        on_event: &mut dyn FnMut(&Event),
    ) -> Result<Measured, SessionError> {
        let patience = Seconds::new(ask.silence.get() + SILENCE_MARGIN).unwrap_or(ask.silence);
        let late = || {
            let silence = ask.silence;
            let reason = format!("the worker did not say a word for {patience} (execution.probe_timeout is {silence})");
            SessionError::fatal(FailureKind::Timeout, reason)
        };
        self.send(&Command::Probe(ask.clone())).await?;
        let mut stopped = false;
        loop {
            let event = timeout(patience.to_std(), self.receive()).await.map_err(|_| late())??;
            match event {
                Event::Measured(measured) => return Ok(*measured),
                Event::ProbeFailed(error) => return Err(self.with_root_cause(error.into())),
                Event::ProbeRefused(error) => return Err(SessionError { engine_lives: true, ..error.into() }),
                Event::First { .. } | Event::Ended(_) | Event::WindowClosed { .. } | Event::Alive => {
                    on_event(&event);
                    watch.observe(&event);
                    if !stopped && watch.advice() == Advice::Stop {
                        self.send(&Command::Stop).await?;
                        stopped = true;
                    }
                }
                other => return Err(self.unexpected(&other)),
            }
        }
    }

    /// Ends the engine, in good order if it can.
    pub async fn shut_down(mut self) {
        let in_good_order = async {
            // A worker that cannot be told any more is killed below.
            if self.send(&Command::Shutdown).await.is_ok() {
                let _ = self.child.wait().await;
            }
        };
        // The grace over, dropping kills the group.
        let _ = timeout(SHUTDOWN_GRACE, in_good_order).await;
    }

    /// Waits for the worker's first word and makes sure that it speaks the same language.
    pub async fn greet(&mut self) -> Result<Hello, SessionError> {
        let hello = match self.receive().await? {
            Event::Hello(hello) => hello,
            other => return Err(self.unexpected(&other)),
        };
        let ours = env!("CARGO_PKG_VERSION");
        if hello.protocol != VERSION || hello.worker != ours {
            let reason = format!(
                "the worker library is of version {} (protocol {}), this binary of {ours} (protocol {VERSION}): \
                 build both with `cargo build --release`",
                hello.worker, hello.protocol
            );
            return Err(SessionError::fatal(FailureKind::Environment, reason));
        }
        Ok(hello)
    }

    async fn send(&mut self, command: &Command) -> Result<(), SessionError> {
        let mut line = serde_json::to_vec(command)
            .map_err(|error| SessionError::fatal(FailureKind::Engine, format!("cannot write a command: {error}")))?;
        line.push(b'\n');
        match self.commands.write_all(&line).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.gone().await),
        }
    }

    async fn receive(&mut self) -> Result<Event, SessionError> {
        match self.events.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line).map_err(|error| {
                SessionError::fatal(FailureKind::Engine, format!("the worker said what cannot be read: {error}"))
            }),
            Ok(None) | Err(_) => Err(self.gone().await),
        }
    }

    /// The worker closed its pipe: waits for its end and says how it came.
    async fn gone(&mut self) -> SessionError {
        let status = timeout(SHUTDOWN_GRACE, self.child.wait()).await;
        let how = match status {
            Ok(Ok(status)) => describe(status),
            Ok(Err(error)) => format!("is lost: {error}"),
            Err(_) => "closed its pipe but did not end".to_owned(),
        };
        let last =
            log_tail::last_error(&self.log, self.log_begin).map_or_else(String::new, |error| format!(": {error}"));
        let reason = format!("the worker ({}) {how}{last}", self.python.display());
        SessionError::fatal(FailureKind::WorkerGone, reason)
    }

    /// vLLM reports a failed engine core without its reason, which stands in the log.
    fn with_root_cause(&self, error: SessionError) -> SessionError {
        if error.kind != FailureKind::Engine {
            return error;
        }
        match log_tail::last_error(&self.log, self.log_begin) {
            Some(cause) if !error.reason.contains(&cause) => {
                let kind = if is_out_of_memory(&cause) { FailureKind::OutOfMemory } else { error.kind };
                SessionError { kind, reason: format!("{cause} ({})", error.reason), ..error }
            }
            _ => error,
        }
    }

    fn unexpected(&self, event: &Event) -> SessionError {
        let said = serde_json::to_value(event).ok().and_then(|value| Some(value.get("event")?.as_str()?.to_owned()));
        let reason = format!("the worker said `{}` out of turn", said.unwrap_or_default());
        SessionError::fatal(FailureKind::Engine, reason)
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Killing the leader alone ends the engine too, which asked the kernel to follow it, and leaves Python's resource
        // tracker alive to free the engine's shared memory.
        // Once it is reaped its id may be another's.
        if self.child.id().is_some() {
            let _ = kill(self.group, Signal::SIGKILL);
        }
        let deadline = Instant::now() + GROUP_GRACE;
        while group_is_there(&mut self.child, self.group) {
            if Instant::now() >= deadline {
                // Whoever is left follows nobody. Failing here means that the last one just went.
                let _ = killpg(self.group, Signal::SIGKILL);
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether any process of the group is left, its leader reaped if it has ended.
fn group_is_there(leader: &mut Child, group: Pid) -> bool {
    // Until it is reaped the leader counts as one of the group; an error means that it has been.
    let _ = leader.try_wait();
    // An init that is slow to reap leaves the dead in the group.
    killpg(group, None).is_ok() && processes::of_group(group).any(|process| process.is_alive())
}

fn open_log(path: &Path) -> std::io::Result<std::fs::File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

fn is_out_of_memory(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["out of memory", "no available memory", "memoryerror", "outofmemory"].iter().any(|sign| message.contains(sign))
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("was killed by {signal}"),
            Err(_) => format!("was killed by signal {signal}"),
        },
        (None, None) => "ended".to_owned(),
    }
}
