//! A disk that is full, or can no longer be written, in the middle of a run.

use std::fs::{Permissions, copy, set_permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::executor::{behave, levels, outcome, run, run_with, workplace};
use crate::support::{Workplace, stderr, wait_until};

/// What an unmolested run comes to, and this one after it was resumed: the same, and no probe twice.
fn assert_goes_on(place: &Workplace, probes_before: usize) {
    behave(place, "well");
    let output = run_with(place, &["--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let whole = workplace("well", "");
    assert_eq!(run(&whole).status.code(), Some(0));
    let resumed = place.run_json();
    assert!(probes_before < levels(&resumed).len());
    assert!(outcome(&resumed) == outcome(&whole.run_json()), "{:?}", levels(&resumed));
}

fn probes(place: &Workplace) -> usize {
    let journal = glob::glob(&format!("{}/*/*/journal.jsonl", place.path("results").display())).unwrap().next();
    let text = journal.map_or_else(String::new, |path| std::fs::read_to_string(path.unwrap()).unwrap());
    text.matches("{\"entry\":\"probed\"").count()
}

fn assert_stopped(output: &Output) {
    assert_eq!(output.status.code(), Some(1), "{}", stderr(output));
    let said = stderr(output);
    assert!(said.contains("cannot write") && said.contains("--resume") && !said.contains("panicked"), "{said}");
}

/// A file that may grow no further is a full disk to whoever writes to it; a quota needs no privileges.
#[test]
fn a_run_on_a_full_disk_stops_and_goes_on_once_there_is_room() {
    let place = workplace("well", "");
    let limited = "trap '' XFSZ; ulimit -f 6; exec \"$0\" run fake.toml";
    let output = Command::new("bash")
        .args(["-c", limited, env!("CARGO_BIN_EXE_ceiling")])
        .current_dir(place.path(""))
        .env("CEILING_WORKER", place.path("libceiling_worker.so"))
        .output()
        .unwrap();
    assert_stopped(&output);
    assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
    let before = probes(&place);
    assert!(before >= 2, "something was measured before");
    assert_goes_on(&place, before);
}

#[test]
fn a_run_in_a_directory_that_became_read_only_stops_and_goes_on_once_it_can_be_written() {
    let place = workplace("slow 0.2", "");
    let mut child = unprivileged(&place).spawn().unwrap();
    wait_until("something is measured", Duration::from_secs(30), || probes(&place) >= 2);
    let directory = place.run_directory();
    set_permissions(&directory, Permissions::from_mode(0o555)).unwrap();
    wait_until("the run stops", Duration::from_secs(60), || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    assert_stopped(&output);
    assert!(stderr(&output).contains("Permission denied"), "{}", stderr(&output));
    set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    assert_goes_on(&place, probes(&place) - 1);
}

/// The binary as a user whom permissions bind: they do not bind root.
fn unprivileged(place: &Workplace) -> Command {
    const NOBODY: u32 = 65534;
    let mut command = place.ceiling(&[]);
    if nix::unistd::geteuid().is_root() {
        // Where it was built, nobody else may be able to look.
        let binary: PathBuf = place.path("ceiling");
        copy(env!("CARGO_BIN_EXE_ceiling"), &binary).unwrap();
        for entry in glob::glob(&format!("{}/**/*", place.path("").display())).unwrap() {
            chown(entry.unwrap(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(place.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
        command = Command::new(binary);
        command.current_dir(place.path("")).uid(NOBODY).gid(NOBODY);
    }
    command.args(["run", "fake.toml"]).env("CEILING_WORKER", place.path("libceiling_worker.so"));
    command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::null());
    command
}
