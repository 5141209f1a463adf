//! A real vLLM as an element: a tiny Llama on the CPU.

use std::process::Command;

use crate::support::{Workplace, stderr, workspace};

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn a_real_engine_answers_from_the_cluster() {
    let python = workspace().join(".venv/bin/python");
    assert!(python.exists(), "{} is not there: run `make setup`", python.display());
    let place = Workplace::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ceiling"));
    command.current_dir(workspace()).args(["run", "experiments/quickstart.toml", "--on", "slurm", "--results"]);
    command.arg(place.path("results"));
    let changes = [
        "execution.gpus=none",
        "execution.retries=0",
        "execution.slurm.extra=[\"--cpus-per-task=4\", \"--exclude=n3\"]",
        "sla.ttft=\"1s\"",
        "sla.ok_rate=0.9",
        "search.max_concurrency=64",
        "search.strategy=\"bisect\"",
    ];
    let output = command.args(changes.iter().flat_map(|change| ["--set", change])).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!((&run["status"], &run["simulated"]), (&"complete".into(), &false.into()));
    assert_eq!(run["provenance"]["engine"]["kind"], "vllm");
    assert!(run["ladders"][0]["probes"].as_array().unwrap().iter().all(|probe| probe["prompt_tokens"] == 512));
}
