//! What an experiment asks for, as values that are legal: whoever holds one need not check it again.

mod axes;
mod columns;
mod error;
mod expand;
#[cfg(test)]
mod faults;
mod field;
mod fields;
mod file;
mod grid;
mod kind;
mod locate;
mod overrides;
mod read;
mod resolve;
mod rules;
mod schema;
#[cfg(test)]
mod shipped;
mod slurm;
#[cfg(test)]
pub(crate) mod testing;
mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::{Hold, Load};
use crate::protocol::{EngineSpec, PromptSource};
use crate::sim::SimEngine;
use crate::units::{Concurrency, Seconds, Share};

pub use error::{Fault, Faults, Span};
pub use fields::Fields;
pub use grid::{AxisColumn, AxisTable, Distinct, Grid, Place, Point};
pub use overrides::Override;
pub use read::{Files, read};
pub use schema::experiment_schema;
pub use slurm::Slurm;

/// What one file asks for, in legal values.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Its name, and that of its directory under `results/`.
    pub name: ExperimentName,
    /// A sentence on what it asks; empty where the file says none.
    pub description: String,
    /// The file it came from, as it was named.
    pub source: String,
    /// How to carry it out.
    pub execution: Arc<Execution>,
    /// Its cells.
    pub grid: Grid,
    /// Where it says what.
    pub fields: Fields,
}

/// The name of an experiment: letters, digits, `.`, `_` and `-`, not beginning with a dot, at most 100 characters.
/// It is the name of a directory under `results/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExperimentName(String);

impl ExperimentName {
    /// `None` where the text could not safely be the name of a directory.
    pub fn new(text: &str) -> Option<Self> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = !text.is_empty() && text.len() <= 100 && !text.starts_with('.') && text.chars().all(legal);
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ExperimentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One engine configuration: what an engine load depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Engine {
    /// A real vLLM.
    Vllm(VllmEngine),
    /// The simulator.
    Sim(SimEngine),
}

/// A real vLLM: the environment it runs in and the arguments it gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VllmEngine {
    /// The Python of the environment that holds vLLM; relative to the directory where `ceiling` runs.
    pub python: PathBuf,
    /// Environment variables of the worker, beside the caller's.
    pub env: BTreeMap<String, String>,
    /// What to load.
    pub spec: EngineSpec,
}

/// What the requests are like.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Workload {
    /// Prompt tokens of each request, at least 1.
    pub input_tokens: u32,
    /// Output tokens of a request that runs to its end, at least 1.
    pub output_tokens: u32,
    /// How they arrive.
    pub load: Load,
    /// How long they stay.
    pub hold: Hold,
    /// Where their tokens come from.
    pub prompt: PromptSource,
    /// Tokens that all prompts begin with; below `input_tokens`.
    pub shared_prefix: u32,
    /// Seed of prompts, and of the simulator.
    pub seed: u64,
}

/// How the ceiling is looked for.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct SearchSettings {
    /// The highest concurrency to try.
    pub max_concurrency: Concurrency,
    /// The first concurrency to try; at most `max_concurrency`.
    pub start_concurrency: Concurrency,
    /// How narrow the bracket must be.
    #[schemars(schema_with = "recorded_resolution")]
    pub resolution: Resolution,
    /// How sure a published bracket must be, as a probability.
    pub confidence: Share,
    /// How the next level is chosen.
    pub strategy: Strategy,
    /// Engine time of one ladder after which it begins no other probe.
    pub budget: Seconds,
}

/// How narrow the bracket of a ceiling must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolution {
    /// At most this many requests wide, at least 1: `1` is exact.
    Requests(u32),
    /// At most this part of the ceiling wide, and never less than one request.
    Relative(Share),
}

/// A resolution as results hold it; a file writes it otherwise (`1`, `"5%"`).
fn recorded_resolution(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "How narrow the bracket had to be.",
        "oneOf": [
            { "type": "object", "required": ["requests"], "properties": { "requests": { "type": "integer" } } },
            { "type": "object", "required": ["relative"], "properties": { "relative": { "type": "number" } } },
        ],
    })
}

impl Resolution {
    /// The widest bracket `fail - pass` that is narrow enough at this pass, in requests.
    pub fn width_at(self, pass: u32) -> u32 {
        match self {
            Self::Requests(width) => width.max(1),
            Self::Relative(share) => ((share.get() * f64::from(pass)) as u32).max(1),
        }
    }
}

/// How the next level of a ladder is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// By the latencies seen so far, with a confidence from the spread between probes.
    Guided,
    /// Exponential ramp, then bisection, on single verdicts: the reference.
    Bisect,
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Guided => "guided",
            Self::Bisect => "bisect",
        })
    }
}

/// How the plan is carried out. Nothing here can change a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// The GPUs to use.
    pub gpus: Gpus,
    /// Groups side by side where no GPU is used, at least 1.
    pub slots: u32,
    /// Longest time that an engine may take to load.
    pub engine_timeout: Seconds,
    /// Longest time without a word from the engine in a probe.
    pub probe_timeout: Seconds,
    /// Longest time that a ladder's cells may take together, per cell.
    pub cell_timeout: Seconds,
    /// How often a failed engine group is tried again.
    pub retries: u32,
    /// On which machines.
    pub on: On,
    /// What to ask of Slurm, where it is carried out there.
    pub slurm: Slurm,
}

/// Where engine groups are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// On this machine.
    Local,
    /// On the nodes of a cluster, handed out by Slurm.
    Slurm,
}

/// The GPUs to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gpus {
    /// All that the caller's `CUDA_VISIBLE_DEVICES` leaves, or all there are.
    All,
    /// These, by index into what the caller's `CUDA_VISIBLE_DEVICES` leaves.
    These(Vec<u32>),
    /// None: the engine runs on the CPU.
    None,
}
