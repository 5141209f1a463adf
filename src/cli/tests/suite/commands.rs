//! The verbs as a user meets them, on simulated engines and on a fake worker.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Workplace, stderr, stdout, workspace};
use serde_json::Value;

pub const SIMULATED: &str = r#"
    schema = 1
    name = "sim"
    description = "How many?"
    [engine]
    kind = "sim"
    [workload]
    input_tokens = 1000
    output_tokens = 32
    hold = "1s"
    [sla]
    ok_rate = [0.95]
    ttft = ["1s", "3s"]
    [search]
    max_concurrency = 1024
    resolution = "5%"
    [matrix]
    "engine.max_num_seqs" = [64, 256]
"#;

pub fn simulated() -> Workplace {
    let place = Workplace::new();
    place.write("sim.toml", SIMULATED);
    place
}

fn validate(schema: &str, value: &Value) {
    let text = std::fs::read_to_string(workspace().join("schemas").join(schema)).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// A pipe that nobody reads any more.
fn closed() -> std::io::PipeWriter {
    let (_, writer) = std::io::pipe().unwrap();
    writer
}

#[test]
fn a_reader_that_stops_reading_ends_nothing() {
    let place = simulated();
    let mut run = place.ceiling(&["run", "sim.toml"]);
    assert_eq!(run.stdout(closed()).stderr(closed()).status().unwrap().code(), Some(0));
    assert_eq!(place.run_json()["status"], "complete");
    let rehearse = ["rehearse", "sim.toml", "--seeds", "2"];
    let commands: [&[&str]; 7] = [
        &["plan", "sim.toml"],
        &["check", "sim.toml"],
        &["list"],
        &["report", "latest"],
        &["history", "sim"],
        &["completions", "bash"],
        &rehearse,
    ];
    for arguments in commands {
        let status = place.ceiling(arguments).stdout(closed()).stderr(closed()).status().unwrap();
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn what_could_not_be_printed_is_said_and_what_was_measured_is_kept() {
    let place = simulated();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = place.ceiling(&["run", "sim.toml"]).stdout(full()).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    assert!(stderr(&run).contains("error: cannot write to the standard output: No space left"), "{}", stderr(&run));
    assert_eq!(place.run_json()["status"], "complete");
    let list = place.ceiling(&["list"]).stdout(full()).output().unwrap();
    assert_eq!(list.status.code(), Some(2), "{}", stderr(&list));
}

#[test]
fn a_report_goes_where_a_link_points_and_into_what_is_no_file() {
    let place = simulated();
    place.run(&["run", "sim.toml"]);
    let report = |output: &str| {
        let written = place.run(&["report", "latest", "--format", "csv", "--output", output]);
        assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    };
    let is_csv = |text: &str| text.starts_with("experiment,run_id,");
    place.write("old.csv", "old");
    std::os::unix::fs::symlink("old.csv", place.path("link.csv")).unwrap();
    std::os::unix::fs::symlink("new.csv", place.path("to-nowhere.csv")).unwrap();
    for (output, file) in [("link.csv", "old.csv"), ("to-nowhere.csv", "new.csv")] {
        report(output);
        assert!(place.path(output).is_symlink());
        assert!(is_csv(&std::fs::read_to_string(place.path(file)).unwrap()), "{file}");
    }
    let pipe = place.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    report("pipe");
    assert!(is_csv(&reader.join().unwrap()));
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&pipe.metadata().unwrap().file_type()));
}

#[test]
fn a_cell_that_is_not_measured_again_is_no_drop_that_is_excluded() {
    let place = simulated();
    place.run(&["run", "sim.toml", "--results", "before"]);
    place.run(&["run", "sim.toml", "--results", "after", "--only", "max_num_seqs=64,*"]);
    let only = |results: &str| {
        let mut found = glob::glob(&format!("{}/sim/*/run.json", place.path(results).display())).unwrap();
        found.next().unwrap().unwrap().display().to_string()
    };
    let diff = |before: &str, after: &str| {
        let (before, after) = (only(before), only(after));
        place.run(&["diff", &before, &after, "--threshold", "50%", "--fail-on", "regression"]).status.code()
    };
    assert_eq!((diff("before", "before"), diff("before", "after")), (Some(0), Some(3)));
}

#[test]
fn a_doctor_names_what_is_there_and_what_to_do() {
    let place = Workplace::new();
    let library = place.write("libceiling_worker.so", "");
    let doctor = |python: &str| {
        let mut command = place.ceiling(&["doctor", "--python", python]);
        command.env("CEILING_WORKER", &library).output().unwrap()
    };
    let missing = doctor("nowhere/python");
    assert_eq!(missing.status.code(), Some(1), "{}", stdout(&missing));
    assert!(stdout(&missing).contains("make setup"), "{}", stdout(&missing));
    assert!(stdout(&missing).contains("git init"), "{}", stdout(&missing));
    // Whatever Python this machine has, it holds no vLLM under this name when it looks nowhere else.
    let bare = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(place.path("bare")).status().unwrap();
    assert!(bare.success());
    let without = doctor("bare/bin/python");
    assert_eq!(without.status.code(), Some(1), "{}", stdout(&without));
    assert!(stdout(&without).contains("uv pip install"), "{}", stdout(&without));
}

#[test]
fn the_schemas_are_those_of_this_version() {
    let place = Workplace::new();
    let directory = workspace().join("schemas");
    let output = place.run(&["schema", "--check", "--directory", directory.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let elsewhere = place.run(&["schema", "--check", "--directory", "none"]);
    assert_eq!(elsewhere.status.code(), Some(1));
    let missing = "none/run.schema.json is not there: write it with `ceiling schema --directory none`";
    assert!(stderr(&elsewhere).contains(missing), "{}", stderr(&elsewhere));
    assert_eq!(place.run(&["schema", "--directory", "new"]).status.code(), Some(0));
    assert_eq!(place.run(&["schema", "--check", "--directory", "new"]).status.code(), Some(0));
}

#[test]
fn a_simulated_run_says_so_and_validates() {
    let place = simulated();
    let output = place.run(&["run", "sim.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("simulated"), "{}", stdout(&output));
    let run = place.run_json();
    validate("run.schema.json", &run);
    assert_eq!(run["simulated"], true);
    assert_eq!(run["engines"].as_array().unwrap().len(), 2);
    assert_eq!(run["cells"].as_array().unwrap().len(), 4);
    for format in ["markdown", "csv", "json"] {
        let output = place.run(&["report", "latest", "--format", format]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains("sim"));
    }
    let list = place.run(&["list"]);
    assert!(stdout(&list).contains(run["run_id"].as_str().unwrap()), "{}", stdout(&list));
}

#[test]
fn who_looks_on_reads_what_each_probe_was_for() {
    let place = Workplace::new();
    place.write("sim.toml", &SIMULATED.replace("[0.95]", "[0.9, 0.95]"));
    let output = place.run(&["run", "sim.toml"]);
    let said = stderr(&output);
    assert!(said.lines().any(|line| line.contains(" in flight, ") && line.contains("first tokens within ")), "{said}");
    let judged: Vec<&str> = said.lines().filter(|line| line.contains(": ok ")).collect();
    assert!(!judged.is_empty(), "{said}");
    for line in judged {
        // Once for both ok rates.
        assert_eq!((line.matches(" in 1s").count(), line.matches(" in 3s").count()), (1, 1), "{line}");
    }
}

#[test]
fn results_that_cannot_be_looked_into_are_not_taken_for_none() {
    let place = simulated();
    let listed = |code: i32, says: &str| {
        let output = place.run(&["list"]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let said = stdout(&output) + &stderr(&output);
        assert!(said.contains(says), "{said}");
    };
    listed(0, "no runs under results");
    let elsewhere = place.run(&["list", "--results", "reslts"]);
    assert_eq!(elsewhere.status.code(), Some(2), "{}", stdout(&elsewhere));
    assert!(stderr(&elsewhere).contains("there is no directory reslts"), "{}", stderr(&elsewhere));
    place.write("results", "not a directory");
    listed(2, "cannot look for runs in results");
    let output = place.run(&["plan", "sim.toml"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn an_engine_that_fails_too_many_requests_is_named_where_nothing_passes() {
    let failing = SIMULATED.replace("kind = \"sim\"", "kind = \"sim\"\nerror_rate = 0.02").replace("[0.95]", "[0.99]");
    let mut explained = 0;
    for seed in 0..4 {
        let place = Workplace::new();
        place.write("sim.toml", &failing.replace("[workload]", &format!("[workload]\nseed = {seed}")));
        let output = place.run(&["run", "sim.toml"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let run = place.run_json();
        validate("run.schema.json", &run);
        for cell in run["cells"].as_array().unwrap().iter().filter(|cell| cell["status"] == "below-one") {
            assert_eq!(cell["limited_by"], "engine-error", "{cell}");
            let figure = |name: &str| cell["limit"][name].as_f64().unwrap();
            assert!(figure("errors") > 0.01 * figure("answered"), "{cell}");
            assert!(stdout(&output).contains("engine-error"), "{}", stdout(&output));
            // Of one request alone nobody would say so: the probes of many do.
            explained += u32::from(figure("answered") > 1.0);
        }
    }
    assert!(explained > 0);
}

#[test]
fn the_same_file_gives_the_same_answers() {
    let answers = || {
        let place = simulated();
        place.run(&["run", "sim.toml"]);
        let run = place.run_json();
        (run["cells"].clone(), run["ladders"].clone())
    };
    assert!(answers() == answers());
}

#[test]
fn a_part_of_a_plan_is_chosen_by_id() {
    let place = simulated();
    let output = place.run(&["run", "sim.toml", "--only", "max_num_seqs=64*ttft=3s"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = place.run_json();
    assert_eq!(run["cells"].as_array().unwrap().len(), 1);
    assert_eq!(run["cells"][0]["id"], "max_num_seqs=64,ttft=3s");
    let none = place.run(&["run", "sim.toml", "--only", "nothing"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("matches none of the 4 cells"), "{}", stderr(&none));
}

#[test]
fn a_plan_prints_for_people_and_for_programs() {
    let place = simulated();
    let table = place.run(&["plan", "sim.toml"]);
    assert!(stdout(&table).contains("4 cells on 2 ladders, 2 engine loads"), "{}", stdout(&table));
    let json: Value = serde_json::from_str(&stdout(&place.run(&["plan", "sim.toml", "--format", "json"]))).unwrap();
    assert_eq!(json["cells"].as_array().unwrap().len(), 4);
    assert_eq!(json["cells"][0]["axes"]["engine.max_num_seqs"], 64);
    let csv = stdout(&place.run(&["plan", "sim.toml", "--format", "csv"]));
    assert_eq!(csv.lines().count(), 5);
    assert!(!place.path("results").exists(), "a plan writes nothing");
    // A simulated engine takes no time, whatever its own clock said.
    place.run(&["run", "sim.toml"]);
    let again = place.run(&["plan", "sim.toml"]);
    assert_eq!(stdout(&again), stdout(&table));
    for here in [&[] as &[&str], &["--on", "local"]] {
        assert_eq!(place.run(&[&["run", "sim.toml", "--deadline", "30s"], here].concat()).status.code(), Some(0));
    }
    let handed = place.run(&["run", "sim.toml", "--deadline", "8h", "--set", "execution.on=slurm"]);
    assert!(handed.status.code() == Some(2) && stderr(&handed).contains("execution.slurm.time"), "{}", stderr(&handed));
}

#[test]
fn a_path_is_no_run_of_another_experiment() {
    let place = simulated();
    place.run(&["run", "sim.toml"]);
    let run = place.run_directory().display().to_string();
    let name = place.run_json()["experiment"]["name"].as_str().unwrap().to_owned();
    for arguments in [&["report", &run] as &[&str], &["diff", &run, &run]] {
        let of = |experiment: &str| place.run(&[arguments, &["--experiment", experiment]].concat());
        assert_eq!(of(&name).status.code(), Some(0));
        let other = of("other");
        assert!(other.status.code() == Some(2) && stderr(&other).contains("asks for other"), "{}", stderr(&other));
    }
}

#[test]
fn a_faulty_file_starts_nothing_and_shows_every_fault() {
    let place = simulated();
    place.write("bad.toml", &SIMULATED.replace("hold =", "hodl =").replace("\"5%\"", "\"5 percent\""));
    for verb in ["plan", "check", "run"] {
        let output = place.run(&[verb, "bad.toml"]);
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(said.contains("hodl") && said.contains("hold") && said.contains("5 percent"), "{said}");
        assert!(said.contains("bad.toml:"), "{said}");
    }
    assert!(!place.path("results").exists());
}

#[test]
fn runs_that_begin_together_have_an_id_each() {
    let place = simulated();
    let begun: Vec<_> = (0..6)
        .map(|_| place.ceiling(&["run", "sim.toml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for run in begun {
        let output = run.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let kept = glob::glob(&format!("{}/results/sim/*/run.json", place.path("").display())).unwrap();
    assert_eq!(kept.count(), 6);
}

#[test]
fn a_report_is_not_written_over_the_run_that_it_is_of() {
    let place = simulated();
    place.run(&["run", "sim.toml"]);
    let directory = place.run_directory();
    let report =
        |output: &Path| place.run(&["report", "latest", "--format", "json", "--output", output.to_str().unwrap()]);
    let before = std::fs::read_to_string(directory.join("journal.jsonl")).unwrap();
    std::os::unix::fs::symlink(directory.join("run.json"), place.path("link.json")).unwrap();
    let own = ["run.json", "cells.csv", "journal.jsonl", "requests.parquet"].map(|name| directory.join(name));
    for output in own.iter().chain([&place.path("link.json")]) {
        let refused = report(output);
        assert_eq!(refused.status.code(), Some(2), "{}", output.display());
        assert!(stderr(&refused).contains("name another file"), "{}", stderr(&refused));
    }
    assert!(std::fs::read_to_string(directory.join("journal.jsonl")).unwrap() == before);
    // What is no part of the run may lie beside it, and a `run.json` may lie anywhere else.
    for output in [directory.join("report.json"), place.path("run.json"), place.path("run.json")] {
        let written = report(&output);
        assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    }
}

#[test]
fn an_experiment_without_a_cell_that_is_wanted_has_no_run() {
    let place = simulated();
    let other = SIMULATED.replace("name = \"sim\"", "name = \"other\"").replace("[64, 256]", "[32, 128]");
    place.write("other.toml", &other);
    for files in [["sim.toml", "other.toml"], ["other.toml", "sim.toml"]] {
        let output = place.run(&[&["run"], files.as_slice(), &["--only", "max_num_seqs=64"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains("no cell of other matches --only max_num_seqs=64"), "{}", stderr(&output));
        assert_eq!(place.run_json()["cells"].as_array().unwrap().len(), 2);
        assert!(!place.path("results/other").exists());
        std::fs::remove_dir_all(place.path("results")).unwrap();
    }
}

#[test]
fn no_engine_is_called_faultless_before_it_was_asked() {
    let place = crate::executor::workplace("well", "");
    let check = |library: &str, python: &str| {
        let mut command = place.ceiling(&["check", "fake.toml", "--engine", "--set", python]);
        command.env("CEILING_WORKER", place.path(library)).env("TMPDIR", place.path("")).output().unwrap()
    };
    let there = std::fs::read_dir(place.path("")).unwrap().count();
    let python = "engine.python=\"/nowhere/python\"";
    for library in ["no-library.so", "libceiling_worker.so"] {
        let refused = check(library, python);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(!stdout(&refused).contains("no fault found"), "{}", stdout(&refused));
        assert!(!stderr(&refused).contains("lies in"), "{}", stderr(&refused));
        assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), there, "no log without a word in it is kept");
    }
}

#[test]
fn a_python_that_is_not_there_begins_no_run() {
    let place = crate::executor::workplace("well", "");
    let set = ["--set", "engine.python=\"nowhere/python\""];
    let asked = ["quick", "--model", "some/model", "--target-input-tokens", "100", "--python", "nowhere/python"];
    for arguments in [[&["run", "fake.toml"], &set[..]].concat(), asked.to_vec()] {
        let refused = place.run(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {}", stderr(&refused));
        let said = stderr(&refused);
        assert!(said.contains("no nowhere/python") && said.contains("make setup"), "{said}");
        assert!(!place.path("results").exists(), "{arguments:?}");
    }
}

#[test]
fn no_text_of_a_file_steers_the_terminal() {
    let place = simulated();
    place.write("sim.toml", &SIMULATED.replace("How many?", "\\u001b]0;title\\u0007How many?"));
    let run = place.run(&["run", "sim.toml"]);
    assert!(stdout(&run).contains("How many?") && !stdout(&run).contains('\u{1b}'), "{}", stdout(&run));
    let path = place.run_directory().join("run.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let harmful = "\\u001b[2J";
    let broken = [
        whole.replacen("\"status\": \"complete\"", &format!("\"status\": \"{harmful}\""), 1),
        whole.replacen("\"key\": \"", &format!("\"key\": \"{harmful}"), 1),
    ];
    for text in broken {
        assert!(text != whole);
        std::fs::write(&path, text).unwrap();
        for arguments in [
            &["report", "latest"] as &[&str],
            &["diff", "latest", "latest"],
            &["history", "sim"],
            &["run", "sim.toml", "--resume"],
        ] {
            let said = stderr(&place.run(arguments));
            assert!(!said.contains('\u{1b}'), "{arguments:?}: {said:?}");
        }
    }
}

#[test]
fn an_experiment_that_asks_no_question_has_no_colon_after_its_name() {
    let place = simulated();
    place.write("sim.toml", &SIMULATED.replace("description = \"How many?\"", ""));
    let run = place.run(&["run", "sim.toml"]);
    assert!(stdout(&run).contains("\nsim (simulated)\n"), "{}", stdout(&run));
}

#[test]
fn no_value_in_the_table_of_a_plan_reads_as_a_formula() {
    let place = crate::executor::workplace("well", "");
    let formula =
        ["plan", "fake.toml", "--format", "csv", "--set", "matrix.engine.dtype=[\"=1+1\", \"@sum\", \"half\"]"];
    let output = place.run(&formula);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = stdout(&output);
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let at = rows.headers().unwrap().iter().position(|name| name == "engine.dtype").unwrap();
    let values: Vec<String> = rows.records().map(|row| row.unwrap()[at].to_owned()).collect();
    assert_eq!(values, ["'=1+1", "'=1+1", "'@sum", "'@sum", "half", "half"]);
}

#[test]
fn a_place_that_cannot_be_written_is_said_before_anything_is_measured() {
    let place = Workplace::new();
    let library = place.write("libceiling_worker.so", "");
    for output in ["nowhere/out.json", "."] {
        let mut quick =
            place.ceiling(&["quick", "--model", "some/model", "--json-out", output, "--save-as", "kept.toml"]);
        let output = quick.env("CEILING_WORKER", &library).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("cannot write"), "{}", stderr(&output));
        assert!(!place.path("results").exists() && !place.path("kept.toml").exists());
    }
}

#[test]
fn a_cell_that_stays_undecided_says_why() {
    let place = Workplace::new();
    place.write("sim.toml", &SIMULATED.replace("max_concurrency = 1024", "max_concurrency = 1024\nbudget = \"1ms\""));
    let run = place.run(&["run", "sim.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let why = "the budget of 1ms of engine time ended first: raise search.budget";
    assert!(stdout(&run).contains(&format!("undecided: 4 cells: {why}")), "{}", stdout(&run));
    let published = place.run_json();
    validate("run.schema.json", &published);
    let cells = published["cells"].as_array().unwrap();
    assert!(cells.iter().all(|cell| cell["status"] == "undecided" && cell["undecided"] == "budget"), "{cells:#?}");
    for (format, says) in [("markdown", "- 4 cells undecided: the budget"), ("html", why), ("csv", why)] {
        let report = place.run(&["report", "latest", "--format", format]);
        assert!(stdout(&report).contains(says), "{format}: {}", stdout(&report));
    }
    // A journal in which no reason was kept yet.
    let path = place.run_directory().join("journal.jsonl");
    let journal = std::fs::read_to_string(&path).unwrap();
    assert!(journal.contains(r#","undecided":"budget""#), "{journal}");
    std::fs::write(&path, journal.replace(r#","undecided":"budget""#, "")).unwrap();
    let again = place.run(&["run", "sim.toml", "--resume", published["run_id"].as_str().unwrap()]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(place.run_json()["cells"][0]["undecided"].is_null() && !stdout(&again).contains("undecided:"));
}

#[test]
fn an_empty_name_is_no_file() {
    let output = Workplace::new().run(&["check", ""]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("an empty text names no experiment file"), "{}", stderr(&output));
}

#[test]
fn results_that_cannot_be_written_start_nothing() {
    let place = simulated();
    place.write("results", "a file, not a directory");
    let output = place.run(&["run", "sim.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--results"), "{}", stderr(&output));
}

#[test]
fn a_broken_result_is_named() {
    let place = simulated();
    place.run(&["run", "sim.toml"]);
    let path = place.run_directory().join("run.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let broken = [
        (whole[..whole.len() / 2].to_owned(), "it was cut off"),
        (whole.replacen("\"schema\": 2", "\"schema\": 9", 1), "newer schema 9"),
        (whole.replacen("\"status\": \"complete\"", "\"status\": 3", 1), "is broken"),
    ];
    for (text, reason) in broken {
        std::fs::write(&path, text).unwrap();
        let output = place.run(&["report", "latest"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    }
}

#[test]
fn a_rehearsal_states_how_often_it_was_right() {
    let place = simulated();
    let output = place.run(&["rehearse", "sim.toml", "--seeds", "20", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let rehearsal: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(rehearsal["seeds"], 20);
    assert_eq!(rehearsal["cells"].as_array().unwrap().len(), 4);
    // Without noise every bracket holds the truth.
    assert!(rehearsal["cells"].as_array().unwrap().iter().all(|cell| cell["coverage"] == 1.0));
    assert!(rehearsal["ladders"][0]["reference"]["engine_s_mean"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_stand_in_is_fitted_to_what_was_measured() {
    let place = Workplace::new();
    let exact =
        SIMULATED.replace("[64, 256]", "[256]").replace("resolution = \"5%\"", "resolution = 1\nstrategy = \"bisect\"");
    place.write("sim.toml", &exact);
    assert_eq!(place.run(&["run", "sim.toml"]).status.code(), Some(0));
    let path = place.run_directory().join("run.json");
    let refused = place.run(&["fit", "latest"]);
    assert_eq!(refused.status.code(), Some(2), "a simulated engine needs no stand-in");
    // As if it had been measured.
    let text = std::fs::read_to_string(&path).unwrap().replacen("\"simulated\": true", "\"simulated\": false", 1);
    std::fs::write(&path, text).unwrap();
    let output = place.run(&["fit", "latest"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let fitted: toml::Table = stdout(&output).parse().unwrap();
    let rate = fitted["engine"]["prefill_tokens_per_second"].as_float().unwrap();
    assert!((rate / 40_000.0 - 1.0).abs() < 0.05, "{rate}");
    // The fitted experiment is one that runs, and its ceilings are those that it was fitted to, within a request or two.
    place.write("fitted.toml", &stdout(&output));
    assert_eq!(place.run(&["rehearse", "fitted.toml", "--seeds", "5"]).status.code(), Some(0));
}

#[test]
fn a_quick_question_becomes_a_file_that_asks_the_same() {
    let place = Workplace::new();
    let python = place.write("fake_worker.py", include_str!("fake_worker.py"));
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let library = place.write("libceiling_worker.so", "");
    let behaviour = place.write("behaviour", "well");
    let env = format!(
        "engine.env={{ FAKE = \"{}\", FAKE_STARTS = \"{}\", FAKE_VERSION = \"{}\" }}",
        behaviour.display(),
        place.path("starts").display(),
        env!("CARGO_PKG_VERSION")
    );
    let question = [
        "quick",
        "--model",
        "some/model",
        "--target-input-tokens",
        "512",
        "--max-new-tokens",
        "32",
        "--ttft-timeout",
        "1",
        "--hold-seconds",
        "1",
        "--sla-ok-rate",
        "1",
        "--start-concurrency",
        "4",
        "--max-concurrency-cap",
        "64",
        "--dtype",
        "float32",
        "--python",
        python.to_str().unwrap(),
        "--set",
        &env,
        "--set",
        "search.strategy=bisect",
        "--json-out",
        "out.json",
        "--save-as",
        "kept.toml",
    ];
    let output = place.ceiling(&question).env("CEILING_WORKER", library).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run: Value = serde_json::from_str(&std::fs::read_to_string(place.path("out.json")).unwrap()).unwrap();
    assert_eq!(run["cells"][0]["ceiling"], 33);
    assert_eq!(run["ladders"][0]["probes"][0]["concurrency"], 4);
    assert_eq!(run["engines"][0]["args"]["spec"]["args"]["dtype"], "float32");
    assert!(!stderr(&output).contains("note: --set"), "{}", stderr(&output));
    let kept = ["plan", "kept.toml", "--format", "json"];
    let planned: Value = serde_json::from_str(&stdout(&place.run(&kept))).unwrap();
    assert_eq!(planned["cells"][0]["key"], run["cells"][0]["key"]);
}
