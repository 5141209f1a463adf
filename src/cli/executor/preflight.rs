//! Asks the installed vLLM whether it takes the engine arguments, before anything is loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ceiling_core::experiment::{Engine, VllmEngine};
use ceiling_core::plan::{EngineGroup, Plan};
use ceiling_core::protocol::Resolved;
use ceiling_core::record::FailureKind;
use ceiling_core::units::Seconds;
use tokio::time::timeout;

use super::WorkerLibrary;
use super::session::SessionError;
use super::worker_process::{Launch, WorkerProcess};

/// What vLLM says of one engine group.
pub struct Finding<'a> {
    /// The group.
    pub group: &'a EngineGroup,
    /// What it would make of the configuration, or what is wrong with it.
    pub result: Result<Resolved, SessionError>,
}

/// What a worker's answers depend on beside the configuration: its interpreter and its environment variables.
type Environment<'a> = (&'a Path, &'a BTreeMap<String, String>);

/// Starts each distinct environment once and lets it check every engine group that uses it, in the plan's order.
/// Groups of the simulator need no check.
pub async fn check<'a>(plan: &'a Plan, library: &WorkerLibrary, logs: &Path) -> Vec<Finding<'a>> {
    let mut environments: BTreeMap<Environment<'_>, Vec<(&EngineGroup, &VllmEngine)>> = BTreeMap::new();
    for group in &plan.groups {
        if let Engine::Vllm(engine) = &*group.engine {
            environments.entry((&engine.python, &engine.env)).or_default().push((group, engine));
        }
    }
    let mut findings = Vec::new();
    for (number, groups) in environments.into_values().enumerate() {
        findings.extend(check_environment(&groups, library, logs.join(format!("check-{number}.log"))).await);
    }
    let place = |finding: &Finding<'_>| plan.groups.iter().position(|group| group.key == finding.group.key);
    findings.sort_by_key(place);
    findings
}

async fn check_environment<'a>(
    groups: &[(&'a EngineGroup, &'a VllmEngine)],
    library: &WorkerLibrary,
    log: PathBuf,
) -> Vec<Finding<'a>> {
    let mut findings = Vec::new();
    let mut worker = None;
    for &(group, engine) in groups {
        // A worker that was lost over one configuration leaves the others to a new one.
        let alive = match worker.take() {
            Some(worker) => Ok(worker),
            None => greeted(engine, library, log.clone(), group.execution.engine_timeout).await,
        };
        let result = match alive {
            Ok(mut alive) => {
                let result = alive.check(&engine.spec, group.execution.engine_timeout).await;
                worker = result.as_ref().map_or_else(|error| error.engine_lives, |_| true).then_some(alive);
                result
            }
            Err(error) => Err(error),
        };
        findings.push(Finding { group, result });
    }
    if let Some(worker) = worker {
        worker.shut_down().await;
    }
    findings
}

async fn greeted(
    engine: &VllmEngine,
    library: &WorkerLibrary,
    log: PathBuf,
    limit: Seconds,
) -> Result<WorkerProcess, SessionError> {
    let mut worker = WorkerProcess::spawn(Launch { engine, library, log, env: Vec::new() })?;
    let late = || {
        let reason = format!("the worker did not say a word within {limit} (execution.engine_timeout)");
        SessionError::fatal(FailureKind::Timeout, reason)
    };
    timeout(limit.to_std(), worker.greet()).await.unwrap_or_else(|_| Err(late()))?;
    Ok(worker)
}
