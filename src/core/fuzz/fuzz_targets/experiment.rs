//! Reads a made-up experiment file, with a file that it may extend and overrides, plans it, and renders its faults.
//!
//! From this directory, with a nightly compiler and cargo-fuzz, seeded with the shipped experiments:
//! `cargo +nightly fuzz run -s none experiment corpus/experiment ../../../experiments -- -dict=experiment.dict`
#![no_main]

use std::collections::HashSet;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use ceiling_core::experiment::{Files, Override, read};
use ceiling_core::plan::{Measurements, estimate, plan};
use libfuzzer_sys::fuzz_target;

/// Two files and a model directory.
struct Two<'a> {
    file: &'a str,
    base: &'a str,
}

impl Files for Two<'_> {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        match path.to_str() {
            Some("file.toml") => Ok(self.file.into()),
            Some("base.toml") => Ok(self.base.into()),
            Some("tiny-llama/config.json" | "text.txt") => Ok("{}".into()),
            _ => Err(Error::from(ErrorKind::NotFound)),
        }
    }

    fn is_dir(&self, path: &Path) -> bool {
        path == Path::new("tiny-llama")
    }

    fn exists(&self, path: &Path) -> bool {
        self.is_dir(path) || self.read(path).is_ok()
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        Ok(if pattern.contains('*') { vec!["text.txt".into()] } else { Vec::new() })
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let base = parts.next().unwrap_or_default();
    let overrides: Vec<_> = parts.map(Override::new).collect();
    match read(&["file.toml".into(), "base.toml".into()], &overrides, &Two { file, base }) {
        Ok(experiments) => {
            let plan = plan(&experiments);
            let ids: HashSet<_> = plan.cells.iter().map(|cell| (cell.experiment, &cell.id)).collect();
            assert_eq!(ids.len(), plan.cells.len());
            let keys: HashSet<_> = plan.cells.iter().map(|cell| (cell.experiment, cell.key)).collect();
            assert_eq!(keys.len(), plan.cells.len());
            estimate(&plan, &Measurements::default());
        }
        Err(faults) => {
            faults.render(true);
            assert!(!faults.render(false).is_empty());
            for fault in faults.iter() {
                faults.place(fault);
            }
        }
    }
});
