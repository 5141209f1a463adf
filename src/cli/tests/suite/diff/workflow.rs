//! The recipe for CI in `docs/ci.md`: its own scripts, run by a shell.

use std::process::Command;

use serde_json::json;

use super::{Repository, code, edit, git_in};
use crate::support::{Workplace, stderr};

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
    // A base that cannot be compared with still makes a comment, and no pass.
    let failed = shell(&step("compare", "Compare"), ("BASE", "origin/gone"));
    assert_eq!(code(&failed), 0, "{}", stderr(&failed));
    assert_eq!(std::fs::read_to_string(clone.path("out")).unwrap().trim(), "code=2");
    let comment = std::fs::read_to_string(clone.path("comment.md")).unwrap();
    assert!(comment.starts_with("No comparison:\n    ") && comment.contains("origin/gone"), "{comment}");
    assert_eq!(code(&shell(&step("compare", "Gate"), ("CODE", "2"))), 1);
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
