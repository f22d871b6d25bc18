//! What a lock does within one process.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use byproxy::Error;
use byproxy::shm::{Array, Lock, RawValue, Value};

use crate::watchdog::Watchdog;

#[test]
fn one_thread_at_a_time() {
    let _watchdog = Watchdog::new();
    let lock = Lock::new().unwrap();
    let count = RawValue::new(0_u32).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    let _guard = lock.acquire();
                    count.set(count.get() + 1);
                }
            });
        }
    });
    assert_eq!(count.get(), 20_000);
    assert!(!lock.locked());
}

#[test]
fn a_taken_lock_is_not_to_be_had() {
    let _watchdog = Watchdog::new();
    let lock = Lock::new().unwrap();
    let guard = lock.acquire();
    assert!(lock.locked() && lock.try_acquire().is_none());
    let began = Instant::now();
    assert!(lock.acquire_timeout(Duration::from_millis(60)).is_none());
    assert!(began.elapsed() >= Duration::from_millis(60));
    assert!(lock.acquire_timeout(Duration::ZERO).is_none());
    drop(guard);
    assert!(lock.acquire_timeout(Duration::MAX).is_some());
}

/// More seconds than any clock has, and the longest time of all, are for ever; none at all is a try. Values and arrays have the same lock.
#[test]
fn no_time_is_a_try_and_the_longest_is_for_ever() {
    let _watchdog = Watchdog::new();
    let (lock, value, array) = (
        Lock::new().unwrap(),
        Value::new(1_u64).unwrap(),
        Array::new(&[1_u64]).unwrap(),
    );
    let guards = (lock.acquire(), value.lock(), array.lock());
    assert!(lock.acquire_timeout(Duration::ZERO).is_none());
    assert!(value.lock_timeout(Duration::ZERO).is_none());
    assert!(array.lock_timeout(Duration::ZERO).is_none());
    drop(guards);
    assert!(lock.acquire_timeout(Duration::ZERO).is_some());
    assert!(value.lock_timeout(Duration::ZERO).is_some());
    assert!(array.lock_timeout(Duration::ZERO).is_some());
    for age in [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_secs(1 << 40),
    ] {
        let guards = (lock.acquire(), value.lock(), array.lock());
        thread::scope(|scope| {
            let waiters = [
                scope.spawn(|| lock.acquire_timeout(age).is_some()),
                scope.spawn(|| value.lock_timeout(age).is_some()),
                scope.spawn(|| array.lock_timeout(age).is_some()),
            ];
            // Long enough for a time that is cut short to be over.
            thread::sleep(Duration::from_millis(50));
            assert!(waiters.iter().all(|waiter| !waiter.is_finished()), "{age:?}");
            drop(guards);
            assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()), "{age:?}");
        });
    }
}

#[test]
fn a_sleeper_gets_the_lock() {
    let _watchdog = Watchdog::new();
    let lock = Lock::new().unwrap();
    let guard = lock.acquire();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| lock.acquire().token());
        thread::sleep(Duration::from_millis(120));
        assert!(!sleeper.is_finished());
        let token = guard.token();
        drop(guard);
        assert!(sleeper.join().unwrap() > token);
    });
}

#[test]
fn tokens_grow_by_one() {
    let lock = Lock::new().unwrap();
    let tokens: Vec<u64> = (0..5).map(|_| lock.acquire().token()).collect();
    assert_eq!(tokens, [1, 2, 3, 4, 5]);
}

#[test]
fn anyone_releases() {
    let _watchdog = Watchdog::new();
    let lock = Lock::new().unwrap();
    assert!(matches!(lock.release(), Err(Error::Misuse(_))));
    let guard = lock.acquire();
    thread::scope(|scope| scope.spawn(|| lock.release().unwrap()).join().unwrap());
    assert!(!lock.locked());
    // Taken anew, by the same process: the old guard's end is not the new one's.
    let new = lock.acquire();
    drop(guard);
    assert!(lock.locked());
    drop(new);
    assert!(!lock.locked());
}

#[test]
fn a_leaked_lock_stays_taken_until_someone_releases_it() {
    let _watchdog = Watchdog::new();
    let lock = Lock::new().unwrap();
    lock.acquire().leak();
    assert!(lock.locked() && lock.try_acquire().is_none());
    assert!(lock.acquire_timeout(Duration::from_millis(120)).is_none());
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| lock.acquire().abandoned());
        thread::sleep(Duration::from_millis(20));
        lock.release().unwrap();
        assert!(!sleeper.join().unwrap(), "nobody died");
    });
}

#[test]
fn a_panic_frees_the_lock() {
    let lock = Lock::new().unwrap();
    let panicked = thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let _guard = lock.acquire();
            panic!("on purpose");
        });
        holder.join().is_err()
    });
    assert!(panicked && !lock.locked());
}

#[test]
fn sleepers_are_woken_and_not_found_by_the_clock_alone() {
    let _watchdog = Watchdog::new();
    let lock = Lock::new().unwrap();
    let (last, hand_overs) = (AtomicU32::new(0), AtomicU32::new(0));
    let began = Instant::now();
    // A hundred times the lock changes hands. A sleeper that nobody wakes has slices of up to 50 ms, and finds the lock free at the end of
    // few of them.
    thread::scope(|scope| {
        for this in [1, 2] {
            let (lock, last, hand_overs) = (&lock, &last, &hand_overs);
            scope.spawn(move || {
                while hand_overs.load(Ordering::Relaxed) < 100 {
                    let guard = lock.acquire();
                    if last.swap(this, Ordering::Relaxed) != this {
                        hand_overs.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_millis(3));
                    drop(guard);
                    // Out of the way, so that the sleeper has its turn.
                    thread::sleep(Duration::from_micros(100));
                }
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn prints_what_it_is() {
    let lock = Lock::new().unwrap();
    assert_eq!(format!("{lock:?}"), "Lock { locked: false, .. }");
    let guard = lock.acquire();
    assert_eq!(format!("{guard:?}"), "LockGuard { token: 1, abandoned: false, .. }");
}
