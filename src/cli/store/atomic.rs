//! Writes files so that a reader sees the old content or the new, never a part.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::run_dir::owner;

/// Replaces `path` by `content`, which is on the disk when this returns.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    replace_by(path, |file| Ok(file.write_all(content)?))
}

/// Writes where somebody asked for it. A file is replaced as a whole, the one that a link points to too; a pipe or a device is written
/// to, and stays what it is.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    refuse_own(path)?;
    match path.metadata() {
        Ok(there) if !there.is_file() => {
            let write = || OpenOptions::new().write(true).open(path)?.write_all(content);
            write().with_context(|| format!("cannot write {}", path.display()))
        }
        Ok(_) => replace(&path.canonicalize()?, content),
        // What is not there is made; of a link that points nowhere, the place that it points to.
        Err(_) => match path.read_link() {
            Ok(target) => write(&path.parent().unwrap_or(Path::new("")).join(target), content),
            Err(_) => replace(path, content),
        },
    }
}

/// Whether [`write()`] could write there, asked before that which is to be written costs anything.
///
/// # Errors
/// Where it could not.
pub fn check_writable(path: &Path) -> Result<()> {
    refuse_own(path)?;
    // A pipe would wait for its reader.
    if path.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return Ok(());
    }
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let new = target.with_added_extension("new");
    let tried = if target.is_dir() {
        Err(std::io::ErrorKind::IsADirectory.into())
    } else {
        File::create(&new).and_then(|_| std::fs::remove_file(&new))
    };
    tried.with_context(|| format!("cannot write {}", path.display()))
}

/// # Errors
/// Where a file is what a run keeps of itself: whoever wrote there would lose what was measured.
fn refuse_own(path: &Path) -> Result<()> {
    match owner(path) {
        None => Ok(()),
        Some(run) => {
            bail!("{} is part of the run in {}: name another file, or another directory", path.display(), run.display())
        }
    }
}

/// Replaces `path` by what is written, which is on the disk when this returns.
pub fn replace_by(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let new = path.with_added_extension("new");
    let write = || {
        let mut file = BufWriter::new(File::create(&new)?);
        write(&mut file)?;
        file.into_inner()?.sync_all()?;
        Ok::<_, anyhow::Error>(std::fs::rename(&new, path)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
