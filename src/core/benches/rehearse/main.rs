//! Rehearses the cases that the method is judged by and prints a table.
//!
//! `cargo bench -p ceiling-core --bench rehearse -- [--seeds N] [WORD]`: cases whose name holds WORD, all by default.
//! `published` are those whose figures `docs/method.md` states; none of the method's constants was chosen on them. `random` are
//! engines, workloads and limits drawn at random, to look for a kind of engine that the method does not suit; `later` are bursts on the
//! same engines with limits on later tokens; `wide` are others, drawn from all that an engine may be, sensible or not; `full` are bursts of which
//! some requests wait for others to leave.

mod drawn;

use std::sync::Arc;

use ceiling_core::experiment::{
    Engine, Execution, ExperimentName, Gpus, On, Place, Resolution, SearchSettings, Slurm, Strategy, Workload,
};
use ceiling_core::load::{Hold, Load};
use ceiling_core::plan::{Cell, EngineGroup, ExperimentHead, Key, Ladder, Plan};
use ceiling_core::protocol::PromptSource;
use ceiling_core::rehearse::{RehearsedCell, rehearse};
use ceiling_core::sim::SimEngine;
use ceiling_core::sla::{Sla, TokensPerSecond};
use ceiling_core::units::{Concurrency, Seconds, Share};

/// Adds a limit to an SLA.
type Tighten = dyn Fn(&Sla) -> Sla;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let seeds = arguments.iter().position(|argument| argument == "--seeds").and_then(|at| arguments.get(at + 1));
    let seeds = seeds.map_or(1000, |seeds| seeds.parse().expect("--seeds takes a number"));
    let word = arguments.iter().rfind(|argument| !argument.starts_with("--") && argument.parse::<u32>().is_err());
    println!(
        "{:<34} {:>5} {:>7} {:>6} {:>6} {:>6} {:>6} {:>5} | {:>6} {:>6} {:>8} {:>8} {:>6}",
        "case",
        "cells",
        "ceiling",
        "covers",
        "worst",
        "undec.",
        "width",
        "wide",
        "probes",
        "ratio",
        "engine s",
        "ref. s",
        "covers"
    );
    let trace = arguments.iter().position(|argument| argument == "--trace").and_then(|at| arguments.get(at + 1));
    for case in cases().into_iter().filter(|case| word.is_none_or(|word| case.name.contains(word.as_str()))) {
        match trace {
            Some(seed) => case.trace(seed.parse().expect("--trace takes a seed")),
            None => case.print(seeds),
        }
    }
}

struct Case {
    name: String,
    engine: SimEngine,
    workload: Workload,
    slas: Vec<Sla>,
    resolution: Resolution,
}

fn seconds(value: f64) -> Seconds {
    Seconds::new(value).expect("a length of time")
}

fn share(value: f64) -> Share {
    Share::new(value).expect("a share")
}

/// The engine of the interface's example.
fn engine() -> SimEngine {
    SimEngine {
        decode_step: seconds(8e-3),
        decode_step_per_sequence: seconds(20e-6),
        max_num_seqs: 256,
        max_num_batched_tokens: 8192,
        kv_cache_tokens: 400_000,
        load_time: seconds(90.0),
        ..SimEngine::unlimited(40_000.0)
    }
}

/// Prefill alone: first tokens 30 ms apart.
fn prefill_only() -> SimEngine {
    SimEngine {
        prefill_tokens_per_second: 1000.0 / 0.03,
        decode_step: Seconds::ZERO,
        decode_step_per_sequence: Seconds::ZERO,
        max_num_seqs: 100_000,
        max_num_batched_tokens: 1000,
        kv_cache_tokens: 1_000_000_000,
        ..engine()
    }
}

fn tiny() -> SimEngine {
    SimEngine {
        prefill_tokens_per_second: 20_000.0,
        decode_step: seconds(2e-3),
        decode_step_per_sequence: seconds(50e-6),
        max_num_seqs: 64,
        max_num_batched_tokens: 4096,
        kv_cache_tokens: 60_000,
        ..engine()
    }
}

/// A large model on few GPUs: slow steps, a small budget.
fn large() -> SimEngine {
    SimEngine {
        prefill_tokens_per_second: 9_000.0,
        decode_step: seconds(35e-3),
        decode_step_per_sequence: seconds(80e-6),
        max_num_batched_tokens: 2048,
        kv_cache_tokens: 900_000,
        ..engine()
    }
}

/// A small model on a fast GPU.
fn fast() -> SimEngine {
    SimEngine {
        prefill_tokens_per_second: 150_000.0,
        decode_step: seconds(4e-3),
        decode_step_per_sequence: seconds(10e-6),
        max_num_seqs: 1024,
        max_num_batched_tokens: 16_384,
        kv_cache_tokens: 3_000_000,
        ..engine()
    }
}

/// Cases whose figures are published.
fn published() -> Vec<Case> {
    let engines = [("large", large(), 2500, 128, 4.0), ("fast", fast(), 6000, 200, 3.0)];
    let grids: [(&str, Vec<Sla>); 3] = [
        ("1", grid(&[2.5], &[0.95])),
        ("1 strict", grid(&[7.0], &[0.99])),
        ("4x2", grid(&[0.8, 2.0, 5.0, 13.0], &[0.9, 0.99])),
    ];
    let relative = Resolution::Relative(share(0.05));
    let noises: [(&str, f64, f64, Resolution); 3] = [
        ("exact", 0.0, 0.0, Resolution::Requests(1)),
        ("drift 3%", 0.03, 0.05, relative),
        ("drift 10%", 0.1, 0.2, relative),
    ];
    let mut cases = Vec::new();
    for (name, base, input, output, hold) in engines {
        let case = |what: &str, load: Load, engine: SimEngine, slas: Vec<Sla>, resolution: Resolution| Case {
            name: format!("published {what} {name}"),
            engine,
            workload: workload(load, input, output, hold),
            slas,
            resolution,
        };
        for (noise, drift, step, resolution) in noises {
            let engine = SimEngine { probe_drift: drift, step_noise: step, ..base };
            for (grid, slas) in &grids {
                cases.push(case(&format!("{noise} {grid}"), Load::Burst, engine, slas.clone(), resolution));
            }
            let tpot = |sla: &Sla| Sla { tpot: Some(seconds(0.2)), ..*sla };
            let slas: Vec<Sla> = grid(&[2.5], &[0.95]).iter().map(tpot).collect();
            cases.push(case(&format!("{noise} sustained"), Load::Sustained, engine, slas, resolution));
        }
        let noisy = SimEngine { probe_drift: 0.03, step_noise: 0.05, ..base };
        cases.push(case("drift 3% 4x2 to one", Load::Burst, noisy, grids[2].1.clone(), Resolution::Requests(1)));
        let stalling = SimEngine { stall_rate: share(0.05), stall: seconds(5.0), ..noisy };
        cases.push(case("stalls", Load::Burst, stalling, grid(&[2.5], &[0.9]), relative));
        let failing = SimEngine { error_rate: share(0.02), ..noisy };
        cases.push(case("errors 0.95", Load::Burst, failing, grid(&[7.0], &[0.95]), relative));
        cases.push(case("errors 0.99", Load::Burst, failing, grid(&[7.0], &[0.99]), relative));
    }
    cases
}

fn workload(load: Load, input_tokens: u32, output_tokens: u32, hold: f64) -> Workload {
    Workload {
        input_tokens,
        output_tokens,
        load,
        hold: Hold::For(seconds(hold)),
        prompt: PromptSource::Random,
        shared_prefix: 0,
        seed: 7,
    }
}

fn grid(ttfts: &[f64], rates: &[f64]) -> Vec<Sla> {
    let sla = |ttft: f64, rate: f64| Sla {
        ok_rate: share(rate),
        ttft: seconds(ttft),
        tpot: None,
        e2e: None,
        min_tokens_per_second: None,
    };
    ttfts.iter().flat_map(|ttft| rates.iter().map(move |rate| sla(*ttft, *rate))).collect()
}

fn cases() -> Vec<Case> {
    let engines = [
        ("prefill", prefill_only(), 1000, 1, 0.0),
        ("example", engine(), 5000, 256, 5.0),
        ("tiny", tiny(), 512, 32, 2.0),
        ("short", SimEngine { max_num_seqs: 1024, kv_cache_tokens: 2_000_000, ..engine() }, 1000, 256, 5.0),
        ("long", SimEngine { kv_cache_tokens: 2_000_000, ..engine() }, 16_000, 256, 5.0),
    ];
    let grids: [(&str, Vec<Sla>); 4] = [
        ("1", grid(&[3.0], &[0.95])),
        ("1 strict", grid(&[10.0], &[0.99])),
        ("3x2", grid(&[1.0, 3.0, 9.0], &[0.95, 0.99])),
        ("4x2", grid(&[1.0, 3.0, 9.0, 27.0], &[0.9, 0.99])),
    ];
    let noises: [(&str, f64, f64, Resolution); 3] = [
        ("exact", 0.0, 0.0, Resolution::Requests(1)),
        ("drift 3%", 0.03, 0.05, Resolution::Relative(share(0.05))),
        ("drift 10%", 0.1, 0.2, Resolution::Relative(share(0.05))),
    ];
    let mut cases = published();
    cases.extend(drawn::random(drawn::RANDOM));
    cases.extend(drawn::wide(drawn::WIDE));
    cases.extend(drawn::full(drawn::FULL));
    for (noise, drift, step, resolution) in noises {
        for (name, engine, input, output, hold) in engines {
            for (grid, slas) in &grids {
                cases.push(Case {
                    name: format!("{noise} {name} {grid}"),
                    engine: SimEngine { probe_drift: drift, step_noise: step, ..engine },
                    workload: workload(Load::Burst, input, output, hold),
                    slas: slas.clone(),
                    resolution,
                });
            }
        }
        let busy = SimEngine { probe_drift: drift, step_noise: step, ..engine() };
        let sustained = |name: &str, hold: f64, slas: Vec<Sla>| Case {
            name: format!("{noise} sustained {name}"),
            engine: SimEngine { kv_cache_tokens: 2_000_000, ..busy },
            workload: workload(Load::Sustained, 1000, 100, hold),
            slas,
            resolution,
        };
        cases.push(sustained("1", 5.0, grid(&[1.0], &[0.95])));
        cases.push(sustained("hold x2", 10.0, grid(&[1.0], &[0.95])));
        cases.push(sustained("3x2", 5.0, grid(&[0.5, 1.0, 3.0], &[0.95, 0.99])));
        let tpot = |sla: &Sla| Sla { tpot: Some(seconds(0.05)), ..*sla };
        let e2e = |sla: &Sla| Sla { e2e: Some(seconds(8.0)), ..*sla };
        let fast = |sla: &Sla| Sla { min_tokens_per_second: TokensPerSecond::new(25.0), ..*sla };
        let limits: [(&str, &Tighten); 3] = [("tpot", &tpot), ("e2e", &e2e), ("rate", &fast)];
        for (name, limit) in limits {
            let slas: Vec<Sla> = grid(&[1.0, 3.0], &[0.95]).iter().map(limit).collect();
            cases.push(sustained(name, 5.0, slas.clone()));
            cases.push(Case {
                name: format!("{noise} burst {name}"),
                workload: workload(Load::Burst, 1000, 100, 5.0),
                ..sustained(name, 5.0, slas)
            });
        }
    }
    for (noise, drift, step, _) in noises {
        for (name, base, input, output, hold) in engines {
            for resolution in [0.1, 0.2] {
                cases.push(Case {
                    name: format!("loose {}% {noise} {name}", resolution * 100.0),
                    engine: SimEngine { probe_drift: drift, step_noise: step, ..base },
                    workload: workload(Load::Burst, input, output, hold),
                    slas: grid(&[1.0, 2.0, 4.0, 8.0], &[0.95, 0.99]),
                    resolution: Resolution::Relative(share(resolution)),
                });
            }
        }
    }
    for (drift, step) in [(0.0, 0.0), (0.03, 0.05)] {
        for (name, base, input, output, hold) in engines {
            let noisy = SimEngine { probe_drift: drift, step_noise: step, ..base };
            let case = |what: &str, engine: SimEngine, slas: Vec<Sla>| Case {
                name: format!("{what} {name} drift {}%", drift * 100.0),
                engine,
                workload: workload(Load::Burst, input, output, hold),
                slas,
                resolution: Resolution::Relative(share(0.05)),
            };
            let stalling = SimEngine { stall_rate: share(0.05), stall: seconds(6.0), ..noisy };
            cases.push(case("stall", stalling, grid(&[3.0], &[0.9])));
            let failing = SimEngine { error_rate: share(0.02), ..noisy };
            cases.push(case("errors", failing, grid(&[9.0], &[0.95, 0.99])));
        }
    }
    cases
}

impl Case {
    fn plan(&self) -> Plan {
        let key = Key::of(&serde_json::Value::Null);
        let search = SearchSettings {
            max_concurrency: Concurrency::new(4096).expect("not zero"),
            start_concurrency: Concurrency::ONE,
            resolution: self.resolution,
            confidence: share(0.95),
            strategy: Strategy::Guided,
            budget: seconds(36_000.0),
        };
        let cell = |(index, sla): (usize, &Sla)| Cell {
            key,
            id: index.to_string(),
            experiment: 0,
            ladder: 0,
            axes: Place::new(Arc::default(), 0),
            sla: *sla,
        };
        Plan {
            experiments: vec![ExperimentHead {
                name: ExperimentName::new("bench").expect("a name"),
                description: String::new(),
                source: String::new(),
                digest: key,
                left_out: 0,
            }],
            groups: vec![EngineGroup {
                key,
                label: self.name.clone(),
                files: None,
                engine: Arc::new(Engine::Sim(self.engine)),
                execution: Arc::new(Execution {
                    gpus: Gpus::None,
                    slots: 1,
                    engine_timeout: seconds(60.0),
                    probe_timeout: seconds(60.0),
                    cell_timeout: seconds(60.0),
                    retries: 0,
                    on: On::Local,
                    slurm: Slurm::default(),
                }),
                ladders: vec![0],
            }],
            ladders: vec![Ladder {
                id: self.name.clone(),
                key,
                group: 0,
                texts: None,
                workload: Arc::new(self.workload.clone()),
                search,
                cells: (0..self.slas.len()).collect(),
            }],
            cells: self.slas.iter().enumerate().map(cell).collect(),
        }
    }

    fn trace(&self, seed: u64) {
        let plan = self.plan();
        let ladder = &plan.ladders[0];
        let climb = ceiling_core::rehearse::Climb::run(
            ceiling_core::sim::SimSession::new(self.engine, seed),
            &ladder.workload,
            &ladder.search,
            &self.slas,
            0,
        );
        println!("{}", self.name);
        for (level, until, seconds) in &climb.probes {
            println!("  {level:>5} {:>8.2}s {until:?}", seconds.get());
        }
        for (sla, answer) in self.slas.iter().zip(&climb.answers) {
            println!(
                "  ttft {} rate {}: {:?} [{:?}, {:?})",
                sla.ttft,
                sla.ok_rate,
                answer.status,
                answer.highest_pass.map(Concurrency::get),
                answer.lowest_fail.map(Concurrency::get)
            );
        }
        println!("  ratio {:?}", climb.certificate_ratio());
    }

    fn print(&self, seeds: u32) {
        let rehearsal = rehearse(&self.plan(), seeds, &|_| {}).expect("a simulated engine");
        let (cells, ladder) = (&rehearsal.cells, &rehearsal.ladders[0]);
        let count = cells.len() as f64;
        let mean = |of: &dyn Fn(&RehearsedCell) -> f64| cells.iter().map(of).sum::<f64>() / count;
        let ceilings = cells.iter().map(|cell| cell.true_ceiling.map_or(0, Concurrency::get));
        let widest = cells.iter().filter_map(|cell| cell.median_relative_width).fold(0.0, f64::max);
        // At most a tenth of the ceiling or four requests, whichever is more, is narrow.
        let is_wide = |cell: &&RehearsedCell| {
            let ceiling = f64::from(cell.true_ceiling.map_or(1, Concurrency::get));
            cell.median_relative_width.is_some_and(|width| width * ceiling > (0.1 * ceiling).max(4.0))
        };
        println!(
            "{:<34} {:>5} {:>7} {:>6.3} {:>6.3} {:>6.3} {:>5.1}% {:>5} | {:>6.1} {:>6.2} {:>8.1} {:>8.1} {:>6.3}",
            self.name,
            cells.len(),
            format!("{}-{}", ceilings.clone().min().unwrap_or(0), ceilings.max().unwrap_or(0)),
            mean(&|cell| cell.coverage),
            cells.iter().map(|cell| cell.coverage).fold(1.0, f64::min),
            mean(&|cell| cell.undecided),
            widest * 100.0,
            cells.iter().filter(is_wide).count(),
            ladder.probes_mean,
            ladder.certificate_ratio_mean.unwrap_or(f64::NAN),
            ladder.engine_s_mean,
            ladder.reference.engine_s_mean,
            ladder.reference.coverage,
        );
    }
}
