//! A process forked from one with handles is a participant of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use byproxy::Manager;
use byproxy::shm::{Array, Lock, Value};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::alone::alone;
use crate::served::Served;
use crate::watchdog::Watchdog;

/// Runs something in a forked process, which says whether all was well.
fn forked(run: impl FnOnce() -> bool) -> bool {
    went_well(fork(run))
}

/// Begins something in a forked process, which has this one thread.
pub(crate) fn fork(run: impl FnOnce() -> bool) -> Pid {
    // SAFETY: the child runs only what the tests give it, and never returns from here. It needs no lock that another thread of theirs can hold, for
    // tests of children that need one run alone.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        let well = catch_unwind(AssertUnwindSafe(run)).unwrap_or(false);
        // SAFETY: ends the child without running what its parent registered for its own end.
        unsafe { libc::_exit(i32::from(!well)) };
    }
    Pid::from_raw(pid).unwrap()
}

/// Waits for its end.
pub(crate) fn went_well(child: Pid) -> bool {
    let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
    status.exit_status() == Some(0)
}

#[test]
fn the_guards_of_its_parent_hold_nothing_in_it() {
    let _watchdog = Watchdog::new();
    let (lock, value, array) = (
        Lock::new().unwrap(),
        Value::new([1_u64, 2]).unwrap(),
        Array::new(&[1_u8]).unwrap(),
    );
    let guard = lock.acquire();
    let mut changed = value.lock();
    changed[0] = 9;
    let locked = array.lock();
    let (lock_guard, value_guard, array_guard) = (&guard, &changed, &locked);
    let well = forked(|| {
        // SAFETY: copies of the guards, whose originals this process never ends.
        let copies = unsafe {
            (
                std::ptr::from_ref(lock_guard).read(),
                std::ptr::from_ref(value_guard).read(),
                std::ptr::from_ref(array_guard).read(),
            )
        };
        let _ = copies.2.set(0, 99);
        drop(copies);
        lock.locked() && value.get() == [1, 2] && lock.try_acquire().is_none()
    });
    assert!(well);
    assert!(lock.locked() && value.try_lock().is_none() && array.get(0).unwrap() == 1);
    drop((guard, changed, locked));
    assert_eq!(value.get(), [9, 2]);
    assert!(!lock.locked());
}

#[test]
fn it_takes_locks_in_its_own_name() {
    let _watchdog = Watchdog::new();
    let (lock, value) = (Lock::new().unwrap(), Value::new(1_u32).unwrap());
    let well = forked(|| {
        value.fetch_add(1).unwrap();
        // It ends without giving this back.
        std::mem::forget(lock.acquire());
        true
    });
    assert!(well);
    assert_eq!(value.get(), 2);
    let guard = lock.acquire_timeout(Duration::from_secs(5)).unwrap();
    assert!(guard.abandoned(), "the child died, not this process");
}

#[test]
fn it_makes_objects_in_memory_of_its_own() {
    alone("fork::it_makes_objects_in_memory_of_its_own", || {
        let _watchdog = Watchdog::new();
        let kept = Value::new(7_u64).unwrap();
        let well = forked(|| {
            let own = Value::new(8_u64).unwrap();
            own.set(9);
            own.get() == 9
        });
        let next = Value::new(5_u64).unwrap();
        assert!(well);
        assert_eq!((kept.get(), next.get()), (7, 5));
    });
}

#[test]
fn it_connects_and_makes_objects_whatever_other_threads_of_its_parent_do() {
    alone(
        "fork::it_connects_and_makes_objects_whatever_other_threads_of_its_parent_do",
        || {
            let watchdog = Watchdog::new();
            let server = Served::start();
            let come_and_go = || {
                let manager = Manager::connect(server.address()).unwrap();
                let list = manager.list_from([Array::new(&[7_u64; 1_000]).unwrap()]).unwrap();
                assert_eq!(list.get(0).unwrap().get(-1).unwrap(), 7);
                true
            };
            let enough = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !enough.load(Ordering::Relaxed) {
                        assert!(come_and_go());
                    }
                });
                let all_well = (0..100).all(|_| {
                    watchdog.progress();
                    forked(come_and_go)
                });
                enough.store(true, Ordering::Relaxed);
                assert!(all_well);
            });
        },
    );
}
