//! What a list of many runs and a diff of many cells cost: `cargo bench -p ceiling --bench diff`.
//!
//! The binary itself runs, on files that are made from one simulated run. The fastest of three repetitions counts.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const EXPERIMENT: &str = r#"
schema = 1
name = "bench"
[engine]
kind = "sim"
prefill_tokens_per_second = 40000
decode_step = "8ms"
decode_step_per_sequence = "20us"
kv_cache_tokens = 400000
step_noise = "5%"
probe_drift = "3%"
[workload]
input_tokens = 1000
[sla]
ok_rate = [0.95, 0.99]
ttft = ["1s", "2s", "3s", "5s", "9s"]
[search]
resolution = "2%"
"#;

/// A list of 1,000 runs may take this long.
const LIST_LIMIT_S: f64 = 1.0;

/// A diff of 100,000 cells may take this long.
const LIMIT_S: f64 = 2.0;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let place = directory.path();
    std::fs::write(place.join("bench.toml"), EXPERIMENT)?;
    time(place, &["run", "bench.toml"])?;
    let run = glob::glob(&format!("{}/results/*/*/run.json", place.display()))?.next().ok_or("no run")??;
    let text = std::fs::read_to_string(&run)?;
    let one: Value = serde_json::from_str(&text)?;

    for number in 1..1000 {
        let copy = place.join(format!("results/bench/20250101T{number:06}Z-1a2b3c4"));
        std::fs::create_dir_all(&copy)?;
        std::fs::write(copy.join("run.json"), &text)?;
    }
    let kib = text.len() / 1024;
    println!("list of 1,000 runs of {kib} KiB each: {:.2} s", best(place, &["list"])?.as_secs_f64());
    let large = place.join("large.json");
    many(&one, 100, 10, 0, &large)?;
    for number in 0..1000 {
        let link = place.join(format!("large/bench/20250101T{number:06}Z-1a2b3c4"));
        std::fs::create_dir_all(&link)?;
        std::fs::hard_link(&large, link.join("run.json"))?;
    }
    let kib = std::fs::metadata(&large)?.len() / 1024;
    let seconds = best(place, &["list", "--results", "large"])?.as_secs_f64();
    println!(
        "list of 1,000 runs of 1,000 cells, {kib} KiB each: {seconds:.2} s, {:.2} of the limit",
        seconds / LIST_LIMIT_S
    );

    for (ladders, cells) in [(1, 100_000), (1000, 100), (10_000, 10)] {
        for (name, seed) in [("a", 0), ("b", 0), ("c", 1)] {
            std::fs::create_dir_all(place.join(name))?;
            many(&one, ladders, cells, seed, &place.join(name).join("run.json"))?;
        }
        let mib = std::fs::metadata(place.join("a/run.json"))?.len() / (1 << 20);
        for (other, how) in [("b", "equal keys"), ("c", "other keys")] {
            let seconds = best(place, &["diff", "a", other])?.as_secs_f64();
            let count = ladders * cells;
            let ratio = seconds / LIMIT_S;
            println!(
                "diff of {count} cells on {ladders} ladders, {how}, {mib} MiB each: {seconds:.2} s, {ratio:.2} of the limit"
            );
        }
    }
    Ok(())
}

/// A run of so many ladders with so many cells each, whose keys depend on the seed. Written piece by piece: as one value it
/// would take many gigabytes.
fn many(one: &Value, ladders: usize, cells: usize, seed: usize, path: &Path) -> Result<(), Box<dyn Error>> {
    let take = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (mut ladder, mut cell) = (take(&one["ladders"]).remove(0), take(&one["cells"]));
    // What may differ, so that cells with other keys are compared all the same.
    ladder["search"]["budget"] = json!(1000 + seed);
    let key = |kind: usize, index: usize| json!(format!("{:016x}", (index * 2 + kind) * 2 + seed));
    let mut file = BufWriter::new(File::create(path)?);
    let mut head = one.clone();
    head["brief"]["cells"] = json!(ladders * cells);
    let head = head.as_object_mut().ok_or("no run")?;
    head.retain(|name, _| name != "ladders" && name != "cells");
    let head = serde_json::to_string(&head)?;
    write!(file, "{},\n\"ladders\": [", head.trim_end_matches('}'))?;
    let between = |index: usize| if index == 0 { "\n" } else { ",\n" };
    for number in 0..ladders {
        (ladder["id"], ladder["key"]) = (json!(format!("ladder={number}")), key(0, number));
        ladder["workload"]["input_tokens"] = json!(number + 1);
        file.write_all(between(number).as_bytes())?;
        serde_json::to_writer(&mut file, &ladder)?;
    }
    write!(file, "],\n\"cells\": [")?;
    for number in 0..ladders * cells {
        let (ladder, index) = (number / cells, number % cells);
        let kinds = cell.len();
        let cell = &mut cell[index % kinds];
        (cell["id"], cell["key"]) = (json!(format!("cell={number}")), key(1, number));
        cell["ladder"] = json!(format!("ladder={ladder}"));
        // Ten SLAs a ladder: where there are more cells, their limits differ.
        cell["sla"]["ttft"] = json!(1.0 + index as f64);
        file.write_all(between(number).as_bytes())?;
        serde_json::to_writer(&mut file, &cell)?;
    }
    write!(file, "]\n}}\n")?;
    Ok(file.flush()?)
}

fn best(place: &Path, arguments: &[&str]) -> Result<Duration, Box<dyn Error>> {
    let times = [time(place, arguments)?, time(place, arguments)?, time(place, arguments)?];
    Ok(times.into_iter().min().unwrap_or_default())
}

fn time(place: &Path, arguments: &[&str]) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ceiling"));
    let status = command.args(arguments).current_dir(place).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !status.success() {
        return Err(format!("ceiling {arguments:?} ended with {status}").into());
    }
    Ok(began.elapsed())
}
