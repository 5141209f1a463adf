//! The layer `async-llm`: vLLM's AsyncLLM on an event loop, as a server in Python drives it.

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::root_cause::{LogMark, Phase};
use super::{Content, Prepared, Shim, engine_core};
use crate::clock;
use crate::heard::{Heard, Output, RequestId, Seen, Step};

/// Where the shim puts what it sees. One turn of the event loop makes one [`Step`].
#[pyclass(frozen)]
struct Sink {
    pending: Mutex<Pending>,
    tell: Sender<Heard>,
    shim: Shim,
    log: LogMark,
}

#[derive(Default)]
struct Pending {
    step: Step,
    is_flush_due: bool,
    /// Preemptions reported so far of requests that had any.
    preemptions: HashMap<String, u32>,
}

#[pymethods]
impl Sink {
    fn submitted(&self, id: &str) {
        self.push(id, Seen::Submitted { at: clock::monotonic() });
        self.flush();
    }

    /// Notes an output; says whether the caller must see to a flush.
    fn output(&self, id: &str, output: &Bound<'_, PyAny>) -> PyResult<bool> {
        let at = clock::monotonic();
        let (mut output, left, preemptions) = read(output, at)?;
        let mut pending = self.pending();
        if preemptions > 0 {
            let known = pending.preemptions.entry(id.to_owned()).or_default();
            output.preemptions = preemptions - std::mem::replace(known, preemptions);
        }
        if output.finish.is_some() {
            pending.preemptions.remove(id);
        }
        // What vLLM says of a request that was aborted comes from no step: its newest token is older.
        if let Some(left) = left.filter(|_| output.tokens > 0) {
            pending.step.lag = Some(pending.step.lag.unwrap_or(0.0).max(at - left));
        }
        drop(pending);
        self.push(id, Seen::Output(output));
        Ok(self.wants_flush())
    }

    fn rejected(&self, id: &str, reason: String) {
        self.push(id, Seen::Rejected { at: clock::monotonic(), reason });
        self.flush();
    }

    /// Notes a step's statistics; says whether the caller must see to a flush.
    fn scheduler(&self, stats: &Bound<'_, PyAny>) -> PyResult<bool> {
        let scheduler = engine_core::scheduler(stats)?;
        let passed_by = self.pending().step.scheduler.replace(scheduler);
        // Two steps in one turn of the loop: neither may be lost.
        if let Some(scheduler) = passed_by {
            self.send(Step { scheduler: Some(scheduler), ..Step::default() });
        }
        Ok(self.wants_flush())
    }

    fn flush(&self) {
        let mut pending = self.pending();
        pending.is_flush_due = false;
        let step = std::mem::take(&mut pending.step);
        drop(pending);
        // What a submission has flushed already.
        if !step.seen.is_empty() || step.scheduler.is_some() {
            self.send(step);
        }
    }

    fn gone(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        let error = self.shim.with_root_cause(py, &PyErr::from_value(error), self.log);
        // Where the session has ended, the end of the engine is no news.
        let _ = self.tell.send(Heard::Gone(error));
    }
}

impl Sink {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, id: &str, seen: Seen) {
        if let Some(id) = RequestId::parse(id) {
            self.pending().step.seen.push((id, seen));
        }
    }

    fn wants_flush(&self) -> bool {
        !std::mem::replace(&mut self.pending().is_flush_due, true)
    }

    fn send(&self, step: Step) {
        // The session ends the process when it ends.
        let _ = self.tell.send(Heard::Step(step));
    }
}

/// Starts the engine and its event loop.
pub fn start(py: Python<'_>, shim: &Shim, config: &Bound<'_, PyAny>, tell: &Sender<Heard>) -> PyResult<Py<PyAny>> {
    // Nothing is put into it before the engine is up.
    let log = LogMark::now(Phase::Serving);
    let sink = Sink { pending: Mutex::default(), tell: tell.clone(), shim: Shim(shim.0.clone_ref(py)), log };
    shim.0.bind(py).call_method1("AsyncEngine", (config, sink)).map(Bound::unbind)
}

/// The arguments of `AsyncEngine.follow`.
pub fn prepare(py: Python<'_>, id: RequestId, content: Content, sampling: &Py<PyAny>) -> PyResult<Py<PyAny>> {
    let prompt = PyDict::new(py);
    match content {
        Content::Tokens(_, list) => prompt.set_item("prompt_token_ids", list)?,
        Content::Text(text) => prompt.set_item("prompt", text)?,
    }
    Ok((id.to_string(), prompt, sampling).into_pyobject(py)?.into_any().unbind())
}

/// Has the event loop hand requests to the engine.
pub fn submit(py: Python<'_>, engine: &Py<PyAny>, requests: Vec<Prepared>) -> PyResult<()> {
    let requests: Vec<_> = requests.into_iter().map(|prepared| prepared.request).collect();
    engine.bind(py).call_method1(intern!(py, "submit"), (requests,)).map(drop)
}

/// An output of AsyncLLM, the moment in which its newest token left the engine, and all preemptions so far.
fn read(output: &Bound<'_, PyAny>, at: f64) -> PyResult<(Output, Option<f64>, u32)> {
    let py = output.py();
    let completion = output.getattr(intern!(py, "outputs"))?.get_item(0)?;
    let mut read = Output { at, ..Output::default() };
    read.tokens = completion.getattr(intern!(py, "token_ids"))?.len()? as u32;
    if output.getattr(intern!(py, "finished"))?.is_truthy()? {
        read.finish = Some(completion.getattr(intern!(py, "finish_reason"))?.str()?.to_str()?.to_owned());
    }
    let prompt = output.getattr(intern!(py, "prompt_token_ids"))?;
    if !prompt.is_none() {
        read.prompt_tokens = Some(prompt.len()? as u32);
    }
    read.cached_tokens = output.getattr(intern!(py, "num_cached_tokens"))?.extract()?;
    let metrics = output.getattr(intern!(py, "metrics"))?;
    if metrics.is_none() {
        return Ok((read, None, 0));
    }
    // Zero is vLLM's word for a moment that it does not know.
    let moment = |name: &Bound<'_, pyo3::types::PyString>| -> PyResult<Option<f64>> {
        Ok(Some(metrics.getattr(name)?.extract()?).filter(|at| *at > 0.0))
    };
    read.queued = moment(intern!(py, "queued_ts"))?;
    read.scheduled = moment(intern!(py, "scheduled_ts"))?;
    let left = moment(intern!(py, "last_token_ts"))?;
    let preemptions = metrics.getattr_opt(intern!(py, "num_preemptions"))?.map_or(Ok(0), |n| n.extract())?;
    Ok((read, left, preemptions))
}
