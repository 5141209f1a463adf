//! From the tables of a file to legal values, each with the digest of what it means.

use serde_json::{Map, Value as Json, json};

use super::axes::Section;
use super::error::{Fault, Found, Sources, Span};
use super::field::{Key as _, Need, Scope};
use super::file::{EngineTable, ExecutionTable, ModelTable, SearchTable, SimTable, SlaTable, VllmTable, WorkloadTable};
use super::kind::{Choice, EngineKind, Prompt, Whole};
use super::locate::{Located, Locator};
use super::read::Files;
use super::slurm::SlurmTable;
use super::tree::{Table, Value};
use super::{Engine, Execution, SearchSettings, VllmEngine, Workload};
use crate::key::Key;
use crate::load::Hold;
use crate::protocol::{EngineSpec, PromptSource};
use crate::secret;
use crate::sim::SimEngine;
use crate::sla::Sla;
use crate::units::Concurrency;

/// A legal value, the digest of its meaning, and what must be compared with other sections.
#[derive(Clone, Debug)]
pub(super) struct Resolved<T> {
    pub value: T,
    pub key: Key,
    /// Digest of the files that it names, wherever they lie; of ids on the hub, where it names those.
    pub files: Option<Key>,
    /// Tokens of a request that it asks for (a workload) or allows (an engine).
    pub tokens: Option<Tokens>,
    /// Where it limits what follows the first token (an SLA).
    pub limit_at: Option<Span>,
    /// Where it has its prompts share a prefix (a workload).
    pub prefix_at: Option<Span>,
}

impl<T> Resolved<T> {
    /// One that names no files, and that no other section need be compared with.
    fn new(value: T, key: Key) -> Self {
        Self { value, key, files: None, tokens: None, limit_at: None, prefix_at: None }
    }
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens {
    pub count: u64,
    /// What says so, as it is called in messages, and where.
    pub said_by: &'static str,
    pub at: Span,
}

/// A part of an experiment that is read from its tables.
pub(super) trait FromTables: Sized {
    /// Which part.
    const SECTION: Section;

    fn from_tables(resolver: &mut Resolver<'_>, root: &Table, found: &mut Found) -> Option<Resolved<Self>>;
}

impl FromTables for Engine {
    const SECTION: Section = Section::Engine;

    fn from_tables(resolver: &mut Resolver<'_>, root: &Table, found: &mut Found) -> Option<Resolved<Self>> {
        resolver.engine(root, found)
    }
}

impl FromTables for Workload {
    const SECTION: Section = Section::Workload;

    fn from_tables(resolver: &mut Resolver<'_>, root: &Table, found: &mut Found) -> Option<Resolved<Self>> {
        resolver.workload(root, found)
    }
}

impl FromTables for SearchSettings {
    const SECTION: Section = Section::Search;

    fn from_tables(resolver: &mut Resolver<'_>, root: &Table, found: &mut Found) -> Option<Resolved<Self>> {
        resolver.search(root, found)
    }
}

impl FromTables for Sla {
    const SECTION: Section = Section::Sla;

    fn from_tables(resolver: &mut Resolver<'_>, root: &Table, found: &mut Found) -> Option<Resolved<Self>> {
        resolver.sla(root, found)
    }
}

/// Turns tables into legal values.
pub(super) struct Resolver<'a> {
    pub defaults: &'a Table,
    /// Where to point at for a table that is missing.
    pub home: Span,
    locator: Locator<'a>,
}

impl<'a> Resolver<'a> {
    pub fn new(sources: &'a Sources, files: &'a dyn Files, defaults: &'a Table, home: Span) -> Self {
        Self { defaults, home, locator: Locator::new(sources, files) }
    }

    /// The table of that name within `root`, with the defaults of `defaults`.
    fn scope<'s>(&'s self, root: &'s Table, name: &'s str, defaults: &str) -> Scope<'s> {
        let entry = root.entry(name);
        let defaults = self.defaults.get(defaults).and_then(|node| node.as_table());
        let at = entry.map_or(self.home, |entry| entry.key_at);
        let table = entry.and_then(|entry| entry.node.as_table());
        Scope { table, name, at, defaults, is_broken: entry.is_some() && table.is_none() }
    }

    fn engine(&mut self, root: &Table, found: &mut Found) -> Option<Resolved<Engine>> {
        let scope = self.scope(root, "engine", "engine");
        let kind = Need::<Choice<EngineKind>>::read(scope, "kind", found).take()?;
        match kind {
            Choice(EngineKind::Vllm) => self.vllm(root, found),
            Choice(EngineKind::Sim) => self.sim(root, found),
        }
    }

    fn vllm(&mut self, root: &Table, found: &mut Found) -> Option<Resolved<Engine>> {
        let scope = self.scope(root, "engine", "vllm");
        let table = VllmTable::read(Scope { defaults: self.with_kind("vllm").as_ref(), ..scope }, found);
        let args = scope.table.map_or(Some(Map::new()), |table| engine_args(table, found));
        let said_by = "max_model_len";
        let tokens = scope.table.and_then(|table| match table.get(said_by)?.value {
            Value::Integer(count) => {
                Some(Tokens { count: u64::try_from(count).ok()?, said_by, at: table.get(said_by)?.at })
            }
            _ => None,
        });
        let model = self.model(root, found);
        let layer = table.layer.take();
        let python = table.python.take();
        let env = table.env.take();
        let (model, args, Choice(layer), python, env) = (model?, args?, layer?, python?, env?);
        let tokenizer = model.tokenizer.as_ref().map(|tokenizer| &tokenizer.identity);
        let files = Key::of(&json!({ "model": model.id.identity, "tokenizer": tokenizer }));
        // Another token of the same person is the same engine.
        let mut asked = secret::hide(json!({ "env": env.0, "spec": { "args": args } }));
        let key = Key::of(&json!({
            "kind": "vllm", "layer": layer, "python": python.0, "env": asked["env"].take(),
            "args": asked["spec"]["args"].take(), "model": model.id.identity, "revision": model.revision,
            "tokenizer": tokenizer,
        }));
        let spec = EngineSpec {
            layer,
            model: model.id.reach,
            tokenizer: model.tokenizer.map(|tokenizer| tokenizer.reach),
            revision: model.revision,
            args,
        };
        let engine = VllmEngine { python: python.0.into(), env: env.0, spec };
        Some(Resolved { files: Some(files), tokens, ..Resolved::new(Engine::Vllm(engine), key) })
    }

    fn sim(&mut self, root: &Table, found: &mut Found) -> Option<Resolved<Engine>> {
        let scope = self.scope(root, "engine", "sim");
        scope.refuse_unknown(SimTable::KEYS, found);
        let table = SimTable::read(Scope { defaults: self.with_kind("sim").as_ref(), ..scope }, found);
        let engine = sim_engine(table)?;
        let key = Key::of(&json!({ "kind": "sim", "engine": engine }));
        let said_by = "kv_cache_tokens";
        let at = scope.table.and_then(|table| table.get(said_by)).map_or(scope.at, |node| node.at);
        let tokens = Some(Tokens { count: engine.kv_cache_tokens, said_by, at });
        Some(Resolved { tokens, ..Resolved::new(Engine::Sim(engine), key) })
    }

    /// The defaults of one kind of engine, the kind included.
    fn with_kind(&self, kind: &str) -> Option<Table> {
        let mut defaults = self.defaults.get(kind)?.as_table()?.clone();
        if let Some(entry) = self.defaults.get("engine")?.as_table()?.entry("kind") {
            defaults.push(entry.clone());
        }
        Some(defaults)
    }

    fn model(&mut self, root: &Table, found: &mut Found) -> Option<Model> {
        let scope = self.scope(root, "model", "model");
        scope.refuse_unknown(ModelTable::KEYS, found);
        let table = ModelTable::read(scope, found);
        let id = table.id.given().map(|id| self.locator.model(id.at, &id.value.0, found));
        let tokenizer = table.tokenizer.given().map(|id| self.locator.model(id.at, &id.value.0, found));
        let tokenizer = match tokenizer {
            None => None,
            Some(located) => Some(located?),
        };
        Some(Model { id: id??, tokenizer, revision: table.revision.take().map(|revision| revision.0) })
    }

    fn workload(&mut self, root: &Table, found: &mut Found) -> Option<Resolved<Workload>> {
        let scope = self.scope(root, "workload", "workload");
        scope.refuse_unknown(WorkloadTable::KEYS, found);
        let table = WorkloadTable::read(scope, found);
        if let Some(fault) = prefix_too_long(&table) {
            found.push(fault);
            return None;
        }
        let prompt = table.prompt.take().and_then(|prompt| self.prompt(prompt.0, found));
        let at = table.input_tokens.given().map(|input| input.at);
        let prefix_at = table.shared_prefix.given().filter(|prefix| prefix.value.0.0 > 0).map(|prefix| prefix.at);
        let (input, output) = (table.input_tokens.take()?.0.0, table.output_tokens.take()?.0.0);
        let (source, prompt_identity) = prompt?;
        let workload = Workload {
            input_tokens: input,
            output_tokens: output,
            load: table.load.take()?.0.0,
            hold: Hold::For(table.hold.take()?.0.0),
            prompt: source,
            shared_prefix: table.shared_prefix.take()?.0.0,
            seed: table.seed.take()?.0.0,
        };
        let key = Key::of(&json!({
            "input_tokens": workload.input_tokens, "output_tokens": workload.output_tokens, "load": workload.load,
            "hold": workload.hold, "prompt": prompt_identity, "shared_prefix": workload.shared_prefix,
            "seed": workload.seed,
        }));
        let tokens = at.map(|at| Tokens {
            count: u64::from(input) + u64::from(output),
            said_by: "`input_tokens` + `output_tokens`",
            at,
        });
        let files = (workload.prompt != PromptSource::Random).then(|| Key::of(&prompt_identity));
        Some(Resolved { files, tokens, prefix_at, ..Resolved::new(workload, key) })
    }

    fn prompt(&mut self, prompt: Prompt, found: &mut Found) -> Option<(PromptSource, Json)> {
        Some(match prompt {
            Prompt::Random => (PromptSource::Random, Json::from("random")),
            Prompt::Corpus(glob) => {
                let texts = self.locator.texts(&glob, found)?;
                (PromptSource::Corpus(texts.reach), json!({ "corpus": texts.identity }))
            }
            Prompt::Characters(glob) => {
                let texts = self.locator.texts(&glob, found)?;
                (PromptSource::Characters(texts.reach), json!({ "characters": texts.identity }))
            }
        })
    }

    fn sla(&mut self, root: &Table, found: &mut Found) -> Option<Resolved<Sla>> {
        let scope = self.scope(root, "sla", "sla");
        scope.refuse_unknown(SlaTable::KEYS, found);
        let table = SlaTable::read(scope, found);
        if let Some(rate) = table.ok_rate.given().filter(|rate| rate.value.0.0.get() == 0.0) {
            found.push(Fault::new(rate.at, "an ok rate of 0 passes whatever happens", "expected more than 0"));
            return None;
        }
        let tpot_at = table.tpot.given().map(|limit| limit.at);
        let limit_at = tpot_at.or(table.min_tokens_per_second.given().map(|limit| limit.at));
        let (ok_rate, ttft) = (table.ok_rate.take()?.0.0, table.ttft.take()?.0.0);
        let sla = Sla {
            ok_rate,
            ttft,
            tpot: table.tpot.take().map(|limit| limit.0.0),
            e2e: table.e2e.take().map(|limit| limit.0.0),
            min_tokens_per_second: table.min_tokens_per_second.take().map(|limit| limit.0),
        };
        Some(Resolved { limit_at, ..Resolved::new(sla, Key::of(&json!(sla))) })
    }

    fn search(&mut self, root: &Table, found: &mut Found) -> Option<Resolved<SearchSettings>> {
        let scope = self.scope(root, "search", "search");
        scope.refuse_unknown(SearchTable::KEYS, found);
        let table = SearchTable::read(scope, found);
        let before = found.count();
        start_above_most(&table).into_iter().chain(impossible_confidence(&table)).for_each(|fault| found.push(fault));
        if found.count() > before {
            return None;
        }
        let settings = SearchSettings {
            max_concurrency: Concurrency::new(table.max_concurrency.take()?.0)?,
            start_concurrency: Concurrency::new(table.start_concurrency.take()?.0)?,
            resolution: table.resolution.take()?,
            confidence: table.confidence.take()?.0,
            strategy: table.strategy.take()?.0,
            budget: table.budget.take()?.0,
        };
        Some(Resolved::new(settings, Key::of(&json!(settings))))
    }

    pub fn execution(&self, root: &Table, found: &mut Found) -> Option<Execution> {
        let scope = self.scope(root, "execution", "execution");
        scope.refuse_unknown(ExecutionTable::KEYS, found);
        let table = ExecutionTable::read(scope, found);
        let nothing = Table::default();
        let slurm = Scope { name: "execution.slurm", ..self.scope(scope.table.unwrap_or(&nothing), "slurm", "slurm") };
        slurm.refuse_unknown(SlurmTable::KEYS, found);
        let slurm = SlurmTable::read(slurm, found).settings();
        Some(Execution {
            gpus: table.gpus.take()?,
            slots: table.slots.take()?.0,
            engine_timeout: table.engine_timeout.take()?.0,
            probe_timeout: table.probe_timeout.take()?.0,
            cell_timeout: table.cell_timeout.take()?.0,
            retries: table.retries.take()?.0,
            on: table.on.take()?.0,
            slurm: slurm?,
        })
    }
}

struct Model {
    id: Located<String>,
    tokenizer: Option<Located<String>>,
    revision: Option<String>,
}

fn sim_engine(table: SimTable) -> Option<SimEngine> {
    let Whole(max_num_seqs) = table.max_num_seqs.take()?;
    Some(SimEngine {
        prefill_tokens_per_second: table.prefill_tokens_per_second.take()?.0,
        decode_step: table.decode_step.take()?.0,
        decode_step_per_sequence: table.decode_step_per_sequence.take()?.0,
        request_time: table.request_time.take()?.0,
        max_num_seqs,
        max_num_batched_tokens: table.max_num_batched_tokens.take()?.0,
        kv_cache_tokens: table.kv_cache_tokens.take()?.0,
        load_time: table.load_time.take()?.0,
        step_noise: table.step_noise.take()?.0,
        probe_drift: table.probe_drift.take()?.0,
        error_rate: table.error_rate.take()?.0,
        stall_rate: table.stall_rate.take()?.0,
        stall: table.stall.take()?.0,
    })
}

impl EngineTable {
    /// Arguments of vLLM that belong to [model].
    const IN_MODEL: [(&'static str, &'static str); 3] =
        [("model", "id"), ("tokenizer", "tokenizer"), ("revision", "revision")];
}

/// What goes to vLLM: every key but our own four.
fn engine_args(table: &Table, found: &mut Found) -> Option<Map<String, Json>> {
    let entries = table.iter().filter(|entry| !VllmTable::KEYS.contains(&&*entry.key));
    let args: Vec<_> = entries
        .map(|entry| {
            let elsewhere = EngineTable::IN_MODEL.iter().find(|(arg, _)| *arg == entry.key);
            if let Some((arg, key)) = elsewhere {
                found.push(Fault::new(
                    entry.key_at,
                    format!("`{arg}` does not belong in [engine]"),
                    format!("write it as `{key}` in [model]"),
                ));
                return None;
            }
            if entry.key.contains('-') {
                let label = format!("did you mean `{}`?", entry.key.replace('-', "_"));
                let message = format!("`{}` is not the Python name of an engine argument", entry.key);
                found.push(Fault::new(entry.key_at, message, label));
                return None;
            }
            Some((entry.key.clone(), entry.node.to_json(found)?))
        })
        .collect();
    args.into_iter().collect()
}

/// Nothing is left to tell the prompts apart.
fn prefix_too_long(table: &WorkloadTable) -> Option<Fault> {
    let (prefix, input) = (table.shared_prefix.given()?, table.input_tokens.given()?);
    let (prefix_tokens, input_tokens) = (prefix.value.0.0, input.value.0.0);
    let message = "the shared prefix leaves no tokens that differ: `shared_prefix` must be below `input_tokens`";
    (prefix_tokens >= input_tokens).then(|| {
        Fault::new(prefix.at, message, format!("{prefix_tokens} tokens"))
            .related(input.at, format!("of {input_tokens}"))
    })
}

fn start_above_most(table: &SearchTable) -> Option<Fault> {
    let (start, most) = (table.start_concurrency.given()?, table.max_concurrency.given()?);
    (start.value.0 > most.value.0).then(|| {
        Fault::new(start.at, "`start_concurrency` is above `max_concurrency`", "this is where the search starts")
            .related(most.at, "this is as far as it goes")
    })
}

fn impossible_confidence(table: &SearchTable) -> Option<Fault> {
    let confidence = table.confidence.given()?;
    let label = "expected a probability above 0 and below 1, such as 0.95";
    let possible = confidence.value.0.get() > 0.0 && confidence.value.0.get() < 1.0;
    (!possible).then(|| Fault::new(confidence.at, "no measurement is that sure, or that unsure", label))
}
