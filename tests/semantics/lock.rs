//! Locks behave as Python's, and know their owners.

use crate::support::{on_threads, until_waiting};
use byproxy::{Error, LockGuard};
use std::cell::RefCell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(30);

on_every_backend! {
    fn one_thread_holds_it_at_a_time(manager) {
        let lock = manager.lock()?;
        let (inside, entered) = (AtomicU32::new(0), AtomicU32::new(0));
        on_threads(4, |_| {
            for _ in 0..25 {
                let _guard = lock.acquire().unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "someone else is inside");
                entered.fetch_add(1, Ordering::SeqCst);
                inside.fetch_sub(1, Ordering::SeqCst);
            }
        });
        assert_eq!(entered.into_inner(), 100);
        assert!(!lock.locked()?);
    }

    fn trying_and_waiting_a_while(manager) {
        let lock = manager.lock()?;
        let guard = lock.try_acquire()?.expect("it is free");
        assert!(lock.locked()?);
        assert!(lock.try_acquire()?.is_none(), "it is not re-entrant");
        let start = Instant::now();
        assert!(lock.acquire_timeout(SHORT)?.is_none());
        assert!(start.elapsed() >= SHORT);
        assert!(lock.acquire_timeout(Duration::ZERO)?.is_none());
        guard.release()?;
        assert!(lock.acquire_timeout(Duration::ZERO)?.is_some());
        assert!(lock.acquire_timeout(Duration::MAX)?.is_some());
    }

    fn a_thread_that_keeps_its_guard_to_its_end_frees_the_lock(manager) {
        thread_local! {
            static KEPT: RefCell<Option<LockGuard>> = const { RefCell::new(None) };
        }
        let lock = manager.lock()?;
        thread::scope(|scope| {
            // Dropped after whatever the library keeps for the thread, because it was there before.
            let keep = || KEPT.with(|kept| lock.acquire().map(|guard| *kept.borrow_mut() = Some(guard)));
            scope.spawn(keep).join().unwrap()
        })?;
        assert!(!lock.locked()?);
    }

    fn a_freed_lock_goes_to_who_waited_longest(manager) {
        let lock = manager.lock()?;
        let order = parking_lot::Mutex::new(Vec::new());
        thread::scope(|scope| {
            let guard = lock.acquire()?;
            for n in 0..4 {
                let (lock, order) = (&lock, &order);
                scope.spawn(move || {
                    let _guard = lock.acquire().unwrap();
                    order.lock().push(n);
                });
                until_waiting(manager, n + 1);
            }
            guard.release()
        })?;
        assert_eq!(order.into_inner(), [0, 1, 2, 3]);
    }

    fn anyone_may_release(manager) {
        let lock = manager.lock()?;
        assert!(matches!(lock.release(), Err(Error::Misuse(_))), "it is free");
        let guard = lock.acquire()?;
        thread::scope(|scope| scope.spawn(|| lock.release()).join().unwrap())?;
        assert!(!lock.locked()?);
        let second = lock.acquire()?;
        drop(guard);
        assert!(lock.locked()?, "the guard of a holding that is over frees no other");
        assert!(matches!(lock.calls().release().send(), Ok(())));
        assert!(matches!(second.release(), Err(Error::Misuse(_))));
    }

    fn a_leaked_lock_stays_taken_until_someone_releases_it(manager) {
        let lock = manager.lock()?;
        lock.acquire()?.leak()?;
        assert!(lock.locked()? && lock.try_acquire()?.is_none());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| lock.acquire().map(|guard| guard.abandoned()));
            until_waiting(manager, 1);
            lock.release()?;
            assert!(!waiter.join().unwrap()?, "nobody died");
            Ok::<_, Error>(())
        })?;
    }

    fn tokens_grow(manager) {
        let lock = manager.lock()?;
        let tokens = (0..5).map(|_| Ok(lock.acquire()?.token())).collect::<Result<Vec<_>, Error>>()?;
        assert!(tokens.is_sorted_by(|before, after| before < after), "{tokens:?}");
        let guard = lock.acquire()?;
        assert!(!guard.abandoned() && guard.lock() == &lock);
    }

    fn waiting_for_oneself_is_a_deadlock(manager) {
        let lock = manager.lock()?;
        let _guard = lock.acquire()?;
        let outcome = lock.acquire();
        assert!(matches!(outcome, Err(Error::Deadlock(_))), "{outcome:?}");
    }

    fn a_cycle_of_waits_is_a_deadlock_for_the_one_who_closes_it(manager) {
        let (first, second) = (manager.lock()?, manager.lock()?);
        let barrier = Barrier::new(2);
        let outcomes = thread::scope(|scope| {
            let (barrier, first, second) = (&barrier, &first, &second);
            let threads = [(first, second), (second, first)].map(|(mine, other)| {
                scope.spawn(move || {
                    let _mine = mine.acquire().unwrap();
                    barrier.wait();
                    other.acquire().map(|_| ())
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::Deadlock(_)))).count();
        assert_eq!(refused, 1, "one is refused and lets go, the other gets both: {outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    }

    fn a_wait_with_a_deadline_is_no_deadlock(manager) {
        let lock = manager.lock()?;
        let _guard = lock.acquire()?;
        assert!(lock.acquire_timeout(SHORT)?.is_none());
    }

    fn a_message_sent_after_the_guard_is_dropped_finds_the_lock_free(manager) {
        let lock = manager.lock()?;
        let (messages, answers) = (manager.queue::<()>(0)?, manager.queue::<bool>(0)?);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..50 {
                    messages.get().unwrap();
                    let free = lock.try_acquire().unwrap().is_some();
                    answers.put(free).unwrap();
                }
            });
            for _ in 0..50 {
                drop(lock.acquire()?);
                messages.put(())?;
                assert!(answers.get()?, "it was free before the message was sent");
            }
            Ok::<_, Error>(())
        })?;
    }
}
