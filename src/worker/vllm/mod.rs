//! vLLM, by its Python API: the only code that knows it.
//!
//! `shim.py` says what is easily said in Python; what happens for every token happens in Rust.

mod async_llm;
mod engine_core;
mod obituary;
mod root_cause;

use std::path::Path;
use std::sync::mpsc::Sender;

use ceiling_core::protocol::{EngineError, EngineErrorKind, EngineSpec, Layer, Resolved};
use ceiling_core::workload::Prompt;
use pyo3::call::PyCallArgs;
use pyo3::exceptions::PyValueError;
use pyo3::ffi::c_str;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::heard::{Heard, RequestId};
use crate::lifeline;
use crate::prompts::Prompts;
use root_cause::{LogMark, Phase};

const GUARD: &std::ffi::CStr = c_str!(include_str!("guard.py"));
const SHIM: &std::ffi::CStr = c_str!(include_str!("shim.py"));

/// What there is to say of an engine that left no error.
const WITHOUT_A_WORD: &str =
    "the engine's process ended, and nothing in its log says why: was it killed, perhaps for want of memory?";

/// The Python side.
pub struct Shim(Py<PyModule>);

/// A loaded engine.
pub struct Vllm {
    shim: Shim,
    /// vLLM's configuration.
    config: Py<PyAny>,
    /// `EngineCore` or `AsyncEngine` of the shim.
    engine: Py<PyAny>,
    layer: Layer,
    log: LogMark,
}

/// A request on its way to be [`Prepared`].
pub struct Draft {
    id: RequestId,
    content: Content,
}

enum Content {
    Text(String),
    /// Tokens, of which as many are in Python's hands as are in the list.
    Tokens(Vec<u32>, Py<PyList>),
}

/// Tokens that are brought into Python at once, which takes some 20 us.
const PIECE: usize = 1000;

/// A request that vLLM can be handed.
pub struct Prepared {
    pub index: u32,
    request: Py<PyAny>,
}

impl Shim {
    /// Sets the guard up first, so that no process is started without it.
    pub fn new(py: Python<'_>, descriptors: &[i32]) -> PyResult<Self> {
        let guard = PyModule::from_code(py, GUARD, c_str!("guard.py"), c_str!("ceiling_guard"))?;
        guard.call_method1("install", (include_str!("guard.py"), descriptors))?;
        Ok(Self(PyModule::from_code(py, SHIM, c_str!("shim.py"), c_str!("ceiling_shim"))?.unbind()))
    }

    /// Lets vLLM make its configuration, and loads nothing.
    pub fn check(&self, spec: &EngineSpec) -> Result<Resolved, EngineError> {
        Python::attach(|py| {
            let config = self.configure(py, spec)?;
            self.resolved(py, &config)
        })
    }

    /// Loads the engine. What it sends goes to `tell` from then on.
    pub fn load(&self, spec: &EngineSpec, tell: &Sender<Heard>) -> Result<(Vllm, Resolved), EngineError> {
        Python::attach(|py| {
            let log = LogMark::now(Phase::Loading);
            let config = self.configure(py, spec)?;
            let shim = Self(self.0.clone_ref(py));
            let engine = match spec.layer {
                Layer::EngineCore => engine_core::start(py, &shim, &config, tell),
                Layer::AsyncLlm => async_llm::start(py, &shim, &config, tell),
            }
            .map_err(|error| self.with_root_cause(py, &error, log))?;
            let log = LogMark::now(Phase::Serving);
            let resolved = self.resolved(py, &config)?;
            let settle = || {
                self.0.bind(py).call_method0("settle")?;
                let processes = self.0.bind(py).call_method0("processes")?.extract()?;
                obituary::watch(processes, Self(self.0.clone_ref(py)), tell.clone(), log)?;
                PyResult::Ok(())
            };
            settle().map_err(|error| self.describe(py, &error, EngineErrorKind::Engine))?;
            Ok((Vllm { shim, config: config.unbind(), engine, layer: spec.layer, log }, resolved))
        })
    }

    fn configure<'py>(&self, py: Python<'py>, spec: &EngineSpec) -> Result<Bound<'py, PyAny>, EngineError> {
        let mut args = spec.args.clone();
        let named = [
            ("model", Some(&spec.model)),
            ("tokenizer", spec.tokenizer.as_ref()),
            ("revision", spec.revision.as_ref()),
        ];
        args.extend(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.as_str().into()))));
        let json = serde_json::Value::from(args).to_string();
        let make = || {
            let args = py.import("json")?.call_method1("loads", (json,))?;
            self.0.bind(py).call_method1("configure", (spec.layer.to_string(), args))
        };
        make().map_err(|error| self.describe(py, &error, EngineErrorKind::Arguments))
    }

    fn resolved(&self, py: Python<'_>, config: &Bound<'_, PyAny>) -> Result<Resolved, EngineError> {
        let json = self.0.bind(py).call_method1("resolved", (config,)).and_then(|json| json.extract::<String>());
        let json = json.map_err(|error| self.describe(py, &error, EngineErrorKind::Environment))?;
        serde_json::from_str(&json).map_err(|error| EngineError {
            kind: EngineErrorKind::Environment,
            message: format!("vLLM's configuration is not as expected: {error}: {json}"),
        })
    }

    /// An exception as the executor is told of it; `kind` where the exception does not say.
    fn describe(&self, py: Python<'_>, error: &PyErr, kind: EngineErrorKind) -> EngineError {
        // The log has the whole story.
        error.display(py);
        let word = serde_json::to_value(kind).ok().and_then(|word| word.as_str().map(str::to_owned));
        self.kind_and_message(py, "describe", (error.value(py), word))
            .unwrap_or_else(|failed| EngineError { kind, message: format!("{error} (describing it failed: {failed})") })
    }

    fn kind_and_message<'py, A: PyCallArgs<'py>>(
        &self,
        py: Python<'py>,
        judge: &str,
        what: A,
    ) -> PyResult<EngineError> {
        let (word, message): (String, String) = self.0.bind(py).call_method1(judge, what)?.extract()?;
        let kind = serde_json::from_value(word.into()).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(EngineError { kind, message })
    }

    /// Of an error that only points at the log: what the log says.
    fn with_root_cause(&self, py: Python<'_>, error: &PyErr, log: LogMark) -> EngineError {
        let told = self.describe(py, error, EngineErrorKind::Engine);
        if root_cause::is_a_pointer(&told.message) { self.last_words(py, log) } else { told }
    }

    /// Why the engine died, as far as its log tells.
    fn last_words(&self, py: Python<'_>, log: LogMark) -> EngineError {
        let Some(line) = log.last_error() else {
            return EngineError { kind: EngineErrorKind::Engine, message: WITHOUT_A_WORD.to_owned() };
        };
        self.kind_and_message(py, "judge", (&line, log.phase == Phase::Loading)).unwrap_or_else(|failed| {
            let message = format!("{line} (judging it failed: {failed})");
            EngineError { kind: EngineErrorKind::Engine, message }
        })
    }
}

impl Draft {
    /// Of this prompt, nothing of which is in Python yet.
    pub fn new(id: RequestId, prompt: Prompt) -> Self {
        let content = match prompt {
            Prompt::Text(text) => Content::Text(text),
            Prompt::Tokens(tokens) => Content::Tokens(tokens, Python::attach(|py| PyList::empty(py).unbind())),
        };
        Self { id, content }
    }
}

impl Content {
    /// Brings so many more tokens into Python; says whether all are there.
    fn advance(&self, py: Python<'_>, count: usize) -> PyResult<bool> {
        let Self::Tokens(tokens, list) = self else { return Ok(true) };
        let list = list.bind(py);
        let rest = &tokens[list.len()..];
        let piece = &rest[..rest.len().min(count)];
        piece.iter().try_for_each(|token| list.append(token))?;
        Ok(piece.len() == rest.len())
    }
}

impl Vllm {
    /// The makings of prompts for this model.
    pub fn prompts(&self) -> Result<Prompts, EngineError> {
        type Found = Result<(Option<String>, Vec<u32>, u32), PyErr>;
        let found: Result<_, EngineError> = Python::attach(|py| {
            let shim = self.shim.0.bind(py);
            let find = || -> Found {
                let size = shim.call_method1("model_size", (&self.config,))?.extract()?;
                let file: Option<String> = shim.call_method1("tokenizer_file", (&self.config,))?.extract()?;
                let ids = match file {
                    Some(_) => Vec::new(),
                    None => shim.call_method1("usable_ids", (&self.config,))?.extract()?,
                };
                Ok((file, ids, size))
            };
            find().map_err(|error| self.shim.describe(py, &error, EngineErrorKind::Arguments))
        });
        match found? {
            (Some(file), _, size) => Prompts::of_file(Path::new(&file), size),
            (None, ids, _) => Prompts::of_ids(ids),
        }
    }

    /// vLLM's sampling parameters for exactly so many tokens.
    pub fn sampling(&self, output_tokens: u32) -> Result<Py<PyAny>, EngineError> {
        Python::attach(|py| {
            let made = match self.layer {
                Layer::EngineCore => self.shim.0.bind(py).call_method1("sampling", (output_tokens,)),
                Layer::AsyncLlm => self.engine.bind(py).call_method1("sampling", (output_tokens,)),
            };
            made.map(Bound::unbind).map_err(|error| self.shim.describe(py, &error, EngineErrorKind::Arguments))
        })
    }

    /// Brings the next piece of a request into Python; says whether all of it is there.
    pub fn advance(&self, draft: &mut Draft) -> Result<bool, EngineError> {
        Python::attach(|py| {
            let advanced = draft.content.advance(py, PIECE);
            advanced.map_err(|error| self.shim.describe(py, &error, EngineErrorKind::Arguments))
        })
    }

    /// Makes everything that submitting a request needs.
    pub fn prepare(&self, draft: Draft, sampling: &Py<PyAny>) -> Result<Prepared, EngineError> {
        let Draft { id, content } = draft;
        Python::attach(|py| {
            let make = || {
                content.advance(py, usize::MAX)?;
                match self.layer {
                    Layer::EngineCore => engine_core::prepare(py, &self.engine, id, content, sampling),
                    Layer::AsyncLlm => async_llm::prepare(py, id, content, sampling),
                }
            };
            let request = make().map_err(|error| self.shim.describe(py, &error, EngineErrorKind::Arguments))?;
            Ok(Prepared { index: id.index, request })
        })
    }

    /// Hands requests to the engine, in their order. Gives when, where that is known at once; elsewhere
    /// [`crate::heard::Seen::Submitted`] tells.
    pub fn submit(&self, requests: Vec<Prepared>) -> Result<Vec<(u32, f64)>, EngineError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        self.engine_call(|py| match self.layer {
            Layer::EngineCore => engine_core::submit(py, &self.engine, requests),
            Layer::AsyncLlm => async_llm::submit(py, &self.engine, requests).map(|()| Vec::new()),
        })
    }

    /// Aborts requests. The engine may still send what it has made of them.
    pub fn abort(&self, ids: &[RequestId]) -> Result<(), EngineError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.engine_call(|py| {
            let ids = PyList::new(py, ids.iter().map(RequestId::to_string))?;
            self.client(py)?.call_method1(intern!(py, "abort_requests"), (ids,)).map(drop)
        })
    }

    /// Asks the engine to empty its prefix cache; the answer is [`Heard::Reset`], and false while blocks are in use.
    ///
    /// Asked by a thread of its own: a dead engine never answers.
    pub fn reset_prefix_cache(&self, tell: Sender<Heard>) {
        let (shim, client) = Python::attach(|py| (Shim(self.shim.0.clone_ref(py)), self.client(py).map(Bound::unbind)));
        let log = self.log;
        std::thread::spawn(move || {
            let reset = Python::attach(|py| {
                let reset = client.and_then(|client| client.call_method0(py, "reset_prefix_cache")?.extract(py));
                reset.map_err(|error| shim.with_root_cause(py, &error, log))
            });
            // Where the session has ended, nobody asks any more.
            let _ = tell.send(Heard::Reset(reset));
        });
    }

    /// Lets the engine shut down by itself, within [`lifeline::GRACE`]: after that the caller's end ends it.
    pub fn shut_down(&self) {
        let timeout = lifeline::GRACE.as_secs_f64() / 2.0;
        Python::attach(|py| {
            let timeout = PyDict::from_sequence(&[("timeout", timeout)].into_pyobject(py)?.into_any())?;
            self.client(py)?.call_method("shutdown", (), Some(&timeout)).map_err(|error| error.display(py)).ok();
            PyResult::Ok(())
        })
        .unwrap_or_else(|error| eprintln!("ceiling: the engine does not shut down: {error}"));
    }

    /// What takes `abort_requests`, `reset_prefix_cache` and `shutdown`.
    fn client<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.layer {
            Layer::EngineCore => self.engine.bind(py).getattr(intern!(py, "client")),
            Layer::AsyncLlm => Ok(self.engine.bind(py).clone()),
        }
    }

    fn engine_call<T>(&self, call: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T, EngineError> {
        Python::attach(|py| call(py).map_err(|error| self.shim.with_root_cause(py, &error, self.log)))
    }
}
