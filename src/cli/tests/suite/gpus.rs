//! GPUs that are not there: a stand-in for NVIDIA's library, built here and loaded as the real one is.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::executor::workplace;
use crate::support::{Workplace, stderr, wait_for, wait_until};
use serde_json::Value;

/// What GPU 0 says of itself but for its memory, and all that GPU 1 says.
const REST: &str = "55 310000 5000000 64 1755 2619";

/// A workplace with the stand-in.
struct Machine {
    place: Workplace,
}

impl Machine {
    fn new(behaviour: &str, execution: &str) -> Self {
        let place = workplace(behaviour, execution);
        let source = place.write("nvml.c", include_str!("nvml.c"));
        let library = place.path("libnvidia-ml.so.1");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(library).arg(source).status().unwrap();
        assert!(built.success(), "a C compiler builds the stand-in");
        Self { place }
    }

    /// Lets GPU 0 say so much memory in use, in GiB, and this of throttling.
    fn say(&self, used: u64, throttle: &str, pid: &str) -> PathBuf {
        self.write("gpus", used, throttle, pid)
    }

    fn write(&self, name: &str, used: u64, throttle: &str, pid: &str) -> PathBuf {
        let text = format!("{} {REST} {throttle} {pid}\n1000 - - - - - - - -\n", used << 30);
        let new = self.place.write("gpus.new", &text);
        // A driver never says half of something.
        std::fs::rename(new, self.place.path(name)).unwrap();
        self.place.path(name)
    }

    fn run(&self, changes: &[&str]) -> Command {
        let mut command = self.place.ceiling(&["run", "fake.toml"]);
        command
            .args(changes.iter().flat_map(|change| ["--set", change]))
            .env("CEILING_WORKER", self.place.path("libceiling_worker.so"))
            .env("LD_LIBRARY_PATH", self.place.path(""))
            .env("NVML_STAND_IN", self.place.path("gpus"))
            .env_remove("CUDA_VISIBLE_DEVICES");
        command
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.place.path("starts")).map_or(0, |text| text.lines().count())
    }
}

fn probes(run: &Value) -> &Vec<Value> {
    run["ladders"][0]["probes"].as_array().unwrap()
}

#[test]
fn a_probe_says_what_gpus_and_processes_did_and_no_more_than_is_known() {
    let machine = Machine::new("well", "");
    // The card's own power limit holds for every probe, and flags none.
    machine.say(1, "0x4", "-");
    let output = machine.run(&["engine.tensor_parallel_size=2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = machine.place.run_json();
    for probe in probes(&run) {
        assert_eq!(probe["audit"], "clean", "{probe}");
        let seen = &probe["telemetry"];
        let gpu = serde_json::json!({
            "gpu": "0", "samples": 1, "utilization": 0.55, "memory_bytes": 1_u64 << 30, "power_w": 310.0, "energy_j": 0.0,
            "temperature_c": 64, "sm_clock_mhz": 1755, "memory_clock_mhz": 2619, "throttle": ["sw-power-cap"],
        });
        assert_eq!(seen["gpus"][0], gpu);
        assert_eq!(seen["gpus"][1], serde_json::json!({ "gpu": "1", "samples": 1, "memory_bytes": 1000 }));
        for who in ["harness", "engine"] {
            assert!(
                seen[who]["cpu_s"].as_f64().unwrap() >= 0.0 && seen[who]["memory_bytes"].as_u64().unwrap() > 0,
                "{seen}"
            );
        }
        assert!(seen["memory_available_bytes"].as_u64().unwrap() > 0, "{seen}");
    }
    let journal = std::fs::read_to_string(machine.place.run_directory().join("journal.jsonl")).unwrap();
    assert_eq!(journal.matches("\"sw-power-cap\"").count(), probes(&run).len());
}

#[test]
fn a_probe_on_a_hot_gpu_is_flagged_and_counts() {
    let machine = Machine::new("well", "");
    machine.say(1, "0x24", "-");
    let output = machine.run(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = machine.place.run_json();
    assert!(probes(&run).iter().all(|probe| probe["audit"] == "throttled" && probe["counts"] == true), "{run}");
    assert!(stderr(&output).contains("(GPU throttled: sw-thermal-slowdown)"), "{}", stderr(&output));
}

#[test]
fn an_engine_is_not_loaded_before_the_memory_of_the_last_is_back() {
    let machine = Machine::new("well", "gpus = [0]");
    machine.say(1, "0", "-");
    let full = machine.write("full", 70, "0", "-");
    let mut command = machine.run(&["matrix.\"engine.max_num_seqs\"=[8, 16]"]);
    let log = std::fs::File::create(machine.place.path("stderr")).unwrap();
    let mut child = command.env("FAKE_GPUS", full).stderr(log).stdout(Stdio::null()).spawn().unwrap();
    let said = || std::fs::read_to_string(machine.place.path("stderr")).unwrap();
    let waits = || said().contains("waiting for the memory of GPU 0");
    wait_until("the second engine waits", Duration::from_secs(60), waits);
    // The check of the arguments, and the first engine.
    assert_eq!(machine.starts(), 2, "{}", said());
    machine.say(1, "0", "-");
    assert_eq!(wait_for(&mut child, Duration::from_secs(60)).code(), Some(0), "{}", said());
    assert_eq!(machine.starts(), 3);
}

#[test]
fn memory_that_does_not_come_back_is_named() {
    let machine = Machine::new("load-fails", "gpus = [0]\nengine_timeout = \"3s\"\nretries = 1");
    machine.say(1, "0", "-");
    let full = machine.write("full", 13, "0", "4711");
    let output = machine.run(&[]).env("FAKE_GPUS", full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let named = "12.0 GiB of GPU 0 did not come back within 3s (in use by process 4711)";
    assert!(stderr(&output).contains(named), "{}", stderr(&output));
    let failures = &machine.place.run_json()["engines"][0]["failures"];
    let reason = |at: usize| failures[at]["reason"].as_str().unwrap();
    assert!(!reason(0).contains("GPU 0") && reason(1).contains(named), "{failures}");
    assert!(reason(1).contains("the weights are upside down"), "{failures}");
}
