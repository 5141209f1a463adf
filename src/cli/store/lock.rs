//! A run directory belongs to one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Held for as long as a process owns a run. The kernel gives it up when the process ends, however that comes about, so
/// a stale one does not exist; the file that a killed process leaves behind locks nobody out.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Another process owns the run.
#[derive(Debug, thiserror::Error)]
#[error("{} belongs to process {owner}, which is still running", directory.display())]
pub struct Held {
    /// The run.
    directory: PathBuf,
    /// Pid of the process, on the machine that it runs on.
    owner: String,
}

impl Lock {
    /// Takes the lock of a run directory; where another process has it, the error names its pid.
    pub fn take(directory: &Path) -> Result<Self> {
        let path = directory.join("run.lock");
        let failed = || format!("cannot lock {}", path.display());
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = file.with_context(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut owner = String::new();
                    file.read_to_string(&mut owner).with_context(failed)?;
                    return Err(Held { directory: directory.to_owned(), owner: owner.trim().to_owned() }.into());
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
            }
            // Its last owner may have removed the file between our opening and locking it: then it is nobody's.
            let is_ours = std::fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|m| m.ino() == now.ino()));
            if !is_ours {
                continue;
            }
            file.set_len(0)
                .and_then(|()| file.seek(SeekFrom::Start(0)))
                .and_then(|_| writeln!(file, "{}", std::process::id()))
                .with_context(failed)?;
            return Ok(Self { file, path });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still held; where that fails the file stays and locks nobody out.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_belongs_to_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let lock = Lock::take(directory.path()).unwrap();
        let refused = Lock::take(directory.path()).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(lock);
        assert!(!directory.path().join("run.lock").exists());
        Lock::take(directory.path()).unwrap();
    }

    #[test]
    fn a_file_that_a_killed_process_left_locks_nobody_out() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("run.lock"), "4194304\n").unwrap();
        Lock::take(directory.path()).unwrap();
    }
}
