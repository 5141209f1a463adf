//! The experiments that come with ceiling.

use std::path::{Path, PathBuf};

use super::testing::Memory;
use super::{Engine, Override, read};
use crate::plan::plan;
use crate::protocol::Layer;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files under `experiments/`, as if ceiling ran in the repository's root.
fn shipped() -> Memory {
    let mut files = Memory::default();
    let mut directories = vec![root().join("experiments")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(root()).unwrap().to_owned();
                files.0.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn all_of_them_are_read_and_planned_together() {
    let experiments = read(&["experiments/*.toml".into()], &[], &shipped()).unwrap_or_else(|faults| panic!("{faults}"));
    let names: Vec<_> = experiments.iter().map(|experiment| experiment.name.as_str()).collect();
    let wanted = [
        "frontend-price",
        "kimi-k2",
        "llama-8b-shape",
        "llama31-8b-5k",
        "quickstart",
        "qwen3-30b",
        "simulated",
        "sustained-8b",
        "vllm-upgrade",
    ];
    assert_eq!(names, wanted, "base.toml is no experiment");
    let plan = plan(&experiments);
    let cells: Vec<_> =
        (0..names.len()).map(|i| plan.cells.iter().filter(|cell| cell.experiment == i).count()).collect();
    assert_eq!(cells, [8, 4, 6, 6, 6, 12, 24, 8, 12]);
    // The quickstart's engine is also one of the two of the upgrade and of the frontend's price, and that of the 8B shape's burst one
    // of the two of its sustained load.
    assert_eq!(plan.groups.len(), 2 + 1 + 1 + 2 + 2 + 2 + 1 + 1);
}

#[test]
fn each_begins_with_its_question() {
    for (path, text) in shipped().0.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "toml")) {
        let text = std::str::from_utf8(text).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("#:schema ../schemas/experiment.schema.json"), "{}", path.display());
        let opening: Vec<_> = lines.take_while(|line| line.starts_with('#')).collect();
        assert!(opening.iter().any(|line| line.contains('?')), "{} asks nothing", path.display());
    }
}

#[test]
fn the_quickstart_runs_on_another_layer() {
    let layer = |overrides: &[&str]| {
        let overrides: Vec<_> = overrides.iter().copied().map(Override::new).collect();
        let experiments = read(&["experiments/quickstart.toml".into()], &overrides, &shipped()).unwrap();
        match &*experiments[0].grid.engines[0].value {
            Engine::Vllm(vllm) => vllm.spec.layer,
            Engine::Sim(_) => panic!("the quickstart is not simulated"),
        }
    };
    assert_eq!(layer(&[]), Layer::EngineCore);
    assert_eq!(layer(&["engine.layer=\"async-llm\""]), Layer::AsyncLlm);
    assert_eq!(layer(&["engine.layer=async-llm"]), Layer::AsyncLlm);
}
