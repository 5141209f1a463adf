//! Answers the executor's commands, one after the other.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};

use ceiling_core::load::{Hold, Load, LoadPlan};
use ceiling_core::protocol::{
    self, Command, EngineError, EngineErrorKind, EngineSpec, Event, Hello, Measured, ProbeAsk, PromptAsk, PromptSource,
    Resolved,
};
use ceiling_core::request::RequestEnd;
use ceiling_core::units::{Concurrency, Seconds};
use pyo3::prelude::*;

use crate::commands::{self, Busy};
use crate::events::Events;
use crate::heard::Heard;
use crate::interrupted::Interrupted;
use crate::lifeline;
use crate::probe;
use crate::prompts::Prompts;
use crate::teller::Teller;
use crate::vllm::{Shim, Vllm};

/// Exit status where the executor wanted no more.
const DONE: i32 = 0;
/// Exit status where the engine died, or the executor could not be understood.
const FAILED: i32 = 1;

/// Probe number that no ladder reaches: prompts of a warm-up are none of a measurement's.
const WARM_UP: u32 = u32::MAX;

/// Serves the executor, from Python's main thread.
pub fn serve(py: Python<'_>, commands: OwnedFd, events: OwnedFd) -> PyResult<i32> {
    for descriptor in [&commands, &events] {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    }
    lifeline::bind()?;
    let shim = Shim::new(py, &[commands.as_raw_fd(), events.as_raw_fd()])?;
    let python = Python::version_str().split(' ').next().unwrap_or_default().to_owned();
    Ok(py.detach(|| {
        let (tell, heard) = channel();
        let busy = Busy::default();
        commands::listen(commands, tell.clone(), busy.clone());
        Session { shim, events: Events::new(events), heard, tell, busy, engine: None, runs: 0 }.run(python)
    }))
}

struct Session {
    shim: Shim,
    events: Events,
    heard: Receiver<Heard>,
    tell: Sender<Heard>,
    busy: Busy,
    engine: Option<Engine>,
    /// Times that the probe machinery ran.
    runs: u32,
}

struct Engine {
    vllm: Vllm,
    prompts: Prompts,
    max_model_len: u32,
    /// Shapes of workload that the engine has seen.
    warm: HashSet<(PromptSource, u32)>,
}

impl Session {
    fn run(mut self, python: String) -> i32 {
        let worker = env!("CARGO_PKG_VERSION").to_owned();
        self.events.send(&Event::Hello(Hello { protocol: protocol::VERSION, worker, python }));
        let status = loop {
            // The session holds a sender itself, so the queue never ends.
            let Ok(heard) = self.heard.recv() else { break FAILED };
            self.busy.set(true);
            let next = self.answer(heard);
            self.busy.set(false);
            if let ControlFlow::Break(status) = next {
                break status;
            }
        };
        lifeline::end_soon();
        if let Some(engine) = self.engine.take().filter(|_| status == DONE) {
            engine.vllm.shut_down();
        }
        status
    }

    fn answer(&mut self, heard: Heard) -> ControlFlow<i32> {
        match heard {
            Heard::Asked(Command::Check(spec)) => {
                let event =
                    self.check(&spec).map_or_else(Event::LoadFailed, |resolved| Event::Checked(resolved.into()));
                self.events.send(&event);
            }
            Heard::Asked(Command::Load(spec)) => {
                let event = self.load(&spec).map_or_else(Event::LoadFailed, |resolved| Event::Loaded(resolved.into()));
                self.events.send(&event);
            }
            Heard::Asked(Command::Probe(ask)) => return self.probe(&ask),
            // The probe that it is about has ended in the meantime.
            Heard::Asked(Command::Stop) => {}
            Heard::Asked(Command::Shutdown) | Heard::NothingMore => return ControlFlow::Break(DONE),
            Heard::Garbled(what) => {
                eprintln!("ceiling: not a command: {what}");
                return ControlFlow::Break(FAILED);
            }
            Heard::Gone(error) => {
                self.events.send(&Event::ProbeFailed(error));
                return ControlFlow::Break(FAILED);
            }
            // What an engine says after a probe is over.
            Heard::Step(_) | Heard::Reset(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn check(&self, spec: &EngineSpec) -> Result<Resolved, EngineError> {
        self.shim.check(spec)
    }

    fn load(&mut self, spec: &EngineSpec) -> Result<Resolved, EngineError> {
        if self.engine.is_some() {
            return Err(EngineError { kind: EngineErrorKind::Engine, message: "an engine is loaded already".into() });
        }
        let begin = crate::clock::monotonic();
        let (vllm, mut resolved) = self.shim.load(spec, &self.tell)?;
        let prompts = vllm.prompts()?;
        let max_model_len = resolved.max_model_len.unwrap_or(u32::MAX);
        let mut engine = Engine { vllm, prompts, max_model_len, warm: HashSet::new() };
        // Prompts of some length, a few at once, answered with several tokens: what an engine does for the first time
        // in its life (kernels, allocations, connections) it has then done before anybody measures.
        let (input_tokens, output_tokens) = ((max_model_len / 2).clamp(1, 512), 8.min(max_model_len / 4).max(1));
        let ask = warm_up(4, PromptSource::Random, input_tokens, output_tokens, an_hour());
        // The executor limits the whole of a load, and listens to nothing but how it ends.
        self.measure(&mut engine, &ask, |_| false).map_err(|interrupted| match interrupted {
            Interrupted::Refused(error) | Interrupted::Gone(error) => error,
            Interrupted::Leave => EngineError {
                kind: EngineErrorKind::Engine,
                message: "the executor went away while the engine was warming up".into(),
            },
        })?;
        resolved.load_seconds = Seconds::new(crate::clock::monotonic() - begin);
        self.engine = Some(engine);
        Ok(resolved)
    }

    fn probe(&mut self, ask: &ProbeAsk) -> ControlFlow<i32> {
        let Some(mut engine) = self.engine.take() else {
            let message = "no engine is loaded".into();
            self.events.send(&Event::ProbeFailed(EngineError { kind: EngineErrorKind::Engine, message }));
            return ControlFlow::Continue(());
        };
        let measured = self.warm(&mut engine, ask).and_then(|()| self.measure(&mut engine, ask, |_| true));
        self.engine = Some(engine);
        match measured {
            Ok(measured) => self.events.send(&Event::Measured(measured.into())),
            Err(Interrupted::Refused(error)) => self.events.send(&Event::ProbeRefused(error)),
            Err(Interrupted::Leave) => return ControlFlow::Break(DONE),
            Err(Interrupted::Gone(error)) => {
                self.events.send(&Event::ProbeFailed(error));
                return ControlFlow::Break(FAILED);
            }
        }
        ControlFlow::Continue(())
    }

    /// The first probe of a shape must not pay for what the engine does once per shape (tuning, graphs, larger
    /// buffers): two requests of exactly that length go first, outside of the measurement.
    fn warm(&mut self, engine: &mut Engine, ask: &ProbeAsk) -> Result<(), Interrupted> {
        let shape = (ask.prompts.source.clone(), ask.prompts.input_tokens);
        if engine.warm.contains(&shape) {
            return Ok(());
        }
        let (source, input_tokens) = shape.clone();
        let warm_up = warm_up(2, source, input_tokens, ask.output_tokens.min(4), ask.silence);
        // Its requests are none of the probe's; to whoever waits for the probe, it is a part of it.
        let measured = self.measure(engine, &warm_up, |event| *event == Event::Alive)?;
        if measured.requests.iter().any(|request| request.end == RequestEnd::Stopped) {
            // Meant for the probe, of which the executor does not know that it has not begun. The session holds the
            // receiver, so this cannot fail.
            let _ = self.tell.send(Heard::Asked(Command::Stop));
            return Ok(());
        }
        engine.warm.insert(shape);
        Ok(())
    }

    /// Puts a load on the engine; the executor hears of what is `told`.
    fn measure(
        &mut self,
        engine: &mut Engine,
        ask: &ProbeAsk,
        told: fn(&Event) -> bool,
    ) -> Result<Measured, Interrupted> {
        self.runs += 1;
        let events = &mut self.events;
        let report = |event: &Event| {
            if told(event) {
                events.send(event);
            }
        };
        let teller = Teller::new(ask.silence, report);
        engine.run(ask, self.runs, &self.heard, &self.tell, teller)
    }
}

impl Engine {
    fn run(
        &mut self,
        ask: &ProbeAsk,
        run: u32,
        heard: &Receiver<Heard>,
        tell: &Sender<Heard>,
        mut teller: Teller<'_>,
    ) -> Result<Measured, Interrupted> {
        // A request that is too long would be rejected one by one by one layer, and end the engine in the other.
        let length = ask.prompts.input_tokens.saturating_add(ask.output_tokens);
        if length > self.max_model_len {
            return Err(Interrupted::Refused(EngineError {
                kind: EngineErrorKind::Arguments,
                message: format!(
                    "input_tokens = {} and output_tokens = {} are more than max_model_len = {}",
                    ask.prompts.input_tokens, ask.output_tokens, self.max_model_len
                ),
            }));
        }
        // Making a long text into tokens takes minutes.
        let maker = teller.during(|| self.prompts.maker(&ask.prompts, ask.load.concurrency));
        probe::run(ask, run, &maker.map_err(Interrupted::Refused)?, &self.vllm, heard, tell, teller)
    }
}

/// A burst of which each request is waited for, as long as the engine is not silent for longer than it may be.
fn warm_up(
    concurrency: u32,
    source: PromptSource,
    input_tokens: u32,
    output_tokens: u32,
    silence: Seconds,
) -> ProbeAsk {
    let concurrency = Concurrency::new(concurrency).unwrap_or(Concurrency::ONE);
    ProbeAsk {
        load: LoadPlan {
            load: Load::Burst,
            concurrency,
            hold: Hold::UntilFinished,
            window: Seconds::ZERO,
            patience: an_hour(),
        },
        prompts: PromptAsk { source, input_tokens, shared_prefix: 0, stream: 0, probe: WARM_UP },
        output_tokens,
        silence,
    }
}

fn an_hour() -> Seconds {
    Seconds::from(std::time::Duration::from_secs(3600))
}
