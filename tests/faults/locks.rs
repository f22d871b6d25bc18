//! Holders of a lock killed while they hold it, and waiters killed while they wait.
//!
//! In Python a manager's lock stays locked for ever when its holder is killed.

use crate::baseline::{Baseline, await_waiters};
use crate::measure::{Times, monotonic};
use crate::processes::{freeze, thaw};
use crate::status::{Doing, Publisher};
use crate::victim::{Morgue, victim};
use crate::watchdog::Watchdog;
use byproxy::LockProxy;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// What the server may take from a holder's death to the next grant.
const RELEASED_WITHIN: Duration = Duration::from_millis(10);

/// Takes the lock and keeps it. Publishes its token.
fn holder(status: PathBuf, lock: LockProxy) -> byproxy::Result<()> {
    let mut publisher = Publisher::open(&status);
    publisher.doing(Doing::Waiting);
    let guard = lock.acquire()?;
    publisher.doing_with(Doing::Holding, 0, guard.token());
    loop {
        std::thread::park();
    }
}

on_each_transport! {
    fn the_lock_of_a_killed_holder_goes_to_the_next_who_is_told(transport) {
        let watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let lock = manager.lock().unwrap();
        let mut times = Times::default();
        let mut last_token = 0;

        for _ in 0..100 {
            let victim = victim!(morgue, holder, lock.clone());
            let token = victim.await_doing(Doing::Holding).numbers[0];
            assert!(token > last_token, "{token} after {last_token}");
            assert!(lock.try_acquire().unwrap().is_none(), "it is held");

            let next = std::thread::spawn({
                let lock = lock.clone();
                move || {
                    let guard = lock.acquire().unwrap();
                    (monotonic(), guard.token(), guard.abandoned())
                }
            });
            await_waiters(&manager, 1);
            let killed = monotonic();
            victim.strike();
            let (granted, token_after, abandoned) = next.join().unwrap();
            assert!(abandoned, "the next holder is told");
            assert!(token_after > token, "{token_after} after {token}");
            times.add(Duration::from_nanos(granted - killed));

            let guard = lock.acquire().unwrap();
            assert!(!guard.abandoned(), "only the next one is told");
            last_token = guard.token();
            assert!(last_token > token_after);
            watchdog.progress();
        }
        times.hold("from the kill of a holder to the grant", RELEASED_WITHIN);
    }
}

on_each_transport! {
    fn the_lock_of_a_killed_holder_is_free_without_anyone_waiting(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let lock = manager.lock().unwrap();
        let victim = victim!(morgue, holder, lock.clone());
        victim.await_doing(Doing::Holding);
        victim.kill();
        let guard = lock
            .acquire_timeout(Duration::MAX)
            .unwrap()
            .expect("for ever is long enough");
        assert!(guard.abandoned());
    }
}

on_each_transport! {
    fn a_dead_holder_is_found_even_if_its_sockets_live_on(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let lock = manager.lock().unwrap();
        let victim = victim!(morgue, holder, lock.clone());
        victim.await_doing(Doing::Holding);
        // As a child that it forked would: no connection of it ends with it.
        let Some(sockets) = copy_sockets(victim.pid()) else {
            println!("SKIPPED: a_dead_holder_is_found_even_if_its_sockets_live_on: may not copy descriptors of a child");
            return;
        };
        assert!(!sockets.is_empty());
        victim.kill();
        assert!(lock.acquire().unwrap().abandoned());
    }
}

/// Copies of all sockets of a process; nothing if that is not allowed here.
fn copy_sockets(pid: Pid) -> Option<Vec<OwnedFd>> {
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if std::fs::read_link(&path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:")) {
            let number = path.file_name()?.to_str()?.parse().ok()?;
            sockets.push(pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()?);
        }
    }
    Some(sockets)
}

on_each_transport! {
    fn a_killed_waiter_is_never_granted_the_lock(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let lock = manager.lock().unwrap();
        let guard = lock.acquire().unwrap();
        let baseline = Baseline::of(&manager);
        let victims: Vec<_> = (0..5).map(|_| victim!(morgue, holder, lock.clone())).collect();
        await_waiters(&manager, 5);
        for victim in &victims {
            victim.kill();
        }
        baseline.await_return();
        drop(guard);
        assert!(!lock.locked().unwrap(), "nobody is left who could hold it");
        assert!(!lock.acquire().unwrap().abandoned(), "no holder died");
    }
}

on_each_transport! {
    fn a_lock_granted_to_a_dying_waiter_goes_on_to_the_next(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let lock = manager.lock().unwrap();
        for _ in 0..30 {
            let guard = lock.acquire().unwrap();
            let victim = victim!(morgue, holder, lock.clone());
            await_waiters(&manager, 1);
            // The kill and the release race: whoever the server hears of first, the lock is free in the end.
            victim.strike();
            drop(guard);
            drop(lock.acquire().unwrap());
        }
    }
}

on_each_transport! {
    fn a_lock_granted_to_a_frozen_waiter_waits_for_it_and_survives_it(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let lock = manager.lock().unwrap();
        let guard = lock.acquire().unwrap();
        let (woken, killed) = (
            victim!(morgue, holder, lock.clone()),
            victim!(morgue, holder, lock.clone()),
        );
        await_waiters(&manager, 2);
        freeze(woken.pid());
        freeze(killed.pid());
        drop(guard);
        assert!(lock.try_acquire().unwrap().is_none(), "a frozen holder holds");
        // One of the two has the lock; both are still there.
        await_waiters(&manager, 1);
        killed.kill();
        thaw(woken.pid());
        woken.await_doing(Doing::Holding);
        woken.kill();
        assert!(lock.acquire().unwrap().abandoned());
    }
}
