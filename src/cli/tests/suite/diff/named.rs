//! Runs found by path, id, `latest` and revision: in the working tree, and in git.

use std::path::Path;

use serde_json::json;

use super::{PACE, Repository, code, edit, experiment, git_in, json_of};
use crate::support::{Workplace, stderr, stdout};

#[test]
fn every_way_to_name_a_run_finds_it() {
    let repository = Repository::new(&[40_000, 30_000]);
    repository.git(&["tag", "v1", "HEAD~1"]);
    repository.git(&["branch", "other", "HEAD"]);
    let runs = repository.runs();
    let ids: Vec<&str> = runs.iter().map(|run| run.file_name().unwrap().to_str().unwrap()).collect();
    let hash = repository.git(&["rev-parse", "--short=9", "HEAD~1"]);
    let path = format!("results/sim/{}", ids[0]);
    let file = format!("{path}/run.json");
    let held = format!("HEAD:{file}");
    for first in ["HEAD~1", "v1", "main~1", &hash, ids[0], &path, &file, &held] {
        for second in ["HEAD", "other", "latest", ids[1]] {
            let diff = json_of(&repository.diff(&[first, second, "--format", "json"]));
            assert_eq!((&diff["baseline"]["run_id"], &diff["candidate"]["run_id"]), (&json!(ids[0]), &json!(ids[1])));
        }
    }
    let report = repository.place.run(&["report", "v1", "--format", "json"]);
    assert_eq!(json_of(&report)["run_id"], ids[0]);
}

#[test]
fn what_the_working_tree_lacks_is_read_from_git() {
    let repository = Repository::new(&[40_000, 30_000]);
    std::fs::remove_dir_all(repository.place.path("results")).unwrap();
    assert_eq!(code(&repository.diff(&["HEAD~1", "HEAD"])), 1);
    let latest = repository.diff(&["HEAD~1", "latest"]);
    assert_eq!(code(&latest), 2);
    assert!(stderr(&latest).contains("there is no run under results"), "{}", stderr(&latest));
    assert!(!repository.place.path("results").exists(), "nothing is checked out");
}

#[test]
fn the_newest_run_is_not_passed_over_where_its_journal_is_all_that_is_left() {
    let repository = Repository::new(&[40_000, 30_000]);
    let list = || stdout(&repository.place.run(&["list"]));
    let id = |run: &Path| run.file_name().unwrap().to_str().unwrap().to_owned();
    let runs = repository.runs();
    // Git has taken it away, and brings it back.
    repository.git(&["checkout", "--quiet", "HEAD~1"]);
    assert!(runs[1].join("journal.jsonl").is_file() && !runs[1].join("run.json").exists());
    let latest = repository.place.run(&["report", "latest", "--format", "json"]);
    assert_eq!(json_of(&latest)["run_id"], id(&runs[0]));
    assert!(!list().contains(&id(&runs[1])), "{}", list());
    repository.git(&["checkout", "--quiet", "main"]);
    // Git holds none of it.
    let lost = repository.measure(30_000);
    std::fs::remove_file(lost.join("run.json")).unwrap();
    let remedy = format!("`ceiling run FILE --resume {}` makes it anew", id(&lost));
    for arguments in [&["report", "latest"] as &[&str], &["diff", "HEAD", "latest"]] {
        let output = repository.place.run(arguments);
        assert!(code(&output) == 2 && stderr(&output).contains(&remedy), "{}", stderr(&output));
    }
    assert!(list().contains("unreadable") && list().contains(&remedy), "{}", list());
}

#[test]
fn a_run_recorded_at_the_revision_itself_comes_first() {
    let repository = Repository::new(&[40_000]);
    let clean = repository.measure(40_000);
    let dirty = repository.measure(30_000);
    let id = |run: &Path| run.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(id(&dirty).ends_with("-dirty") && !id(&clean).ends_with("-dirty"));
    let found = json_of(&repository.place.run(&["report", "HEAD", "--format", "json"]));
    assert_eq!(found["run_id"], id(&clean), "what was recorded with changes was not recorded at HEAD");
    // Checked in by the next commit, it is the newest there too: compared with itself it would say nothing.
    std::fs::remove_dir_all(&dirty).unwrap();
    repository.git(&["checkout", "--quiet", "sim.toml"]);
    repository.commit("Add the result");
    let diff = json_of(&repository.diff(&["HEAD~1", "HEAD", "--format", "json"]));
    assert_eq!(diff["candidate"]["run_id"], id(&clean));
    assert_ne!(diff["baseline"]["run_id"], id(&clean));
    let same = repository.diff(&["HEAD", "HEAD"]);
    assert_eq!(code(&same), 0);
    assert!(stderr(&same).contains("the same run"), "{}", stderr(&same));
}

#[test]
fn a_run_that_left_cells_out_does_not_stand_for_its_commit_beside_a_whole_one() {
    let repository = Repository::new(&[40_000]);
    let whole = repository.measure(40_000);
    let part = repository
        .place
        .path("results/sim")
        .join(whole.file_name().unwrap().to_str().unwrap().replace("T00000", "T00001"));
    std::fs::create_dir_all(&part).unwrap();
    std::fs::copy(whole.join("run.json"), part.join("run.json")).unwrap();
    let id = |run: &Path| run.file_name().unwrap().to_str().unwrap().to_owned();
    edit(&part, |run| {
        run["run_id"] = json!(id(&part));
        run["left_out"] = json!(1);
        run["status"] = json!("partial");
        run["cells"].as_array_mut().unwrap().pop();
    });
    let found = || json_of(&repository.place.run(&["report", "HEAD", "--format", "json"]))["run_id"].clone();
    assert_eq!(found(), id(&whole));
    // As a baseline that is named itself, it leaves open whether the others are lower.
    let gate = |baseline: &Path| {
        let baseline = baseline.display().to_string();
        repository.diff(&[&baseline, &whole.display().to_string(), "--fail-on", "regression"])
    };
    let open = gate(&part);
    assert_eq!(code(&open), 3, "{}", stdout(&open));
    assert!(stderr(&open).contains("1 cells of the candidate are not in the baseline"), "{}", stderr(&open));
    edit(&part, |run| run["left_out"] = json!(0));
    assert_eq!(code(&gate(&part)), 0, "a cell that is new is none that was lost");
    edit(&part, |run| run["left_out"] = json!(1));
    std::fs::remove_dir_all(&whole).unwrap();
    assert_eq!(found(), id(&part), "there is no other");
}

#[test]
fn a_name_that_means_several_runs_lists_them() {
    let repository = Repository::new(&[40_000]);
    let run = repository.runs().remove(0);
    let id = run.file_name().unwrap().to_str().unwrap().to_owned();
    let twin = repository.place.path("results/twin").join(&id);
    std::fs::create_dir_all(&twin).unwrap();
    std::fs::copy(run.join("run.json"), twin.join("run.json")).unwrap();
    edit(&twin, |run| run["experiment"]["name"] = json!("twin"));
    let text = std::fs::read_to_string(twin.join("run.json")).unwrap();
    repository.place.write("results/twin/20250101T000000Z-nogit/run.json", &format!("{text}\n"));
    repository.commit("Add a twin");
    for name in [&id, "latest", "HEAD"] {
        let output = repository.place.run(&["report", name]);
        let said = stderr(&output);
        assert_eq!(code(&output), 2);
        assert!(said.contains(&format!("results/sim/{id}")) && said.contains(&format!("results/twin/{id}")), "{said}");
        assert!(said.contains("--experiment"), "{said}");
        let narrowed = repository.place.run(&["report", name, "--experiment", "twin", "--format", "json"]);
        assert_eq!(json_of(&narrowed)["experiment"]["name"], "twin");
    }
    // The baseline is looked for among the runs of the candidate's experiment.
    let twin = format!("results/twin/{id}");
    assert_eq!(json_of(&repository.diff(&["HEAD", &twin, "--format", "json"]))["baseline"]["experiment"], "twin");
}

#[test]
fn a_bare_clone_answers_from_its_objects() {
    let repository = Repository::new(&[40_000, 30_000]);
    let bare = Workplace::new();
    git_in(&bare.path("."), &["clone", "--quiet", "--bare", repository.place.path(".").to_str().unwrap(), "."]);
    let output = bare.run(&["diff", "HEAD~1", "HEAD", "--across", PACE]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let absolute = bare.run(&["diff", "HEAD~1", "HEAD", "--results", "/results"]);
    assert_eq!(code(&absolute), 2);
    assert!(stderr(&absolute).contains("bare repository"), "{}", stderr(&absolute));
}

#[test]
fn a_shallow_clone_says_what_to_fetch() {
    let repository = Repository::new(&[40_000, 30_000]);
    let shallow = Workplace::new();
    let url = format!("file://{}", repository.place.path(".").display());
    git_in(&shallow.path("."), &["clone", "--quiet", "--depth", "1", &url, "."]);
    assert_eq!(code(&shallow.run(&["report", "HEAD"])), 0);
    let output = shallow.run(&["diff", "HEAD~1", "HEAD", "--across", PACE]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("git fetch --unshallow"), "{}", stderr(&output));
}

#[test]
fn without_git_a_revision_is_no_name() {
    let place = Workplace::new();
    place.write("sim.toml", &experiment(40_000));
    assert_eq!(code(&place.run(&["run", "sim.toml"])), 0);
    let output = place.ceiling(&["diff", "HEAD~1", "latest"]).env("GIT_CEILING_DIRECTORIES", "/").output().unwrap();
    assert_eq!(code(&output), 2);
    let said = stderr(&output);
    assert!(said.contains("no git repository here") && said.contains("-nogit"), "{said}");
}

#[test]
fn a_revision_that_is_none_or_has_no_run_is_told_apart() {
    let repository = Repository::new(&[40_000]);
    let none = stderr(&repository.diff(&["v9", "HEAD"]));
    assert!(none.contains("git knows no revision `v9`") && none.contains("cannot find the baseline"), "{none}");
    // The only run was recorded at HEAD~1, and is what HEAD holds.
    let itself = stderr(&repository.diff(&["HEAD~1", "HEAD"]));
    assert!(itself.contains("no run other than the candidate was recorded at it"), "{itself}");
    let empty = stderr(&repository.diff(&["HEAD~2", "HEAD"]));
    assert!(
        empty.contains("no run was recorded at it") && empty.contains("the runs there:\n  results/sim/"),
        "{empty}"
    );
    let unborn = Workplace::new();
    git_in(&unborn.path("."), &["init", "--quiet"]);
    assert!(stderr(&unborn.run(&["report", "HEAD"])).contains("git knows no revision `HEAD`"));
    unborn.write("sim.toml", &experiment(40_000));
    assert_eq!(code(&unborn.run(&["run", "sim.toml"])), 0, "before the first commit there is none to name");
    assert!(unborn.run_directory().to_str().unwrap().ends_with("-nogit"));
    let doctor = stdout(&unborn.run(&["doctor"]));
    assert!(doctor.contains("a repository without a commit") && !doctor.contains("git init"), "{doctor}");
}

#[test]
fn the_latest_run_is_the_one_that_was_started_last_at_whatever_commit() {
    let repository = Repository::new(&[40_000]);
    let place = &repository.place;
    let run = |set: &[&str]| {
        let output = place.run(&[&["run", "sim.toml"], set].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    };
    // All within a second or two: ids tell no less apart.
    run(&[]);
    run(&[]);
    place.write("README", "Another commit.");
    repository.commit("Say more");
    for pace in ["30000.0", "20000.0"] {
        run(&["--set", &format!("{PACE}={pace}")]);
        let latest = json_of(&place.run(&["report", "latest", "--format", "json"]));
        assert_eq!(latest["engines"][0]["args"]["prefill_tokens_per_second"].to_string(), pace);
    }
}

#[test]
fn what_is_wrong_with_a_name_is_said_before_the_runs_that_there_are() {
    let repository = Repository::new(&[40_000]);
    let run = repository.runs().pop().unwrap();
    let name = run.file_name().unwrap().to_str().unwrap();
    for arguments in [&["report", "v9"] as &[&str], &["cancel", "v9"], &["diff", "v9", "latest"]] {
        let output = repository.place.run(arguments);
        assert_eq!(code(&output), 2);
        let said = stderr(&output);
        assert!(said.contains("nor `latest`, and git knows no revision `v9`; the runs there:"), "{said}");
        assert!(said.trim_end().ends_with(name), "{said}");
    }
}

#[test]
fn a_revision_says_nothing_of_results_outside_of_its_repository() {
    let repository = Repository::new(&[40_000]);
    let elsewhere = tempfile::tempdir().unwrap();
    let output = repository.place.run(&["report", "HEAD", "--results", elsewhere.path().to_str().unwrap()]);
    assert_eq!(code(&output), 2);
    let said = stderr(&output);
    assert!(said.contains("no run was recorded at it, and git holds none under"), "{said}");
    assert!(said.contains("which lies outside its repository") && !said.contains("prefix"), "{said}");
}

#[test]
fn a_repository_that_somebody_else_owns_is_one_and_hides_no_run() {
    if !nix::unistd::geteuid().is_root() {
        return; // Nobody else can give a directory away.
    }
    let repository = Repository::new(&[40_000]);
    let place = &repository.place;
    let run = |arguments: &[&str]| {
        let nowhere = place.path("nowhere");
        let mut command = place.ceiling(arguments);
        command.env("HOME", &nowhere).env("XDG_CONFIG_HOME", &nowhere).env_remove("SUDO_UID").output().unwrap()
    };
    for path in [place.path("."), place.path(".git")] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let root = place.path("").canonicalize().unwrap();
    let remedy = format!("git config --global --add safe.directory {}`", root.display());
    let doctor = stdout(&run(&["doctor"]));
    assert!(doctor.contains(&remedy) && !doctor.contains("git init"), "{doctor}");
    let history = run(&["history", "sim"]);
    assert_eq!(code(&history), 0, "{}", stderr(&history));
    assert!(stderr(&history).contains("there may be more runs") && stderr(&history).contains(&remedy));
}

#[test]
fn results_and_other_directories_do_not_make_a_tree_dirty() {
    let repository = Repository::new(&[40_000]);
    let place = &repository.place;
    // Run ids tell seconds apart; each of these runs makes way for the next.
    let dirty = |directory: &str, results: &str| {
        let (directory, file) = (place.path(directory), place.path("sim.toml"));
        let run = place
            .ceiling(&["run", file.to_str().unwrap(), "--results", results])
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", stderr(&run));
        let kept = stdout(&run).lines().last().unwrap().to_owned();
        let kept = directory.join(kept).parent().unwrap().to_owned();
        std::fs::remove_dir_all(&kept).unwrap();
        kept.to_str().unwrap().ends_with("-dirty")
    };
    edit(&repository.runs()[0], |run| run["started"] = json!("2020-01-01T00:00:00Z"));
    assert!(!dirty(".", "results"), "a changed result that is checked in");
    let other = place.path("other.toml");
    std::fs::copy(place.path("sim.toml"), &other).unwrap();
    assert!(!dirty(".", "results"), "a file that says nothing of what is measured");
    repository.git(&["mv", "sim.toml", "kept.toml"]);
    repository.git(&["commit", "--quiet", "--message", "Rename"]);
    std::fs::rename(&other, place.path("sim.toml")).unwrap();
    assert!(dirty(".", "results"), "what is measured is in no commit");
    std::fs::remove_file(place.path("sim.toml")).unwrap();
    repository.git(&["mv", "kept.toml", "sim.toml"]);
    repository.git(&["commit", "--quiet", "--message", "Rename back"]);
    std::fs::create_dir(place.path("below")).unwrap();
    assert!(!dirty("below", "../results"), "the same from below");
    assert!(dirty("below", "elsewhere"), "the changed result counts where it is not one");
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(dirty(".", elsewhere.path().to_str().unwrap()), "results outside of the repository");
}

#[test]
fn a_run_that_was_resumed_at_another_commit_was_recorded_at_none() {
    let repository = Repository::new(&[40_000]);
    let run = repository.runs().pop().unwrap();
    let id = run.file_name().unwrap().to_str().unwrap().to_owned();
    let is_dirty = || {
        let text = std::fs::read_to_string(run.join("run.json")).unwrap();
        let run: serde_json::Value = serde_json::from_str(&text).unwrap();
        run["provenance"]["git"]["dirty"].as_bool().unwrap()
    };
    // Its journal says what the run is called.
    let journal = run.join("journal.jsonl");
    let named = std::fs::read_to_string(&journal).unwrap();
    let first: serde_json::Value = serde_json::from_str(named.lines().next().unwrap()).unwrap();
    std::fs::write(&journal, named.replace(first["run_id"].as_str().unwrap(), &id)).unwrap();
    assert!(!is_dirty());
    let resumed = repository.place.run(&["run", "sim.toml", "--resume", &id]);
    assert_eq!(code(&resumed), 0, "{}", stderr(&resumed));
    assert!(stderr(&resumed).contains("note: commit was"), "{}", stderr(&resumed));
    assert!(is_dirty());
}
