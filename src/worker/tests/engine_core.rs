//! The layer `engine-core` on real vLLM: one engine for all tests of this file.
#![expect(clippy::unwrap_used, reason = "a test ends where what it needs is not there")]

mod support;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ceiling_core::protocol::{Command, Event, Layer, PromptSource, Resolved};
use ceiling_core::request::RequestEnd;
use serde_json::json;
use support::{Worker, behaviour, burst};

static ENGINE: LazyLock<(Mutex<Worker>, Resolved)> = LazyLock::new(|| {
    let (worker, resolved) = Worker::loaded(Layer::EngineCore, json!({"max_num_seqs": 256}));
    (Mutex::new(worker), resolved)
});

fn worker() -> MutexGuard<'static, Worker> {
    ENGINE.0.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_engine_says_what_it_made_of_its_arguments() {
    let resolved = &ENGINE.1;
    assert_eq!(resolved.max_num_seqs, Some(256));
    assert_eq!(resolved.max_model_len, Some(2048));
    assert_eq!(resolved.dtype.as_deref(), Some("float32"));
    assert!(resolved.kv_cache_tokens.unwrap() >= 2048);
    assert!(resolved.block_size.is_some() && resolved.max_num_batched_tokens.is_some());
    assert!(!resolved.version.is_empty());
    assert!(["torch", "transformers", "python"].iter().all(|name| resolved.packages.contains_key(*name)));
    assert_eq!(resolved.devices.len(), 1);
    assert!(resolved.load_seconds.unwrap().get() > 1.0);
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
    behaviour::waiting_is_seen(&mut worker(), 256);
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

/// This layer makes each text into tokens before the first is sent.
#[test]
fn a_probe_of_many_prompts_says_that_it_goes_on_while_they_are_made() {
    let mut ask = burst(4000, 500, 1);
    ask.prompts.source = PromptSource::Characters(vec![support::root().join("experiments/tiny-llama/corpus.txt")]);
    // It is told twice in that time.
    ask.silence = support::seconds(2.0);
    let (began, mut is_stopped) = (Instant::now(), false);
    let probed = worker().probe_with(ask, |worker, event| {
        if !is_stopped {
            assert_eq!(*event, Event::Alive);
            worker.send(&Command::Stop);
            is_stopped = true;
        }
    });
    let requests = probed.unwrap().measured.requests;
    println!("{} prompts made and stopped within {:.1?}", requests.len(), began.elapsed());
    assert!(requests.iter().all(|record| record.end == RequestEnd::Stopped), "none was waited for");
}

/// The goal is 5 us; a debug build of ours costs little more, since most of it is vLLM's decoding.
#[test]
fn a_token_costs_the_client_five_microseconds_at_most() {
    let harness = worker().probe(burst(256, 32, 128)).measured.harness;
    let cost = harness.cpu_us_per_token.unwrap();
    println!("engine-core, 256 in flight: {cost:.2} us of client CPU per token, {harness:?}");
    assert!(cost <= 5.0, "{cost} us");
    assert!(harness.lag_s.unwrap().get() > 0.0 && harness.submit_delay_s.is_some());
}
