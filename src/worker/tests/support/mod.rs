//! A worker process on real vLLM, spoken to as the executor does.
#![expect(dead_code, reason = "each test binary uses a part of it")]

pub mod behaviour;
pub mod group;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ceiling_core::load::{Hold, Load, LoadPlan};
use ceiling_core::protocol::{
    Command, EngineError, EngineSpec, Event, Layer, Measured, ProbeAsk, PromptAsk, PromptSource, Resolved,
};
use ceiling_core::units::{Concurrency, Seconds};
use command_fds::{CommandFdExt, FdMapping};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// An engine loads within this on a busy machine of two cores.
const LOAD_LIMIT: Duration = Duration::from_secs(400);
/// Anything else happens within this.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Worker {
    child: Child,
    commands: Option<File>,
    events: Receiver<Event>,
    log: NamedTempFile,
    probes: u32,
}

/// What a probe brought.
pub struct Probed {
    pub measured: Measured,
    /// Events of requests, in order.
    pub events: Vec<Event>,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

pub fn tiny_model() -> String {
    root().join("experiments/tiny-llama").display().to_string()
}

/// The Python that has vLLM.
pub fn python() -> PathBuf {
    let python = root().join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make setup`", python.display());
    python
}

/// The library, built like this test: cargo builds none for the tests of a package that is a `cdylib` only.
fn library() -> &'static Path {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let mut build = Process::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", env!("CARGO_PKG_NAME")]).current_dir(root());
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
        let test = std::env::current_exe().unwrap();
        test.parent().unwrap().parent().unwrap().join("libceiling_worker.so")
    });
    &LIBRARY
}

/// Starts a process from a thread that never ends: a worker dies with the thread that started it, and a test's thread
/// ends with its test.
fn spawn_for_good(mut process: Process) -> Child {
    let (tell, child) = channel();
    std::thread::spawn(move || {
        tell.send(process.spawn().unwrap()).unwrap();
        // The child's ends of the pipes must be nobody else's.
        drop(process);
        loop {
            std::thread::park();
        }
    });
    child.recv().unwrap()
}

/// The tiny model, as small as it runs on a CPU.
pub fn tiny(layer: Layer, more: Value) -> EngineSpec {
    let mut args = json!({"dtype": "float32", "enforce_eager": true, "load_format": "dummy", "max_model_len": 2048});
    let args = args.as_object_mut().unwrap();
    args.extend(more.as_object().unwrap().clone());
    EngineSpec { layer, model: tiny_model(), tokenizer: None, revision: None, args: args.clone() }
}

pub fn seconds(value: f64) -> Seconds {
    Seconds::new(value).unwrap()
}

impl Worker {
    pub fn start() -> Self {
        Self::start_in(&python(), &[])
    }

    pub fn start_in(python: &Path, env: &[(&str, &str)]) -> Self {
        let (commands_in, commands_out) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (events_in, events_out) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let log = NamedTempFile::new().unwrap();
        let mut process = Process::new(python);
        process
            .args(["-c", include_str!("../../bootstrap.py")])
            .arg(library())
            .args(["3", "4"])
            .env("VLLM_CPU_KVCACHE_SPACE", "1")
            .env("VLLM_LOGGING_LEVEL", "WARNING")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.reopen().unwrap())
            .stderr(log.reopen().unwrap())
            .process_group(0)
            .fd_mappings(vec![
                FdMapping { parent_fd: commands_in, child_fd: 3 },
                FdMapping { parent_fd: events_out, child_fd: 4 },
            ])
            .unwrap();
        let child = spawn_for_good(process);
        let (tell, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(File::from(events_in)).lines() {
                let event = serde_json::from_str(&line.unwrap()).unwrap();
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        let mut worker = Self { child, commands: Some(commands_out.into()), events, log, probes: 0 };
        assert!(matches!(worker.event(LIMIT), Event::Hello(_)));
        worker
    }

    /// A worker with an engine.
    pub fn loaded(layer: Layer, more: Value) -> (Self, Resolved) {
        let mut worker = Self::start();
        let resolved = worker.load(tiny(layer, more)).unwrap_or_else(|error| worker.fail(&error.message));
        (worker, resolved)
    }

    pub fn send(&mut self, command: &Command) {
        let mut line = serde_json::to_vec(command).unwrap();
        line.push(b'\n');
        self.commands.as_mut().unwrap().write_all(&line).unwrap();
    }

    pub fn event(&mut self, limit: Duration) -> Event {
        match self.events.recv_timeout(limit) {
            Ok(event) => event,
            Err(error) => self.fail(&format!("no event within {limit:?}: {error}")),
        }
    }

    pub fn load(&mut self, spec: EngineSpec) -> Result<Resolved, EngineError> {
        self.send(&Command::Load(spec));
        match self.event(LOAD_LIMIT) {
            Event::Loaded(resolved) => Ok(*resolved),
            Event::LoadFailed(error) => Err(error),
            other => self.fail(&format!("{other:?}")),
        }
    }

    pub fn check(&mut self, spec: EngineSpec) -> Result<Resolved, EngineError> {
        self.send(&Command::Check(spec));
        match self.event(LOAD_LIMIT) {
            Event::Checked(resolved) => Ok(*resolved),
            Event::LoadFailed(error) => Err(error),
            other => self.fail(&format!("{other:?}")),
        }
    }

    pub fn begin(&mut self, mut ask: ProbeAsk) {
        self.probes += 1;
        if ask.prompts.probe == 0 {
            ask.prompts.probe = self.probes;
        }
        self.send(&Command::Probe(ask));
    }

    /// Runs a probe; whatever `at_event` does happens as each event of a request comes.
    pub fn probe_with(
        &mut self,
        ask: ProbeAsk,
        mut at_event: impl FnMut(&mut Self, &Event),
    ) -> Result<Probed, EngineError> {
        self.begin(ask);
        self.follow(&mut at_event)
    }

    /// The rest of a probe that was begun.
    pub fn follow(&mut self, at_event: &mut dyn FnMut(&mut Self, &Event)) -> Result<Probed, EngineError> {
        let mut events = Vec::new();
        loop {
            match self.event(LIMIT) {
                Event::Measured(measured) => return Ok(Probed { measured: *measured, events }),
                Event::ProbeRefused(error) | Event::ProbeFailed(error) => return Err(error),
                event => {
                    at_event(self, &event);
                    events.push(event);
                }
            }
        }
    }

    pub fn probe(&mut self, ask: ProbeAsk) -> Probed {
        self.probe_with(ask, |_, _| {}).unwrap_or_else(|error| self.fail(&error.message))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the command descriptor.
    pub fn hang_up(&mut self) {
        self.commands = None;
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    pub fn fail(&self, what: &str) -> ! {
        panic!("{what}\nthe log of the worker:\n{}", self.log());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.hang_up();
        // At the latest its own grace ends it.
        let _ = self.child.wait();
    }
}

/// A burst that runs to its end.
pub fn burst(concurrency: u32, input_tokens: u32, output_tokens: u32) -> ProbeAsk {
    ProbeAsk {
        load: LoadPlan {
            load: Load::Burst,
            concurrency: Concurrency::new(concurrency).unwrap(),
            hold: Hold::UntilFinished,
            window: seconds(0.0),
            patience: seconds(60.0),
        },
        prompts: PromptAsk { source: PromptSource::Random, input_tokens, shared_prefix: 0, stream: 7, probe: 0 },
        output_tokens,
        silence: seconds(30.0),
    }
}
