//! A file as a whole in memory.

use std::fs::File;
use std::io::{Read, Result};
use std::ops::Deref;
use std::path::Path;

use memmap2::{Advice, MmapMut};

/// The content of a file, or bytes that were there before.
pub enum Whole<'a> {
    Borrowed(&'a [u8]),
    Small(Vec<u8>),
    Large(MmapMut),
}

impl Whole<'_> {
    /// From here on, huge pages: a page fault for every 4 KiB takes longer than the reading.
    const LARGE: u64 = 32 << 20;

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        if length < Self::LARGE {
            let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            file.read_to_end(&mut content)?;
            return Ok(Self::Small(content));
        }
        let mut content = MmapMut::map_anon(usize::try_from(length).unwrap_or(usize::MAX))?;
        // A kernel without huge pages reads as well, only slower.
        let _ = content.advise(Advice::HugePage);
        file.read_exact(&mut content)?;
        Ok(Self::Large(content))
    }
}

impl Deref for Whole<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Small(bytes) => bytes,
            Self::Large(bytes) => bytes,
        }
    }
}
