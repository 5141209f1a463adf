//! Engines, workloads and limits that are drawn, the same ones each time.

use ceiling_core::experiment::Resolution;
use ceiling_core::load::Load;
use ceiling_core::sim::SimEngine;
use ceiling_core::sla::Sla;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::{Case, engine, grid, seconds, share, workload};

/// Engines that are drawn at random.
pub const RANDOM: usize = 60;

/// Engines, workloads and limits drawn at random, the same ones each time.
pub fn random(count: usize) -> Vec<Case> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut cases = Vec::new();
    for index in 0..count {
        let mut between = |least: f64, most: f64| least * (most / least).powf(rng.random::<f64>());
        let (prefill, input) = (between(3e3, 2e5), between(300.0, 2e4));
        // A first token within the limit for about so many requests, were prompts all there is to do.
        let requests = between(8.0, 150.0);
        let engine = SimEngine {
            prefill_tokens_per_second: prefill,
            decode_step: seconds(between(1e-3, 4e-2)),
            decode_step_per_sequence: seconds(between(5e-6, 2e-4)),
            max_num_seqs: between(16.0, 1024.0) as u32,
            max_num_batched_tokens: between(1024.0, 16_384.0) as u32,
            kv_cache_tokens: (input * between(20.0, 1000.0)) as u64,
            ..engine()
        };
        let (output, hold) = (between(16.0, 512.0) as u32, between(0.5, 8.0));
        let (ttft, tpot, wide) = (requests * input / prefill, between(1.5, 8.0), between(1.0, 2.0) < 1.4);
        let tpot = seconds(engine.decode_step.get() * tpot);
        let rate = if index % 2 == 0 { 0.95 } else { 0.99 };
        let burst =
            if wide { grid(&[ttft / 4.0, ttft / 2.0, ttft, ttft * 2.0], &[0.9, 0.99]) } else { grid(&[ttft], &[rate]) };
        let patient = grid(&[ttft], &[rate]);
        let with_tpot = |sla: &Sla| Sla { tpot: Some(tpot), ..*sla };
        let with_e2e = |sla: &Sla| Sla { e2e: Some(seconds(ttft + hold)), ..*sla };
        let later = patient.iter().map(with_tpot).collect();
        let kinds =
            [("burst", Load::Burst, burst), ("sustained", Load::Sustained, patient), ("tpot", Load::Sustained, later)];
        let relative = Resolution::Relative(share(0.05));
        let noises = [("exact", 0.0, 0.0, Resolution::Requests(1)), ("drift 3%", 0.03, 0.05, relative)];
        let mut case = |what: String, load: Load, engine: SimEngine, slas: &[Sla], resolution: Resolution| {
            cases.push(Case {
                name: format!("{what} {index}"),
                engine,
                workload: workload(load, input as u32, output, hold),
                slas: slas.to_vec(),
                resolution,
            });
        };
        for (noise, drift, step, resolution) in noises {
            let engine = SimEngine { probe_drift: drift, step_noise: step, ..engine };
            for (kind, load, slas) in &kinds {
                case(format!("random {noise} {kind}"), *load, engine, slas, resolution);
            }
        }
        for (noise, drift, step) in [("no noise", 0.0, 0.0), ("drift 3%", 0.03, 0.05)] {
            let engine = SimEngine { probe_drift: drift, step_noise: step, ..engine };
            let stalling = SimEngine { stall_rate: share(0.05), stall: seconds(2.0 * ttft), ..engine };
            let failing = SimEngine { error_rate: share(0.02), ..engine };
            for (kind, load) in [("burst", Load::Burst), ("sustained", Load::Sustained)] {
                case(format!("random stalls {noise} {kind}"), load, stalling, &grid(&[ttft], &[0.9]), relative);
                for rate in [0.95, 0.99] {
                    case(
                        format!("random errors {rate} {noise} {kind}"),
                        load,
                        failing,
                        &grid(&[ttft], &[rate]),
                        relative,
                    );
                }
            }
            let lax = grid(&[ttft], &[0.95]);
            let limits: [(&str, Vec<Sla>); 2] =
                [("tpot", lax.iter().map(with_tpot).collect()), ("e2e", lax.iter().map(with_e2e).collect())];
            for (limit, slas) in limits {
                case(format!("later {limit} {noise}"), Load::Burst, engine, &slas, relative);
                case(format!("later {limit} {noise} errors"), Load::Burst, failing, &slas, relative);
            }
        }
    }
    cases
}

/// Engines of the wider draw.
pub const WIDE: usize = 300;

/// Engines, workloads and limits from all that they may be: steps that hold many prompts or a part of one, few seats, little KV cache,
/// answers of one token, requests held for less than a step, ceilings of one and of hundreds.
pub fn wide(count: usize) -> Vec<Case> {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let mut cases = Vec::new();
    for index in 0..count {
        let mut between = |least: f64, most: f64| least * (most / least).powf(rng.random::<f64>());
        let (prefill, input) = (between(2e3, 3e5), between(100.0, 3.2e4));
        let engine = SimEngine {
            prefill_tokens_per_second: prefill,
            decode_step: seconds(between(5e-4, 5e-2)),
            decode_step_per_sequence: seconds(between(1e-6, 5e-4)),
            max_num_seqs: between(8.0, 2048.0) as u32,
            max_num_batched_tokens: between(512.0, 32_768.0) as u32,
            kv_cache_tokens: (input * between(10.0, 2000.0)) as u64 + 4096,
            ..engine()
        };
        let ttft = between(4.0, 400.0) * input / prefill;
        let (output, hold) = (between(1.0, 1000.0) as u32, between(0.2, 10.0));
        let slas = grid(&[ttft], &[[0.9, 0.95, 0.99][index % 3]]);
        let noises =
            [("exact", 0.0, 0.0, Resolution::Requests(1)), ("drift 3%", 0.03, 0.05, Resolution::Relative(share(0.05)))];
        for (noise, drift, step, resolution) in noises {
            let engine = SimEngine { probe_drift: drift, step_noise: step, ..engine };
            for (kind, load) in [("burst", Load::Burst), ("sustained", Load::Sustained)] {
                cases.push(Case {
                    name: format!("wide {noise} {kind} {index}"),
                    engine,
                    workload: workload(load, input as u32, output, hold),
                    slas: slas.clone(),
                    resolution,
                });
            }
        }
    }
    cases
}

/// Engines that are full of a burst.
pub const FULL: usize = 60;

/// Engines, workloads and limits of bursts of which some requests get their first token once others were held and left.
pub fn full(count: usize) -> Vec<Case> {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut cases = Vec::new();
    for index in 0..count {
        let mut between = |least: f64, most: f64| least * (most / least).powf(rng.random::<f64>());
        let (room, hold, input) = (between(6.0, 100.0) as u32, between(2.0, 10.0), between(500.0, 9000.0));
        // All that have room are served in this part of the time that they are held.
        let prefill = f64::from(room) * input / (hold * between(0.1, 0.9));
        let output = between(100.0, 1000.0) as u32;
        let (seats, kv) = if index % 2 == 0 { (room, 3_000_000) } else { (512, room * (input as u32 + output)) };
        let engine = SimEngine {
            prefill_tokens_per_second: prefill,
            decode_step: seconds(between(5e-3, 3e-2)),
            decode_step_per_sequence: seconds(between(1e-5, 1e-4)),
            max_num_seqs: seats,
            max_num_batched_tokens: if index % 3 == 0 { 2048 } else { 8192 },
            kv_cache_tokens: u64::from(kv),
            probe_drift: 0.03,
            step_noise: 0.05,
            ..engine()
        };
        let rate = [0.9, 0.95, 0.99][index / 2 % 3];
        cases.push(Case {
            name: format!("full drift 3% {index}"),
            engine,
            workload: workload(Load::Burst, input as u32, output, hold),
            slas: grid(&[hold * between(1.03, 2.2)], &[rate]),
            resolution: Resolution::Relative(share(0.05)),
        });
    }
    cases
}
