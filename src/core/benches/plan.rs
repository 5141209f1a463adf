//! What planning costs: `cargo bench -p ceiling-core --bench plan`.
//!
//! Each case is a file in memory, read and planned as `ceiling plan` does it. The fastest of some repetitions counts; its
//! time on a CPU is given too, since a busy host makes the other one longer. Memory is the peak of the process so far.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ceiling_core::experiment::{Files, read};
use ceiling_core::plan::plan;

/// One file, and nothing else.
struct OneFile(String);

impl Files for OneFile {
    fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn is_dir(&self, _: &Path) -> bool {
        false
    }

    fn exists(&self, _: &Path) -> bool {
        false
    }

    fn glob(&self, _: &str) -> Result<Vec<PathBuf>, String> {
        Ok(Vec::new())
    }
}

/// A file with these axes, each of that many values.
fn file(axes: &BTreeMap<&str, u32>) -> OneFile {
    let mut text = String::from(
        "schema = 1\nname = \"bench\"\nmodel.id = \"org/model\"\n\
         engine = { dtype = \"bfloat16\", max_model_len = 65536, gpu_memory_utilization = 0.9 }\n\
         workload.input_tokens = 1000\nsla.ttft = \"1s\"\n[matrix]\n",
    );
    for (field, count) in axes {
        let values: Vec<_> = (1..=*count).map(|value| written(field, value)).collect();
        text.push_str(&format!("\"{field}\" = [{}]\n", values.join(", ")));
    }
    OneFile(text)
}

fn written(field: &str, value: u32) -> String {
    match field {
        "sla.ttft" => format!("\"{value}s\""),
        "sla.ok_rate" => format!("{}", 1.0 - f64::from(value) / 1000.0),
        _ => value.to_string(),
    }
}

/// Highest resident memory of this process so far, in MiB, where the system tells.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// Time that this thread has spent on a CPU, where the system tells.
fn on_cpu() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn main() {
    let small = [("engine.max_num_seqs", 10), ("workload.input_tokens", 10), ("sla.ttft", 10)];
    let large = [
        ("engine.max_num_seqs", 25),
        ("engine.max_num_batched_tokens", 20),
        ("workload.input_tokens", 50),
        ("workload.output_tokens", 4),
        ("sla.ttft", 5),
        ("sla.ok_rate", 2),
    ];
    let loads = [("engine.max_num_seqs", 100), ("engine.max_num_batched_tokens", 100), ("sla.ttft", 100)];
    for (name, axes, repeats) in [
        ("100 engines", &small[..], 20),
        ("500 engines, 100,000 ladders", &large[..], 3),
        ("10,000 engines", &loads[..], 3),
    ] {
        let file = file(&axes.iter().copied().collect());
        let mut best = (Duration::MAX, None);
        let mut cells = 0;
        for _ in 0..repeats {
            let (start, start_on_cpu) = (Instant::now(), on_cpu());
            let experiments = match read(&["bench.toml".into()], &[], &file) {
                Ok(experiments) => experiments,
                Err(faults) => panic!("{faults}"),
            };
            cells = plan(&experiments).cells.len();
            let busy = on_cpu().zip(start_on_cpu).map(|(end, start)| end.saturating_sub(start));
            best = best.min((start.elapsed(), busy));
        }
        let (wall, busy) = best;
        let busy = busy.map_or("unknown".to_owned(), |busy| format!("{:.3} s", busy.as_secs_f64()));
        let peak = peak_mib().map_or("unknown".to_owned(), |mib| format!("{mib} MiB"));
        println!("{cells:>9} cells ({name}): {:.3} s, on a CPU {busy}, peak memory {peak}", wall.as_secs_f64());
    }
}
