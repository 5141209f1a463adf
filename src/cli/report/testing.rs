//! A run for tests: two engines under two SLAs, with one of everything that a report shows.

use ceiling_core::record::Run;
use serde_json::{Value, json};

/// Four cells: two found, one above the cap, one failed.
pub fn run() -> Run {
    serde_json::from_value(run_json()).unwrap()
}

/// The same as JSON.
pub fn run_json() -> Value {
    json!({
        "schema": 2,
        "run_id": "20261124T024500Z-1a2b3c4",
        "status": "partial",
        "simulated": true,
        "started": "2026-11-24T02:45:00Z",
        "finished": "2026-11-24T02:55:00Z",
        "experiment": {
            "name": "test", "description": "What does a report show?", "digest": "00000000000000aa", "source": "test.toml"
        },
        "provenance": {
            "ceiling": "0.1.0", "git": { "commit": "1a2b3c4d5e6f", "branch": "main", "dirty": true },
            "engine": { "kind": "sim", "version": "sim-0.1.0" }, "python": null, "platform": "linux x86_64",
            "cpu": "A CPU", "cpus": 2, "memory_bytes": 1024, "nvidia_driver": null, "cuda_visible_devices": null
        },
        "brief": { "cells": 4, "first": [
            { "status": "found", "highest_pass": 8 }, { "status": "above-cap", "highest_pass": 16 },
            { "status": "failed", "highest_pass": null }, { "status": "failed", "highest_pass": null },
        ] },
        "engines": [engine(64, 1, json!([])), engine(256, 0, json!([failure()]))],
        "ladders": [ladder(64, json!([probe(0, 1, true), probe(1, 8, true), probe(2, 16, false)])), ladder(256, json!([]))],
        "cells": [
            cell(64, "1s", json!({ "status": "found", "ceiling": 8, "highest_pass": 8, "lowest_fail": 9,
                "confidence": 0.95, "limited_by": "kv-cache", "limit": limit(), "failure": null })),
            cell(64, "3s", json!({ "status": "above-cap", "ceiling": null, "highest_pass": 16, "lowest_fail": null,
                "confidence": null, "limited_by": null, "limit": null, "failure": null })),
            cell(256, "1s", json!({ "status": "failed", "ceiling": null, "highest_pass": null, "lowest_fail": null,
                "confidence": null, "limited_by": null, "limit": null, "failure": failure() })),
            cell(256, "3s", json!({ "status": "failed", "ceiling": null, "highest_pass": null, "lowest_fail": null,
                "confidence": null, "limited_by": null, "limit": null, "failure": failure() })),
        ],
    })
}

fn limit() -> Value {
    json!({ "limit": "kv-cache", "running_peak": 8, "waiting_peak": 4, "kv_peak": 0.995, "preemptions": 2,
        "queued_share": 0.75, "answered": 8, "errors": 0 })
}

fn failure() -> Value {
    json!({ "kind": "engine", "reason": "ValueError: No memory for <blocks>", "log": "test/20261124T024500Z-1a2b3c4/logs/sim.log" })
}

fn engine(seqs: u32, loads: u32, failures: Value) -> Value {
    let resolved = json!({ "version": "sim-0.1.0", "packages": { "torch": "2.13.0" }, "kv_cache_tokens": 400_000,
        "max_num_seqs": seqs, "max_num_batched_tokens": 8192, "block_size": null, "max_model_len": null, "dtype": null,
        "devices": [], "model_commit": null, "load_seconds": 90.0 });
    json!({ "key": format!("{seqs:016x}"), "label": format!("sim,max_num_seqs={seqs}"),
        "args": { "kind": "sim", "max_num_seqs": seqs }, "resolved": if loads > 0 { resolved } else { Value::Null },
        "load_seconds": 90.0, "loads": loads, "failures": failures })
}

fn slas() -> [Value; 2] {
    [json!({ "ok_rate": 0.99, "ttft": 1.0 }), json!({ "ok_rate": 0.99, "ttft": 3.0 })]
}

fn ladder(seqs: u32, probes: Value) -> Value {
    json!({ "id": format!("sim,max_num_seqs={seqs},input_tokens=5000"), "key": format!("{:016x}", seqs + 1),
        "engine": format!("sim,max_num_seqs={seqs}"),
        "workload": { "input_tokens": 5000, "output_tokens": 256, "load": "burst", "hold": { "for": 5.0 },
            "prompt": "random", "shared_prefix": 0, "seed": 7 },
        "search": { "max_concurrency": 16, "start_concurrency": 1, "resolution": { "requests": 1 }, "confidence": 0.95,
            "strategy": "guided", "budget": 1800.0 },
        "slas": slas(), "probes": probes, "engine_s": 12.5, "certificate_ratio": 1.5 })
}

fn probe(number: u32, level: u32, passes: bool) -> Value {
    let (ok, failed) = if passes { (level, 0) } else { (0, level) };
    let slas = json!({ "ok": [ok, level], "failed": [failed, 0], "undetermined": [0, 0] });
    let quantiles = |p50: f64| json!({ "count": level, "min_s": 0.1, "p50_s": p50, "p90_s": p50 * 1.5, "p99_s": p50 * 2.0, "max_s": p50 * 2.5 });
    json!({ "number": number, "concurrency": level, "until": { "decided": [0, 1] }, "seconds": 5.5, "requests": level,
        "slas": slas, "audit": "clean", "counts": true, "ttft": quantiles(0.0625 * f64::from(level)),
        "queued": quantiles(0.03125 * f64::from(level)), "tpot": quantiles(0.008), "e2e": null,
        "output_tokens_per_s": 100.0 + f64::from(level), "cached_tokens": 0, "prompt_tokens": 5000, "errors": [],
        "scheduler": { "running_peak": level, "waiting_peak": 0, "kv_peak": 0.01 * f64::from(level), "steps": 7,
            "preemptions": 0 },
        "harness": { "cpu_us_per_token": 3.5, "submit_delay_s": null, "lag_s": null } })
}

fn cell(seqs: u32, ttft: &str, result: Value) -> Value {
    let mut cell = json!({ "id": format!("max_num_seqs={seqs},ttft={ttft}"),
        "key": format!("{:016x}", seqs * 10 + u32::from(ttft == "1s")), "engine": format!("sim,max_num_seqs={seqs}"),
        "ladder": format!("sim,max_num_seqs={seqs},input_tokens=5000"),
        "axes": { "engine.max_num_seqs": seqs, "sla.ttft": ttft }, "sla": slas()[usize::from(ttft == "3s")] });
    cell.as_object_mut().unwrap().extend(result.as_object().unwrap().clone());
    cell
}
