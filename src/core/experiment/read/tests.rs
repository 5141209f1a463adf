//! Files that become experiments.

use super::*;
use crate::experiment::testing::{Memory, complete, read_text};
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
