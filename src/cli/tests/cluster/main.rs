//! The binary on a Slurm cluster of three nodes: `make cluster-test` starts one and runs these.
//!
//! Two nodes serve all tests side by side; the third is for those that harm a node.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod failures;
mod node;
mod place;
mod runs;
mod slurm;
#[path = "../suite/support.rs"]
#[expect(dead_code, reason = "the suite uses all of it")]
mod support;
mod vllm;
