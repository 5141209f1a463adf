//! How often the diff cries wolf, and how often it sees the wolf: runs of the simulator, drift 3% and noise 5%.
//!
//! `cargo test --release -p ceiling-core alarms -- --nocapture` prints both shares.

use rayon::prelude::*;

use super::testing::run_on;
use super::*;
use crate::experiment::Engine;
use crate::protocol::Resolved;
use crate::rehearse::Climb;
use crate::sim::SimSession;

/// An engine at this pace, in tokens a second, asked about 12 cells on two ladders.
fn experiment(tokens_per_second: u32, resolution: &str) -> String {
    format!(
        r#"
        schema = 1
        name = "alarms"

        [engine]
        kind = "sim"
        prefill_tokens_per_second = {tokens_per_second}
        decode_step = "8ms"
        decode_step_per_sequence = "20us"
        max_num_seqs = 1024
        kv_cache_tokens = 100000000
        step_noise = "5%"
        probe_drift = "3%"

        [workload]
        input_tokens = [1000, 5000]
        output_tokens = 256

        [sla]
        ok_rate = [0.95, 0.99]
        ttft = ["1s", "3s", "9s"]

        [search]
        max_concurrency = 4096
        resolution = {resolution}
        "#
    )
}

fn measure(text: &str, seed: u64) -> ComparedRun {
    run_on(text, &Resolved::default(), |plan, ladder| {
        let Engine::Sim(engine) = *plan.groups[ladder.group].engine else { panic!("a simulated engine") };
        let slas: Vec<Sla> = ladder.cells.iter().map(|cell| plan.cells[*cell].sla).collect();
        let stream = ladder.key.number();
        Climb::run(SimSession::new(engine, seed), &ladder.workload, &ladder.search, &slas, stream).answers
    })
}

/// Cells by verdict over many pairs of runs with other luck, and the pairs in which any cell gave an alarm.
fn over_pairs(baseline: &str, candidate: &str, pairs: u64) -> (Vec<Summary>, usize) {
    let options = Options {
        threshold: Share::new(0.05).unwrap(),
        across: Across::new(["engine.prefill_tokens_per_second".to_owned()]),
    };
    let summary = |pair: u64| {
        let (before, after) = (measure(baseline, 2 * pair), measure(candidate, 2 * pair + 1));
        compare(&before, &after, &options).unwrap().summary
    };
    let all: Vec<Summary> = (0..pairs).into_par_iter().map(summary).collect();
    let alarmed = all.iter().filter(|summary| summary.improved + summary.regressed > 0).count();
    (all, alarmed)
}

fn share(summaries: &[Summary], of: impl Fn(&Summary) -> usize) -> f64 {
    let cells: usize = summaries.iter().map(Summary::compared).sum();
    summaries.iter().map(of).sum::<usize>() as f64 / cells as f64
}

#[test]
fn it_does_not_cry_wolf_and_sees_the_wolf() {
    // Debug builds simulate some twenty times slower.
    let pairs = if cfg!(debug_assertions) { 10 } else { 200 };
    for resolution in ["1", "\"2%\""] {
        let (same, alarmed) = over_pairs(&experiment(40_000, resolution), &experiment(40_000, resolution), pairs);
        let false_alarms = share(&same, |summary| summary.improved + summary.regressed);
        let (slower, _) = over_pairs(&experiment(40_000, resolution), &experiment(34_000, resolution), pairs);
        let (missed, seen) = (share(&slower, |summary| summary.improved), share(&slower, |summary| summary.regressed));
        println!(
            "resolution {resolution}, {pairs} pairs of 12 cells: false alarms in {:.2}% of cells and {:.1}% of pairs, \
             unchanged {:.1}%; a shift of 15% is seen in {:.1}% of cells, undecided {:.1}%",
            100.0 * false_alarms,
            100.0 * alarmed as f64 / pairs as f64,
            100.0 * share(&same, |summary| summary.unchanged),
            100.0 * seen,
            100.0 * share(&slower, |summary| summary.undecided),
        );
        assert!(false_alarms <= 0.05, "false alarms in {false_alarms} of the cells");
        assert!(seen >= 0.9 && missed == 0.0, "a shift of 15% was seen in {seen} of the cells");
    }
}
