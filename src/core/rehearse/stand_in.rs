//! A simulated engine in the place of real ones.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::experiment::Engine;
use crate::plan::Plan;
use crate::sim::SimEngine;

/// A plan without real engines, and what was lost on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct StandIn {
    /// The plan.
    pub plan: Plan,
    /// Settings of real engines that the simulator knows nothing of, as dotted fields: axes in the order of the file, and the size of a
    /// KV cache that is given in blocks of unknown size.
    pub unheeded: Vec<String>,
    /// Whether prompts share a prefix, which a real engine would take from its cache, and the simulator computes.
    pub shares_prefix: bool,
}

/// An argument of a real engine is none that an engine could have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "engine `{engine}`: `{argument}` is {value}; expected a whole number from 1 to {most}: correct it in the experiment"
)]
pub struct NoLimit {
    /// Label of the engine group.
    pub engine: String,
    /// The argument.
    pub argument: &'static str,
    /// What it is, as JSON.
    pub value: String,
    /// The most that it could be.
    pub most: u32,
}

/// The plan with every real engine replaced by this one, which takes over the limits that the real one is given and the simulator knows:
/// `max_num_seqs`, `max_num_batched_tokens`, and the KV cache where both `num_gpu_blocks_override` and `block_size` are given.
///
/// # Errors
/// Where such a limit is none.
pub fn stand_in(plan: &Plan, engine: SimEngine) -> Result<StandIn, NoLimit> {
    let mut stand_in = StandIn { plan: plan.clone(), unheeded: Vec::new(), shares_prefix: false };
    let args = |group: usize| match plan.groups[group].engine.as_ref() {
        Engine::Vllm(real) => Some(&real.spec.args),
        Engine::Sim(_) => None,
    };
    for (index, group) in stand_in.plan.groups.iter_mut().enumerate() {
        if let Some(args) = args(index) {
            group.engine = Arc::new(Engine::Sim(limited(engine, &group.label, args)?));
        }
    }
    for cell in &plan.cells {
        let ladder = &plan.ladders[cell.ladder];
        let Some(args) = args(ladder.group) else { continue };
        stand_in.shares_prefix |= ladder.workload.shared_prefix > 0;
        let mut note = |field: &str| {
            if !is_heeded(field, args) && !stand_in.unheeded.iter().any(|known| known == field) {
                stand_in.unheeded.push(field.to_owned());
            }
        };
        cell.axes.iter().for_each(|(field, _)| note(field));
        if args.contains_key(BLOCKS) {
            note("engine.num_gpu_blocks_override");
        }
    }
    Ok(stand_in)
}

const BLOCKS: &str = "num_gpu_blocks_override";
const BLOCK_SIZE: &str = "block_size";

/// Whether the stand-in heeds what a field says of a real engine with these arguments, or it says nothing of one.
fn is_heeded(field: &str, args: &Map<String, Value>) -> bool {
    let Some((section, key)) = field.split_once('.') else { return true };
    match (section, key) {
        ("engine", "kind" | "max_num_seqs" | "max_num_batched_tokens") => true,
        ("engine", BLOCKS | BLOCK_SIZE) => args.contains_key(BLOCKS) && args.contains_key(BLOCK_SIZE),
        _ => section != "engine" && section != "model",
    }
}

/// The engine under the limits of these arguments.
fn limited(engine: SimEngine, label: &str, args: &Map<String, Value>) -> Result<SimEngine, NoLimit> {
    let limit = |argument: &'static str| match args.get(argument) {
        None => Ok(None),
        Some(value) => match value.as_u64().and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0) {
            Some(limit) => Ok(Some(limit)),
            None => Err(NoLimit { engine: label.to_owned(), argument, value: value.to_string(), most: u32::MAX }),
        },
    };
    let cache = limit(BLOCKS)?.zip(limit(BLOCK_SIZE)?).map(|(blocks, size)| u64::from(blocks) * u64::from(size));
    Ok(SimEngine {
        max_num_seqs: limit("max_num_seqs")?.unwrap_or(engine.max_num_seqs),
        max_num_batched_tokens: limit("max_num_batched_tokens")?.unwrap_or(engine.max_num_batched_tokens),
        kv_cache_tokens: cache.unwrap_or(engine.kv_cache_tokens),
        ..engine
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::testing::{complete, read_text};
    use crate::plan::plan;

    fn stood_in(lines: &str) -> Result<StandIn, NoLimit> {
        stand_in(&plan(&[read_text(&complete(lines)).unwrap()]), SimEngine::unlimited(10_000.0))
    }

    /// The engines of a plan, all of them simulated.
    fn engines(plan: &Plan) -> Vec<SimEngine> {
        let engine = |engine: &Engine| match engine {
            Engine::Sim(engine) => *engine,
            Engine::Vllm(_) => panic!("a real engine is left"),
        };
        plan.groups.iter().map(|group| engine(&group.engine)).collect()
    }

    #[test]
    fn a_stand_in_has_the_limits_that_the_simulator_knows() {
        let found = stood_in(
            "engine.block_size = 16\n[matrix]\nengine = [{ max_num_seqs = 8, max_num_batched_tokens = 512, num_gpu_blocks_override = 100 }, {}]",
        );
        let found = found.unwrap();
        let plain = SimEngine::unlimited(10_000.0);
        let limited = SimEngine { max_num_seqs: 8, max_num_batched_tokens: 512, kv_cache_tokens: 1600, ..plain };
        let mut engines = engines(&found.plan);
        engines.sort_by_key(|engine| engine.max_num_seqs);
        assert_eq!(engines, [limited, plain]);
        assert_eq!(found.unheeded, Vec::<String>::new());
    }

    #[test]
    fn what_it_does_not_heed_is_named_once() {
        let found = stood_in(
            "workload.shared_prefix = 64\n[matrix]\n\"engine.dtype\" = [\"float16\", \"float32\"]\n\
             \"engine.max_num_batched_tokens\" = [512, 1024]\n\"engine.block_size\" = [16, 32]\n\"model.revision\" = [\"a\", \"b\"]\n\
             \"workload.output_tokens\" = [2, 3]",
        );
        let found = found.unwrap();
        assert_eq!(found.unheeded, ["engine.dtype", "engine.block_size", "model.revision"]);
        assert!(found.shares_prefix);
        // Blocks of unknown size, be they an axis or not.
        let found = stood_in("engine.num_gpu_blocks_override = 100").unwrap();
        assert_eq!(found.unheeded, ["engine.num_gpu_blocks_override"]);
        assert_eq!(engines(&found.plan)[0].kv_cache_tokens, u64::from(u32::MAX));
        assert!(!found.shares_prefix);
    }

    #[test]
    fn a_limit_that_is_none_is_refused() {
        for (argument, value) in [("max_num_seqs", "0"), ("max_num_batched_tokens", "\"8k\""), ("block_size", "-16")] {
            let lines = format!("engine.num_gpu_blocks_override = 1\nengine.{argument} = {value}");
            let refused = stood_in(&lines).unwrap_err();
            assert_eq!((refused.argument, refused.value.as_str()), (argument, value));
        }
        assert!(stood_in("engine.max_num_seqs = 4294967296").unwrap_err().to_string().contains("from 1 to 4294967295"));
    }
}
