//! The whole way on real vLLM: a tiny Llama on the CPU, through the binary that users run.
//!
//! An engine load takes a minute or two, and two at once would disturb each other: these tests run one after another.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::support::{Workplace, descendants, is_alive, send, stderr, wait_for, wait_until, workspace};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Long enough for an engine to load on a busy machine.
const LOAD: Duration = Duration::from_secs(400);

/// Waits for its turn: an engine takes the whole machine.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The quickstart with changes, its results kept in a place of its own. It bisects where nothing else is asked for: that
/// finds something of every ceiling, on however busy a machine.
pub fn quickstart(place: &Workplace, changes: &[&str]) -> Command {
    let python = workspace().join(".venv/bin/python");
    assert!(python.exists(), "{} is not there: run `make setup`", python.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ceiling"));
    command
        .current_dir(workspace())
        .args(["run", "experiments/quickstart.toml", "--results"])
        .arg(place.path("results"));
    if !changes.iter().any(|change| change.starts_with("search.strategy")) {
        command.args(["--set", "search.strategy=\"bisect\""]);
    }
    command.args(changes.iter().flat_map(|change| ["--set", change])).stdin(Stdio::null());
    command
}

fn cells(run: &Value) -> &Vec<Value> {
    run["cells"].as_array().unwrap()
}

fn probes(run: &Value) -> &Vec<Value> {
    run["ladders"][0]["probes"].as_array().unwrap()
}

/// What must hold of a quickstart that went well, on either layer.
fn assert_went_well(run: &Value) {
    assert_eq!(run["status"], "complete");
    assert_eq!(run["simulated"], false);
    assert_eq!(run["provenance"]["engine"]["kind"], "vllm");
    assert_eq!(run["engines"].as_array().unwrap().len(), 1);
    assert_eq!(run["engines"][0]["loads"], 1);
    assert!(run["engines"][0]["resolved"]["kv_cache_tokens"].as_u64().unwrap() > 0);
    for cell in cells(run) {
        assert_eq!(cell["status"], "found", "{cell}");
        assert!(cell["ceiling"].as_u64().unwrap() < cell["lowest_fail"].as_u64().unwrap());
    }
    for probe in probes(run) {
        assert_eq!(probe["prompt_tokens"], 512, "as the engine counts: {probe}");
        assert_eq!(probe["cached_tokens"], 0, "{probe}");
        assert!(probe["harness"]["cpu_us_per_token"].as_f64().unwrap() > 0.0);
        assert!(probe["ttft"]["min_s"].as_f64().unwrap() > 0.0);
        let seen = &probe["telemetry"];
        assert!(seen["engine"]["cpu_s"].as_f64().unwrap() > 0.0, "the engine works: {seen}");
        assert!(seen["engine"]["memory_bytes"].as_u64() > seen["harness"]["memory_bytes"].as_u64(), "{seen}");
        assert!(seen["harness"]["cpu_s"].as_f64().is_some(), "{seen}");
    }
    // A laxer limit holds no fewer requests.
    let stricter = |a: &Value, b: &Value| {
        let of = |cell: &Value, key: &str| cell["sla"][key].as_f64().unwrap();
        of(a, "ttft") <= of(b, "ttft") && of(a, "ok_rate") >= of(b, "ok_rate")
    };
    for strict in cells(run) {
        for lax in cells(run).iter().filter(|lax| stricter(strict, lax)) {
            assert!(strict["ceiling"].as_u64() <= lax["ceiling"].as_u64(), "{strict} {lax}");
        }
    }
}

#[test]
fn the_quickstart_finds_every_ceiling_without_the_frontend() {
    let _alone = alone();
    let place = Workplace::new();
    let output = quickstart(&place, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_went_well(&place.run_json());
}

/// Other tenants of the machine decide how narrow its brackets are, not whether they are honest.
#[test]
fn the_guided_search_states_of_a_real_engine_no_more_than_it_has_seen() {
    let _alone = alone();
    let place = Workplace::new();
    let output = quickstart(&place, &["search.strategy=\"guided\"", "sla.ttft=[\"500ms\", \"1s\"]"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(run["status"], "complete");
    let probed = |level: &Value| probes(&run).iter().any(|probe| &probe["concurrency"] == level);
    let mut bounds = 0;
    for cell in cells(&run) {
        assert_eq!(cell["confidence"], 0.95, "{cell}");
        let (pass, fail) = (&cell["highest_pass"], &cell["lowest_fail"]);
        for bound in [pass, fail].into_iter().filter(|bound| !bound.is_null()) {
            assert!(probed(bound), "{cell}");
            bounds += 1;
        }
        assert!(pass.as_u64() < fail.as_u64() || fail.is_null(), "{cell}");
        assert_eq!(cell["ceiling"].is_null(), cell["status"] != "found", "{cell}");
    }
    assert!(bounds > 0, "{}", stderr(&output));
}

/// Puts the tiny model into a cache of the hub, as a download would.
fn cache_as(place: &Workplace, organisation: &str, model: &str, commit: &str) {
    let cached = format!("hub/models--{organisation}--{model}");
    place.write(&format!("{cached}/refs/main"), commit);
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        let text = std::fs::read_to_string(workspace().join("experiments/tiny-llama").join(file)).unwrap();
        place.write(&format!("{cached}/snapshots/{commit}/{file}"), &text);
    }
}

#[test]
fn the_quickstart_finds_every_ceiling_with_the_frontend_of_a_model_by_its_hub_id() {
    let _alone = alone();
    let place = Workplace::new();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    cache_as(&place, "acme", "tiny", commit);
    let changes = ["engine.layer=\"async-llm\"", "model.id=\"acme/tiny\""];
    let mut command = quickstart(&place, &changes);
    let output = command.env("HF_HOME", place.path("")).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = place.run_json();
    assert_went_well(&run);
    assert_eq!(run["engines"][0]["resolved"]["model_commit"], commit);
}

#[test]
fn what_limits_a_ceiling_is_named() {
    let _alone = alone();
    let place = Workplace::new();
    // Requests outlast the TTFT limit on however fast a machine, so that one without a seat, or without room for its
    // prompt, misses it: 2,000 steps of vLLM take well over 900 ms.
    let changes = [
        "matrix.engine=[{ max_num_seqs = 4 }, { num_gpu_blocks_override = 40 }]",
        "search.strategy=\"bisect\"",
        "search.max_concurrency=24",
        "search.resolution=1",
        "engine.max_model_len=4096",
        "workload.output_tokens=2000",
        "workload.hold=\"2s\"",
        "sla.ok_rate=1.0",
        "sla.ttft=\"900ms\"",
    ];
    let output = quickstart(&place, &changes).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = place.run_json();
    let limits: Vec<&str> = cells(&run).iter().map(|cell| cell["limited_by"].as_str().unwrap_or("none")).collect();
    assert_eq!(limits, ["max-num-seqs", "kv-cache"], "{}", stderr(&output));
    assert_eq!(cells(&run)[0]["ceiling"], 4);
    assert_eq!(cells(&run)[0]["limit"]["running_peak"], 4);
    assert!(cells(&run)[1]["limit"]["kv_peak"].as_f64().unwrap() > 0.8, "{}", cells(&run)[1]);
}

/// Runs a quickstart that cannot load its engine and gives the reason it states.
fn refused(changes: &[&str]) -> String {
    let _alone = alone();
    let place = Workplace::new();
    let output = quickstart(&place, changes).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let run = place.run_json();
    assert!(cells(&run).iter().all(|cell| cell["status"] == "failed"));
    assert_eq!(run["engines"][0]["failures"].as_array().unwrap().len(), 1, "not tried again");
    let reason = run["cells"][0]["failure"]["reason"].as_str().unwrap().to_owned();
    assert!(!reason.contains("Traceback"), "{reason}");
    reason
}

#[test]
fn an_argument_that_vllm_does_not_know_is_named() {
    let reason = refused(&["engine.max_num_sqs=4"]);
    assert!(reason.contains("max_num_sqs") && reason.contains("max_num_seqs"), "{reason}");
}

#[test]
fn a_check_points_at_the_line_that_vllm_refuses() {
    let _alone = alone();
    let place = Workplace::new();
    let text = std::fs::read_to_string(workspace().join("experiments/quickstart.toml")).unwrap();
    let model = workspace().join("experiments/tiny-llama").canonicalize().unwrap();
    let text = text.replace("\"tiny-llama\"", &format!("\"{}\"", model.display()));
    let line = text.lines().position(|line| line.starts_with("max_num_seqs")).unwrap() + 1;
    let file = place.write("misspelt.toml", &text.replace("max_num_seqs", "max_num_sqs"));
    let mut check = Command::new(env!("CARGO_BIN_EXE_ceiling"));
    let output = check.current_dir(workspace()).args(["check", "--engine"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("max_num_sqs") && said.contains("max_num_seqs"), "{said}");
    assert!(said.contains(&format!("misspelt.toml:{line}:")), "{said}");
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let reason = refused(&["model.id=\"nobody/no-such-model\""]);
    assert!(reason.contains("nobody/no-such-model"), "{reason}");
}

#[test]
fn an_interpreter_without_vllm_is_named_with_the_remedy() {
    let place = Workplace::new();
    let made = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(place.path("bare")).status().unwrap();
    assert!(made.success());
    let python = place.path("bare/bin/python");
    let reason = refused(&[&format!("engine.python=\"{}\"", python.display())]);
    assert!(reason.contains("vllm") && reason.contains("install"), "{reason}");
}

/// A run on real vLLM that goes on while a test interferes.
struct Running {
    place: Workplace,
    child: Child,
}

impl Running {
    /// Every probe takes some seconds, so that there is always one to interfere with.
    fn start(changes: &[&str]) -> Self {
        let place = Workplace::new();
        let slow = ["workload.hold=\"2s\"", "workload.output_tokens=2000", "engine.max_model_len=4096"];
        let child = quickstart(&place, &[&slow, changes].concat()).spawn().unwrap();
        Self { place, child }
    }

    fn journal(&self) -> String {
        let mut found = glob::glob(&format!("{}/results/*/*/journal.jsonl", self.place.path("").display())).unwrap();
        found.next().map_or_else(String::new, |path| std::fs::read_to_string(path.unwrap()).unwrap())
    }

    fn count(&self, entry: &str) -> usize {
        self.journal().matches(&format!("\"entry\":\"{entry}\"")).count()
    }

    fn wait_for(&self, entry: &str, count: usize) {
        wait_until(&format!("{count} entries `{entry}`"), LOAD, || self.count(entry) >= count);
    }

    /// All processes below the executor, its worker first.
    fn descendants(&self) -> Vec<u64> {
        descendants(self.child.id().into()).into_iter().map(|(pid, _)| pid).collect()
    }
}

fn assert_gone(pids: &[u64]) {
    for &pid in pids {
        wait_until(&format!("process {pid} is gone"), Duration::from_secs(15), || !is_alive(pid));
    }
}

#[test]
fn a_killed_worker_is_replaced_and_ctrl_c_keeps_what_was_measured() {
    let _alone = alone();
    // Enough to measure that the second engine is still busy when it is interrupted.
    let mut run = Running::start(&["execution.retries=1"]);
    run.wait_for("probed", 2);
    let first = run.descendants();
    assert!(first.len() >= 2, "a worker and its engine core: {first:?}");
    send(Signal::SIGKILL, first[0]);
    assert_gone(&first);
    run.wait_for("engine-failed", 1);
    assert!(run.journal().contains("was killed by SIGKILL"), "{}", run.journal());
    let before = run.count("probed");
    assert!(before >= 2);

    run.wait_for("loaded", 2);
    run.wait_for("probed", before + 1);
    let second = run.descendants();
    send(Signal::SIGINT, run.child.id().into());
    let status = wait_for(&mut run.child, Duration::from_secs(15));
    assert_eq!(status.code(), Some(130));
    assert_gone(&second);
    let published = run.place.run_json();
    assert_eq!(published["status"], "interrupted");
    assert_eq!(probes(&published).len(), run.count("probed"));
    assert!(probes(&published).len() > before);
}

#[test]
fn a_killed_executor_leaves_no_process() {
    let _alone = alone();
    let mut run = Running::start(&[]);
    run.wait_for("probed", 1);
    let processes = run.descendants();
    assert!(processes.len() >= 2, "a worker and its engine core: {processes:?}");
    send(Signal::SIGKILL, run.child.id().into());
    assert_eq!(wait_for(&mut run.child, Duration::from_secs(5)).signal(), Some(9));
    assert_gone(&processes);
    assert!(run.count("probed") >= 1, "what was measured is in the journal");
}
