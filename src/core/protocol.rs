//! What the executor and a worker say to each other: one JSON value a line, over descriptors of their own.
//!
//! The executor asks (`Command`), the worker answers (`Event`). A probe is asked for in terms of load and measured in
//! terms of requests: no word of an SLA crosses this line.
//!
//! ```text
//! executor                     worker
//!                      <-      hello
//! load                 ->
//!                      <-      loaded | load-failed
//! probe                ->
//!                      <-      first, ended …            (as they happen)
//! stop                 ->                                (optional: nothing more to learn)
//!                      <-      measured | probe-refused | probe-failed
//! shutdown             ->                                (or end of file)
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::LoadPlan;
use crate::request::RequestRecord;
use crate::units::{Seconds, Share};

/// Changes whenever an older peer would misread a message. Both sides must say the same.
pub const VERSION: u32 = 5;

/// From the executor to the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Load the engine. Once, first.
    Load(EngineSpec),
    /// Let the engine's own code check and complete the configuration, without loading weights.
    Check(EngineSpec),
    /// Measure one level of load.
    Probe(ProbeAsk),
    /// End the running probe now: abort what is in flight and report.
    Stop,
    /// Shut the engine down and exit.
    Shutdown,
}

/// From the worker to the executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The worker is up.
    Hello(Hello),
    /// The engine answers requests.
    Loaded(Box<Resolved>),
    /// The engine's own code accepts the configuration.
    Checked(Box<Resolved>),
    /// The engine, or its configuration, failed.
    LoadFailed(EngineError),
    /// A judged request's first token came, `ttft_s` after its submission.
    First {
        /// The request.
        index: u32,
        /// Time from its submission.
        ttft_s: Seconds,
    },
    /// A request ended.
    Ended(RequestRecord),
    /// The window of a sustained load closed `at_s` after the probe began: this many requests are judged, all submitted by then.
    WindowClosed {
        /// Judged requests.
        judged: u32,
        /// Time since the probe began.
        at_s: Seconds,
    },
    /// The engine goes on with the probe, of which there is nothing to tell: requests of a sustained load may take minutes before the first
    /// is judged.
    Alive,
    /// The probe is over and the engine idle.
    Measured(Box<Measured>),
    /// The probe cannot be made: the engine was asked nothing, and answers others.
    ProbeRefused(EngineError),
    /// The probe could not be measured: the engine is gone.
    ProbeFailed(EngineError),
}

/// Who the worker is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the worker.
    pub protocol: u32,
    /// Version of the worker's package.
    pub worker: String,
    /// Version of the Python that runs it.
    pub python: String,
}

/// Why an engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// What kind of failure it was.
    pub kind: EngineErrorKind,
    /// The engine's own last words, on one line where it can be.
    pub message: String,
}

/// Kinds of engine failure, as far as they call for different remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineErrorKind {
    /// The Python environment has no vLLM, or one that lacks a name that is relied on.
    Environment,
    /// vLLM does not take the arguments, or cannot read the model.
    Arguments,
    /// The engine ran out of memory.
    OutOfMemory,
    /// The engine died, or anything else.
    Engine,
}

/// The engine to load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSpec {
    /// Where the engine is driven.
    pub layer: Layer,
    /// Hugging Face id or directory of the model.
    pub model: String,
    /// Hugging Face id or directory of the tokenizer, where it is not the model's.
    pub tokenizer: Option<String>,
    /// Revision of the model on the hub.
    pub revision: Option<String>,
    /// Further arguments, by the names of vLLM's `AsyncEngineArgs`.
    pub args: serde_json::Map<String, serde_json::Value>,
}

/// Where the engine is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// vLLM's EngineCore client: without the frontend.
    EngineCore,
    /// vLLM's AsyncLLM: with the frontend.
    AsyncLlm,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EngineCore => "engine-core",
            Self::AsyncLlm => "async-llm",
        })
    }
}

/// What the engine made of its configuration.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Resolved {
    /// Version of vLLM, or of the simulator.
    pub version: String,
    /// Versions of what it runs on (`torch`, `transformers`), by package name.
    pub packages: BTreeMap<String, String>,
    /// KV cache capacity in tokens.
    pub kv_cache_tokens: Option<u64>,
    /// Most sequences in one step.
    pub max_num_seqs: Option<u32>,
    /// Token budget of one step.
    pub max_num_batched_tokens: Option<u32>,
    /// Tokens in a KV cache block.
    pub block_size: Option<u32>,
    /// Longest context in tokens.
    pub max_model_len: Option<u32>,
    /// Number type of the weights.
    pub dtype: Option<String>,
    /// Names of the devices that the engine uses, as the engine's platform names them.
    pub devices: Vec<String>,
    /// Model name of the processor, where that is what the engine runs on: engines call every processor the same. Absent where it is not
    /// known, or where a version wrote it that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Commit hash of the model on the hub, where it came from there.
    pub model_commit: Option<String>,
    /// Time from the load command to an engine that answers.
    pub load_seconds: Option<Seconds>,
}

impl Resolved {
    /// Whether the engine runs on the processor, and on nothing else.
    pub fn is_on_the_processor(&self) -> bool {
        !self.devices.is_empty() && self.devices.iter().all(|name| name == "cpu")
    }
}

/// One level of load to measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeAsk {
    /// The load.
    pub load: LoadPlan,
    /// The prompts.
    pub prompts: PromptAsk,
    /// Output tokens of a request that runs to its end.
    pub output_tokens: u32,
    /// A probe that hears nothing from the engine for this long has failed.
    pub silence: Seconds,
}

/// Which prompts to send. Those of one (stream, probe) pair never come again in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptAsk {
    /// Where the tokens come from.
    pub source: PromptSource,
    /// Tokens of each prompt.
    pub input_tokens: u32,
    /// Tokens that all prompts begin with.
    pub shared_prefix: u32,
    /// Key of the generator: made from the experiment's seed and the ladder.
    pub stream: u64,
    /// Number of the probe in its ladder.
    pub probe: u32,
}

/// Where prompt tokens come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptSource {
    /// Drawn at random from the vocabulary without its special tokens.
    Random,
    /// Real text from these files, cut to the exact number of tokens.
    Corpus(Vec<PathBuf>),
    /// Real text from these files, four characters to a token.
    Characters(Vec<PathBuf>),
}

/// What was measured at one level of load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Every request, in order of submission.
    pub requests: Vec<RequestRecord>,
    /// Time from the first submission until the engine was idle again: what the probe cost, and how long a stall may have lasted. When the
    /// load ends, what is in flight is aborted and the step in progress is still carried out; what comes of it is not noted. The simulator
    /// is idle at the end of that step, vLLM when it says so on being asked, which is done every 50 ms at least.
    pub seconds: Seconds,
    /// When the load ended: what came until then was noted, and whoever had no first token by then had waited for that long. Absent in
    /// journals of versions that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ended_s: Option<Seconds>,
    /// Output tokens that reached the harness.
    pub output_tokens: u64,
    /// Time during which they did: from the first submission to the last output.
    pub output_seconds: Seconds,
    /// What the engine's scheduler said of itself.
    pub scheduler: SchedulerSeen,
    /// What the harness saw of itself.
    pub harness: HarnessSeen,
}

impl Measured {
    /// How long the load was on the engine, since the first submission; where that was not told, until the engine was idle.
    pub fn waited(&self) -> Seconds {
        self.load_ended_s.unwrap_or(self.seconds)
    }
}

/// What the engine's scheduler said of itself during a probe. Absent where it said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct SchedulerSeen {
    /// Most requests running at once.
    pub running_peak: Option<u32>,
    /// Most requests waiting at once.
    pub waiting_peak: Option<u32>,
    /// Highest use of the KV cache.
    pub kv_peak: Option<Share>,
    /// Engine steps seen.
    pub steps: u32,
    /// Preemptions of all requests.
    pub preemptions: u32,
}

/// What the harness saw of itself during a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct HarnessSeen {
    /// CPU time of the harness's own process per output token, in microseconds.
    pub cpu_us_per_token: Option<f64>,
    /// Longest delay between a request's due and its actual submission.
    pub submit_delay_s: Option<Seconds>,
    /// Longest time between an output leaving the engine and its being stamped.
    pub lag_s: Option<Seconds>,
}
