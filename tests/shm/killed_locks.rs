//! A process killed between any two instructions of taking and giving back a lock: others go on, and are told.

use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use byproxy::shm::{Lock, RawValue};

use crate::support::{Survivors, Watchdog, until};
use crate::victim::{Came, Victim, kill_points};

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
    let _watchdog = Watchdog::of(LIMIT);
    let mut survivors = Survivors::default();
    let mut token = 0;
    let victims = kill_points(|| (Victim::new(|| drop(lock.acquire()), |()| drop(lock.acquire())), ()));
    for (mut victim, ()) in victims {
        let held = lock.locked();
        let killed = victim.kill();
        let guard = lock.acquire();
        survivors.record(killed, held);
        assert_eq!(guard.abandoned(), held);
        assert!(guard.token() > token);
        token = guard.token();
        drop(guard);
        assert!(!lock.acquire().abandoned(), "one is told");
    }
    survivors.judge(what);
}

#[test]
fn killed_while_releasing_the_lock_of_another_the_next_has_it() {
    let _watchdog = Watchdog::of(LIMIT);
    let mut survivors = Survivors::default();
    let other = Lock::new().unwrap();
    let victims = kill_points(|| {
        let lock = Lock::new().unwrap();
        let release = lock.clone();
        std::mem::forget(lock.acquire());
        // A process that was forked finds out its name first, which is no part of this.
        let victim = Victim::new(|| drop(other.acquire()), move |()| release.release().unwrap());
        (victim, lock)
    });
    for (mut victim, lock) in victims {
        let killed = victim.kill();
        drop(victim);
        let held = lock.locked();
        // Nobody's, or that of one who is dead, or ours still.
        let guard = lock.try_acquire().unwrap_or_else(|| {
            lock.release().unwrap();
            lock.try_acquire().unwrap()
        });
        survivors.record(killed, held);
        assert!(guard.token() > 1);
    }
    survivors.judge("a lock released by another");
}

#[test]
fn a_holder_that_lost_the_lock_is_late() {
    // Once a thread that was stopped between taking the lock and being counted was given a higher token than the holder after it, so that
    // what the token protects was written by a holder that had lost the lock long ago. Now the count moves before a lock is taken away.
    for new in [Lock::new, || Ok(once_released())] {
        let _watchdog = Watchdog::of(LIMIT);
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
    let _watchdog = Watchdog::of(LIMIT);
    let lock = Lock::new().unwrap();
    let mut survivors = Survivors::default();
    let mut told_so_far = true;
    let victims = kill_points(|| {
        let victim = Victim::new(|| lock.acquire(), drop);
        (victim, Sleeper::start(&lock))
    });
    for (mut victim, sleeper) in victims {
        let killed = victim.kill();
        let told = sleeper.wait();
        survivors.record(killed, told);
        // There is one instruction that gives it back: before it the sleeper is told, after it there is nothing to tell.
        assert!(told_so_far || !told);
        told_so_far &= told;
        drop(victim);
        assert!(!lock.locked());
    }
    survivors.judge("a lock given back with a sleeper");
}

#[test]
fn killed_after_being_woken_the_next_has_the_lock() {
    let _watchdog = Watchdog::of(LIMIT);
    let lock = Lock::new().unwrap();
    let mut survivors = Survivors::default();
    let other = Lock::new().unwrap();
    let victims = kill_points(|| {
        let guard = lock.acquire();
        let victim = Victim::new(|| drop(other.acquire()), |()| drop(lock.acquire()));
        victim.run_to_sleep();
        drop(guard);
        victim.wait_for_wake();
        (victim, ())
    });
    for (mut victim, ()) in victims {
        let held = lock.locked();
        let killed = victim.kill();
        let guard = lock.acquire();
        survivors.record(killed, held);
        assert_eq!(guard.abandoned(), held);
    }
    survivors.judge("a lock taken after a wake-up");
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
    let sleepers = [Sleeper::start(&lock), Sleeper::start(&lock)];
    drop(guard);
    victim.wait_for_wake();
    victim.kill();
    for sleeper in sleepers {
        assert!(!sleeper.wait(), "nobody died holding it");
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

/// A thread that waits for the lock, asleep, takes it, and gives it back.
struct Sleeper(Option<thread::JoinHandle<bool>>);

impl Sleeper {
    fn start(lock: &Lock) -> Self {
        let lock = lock.clone();
        let (say, said) = mpsc::channel();
        let thread = thread::spawn(move || {
            say.send(rustix::thread::gettid()).unwrap();
            lock.acquire().abandoned()
        });
        let status = format!("/proc/self/task/{}/stat", said.recv().unwrap());
        until(|| fs::read_to_string(&status).is_ok_and(|status| status.contains(") S ")) || thread.is_finished());
        Self(Some(thread))
    }

    /// Waits until it has had the lock, and says whether it was told of a death.
    fn wait(mut self) -> bool {
        self.0.take().unwrap().join().unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.join().unwrap();
        }
    }
}
