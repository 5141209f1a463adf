//! A workplace on the cluster: an experiment on a fake worker, whose answers are known.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::{Workplace, is_alive, stderr, wait_until, without_telemetry};
use serde_json::{Value, json};

/// Long enough for anything that a test waits for.
pub const LONG: Duration = Duration::from_secs(180);

/// Keeps jobs away from the node that tests harm.
pub const ELSEWHERE: &str = "slurm.extra = [\"--exclude=n3\"]";

/// A workplace with an experiment `fake.toml` whose worker behaves as told.
pub struct Place {
    place: Workplace,
}

impl Place {
    /// First tokens come 30.1 ms apart, so limits of 1 s and 3 s have the ceilings 33 and 99.
    pub fn new(behaviour: &str, execution: &str) -> Self {
        let place = Workplace::new();
        // Elements run as whoever submits, and meet here.
        let python = place.write("fake_worker.py", include_str!("../suite/fake_worker.py"));
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        place.write("libceiling_worker.so", "");
        let text = format!(
            r#"
            schema = 1
            name = "fake"
            model.id = "some/model"
            [engine]
            python = "{}"
            env = {{ FAKE = "{}", FAKE_STARTS = "{}", FAKE_VERSION = "{}" }}
            [workload]
            input_tokens = 512
            output_tokens = 32
            hold = "1s"
            [sla]
            ok_rate = 1.0
            ttft = ["1s", "3s"]
            [search]
            strategy = "bisect"
            max_concurrency = 256
            [execution]
            {execution}
            "#,
            python.display(),
            place.write("behaviour", behaviour).display(),
            place.path("starts").display(),
            env!("CARGO_PKG_VERSION"),
        );
        place.write("fake.toml", &text);
        Self { place }
    }

    /// Tells the next worker how to behave.
    pub fn behave(&self, behaviour: &str) {
        self.place.write("behaviour", behaviour);
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// `ceiling` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.ceiling(arguments);
        command.env("CEILING_WORKER", self.path("libceiling_worker.so"));
        command
    }

    /// Runs `ceiling` to its end.
    pub fn ceiling(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Hands the experiment over and watches it to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.ceiling(&[&["run", "fake.toml", "--on", "slurm"], arguments].concat())
    }

    /// Hands the experiment over and watches it meanwhile.
    pub fn start(&self, arguments: &[&str]) -> Watched {
        let arguments = [&["run", "fake.toml", "--on", "slurm"], arguments].concat();
        Self::start_as(&mut self.command(&arguments))
    }

    /// Watches what this command hands over.
    pub fn start_as(command: &mut Command) -> Watched {
        Watched { child: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap() }
    }

    /// The run that was kept.
    pub fn run_json(&self) -> Value {
        self.place.run_json()
    }

    /// The directory of the run, once there is one.
    pub fn run_directory(&self) -> PathBuf {
        wait_until("there is a run", LONG, || self.glob("results/*/*/run.json").next().is_some());
        self.place.run_directory()
    }

    /// The id of the run.
    pub fn run_id(&self) -> String {
        self.run_directory().file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn glob(&self, pattern: &str) -> impl Iterator<Item = PathBuf> {
        glob::glob(&self.path(pattern).display().to_string()).unwrap().flatten()
    }

    /// The ids of the arrays that were handed over.
    pub fn arrays(&self) -> Vec<String> {
        let path = self.glob("results/*/*/batch/*/submission.json").max().unwrap();
        let submission: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        submission["arrays"].as_array().unwrap().iter().map(|array| array["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Probes in the journal of the attempt that has most.
    pub fn probes_measured(&self) -> usize {
        let journals = self.glob("results/*/*/batch/*/attempts/*/*/*/*/journal.jsonl");
        let count = |path: PathBuf| {
            std::fs::read_to_string(path).map_or(0, |text| text.matches("\"entry\":\"probed\"").count())
        };
        journals.map(count).max().unwrap_or(0)
    }

    /// Waits until an attempt has measured this many probes.
    pub fn wait_for_probes(&self, count: usize) {
        wait_until(&format!("{count} probes"), LONG, || self.probes_measured() >= count);
    }

    /// What workers noted when they started.
    pub fn starts(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("starts")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// When the worker of this pid ended in good order, in seconds of the clock.
    pub fn end_of(&self, pid: &Value) -> f64 {
        let text = std::fs::read_to_string(self.path("starts.ends")).unwrap();
        let mut ends = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        ends.find(|end| end["pid"] == *pid).unwrap()["at"].as_f64().unwrap()
    }

    /// No worker, and nothing that one started, is left.
    pub fn assert_nothing_is_left(&self) {
        for start in self.starts() {
            for who in ["pid", "child"] {
                let pid = start[who].as_u64().unwrap();
                wait_until(&format!("the {who} of a worker is gone"), Duration::from_secs(20), || !is_alive(pid));
            }
        }
    }

    /// The run says what a local run of the same seeds says.
    pub fn assert_like_a_local_run(&self) {
        let run = self.run_json();
        self.behave("well");
        let local = self.ceiling(&["run", "fake.toml", "--on", "local", "--results", "local"]);
        assert_eq!(local.status.code(), Some(0), "{}", stderr(&local));
        let path = self.glob("local/*/*/run.json").next().unwrap();
        let local: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(outcome(&run) == outcome(&local), "{:#}\n{:#}", outcome(&run), outcome(&local));
    }
}

/// What a run measured and answered: each probe once, in order.
fn outcome(run: &Value) -> Value {
    let mut ladders: Vec<_> =
        run["ladders"].as_array().unwrap().iter().map(|ladder| ladder["probes"].clone()).collect();
    ladders.iter_mut().for_each(without_telemetry);
    json!({ "status": run["status"], "cells": run["cells"], "ladders": ladders })
}

/// The parent of a process.
pub fn parent(pid: u64) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A submitting side that goes on.
pub struct Watched {
    /// Its process.
    pub child: Child,
}

impl Watched {
    /// Waits for its end and asserts how it came; what it said.
    pub fn ends_with(self, code: i32) -> String {
        let output = self.child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        stderr(&output)
    }
}
