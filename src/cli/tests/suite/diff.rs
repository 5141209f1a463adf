//! Runs compared from the command line: found by path, id, `latest` and revision, judged, printed, and decided on.

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

/// The script of a step of the workflow in `docs/ci.md`.
fn step(job: &str, name: &str) -> String {
    let text = std::fs::read_to_string(crate::support::workspace().join("docs/ci.md")).unwrap();
    let job = text.split(&format!("\n  {job}:\n")).nth(1).unwrap();
    let step = job.split(&format!("- name: {name}\n")).nth(1).unwrap();
    let script = step.split("run: |\n").nth(1).unwrap();
    script.lines().take_while(|line| line.starts_with("          ")).map(|line| format!("{}\n", &line[10..])).collect()
}

/// What the workflow of `docs/ci.md` does on the runner, on the simulator: its own scripts, run by a shell.
#[test]
fn the_workflow_of_the_documentation_works() {
    let upstream = Repository::new(&[40_000]);
    let clone = Workplace::new();
    git_in(&clone.path("."), &["clone", "--quiet", upstream.place.path(".").to_str().unwrap(), "."]);
    let tools = clone.path(".git/tools");
    std::fs::create_dir(&tools).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ceiling"), tools.join("ceiling")).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let shell = |script: &str, more: (&str, &str)| {
        let mut command = Command::new("bash");
        command.args(["-e", "-o", "pipefail", "-c", script]).current_dir(clone.path(".")).env("PATH", &path);
        let set = [("EXPERIMENT", "sim.toml"), ("NAME", "sim"), ("BASE", "origin/main"), more];
        command.envs(set).env("GITHUB_OUTPUT", clone.path("out")).env("GITHUB_STEP_SUMMARY", clone.path("summary"));
        command.output().unwrap()
    };
    let nothing = ("CODE", "");
    // The "engine" of this pull request is the same; that of the next is slower in a way that its file does not say.
    for (slower, expected, gate) in [(false, "code=0", 0), (true, "code=1", 1)] {
        let measured = shell(&step("compare", "Measure"), nothing);
        assert_eq!(code(&measured), 0, "{}", stderr(&measured));
        let last =
            glob::glob(&format!("{}/results/sim/*", clone.path(".").display())).unwrap().last().unwrap().unwrap();
        if slower {
            edit(&last, |run| {
                for cell in run["cells"].as_array_mut().unwrap() {
                    for level in ["ceiling", "highest_pass", "lowest_fail"] {
                        cell[level] = json!(cell[level].as_u64().unwrap() * 3 / 4);
                    }
                }
            });
        }
        let compared = shell(&step("compare", "Compare"), nothing);
        assert_eq!(code(&compared), 0, "{}", stderr(&compared));
        let output = std::fs::read_to_string(clone.path("out")).unwrap();
        assert_eq!(output.trim(), expected, "{}", std::fs::read_to_string(clone.path("summary")).unwrap());
        assert_eq!(code(&shell(&step("compare", "Gate"), ("CODE", &expected[5..]))), gate);
        let comment = std::fs::read_to_string(clone.path("comment.md")).unwrap();
        assert_eq!(comment.contains("regressed"), slower, "{comment}");
        assert!(std::fs::read_to_string(clone.path("diff.html")).unwrap().starts_with("<!DOCTYPE html>"));
        std::fs::remove_file(clone.path("out")).unwrap();
        std::fs::remove_dir_all(&last).unwrap();
    }
    // What is recorded on main is what the next pull request is compared with.
    let recorded = shell(&step("record", "Measure"), nothing);
    assert_eq!(code(&recorded), 0, "{}", stderr(&recorded));
    git_in(&upstream.place.path("."), &["checkout", "--quiet", "--detach"]);
    let checked_in = shell(&step("record", "Check in"), nothing);
    assert_eq!(code(&checked_in), 0, "{}", stderr(&checked_in));
    assert_eq!(git_in(&upstream.place.path("."), &["log", "-1", "--format=%s", "main"]), "Record the ceilings of sim");
    let names = git_in(&upstream.place.path("."), &["show", "--format=", "--name-only", "main"]);
    let kinds: Vec<&str> = names.lines().map(|name| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(kinds, ["cells.csv", "run.json"]);
}

#[test]
fn a_pull_request_is_gated_by_the_results_that_are_checked_in() {
    let repository = Repository::new(&[40_000, 30_000]);
    let comment = repository.diff(&["HEAD~1", "HEAD", "--format", "markdown"]);
    assert_eq!(code(&comment), 1, "{}", stderr(&comment));
    let text = stdout(&comment);
    assert!(text.starts_with("## Ceilings: regressed\n"), "{text}");
    assert!(text.contains("| **regressed** | `ttft=1s` |") && text.contains("- changed: commit"), "{text}");

    assert_eq!(code(&repository.diff(&["HEAD~1", "HEAD", "--fail-on", "never"])), 0);
    assert_eq!(code(&repository.diff(&["HEAD~1", "HEAD", "--fail-on", "regression"])), 1);
    // The other way round it is an improvement.
    assert_eq!(code(&repository.diff(&["HEAD", "HEAD~1", "--fail-on", "regression"])), 0);
    assert_eq!(code(&repository.diff(&["HEAD", "HEAD~1", "--fail-on", "change"])), 1);
    assert_eq!(code(&repository.diff(&["HEAD~1", "HEAD", "--threshold", "60%", "--fail-on", "change"])), 0);
    // Without --across the two paces are two questions.
    let refused = repository.place.run(&["diff", "HEAD~1", "HEAD"]);
    assert_eq!(code(&refused), 3);
    assert!(stderr(&refused).contains(&format!("{PACE}: 40000.0 -> 30000.0")), "{}", stderr(&refused));
}

#[test]
fn the_json_is_as_promised() {
    let repository = Repository::new(&[40_000, 30_000]);
    let diff = json_of(&repository.diff(&["HEAD~1", "HEAD", "--format", "json"]));
    assert_eq!(diff["comparable"], true);
    let words = ["improved", "regressed", "unchanged", "undecided", "incomparable", "added", "removed"];
    let counts: Vec<u64> = words.iter().map(|word| diff["summary"][word].as_u64().unwrap()).collect();
    assert_eq!(counts, [0, 2, 0, 0, 0, 0, 0]);
    let cell = &diff["cells"][0];
    assert_eq!((&cell["axes"]["sla.ttft"], &cell["sla"]["ttft"]), (&json!("1s"), &json!(1.0)));
    assert_eq!(cell["verdict"], "regressed");
    assert_eq!(cell["key"].as_str().unwrap().len(), 16);
    for side in ["baseline", "candidate"] {
        let level = |name: &str| cell[side][name].as_u64().unwrap();
        assert!(level("ceiling") == level("highest_pass") && level("highest_pass") < level("lowest_fail"));
        assert!(diff[side]["commit"].as_str().unwrap().len() == 40);
    }
    let ratio = cell["candidate"]["ceiling"].as_f64().unwrap() / cell["baseline"]["ceiling"].as_f64().unwrap();
    assert!((cell["change"].as_f64().unwrap() - (ratio - 1.0)).abs() < 1e-12);
    assert_eq!(diff["ladders"][0]["kv_cache_tokens"], json!([10_000_000, 10_000_000]));
}

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
}

#[test]
fn a_run_that_cannot_be_read_says_what_is_wrong_with_it() {
    let repository = Repository::new(&[40_000]);
    let good = std::fs::read_to_string(repository.runs()[0].join("run.json")).unwrap();
    let with_schema = |schema: u32| good.replacen("\"schema\": 2", &format!("\"schema\": {schema}"), 1);
    // A list of rows is how schema 1 had the requests of a probe.
    let rows = with_schema(1).replacen("\"slas\": {\"ok\": ", "\"slas\": [{\"ok\": ", 1);
    let older_form = rows.replacen("]},", "]}],", 1);
    serde_json::from_str::<Value>(&older_form).expect("what is older is JSON all the same");
    let table = [
        (good[..good.len() / 2].to_owned(), "it was cut off"),
        (String::new(), "it was cut off"),
        (good.replacen(':', "", 1), "is not JSON"),
        ("{\"name\": \"left-pad\"}".to_owned(), "is not a run of ceiling"),
        ("[1, 2]".to_owned(), "is not a run of ceiling"),
        ("[".repeat(1_000_000), "is not JSON"),
        (format!("{{\"schema\": 2, \"ladders\": {}", "[".repeat(1_000_000)), "bad/run.json"),
        (with_schema(1), "has the older schema 1; this version reads schema 2: read it with the ceiling that wrote it"),
        (older_form, "has the older schema 1"),
        (with_schema(3), "has the newer schema 3; this version reads schema 2: read it with a newer ceiling"),
        ("{\"schema\": 3}".to_owned(), "read it with a newer ceiling"),
        (good.replacen("\"simulated\": true", "\"simulated\": \"yes\"", 1), "is broken"),
    ];
    for (text, complaint) in table {
        let bad = repository.place.write("bad/run.json", &text);
        for arguments in [["bad", "latest"], ["latest", "bad"]] {
            let output = repository.diff(&arguments);
            let said = stderr(&output);
            assert_eq!(code(&output), 2, "{said}");
            assert!(said.contains(complaint) && said.contains("bad/run.json"), "{complaint:?} in {said}");
        }
        assert!(bad.exists());
    }
    std::fs::write(repository.place.path("bad/run.json"), [0xff, 0xfe, 0]).unwrap();
    assert!(stderr(&repository.diff(&["bad", "latest"])).contains("is not JSON"));
    // A list shows what cannot be read beside what can.
    repository.place.write("results/sim/20260102T000000Z-broken0/run.json", "{");
    // It reads the beginnings of files, and sees all the same that one was cut off behind it.
    repository.place.write("results/sim/20260103T000000Z-broken1/run.json", &good[..good.len() - 20]);
    repository.place.write("results/sim/20260104T000000Z-older00/run.json", &with_schema(1));
    let list = repository.place.run(&["list"]);
    let shown = stdout(&list);
    assert_eq!(shown.matches("unreadable").count(), 3, "{shown}");
    assert!(shown.contains("cut off") && shown.contains("older schema 1"), "{shown}");
    assert!(shown.contains("complete, simulated"), "{shown}");
    let history = repository.place.run(&["history", "sim"]);
    assert_eq!(code(&history), 0);
    assert!(stderr(&history).contains("left out"), "{}", stderr(&history));
}

#[test]
fn hostile_names_stay_text() {
    let repository = Repository::new(&[40_000]);
    let run = repository.runs().remove(0);
    let hostile = "<script>alert(1)</script>`|![x](http://x/)\u{1b}[31m@all =cmd()\n../..";
    edit(&run, |run| {
        run["experiment"]["name"] = json!(hostile);
        run["run_id"] = json!(hostile);
        run["cells"][0]["id"] = json!(hostile);
        run["provenance"]["git"]["commit"] = json!("äöüäöüäöü");
        run["ladders"][0]["id"] = json!(hostile);
        run["cells"].as_array_mut().unwrap().iter_mut().for_each(|cell| cell["ladder"] = json!(hostile));
    });
    let place = &repository.place;
    place.write("other/run.json", &std::fs::read_to_string(run.join("run.json")).unwrap());
    edit(&place.path("other"), |run| {
        run["cells"][0]["status"] = json!("failed");
        run["cells"][0]["failure"] = json!({ "kind": "engine", "reason": hostile, "log": null });
    });
    let diff = |format: &str| stdout(&repository.diff(&[run.to_str().unwrap(), "other", "--format", format]));
    let html = diff("html");
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
    assert!(!html.contains("http://x/)\"") && !html.contains("src=") && !html.contains("href="), "{html}");
    for text in [diff("table"), stdout(&place.run(&["list"])), stdout(&place.run(&["history", "sim"]))] {
        assert!(text.contains("<script>") && !text.contains('\u{1b}'), "{text:?}");
    }
    let markdown = diff("markdown");
    for line in markdown.lines().filter(|line| line.contains("<script>")) {
        let outside: String = line.split('`').step_by(2).collect();
        assert!(!outside.contains("script") && !outside.contains("!["), "{line}");
        if line.starts_with('|') {
            assert_eq!(line.replace("\\|", "").matches('|').count(), line_columns(line), "{line}");
        }
    }
    for name in ["../../etc", "..", "", "@{-1}", ":/", "--", "HEAD^{tree}", "a\u{0}b".trim_end_matches('\u{0}')] {
        if name.contains('\u{0}') || name.starts_with('-') {
            continue;
        }
        assert_eq!(code(&repository.diff(&[name, "latest"])), 2, "{name:?}");
    }
    assert_eq!(code(&place.run(&["history", "../sim"])), 2);
}

/// Eight bars around seven columns of cells, seven around six of ladders.
fn line_columns(line: &str) -> usize {
    let verdicts = ["improved", "regressed", "unchanged", "undecided", "incomparable", "added", "removed"];
    if verdicts.iter().any(|verdict| line.starts_with(&format!("| {verdict}"))) { 8 } else { 7 }
}

#[test]
fn what_was_asked_to_be_decided_and_cannot_be_is_code_3() {
    let repository = Repository::new(&[40_000]);
    let place = &repository.place;
    let text = std::fs::read_to_string(repository.runs()[0].join("run.json")).unwrap();
    place.write("other/run.json", &text);
    let diff = |arguments: &[&str]| repository.diff(&[&["latest", "other"], arguments].concat());
    assert_eq!(code(&diff(&["--fail-on", "regression"])), 0);

    edit(&place.path("other"), |run| run["cells"][0]["status"] = json!("undecided"));
    assert_eq!(code(&diff(&[])), 0);
    assert_eq!(code(&diff(&["--fail-on", "regression"])), 3);
    assert_eq!(code(&diff(&["--fail-on", "change"])), 3);
    assert_eq!(code(&diff(&["--fail-on", "never"])), 0);

    place.write("other/run.json", &text);
    edit(&place.path("other"), |run| run["engines"][0]["args"]["kind"] = json!("vllm"));
    edit(&place.path("other"), |run| {
        run["simulated"] = json!(false);
        run["cells"].as_array_mut().unwrap().iter_mut().for_each(|cell| cell["key"] = json!("0123456789abcdef"));
    });
    let refused = diff(&["--format", "json"]);
    assert_eq!(code(&refused), 3);
    assert_eq!(json_of(&refused)["comparable"], false);

    for wrong in [["--threshold", "5"], ["--threshold", "-1%"], ["--threshold", "x"], ["--across", "engine.nothing"]] {
        assert_eq!(code(&diff(&wrong)), 2, "{wrong:?}");
    }
}

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
    std::fs::create_dir(place.path("below")).unwrap();
    assert!(!dirty("below", "../results"), "the same from below");
    assert!(dirty("below", "elsewhere"), "the changed result counts where it is not one");
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(dirty(".", elsewhere.path().to_str().unwrap()), "results outside of the repository");
}
