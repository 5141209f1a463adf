//! Asks vLLM about every engine of a plan before one is loaded: what `check --engine` and `run` share.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ceiling_core::experiment::{Engine, Fault, VllmEngine};
use ceiling_core::plan::{EngineGroup, Plan};
use ceiling_core::record::FailureKind;

use super::experiments::{Planned, print_faults};
use crate::executor::{self, SessionError, WorkerLibrary};

/// Engines of a plan that are real ones.
pub fn real_engines(plan: &Plan) -> usize {
    plan.groups.iter().filter(|group| matches!(*group.engine, Engine::Vllm(_))).count()
}

/// Fails where the Python of a real engine is not there, so that no run is begun that can measure nothing.
pub fn require_pythons(plan: &Plan) -> Result<()> {
    for group in &plan.groups {
        let Engine::Vllm(engine) = &*group.engine else { continue };
        if !is_there(&engine.python) {
            bail!(
                "there is no {} to start engine {} with: name the Python of an environment that holds vLLM as engine.python (--python), or run `make setup`",
                engine.python.display(),
                group.label
            );
        }
    }
    Ok(())
}

/// Whether a program is there, where its path says or, if it is a name alone, in `PATH`.
fn is_there(program: &Path) -> bool {
    let is_name = program.parent().is_some_and(|parent| parent.as_os_str().is_empty());
    let directories = std::env::var_os("PATH").filter(|_| is_name);
    match directories {
        Some(directories) => std::env::split_paths(&directories).any(|directory| directory.join(program).is_file()),
        None => program.is_file(),
    }
}

/// Shows what vLLM refuses, all at once and at the lines of the files; whether there is anything. `on_taken` is told of
/// each engine that it takes, with the version of vLLM.
pub fn is_refused(planned: &Planned, library: &WorkerLibrary, on_taken: &dyn Fn(&str, &str)) -> Result<bool> {
    let plan = &planned.plan;
    let logs = tempfile::Builder::new().prefix("ceiling-check-").tempdir().context("cannot make a place for logs")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let findings = runtime.block_on(executor::check(plan, library, logs.path()));
    let mut faults = Vec::new();
    for finding in &findings {
        match &finding.result {
            Ok(resolved) => on_taken(&finding.group.label, &resolved.version),
            Err(error) => faults.extend(fault(planned, finding.group, error)),
        }
    }
    let Some(experiment) = planned.experiments.first().filter(|_| !faults.is_empty()) else { return Ok(false) };
    print_faults(&experiment.fields.faults(faults));
    if says_anything(logs.path()) {
        tell!("what vLLM said lies in {}", logs.keep().display());
    }
    Ok(true)
}

/// Whether any log in a directory holds anything; one that cannot be looked into may.
fn says_anything(logs: &Path) -> bool {
    let holds_text = |entry: std::fs::DirEntry| entry.metadata().is_ok_and(|log| log.len() > 0);
    std::fs::read_dir(logs).map_or(true, |entries| entries.flatten().any(holds_text))
}

/// What vLLM says of an engine, at the line of the first experiment that asks for it.
fn fault(planned: &Planned, group: &EngineGroup, error: &SessionError) -> Option<Fault> {
    let Engine::Vllm(engine) = &*group.engine else { return None };
    let ladder = &planned.plan.ladders[*group.ladders.first()?];
    let cell = &planned.plan.cells[*ladder.cells.first()?];
    let fields = &planned.experiments.get(cell.experiment)?.fields;
    let label = format!("of engine {}", group.label);
    Some(fields.fault(&blamed(engine, error), error.reason.clone(), label))
}

/// The field that an error speaks of: the engine argument with the longest name that it mentions, else the model.
fn blamed(engine: &VllmEngine, error: &SessionError) -> String {
    if error.kind == FailureKind::Environment {
        return "engine.python".to_owned();
    }
    let mentioned = engine.spec.args.keys().filter(|name| error.reason.contains(name.as_str()));
    match mentioned.max_by_key(|name| name.len()) {
        Some(name) => format!("engine.{name}"),
        None if error.reason.contains(&engine.spec.model) => "model.id".to_owned(),
        None => "engine".to_owned(),
    }
}
