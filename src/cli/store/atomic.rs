//! Writes files so that a reader sees the old content or the new, never a part.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

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
        Ok(_) => replace_beside(&path.canonicalize()?, content),
        // What is not there is made; of a link that points nowhere, the place that it points to. Links that point to each
        // other are no such case.
        Err(error) if error.kind() == ErrorKind::NotFound => match path.read_link() {
            Ok(target) => write(&path.parent().unwrap_or(Path::new("")).join(target), content),
            Err(_) => replace_beside(path, content),
        },
        Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
    }
}

/// Replaces a file whose neighbours are somebody's: none of them is written over.
fn replace_beside(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let (file, new) = new_beside(path)?;
        let written = finish(BufWriter::new(file), &new, path, |file| Ok(file.write_all(content)?));
        if written.is_err() {
            // What is left of it is of no use to anybody.
            let _ = std::fs::remove_file(&new);
        }
        written
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a file beside another, by a name that nothing has yet.
fn new_beside(path: &Path) -> std::io::Result<(File, PathBuf)> {
    const MOST: u32 = 100;
    for number in 0..MOST {
        let new = path.with_added_extension(if number == 0 { "new".to_owned() } else { format!("new{number}") });
        match File::create_new(&new) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (file, new)),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Whether [`write()`] could write there, asked before that which is to be written costs anything.
///
/// # Errors
/// Where it could not.
pub fn check_writable(path: &Path) -> Result<()> {
    refuse_own(path)?;
    match path.metadata() {
        // A pipe would wait for its reader.
        Ok(there) if !there.is_file() && !there.is_dir() => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot write {}", path.display()));
        }
        _ => {}
    }
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let tried = if target.is_dir() {
        Err(ErrorKind::IsADirectory.into())
    } else {
        new_beside(&target).and_then(|(_, new)| std::fs::remove_file(new))
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
    // What a run that was killed left of a file of its own is nothing to keep.
    let write = || finish(BufWriter::new(File::create(&new)?), &new, path, write);
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a new file to the disk, and gives it the name that it is for.
fn finish(
    mut file: BufWriter<File>,
    new: &Path,
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    write(&mut file)?;
    file.into_inner()?.sync_all()?;
    std::fs::rename(new, path)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    Ok(sync_names(directory.unwrap_or(Path::new(".")))?)
}

/// Brings the names in a directory to the disk: content may be there and the name that it was given not.
pub fn sync_names(directory: &Path) -> std::io::Result<()> {
    match File::open(directory)?.sync_all() {
        // Some file systems know of no such thing.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_neighbour_of_a_file_is_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
        std::fs::write(at("report.html.new"), "mine").unwrap();
        check_writable(&at("report.html")).unwrap();
        assert_eq!(read("report.html.new"), "mine");
        for content in ["first", "second"] {
            write(&at("report.html"), content.as_bytes()).unwrap();
            assert_eq!((read("report.html").as_str(), read("report.html.new").as_str()), (content, "mine"));
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn links_that_point_to_each_other_are_no_place_to_write_to() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let link = |from: &str, to: &str| std::os::unix::fs::symlink(at(to), at(from)).unwrap();
        for (from, to) in [("a", "b"), ("b", "a"), ("c", "d"), ("d", "made")] {
            link(from, to);
        }
        for tried in [check_writable(&at("a")), write(&at("a"), b"text")] {
            assert!(tried.unwrap_err().to_string().starts_with("cannot write"));
        }
        write(&at("c"), b"text").unwrap();
        assert_eq!(std::fs::read(at("made")).unwrap(), b"text");
    }
}
