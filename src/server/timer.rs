//! The clock and the one timer of a server.
//!
//! Deadlines come from two places: the engine, which tells its next one, and the server's own chores. The nearest of all is set in one
//! timerfd, which any thread may set and one worker waits for. There is no tick: without a deadline nothing ever wakes.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::connection::Connection;
use crate::engine::Time;

/// Something to look at when its time has come.
#[derive(Debug)]
pub(super) enum Chore {
    /// Have the connections that came first said hello by now?
    Hellos,
    /// Has the peer of this connection read anything?
    Progress(Weak<Connection>),
    /// Are there descriptors again to accept with?
    Accept,
    /// Is the ring of this lane idle?
    Rest(Weak<Connection>),
}

/// Clock and timer.
#[derive(Debug)]
pub(super) struct Timer {
    start: Instant,
    descriptor: OwnedFd,
    /// What the timerfd is set to; `u64::MAX` is not at all. Written under the lock of `chores`.
    armed: AtomicU64,
    /// When the first chore is due; `u64::MAX` is never. Written under the lock of `chores`.
    first: AtomicU64,
    chores: Mutex<Chores>,
}

#[derive(Debug, Default)]
struct Chores {
    due: BTreeMap<(u64, u64), Chore>,
    number: u64,
}

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        let descriptor = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        Ok(Self {
            start: Instant::now(),
            descriptor,
            armed: AtomicU64::new(u64::MAX),
            first: AtomicU64::new(u64::MAX),
            chores: Mutex::default(),
        })
    }

    /// Now, on the server's clock.
    #[inline]
    pub(super) fn now(&self) -> Time {
        Time(nanoseconds(self.start.elapsed()))
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Puts a chore on the list.
    pub(super) fn schedule(&self, after: Duration, chore: Chore) {
        let due = self.now().0.saturating_add(nanoseconds(after));
        let mut chores = self.chores.lock();
        chores.number += 1;
        let number = chores.number;
        chores.due.insert((due, number), chore);
        if due < self.first.load(Ordering::Relaxed) {
            self.first.store(due, Ordering::Release);
        }
    }

    /// Takes the chores that are due, and forgets that the timer was set: call [`Self::arm`] afterwards.
    pub(super) fn expire(&self, now: Time) -> Vec<Chore> {
        let mut chores = self.chores.lock();
        self.armed.store(u64::MAX, Ordering::Release);
        self.set(u64::MAX);
        let later = chores.due.split_off(&(now.0.saturating_add(1), 0));
        let due = std::mem::replace(&mut chores.due, later);
        let first = chores.due.keys().next().map_or(u64::MAX, |&(due, _)| due);
        self.first.store(first, Ordering::Release);
        drop(chores);
        // Pairs with the fence in `arm`.
        fence(Ordering::SeqCst);
        due.into_values().collect()
    }

    /// Makes sure that the timer fires no later than the engine's next deadline and the first chore.
    #[inline]
    pub(super) fn arm(&self, engine: Option<Time>) {
        if engine.is_some() {
            // Pairs with the fence in `expire`: either we see that the timer is no longer set, or the visit that handles its expiry
            // sees the deadline which the engine has just been given.
            fence(Ordering::SeqCst);
        }
        let next = engine
            .map_or(u64::MAX, |time| time.0)
            .min(self.first.load(Ordering::Acquire));
        if next < self.armed.load(Ordering::Acquire) {
            self.arm_earlier(next);
        }
    }

    #[cold]
    fn arm_earlier(&self, next: u64) {
        let _chores = self.chores.lock();
        if next < self.armed.load(Ordering::Relaxed) {
            self.set(next);
            self.armed.store(next, Ordering::Release);
        }
    }

    fn set(&self, deadline: u64) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = match deadline {
            u64::MAX => zero,
            // Zero would switch the timer off; what is overdue fires at once.
            deadline => timespec(deadline.saturating_sub(self.now().0).max(1)),
        };
        let set = timerfd_settime(
            &self.descriptor,
            TimerfdTimerFlags::empty(),
            &Itimerspec {
                it_interval: zero,
                it_value: value,
            },
        );
        debug_assert!(set.is_ok(), "a timerfd takes any positive time");
    }
}

fn timespec(nanoseconds: u64) -> Timespec {
    let seconds = i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX);
    Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds % 1_000_000_000).unwrap_or_default(),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
