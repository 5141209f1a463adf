//! What it costs to merge 1,000 published groups with 10,000 cells: `cargo bench -p ceiling --bench merge`.
//!
//! The binary itself runs, as 1,000 elements and then as whoever looks at the result first.

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const EXPERIMENT: &str = r#"
schema = 1
name = "bench"
[engine]
kind = "sim"
[workload]
input_tokens = 1000
output_tokens = 64
hold = "1s"
[sla]
ok_rate = [0.95, 0.99]
ttft = ["250ms", "500ms", "1s", "2s", "3s"]
[search]
max_concurrency = 256
resolution = "5%"
[matrix]
"engine.kv_cache_tokens" = "#;

const SHARED: &str = "results/bench/20260101T000000Z-nogit/batch/1";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let place = directory.path();
    let sizes: Vec<u32> = (0..1000).map(|group| 300_000 + group).collect();
    std::fs::write(place.join("bench.toml"), format!("{EXPERIMENT}{sizes:?}\n"))?;
    let plan = ceiling(place, &["plan", "bench.toml", "--format", "json"]).output()?;
    let plan: Value = serde_json::from_slice(&plan.stdout)?;
    let labels: Vec<&str> =
        plan["engines"].as_array().ok_or("engines")?.iter().filter_map(|e| e["label"].as_str()).collect();

    let (first, rest) = labels.split_first().ok_or("no group")?;
    elements(place, std::slice::from_ref(first))?;
    let elements_began = Instant::now();
    let half = rest.len() / 2;
    std::thread::scope(|scope| {
        let parts = [&rest[..half], &rest[half..]];
        let parts = parts.map(|part| scope.spawn(|| elements(place, part).map_err(|error| error.to_string())));
        parts.map(|part| part.join().unwrap_or_else(|_| Err("an element's starter panicked".to_owned())))
    })
    .into_iter()
    .collect::<Result<(), String>>()?;
    println!("{} elements: {:.1} s", rest.len(), elements_began.elapsed().as_secs_f64());

    let journals = glob::glob(&format!("{}/{SHARED}/groups/*/*/*/journal.jsonl", place.display()))?;
    let sizes: Vec<u64> = journals.flatten().map(|path| path.metadata().map_or(0, |file| file.len())).collect();
    let merging = time(place, &["report", "latest", "--format", "csv"])?;
    let reading = time(place, &["report", "latest", "--format", "csv"])?;
    println!(
        "{} groups, {} cells, {} MiB of journals: first report {:.2} s, second {:.2} s",
        sizes.len(),
        plan["cells"].as_array().map_or(0, Vec::len),
        sizes.iter().sum::<u64>() >> 20,
        merging.as_secs_f64(),
        reading.as_secs_f64(),
    );
    Ok(())
}

fn ceiling(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ceiling"));
    command.args(arguments).current_dir(place);
    command
}

/// Runs the elements of these groups one after the other.
fn elements(place: &Path, labels: &[&str]) -> Result<(), Box<dyn Error>> {
    labels.iter().try_for_each(|label| {
        time(place, &["run", "bench.toml", "--yes", "--shared", SHARED, "--group", label]).map(drop)
    })
}

fn time(place: &Path, arguments: &[&str]) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    let status = ceiling(place, arguments).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(began.elapsed()) } else { Err(format!("{arguments:?} failed: {status}").into()) }
}
