//! The end of a file, of which the whole may be large: a log, say.

use std::fs::File;
use std::io::{Error, Read, Result, Seek, SeekFrom};
use std::path::Path;

/// The end of a file from this byte on, and no more of it than so many bytes.
pub fn tail(path: &Path, begin: u64, most: u64) -> Result<Vec<u8>> {
    // Asked before it is opened: opening a pipe waits for whoever writes to it.
    if !path.metadata()?.is_file() {
        return Err(Error::other("it is not a regular file"));
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most).max(begin)))?;
    let mut tail = Vec::new();
    file.take(most).read_to_end(&mut tail)?;
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_no_more_than_was_asked_for_and_begins_no_earlier() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        std::fs::write(&path, b"0123456789").unwrap();
        for (begin, most, expected) in
            [(0, 99, "0123456789"), (0, 3, "789"), (8, 3, "89"), (4, 99, "456789"), (12, 3, "")]
        {
            assert_eq!(tail(&path, begin, most).unwrap(), expected.as_bytes(), "{begin} {most}");
        }
        assert!(tail(directory.path(), 0, 9).is_err());
    }
}
