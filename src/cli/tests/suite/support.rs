//! What the tests of the binary share: a workplace of their own, the binary, and a watch over processes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with its own `results/`, in which the binary runs.
pub struct Workplace {
    directory: TempDir,
}

impl Workplace {
    /// An empty one.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The binary, to be run here.
    pub fn ceiling(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ceiling"));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// Runs the binary here to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.ceiling(arguments).output().unwrap()
    }

    /// The only `run.json` under `results/`.
    pub fn run_json(&self) -> Value {
        let path = self.run_directory().join("run.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// The only run directory under `results/`.
    pub fn run_directory(&self) -> PathBuf {
        let mut found = glob::glob(&format!("{}/results/*/*/run.json", self.directory.path().display())).unwrap();
        let path = found.next().expect("a run was kept").unwrap();
        assert!(found.next().is_none(), "more than one run was kept");
        path.parent().unwrap().to_owned()
    }
}

/// Changes a JSON file.
pub fn rewrite_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a process is there and not merely waiting to be reaped.
pub fn is_alive(pid: u64) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // The state follows the command's name, which is in parentheses and may hold anything.
    status.is_ok_and(|text| !matches!(text.rsplit(") ").next().and_then(|rest| rest.chars().next()), Some('Z' | 'X')))
}

/// All processes below one, each with its parent, those it started itself first.
pub fn descendants(pid: u64) -> Vec<(u64, u64)> {
    let mut found = children(pid);
    let mut next = 0;
    while let Some(&(pid, _)) = found.get(next) {
        found.extend(children(pid));
        next += 1;
    }
    found
}

fn children(parent: u64) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for task in glob::glob(&format!("/proc/{parent}/task/*/children")).unwrap().flatten() {
        // A thread may end between being listed and being read.
        let text = std::fs::read_to_string(task).unwrap_or_default();
        found.extend(text.split_whitespace().map(|pid| (pid.parse::<u64>().unwrap(), parent)));
    }
    found
}

/// Waits until something holds; panics with `what` after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to a process that a test started.
pub fn send(signal: nix::sys::signal::Signal, pid: u64) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Waits for a child to end, at most `limit`.
pub fn wait_for(child: &mut Child, limit: Duration) -> std::process::ExitStatus {
    let mut status = None;
    wait_until("the process ends", limit, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// What processes and GPUs did is another each time.
pub fn without_telemetry(probes: &mut Value) {
    for probe in probes.as_array_mut().unwrap() {
        probe.as_object_mut().unwrap().shift_remove("telemetry");
    }
}

/// What DuckDB finds in a table of requests.
pub fn read_requests(table: &Path) -> Value {
    let python = workspace().join(".venv-tests/bin/python");
    assert!(python.exists(), "{} is not there: run `make setup-tests`", python.display());
    let script = workspace().join("src/cli/tests/suite/read_requests.py");
    let output = Command::new(python).arg(script).arg(table).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}
