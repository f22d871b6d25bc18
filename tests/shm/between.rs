//! Handles as arguments of processes.

use std::collections::BTreeMap;
use std::thread;

use byproxy::Process;
use byproxy::process::SpawnError;
use byproxy::shm::{Array, Lock, RawArray, RawValue, Value};
use serde::{Deserialize, Serialize};

use crate::alone::alone;
use crate::support::until;
use crate::values::Train;
use crate::watchdog::Watchdog;

#[test]
fn processes_count_together() {
    let _watchdog = Watchdog::new();
    let count = |modified: Value<u64>, added: Value<i32>, lock: Lock, locked: RawValue<u32>| {
        for _ in 0..2_000 {
            modified.modify(|value| *value += 1);
            added.fetch_add(2).unwrap();
            let _guard = lock.acquire();
            locked.set(locked.get() + 1);
        }
    };
    let (modified, added) = (Value::new(0).unwrap(), Value::new(0).unwrap());
    let (lock, locked) = (Lock::new().unwrap(), RawValue::new(0).unwrap());
    let children: Vec<_> = (0..3)
        .map(|_| Process::spawn(count, (&modified, &added, &lock, &locked)).unwrap())
        .collect();
    for child in &children {
        child.join().unwrap();
    }
    assert_eq!((modified.get(), added.get(), locked.get()), (6_000, 12_000, 6_000));
    assert_eq!(lock.acquire().token(), 6_001);
}

#[test]
fn arrays_and_structs_arrive() {
    let _watchdog = Watchdog::new();
    let change = |trains: Array<Train>, numbers: RawArray<u16>, flag: RawValue<bool>| {
        trains.modify(-1, |train| train.running = true).unwrap();
        let numbers_read = numbers.to_vec();
        numbers.set(0, numbers_read.iter().sum()).unwrap();
        flag.set(true);
    };
    let train = Train {
        kilometre: 1.0,
        number: 7,
        running: false,
        letter: [0; 3],
    };
    let trains = Array::filled(train, 300).unwrap();
    let (numbers, flag) = (RawArray::new(&[1_u16, 2, 3]).unwrap(), RawValue::new(false).unwrap());
    Process::spawn(change, (&trains, &numbers, &flag))
        .unwrap()
        .join()
        .unwrap();
    assert!(trains.get(299).unwrap().running && !trains.get(298).unwrap().running);
    assert_eq!((numbers.get(0).unwrap(), flag.get()), (6, true));
}

#[derive(Deserialize, Serialize)]
struct Depot {
    name: String,
    seats: BTreeMap<String, Value<u32>>,
    locks: Vec<Option<Lock>>,
}

#[test]
fn handles_travel_inside_other_values() {
    let _watchdog = Watchdog::new();
    let sell = |depot: Depot| {
        assert_eq!(depot.name, "north");
        assert!(depot.locks[0].is_none());
        let _guard = depot.locks[1].as_ref().unwrap().acquire();
        depot.seats["b"].fetch_sub(1).unwrap();
    };
    let seats: BTreeMap<_, _> = ["a", "b"].map(|name| (name.to_owned(), Value::new(10).unwrap())).into();
    let depot = Depot {
        name: "north".to_owned(),
        seats: seats.clone(),
        locks: vec![None, Some(Lock::new().unwrap())],
    };
    Process::spawn(sell, (depot,)).unwrap().join().unwrap();
    assert_eq!((seats["a"].get(), seats["b"].get()), (10, 9));
}

#[test]
fn a_handle_is_passed_on_and_outlives_who_made_it() {
    let _watchdog = Watchdog::new();
    let answer = Value::new(0_u32).unwrap();
    let middle = |answer: Value<u32>| {
        let own = Array::new(&[40_u32, 2]).unwrap();
        let last = |answer: Value<u32>, parts: Array<u32>| {
            // The one who made the parts has ended, without its handle's end being anybody's business.
            until(|| byproxy::process::current().parent_pid() != Some(std::os::unix::process::parent_id()));
            answer.set(parts.to_vec().iter().sum());
        };
        Process::spawn(last, (&answer, &own)).unwrap();
    };
    Process::spawn(middle, (&answer,)).unwrap().join().unwrap();
    until(|| answer.get() == 42);
}

#[test]
fn one_descriptor_brings_many_handles() {
    // In a process of its own, because others would have their values in the same segments.
    alone("between::one_descriptor_brings_many_handles", count_the_segments);
}

fn count_the_segments() {
    let _watchdog = Watchdog::new();
    let count = |values: Vec<Value<u16>>| {
        let segments = |kind: &str| {
            let listed = std::fs::read_dir("/proc/self/fd").unwrap();
            listed
                .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
                .filter(|target| target.to_string_lossy().contains(kind))
                .count()
        };
        assert!(
            segments("memfd:byproxy") <= 2,
            "500 small values lie in one segment or two"
        );
        for value in values {
            value.fetch_add(1).unwrap();
        }
    };
    let values: Vec<_> = (0..500).map(|number| Value::new(number).unwrap()).collect();
    Process::spawn(count, (&values,)).unwrap().join().unwrap();
    assert!(values.iter().zip(1..).all(|(value, number)| value.get() == number));
}

#[test]
fn who_is_killed_holding_a_lock_is_followed() {
    let _watchdog = Watchdog::new();
    let hold = |lock: Lock, value: Value<[u64; 3]>, ready: RawValue<u8>| {
        let _guard = lock.acquire();
        let mut locked = value.lock();
        locked[0] = 99;
        ready.set(1);
        thread::park();
    };
    let lock = Lock::new().unwrap();
    let value = Value::new([1, 2, 3]).unwrap();
    let mut token = 0;
    for _ in 0..5 {
        let ready = RawValue::new(0).unwrap();
        let child = Process::spawn(hold, (&lock, &value, &ready)).unwrap();
        until(|| ready.get() == 1);
        assert!(lock.try_acquire().is_none() && value.try_lock().is_none());
        child.kill().unwrap();
        let guard = lock.acquire();
        assert!(guard.abandoned() && guard.token() > token);
        token = guard.token();
        let guard = value.lock();
        assert!(guard.abandoned());
        assert_eq!(*guard, [1, 2, 3], "what was not committed never was");
        child.join().unwrap_err();
    }
}

#[test]
fn an_arrays_next_guard_is_told_whatever_came_between() {
    let _watchdog = Watchdog::new();
    let hold = |array: Array<[u64; 2]>| {
        let guard = array.lock();
        guard.set(0, [1, 1]).unwrap();
        thread::park();
    };
    let array = Array::filled([0_u64, 0], 2).unwrap();
    let child = Process::spawn(hold, (&array,)).unwrap();
    until(|| array.get(0).unwrap() == [1, 1]);
    child.kill().unwrap();
    array.modify(1, |element| element[0] = 5).unwrap();
    array.set(1, [6, 6]).unwrap();
    assert!(
        array.lock().abandoned(),
        "of the two that belong together one may be new"
    );
    assert!(!array.lock().abandoned(), "one is told");
    child.join().unwrap_err();
}

#[test]
fn elsewhere_a_handle_is_refused() {
    let lock = Lock::new().unwrap();
    let error = serde_json::to_string(&lock).unwrap_err().to_string();
    assert!(
        error.contains("shm::Lock") && error.contains("Process::spawn"),
        "{error}"
    );
    let value = Value::new(1_u8).unwrap();
    let error = serde_json::to_string(&value).unwrap_err().to_string();
    assert!(error.contains("shm::Value<u8>"), "{error}");
    let forged = r#"{"what": "shm::Lock", "segment": 0, "offset": 0, "count": 1}"#;
    let error = serde_json::from_str::<Lock>(forged).unwrap_err().to_string();
    assert!(error.contains("did not come along"), "{error}");
}

/// Says that it is one type of value, and is read as another.
#[derive(Serialize)]
struct Sent(Value<u32>);

/// The other.
#[derive(Deserialize)]
struct Taken(#[expect(dead_code, reason = "it is never made")] Value<u64>);

/// Both, for a function's parameter.
enum Either {
    Sent(Sent),
    Taken,
}

impl Serialize for Either {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Sent(sent) => sent.serialize(serializer),
            Self::Taken => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Either {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Taken::deserialize(deserializer).map(|_| Self::Taken)
    }
}

#[test]
fn a_value_of_another_type_is_refused() {
    let _watchdog = Watchdog::new();
    let wrong = Either::Sent(Sent(Value::new(1_u32).unwrap()));
    let error: SpawnError = Process::spawn(|_: Either| (), (wrong,)).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("shm::Value<u64>") && error.contains("shm::Value<u32>"),
        "{error}"
    );
}
