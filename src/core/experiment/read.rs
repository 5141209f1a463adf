//! Reads experiment files: what they extend, what the command line overrides, and every fault in one go.
//!
//! ```text
//! file, and what it extends -> one tree -> --set -> axes -> cells with legal values
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Experiment;
use super::axes::{self, CommandLine, Setting};
use super::error::{Fault, Faults, Found, Sources, Span};
use super::expand;
use super::field::{Key as _, Maybe, Need, Scope};
use super::fields::Fields;
use super::file::FileTable;
use super::kind::{SchemaNumber, Text};
use super::locate::join;
use super::resolve::Resolver;
use super::tree::{self, Node, Table, Value};

/// What a file means where it says nothing.
pub(super) const DEFAULTS: &str = include_str!("defaults.toml");

/// The files that experiments live in and speak of.
pub trait Files {
    /// The bytes of a file.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>>;

    /// Whether there is a directory.
    fn is_dir(&self, path: &Path) -> bool;

    /// Whether there is anything.
    fn exists(&self, path: &Path) -> bool;

    /// The files that a pattern matches, sorted by path.
    ///
    /// # Errors
    /// Where the text is no pattern, with the reason.
    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String>;
}

/// A field that the command line sets: `path=value`.
///
/// The value is TOML, or a word that could be nothing but text: `engine.dtype=float32`, `search.budget=5m`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override(String);

impl Override {
    /// An override in the words of the command line; it is read together with the files.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Reads experiment files, or says everything that is wrong with them.
///
/// A path may be a pattern (`experiments/*.toml`). A file without a name is a base for others: it is skipped if another
/// of the files extends it.
///
/// # Errors
/// All faults of all files.
pub fn read(paths: &[PathBuf], overrides: &[Override], files: &dyn Files) -> Result<Vec<Experiment>, Faults> {
    let mut reader = Reader { files, sources: Sources::default(), found: Found::default(), loaded: HashMap::new() };
    let mut experiments = reader.read(paths, overrides);
    let sources = Arc::new(reader.sources);
    reader.found.finish(&sources)?;
    experiments.iter_mut().for_each(|experiment| experiment.fields.set_sources(&sources));
    Ok(experiments)
}

struct Reader<'a> {
    files: &'a dyn Files,
    sources: Sources,
    found: Found,
    loaded: HashMap<PathBuf, Option<Loaded>>,
}

/// One file as it stands, matrix flattened.
#[derive(Clone)]
struct Loaded {
    source: u32,
    table: Arc<Table>,
    extends: Option<(PathBuf, Span)>,
}

/// A file with all that it extends.
struct Chain {
    home: Span,
    table: Table,
    /// The files that it extends, however far.
    bases: Vec<PathBuf>,
}

impl Reader<'_> {
    fn read(&mut self, paths: &[PathBuf], overrides: &[Override]) -> Vec<Experiment> {
        let defaults = self.sources.add("the defaults of ceiling".to_owned(), DEFAULTS.to_owned(), PathBuf::new());
        let defaults = tree::parse(defaults, DEFAULTS, &mut self.found);
        let settings = self.overrides(overrides);
        let paths = self.paths(paths);
        let chains: Vec<_> = paths.into_iter().map(|path| (self.chain(&path), path)).collect();
        let bases: Vec<PathBuf> =
            chains.iter().filter_map(|(chain, _)| chain.as_ref()).flat_map(|c| c.bases.clone()).collect();
        let mut experiments: Vec<(Experiment, Span)> = Vec::new();
        for (chain, path) in chains {
            let Some(chain) = chain else { continue };
            if chain.table.get("name").is_none() && bases.contains(&path) {
                continue;
            }
            let Some((experiment, name_at)) = self.experiment(chain, &path, &settings, &defaults) else { continue };
            if let Some((first, first_at)) = experiments.iter().find(|(first, _)| first.name == experiment.name) {
                let message = format!("two experiments are named \"{}\"", experiment.name);
                let fault = Fault::new(name_at, message, format!("also the name of {}", first.source));
                self.found.push(fault.related(*first_at, "first here"));
            }
            experiments.push((experiment, name_at));
        }
        experiments.into_iter().map(|(experiment, _)| experiment).collect()
    }

    /// The files meant, patterns expanded, each once.
    fn paths(&mut self, paths: &[PathBuf]) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = Vec::new();
        for path in paths {
            let text = path.to_string_lossy();
            let named = if text.contains(['*', '?', '[']) && !self.files.exists(path) {
                match self.files.glob(&text) {
                    Ok(matches) if matches.is_empty() => {
                        self.found.push(Fault::without_place(format!("no file matches {text}")));
                        matches
                    }
                    Ok(matches) => matches,
                    Err(error) => {
                        self.found.push(Fault::without_place(format!("{text} is not a pattern for files: {error}")));
                        Vec::new()
                    }
                }
            } else {
                vec![path.clone()]
            };
            for path in named.iter().map(|path| join(Path::new(""), path)) {
                if !all.contains(&path) {
                    all.push(path);
                }
            }
        }
        all
    }

    fn load(&mut self, path: &Path, named_at: Option<Span>) -> Option<Loaded> {
        if let Some(loaded) = self.loaded.get(path) {
            return loaded.clone();
        }
        let loaded = self.load_new(path, named_at);
        self.loaded.insert(path.to_owned(), loaded.clone());
        loaded
    }

    fn load_new(&mut self, path: &Path, named_at: Option<Span>) -> Option<Loaded> {
        let text = self.files.read(path).map_err(|error| error.to_string());
        let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()));
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                self.found.push(match named_at {
                    Some(at) => Fault::new(at, message, "expected a file relative to this one"),
                    None => Fault::without_place(message),
                });
                return None;
            }
        };
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        let source = self.sources.add(path.display().to_string(), text, directory.clone());
        let before = self.found.count();
        let mut table = tree::parse(source, self.sources.text(source), &mut self.found);
        if self.found.count() > before {
            return None;
        }
        let at = Span { source, start: 0, end: 0 };
        let scope = Scope { table: Some(&table), name: "", at, defaults: None, is_broken: false };
        Need::<SchemaNumber>::read(scope, "schema", &mut self.found);
        let extends = Maybe::<Text>::read(scope, "extends", &mut self.found);
        let extends = extends.given().map(|base| (join(&directory, Path::new(&base.value.0)), base.at));
        flatten(&mut table);
        Some(Loaded { source, table: Arc::new(table), extends })
    }

    /// A file laid over the files that it extends.
    fn chain(&mut self, path: &Path) -> Option<Chain> {
        let own = self.load(path, None)?;
        let mut files = vec![own.clone()];
        let mut bases: Vec<PathBuf> = Vec::new();
        let mut next = own.extends.clone();
        while let Some((base, named_at)) = next {
            if base == path || bases.contains(&base) {
                let mut round: Vec<_> = std::iter::once(path).chain(bases.iter().map(PathBuf::as_path)).collect();
                round.push(&base);
                let round: Vec<_> = round.iter().map(|path| path.display().to_string()).collect();
                let label = format!("a circle: {}", round.join(" -> "));
                self.found.push(Fault::new(named_at, "a file extends itself", label));
                return None;
            }
            let loaded = self.load(&base, Some(named_at))?;
            bases.push(base);
            next = loaded.extends.clone();
            files.push(loaded);
        }
        let mut table = Table::default();
        for base in files[1..].iter().rev() {
            table.merge(&base.table);
        }
        // A name and a description are a file's own.
        for key in ["name", "description"] {
            table.remove(key);
        }
        table.merge(&own.table);
        Some(Chain { home: Span { source: own.source, start: 0, end: 0 }, table, bases })
    }

    fn experiment(
        &mut self,
        chain: Chain,
        path: &Path,
        settings: &[Setting],
        defaults: &Table,
    ) -> Option<(Experiment, Span)> {
        let Chain { home, mut table, .. } = chain;
        for setting in settings {
            table.put(&setting.path, setting.key_at, &setting.node);
        }
        let found = &mut self.found;
        let before = found.count();
        let scope = Scope { table: Some(&table), name: "", at: home, defaults: None, is_broken: false };
        scope.refuse_unknown(FileTable::KEYS, found);
        let file = FileTable::read(scope, found);
        if table.get("name").is_none() {
            let fault = Fault::new(home, "`name` is missing", "expected a name for the experiment");
            found.push(fault.help("a file that others extend needs no name: name one of those instead"));
        }
        let fields = Fields::of(&table, home);
        let mut resolver = Resolver::new(&self.sources, self.files, defaults, home);
        let execution = resolver.execution(&table, found);
        let axes = axes::collect(&mut table, &CommandLine::new(settings), found);
        let grid = expand::expand(&table, axes, &mut resolver, found);
        if found.count() > before {
            return None;
        }
        let name = file.name.given()?.clone();
        let experiment = Experiment {
            name: name.value,
            description: file.description.take().map(|text| text.0).unwrap_or_default(),
            source: path.display().to_string(),
            execution: Arc::new(execution?),
            grid: grid?,
            fields,
        };
        Some((experiment, name.at))
    }

    fn overrides(&mut self, overrides: &[Override]) -> Vec<Setting> {
        overrides.iter().filter_map(|text| self.setting(&text.0)).collect()
    }

    /// Reads one `path=value`.
    fn setting(&mut self, text: &str) -> Option<Setting> {
        let source = self.sources.add("--set".to_owned(), text.to_owned(), PathBuf::new());
        let mut trial = Found::default();
        let table = tree::parse(source, text, &mut trial);
        if trial.count() == 0 {
            return self.single(&table, source, text);
        }
        if let Some((path, word)) = text.split_once('=').filter(|(_, value)| is_word(value)) {
            let mut trial = Found::default();
            let table = tree::parse(source, &format!("{path}=0"), &mut trial);
            if trial.count() == 0 {
                let at = Span { source, start: (path.len() + 1) as u32, end: text.len() as u32 };
                let node = Node { at, value: Value::String(word.trim().to_owned()) };
                return self.single(&table, source, text).map(|setting| Setting { node, ..setting });
            }
        }
        let at = Span { source, start: 0, end: text.len() as u32 };
        let fault = Fault::new(at, "this sets nothing", "expected path=value, with a value in TOML");
        self.found.push(fault.help("for example --set engine.max_num_seqs=64 or --set 'sla.ttft=[\"1s\", \"5s\"]'"));
        None
    }

    fn single(&mut self, table: &Table, source: u32, text: &str) -> Option<Setting> {
        let mut path = Vec::new();
        let mut table = table;
        loop {
            let mut entries = table.iter();
            let (Some(entry), None) = (entries.next(), entries.next()) else {
                let at = Span { source, start: 0, end: text.len() as u32 };
                self.found.push(Fault::new(at, "this sets not one field", "expected one path=value"));
                return None;
            };
            path.push(entry.key.clone());
            // A dotted key makes tables that begin where the key does; a table that is a value has its own braces.
            match &entry.node.value {
                Value::Table(inner) if !text[entry.node.at.start as usize..].starts_with('{') => table = inner,
                _ => {
                    if matches!(&*path[0], "extends" | "name" | "schema" | "description") {
                        let message = format!("`{}` cannot be set from the command line", path.join("."));
                        self.found.push(Fault::new(entry.key_at, message, "set it in the file"));
                        return None;
                    }
                    if path[0] == "matrix" && path.len() > 2 {
                        path = vec![path[0].clone(), path[1..].join(".")];
                    }
                    return Some(Setting { path, key_at: entry.key_at, node: entry.node.clone() });
                }
            }
        }
    }
}

/// Whether a value that is no TOML can be nothing but text.
fn is_word(text: &str) -> bool {
    let text = text.trim();
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '%' | '+' | '@');
    !text.is_empty() && text.chars().all(legal)
}

fn flatten(table: &mut Table) {
    if let Some(matrix) = table.table_mut("matrix") {
        *matrix = axes::flatten_matrix(matrix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::testing::{Memory, complete, read_text, read_with};
    use crate::experiment::{
        Engine, Execution, Gpus, On, Resolution, SearchSettings, Slurm, Strategy, VllmEngine, Workload,
    };
    use crate::load::{Hold, Load};
    use crate::protocol::{EngineSpec, Layer, PromptSource};
    use crate::sla::{Sla, TokensPerSecond};
    use crate::units::{Concurrency, Seconds, Share};

    fn seconds(value: f64) -> Seconds {
        Seconds::new(value).unwrap()
    }

    fn only(files: &Memory, path: &str) -> Experiment {
        let experiments = read(&[path.into()], &[], files).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(experiments.len(), 1);
        experiments.into_iter().next().unwrap()
    }

    fn vllm(experiment: &Experiment) -> &VllmEngine {
        match &*experiment.grid.engines[0].value {
            Engine::Vllm(vllm) => vllm,
            Engine::Sim(_) => panic!("a simulator"),
        }
    }

    #[test]
    fn a_whole_file_becomes_legal_values() {
        let text = r#"
            schema = 1
            name = "llama31-8b-5k"
            description = "How many?"

            [model]
            id = "meta-llama/Llama-3.1-8B"
            revision = "main"

            [engine]
            layer = "async-llm"
            python = "/opt/vllm/bin/python"
            env = { A = "x", B = 4 }
            dtype = "bfloat16"
            max_model_len = 8192
            compilation_config = { level = 3, sizes = [1, 2.5], deep = { on = true } }

            [workload]
            input_tokens = 5000
            output_tokens = 100
            load = "sustained"
            hold = "1m30s"
            shared_prefix = 64
            seed = 7

            [sla]
            ok_rate = "99.5%"
            ttft = "1.5s"
            tpot = "50ms"
            e2e = "90s"
            min_tokens_per_second = 25

            [search]
            max_concurrency = 512
            start_concurrency = 4
            resolution = "2%"
            confidence = 0.9
            strategy = "bisect"
            budget = "1h"

            [execution]
            gpus = [0, 1]
            slots = 3
            engine_timeout = "5m"
            probe_timeout = "1m"
            cell_timeout = "3h"
            retries = 0
            on = "slurm"

            [execution.slurm]
            partition = "h100"
            time = "90m"
            max_parallel = 4
            setup = ["module load cuda"]
        "#;
        let experiment = only(&Memory::default().with("x/e.toml", text), "x/e.toml");
        assert_eq!((experiment.name.as_str(), &*experiment.description), ("llama31-8b-5k", "How many?"));
        assert_eq!(experiment.source, "x/e.toml");
        let args = serde_json::json!({
            "dtype": "bfloat16", "max_model_len": 8192,
            "compilation_config": { "level": 3, "sizes": [1, 2.5], "deep": { "on": true } }
        });
        let engine = VllmEngine {
            python: "/opt/vllm/bin/python".into(),
            env: [("A".to_owned(), "x".to_owned()), ("B".to_owned(), "4".to_owned())].into(),
            spec: EngineSpec {
                layer: Layer::AsyncLlm,
                model: "meta-llama/Llama-3.1-8B".to_owned(),
                tokenizer: None,
                revision: Some("main".to_owned()),
                args: args.as_object().unwrap().clone(),
            },
        };
        assert_eq!(*vllm(&experiment), engine);
        let workload = Workload {
            input_tokens: 5000,
            output_tokens: 100,
            load: Load::Sustained,
            hold: Hold::For(seconds(90.0)),
            prompt: PromptSource::Random,
            shared_prefix: 64,
            seed: 7,
        };
        assert_eq!(*experiment.grid.workloads[0].value, workload);
        let sla = Sla {
            ok_rate: Share::new(0.995).unwrap(),
            ttft: seconds(1.5),
            tpot: Some(seconds(0.05)),
            e2e: Some(seconds(90.0)),
            min_tokens_per_second: TokensPerSecond::new(25.0),
        };
        assert_eq!(*experiment.grid.slas[0].value, sla);
        let search = SearchSettings {
            max_concurrency: Concurrency::new(512).unwrap(),
            start_concurrency: Concurrency::new(4).unwrap(),
            resolution: Resolution::Relative(Share::new(0.02).unwrap()),
            confidence: Share::new(0.9).unwrap(),
            strategy: Strategy::Bisect,
            budget: seconds(3600.0),
        };
        assert_eq!(*experiment.grid.searches[0].value, search);
        let execution = Execution {
            gpus: Gpus::These(vec![0, 1]),
            slots: 3,
            engine_timeout: seconds(300.0),
            probe_timeout: seconds(60.0),
            cell_timeout: seconds(10800.0),
            retries: 0,
            on: On::Slurm,
            slurm: Slurm {
                partition: Some("h100".to_owned()),
                time: Some(seconds(5400.0)),
                max_parallel: Some(4),
                gres: "gpu".to_owned(),
                setup: vec!["module load cuda".to_owned()],
                ..Slurm::default()
            },
        };
        assert_eq!(*experiment.execution, execution);
    }

    #[test]
    fn a_file_lies_over_all_that_it_extends() {
        let files = Memory::default()
            .with("x/far/root.toml", "schema = 1\nname = \"root\"\nmodel.id = \"tiny\"\nengine.a = 1\nsla.ttft = [\"1s\", \"2s\"]")
            .with("x/far/tiny/config.json", "{}")
            .with("x/base.toml", "schema = 1\nextends = \"far/root.toml\"\n[engine]\nb = { c = 1, d = 2 }\n[workload]\ninput_tokens = 9")
            .with(
                "x/e.toml",
                "schema = 1\nname = \"e\"\nextends = \"./base.toml\"\nengine.b.d = 3\nsla.ttft = \"3s\"\nworkload.prompt = \"random\"",
            );
        let experiment = only(&files, "x/e.toml");
        assert_eq!(experiment.grid.points.len(), 1, "the list of the base is replaced");
        assert_eq!(experiment.grid.slas[0].value.ttft, seconds(3.0));
        let spec = &vllm(&experiment).spec;
        assert_eq!(serde_json::json!(spec.args), serde_json::json!({"a": 1, "b": {"c": 1, "d": 3}}));
        assert_eq!(spec.model, "x/far/tiny", "a directory is relative to the file that names it");
    }

    #[test]
    fn a_base_without_a_name_is_no_experiment() {
        let files = Memory::default()
            .with("x/base.toml", "schema = 1\nmodel.id = \"org/model\"\nsla.ttft = \"1s\"")
            .with("x/e.toml", "schema = 1\nname = \"e\"\nextends = \"base.toml\"\nworkload.input_tokens = 5");
        let names = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
            read(&paths, &[], &files).map(|all| all.iter().map(|one| one.name.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(names(&["x/*.toml"]).unwrap(), ["e"]);
        assert_eq!(names(&["x/e.toml", "x/../x/e.toml"]).unwrap(), ["e"], "a file named twice is read once");
        assert!(names(&["x/base.toml"]).is_err());
    }

    #[test]
    fn a_prompt_of_another_kind_replaces_that_of_the_base() {
        let files = Memory::default()
            .with("base.toml", &complete("workload.prompt = { corpus = \"*.txt\" }"))
            .with("a.txt", "text")
            .with(
                "e.toml",
                "schema = 1\nname = \"e\"\nextends = \"base.toml\"\nworkload.prompt = { characters = \"a.*\" }",
            );
        let experiment = only(&files, "e.toml");
        assert_eq!(experiment.grid.workloads[0].value.prompt, PromptSource::Characters(vec!["a.txt".into()]));
    }

    #[test]
    fn overrides_are_toml_or_plain_words() {
        let text = complete("");
        let args = |overrides: &[&str]| {
            let experiment = read_with(&text, overrides).unwrap_or_else(|faults| panic!("{faults}"));
            serde_json::Value::from(vllm(&experiment).spec.args.clone())
        };
        let table = [
            ("engine.x=1", serde_json::json!(1)),
            ("engine.x = 1.5", serde_json::json!(1.5)),
            ("engine.x=true", serde_json::json!(true)),
            ("engine.x=float32", serde_json::json!("float32")),
            ("engine.x=\"float 32\"", serde_json::json!("float 32")),
            ("engine.x=org/model-1.5", serde_json::json!("org/model-1.5")),
            ("engine.x=[1, 2]", serde_json::json!([1, 2])),
            ("engine.x={ y = 1 }", serde_json::json!({"y": 1})),
            ("engine.x.y=1", serde_json::json!({"y": 1})),
        ];
        for (text, value) in table {
            assert_eq!(args(&[text]), serde_json::json!({ "x": value }), "{text}");
        }
        assert_eq!(args(&["engine.x=1", "engine.x=2"]), serde_json::json!({"x": 2}), "the last one holds");
    }

    #[test]
    fn quoted_dotted_and_nested_axes_are_the_same() {
        let keys = |matrix: &str| -> Vec<_> {
            let experiment = read_text(&complete(matrix)).unwrap_or_else(|faults| panic!("{faults}"));
            experiment.grid.engines.iter().map(|engine| engine.key).collect()
        };
        let quoted = keys("[matrix]\n\"engine.env.A\" = [\"1\", \"2\"]");
        assert_eq!(quoted.len(), 2);
        assert_eq!(keys("[matrix]\nengine.env.A = [\"1\", \"2\"]"), quoted);
        assert_eq!(keys("[matrix.engine]\nenv.A = [\"1\", \"2\"]"), quoted);
        assert_eq!(keys("[matrix]\n\"engine.env\" = [{ A = \"1\" }, { A = \"2\" }]"), quoted);
        assert_eq!(keys("[matrix]\nengine = [{ env = { A = \"1\" } }, { env.A = \"2\" }]"), quoted);
    }
}
