//! What a night of 10,000 simulated cells costs beside what is measured: `cargo bench -p ceiling --bench night`.
//!
//! The binary itself runs: once to the end, and once until it is killed with half of its journal, and on. A simulated
//! engine takes no time, so the shares are of a run that does nothing but search: on a real one they vanish.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const EXPERIMENT: &str = r#"
schema = 1
name = "night"
[engine]
kind = "sim"
step_noise = "2%"
probe_drift = "1%"
[workload]
output_tokens = 128
hold = "1s"
[sla]
ok_rate = [0.9, 0.99]
ttft = ["1s", "2s"]
[search]
max_concurrency = 1024
[matrix]
"#;

fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let place = directory.path();
    let list = |from: u32, step: u32| (0..50).map(|n| (from + step * n).to_string()).collect::<Vec<_>>().join(", ");
    let (input, output) = (list(200, 40), list(16, 4));
    let axes = format!("\"workload.input_tokens\" = [{input}]\n\"workload.output_tokens\" = [{output}]\n");
    std::fs::write(place.join("night.toml"), format!("{EXPERIMENT}{axes}"))?;

    let (said, peak) = to_the_end(ceiling(place, "whole"))?;
    println!("10,000 cells: {said}; at most {} MiB of memory", peak >> 20);
    println!(
        "journal: {} MiB, run.json: {} MiB",
        size(place, "whole", "journal.jsonl")? >> 20,
        size(place, "whole", "run.json")? >> 20
    );

    let mut killed = ceiling(place, "half").spawn()?;
    let enough = size(place, "whole", "journal.jsonl")? / 2;
    while size(place, "half", "journal.jsonl").unwrap_or(0) < enough {
        std::thread::sleep(Duration::from_millis(5));
    }
    killed.kill()?;
    killed.wait()?;
    let mut resumed = ceiling(place, "half");
    println!(
        "killed with half of it: measures again {:.2} s after `run --resume`",
        until_it_measures(resumed.arg("--resume"))?
    );
    Ok(())
}

fn ceiling(place: &Path, results: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ceiling"));
    command.args(["run", "night.toml", "--results", results]).current_dir(place);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The last thing that a run says of its time, and the most memory in bytes that it had.
fn to_the_end(mut command: Command) -> Outcome<(String, u64)> {
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let (mut said, mut peak, mut looked) = (String::new(), 0, Instant::now());
    for line in BufReader::new(child.stderr.take().ok_or("no stderr")?).lines() {
        let line = line?;
        if line.starts_with("took ") {
            said = line;
        }
        if looked.elapsed() > Duration::from_millis(100) || !said.is_empty() {
            looked = Instant::now();
            peak = memory(&status).unwrap_or(peak);
        }
    }
    if child.wait()?.success() { Ok((said, peak)) } else { Err("the run failed".into()) }
}

/// The most memory in bytes that a process ever had.
fn memory(status: &str) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

fn until_it_measures(command: &mut Command) -> Outcome<f64> {
    let began = Instant::now();
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
    let first = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("in flight")));
    let seconds = began.elapsed().as_secs_f64();
    child.kill()?;
    child.wait()?;
    first.map(|_| seconds).ok_or_else(|| "it measures nothing".into())
}

fn size(place: &Path, results: &str, name: &str) -> Outcome<u64> {
    let mut found = glob::glob(&format!("{}/{results}/night/*/{name}", place.display()))?;
    Ok(found.next().ok_or("no file")??.metadata()?.len())
}
