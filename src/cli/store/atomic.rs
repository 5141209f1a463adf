//! Replaces a file as a whole: a reader sees the old content or the new, never a part.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Replaces `path` by `content`, which is on the disk when this returns.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    replace_by(path, |file| Ok(file.write_all(content)?))
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
