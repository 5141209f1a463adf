//! The files of experiments, on the disk.

use std::path::{Path, PathBuf};

use ceiling_core::experiment::Files;

/// The real disk; paths are relative to the working directory.
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let paths = glob::glob(pattern).map_err(|error| error.to_string())?;
        // A directory that cannot be listed matches nothing; glob gives the rest sorted.
        Ok(paths.filter_map(Result::ok).filter(|path| path.is_file()).collect())
    }
}
