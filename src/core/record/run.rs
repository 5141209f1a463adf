//! What is published of one experiment's run: `run.json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::attribution::{Answered, Limit, LimitedBy};
use crate::audit::Audit;
use crate::experiment::{SearchSettings, Workload};
use crate::load::Load;
use crate::metric::{Metric, Quantiles};
use crate::plan::Key;
use crate::protocol::{HarnessSeen, Measured, Resolved, SchedulerSeen};
use crate::request::RequestEnd;
use crate::search::{Status, Undecided};
use crate::sla::{Sla, Tally};
use crate::telemetry::Telemetry;
use crate::units::{Concurrency, Seconds, Share};
use crate::watch::Until;

use super::{Brief, Failure, Probe, Provenance};

/// The schema of `run.json` that this version writes, and the only one that it reads.
pub const RUN_SCHEMA: u32 = 2;

/// Everything published of one experiment's run; read with as much of its probes (`P`) as the reader needs, since they are
/// nearly all of it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "Run")]
pub struct Run<P = ProbeRecord> {
    /// [`RUN_SCHEMA`].
    pub schema: u32,
    /// UTC time and short commit.
    pub run_id: String,
    /// How far it came.
    pub status: RunStatus,
    /// Cells of the experiment that it leaves out, since `--only` did not match them; absent where a version wrote it that did not
    /// count them.
    #[serde(default)]
    pub left_out: usize,
    /// Whether every number comes from the simulator.
    pub simulated: bool,
    /// When it was started, UTC, in RFC 3339.
    pub started: String,
    /// When it ended; absent while it goes on.
    pub finished: Option<String>,
    /// What was asked.
    pub experiment: ExperimentRecord,
    /// Where the result comes from.
    pub provenance: Provenance,
    /// Its cells in brief: whoever lists runs reads no further.
    pub brief: Brief,
    /// Its engine groups, in the order they were carried out.
    pub engines: Vec<EngineRecord>,
    /// Its ladders, in the order they were carried out.
    pub ladders: Vec<LadderRecord<P>>,
    /// Its cells, in the order of the experiment.
    pub cells: Vec<CellRecord>,
}

impl Run {
    /// Whether every cell of it is answered; those that it leaves out are none of it.
    pub fn is_answered(&self) -> bool {
        self.cells.iter().all(CellRecord::is_answered)
    }

    /// Whether an engine was allowed to run code that came with its model.
    pub fn trusts_remote_code(&self) -> bool {
        self.engines.iter().any(|engine| engine.args["spec"]["args"]["trust_remote_code"] == true)
    }
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// Every cell of the experiment is answered.
    Complete,
    /// Some cells are not: still running, failed, or left out.
    Partial,
    /// It was stopped from outside; it can be resumed.
    Interrupted,
}

impl std::fmt::Display for RunStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Interrupted => "interrupted",
        })
    }
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ExperimentRecord {
    /// Name of the experiment.
    pub name: String,
    /// The question it answers.
    pub description: String,
    /// Digest of its resolved meaning.
    pub digest: Key,
    /// The file, as it was named.
    pub source: String,
}

/// One engine configuration and how it came up.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct EngineRecord {
    /// Digest of the configuration.
    pub key: Key,
    /// Its short name in this run.
    pub label: String,
    /// Digest of the model and the tokenizer that it names, wherever they lie; absent where it names none, and in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Key>,
    /// The configuration, as the experiment gives it.
    pub args: Value,
    /// What the engine made of it.
    pub resolved: Option<Resolved>,
    /// Time of the last load that succeeded.
    pub load_seconds: Option<Seconds>,
    /// Loads that succeeded.
    pub loads: u32,
    /// Why attempts failed, in order.
    pub failures: Vec<Failure>,
}

/// One series of probes.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "LadderRecord")]
pub struct LadderRecord<P = ProbeRecord> {
    /// Its short name in this run.
    pub id: String,
    /// Digest of engine, workload and search settings.
    pub key: Key,
    /// Label of the engine group.
    pub engine: String,
    /// Digest of the texts that its prompts are made of, wherever they lie; absent where they are made up, and in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<Key>,
    /// What the requests are like.
    pub workload: Workload,
    /// How the ceilings were looked for.
    pub search: SearchSettings,
    /// The SLAs it answers; the tallies of its probes are in this order.
    pub slas: Vec<Sla>,
    /// Its probes, in order.
    pub probes: Vec<P>,
    /// Engine time of all of them.
    pub engine_s: Seconds,
    /// Engine time over the least that could prove the answers: see [`certificate_seconds`].
    ///
    /// [`certificate_seconds`]: crate::search::certificate_seconds
    pub certificate_ratio: Option<f64>,
}

/// One level of load, measured once.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// Number in its ladder, from 0.
    pub number: u32,
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// What it was measured for: it may have been stopped once that was known.
    pub until: Until,
    /// Engine time, from the first submission until the engine was idle again.
    pub seconds: Seconds,
    /// When the load ended, since the first submission; absent where it was measured by a version that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ended_s: Option<Seconds>,
    /// Judged requests.
    pub requests: u32,
    /// Requests per SLA of the ladder.
    #[serde(with = "super::tallies")]
    #[schemars(with = "super::tallies::Columns")]
    pub slas: Vec<Tally>,
    /// Whether it measured the engine.
    pub audit: Audit,
    /// Whether it is evidence; false for one that was void, or repeated because the harness was late.
    pub counts: bool,
    /// What bound the engine, or came nearest to it, under each SLA; published with the cell it explains.
    #[serde(skip)]
    pub limits: Vec<Option<LimitedBy>>,
    /// How many requests the engine answered, and failed of those; absent where it failed none, and in runs of older versions.
    #[serde(default, with = "AnsweredColumns", skip_serializing_if = "failed_none")]
    #[schemars(with = "AnsweredColumns")]
    pub answered: Answered,
    /// Time to first token.
    pub ttft: Option<Quantiles>,
    /// The part of it before the request was first scheduled; absent where the engine did not say.
    pub queued: Option<Quantiles>,
    /// Time per output token after the first.
    pub tpot: Option<Quantiles>,
    /// Time to the last token, of those that finished.
    pub e2e: Option<Quantiles>,
    /// Output tokens of all requests in a second; absent where a judged request was not left to end as planned, since
    /// the rate of a probe that was stopped says nothing of the engine's.
    pub output_tokens_per_s: Option<f64>,
    /// Prompt tokens that the engine took from its prefix cache, over all judged requests; absent where it did not say.
    pub cached_tokens: Option<u64>,
    /// Prompt tokens of one request as the engine counted them; absent where it did not say, or where they differ.
    pub prompt_tokens: Option<u32>,
    /// Reasons of failed requests, most frequent first, at most three.
    pub errors: Vec<String>,
    /// What the engine's scheduler said of itself.
    pub scheduler: SchedulerSeen,
    /// What the harness saw of itself.
    pub harness: HarnessSeen,
    /// What GPUs and processes did meanwhile; absent where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
}

/// Requests that the engine answered, as they are published.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(remote = "Answered")]
#[schemars(rename = "Answered")]
struct AnsweredColumns {
    /// Requests that were given a first token, or failed.
    requests: u32,
    /// Those that the engine failed.
    errors: u32,
}

fn failed_none(answered: &Answered) -> bool {
    answered.errors == 0
}

impl ProbeRecord {
    /// Sums a probe up.
    pub fn new(probe: &Probe) -> Self {
        let measured = &probe.measured;
        let judged = || measured.requests.iter().filter(|request| request.judged);
        let cached: Vec<u64> = judged().filter_map(|request| request.cached_tokens.map(u64::from)).collect();
        let mut prompts: Vec<u32> = judged().filter_map(|request| request.prompt_tokens).collect();
        prompts.dedup();
        Self {
            number: probe.number,
            concurrency: probe.concurrency,
            until: probe.until.clone(),
            seconds: measured.seconds,
            load_ended_s: measured.load_ended_s,
            requests: u32::try_from(judged().count()).unwrap_or(u32::MAX),
            slas: probe.tallies.clone(),
            audit: probe.audit,
            counts: probe.counts,
            limits: probe.limits.clone(),
            answered: Answered::of(&measured.requests),
            ttft: Quantiles::of(Metric::Ttft, &measured.requests),
            queued: Quantiles::of(Metric::Queued, &measured.requests),
            tpot: Quantiles::of(Metric::Tpot, &measured.requests),
            e2e: Quantiles::of(Metric::E2e, &measured.requests),
            output_tokens_per_s: throughput(measured),
            cached_tokens: (!cached.is_empty()).then(|| cached.iter().sum()),
            prompt_tokens: (prompts.len() == 1).then(|| prompts[0]),
            errors: frequent_errors(measured, 3),
            scheduler: measured.scheduler,
            harness: measured.harness,
            telemetry: probe.telemetry.clone(),
        }
    }

    /// Whether it is evidence of its level under this load. One of first tokens alone is a burst: under a sustained load it is of another kind.
    pub fn is_evidence(&self, load: Load) -> bool {
        let is_of_its_load = match load {
            Load::Burst => true,
            Load::Sustained => self.until != Until::FirstTokens,
        };
        self.counts && is_of_its_load
    }
}

/// Output tokens in a second, of a probe that ran as planned.
fn throughput(measured: &Measured) -> Option<f64> {
    let was_stopped = measured.requests.iter().any(|request| request.judged && request.end == RequestEnd::Stopped);
    let rate = measured.output_tokens as f64 / measured.output_seconds.get();
    (!was_stopped && rate.is_finite()).then_some(rate)
}

/// The reasons of failed requests, most frequent first.
fn frequent_errors(measured: &Measured, most: usize) -> Vec<String> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for request in &measured.requests {
        if let RequestEnd::Failed { reason } = &request.end {
            *counts.entry(reason).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().take(most).map(|(reason, _)| reason.to_owned()).collect()
}

/// One cell: one row of the result.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct CellRecord {
    /// Its short name.
    pub id: String,
    /// Digest of all that can change its number.
    pub key: Key,
    /// Label of the engine group.
    pub engine: String,
    /// Id of the ladder.
    pub ladder: String,
    /// Its place on each axis.
    pub axes: Map<String, Value>,
    /// The SLA.
    pub sla: Sla,
    /// How the search ended; absent while it has not.
    pub status: Option<Status>,
    /// The ceiling, where it was found: the same as `highest_pass`.
    pub ceiling: Option<Concurrency>,
    /// The highest level known to pass.
    pub highest_pass: Option<Concurrency>,
    /// The lowest level known to fail.
    pub lowest_fail: Option<Concurrency>,
    /// Probability that the bracket holds the true ceiling; absent where it was not estimated.
    pub confidence: Option<Share>,
    /// What keeps the ceiling from being higher; absent where that is not known.
    pub limited_by: Option<Limit>,
    /// The figures that say so: of the newest failing probe at `lowest_fail`, or at the next level above it at which one failed; where
    /// none did, or that one failed by what the engine failed alone, and the engine failed too many requests for any level to pass, of all
    /// probes.
    pub limit: Option<LimitedBy>,
    /// Why it could not be measured.
    pub failure: Option<Failure>,
    /// Why the search ended undecided, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecided: Option<Undecided>,
    /// Why it was left for another time, where nothing else ended the run before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

impl CellRecord {
    /// Whether the search for its ceiling has come to an end.
    pub fn is_answered(&self) -> bool {
        !matches!(self.status, None | Some(Status::Failed))
    }
}
