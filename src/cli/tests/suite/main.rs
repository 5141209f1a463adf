//! The binary as a user runs it: one test program, so that what the tests share is built once.

mod commands;
mod diff;
mod executor;
mod reports;
mod support;
mod vllm;
