//! The binary as a user runs it: one test program, so that what the tests share is built once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod batch;
mod changed;
mod commands;
mod diff;
mod disk;
mod executor;
mod faults;
mod gpus;
mod handed;
mod reports;
mod requeued;
mod resumed;
mod safety;
mod stand_in;
mod starved;
mod support;
mod vllm;
