//! The layer `engine-core`: vLLM's synchronous client, one thread submitting, one collecting.

use std::sync::mpsc::Sender;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::root_cause::{LogMark, Phase};
use super::{Content, Prepared, Shim};
use crate::clock;
use crate::heard::{Heard, Output, RequestId, Scheduler, Seen, Step};

/// vLLM's kinds of events of a request, by number: `EngineCoreEventType` is an `IntEnum`, whose numbers travel.
const QUEUED: u32 = 1;
const SCHEDULED: u32 = 2;
const PREEMPTED: u32 = 3;

/// Python's threads wait for each other this long, in seconds. Its own 5 ms would be seen in the lag of outputs that
/// arrive while a burst is submitted.
const SWITCH_INTERVAL: f64 = 0.000_5;

/// Starts the engine and the thread that collects.
pub fn start(py: Python<'_>, shim: &Shim, config: &Bound<'_, PyAny>, tell: &Sender<Heard>) -> PyResult<Py<PyAny>> {
    py.import("sys")?.call_method1("setswitchinterval", (SWITCH_INTERVAL,))?;
    let engine = shim.0.bind(py).call_method1("EngineCore", (config,))?;
    let client = engine.getattr("client")?.unbind();
    let shim = Shim(shim.0.clone_ref(py));
    let tell = tell.clone();
    let log = LogMark::now(Phase::Serving);
    std::thread::spawn(move || {
        Python::attach(|py| {
            let error = collect(client.bind(py), &tell);
            // Where the session has ended, the end of the engine is no news.
            let _ = tell.send(Heard::Gone(shim.with_root_cause(py, &error, log)));
        });
    });
    Ok(engine.unbind())
}

/// A request for the engine core, with tokens for a prompt.
pub fn prepare(
    py: Python<'_>,
    engine: &Py<PyAny>,
    id: RequestId,
    content: Content,
    sampling: &Py<PyAny>,
) -> PyResult<Py<PyAny>> {
    let engine = engine.bind(py);
    let tokens = match content {
        Content::Tokens(_, list) => list.into_bound(py).into_any(),
        Content::Text(text) => engine.call_method1(intern!(py, "encode"), (text,))?,
    };
    engine.call_method1(intern!(py, "prepare"), (id.to_string(), tokens, sampling)).map(Bound::unbind)
}

/// Hands requests to the engine; gives the moment of each.
pub fn submit(py: Python<'_>, engine: &Py<PyAny>, requests: Vec<Prepared>) -> PyResult<Vec<(u32, f64)>> {
    let add = engine.bind(py).getattr(intern!(py, "client"))?.getattr(intern!(py, "add_request"))?;
    let mut moments = Vec::with_capacity(requests.len());
    for prepared in requests {
        moments.push((prepared.index, clock::monotonic()));
        add.call1((prepared.request,))?;
    }
    Ok(moments)
}

/// Passes on every step of the engine, until there is an error.
fn collect(client: &Bound<'_, PyAny>, tell: &Sender<Heard>) -> PyErr {
    let py = client.py();
    loop {
        let step =
            client.call_method0(intern!(py, "get_output")).and_then(|outputs| step(&outputs, clock::monotonic()));
        match step {
            Ok(step) => {
                // The session ends the process when it ends.
                let _ = tell.send(Heard::Step(step));
            }
            Err(error) => return error,
        }
    }
}

fn step(outputs: &Bound<'_, PyAny>, at: f64) -> PyResult<Step> {
    let py = outputs.py();
    let list = outputs.getattr(intern!(py, "outputs"))?.cast_into::<PyList>()?;
    let mut seen = Vec::with_capacity(list.len());
    for one in list.iter() {
        if let Some(id) = RequestId::parse(one.getattr(intern!(py, "request_id"))?.cast::<PyString>()?.to_str()?) {
            seen.push((id, Seen::Output(output(&one, at)?)));
        }
    }
    let left: f64 = outputs.getattr(intern!(py, "timestamp"))?.extract()?;
    let stats = outputs.getattr(intern!(py, "scheduler_stats"))?;
    let scheduler = if stats.is_none() { None } else { Some(scheduler(&stats)?) };
    let lag = (!seen.is_empty()).then_some(at - left);
    Ok(Step { seen, scheduler, lag })
}

fn output(one: &Bound<'_, PyAny>, at: f64) -> PyResult<Output> {
    let py = one.py();
    let mut output = Output { at, ..Output::default() };
    output.tokens = one.getattr(intern!(py, "new_token_ids"))?.len()? as u32;
    let finish = one.getattr(intern!(py, "finish_reason"))?;
    if !finish.is_none() {
        output.finish = Some(finish.str()?.to_str()?.to_owned());
    }
    let prefill = one.getattr(intern!(py, "prefill_stats"))?;
    if !prefill.is_none() {
        output.prompt_tokens = Some(prefill.getattr(intern!(py, "num_prompt_tokens"))?.extract()?);
        output.cached_tokens = Some(prefill.getattr(intern!(py, "num_cached_tokens"))?.extract()?);
    }
    let events = one.getattr(intern!(py, "events"))?;
    if !events.is_none() {
        for event in events.try_iter()? {
            note(&event?, &mut output)?;
        }
    }
    Ok(output)
}

fn note(event: &Bound<'_, PyAny>, output: &mut Output) -> PyResult<()> {
    let py = event.py();
    let at = event.getattr(intern!(py, "timestamp"))?.extract()?;
    match event.getattr(intern!(py, "type"))?.extract()? {
        QUEUED => output.queued = output.queued.or(Some(at)),
        SCHEDULED => output.scheduled = output.scheduled.or(Some(at)),
        PREEMPTED => output.preemptions += 1,
        _ => {}
    }
    Ok(())
}

/// The scheduler's statistics of one step.
pub fn scheduler(stats: &Bound<'_, PyAny>) -> PyResult<Scheduler> {
    let py = stats.py();
    let waiting: u32 = stats.getattr(intern!(py, "num_waiting_reqs"))?.extract()?;
    // Some releases count those apart that wait for something else than their turn.
    let skipped: u32 = stats.getattr_opt(intern!(py, "num_skipped_waiting_reqs"))?.map_or(Ok(0), |n| n.extract())?;
    Ok(Scheduler {
        running: stats.getattr(intern!(py, "num_running_reqs"))?.extract()?,
        waiting: waiting + skipped,
        kv: stats.getattr(intern!(py, "kv_cache_usage"))?.extract()?,
    })
}
