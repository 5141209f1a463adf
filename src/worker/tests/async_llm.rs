//! The layer `async-llm` on real vLLM: one engine for all tests of this file, with room for four requests at once.
#![expect(clippy::unwrap_used, reason = "a test ends where what it needs is not there")]

mod support;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use ceiling_core::protocol::{Layer, Resolved};
use serde_json::json;
use support::{Worker, behaviour, burst};

static ENGINE: LazyLock<(Mutex<Worker>, Resolved)> = LazyLock::new(|| {
    let (worker, resolved) = Worker::loaded(Layer::AsyncLlm, json!({"max_num_seqs": 4}));
    (Mutex::new(worker), resolved)
});

fn worker() -> MutexGuard<'static, Worker> {
    ENGINE.0.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn prompts_are_exact_and_new() {
    behaviour::prompts_are_exact_and_new(&mut worker());
}

#[test]
fn a_shared_prefix_is_cached() {
    behaviour::a_shared_prefix_is_cached(&mut worker(), ENGINE.1.block_size.unwrap());
}

#[test]
fn a_burst_is_held() {
    behaviour::a_burst_is_held(&mut worker());
}

#[test]
fn an_abort_is_no_late_output() {
    behaviour::an_abort_is_no_late_output(&mut worker());
}

#[test]
fn a_probe_can_be_stopped() {
    behaviour::a_probe_can_be_stopped(&mut worker());
}

#[test]
fn a_long_probe_says_that_it_goes_on() {
    behaviour::a_long_probe_says_that_it_goes_on(&mut worker());
}

#[test]
fn a_probe_whose_prompts_take_long_says_that_it_goes_on() {
    behaviour::a_probe_whose_prompts_take_long_says_that_it_goes_on(&mut worker());
}

#[test]
fn a_load_is_sustained() {
    behaviour::a_load_is_sustained(&mut worker());
}

#[test]
fn waiting_is_seen() {
    behaviour::waiting_is_seen(&mut worker(), 4);
}

#[test]
fn what_is_too_long_is_refused() {
    behaviour::what_is_too_long_is_refused(&mut worker());
}

#[test]
fn text_can_be_asked() {
    behaviour::text_can_be_asked(&mut worker());
}

#[test]
fn a_text_that_was_just_sent_can_be_stopped() {
    behaviour::a_text_that_was_just_sent_can_be_stopped(&mut worker());
}

#[test]
fn a_text_that_runs_out_ends_the_probe() {
    behaviour::a_text_that_runs_out_ends_the_probe(&mut worker());
}

#[test]
fn the_harness_watches_itself() {
    let harness = worker().probe(burst(32, 32, 64)).measured.harness;
    println!("async-llm, 4 running of 32 in flight: {harness:?}");
    assert!(harness.cpu_us_per_token.unwrap() > 1.0);
    assert!(harness.lag_s.unwrap().get() > 0.0 && harness.submit_delay_s.unwrap().get() > 0.0);
}
