//! Runs compared from the command line, and a repository of runs to do it in.

mod decided;
mod history;
mod named;
mod unfit;
mod workflow;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Workplace, stderr, stdout};
use serde_json::{Value, json};

/// A simulated engine at this pace, with a little noise; its ceilings are near `pace / 1000` and three times that.
fn experiment(tokens_per_second: u32) -> String {
    format!(
        r#"
        schema = 1
        name = "sim"
        [engine]
        kind = "sim"
        prefill_tokens_per_second = {tokens_per_second}
        decode_step = "1ms"
        decode_step_per_sequence = "1us"
        kv_cache_tokens = 10000000
        max_num_seqs = 1024
        step_noise = "1%"
        probe_drift = "0.2%"
        [workload]
        input_tokens = 1000
        output_tokens = 16
        [sla]
        ok_rate = 0.95
        ttft = ["1s", "3s"]
        [search]
        max_concurrency = 1024
        resolution = "2%"
        [execution]
        gpus = "none"
        "#
    )
}

const PACE: &str = "engine.prefill_tokens_per_second";

fn git_in(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(["-c", "user.name=T", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"])
        .args(["-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", stderr(&output));
    stdout(&output).trim().to_owned()
}

/// A repository in which every commit has a pace of its own, with the result measured for it checked in beside it.
struct Repository {
    place: Workplace,
}

impl Repository {
    fn new(paces: &[u32]) -> Self {
        let repository = Self { place: Workplace::new() };
        repository.git(&["init", "--quiet"]);
        repository.place.write(".gitignore", "/results/**/logs/\n/results/**/requests.*\n/results/**/journal.jsonl\n");
        repository.commit("Begin");
        repository.place.write("README", "A repository.");
        // A file that git does not know would make the first run one with changes.
        repository.place.write("sim.toml", &experiment(paces.first().copied().unwrap_or(40_000)));
        repository.commit("Say what it is");
        for pace in paces {
            repository.measure(*pace);
            repository.commit(&format!("Pace {pace}"));
        }
        repository
    }

    fn git(&self, arguments: &[&str]) -> String {
        git_in(&self.place.path("."), arguments)
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    /// Changes the experiment, runs it, and gives the run's directory.
    fn measure(&self, pace: u32) -> PathBuf {
        self.place.write("sim.toml", &experiment(pace));
        let before = self.runs();
        let output = self.place.run(&["run", "sim.toml"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let new = self.runs().into_iter().find(|run| !before.contains(run)).unwrap();
        // Run ids tell seconds apart; these runs take less, and must keep their order.
        let name = new.file_name().unwrap().to_str().unwrap();
        let id = format!("20260101T{:06}Z{}", before.len(), &name[16..]);
        let moved = new.with_file_name(&id);
        std::fs::rename(&new, &moved).unwrap();
        edit(&moved, |run| run["run_id"] = json!(id));
        moved
    }

    fn runs(&self) -> Vec<PathBuf> {
        let pattern = format!("{}/results/*/*", self.place.path(".").display());
        glob::glob(&pattern).unwrap().map(Result::unwrap).collect()
    }

    fn diff(&self, arguments: &[&str]) -> Output {
        let always = ["diff", "--across", PACE];
        self.place.run(&[&always, arguments].concat())
    }
}

fn edit(run: &Path, change: impl FnOnce(&mut Value)) {
    let path = run.join("run.json");
    let mut value: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&path, serde_json::to_string_pretty(&value).unwrap()).unwrap();
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}
