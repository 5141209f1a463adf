//! The executor against a worker that is a real process but drives no engine: what it does when things go wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::{
    Workplace, is_alive, read_requests, send, stderr, stdout, wait_for, wait_until, without_telemetry,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A workplace with a fake worker that behaves as told, and an experiment on it.
///
/// First tokens come 30.1 ms apart, so limits of 1 s and 3 s have the ceilings 33 and 99 at an ok rate of 1.
pub fn workplace(behaviour: &str, execution: &str) -> Workplace {
    let place = Workplace::new();
    let python = place.write("fake_worker.py", include_str!("fake_worker.py"));
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    place.write("libceiling_worker.so", "");
    let experiment = format!(
        r#"
        schema = 1
        name = "fake"
        description = "How many?"

        [model]
        id = "some/model"

        [engine]
        kind = "vllm"
        python = "{}"
        env = {{ FAKE = "{}", FAKE_STARTS = "{}", FAKE_VERSION = "{}" }}

        [workload]
        input_tokens = 512
        output_tokens = 32
        load = "burst"
        hold = "1s"

        [sla]
        ok_rate = [1.0]
        ttft = ["1s", "3s"]

        [search]
        strategy = "bisect"
        max_concurrency = 256
        resolution = 1

        [execution]
        {execution}
        "#,
        python.display(),
        behave(&place, behaviour).display(),
        place.path("starts").display(),
        env!("CARGO_PKG_VERSION"),
    );
    place.write("fake.toml", &experiment);
    place
}

/// Tells the next fake worker how to behave; nothing that an experiment says changes with it.
pub fn behave(place: &Workplace, behaviour: &str) -> PathBuf {
    place.write("behaviour", behaviour)
}

pub fn run(place: &Workplace) -> Output {
    run_with(place, &[])
}

pub fn run_with(place: &Workplace, arguments: &[&str]) -> Output {
    let arguments = [&["run", "fake.toml"], arguments].concat();
    place.ceiling(&arguments).env("CEILING_WORKER", place.path("libceiling_worker.so")).output().unwrap()
}

pub fn levels(run: &Value) -> Vec<u64> {
    run["ladders"][0]["probes"].as_array().unwrap().iter().map(|p| p["concurrency"].as_u64().unwrap()).collect()
}

/// What the fake workers noted when they started.
pub fn starts(place: &Workplace) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path("starts")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// No worker, and nothing that one started, is left.
fn assert_nothing_is_left(place: &Workplace) {
    for start in starts(place) {
        for who in ["pid", "child"] {
            let pid = start[who].as_u64().unwrap();
            wait_until(&format!("the {who} of a worker is gone"), Duration::from_secs(10), || !is_alive(pid));
        }
    }
}

pub fn statuses(run: &Value) -> Vec<&str> {
    run["cells"].as_array().unwrap().iter().map(|cell| cell["status"].as_str().unwrap_or("none")).collect()
}

fn reason(run: &Value) -> &str {
    run["cells"][0]["failure"]["reason"].as_str().unwrap()
}

#[test]
fn a_plan_is_carried_out_with_one_load_and_published() {
    let place = workplace("well", "");
    let output = run(&place);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(run["status"], "complete");
    assert_eq!(run["simulated"], false);
    assert_eq!(statuses(&run), ["found", "found"]);
    assert_eq!([&run["cells"][0]["ceiling"], &run["cells"][1]["ceiling"]], [33, 99]);
    assert_eq!(run["engines"][0]["loads"], 1);
    assert_eq!(run["provenance"]["engine"], serde_json::json!({ "kind": "vllm", "version": "0.0-fake" }));
    assert!(run["ladders"][0]["certificate_ratio"].as_f64().unwrap() > 1.0);
    assert!(stdout(&output).contains("33"), "{}", stdout(&output));
    assert_nothing_is_left(&place);

    let cells = std::fs::read_to_string(place.run_directory().join("cells.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(cells.as_bytes());
    let head = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let column = |name: &str| head.iter().position(|head| head == name).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(&rows[0][column("ceiling")], "33");
    assert_eq!(&rows[1][column("ttft_limit_s")], "3");
    assert!(place.run_directory().join("logs").is_dir());

    assert!(std::fs::read(place.run_directory().join("requests.parquet")).unwrap().ends_with(b"PAR1"));
}

#[test]
fn a_probe_stops_once_its_verdicts_stand() {
    let place = workplace("well", "");
    assert_eq!(run(&place).status.code(), Some(0));
    // Each probe waits for a first token only as long as its laxest open limit allows: none is longer than that and a hold.
    let run = place.run_json();
    for probe in run["ladders"][0]["probes"].as_array().unwrap() {
        assert!(probe["seconds"].as_f64().unwrap() <= 4.0, "{probe}");
    }
}

#[test]
fn an_engine_that_does_not_load_costs_its_cells_and_says_why() {
    let place = workplace("load-fails", "retries = 1");
    let output = run(&place);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(run["status"], "partial");
    assert_eq!(statuses(&run), ["failed", "failed"]);
    assert!(reason(&run).contains("the weights are upside down"), "{}", reason(&run));
    assert_eq!(starts(&place).len(), 2, "one retry");
    let log = run["cells"][0]["failure"]["log"].as_str().unwrap();
    assert!(std::fs::read_to_string(place.path("results").join(log)).unwrap().contains("this goes to the log"));
    assert!(stdout(&output).contains("the weights are upside down"), "{}", stdout(&output));
    assert!(stdout(&output).contains(&format!("(log: results/{log})")), "{}", stdout(&output));
    let report = |format: &str| stdout(&place.run(&["report", "latest", "--format", format]));
    let escaped = log.replace('#', "\\#");
    assert!(report("markdown").contains(&format!("(log: results/{escaped})")), "{}", report("markdown"));
    let page = report("html");
    assert!(
        page.contains(&format!("<summary>Log <code>results/{log}</code>")) && page.contains("this goes to the log")
    );
    assert!(report("json").contains(&format!("\"{log}\"")), "programs find it where it was");
    assert_nothing_is_left(&place);
}

#[test]
fn what_failed_is_published_while_the_next_engine_loads() {
    let place = workplace("one-fails", "retries = 0");
    let run = place.ceiling(&["run", "fake.toml", "--set", "matrix.'engine.max_num_seqs'=[1, 2]"]);
    let mut child =
        { run }.env("CEILING_WORKER", place.path("libceiling_worker.so")).stdin(Stdio::null()).spawn().unwrap();
    let table = || glob::glob(&format!("{}/*/*/cells.csv", place.path("results").display())).unwrap().next();
    let failed = || {
        let table = table().map(|table| std::fs::read_to_string(table.unwrap()).unwrap()).unwrap_or_default();
        table.matches("the hub said 502").count()
    };
    wait_until("both cells say why", Duration::from_secs(20), || failed() == 2);
    send(Signal::SIGTERM, child.id().into());
    assert_eq!(wait_for(&mut child, Duration::from_secs(15)).code(), Some(130));
    assert_nothing_is_left(&place);
}

#[test]
fn a_wrong_argument_is_not_tried_again() {
    let place = workplace("bad-argument", "retries = 3");
    assert_eq!(run(&place).status.code(), Some(1));
    assert_eq!(starts(&place).len(), 1);
    assert!(reason(&place.run_json()).contains("max_num_sqs"));
}

#[test]
fn a_worker_that_dies_keeps_what_was_measured() {
    let place = workplace("dies", "retries = 0");
    assert_eq!(run(&place).status.code(), Some(1));
    let run = place.run_json();
    assert_eq!(run["ladders"][0]["probes"].as_array().unwrap().len(), 2);
    assert_eq!(statuses(&run), ["failed", "failed"]);
    assert!(reason(&run).contains("ended with exit code 7"), "{}", reason(&run));
    assert!(reason(&run).contains("the cat sat on the cable"), "{}", reason(&run));
    assert_eq!(run["cells"][0]["highest_pass"], 2);
    assert_nothing_is_left(&place);
}

#[test]
fn a_ladder_goes_on_with_another_engine() {
    let place = workplace("dies-once", "retries = 1");
    let output = run(&place);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(statuses(&run), ["found", "found"]);
    assert_eq!(run["engines"][0]["loads"], 2);
    assert_eq!(levels(&run)[..4], [1, 2, 4, 8], "no probe was repeated");
    assert_nothing_is_left(&place);
}

/// Two ladders on one engine: prompts of 512 tokens, then of 1024.
pub fn run_two_ladders(place: &Workplace) -> Output {
    run_with(place, &["--set", "workload.input_tokens=[512, 1024]"])
}

#[test]
fn a_ladder_that_loses_its_engine_costs_no_other() {
    for (behaviour, execution, why, starts_expected) in [
        ("dies at 512", "retries = 1", "too many for the cat", 3),
        ("silent at 512", "retries = 1\ncell_timeout = \"500ms\"", "execution.cell_timeout", 2),
        ("refuses 512", "retries = 1", "more than max_model_len", 1),
    ] {
        let place = workplace(behaviour, execution);
        let output = run_two_ladders(&place);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let run = place.run_json();
        assert_eq!(statuses(&run), ["failed", "failed", "found", "found"], "{behaviour}");
        assert!(reason(&run).contains(why), "{}", reason(&run));
        assert_eq!(starts(&place).len(), starts_expected, "{behaviour}");
        assert_nothing_is_left(&place);
    }
}

#[test]
fn each_ladder_has_retries_of_its_own() {
    let place = workplace("dies in each", "retries = 1");
    let output = run_two_ladders(&place);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(statuses(&place.run_json()), ["found"; 4]);
    assert_eq!(starts(&place).len(), 3);
}

#[test]
fn an_engine_that_does_not_come_back_at_once_costs_no_ladder() {
    let place = workplace("dies, and loads from 3", "retries = 1");
    let output = run_two_ladders(&place);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(statuses(&place.run_json()), ["found"; 4]);
    assert_eq!(starts(&place).len(), 3);
    assert!(stderr(&output).contains("the hub said 502; trying again"), "{}", stderr(&output));
    assert_nothing_is_left(&place);
}

#[test]
fn an_engine_that_does_not_stay_up_is_given_up() {
    let table = [
        // The one that died, and as many in a row as an engine is loaded at most.
        ("dies, and loads from 9", "retries = 2", "the hub said 502", 1, 4),
        // Two loads for each ladder.
        ("dies, and loads in turns", "retries = 1", "the cat sat on the cable", 4, 7),
    ];
    for (behaviour, execution, why, loads, starts_expected) in table {
        let place = workplace(behaviour, execution);
        let output = run_two_ladders(&place);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let run = place.run_json();
        assert_eq!(statuses(&run), ["failed"; 4], "{behaviour}");
        assert!(reason(&run).contains(why), "{}", reason(&run));
        assert_eq!(run["engines"][0]["loads"], loads, "{behaviour}");
        assert_eq!(starts(&place).len(), starts_expected, "{behaviour}");
        assert_nothing_is_left(&place);
    }
}

#[test]
fn what_an_earlier_engine_died_of_is_no_reason_for_another() {
    let place = workplace("dies twice", "retries = 1");
    assert_eq!(run(&place).status.code(), Some(1));
    let run = place.run_json();
    assert!(reason(&run).ends_with("was killed by SIGKILL"), "{}", reason(&run));
    let log = run["cells"][0]["failure"]["log"].as_str().unwrap();
    assert!(std::fs::read_to_string(place.path("results").join(log)).unwrap().contains("the cat sat on the cable"));
}

#[test]
fn an_engine_that_loads_for_too_long_is_ended() {
    let place = workplace("load-hangs", "engine_timeout = \"3s\"\nretries = 0");
    assert_eq!(run(&place).status.code(), Some(1));
    assert!(reason(&place.run_json()).contains("execution.engine_timeout"));
    assert_nothing_is_left(&place);
}

#[test]
fn a_ladder_that_takes_too_long_is_ended() {
    let place = workplace("falls-silent", "cell_timeout = \"500ms\"\nretries = 0");
    assert_eq!(run(&place).status.code(), Some(1));
    let run = place.run_json();
    assert!(reason(&run).contains("execution.cell_timeout"), "{}", reason(&run));
    assert_eq!(run["ladders"][0]["probes"].as_array().unwrap().len(), 2);
    assert_nothing_is_left(&place);
}

#[test]
fn a_worker_of_another_version_says_what_to_build() {
    let place = workplace("wrong-version", "retries = 3");
    assert_eq!(run(&place).status.code(), Some(1));
    assert!(reason(&place.run_json()).contains("cargo build --release"));
    assert_eq!(starts(&place).len(), 1);
}

#[test]
fn a_worker_that_babbles_is_ended() {
    let place = workplace("babbles", "retries = 0");
    assert_eq!(run(&place).status.code(), Some(1));
    assert!(reason(&place.run_json()).contains("cannot be read"));
    assert_nothing_is_left(&place);
}

/// Starts a run whose worker falls silent in its third probe, and waits for that; SIGHUP is as `env` is told.
fn begin_silent(place: &Workplace, hangups: &str) -> std::process::Child {
    let run = place.ceiling(&["run", "fake.toml"]);
    let mut command = std::process::Command::new("env");
    command.arg(hangups).arg(run.get_program()).args(run.get_args()).current_dir(place.path("."));
    let child = command.env("CEILING_WORKER", place.path("libceiling_worker.so")).stdin(Stdio::null()).spawn().unwrap();
    let log = || glob::glob(&format!("{}/*/*/logs/*.log", place.path("results").display())).unwrap().next();
    let is_silent = || log().is_some_and(|log| std::fs::read_to_string(log.unwrap()).unwrap().contains("silent now"));
    wait_until("the third probe runs", Duration::from_secs(20), is_silent);
    child
}

#[test]
fn signals_end_a_run_at_once_and_keep_what_was_measured() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let place = workplace("falls-silent", "");
        let mut child = begin_silent(&place, "--default-signal=HUP");
        send(signal, child.id().into());
        let status = wait_for(&mut child, Duration::from_secs(15));
        assert_eq!(status.code(), Some(130), "{signal}");
        let run = place.run_json();
        assert_eq!(run["status"], "interrupted");
        assert_eq!(run["ladders"][0]["probes"].as_array().unwrap().len(), 2);
        assert_nothing_is_left(&place);
    }
}

#[test]
fn a_run_under_nohup_goes_on_when_the_terminal_is_gone() {
    let place = workplace("falls-silent", "");
    let mut child = begin_silent(&place, "--ignore-signal=HUP");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let has_hangup = |mask: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(mask)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap() & 1 == 1
    };
    assert_eq!((has_hangup("SigIgn:"), has_hangup("SigCgt:")), (true, false));
    send(Signal::SIGTERM, child.id().into());
    assert_eq!(wait_for(&mut child, Duration::from_secs(15)).code(), Some(130));
    assert_nothing_is_left(&place);
}

#[test]
fn a_deadline_leaves_what_would_not_end_in_time_for_another_time() {
    let place = workplace("well", "");
    // By the rule of thumb an engine loads in 90 s.
    let output = run_with(&place, &["--deadline", "60s"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!place.path("starts").exists(), "no engine was begun");
    let left = place.run_json();
    assert_eq!(left["status"], "partial");
    assert_eq!(statuses(&left), ["none", "none"]);
    assert!(left["cells"][0]["left"].as_str().unwrap().contains("--deadline 60s"), "{left}");
    assert!(stdout(&output).contains("left: "), "{}", stdout(&output));

    let output = run_with(&place, &["--resume", "--deadline", "8h"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let whole = place.run_json();
    assert_eq!(statuses(&whole), ["found", "found"]);
    assert!(whole["cells"][0].get("left").is_none(), "{whole}");
    // What a run measured is what the next plan expects.
    let plan = place.run(&["plan", "fake.toml"]);
    assert!(stdout(&plan).contains("estimate: what earlier runs took"), "{}", stdout(&plan));
}

#[test]
fn a_missing_library_starts_nothing() {
    let place = workplace("well", "");
    let output = place.ceiling(&["run", "fake.toml"]).env("CEILING_WORKER", "/nowhere/lib.so").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cargo build"), "{}", stderr(&output));
    assert!(!place.path("starts").exists() && !place.path("results").exists());
}

#[test]
fn gpus_narrow_what_the_caller_can_see() {
    let place = workplace("well", "gpus = [1]");
    let output = place
        .ceiling(&["run", "fake.toml"])
        .env("CEILING_WORKER", place.path("libceiling_worker.so"))
        .env("CUDA_VISIBLE_DEVICES", "4,6")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(starts(&place)[0]["devices"], "6");
}

/// What a run measured and answered. Keys are left out: they hold the directory that the fake worker lies in.
pub fn outcome(run: &Value) -> Value {
    let bracket = |cell: &Value| [&cell["status"], &cell["highest_pass"], &cell["lowest_fail"]].map(Value::clone);
    let answers: Vec<_> = run["cells"].as_array().unwrap().iter().map(bracket).collect();
    let mut probes = run["ladders"][0]["probes"].clone();
    without_telemetry(&mut probes);
    serde_json::json!({ "answers": answers, "probes": probes, "status": run["status"] })
}

#[test]
fn a_resumed_run_repeats_nothing_and_ends_like_one_that_was_not_interrupted() {
    let whole = workplace("well", "retries = 0");
    assert_eq!(run(&whole).status.code(), Some(0));

    let place = workplace("dies", "retries = 0");
    assert_eq!(run(&place).status.code(), Some(1));
    assert_eq!(levels(&place.run_json()), [1, 2]);
    behave(&place, "well");
    let output = run_with(&place, &["--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let resumed = place.run_json();
    assert!(outcome(&resumed) == outcome(&whole.run_json()), "{:?}", levels(&resumed));
    assert_eq!(resumed["engines"][0]["loads"], 2);
    assert!(!place.run_directory().join("run.lock").exists());

    let requests = read_requests(&place.run_directory().join("requests.parquet"));
    let rows: u64 = requests["probes"].as_array().unwrap().iter().map(|probe| probe[3].as_u64().unwrap()).sum();
    assert_eq!(rows, levels(&resumed).iter().sum::<u64>(), "one row per request");
    let again = run_with(&place, &["--resume"]);
    assert_eq!(again.status.code(), Some(2), "nothing is left to go on with");
    assert!(stderr(&again).contains("complete"), "{}", stderr(&again));
}

#[test]
fn a_torn_journal_costs_the_torn_entry_only() {
    let place = workplace("dies", "retries = 0");
    run(&place);
    let journal = place.run_directory().join("journal.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let second_probe = text.match_indices("\"entry\":\"probed\"").nth(1).unwrap().0;
    std::fs::write(&journal, &text[..second_probe + 30]).unwrap();
    behave(&place, "well");
    let output = run_with(&place, &["--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("its last line is damaged, and was dropped"), "{}", stderr(&output));
    assert_eq!(levels(&place.run_json())[..4], [1, 2, 4, 8]);
}

#[test]
fn a_resumed_run_judges_old_probes_under_a_new_sla() {
    let place = workplace("dies", "retries = 0");
    run(&place);
    behave(&place, "well");
    let output = run_with(&place, &["--resume", "--set", "sla.ttft=[\"1s\", \"2s\"]"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("is not as it was"), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(levels(&run)[..4], [1, 2, 4, 8], "no probe was repeated");
    assert_eq!([&run["cells"][0]["ceiling"], &run["cells"][1]["ceiling"]], [33, 66]);
}

#[test]
fn a_run_that_goes_on_is_not_resumed_by_another() {
    let place = workplace("falls-silent", "");
    let library = place.path("libceiling_worker.so");
    let mut child = place.ceiling(&["run", "fake.toml"]).env("CEILING_WORKER", library).spawn().unwrap();
    // It is locked before it is published for the first time.
    let published = || glob::glob(&format!("{}/*/*/run.json", place.path("results").display())).unwrap().next();
    wait_until("the run is published", Duration::from_secs(20), || published().is_some());
    let output = run_with(&place, &["--resume"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(&format!("belongs to process {}", child.id())), "{}", stderr(&output));
    send(Signal::SIGINT, child.id().into());
    wait_for(&mut child, Duration::from_secs(15));
}

#[test]
fn a_run_that_goes_on_is_told_from_one_that_was_killed() {
    let place = workplace("falls-silent", "");
    let mut child = begin_silent(&place, "--default-signal=HUP");
    let (list, report) = (|| stdout(&place.run(&["list"])), || stderr(&place.run(&["report", "latest"])));
    assert!(list().contains(" running "), "{}", list());
    assert!(report().contains("goes on: this is what it has published so far"), "{}", report());
    send(Signal::SIGKILL, child.id().into());
    wait_for(&mut child, Duration::from_secs(15));
    assert!(list().contains(" partial, killed "), "{}", list());
    assert!(report().contains("was killed: `ceiling run FILE --resume"), "{}", report());
}

/// Runs with these GPUs in sight and with an axis of parallel sizes.
fn run_parallel(place: &Workplace, gpus: &str, sizes: &str) -> Output {
    let axis = format!("matrix.\"engine.tensor_parallel_size\"={sizes}");
    place
        .ceiling(&["run", "fake.toml", "--set", &axis])
        .env("CEILING_WORKER", place.path("libceiling_worker.so"))
        .env("CUDA_VISIBLE_DEVICES", gpus)
        .output()
        .unwrap()
}

#[test]
fn groups_side_by_side_have_gpus_of_their_own() {
    let place = workplace("well", "");
    let output = run_parallel(&place, "4,5,6,7", "[1, 2, 4]");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // The first start is that of the check. The widest group goes first; then the other two run side by side.
    let devices: Vec<_> =
        starts(&place)[1..].iter().map(|start| start["devices"].as_str().unwrap().to_owned()).collect();
    assert_eq!(devices[0], "4,5,6,7");
    assert_eq!(std::collections::BTreeSet::from(["4,5", "6"]), devices[1..].iter().map(String::as_str).collect());
    assert!(place.run_json()["cells"].as_array().unwrap().iter().all(|cell| cell["status"] == "found"));
}

#[test]
fn a_group_that_is_too_wide_costs_only_itself() {
    let place = workplace("well", "");
    let output = run_parallel(&place, "0", "[1, 2]");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let run = place.run_json();
    let of = |status: &str| run["cells"].as_array().unwrap().iter().filter(|cell| cell["status"] == status).count();
    assert_eq!((of("found"), of("failed")), (2, 2));
    assert!(stdout(&output).contains("takes 2 GPUs"), "{}", stdout(&output));
}

#[test]
fn what_vllm_refuses_is_said_before_anything_is_loaded() {
    let place = workplace("bad-argument", "");
    let output = run_parallel(&place, "0,1", "[1, 2]");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("max_num_sqs is not an engine argument").count(), 2, "{}", stderr(&output));
    assert_eq!(starts(&place).len(), 1);
    assert!(!place.path("results").exists());
}
