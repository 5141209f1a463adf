//! Finds the library that workers load.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// File name of the library.
const FILE_NAME: &str = "libceiling_worker.so";

/// Names the library where it does not lie beside the binary.
pub const VARIABLE: &str = "CEILING_WORKER";

/// The library that workers load into the Python of their environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerLibrary(PathBuf);

impl WorkerLibrary {
    /// Where `CEILING_WORKER` points, else beside this binary.
    pub fn find() -> Result<Self> {
        let binary = std::env::current_exe().context("cannot tell where this binary lies")?;
        Self::look(std::env::var_os(VARIABLE).map(PathBuf::from), &binary)
    }

    fn look(named: Option<PathBuf>, binary: &Path) -> Result<Self> {
        if let Some(path) = named {
            if !path.is_file() {
                bail!("{VARIABLE} names {}, which is not there; build it with `cargo build --release`", path.display());
            }
            return Ok(Self(path));
        }
        let beside = binary.with_file_name(FILE_NAME);
        // `cargo test` puts test binaries one level below the library.
        let above = binary.parent().and_then(Path::parent).map(|parent| parent.join(FILE_NAME));
        let found = [Some(beside.clone()), above].into_iter().flatten().find(|path| path.is_file());
        found.map(Self).with_context(|| {
            format!(
                "the worker library {FILE_NAME} is not beside the binary ({}): build it with \
                 `cargo build --release -p ceiling-worker`, or name it in {VARIABLE}",
                beside.display()
            )
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_says_what_to_build() {
        let directory = tempfile::tempdir().unwrap();
        let binary = directory.path().join("bin/ceiling");
        let error = WorkerLibrary::look(None, &binary).unwrap_err().to_string();
        assert!(error.contains("cargo build --release -p ceiling-worker"), "{error}");
        let named = WorkerLibrary::look(Some(directory.path().join("none.so")), &binary).unwrap_err().to_string();
        assert!(named.contains("CEILING_WORKER names"), "{named}");
    }

    #[test]
    fn the_library_beside_the_binary_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join(FILE_NAME);
        std::fs::write(&library, "").unwrap();
        assert_eq!(WorkerLibrary::look(None, &directory.path().join("ceiling")).unwrap().path(), library);
    }
}
