//! The ceilings of an experiment over all its runs.

use std::process::Output;

use serde_json::json;

use super::{PACE, Repository, code, edit, git_in, json_of};
use crate::support::{Workplace, stderr, stdout};

#[test]
fn a_history_marks_its_steps() {
    let repository = Repository::new(&[40_000, 40_000, 30_000]);
    let place = &repository.place;
    let history = |arguments: &[&str]| place.run(&[&["history", "sim", "--across", PACE], arguments].concat());
    let traces = json_of(&history(&["--cell", "ttft=3s", "--format", "json"]));
    let [trace] = traces.as_array().unwrap().as_slice() else { panic!("{traces}") };
    let verdicts: Vec<_> = trace["points"].as_array().unwrap().iter().map(|point| point["verdict"].as_str()).collect();
    assert!(verdicts[0].is_none() && verdicts[1] != Some("regressed") && verdicts[2] == Some("regressed"), "{trace}");
    let shown = stdout(&history(&["--cell", "*=3s"]));
    assert_eq!((shown.matches('▼').count(), shown.contains('█')), (1, true), "{shown}");
    let markdown = stdout(&history(&["--format", "markdown"]));
    assert_eq!((markdown.matches("### ").count(), markdown.matches('▼').count()), (2, 2), "{markdown}");
    let two_questions = stdout(&place.run(&["history", "sim", "--cell", "*=3s"]));
    assert!(two_questions.contains(&format!("incomparable: {PACE}: 40000.0 -> 30000.0")), "{two_questions}");
    assert_eq!(code(&place.run(&["history", "sim", "--across", "engine.nothing"])), 2);
    let nothing = history(&["--cell", "nothing"]);
    assert!(code(&nothing) == 2 && stderr(&nothing).contains("ttft=1s"), "{}", stderr(&nothing));
    let unknown = place.run(&["history", "nothing"]);
    assert!(code(&unknown) == 2 && stderr(&unknown).contains("the experiments there: sim"), "{}", stderr(&unknown));
}

/// The run ids of a history, oldest first.
fn run_ids(history: &Output) -> Vec<String> {
    let traces = json_of(history);
    let points = traces[0]["points"].as_array().unwrap();
    points.iter().map(|point| point["run"]["run_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_history_goes_back_to_runs_that_only_git_holds() {
    let repository = Repository::new(&[40_000, 40_000, 30_000]);
    let place = &repository.place;
    let runs = repository.runs();
    let mut ids: Vec<String> = runs.iter().map(|run| run.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let history = |place: &Workplace| place.run(&["history", "sim", "--across", PACE, "--format", "json"]);
    assert_eq!(run_ids(&history(place)), ids, "what both the tree and git hold is shown once");

    // One is removed by a commit, one changes after it was checked in, one exists on a branch that was merged.
    std::fs::remove_dir_all(&runs[0]).unwrap();
    edit(&runs[1], |run| run["status"] = json!("partial"));
    repository.commit("Tidy up");
    repository.git(&["checkout", "--quiet", "-b", "side", "HEAD~2"]);
    ids.push(repository.measure(20_000).file_name().unwrap().to_str().unwrap().to_owned());
    repository.commit("Pace 20000");
    repository.git(&["checkout", "--quiet", "main"]);
    repository.git(&["merge", "--quiet", "--strategy", "ours", "--message", "Merge", "side"]);
    let tree = history(place);
    assert_eq!((run_ids(&tree), stderr(&tree)), (ids.clone(), String::new()));
    assert_eq!(json_of(&tree)[0]["points"][1]["run"]["status"], "partial", "as its newest commit has it");
    std::fs::remove_dir_all(place.path("results")).unwrap();
    assert_eq!(run_ids(&history(place)), ids, "without a working tree of results");

    let bare = Workplace::new();
    git_in(&bare.path("."), &["clone", "--quiet", "--bare", place.path(".").to_str().unwrap(), "."]);
    assert_eq!(run_ids(&history(&bare)), ids);

    let shallow = Workplace::new();
    let url = format!("file://{}", place.path(".").display());
    git_in(&shallow.path("."), &["clone", "--quiet", "--depth", "1", &url, "."]);
    let part = history(&shallow);
    assert_eq!(run_ids(&part), ids[1..3]);
    assert!(stderr(&part).contains("git fetch --unshallow"), "{}", stderr(&part));
    let unknown = shallow.run(&["history", "nothing"]);
    assert!(code(&unknown) == 2 && stderr(&unknown).contains("git fetch --unshallow"), "{}", stderr(&unknown));
}

#[test]
fn a_history_says_where_git_has_no_part_in_it() {
    let repository = Repository::new(&[40_000]);
    let elsewhere = tempfile::tempdir().unwrap();
    let results = elsewhere.path().join("results");
    let id = repository.runs()[0].file_name().unwrap().to_owned();
    std::fs::create_dir_all(results.join("sim")).unwrap();
    std::fs::rename(&repository.runs()[0], results.join("sim").join(&id)).unwrap();
    let history = |results: &str| repository.place.run(&["history", "sim", "--format", "json", "--results", results]);
    let outside = history(results.to_str().unwrap());
    assert_eq!(run_ids(&outside), [id.to_str().unwrap()]);
    assert!(stderr(&outside).contains("lies outside the repository"), "{}", stderr(&outside));
    for hostile in ["../sim", "", ".", "/sim", "results/sim"] {
        let output = repository.place.run(&["history", hostile]);
        assert!(code(&output) == 2 && stderr(&output).contains("there is no run of"), "{}", stderr(&output));
    }
    let unborn = Workplace::new();
    git_in(&unborn.path("."), &["init", "--quiet"]);
    let said = stderr(&unborn.run(&["history", "sim"]));
    assert!(said.contains("there is no run of `sim`") && !said.contains("there may be more"), "{said}");
}
