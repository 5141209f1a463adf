//! The cluster, as an administrator speaks to it.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{stderr, stdout, workspace};

/// What a command of Slurm says.
pub fn said(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap();
    assert!(output.status.success(), "{command} {arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// The cluster's state directory.
fn directory() -> PathBuf {
    let configuration = std::env::var_os("SLURM_CONF").expect("SLURM_CONF is set: run `make cluster-test`");
    PathBuf::from(configuration).parent().unwrap().to_owned()
}

/// Pid of the daemon of a node.
pub fn daemon(node: &str) -> u64 {
    let file = directory().join(format!("run/slurmd-{node}.pid"));
    std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

/// Starts the daemon of a node again.
pub fn start(node: &str) {
    let script = workspace().join(".ci/cluster.sh");
    let status = Command::new(script).arg("node").arg(directory()).arg(node).status().unwrap();
    assert!(status.success());
}
