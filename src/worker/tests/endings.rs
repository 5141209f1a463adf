//! Whatever ends, nothing stays behind.
#![expect(clippy::unwrap_used, reason = "a test ends where what it needs is not there")]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use ceiling_core::protocol::{Command, EngineErrorKind, Event, Layer};
use serde_json::json;
use support::group::assert_gone;
use support::{LIMIT, Worker, burst, tiny};

/// Processes of a worker with an engine: itself, Python's resource tracker, the engine core, its worker.
const PROCESSES: usize = 4;

const AT_ONCE: Duration = Duration::from_secs(5);

/// A worker in the middle of a probe that goes on for a long time.
fn in_mid_probe(layer: Layer) -> Worker {
    let (mut worker, _) = Worker::loaded(layer, json!({"max_num_seqs": 16}));
    worker.begin(burst(16, 64, 1900));
    assert!(matches!(worker.event(LIMIT), Event::First { .. }));
    worker
}

#[test]
fn the_executor_goes_away_during_a_load() {
    let mut worker = Worker::start();
    worker.send(&Command::Load(tiny(Layer::EngineCore, json!({}))));
    let group = worker.group_of(PROCESSES);
    worker.hang_up();
    assert_eq!(worker.wait().signal(), Some(9));
    assert_gone(&group, AT_ONCE);
    assert!(worker.group().is_empty());
}

#[test]
fn the_executor_goes_away_while_nothing_happens() {
    let mut worker = Worker::start();
    worker.hang_up();
    assert_eq!(worker.wait().code(), Some(0));
}

#[test]
fn a_worker_is_killed_in_mid_probe() {
    let mut worker = in_mid_probe(Layer::EngineCore);
    let group = worker.group();
    assert!(group.len() >= PROCESSES);
    worker.kill();
    worker.wait();
    assert_gone(&group, AT_ONCE);
    assert!(worker.group().is_empty());
}

#[test]
fn an_engine_is_killed_in_mid_probe() {
    let mut worker = in_mid_probe(Layer::AsyncLlm);
    let group = worker.group();
    group.iter().find(|member| member.command.contains("EngineCore")).unwrap().kill();
    let error = loop {
        match worker.event(AT_ONCE) {
            Event::First { .. } | Event::Ended(_) | Event::WindowClosed { .. } | Event::Alive => {}
            Event::ProbeFailed(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error.kind, EngineErrorKind::Engine);
    assert!(error.message.contains("killed"), "{}", error.message);
    assert_eq!(worker.wait().code(), Some(1));
    assert_gone(&group, AT_ONCE);
    assert!(worker.group().is_empty());
}
