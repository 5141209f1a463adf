//! Where two runs come from, and what differs in that: the likely cause of a change.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::ComparedRun;
use crate::experiment::Resolution;
use crate::protocol::Resolved;
use crate::record::RunStatus;

/// Which run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Origin<'a> {
    /// UTC time and short commit.
    pub run_id: &'a str,
    /// Name of the experiment.
    pub experiment: &'a str,
    /// Hash of the commit that was checked out.
    pub commit: Option<&'a str>,
    /// Whether tracked files differed from it.
    pub dirty: bool,
    /// When it was started, UTC, in RFC 3339.
    pub started: &'a str,
    /// How far it came.
    pub status: RunStatus,
    /// Cells of its experiment that it was asked to leave out.
    pub left_out: usize,
    /// Whether every number comes from the simulator.
    pub simulated: bool,
}

impl<'a> Origin<'a> {
    pub(super) fn new(run: &'a ComparedRun) -> Self {
        let git = run.provenance.git.as_ref();
        Self {
            run_id: &run.run_id,
            experiment: &run.experiment.name,
            commit: git.map(|git| &*git.commit),
            dirty: git.is_some_and(|git| git.dirty),
            started: &run.started,
            status: run.status,
            left_out: run.left_out,
            simulated: run.simulated,
        }
    }
}

/// Something that differs between two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What.
    pub what: String,
    /// In the baseline; absent where it is not known.
    pub baseline: Option<String>,
    /// In the candidate.
    pub candidate: Option<String>,
}

/// What differs in where two runs come from, what is likeliest to matter first.
pub(super) fn changes(baseline: &ComparedRun, candidate: &ComparedRun) -> Vec<Change> {
    let mut found = Vec::new();
    let mut note = |what: &str, of: &dyn Fn(&ComparedRun) -> Option<String>| {
        let (before, after) = (of(baseline), of(candidate));
        if before != after {
            found.push(Change { what: what.to_owned(), baseline: before, candidate: after });
        }
    };
    note("experiment", &|run| Some(run.experiment.name.clone()));
    note("commit", &commit);
    note("ceiling", &|run| Some(run.provenance.ceiling.clone()));
    note("engine", &|run| run.provenance.engine.as_ref().map(|engine| format!("{} {}", engine.kind, engine.version)));
    let names: BTreeSet<String> =
        [baseline, candidate].into_iter().filter_map(resolved).flat_map(|r| r.packages.keys().cloned()).collect();
    for name in &names {
        note(name, &|run| resolved(run)?.packages.get(name).cloned());
    }
    if !names.contains("python") {
        note("python", &|run| run.provenance.python.clone());
    }
    note("NVIDIA driver", &|run| run.provenance.nvidia_driver.clone());
    note("devices", &|run| Some(resolved(run)?.devices.join(", ")).filter(|devices| !devices.is_empty()));
    // What nobody gave follows from the version and the device.
    note("max_num_seqs", &|run| Some(resolved(run)?.max_num_seqs?.to_string()));
    note("max_num_batched_tokens", &|run| Some(resolved(run)?.max_num_batched_tokens?.to_string()));
    note("CUDA_VISIBLE_DEVICES", &|run| run.provenance.cuda_visible_devices.clone());
    note("model commit", &|run| resolved(run)?.model_commit.clone());
    note("processor", &|run| run.provenance.cpu.clone());
    note("processors", &|run| run.provenance.cpus.map(|count| count.to_string()));
    note("memory", &|run| {
        run.provenance.memory_bytes.map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)))
    });
    note("platform", &|run| Some(run.provenance.platform.clone()));
    let fields: BTreeSet<String> = [baseline, candidate].into_iter().flat_map(|run| search(run).into_keys()).collect();
    for field in &fields {
        note(&format!("search.{field}"), &|run| search(run).remove(field));
    }
    found
}

/// How the first ceiling was looked for, by the names of an experiment file and as one writes it there.
fn search(run: &ComparedRun) -> BTreeMap<String, String> {
    let Some(search) = run.ladders.first().map(|ladder| ladder.search) else { return BTreeMap::new() };
    let serde_json::Value::Object(fields) = serde_json::json!(search) else { return BTreeMap::new() };
    let shown = |(name, value): (String, serde_json::Value)| {
        let text = match name.as_str() {
            "budget" => search.budget.to_string(),
            "resolution" => resolution(search.resolution),
            _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        };
        (name, text)
    };
    fields.into_iter().map(shown).collect()
}

fn resolution(resolution: Resolution) -> String {
    match resolution {
        Resolution::Requests(count) => count.to_string(),
        // Without the digits that a binary fraction leaves behind.
        Resolution::Relative(share) => format!("{}%", (share.get() * 1e8).round() / 1e6),
    }
}

fn commit(run: &ComparedRun) -> Option<String> {
    let git = run.provenance.git.as_ref()?;
    let dirty = if git.dirty { ", with uncommitted changes" } else { "" };
    Some(format!("{}{dirty}", git.commit))
}

/// What the first engine that came up made of its configuration.
fn resolved(run: &ComparedRun) -> Option<&Resolved> {
    run.engines.iter().find_map(|engine| engine.resolved.as_ref())
}
