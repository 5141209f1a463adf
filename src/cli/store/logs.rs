//! Takes secrets out of the logs of a run: an engine writes there what it likes, such as the token that it was refused with.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use ceiling_core::secret::Secrets;

use super::atomic::replace_by;
use super::children::children;

/// Hides secrets in every log of a directory, once no engine writes there any more.
///
/// # Errors
/// Where a log cannot be read or replaced.
pub fn hide_secrets(logs: &Path, secrets: &Secrets) -> Result<()> {
    for path in children(logs)? {
        let mut has_any = false;
        for_each_line(&path, |line| {
            has_any |= secrets.are_in(line);
            Ok(())
        })?;
        if has_any {
            replace_by(&path, |file| for_each_line(&path, |line| Ok(file.write_all(secrets.hide(line).as_bytes())?)))?;
        }
    }
    Ok(())
}

/// A log may be larger than memory.
fn for_each_line(path: &Path, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let cannot_read = || format!("cannot read {}", path.display());
    let mut reader = BufReader::new(File::open(path).with_context(cannot_read)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).with_context(cannot_read)? > 0 {
        each(&String::from_utf8_lossy(&line))?;
        line.clear();
    }
    Ok(())
}
