//! A peer that writes anything anywhere: others neither crash nor read what is no value, and times to wait hold.

use std::fs::{self, OpenOptions};
use std::hint::black_box;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use byproxy::Process;
use byproxy::shm::{Array, Element, Lock, RawArray, RawValue, Value};

use crate::support::until;
use crate::watchdog::Watchdog;

/// The addresses of all shared memory of this library that this process has mapped.
fn mapped() -> Vec<(usize, usize)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let lines = maps.lines().filter(|line| line.contains("memfd:byproxy"));
    lines
        .map(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            let (end, _) = rest.split_once(' ').unwrap();
            let address = |text| usize::from_str_radix(text, 16).unwrap();
            (address(start), address(end))
        })
        .collect()
}

/// Scribbles for so many rounds; from `first_word` on, so that a segment's first object can be spared.
fn scribble(rounds: u64, spare: usize) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..rounds {
        for (start, end) in mapped() {
            for at in (start + spare..end).step_by(8) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let word = match round % 4 {
                    0 => random,
                    1 => u64::MAX,
                    // A lock word that names this very process, or almost.
                    2 => random << 40 | u64::from(std::process::id()) << 7 | (random & 0x7f),
                    _ => 0,
                };
                let at = std::ptr::with_exposed_provenance_mut::<u64>(at);
                // SAFETY: mapped and aligned; that others read it at the same time is what this is about, and they do so atomically.
                unsafe { at.write_volatile(word) };
            }
        }
    }
}

/// Writes one word everywhere.
fn fill(word: u64) {
    for (start, end) in mapped() {
        for at in (start..end).step_by(8) {
            let at = std::ptr::with_exposed_provenance_mut::<u64>(at);
            // SAFETY: mapped and aligned, and nobody has a reference to it.
            unsafe { at.write_volatile(word) };
        }
    }
}

/// The bytes of what was read, whatever the compiler believes of them.
fn bytes_of<T: Element>(values: &[T]) -> Vec<u8> {
    let (at, size) = black_box((values.as_ptr().cast::<u8>(), size_of_val(values)));
    // SAFETY: the bytes of elements, which have no padding.
    let bytes = (0..size).map(|offset| unsafe { at.add(offset).read() });
    bytes.collect()
}

fn assert_bools<T: Element>(values: &[T]) {
    let bytes = bytes_of(values);
    assert!(bytes.iter().all(|byte| *byte <= 1), "no bool: {bytes:?}");
}

fn assert_chars<T: Element>(values: &[T]) {
    for bytes in bytes_of(values).chunks_exact(4) {
        let number = u32::from_ne_bytes(bytes.try_into().unwrap());
        assert!(char::from_u32(number).is_some(), "no char: {number:#x}");
    }
}

/// Two surrogates, which are no letters, in one word; and bytes that are neither letters nor flags.
const WRONG: [u64; 2] = [0xd800_0000_d800, u64::MAX];
const SOON: Duration = Duration::from_secs(5);

#[test]
fn bytes_that_are_no_value_are_never_read_as_one() {
    let _watchdog = Watchdog::new();
    let run = || {
        let (letter, flag) = (Value::new('a').unwrap(), Value::new(true).unwrap());
        let (raw_letter, raw_flag) = (RawValue::new('a').unwrap(), RawValue::new(true).unwrap());
        let (letters, flags) = (
            Array::filled('a', 5).unwrap(),
            Array::filled([true, false, true], 5).unwrap(),
        );
        let (raw_letters, raw_flags) = (RawArray::new(&['a'; 5]).unwrap(), RawArray::new(&[true; 5]).unwrap());
        for wrong in WRONG {
            fill(wrong);
            assert_chars(&[letter.get(), raw_letter.get(), raw_letters.get(1).unwrap()]);
            assert_chars(&raw_letters.to_vec());
            assert_chars(&letters.to_vec());
            assert_chars(&[*letter.lock_timeout(SOON).unwrap()]);
            assert_chars(&letters.lock_timeout(SOON).unwrap().to_vec());
            assert_chars(&[letter.modify(|letter| *letter)]);
            fill(wrong);
            assert_bools(&[flag.get(), raw_flag.get(), raw_flags.get(1).unwrap()]);
            assert_bools(&raw_flags.to_vec());
            assert_bools(&flags.to_vec());
            assert_bools(&[*flag.lock_timeout(SOON).unwrap()]);
            assert_bools(&flags.lock_timeout(SOON).unwrap().to_vec());
            assert_bools(&[flags.modify(0, |flags| *flags).unwrap()]);
        }
    };
    Process::spawn(run, ()).unwrap().join().unwrap();
}

#[test]
fn bytes_of_a_large_value_that_are_none_are_never_read_as_one() {
    let _watchdog = Watchdog::new();
    let run = || {
        let (word, flags) = (Value::new(['a'; 3]).unwrap(), Value::new([true; 24]).unwrap());
        let (words, rows) = (
            Array::filled(['a'; 3], 5).unwrap(),
            Array::filled([true; 24], 5).unwrap(),
        );
        for wrong in WRONG {
            fill(wrong);
            assert_chars(&[word.get(), words.get(-1).unwrap()]);
            assert_chars(&words.to_vec());
            assert_chars(&[*word.lock_timeout(SOON).unwrap()]);
            assert_chars(&words.lock_timeout(SOON).unwrap().to_vec());
            assert_chars(&[word.modify(|word| *word)]);
            fill(wrong);
            assert_bools(&[flags.get(), rows.get(-1).unwrap()]);
            assert_bools(&rows.to_vec());
            assert_bools(&[*flags.lock_timeout(SOON).unwrap()]);
            assert_bools(&rows.lock_timeout(SOON).unwrap().to_vec());
            assert_bools(&[flags.modify(|flags| *flags)]);
        }
    };
    Process::spawn(run, ()).unwrap().join().unwrap();
}

#[test]
fn scribbling_harms_nobody_else() {
    let _watchdog = Watchdog::with_limit(Duration::from_mins(1));
    // The objects share a segment, so one handle leads to all; the first stands at its beginning.
    let attack = |spared: RawValue<u8>| {
        spared.set(1);
        // Nobody says that it is over if the test fails meanwhile.
        let began = Instant::now();
        while spared.get() != 2 && began.elapsed() < Duration::from_secs(10) {
            scribble(40, 64);
        }
    };
    // In a process of its own, so that only these objects suffer.
    let run = move || {
        let spared = RawValue::new(0_u8).unwrap();
        let lock = Lock::new().unwrap();
        let letter = Value::new('a').unwrap();
        let count = Value::new(0_u16).unwrap();
        let flags = Value::new([true; 24]).unwrap();
        let array = Array::filled([1_u64, 2, 3], 20).unwrap();
        let large = Value::new(0_u128).unwrap();
        let row = RawArray::new(&['x'; 30]).unwrap();
        assert_eq!(mapped().len(), 1, "all in one segment");
        let attacker = Process::spawn(attack, (&spared,)).unwrap();
        until(|| spared.get() == 1);
        let began = Instant::now();
        let mut calls = 0;
        while began.elapsed() < Duration::from_secs(3) {
            let call = Instant::now();
            drop(lock.acquire_timeout(Duration::from_millis(20)));
            drop(lock.try_acquire());
            if let Some(mut guard) = letter.lock_timeout(Duration::from_millis(20)) {
                *guard = 'b';
            }
            if let Some(guard) = array.lock_timeout(Duration::from_millis(20)) {
                let _: u64 = guard.get(-1).unwrap().iter().fold(0, |sum, part| sum ^ part);
                guard.set(2, [7; 3]).unwrap();
            }
            assert!(call.elapsed() < Duration::from_secs(2), "a time to wait was not kept");
            let _: u128 = large.modify(|value| *value / 2);
            let _ = large.fetch_add(1);
            count.modify(|count| *count = count.wrapping_mul(3));
            row.set(-1, 'y').unwrap();
            assert_chars(&[row.get(3).unwrap()]);
            assert_chars(&row.to_vec());
            let _ = count.fetch_add(1);
            let _ = lock.release();
            let _ = lock.locked();
            letter.set('c');
            assert!(u32::from(letter.get()) <= 0x0010_ffff);
            let _: usize = flags.get().iter().filter(|flag| **flag).count();
            let _: u64 = array.get(5).unwrap().iter().fold(0, |sum, part| sum ^ part);
            let _ = array.to_vec();
            calls += 1;
        }
        assert!(attacker.is_alive() && calls > 10, "{calls} calls");
        spared.set(2);
        attacker.join().unwrap();
    };
    Process::spawn(run, ()).unwrap().join().unwrap();
}

#[test]
fn a_lock_that_names_nobody_is_taken_over() {
    let _watchdog = Watchdog::new();
    let run = || {
        let lock = Lock::new().unwrap();
        let value = Value::new(5_u64).unwrap();
        // Locks of a process id that nobody can have, and of one that somebody else has now.
        for word in [u64::MAX, 1 << 29, 0x7f << 40 | 1 << 7] {
            let (start, _) = mapped()[0];
            let at = std::ptr::with_exposed_provenance_mut::<u64>(start);
            // SAFETY: mapped and aligned; the lock's word is the first of the first object.
            unsafe { at.write_volatile(word) };
            assert!(lock.locked());
            assert!(lock.acquire_timeout(Duration::from_secs(5)).unwrap().abandoned());
        }
        assert_eq!(value.get(), 5);
    };
    Process::spawn(run, ()).unwrap().join().unwrap();
}

#[test]
fn nobody_can_make_the_memory_smaller() {
    let _watchdog = Watchdog::new();
    let shrink = |value: Value<u64>| {
        let mut tried = 0;
        for entry in fs::read_dir("/proc/self/fd").unwrap() {
            let path = entry.unwrap().path();
            if !fs::read_link(&path).is_ok_and(|target| target.to_string_lossy().contains("memfd:byproxy")) {
                continue;
            }
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            let refused = |outcome: io::Result<()>| outcome.unwrap_err().kind() == io::ErrorKind::PermissionDenied;
            assert!(refused(file.set_len(0)), "a segment shrank");
            assert!(refused(file.set_len(1 << 30)), "a segment grew");
            assert!(refused(
                OpenOptions::new().write(true).truncate(true).open(&path).map(drop)
            ));
            rustix::fs::fcntl_add_seals(file.as_fd(), rustix::fs::SealFlags::FUTURE_WRITE).unwrap_err();
            tried += 1;
        }
        assert!(tried > 0);
        value.set(6);
    };
    let value = Value::new(5_u64).unwrap();
    Process::spawn(shrink, (&value,)).unwrap().join().unwrap();
    assert_eq!(value.get(), 6);
}
