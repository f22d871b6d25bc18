//! A process killed between any two instructions of taking and giving back a lock: others go on, and are told.

use std::time::{Duration, Instant};

use byproxy::shm::{Lock, LockGuard, RawValue};

use crate::support::{Growing, Sleeper, Survivor};
use crate::victim::{Came, Victim};
use crate::watchdog::Watchdog;
use crate::way::{Way, kill_everywhere, kill_points};

const LIMIT: Duration = Duration::from_mins(5);

#[test]
fn killed_anywhere_alone_the_next_has_the_lock_and_is_told() {
    let lock = Lock::new().unwrap();
    take_and_die("a lock taken and given back", &lock);
}

#[test]
fn killed_anywhere_with_a_lock_that_was_once_released_the_next_is_told() {
    take_and_die("a lock that was once released taken and given back", &once_released());
}

/// A lock that somebody lost, after which holdings are counted in another way.
fn once_released() -> Lock {
    let lock = Lock::new().unwrap();
    let guard = lock.acquire();
    lock.release().unwrap();
    drop(guard);
    lock
}

/// Kills a process at every instruction of taking the lock and giving it back.
fn take_and_die(what: &str, lock: &Lock) {
    let _watchdog = Watchdog::with_limit(LIMIT);
    let mut tokens = Growing::default();
    let prepare = || (Victim::new(|| drop(lock.acquire()), |()| drop(lock.acquire())), ());
    let survivors = kill_everywhere(what, prepare, |mut victim, ()| {
        let held = lock.locked();
        let killed = victim.kill();
        let guard = lock.acquire();
        let survivor = Survivor::since(killed, held);
        assert_eq!(guard.abandoned(), held);
        tokens.assert(guard.token());
        drop(guard);
        assert!(!lock.acquire().abandoned(), "one is told");
        survivor
    });
    survivors.judge(what).assert_some();
}

#[test]
fn killed_while_releasing_the_lock_of_another_the_next_has_it() {
    const WHAT: &str = "a lock released by another";
    let _watchdog = Watchdog::with_limit(LIMIT);
    let other = Lock::new().unwrap();
    let prepare = || {
        let lock = Lock::new().unwrap();
        let release = lock.clone();
        let mut tokens = Growing::default();
        let guard = lock.acquire();
        tokens.assert(guard.token());
        std::mem::forget(guard);
        // A process that was forked finds out its name first, which is no part of this.
        let victim = Victim::new(|| drop(other.acquire()), move |()| release.release().unwrap());
        (victim, (lock, tokens))
    };
    let survivors = kill_everywhere(WHAT, prepare, |mut victim, (lock, mut tokens)| {
        let killed = victim.kill();
        drop(victim);
        let held = lock.locked();
        // Nobody's, or that of one who is dead, or ours still.
        let guard = lock.try_acquire().unwrap_or_else(|| {
            lock.release().unwrap();
            lock.try_acquire().unwrap()
        });
        tokens.assert(guard.token());
        Survivor::since(killed, held)
    });
    survivors.judge(WHAT).assert_some();
}

#[test]
fn killed_while_waiting_a_sleeper_goes_on() {
    wait_and_die("a wait beside a sleeper", true);
}

#[test]
fn killed_while_waiting_who_comes_after_it_goes_on() {
    wait_and_die("a wait before anyone sleeps", false);
}

/// Kills a process on its way from the first failed try to the futex, through spins, yields and the bit that says so, while this one holds
/// the lock. Another sleeps from the beginning, and so the bit is there, or comes after the kill.
fn wait_and_die(what: &str, asleep_before: bool) {
    let _watchdog = Watchdog::with_limit(LIMIT);
    let (lock, other) = (Lock::new().unwrap(), Lock::new().unwrap());
    let mut tokens = Growing::default();
    let prepare = || {
        let guard = lock.acquire();
        let sleeper = asleep_before.then(|| sleeper(&lock));
        let victim = Victim::new(|| drop(other.acquire()), |()| drop(lock.acquire()));
        // Given back before the sleeper's end is waited for, should the victim have gone astray.
        (victim, (guard, sleeper))
    };
    let way = Way::to_sleep(prepare);
    let survivors = way.strike_everywhere(what, prepare, |mut victim, (guard, early)| {
        victim.kill();
        let sleeper = early.unwrap_or_else(|| sleeper(&lock));
        tokens.assert(guard.token());
        let given_back = Instant::now();
        drop(guard);
        let (told, token) = sleeper.wait();
        let survivor = Survivor::since(given_back, false);
        assert!(!told, "nobody died holding it");
        tokens.assert(token);
        drop(victim);
        assert!(!lock.locked());
        survivor
    });
    survivors.judge(what).assert_none();
}

/// Leaves the lock to a process that has died.
fn die_holding(lock: &Lock) {
    Victim::new(|| lock.acquire(), drop).kill();
}

#[test]
fn a_dead_holders_lock_released_by_another_the_next_is_told() {
    let _watchdog = Watchdog::new();
    for lock in [Lock::new().unwrap(), once_released()] {
        die_holding(&lock);
        lock.release().unwrap();
        assert!(!lock.locked());
        assert!(lock.try_acquire().unwrap().abandoned());
        assert!(!lock.acquire().abandoned(), "one is told");
        // Nobody died who held it when it was released.
        let guard = lock.acquire();
        lock.release().unwrap();
        drop(guard);
        assert!(!lock.acquire().abandoned());
    }
}

#[test]
fn who_loses_a_dead_holders_lock_at_once_leaves_the_death_to_be_told() {
    // Once a try that took the lock from a dead holder, and lost it before it was counted, took the death along. Then it left it behind,
    // but too late for the next one, if it had been stopped before it could write it down.
    lose_and_leave("a try", Lock::try_acquire);
    lose_and_leave("a try for some time", |lock| lock.acquire_timeout(Duration::ZERO));
}

/// Takes the lock away from a process at every one of the last instructions of taking it from a dead holder, and takes it next.
fn lose_and_leave(what: &str, attempt: impl Fn(&Lock) -> Option<LockGuard<'_>>) {
    let _watchdog = Watchdog::with_limit(LIMIT);
    let (lock, told) = (Lock::new().unwrap(), RawValue::new(false).unwrap());
    let prepare = || {
        told.set(false);
        let warm = Lock::new().unwrap();
        die_holding(&warm);
        let guard = lock.acquire();
        lock.release().unwrap();
        drop(guard);
        die_holding(&lock);
        let victim = Victim::new(
            || drop(attempt(&warm)),
            |()| told.set(attempt(&lock).is_some_and(|guard| guard.abandoned())),
        );
        (victim, ())
    };
    let way = Way::of(prepare);
    let (mut by_it, mut by_next) = (0, 0);
    for count in way.chosen() {
        let Some((victim, ())) = way.victim_after(count, prepare) else {
            let _ = lock.release();
            drop(lock.acquire());
            continue;
        };
        // The next one comes while it stands still, wherever that is.
        let _ = lock.release();
        let next = lock.acquire().abandoned();
        victim.run();
        assert_eq!(
            usize::from(told.get()) + usize::from(next),
            1,
            "{what}: at {count} of {} one is told",
            way.len()
        );
        by_it += usize::from(told.get());
        by_next += usize::from(!told.get());
    }
    println!("{what}: {by_it} were told themselves, {by_next} left it to the next");
    assert!(by_it > 0 && by_next > 0);
}

#[test]
fn a_holder_that_lost_the_lock_is_late() {
    // Once a thread that was stopped between taking the lock and being counted was given a higher token than the holder after it, so that
    // what the token protects was written by a holder that had lost the lock long ago. Now the count moves before a lock is taken away.
    for new in [Lock::new, || Ok(once_released())] {
        let _watchdog = Watchdog::with_limit(LIMIT);
        let other = Lock::new().unwrap();
        let mut late = 0;
        let victims = kill_points(|| {
            let (lock, token) = (new().unwrap(), RawValue::new(0_u64).unwrap());
            let (victims_lock, victims_token) = (lock.clone(), token.clone());
            let victim = Victim::new(
                || drop(other.acquire()),
                move |()| {
                    let guard = victims_lock.acquire();
                    victims_token.set(guard.token());
                    std::mem::forget(guard);
                },
            );
            (victim, (lock, token))
        });
        for (victim, (lock, token)) in victims {
            if lock.release().is_err() {
                continue;
            }
            let guard = lock.acquire();
            // It goes on, and either finds out, and waits for us, or believes to hold the lock.
            for _ in 0..300 {
                if token.get() != 0 || victim.step(1) == Came::Through {
                    break;
                }
            }
            if token.get() != 0 {
                assert!(token.get() < guard.token(), "{} is late", token.get());
                late += 1;
            }
        }
        assert!(late > 0, "no holder was late");
    }
}

#[test]
fn killed_while_giving_back_a_sleeper_goes_on() {
    const WHAT: &str = "a lock given back with a sleeper";
    let _watchdog = Watchdog::with_limit(LIMIT);
    let lock = Lock::new().unwrap();
    let mut told_so_far = true;
    let mut tokens = Growing::default();
    let prepare = || {
        let victim = Victim::new(|| lock.acquire(), drop);
        (victim, sleeper(&lock))
    };
    let survivors = kill_everywhere(WHAT, prepare, |mut victim, sleeper| {
        let killed = victim.kill();
        let (told, token) = sleeper.wait();
        let survivor = Survivor::since(killed, told);
        // There is one instruction that gives it back: before it the sleeper is told, after it there is nothing to tell.
        assert!(told_so_far || !told);
        told_so_far &= told;
        tokens.assert(token);
        drop(victim);
        assert!(!lock.locked());
        survivor
    });
    survivors.judge(WHAT).assert_some();
}

#[test]
fn killed_after_being_woken_the_next_has_the_lock() {
    const WHAT: &str = "a lock taken after a wake-up";
    let _watchdog = Watchdog::with_limit(LIMIT);
    let (lock, other) = (Lock::new().unwrap(), Lock::new().unwrap());
    let mut tokens = Growing::default();
    let prepare = || {
        let guard = lock.acquire();
        let victim = Victim::new(|| drop(other.acquire()), |()| drop(lock.acquire()));
        victim.run_to_sleep();
        drop(guard);
        victim.wait_for_wake();
        (victim, ())
    };
    let survivors = kill_everywhere(WHAT, prepare, |mut victim, ()| {
        let held = lock.locked();
        let killed = victim.kill();
        let guard = lock.acquire();
        let survivor = Survivor::since(killed, held);
        assert_eq!(guard.abandoned(), held);
        tokens.assert(guard.token());
        survivor
    });
    survivors.judge(WHAT).assert_some();
}

#[test]
fn killed_asleep_it_leaves_no_trace() {
    let _watchdog = Watchdog::new();
    let lock = Lock::new().unwrap();
    let guard = lock.acquire();
    let mut victim = Victim::new(|| (), |()| drop(lock.acquire()));
    victim.run_to_sleep();
    victim.kill();
    drop(victim);
    drop(guard);
    assert!(!lock.try_acquire().unwrap().abandoned());
}

#[test]
fn the_wake_up_of_one_who_dies_is_not_the_last() {
    let _watchdog = Watchdog::new();
    let lock = Lock::new().unwrap();
    let guard = lock.acquire();
    let mut victim = Victim::new(|| (), |()| drop(lock.acquire()));
    victim.run_to_sleep();
    // Stopped by now, or when it is woken: it will not take the lock, whoever wakes it.
    let sleepers = [sleeper(&lock), sleeper(&lock)];
    drop(guard);
    victim.wait_for_wake();
    victim.kill();
    for sleeper in sleepers {
        assert!(!sleeper.wait().0, "nobody died holding it");
    }
}

#[test]
fn a_holder_that_is_stopped_keeps_the_lock() {
    let _watchdog = Watchdog::new();
    let lock = Lock::new().unwrap();
    // Stopped right before it gives the lock back.
    let mut victim = Victim::new(|| lock.acquire(), drop);
    assert!(lock.try_acquire().is_none());
    assert!(lock.acquire_timeout(Duration::from_millis(300)).is_none());
    victim.kill();
    // Dead, but not collected: that is dead enough.
    assert!(lock.acquire().abandoned());
}

/// A thread that waits for the lock, asleep, takes it, and gives it back. It says whether it was told of a death, and its token.
fn sleeper(lock: &Lock) -> Sleeper<(bool, u64)> {
    let lock = lock.clone();
    Sleeper::start(move || {
        let guard = lock.acquire();
        (guard.abandoned(), guard.token())
    })
}
