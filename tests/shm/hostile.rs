//! A peer that writes anything anywhere: others neither crash nor read what is no value, and times to wait hold.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use byproxy::Process;
use byproxy::shm::{Array, Lock, RawValue, Value};

use crate::support::{Watchdog, until};

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

#[test]
fn scribbling_harms_nobody_else() {
    let _watchdog = Watchdog::of(Duration::from_mins(1));
    let attack =
        |spared: RawValue<u8>, _: Lock, _: Value<char>, _: Value<u16>, _: Value<[bool; 24]>, _: Array<[u64; 3]>| {
            // The objects share a segment; the first stands at its beginning.
            spared.set(1);
            while spared.get() != 2 {
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
        let attacker = Process::spawn(attack, (&spared, &lock, &letter, &count, &flags, &array)).unwrap();
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
            assert!(call.elapsed() < Duration::from_secs(2), "a time to wait was not kept");
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
