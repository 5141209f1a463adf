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
fn a_value_that_an_axis_of_the_base_would_hide_is_refused() {
    let base = complete("engine.b = { c = 1 }\n[matrix]\n\"engine.a\" = [1, 2]\n\"engine.b.c\" = [1, 2]");
    let told = |own: &str, sets: &[&str]| {
        let files = Memory::default()
            .with("base.toml", &base)
            .with("e.toml", &format!("name = \"e\"\nextends = \"base.toml\"\nschema = 1\n{own}"));
        let sets: Vec<Override> = sets.iter().copied().map(Override::new).collect();
        match read(&["e.toml".into()], &sets, &files) {
            Ok(all) => format!("{} engines", all[0].grid.engines.len()),
            Err(faults) => faults.render(false),
        }
    };
    let table = [
        ("", vec![], "4 engines"),
        ("engine.a = 3", vec![], "`engine.a` would be hidden by the axis `engine.a` of a file"),
        ("engine.b = 3", vec![], "`engine.b` would be hidden by the axis `engine.b.c` of a file"),
        ("engine.b = { d = 3 }", vec![], "4 engines"),
        ("[matrix]\n\"engine.a\" = [3]", vec![], "2 engines"),
        // Beside an axis of its own, a value is a default.
        ("engine.a = 3\n[matrix]\n\"engine.a\" = [4, 5, 6]", vec![], "6 engines"),
        ("", vec!["engine.a=3"], "2 engines"),
        ("", vec!["engine.b=3"], "`engine.b` would be hidden by the axis `engine.b.c`"),
        ("", vec!["engine.b.c=3", "engine.b.d=4"], "2 engines"),
    ];
    for (own, sets, expected) in table {
        let told = told(own, &sets);
        assert!(told.contains(expected), "{own} {sets:?}: {told}");
    }
}

#[test]
fn a_limit_that_no_request_could_miss_is_refused() {
    let told = |lines: &str| match read_text(&complete(lines)) {
        Ok(_) => "read".to_owned(),
        Err(faults) => faults.render(false),
    };
    let (tpot, rate) = ("sla.tpot = \"50ms\"", "sla.min_tokens_per_second = 20");
    let sustained = "workload.load = \"sustained\"";
    let table = [
        ("workload.output_tokens = 256", vec![tpot], "read"),
        ("workload.output_tokens = 1", vec![], "read"),
        ("workload.output_tokens = 1", vec![tpot], "let requests have 2 `output_tokens` or more"),
        ("workload.output_tokens = 1", vec![rate], "let requests have 2 `output_tokens` or more"),
        ("workload.output_tokens = 1", vec![tpot, sustained], "let requests have 2 `output_tokens` or more"),
        ("workload.hold = \"50ms\"", vec![tpot], "requests are held for 50ms, no longer than one token may take"),
        ("workload.hold = \"0s\"", vec![rate], "requests are held for 0s"),
        ("workload.hold = \"51ms\"", vec![tpot], "read"),
        // These are let finish.
        ("workload.hold = \"0s\"", vec![tpot, sustained], "read"),
        ("workload.hold = \"0s\"", vec![tpot, "sla.e2e = \"9s\""], "read"),
    ];
    for (workload, more, expected) in table {
        let told = told(&format!("{workload}\n{}", more.join("\n")));
        assert!(told.contains(expected), "{workload} {more:?}: {told}");
    }
}

#[test]
fn texts_that_no_prompt_can_be_made_of_are_refused_before_an_engine_is_loaded() {
    let told = |texts: &[(&str, &[u8])]| {
        let mut files = Memory::default().with("e.toml", &complete("workload.prompt = { corpus = \"*.txt\" }"));
        files.0.extend(texts.iter().map(|(path, text)| (PathBuf::from(path), text.to_vec())));
        match read(&["e.toml".into()], &[], &files) {
            Ok(_) => "read".to_owned(),
            Err(faults) => faults.render(false),
        }
    };
    let table = [
        (vec![("a.txt", &b"text"[..]), ("b.txt", b"")], "read"),
        (vec![("a.txt", b"text"), ("b.txt", b"caf\xe9 ")], "cannot read b.txt: it is no text in UTF-8"),
        (vec![("a.txt", b""), ("b.txt", b"")], "all files that match \"*.txt\" are empty"),
        (vec![("a.md", b"text")], "no file matches \"*.txt\""),
    ];
    for (texts, expected) in table {
        assert!(told(&texts).contains(expected), "{}", told(&texts));
    }
}

#[test]
fn a_list_where_one_value_belongs_names_the_axis_that_was_meant() {
    let sim = "engine = { kind = \"sim\", prefill_tokens_per_second = 9, decode_step = \"8ms\", kv_cache_tokens = 9, max_num_seqs = [1, 2] }";
    let table = [
        (sim, "under [matrix], \"engine.max_num_seqs\" = [...]"),
        ("search.budget = [\"1m\", \"2m\"]", "under [matrix], \"search.budget\" = [...]"),
    ];
    for (line, expected) in table {
        let told = read_text(&complete(line)).unwrap_err().render(false);
        assert!(told.contains(expected), "{told}");
    }
    let told = read_text(&complete("execution.retries = [1, 2]")).unwrap_err().render(false);
    assert!(!told.contains("[matrix]"), "{told}");
}

#[test]
fn a_secret_is_no_part_of_what_an_engine_is() {
    let key = |env: &str| read_text(&complete(&format!("engine.env = {{ {env} }}"))).unwrap().grid.engines[0].key;
    assert_eq!(key("HF_TOKEN = \"one\""), key("HF_TOKEN = \"two\""));
    assert_ne!(key("HF_HOME = \"one\""), key("HF_HOME = \"two\""));
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
