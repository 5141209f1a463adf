//! The shape of an experiment file: its tables and keys, with the words that its schema shows for them.

use super::field::{Axis, Maybe, Need, Sub, table};
use super::kind::{
    BigCount, Choice, Count, EngineKind, Environment, InFlight, Length, Natural, Part, Positive, PositiveLength,
    Prompt, SchemaNumber, Seed, Spread, Text,
};
use super::slurm::SlurmTable;
use super::{ExperimentName, Gpus, On, Resolution, Strategy};
use crate::load::Load;
use crate::protocol::Layer;
use crate::sla::TokensPerSecond;

table! {
    /// An experiment of ceiling: how many prompts an engine sustains in flight, for every cell of a matrix.
    #[schemars(deny_unknown_fields)]
    FileTable {
        /// Number of the format that this file is written in: 1.
        #[expect(dead_code, reason = "it is read file by file, before the files are laid over each other")]
        schema: Need<SchemaNumber>,
        /// Name of the experiment, and of its directory under `results/`. A file that others extend needs none.
        name: Maybe<ExperimentName>,
        /// A sentence on the question that the experiment answers.
        description: Maybe<Text>,
        /// A file, relative to this one, whose tables are the defaults of this file's.
        #[expect(dead_code, reason = "it is read file by file, before the files are laid over each other")]
        extends: Maybe<Text>,
        /// The model.
        #[expect(dead_code, reason = "tables are read one by one")]
        model: Sub<ModelTable>,
        /// The engine. Besides `kind`, `layer`, `python` and `env`, every key goes to vLLM's AsyncEngineArgs.
        #[expect(dead_code, reason = "tables are read one by one")]
        engine: Sub<EngineTable>,
        /// What the requests are like. A list makes an axis.
        #[expect(dead_code, reason = "tables are read one by one")]
        workload: Sub<WorkloadTable>,
        /// The service-level agreement. A list makes an axis.
        #[expect(dead_code, reason = "tables are read one by one")]
        sla: Sub<SlaTable>,
        /// How the ceiling is looked for.
        #[expect(dead_code, reason = "tables are read one by one")]
        search: Sub<SearchTable>,
        /// Axes: dotted fields with the values that each takes. The cells are the product of all axes.
        #[expect(dead_code, reason = "tables are read one by one")]
        matrix: Sub<MatrixTable>,
        /// How the plan is carried out. Nothing here can change a number.
        #[expect(dead_code, reason = "tables are read one by one")]
        execution: Sub<ExecutionTable>,
    }
}

table! {
    /// The model.
    #[schemars(deny_unknown_fields)]
    ModelTable {
        /// Hugging Face id, or a directory relative to this file.
        id: Need<Text>,
        /// Hugging Face id, or a directory relative to this file; the model's own where it is not given.
        tokenizer: Maybe<Text>,
        /// Revision of the model on the hub: a branch, a tag or a commit.
        revision: Maybe<Text>,
    }
}

/// The engine, of either kind.
#[derive(Debug)]
pub(super) struct EngineTable;

table! {
    /// A real vLLM. Every key but these four goes to vLLM's AsyncEngineArgs by its Python name.
    VllmTable {
        /// What runs the requests.
        #[expect(dead_code, reason = "it is read beforehand, to tell the kinds apart")]
        kind: Need<Choice<EngineKind>>,
        /// Where the engine is driven.
        layer: Need<Choice<Layer>>,
        /// The Python of the environment that holds vLLM, relative to the directory in which ceiling runs.
        python: Need<Text>,
        /// Environment variables of the engine, beside the caller's.
        env: Need<Environment>,
    }
}

table! {
    /// The simulator: continuous batching in virtual time.
    #[schemars(deny_unknown_fields)]
    SimTable {
        /// What runs the requests.
        #[expect(dead_code, reason = "it is read beforehand, to tell the kinds apart")]
        kind: Need<Choice<EngineKind>>,
        /// Prompt tokens computed in a second.
        prefill_tokens_per_second: Need<Positive>,
        /// Time of one step, whatever the batch.
        decode_step: Need<Length>,
        /// Time of one step per running sequence.
        decode_step_per_sequence: Need<Length>,
        /// Time to take a request in, before the next step.
        request_time: Need<Length>,
        /// Most sequences in one step.
        max_num_seqs: Need<Count>,
        /// Token budget of one step, shared by prefill and decode.
        max_num_batched_tokens: Need<Count>,
        /// KV cache capacity in tokens.
        kv_cache_tokens: Need<BigCount>,
        /// Time to load, in virtual time.
        load_time: Need<Length>,
        /// Relative standard deviation of a step's time.
        step_noise: Need<Spread>,
        /// Relative standard deviation of a factor on all times, drawn once per probe.
        probe_drift: Need<Spread>,
        /// Share of requests that the engine fails.
        error_rate: Need<Part>,
        /// Share of probes in which one step, at random, takes `stall` longer.
        stall_rate: Need<Part>,
        /// How much longer a stalled step takes.
        stall: Need<Length>,
    }
}

table! {
    /// What the requests are like. A list makes an axis.
    #[schemars(deny_unknown_fields)]
    WorkloadTable {
        /// Prompt tokens of each request.
        input_tokens: Need<Axis<Count>>,
        /// Output tokens of a request that runs to its end.
        output_tokens: Need<Axis<Count>>,
        /// How requests arrive.
        load: Need<Axis<Choice<Load>>>,
        /// How long a burst keeps a request past its first token; for a sustained load, the least time of the window.
        hold: Need<Axis<Length>>,
        /// Where the prompts' tokens come from.
        prompt: Need<Axis<Prompt>>,
        /// Tokens that all prompts begin with, for studies of the prefix cache, which has them from the beginning; below `input_tokens`,
        /// and 0 for the simulator, which has no such cache.
        shared_prefix: Need<Axis<Natural>>,
        /// Seed of the prompts, and of the simulator.
        seed: Need<Axis<Seed>>,
    }
}

table! {
    /// The service-level agreement: a request is ok where every limit holds. A list makes an axis.
    #[schemars(deny_unknown_fields)]
    SlaTable {
        /// Least share of requests that are ok: 0.99 or "99%".
        ok_rate: Need<Axis<Part>>,
        /// Longest time from submission to the first token.
        ttft: Need<Axis<PositiveLength>>,
        /// Longest time per output token after the first, as the mean over the request.
        tpot: Maybe<Axis<PositiveLength>>,
        /// Longest time from submission to the last token. Requests then run to their end, whatever `hold` says.
        e2e: Maybe<Axis<PositiveLength>>,
        /// Least output tokens per second of one request after its first token.
        min_tokens_per_second: Maybe<Axis<TokensPerSecond>>,
    }
}

table! {
    /// How the ceiling is looked for.
    #[schemars(deny_unknown_fields)]
    SearchTable {
        /// The highest concurrency to try.
        max_concurrency: Need<InFlight>,
        /// The first concurrency to try.
        start_concurrency: Need<Count>,
        /// How narrow the bracket must be: in requests (1 is exact), or relative as "2%".
        resolution: Need<Resolution>,
        /// How sure a published bracket must be, as a probability.
        confidence: Need<Part>,
        /// How the next level is chosen.
        strategy: Need<Choice<Strategy>>,
        /// Engine time of one ladder after which it begins no other probe.
        budget: Need<PositiveLength>,
    }
}

table! {
    /// How the plan is carried out. Nothing here can change a number.
    #[schemars(deny_unknown_fields)]
    ExecutionTable {
        /// The GPUs to use: "all" that the caller leaves, "none" on a CPU, or indices.
        gpus: Need<Gpus>,
        /// Engine groups side by side where no GPU is used.
        slots: Need<Count>,
        /// Longest time that an engine may take to load.
        engine_timeout: Need<PositiveLength>,
        /// Longest time without a word from the engine in a probe.
        probe_timeout: Need<PositiveLength>,
        /// Longest time that a ladder's cells may take together, per cell.
        cell_timeout: Need<PositiveLength>,
        /// How often a failed engine group is tried again.
        retries: Need<Natural>,
        /// The machines to use.
        on: Need<Choice<On>>,
        /// What to ask of Slurm, where it is used.
        #[expect(dead_code, reason = "tables are read one by one")]
        slurm: Sub<SlurmTable>,
    }
}

/// Axes, exclusions and inclusions.
#[derive(Debug)]
pub(super) struct MatrixTable;
