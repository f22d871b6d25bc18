//! Nothing is left: descriptors, mappings and memory go with the objects, and nothing ever has a name.
//!
//! `BYPROXY_SHM_OBJECTS=1000000` is the long form.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use byproxy::shm::{Array, Lock, RawValue, Value};
use byproxy::{Manager, Process};

use crate::served::{Served, byproxy};
use crate::support::until;
use crate::watchdog::Watchdog;

/// How many objects come and go, in a process and on their way through a server.
const OBJECTS: u32 = 100_000;
const KEPT: u32 = 3_000;

/// The long form, if that is wanted.
fn objects(short: u32) -> u32 {
    env::var("BYPROXY_SHM_OBJECTS").map_or(short, |objects| objects.parse().unwrap())
}

/// A watchdog that has patience with the long form.
fn watchdog() -> Watchdog {
    Watchdog::with_limit(Duration::from_mins(1) * objects(OBJECTS).div_ceil(OBJECTS))
}

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
    let _watchdog = watchdog();
    // In a process of its own, where nobody else makes objects.
    let churn = || {
        drop(Value::new(1_u8));
        let before = in_use();
        for number in 0..objects(OBJECTS) {
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
fn what_a_server_kept_goes_as_well() {
    let watchdog = Watchdog::new();
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("test.sock").display());
    // A ring's memory is no object's, and comes and goes with the calls.
    let server = Served::run(byproxy().args(["serve", "--listen", &address, "--no-ring"]));
    let manager = Manager::connect(&address).unwrap();
    let list = manager.list::<Value<u32>>().unwrap();
    let in_use = || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        (manager.stats().unwrap().bytes, descriptors.count())
    };
    let pass = |number| {
        list.append(manager.value(number).unwrap()).unwrap();
        let kept = in_use();
        assert_eq!(list.pop().unwrap().unwrap().get(), number);
        kept
    };
    pass(0);
    let before = in_use();
    for number in 0..objects(KEPT) {
        watchdog.progress();
        let kept = pass(number);
        assert!(kept.0 > before.0 && kept.1 > before.1, "it has to be somewhere");
    }
    assert_eq!(in_use(), before);
    drop(list);
    let list = manager.list::<Value<u32>>().unwrap();
    let many: Vec<_> = (0..KEPT).map(|number| manager.value(number).unwrap()).collect();
    list.extend(&many).unwrap();
    drop(many);
    assert!(in_use().0 > before.0, "they are in the list");
    list.clear().unwrap();
    assert_eq!(in_use(), before);
}

/// All names in the folders where memory could have one. The second is this test's own.
fn names(own: &Path) -> [BTreeSet<OsString>; 2] {
    [Path::new("/dev/shm"), own].map(|folder| {
        let entries = fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.file_name()));
        entries.into_iter().flatten().collect()
    })
}

/// Other programs may have a name there for a moment.
fn assert_same(own: &Path, before: &[BTreeSet<OsString>; 2], when: &str) {
    let began = Instant::now();
    while names(own) != *before {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{when}: {:?}, before {before:?}",
            names(own)
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Has a server keep memory, and stays.
fn have_kept(folder: PathBuf, address: String, ready: RawValue<bool>) {
    // SAFETY: this process was started for this, and nothing else runs in it that looks at the environment.
    unsafe { env::set_var("TMPDIR", &folder) };
    assert_eq!(env::temp_dir(), folder);
    let manager = Manager::connect(&address).unwrap();
    let list = manager.list_named::<Array<u8>>("arrays").unwrap();
    list.append(manager.array(&vec![7; 100_000]).unwrap()).unwrap();
    let _own = (Value::new(1_u8).unwrap(), manager.value_named("hits", 0_u64).unwrap());
    ready.set(true);
    thread::sleep(Duration::MAX);
}

#[test]
fn nothing_has_a_name() {
    let _watchdog = Watchdog::new();
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path();
    let address = format!("unix:{}", own.join("test.sock").display());
    let mut server = Served::run(byproxy().args(["serve", "--listen", &address]).env("TMPDIR", own));
    let manager = Manager::connect(&address).unwrap();
    // The socket's is among them.
    let before = names(own);
    let ready = RawValue::new(false).unwrap();
    let client = Process::spawn(have_kept, (own.to_owned(), address, &ready)).unwrap();
    until(|| ready.get());
    let fetched = manager.list_named::<Array<u8>>("arrays").unwrap().get(0).unwrap();
    assert_same(own, &before, "in use");
    client.kill().unwrap();
    client.join().unwrap_err();
    assert_same(own, &before, "after the death of its maker");
    let again = manager.list_named::<Array<u8>>("arrays").unwrap().get(0).unwrap();
    server.kill();
    assert_eq!((fetched.get(-1).unwrap(), again.get(0).unwrap()), (7, 7));
    assert_same(own, &before, "after the death of the server");
    drop((fetched, again, manager));
    assert_same(own, &before, "after its last handle");
}
