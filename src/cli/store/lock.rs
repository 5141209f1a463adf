//! A run directory belongs to one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// Held for as long as a process owns a run. The kernel gives it up when the process ends, however that comes about, so
/// a stale one does not exist; the file that a killed process leaves behind locks nobody out.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// How often a lock that is held is tried again.
const MOST_TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// Who has a run that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process that is still running.
    Alive,
    /// One that was killed, or lost its machine.
    Gone,
    /// Nobody whose lock can be looked at here.
    Unknown,
}

/// Who has the run in a directory, as far as its lock tells.
pub fn owner_of(directory: &Path) -> Owner {
    let Ok(file) = File::open(directory.join("run.lock")) else { return Owner::Unknown };
    match file.try_lock_shared() {
        Ok(()) => Owner::Gone,
        Err(TryLockError::WouldBlock) => Owner::Alive,
        Err(TryLockError::Error(_)) => Owner::Unknown,
    }
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
        let mut tries = 0;
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = file.with_context(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                // Whoever asks whether it is held holds it for a moment.
                Err(TryLockError::WouldBlock) if tries < MOST_TRIES => {
                    tries += 1;
                    std::thread::sleep(BETWEEN_TRIES);
                    continue;
                }
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
        assert_eq!(owner_of(directory.path()), Owner::Alive);
        drop(lock);
        assert_eq!(owner_of(directory.path()), Owner::Unknown);
        assert!(!directory.path().join("run.lock").exists());
        Lock::take(directory.path()).unwrap();
    }

    #[test]
    fn a_file_that_a_killed_process_left_locks_nobody_out() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("run.lock"), "4194304\n").unwrap();
        assert_eq!(owner_of(directory.path()), Owner::Gone);
        Lock::take(directory.path()).unwrap();
    }
}
