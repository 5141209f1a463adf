//! The fault campaign: processes of a run are killed at random moments, and the run is resumed until it is complete.
//!
//! ```text
//! subject   what runs: the simulator, stand-ins for workers and engines as real processes, or real vLLM
//! night     one run and what is done to it; checks after each kill and at the end
//! books     what the files of a run say: nothing lost, nothing twice, the result of a run that was left alone
//! ```
//!
//! Moments and victims come from a seed, so a campaign can be told from another; what must hold does not depend on
//! where a kill falls.

mod books;
mod night;
mod subject;

use night::{Kills, night};
use subject::{Repeatable, Subject, Vllm};

/// Spends nights until so many kills were made, and says what was done.
fn campaign(subject: &dyn Subject, kills: u32, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut total = Kills::default();
    let mut nights = 0;
    while total.sum() < kills {
        total += night(subject, &mut rng, kills - total.sum());
        nights += 1;
    }
    println!("faults: {}, seed {seed}: {nights} runs, {total}", subject.name());
}

#[test]
fn a_simulated_run_survives_kills() {
    campaign(&Repeatable::simulated(), 12, 1);
}

#[test]
fn a_run_on_worker_processes_survives_kills() {
    campaign(&Repeatable::worker_processes(), 12, 2);
}

#[test]
#[ignore = "the long form: make faults"]
fn long_simulated() {
    campaign(&Repeatable::simulated(), 120, 3);
}

#[test]
#[ignore = "the long form: make faults"]
fn long_worker_processes() {
    campaign(&Repeatable::worker_processes(), 120, 4);
}

#[test]
#[ignore = "the long form: make faults"]
fn long_vllm() {
    campaign(&Vllm::new(), 6, 5);
}
