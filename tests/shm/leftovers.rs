//! Nothing is left: descriptors, mappings and memory go with the objects, and nothing ever has a name.

use std::fs;
use std::thread;

use byproxy::Process;
use byproxy::shm::{Array, Lock, RawValue, Value};

use crate::support::{Watchdog, until};

/// What this process has of shared memory: descriptors, mappings, kilobytes in use.
fn in_use() -> (usize, usize, usize) {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mappings = maps.lines().filter(|line| line.contains("memfd:byproxy")).count();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let shared = status.lines().find_map(|line| line.strip_prefix("RssShmem:")).unwrap();
    let kilobytes = shared.trim().trim_end_matches(" kB").parse().unwrap();
    (descriptors, mappings, kilobytes)
}

#[test]
fn a_hundred_thousand_objects_come_and_go() {
    let _watchdog = Watchdog::new();
    // In a process of its own, where nobody else makes objects.
    let churn = || {
        drop(Value::new(1_u8));
        let before = in_use();
        for number in 0..100_000_u32 {
            let value = Value::new(number).unwrap();
            value.fetch_add(1).unwrap();
            if number % 100 == 0 {
                let array = Array::filled(number, 10_000).unwrap();
                array.set(-1, number).unwrap();
            }
            let lock = Lock::new().unwrap();
            drop(lock.acquire());
        }
        assert_eq!(in_use(), before);
        let many: Vec<_> = (0..20_000_u64).map(|number| Value::new([number; 4]).unwrap()).collect();
        let (_, mappings, kilobytes) = in_use();
        assert!(
            mappings > before.1 && kilobytes > before.2 + 1_000,
            "they have to be somewhere"
        );
        drop(many);
        assert_eq!(in_use(), before);
    };
    Process::spawn(churn, ()).unwrap().join().unwrap();
}

#[test]
fn what_travelled_to_processes_that_were_killed_goes_as_well() {
    let _watchdog = Watchdog::new();
    let travel = || {
        let busy = |ready: RawValue<bool>, values: Vec<Value<u64>>, array: Array<u64>| {
            let _guard = array.lock();
            ready.set(true);
            loop {
                for value in &values {
                    value.fetch_add(1).unwrap();
                }
            }
        };
        drop(Value::new(1_u8));
        Process::spawn(|| (), ()).unwrap().join().unwrap();
        let before = in_use();
        for _ in 0..10 {
            let ready = RawValue::new(false).unwrap();
            let values: Vec<_> = (0..2_000).map(|number| Value::new(number).unwrap()).collect();
            let array = Array::filled(0_u64, 1_000).unwrap();
            let child = Process::spawn(busy, (&ready, &values, &array)).unwrap();
            until(|| ready.get());
            child.kill().unwrap();
            child.join().unwrap_err();
            assert!(array.try_lock().unwrap().abandoned());
        }
        let (descriptors, mappings, kilobytes) = in_use();
        assert!(descriptors <= before.0 && mappings <= before.1 && kilobytes <= before.2);
    };
    Process::spawn(travel, ()).unwrap().join().unwrap();
}

#[test]
fn memory_another_process_has_is_not_used_again() {
    let _watchdog = Watchdog::new();
    let watch = |old: Value<u64>, round: RawValue<u32>| {
        round.set(1);
        until(|| round.get() == 2);
        assert_eq!(old.get(), 7, "somebody else's object is where this one was");
    };
    let round = RawValue::new(0_u32).unwrap();
    let old = Value::new(7_u64).unwrap();
    let child = Process::spawn(watch, (&old, &round)).unwrap();
    until(|| round.get() == 1);
    drop(old);
    let others: Vec<_> = (0..3_000_u64)
        .map(|number| Value::new(1_000 + number).unwrap())
        .collect();
    round.set(2);
    child.join().unwrap();
    drop(others);
}

#[test]
fn nothing_has_a_name() {
    let _watchdog = Watchdog::new();
    let named = || {
        let listed = fs::read_dir("/dev/shm").map(|entries| entries.flatten().map(|entry| entry.file_name()));
        let mut names: Vec<_> = listed.into_iter().flatten().collect();
        names.retain(|name| name.to_string_lossy().contains("byproxy"));
        names
    };
    let value = Value::new(1_u8).unwrap();
    let array = Array::filled(0_u8, 100_000).unwrap();
    let die = |_: Value<u8>, _: Array<u8>| thread::sleep(std::time::Duration::MAX);
    let child = Process::spawn(die, (&value, &array)).unwrap();
    assert!(named().is_empty());
    child.kill().unwrap();
    child.join().unwrap_err();
    assert!(named().is_empty());
}
