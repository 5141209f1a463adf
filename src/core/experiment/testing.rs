//! Files in memory, for tests.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::{Experiment, Faults, Files, Override, read};

/// Files by path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(pub BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    pub fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.into(), text.into());
        self
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| Error::new(ErrorKind::NotFound, "No such file or directory"))
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.0.keys().any(|file| file != path && file.starts_with(path))
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path) || self.is_dir(path)
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let pattern = glob::Pattern::new(pattern).map_err(|error| error.to_string())?;
        let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
        Ok(self.0.keys().filter(|path| pattern.matches_path_with(path, options)).cloned().collect())
    }
}

/// The head of a file that is complete with it.
pub(crate) const HEAD: &str = "schema = 1\nname = \"e\"\nmodel.id = \"org/model\"\n";

/// Reads one file `e.toml` with this text.
pub(crate) fn read_text(text: &str) -> Result<Experiment, Faults> {
    read_with(text, &[])
}

/// Reads one file `e.toml` with overrides.
pub(crate) fn read_with(text: &str, overrides: &[&str]) -> Result<Experiment, Faults> {
    let files = Memory::default().with("e.toml", text);
    let overrides: Vec<_> = overrides.iter().copied().map(Override::new).collect();
    read(&["e.toml".into()], &overrides, &files).map(|mut experiments| experiments.remove(0))
}

/// A complete file: a head with these lines, and the least of workload and SLA with theirs.
pub(crate) fn complete(matrix: &str) -> String {
    format!("{HEAD}workload.input_tokens = 500\nsla.ttft = \"1s\"\n{matrix}")
}
