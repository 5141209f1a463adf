//! Where a run takes place.

use std::path::Path;

use ceiling_core::plan::Plan;
use ceiling_core::record::{Git, Provenance};

use super::git::Repository;

/// What is known of this machine and this working tree, from which a plan was read, before any engine is up.
pub fn provenance(results: &Path, plan: &Plan) -> Provenance {
    Provenance { git: git_state(results, plan), ..machine() }
}

/// What is known of this machine.
pub fn machine() -> Provenance {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let kernel = read("/proc/sys/kernel/osrelease").map_or_else(String::new, |text| format!(" {}", text.trim()));
    let memory_kib =
        read("/proc/meminfo").and_then(|text| field(&text, "MemTotal")?.split_whitespace().next()?.parse::<u64>().ok());
    Provenance {
        ceiling: env!("CARGO_PKG_VERSION").to_owned(),
        git: None,
        engine: None,
        python: None,
        platform: format!("{}{kernel} {}", std::env::consts::OS, std::env::consts::ARCH),
        cpu: read("/proc/cpuinfo").and_then(|text| field(&text, "model name")),
        cpus: std::thread::available_parallelism().ok().and_then(|count| u32::try_from(count.get()).ok()),
        memory_bytes: memory_kib.map(|kib| kib * 1024),
        nvidia_driver: read("/proc/driver/nvidia/version").and_then(|text| driver_version(&text)),
        cuda_visible_devices: std::env::var("CUDA_VISIBLE_DEVICES").ok(),
    }
}

/// The state of the repository around the working directory, if there is one. A run goes on without it.
fn git_state(results: &Path, plan: &Plan) -> Option<Git> {
    let files = plan.experiments.iter().map(|experiment| Path::new(&experiment.source));
    let files: Vec<&Path> = files.collect();
    let state = Repository::around(Path::new(".")).and_then(|found| match found {
        Some(repository) => repository.state(results, &files),
        None => Ok(None),
    });
    state.unwrap_or_else(|error| {
        tell!("warning: the run will not say at which commit it was recorded: {error:#}");
        None
    })
}

/// The version in the driver's own words: the first word of its first line that begins with a digit and has a dot.
fn driver_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_says_its_version() {
        let text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n";
        assert_eq!(driver_version(text).as_deref(), Some("550.54.15"));
        assert_eq!(driver_version("nothing here"), None);
    }
}
