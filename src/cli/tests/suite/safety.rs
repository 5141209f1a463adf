//! What files say cannot do: lead out of `results/`, or carry a secret into what is written.

use std::path::PathBuf;

use crate::executor::workplace;
use crate::support::{Workplace, stderr, stdout};

const SECRETS: [&str; 3] = ["hf_of_the_caller", "key_of_the_experiment", "token_of_an_argument"];

/// Every file of a workplace's results.
fn written(place: &Workplace) -> Vec<PathBuf> {
    let all = glob::glob(&format!("{}/**/*", place.path("results").display())).unwrap().map(Result::unwrap);
    all.filter(|path| path.is_file()).collect()
}

/// A run that has a secret from everywhere where one can come from.
fn run(place: &Workplace) -> Option<i32> {
    let output = place
        .ceiling(&["run", "fake.toml"])
        .args(["--set", "engine.env.MY_API_KEY=key_of_the_experiment", "--set", "engine.hf_token=token_of_an_argument"])
        .env("CEILING_WORKER", place.path("libceiling_worker.so"))
        .env("HF_TOKEN", "hf_of_the_caller")
        .env("FAKE_COMPLAINT", "nobody knows hf_of_the_caller, key_of_the_experiment, token_of_an_argument")
        .output()
        .unwrap();
    for secret in SECRETS {
        assert!(!stderr(&output).contains(secret) && !stdout(&output).contains(secret), "{}", stderr(&output));
    }
    output.status.code()
}

#[test]
fn no_secret_is_in_any_file_that_is_written() {
    for (behaviour, code) in [("well", 0), ("load-fails", 1)] {
        let place = workplace(behaviour, "retries = 0");
        assert_eq!(run(&place), Some(code));
        for format in ["html", "markdown", "csv", "json"] {
            let output = place.path(&format!("results/report.{format}"));
            let report = place.run(&["report", "latest", "--format", format, "--output", output.to_str().unwrap()]);
            assert!(report.status.success(), "{}", stderr(&report));
        }
        let files = written(&place);
        assert!(files.len() >= 8, "{files:?}");
        for path in files {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            let found = SECRETS.iter().find(|secret| text.contains(**secret));
            assert!(found.is_none(), "{} holds {found:?}", path.display());
        }
        let run = place.run_json();
        assert_eq!(run["engines"][0]["args"]["env"]["MY_API_KEY"], "(hidden)");
        assert_eq!(run["engines"][0]["args"]["spec"]["args"]["hf_token"], "(hidden)");
        if behaviour == "load-fails" {
            let reason = run["cells"][0]["failure"]["reason"].as_str().unwrap();
            assert!(reason.contains("nobody knows (hidden), (hidden), (hidden)"), "{reason}");
        }
    }
}

#[test]
fn no_name_in_an_experiment_leads_out_of_the_results() {
    for name in ["..", "../out", "/tmp/out", "a/b", "a\\nb", "\\u001b[2J", ".out", ""] {
        let place = workplace("well", "");
        let text = std::fs::read_to_string(place.path("fake.toml")).unwrap();
        place.write("fake.toml", &text.replace("name = \"fake\"", &format!("name = \"{name}\"")));
        let output = place.ceiling(&["run", "fake.toml"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains("is not a name"), "{name}: {}", stderr(&output));
        assert!(!stderr(&output).contains('\u{1b}'), "{name}: {}", stderr(&output));
        assert!(!place.path("results").exists() && !place.path("out").exists() && !place.path("starts").exists());
    }
}

#[test]
fn no_model_gives_a_log_a_name_that_leads_out_of_the_results() {
    for model in ["..", "../../../../out", "org/..", "/", "a\\nb"] {
        let place = workplace("load-fails", "retries = 0");
        let text = std::fs::read_to_string(place.path("fake.toml")).unwrap();
        place.write("fake.toml", &text.replace("some/model", model));
        let output = place
            .ceiling(&["run", "fake.toml"])
            .env("CEILING_WORKER", place.path("libceiling_worker.so"))
            .output()
            .unwrap();
        // Where it names a directory, it is said not to be a model, and nothing is started.
        if output.status.code() == Some(2) {
            assert!(!place.path("results").exists(), "{model}: {}", stderr(&output));
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{model}: {}", stderr(&output));
        let logs: Vec<_> = std::fs::read_dir(place.run_directory().join("logs")).unwrap().map(Result::unwrap).collect();
        assert_eq!(logs.len(), 1, "{model}: {logs:?}");
        assert!(!place.path("out").exists() && logs[0].file_name().to_str().unwrap().len() > ".log".len(), "{logs:?}");
    }
}

#[test]
fn no_run_that_somebody_wrote_leads_out_of_the_results() {
    let place = workplace("dies", "retries = 0");
    let library = place.path("libceiling_worker.so");
    let run = |arguments: &[&str]| place.ceiling(arguments).env("CEILING_WORKER", &library).output().unwrap();
    assert_eq!(run(&["run", "fake.toml"]).status.code(), Some(1));
    let path = place.run_directory().join("run.json");
    let id = place.run_json()["run_id"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(&path).unwrap();
    place.write("out/kept", "this");
    for strange in ["../../out", "/tmp/out", "..", "a\\nb"] {
        std::fs::write(&path, text.replace(&format!("\"{id}\""), &format!("\"{strange}\""))).unwrap();
        for resume in ["--resume", &format!("--resume={}", path.parent().unwrap().display())] {
            let output = run(&["run", "fake.toml", resume]);
            assert_eq!(output.status.code(), Some(2), "{strange}: {}", stderr(&output));
            assert!(stderr(&output).contains("is not the id of a run"), "{strange}: {}", stderr(&output));
        }
        assert_eq!(std::fs::read_to_string(place.path("out/kept")).unwrap(), "this");
    }
}
