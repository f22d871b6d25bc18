//! The program file: which file this process runs, where its code stands, and whether it is a test program with an entry.
//!
//! A function is named to a child by its distance from the program's entry point (`AT_ENTRY`). The loader moves the
//! whole file by one amount, so the distance is the same in every process that runs the file, and both sides check
//! that it ends inside the file's executable mappings.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// The running program file, even if another has taken its name since.
pub(super) const EXECUTABLE: &str = "/proc/self/exe";

/// The bytes `test_support!` leaves in a test program, backwards, so that this library does not contain them itself.
const TEST_MARK_BACKWARDS: &[u8] = b"\xF5yrtne tset yxorpyb";
const HEAD_SIZE: u64 = 4096;

const AT_ENTRY: usize = 9;
const AT_SECURE: usize = 23;

/// Identity of a program file: two processes with equal ones run the same code.
///
/// The head of the file holds its segment table and, where the linker writes one, its build id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Program {
    device: u64,
    inode: u64,
    size: u64,
    head: u64,
}

impl Program {
    /// The file this process runs.
    pub(super) fn current() -> io::Result<Self> {
        Self::of(EXECUTABLE)
    }

    /// The file at a path.
    pub(super) fn of(path: &str) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let mut head = Vec::new();
        // A program one may run but not read is identified by the rest.
        if let Ok(file) = File::open(path) {
            file.take(HEAD_SIZE).read_to_end(&mut head)?;
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            head: fnv(&head),
        })
    }
}

/// Where the code of the program file stands in this process.
#[derive(Debug)]
pub(super) struct Code {
    entry: usize,
    ranges: Vec<Range<usize>>,
}

impl Code {
    /// This process's, read once.
    pub(super) fn current() -> io::Result<&'static Self> {
        static CODE: OnceLock<Code> = OnceLock::new();
        if let Some(code) = CODE.get() {
            return Ok(code);
        }
        let code = Self::read()?;
        Ok(CODE.get_or_init(|| code))
    }

    /// The distance of `address` from the program's entry point, if it is the address of code in the program file.
    pub(super) fn offset_of(&self, address: usize) -> Option<i64> {
        self.contains(address)
            .then(|| address.wrapping_sub(self.entry).cast_signed() as i64)
    }

    /// The address at that distance, if there is code of the program file there.
    pub(super) fn address_at(&self, offset: i64) -> Option<usize> {
        let offset = isize::try_from(offset).ok()?;
        let address = self.entry.wrapping_add_signed(offset);
        self.contains(address).then_some(address)
    }

    fn contains(&self, address: usize) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }

    fn read() -> io::Result<Self> {
        let missing = || io::Error::other("/proc/self/maps does not show the program's code");
        let entry = auxiliary(AT_ENTRY)?.ok_or_else(missing)?;
        let maps = fs::read_to_string("/proc/self/maps")?;
        let mappings: Vec<Mapping<'_>> = maps.lines().filter_map(Mapping::parse).collect();
        let program = mappings
            .iter()
            .find(|mapping| mapping.range.contains(&entry))
            .ok_or_else(missing)?;
        let ranges = mappings
            .iter()
            .filter(|mapping| mapping.file == program.file)
            .map(|mapping| mapping.range.clone());
        Ok(Self {
            entry,
            ranges: ranges.collect(),
        })
    }
}

/// An executable mapping of a file: one line of `/proc/self/maps`.
struct Mapping<'a> {
    range: Range<usize>,
    /// Device, inode and path.
    file: (&'a str, &'a str, &'a str),
}

impl<'a> Mapping<'a> {
    /// `55d0a000-55d0b000 r-xp 00001000 fd:01 1234  /path`; `None` for what is not executable or no file.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (begin, end) = fields.next()?.split_once('-')?;
        let executable = fields.next()?.contains('x');
        let _offset = fields.next()?;
        let file = (fields.next()?, fields.next()?, fields.next().unwrap_or_default());
        let range = usize::from_str_radix(begin, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        (executable && file.1 != "0").then_some(Self { range, file })
    }
}

/// Whether this program runs with more rights than the user who started it (set-user-id and the like).
///
/// Such a program must not let its arguments choose the code it runs. When in doubt, it does.
pub(super) fn is_privileged() -> bool {
    !matches!(auxiliary(AT_SECURE), Ok(Some(0)))
}

/// Whether this is a test program that contains a `test_support!` entry. Reads the program file, once.
pub(super) fn has_test_entry() -> bool {
    static HAS_TEST_ENTRY: OnceLock<bool> = OnceLock::new();
    *HAS_TEST_ENTRY.get_or_init(|| File::open(EXECUTABLE).and_then(contains_test_mark).unwrap_or(false))
}

fn contains_test_mark(file: File) -> io::Result<bool> {
    // Without the black box the compiler could turn the bytes round itself and leave the mark in every program.
    let mark: Vec<u8> = black_box(TEST_MARK_BACKWARDS).iter().rev().copied().collect();
    let Some(last) = mark.last().copied() else {
        return Ok(false);
    };
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut piece = Vec::new();
    loop {
        piece.clear();
        if reader.read_until(last, &mut piece)? == 0 {
            return Ok(false);
        }
        if piece.ends_with(&mark) {
            return Ok(true);
        }
    }
}

/// An entry of the vector the kernel hands a program at its start.
fn auxiliary(key: usize) -> io::Result<Option<usize>> {
    const WORD: usize = size_of::<usize>();
    let bytes = fs::read("/proc/self/auxv")?;
    let words: Vec<usize> = bytes
        .chunks_exact(WORD)
        .filter_map(|word| word.try_into().ok())
        .map(usize::from_ne_bytes)
        .collect();
    let value = words
        .chunks_exact(2)
        .find(|pair| pair.first() == Some(&key))
        .and_then(|pair| pair.last().copied());
    Ok(value)
}

/// FNV-1a: the same in every build, which a library's hasher need not be.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_this_program_has_an_offset_and_comes_back() {
        let code = Code::current().unwrap();
        let address = code_of_this_program_has_an_offset_and_comes_back as fn() as usize;
        let offset = code.offset_of(address).unwrap();
        assert_eq!(code.address_at(offset), Some(address));
    }

    #[test]
    fn data_and_libraries_are_not_code_of_this_program() {
        let code = Code::current().unwrap();
        let data = 7_u64;
        assert_eq!(code.offset_of(std::ptr::from_ref(&data).addr()), None);
        assert_eq!(code.address_at(i64::MAX), None);
        assert_eq!(code.offset_of(0), None);
    }

    #[test]
    fn a_line_of_maps_is_read() {
        let line = "55d0a000-55d0b000 r-xp 00001000 fd:01 1234                       /a b/c";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!(mapping.range, 0x55d0_a000..0x55d0_b000);
        assert_eq!(
            (mapping.file.0, mapping.file.1, mapping.file.2.trim()),
            ("fd:01", "1234", "/a b/c")
        );
        assert!(Mapping::parse("55d0a000-55d0b000 rw-p 00001000 fd:01 1234 /a").is_none());
        assert!(Mapping::parse("7ff000-7ff800 r-xp 00000000 00:00 0 [vdso]").is_none());
        assert!(Mapping::parse("nonsense").is_none());
    }

    #[test]
    fn a_program_equals_itself() {
        assert_eq!(Program::current().unwrap(), Program::current().unwrap());
    }
}
