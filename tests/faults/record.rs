//! Files that outlive their writer: what a process had done, to be read after it was killed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

/// A file of numbers that only grows. One push is one write, so a kill leaves it whole or not there at all.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
}

impl Record {
    /// Opens the file, which is made if it is not there yet. Several processes may write to the same one.
    pub(crate) fn open(path: &Path) -> Self {
        Self {
            file: OpenOptions::new().append(true).create(true).open(path).unwrap(),
        }
    }

    /// Adds numbers, all in one step.
    pub(crate) fn push(&mut self, numbers: &[u64]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let written = self.file.write(&bytes).unwrap();
        assert_eq!(written, bytes.len(), "a record is written whole");
    }
}

/// What a record holds; nothing if nobody ever opened it.
pub(crate) fn read(path: &Path) -> Vec<u64> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let (numbers, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty(), "{} ends within a number", path.display());
    numbers.iter().map(|number| u64::from_le_bytes(*number)).collect()
}
