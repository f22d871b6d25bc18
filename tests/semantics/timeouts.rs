//! Every call with a time to wait: zero is a try, the longest is for ever, and neither leaves anything behind.

use crate::support::until_waiting;
use byproxy::{Error, GetTimeoutError, PutTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What counts as for ever, and what is so long that it might as well be: more seconds than any clock has.
const AGES: [Duration; 3] = [
    Duration::MAX,
    Duration::from_secs(u64::MAX),
    Duration::from_secs(1 << 40),
];

/// Less than this passes in a call that does not wait, on a machine that is not overloaded for minutes.
const AT_ONCE: Duration = Duration::from_secs(20);

on_every_backend! {
    fn zero_is_a_try_that_finds_nothing(manager) {
        let start = Instant::now();
        let (queue, lock) = (manager.queue::<u32>(1)?, manager.lock()?);
        assert!(matches!(queue.get_timeout(Duration::ZERO), Err(GetTimeoutError::Timeout)));
        assert!(matches!(queue.get_many_timeout(3, Duration::ZERO), Err(GetTimeoutError::Timeout)));
        assert!(matches!(queue.receive_timeout(Duration::ZERO), Err(GetTimeoutError::Timeout)));
        queue.put(1)?;
        assert!(matches!(queue.put_timeout(2, Duration::ZERO), Err(PutTimeoutError::Timeout(2))));
        assert!(matches!(queue.join_timeout(Duration::ZERO), Err(Error::Timeout)));
        let guard = lock.acquire()?;
        assert!(lock.acquire_timeout(Duration::ZERO)?.is_none());
        guard.release()?;
        assert_eq!((manager.stats()?.waiters, queue.get()?), (0, 1));
        assert!(start.elapsed() < AT_ONCE);
    }

    fn zero_is_a_try_that_finds_something(manager) {
        let (queue, lock) = (manager.queue::<u32>(3)?, manager.lock()?);
        for item in 1..4 {
            queue.put_timeout(item, Duration::ZERO)?;
        }
        assert_eq!(queue.get_timeout(Duration::ZERO)?, 1);
        assert_eq!(queue.receive_timeout(Duration::ZERO)?.ack()?, 2);
        assert_eq!(queue.get_many_timeout(3, Duration::ZERO)?, [3]);
        for _ in 0..2 {
            queue.task_done()?;
        }
        queue.join_timeout(Duration::ZERO)?;
        assert!(lock.acquire_timeout(Duration::ZERO)?.is_some());
        assert!(!lock.locked()?);
    }

    fn the_longest_time_finds_what_is_there_at_once(manager) {
        let start = Instant::now();
        for age in AGES {
            let (queue, lock) = (manager.queue::<u32>(3)?, manager.lock()?);
            for item in 1..4 {
                queue.put_timeout(item, age)?;
            }
            assert_eq!(queue.get_timeout(age)?, 1);
            assert_eq!(queue.receive_timeout(age)?.ack()?, 2);
            assert_eq!(queue.get_many_timeout(3, age)?, [3]);
            for _ in 0..2 {
                queue.task_done()?;
            }
            queue.join_timeout(age)?;
            assert!(lock.acquire_timeout(age)?.is_some());
        }
        assert!(start.elapsed() < AT_ONCE);
    }

    fn the_longest_time_waits_for_what_is_not_there(manager) {
        for age in AGES {
            let (queue, lock) = (manager.queue::<u32>(1)?, manager.lock()?);
            let (manager, queue, lock) = (&manager, &queue, &lock);
            thread::scope(|scope| {
                let getter = scope.spawn(move || queue.get_timeout(age));
                until_waiting(manager, 1);
                queue.put(1)?;
                assert_eq!(getter.join().unwrap()?, 1);

                let getter = scope.spawn(move || queue.get_many_timeout(2, age));
                until_waiting(manager, 1);
                queue.put(2)?;
                assert_eq!(getter.join().unwrap()?, [2]);

                let receiver = scope.spawn(move || queue.receive_timeout(age).map(byproxy::Delivery::ack));
                until_waiting(manager, 1);
                queue.put(3)?;
                assert_eq!(receiver.join().unwrap()??, 3);

                queue.put(4)?;
                let putter = scope.spawn(move || queue.put_timeout(5, age));
                until_waiting(manager, 1);
                assert_eq!(queue.get()?, 4);
                putter.join().unwrap()?;
                assert_eq!(queue.get()?, 5);

                let joiner = scope.spawn(move || queue.join_timeout(age));
                until_waiting(manager, 1);
                for _ in 0..4 {
                    queue.task_done()?;
                }
                joiner.join().unwrap()?;

                let guard = lock.acquire()?;
                let next = scope.spawn(move || Ok::<_, Error>(lock.acquire_timeout(age)?.is_some()));
                until_waiting(manager, 1);
                guard.release()?;
                assert!(next.join().unwrap()?);
                Ok::<_, Error>(())
            })?;
        }
    }
}
