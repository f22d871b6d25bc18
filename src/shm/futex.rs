//! Sleeping on a shared word, in slices, with a patience that is a deadline or none.
//!
//! The futex is the word's lower half (holder's process id, salt and the waiters' bit), shared between processes. A sleep ends at the
//! latest after a slice, whoever forgot to wake whom: the first is short, so that a holder that has just died is found soon.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};
use rustix::time::Timespec;

use super::mutex::{Patience, Round, Woken};
use super::owner;

/// Looks at the word before the processor is given away, after a pause that doubles each time: every look takes the word from the
/// processor that is changing it. All pauses together are 127; more cost more than a sleep when the holder needs our processor.
const SPINS: u32 = 7;
/// Looks at the word, giving the processor away between them, before sleeping.
const YIELDS: u32 = 50;
const SLICE_FIRST: Duration = Duration::from_millis(1);
/// A third of what a survivor may be late.
const SLICE_MAX: Duration = Duration::from_millis(50);
const LOWER_HALF: usize = if cfg!(target_endian = "little") { 0 } else { 4 };

/// A thread's patience with one lock word.
#[derive(Debug)]
pub(super) struct Waiting {
    rounds: u32,
    slice: Duration,
    /// `None` waits for ever.
    deadline: Option<Instant>,
}

impl Waiting {
    /// Waits as long as it takes.
    pub(super) fn forever() -> Self {
        Self {
            rounds: 0,
            slice: SLICE_FIRST,
            deadline: None,
        }
    }

    /// Waits at most this long; a time beyond the clock's end is for ever.
    pub(super) fn at_most(timeout: Duration) -> Self {
        Self {
            deadline: Instant::now().checked_add(timeout),
            ..Self::forever()
        }
    }

    fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

impl Patience<AtomicU64> for Waiting {
    fn round(&mut self) -> Round {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds <= SPINS {
            (0..1_u32 << (self.rounds - 1)).for_each(|_| spin_loop());
            return Round::Look;
        }
        // From here on whatever a peer does to the word, the time is looked at.
        if self.remaining() == Some(Duration::ZERO) {
            return Round::Over;
        }
        if self.rounds <= SPINS + YIELDS {
            yield_now();
            return Round::Look;
        }
        Round::Sleep
    }

    fn park(&mut self, word: &AtomicU64, expected: u64) -> Woken {
        let slice = self
            .remaining()
            .map_or(self.slice, |remaining| remaining.min(self.slice));
        self.slice = (self.slice * 2).min(SLICE_MAX);
        if sleep(word, expected, slice) {
            Woken::Called
        } else {
            Woken::Lapsed
        }
    }

    fn is_dead(&self, word: u64) -> bool {
        owner::is_dead(word)
    }
}

/// Wakes one thread that sleeps on the word, in whichever process.
#[cold]
pub(super) fn wake_one(word: &AtomicU64) {
    // It can only fail for an address that is none.
    let _ = futex::wake(lower_half(word), Flags::empty(), 1);
}

/// Sleeps while the word's lower half is that of `expected`; `true` if that changed or somebody called.
///
/// A signal that this process handles ends a sleep as well, and says nothing about the word: handled more often than a slice lasts, it would
/// keep whoever sleeps from ever looking at the holder.
fn sleep(word: &AtomicU64, expected: u64, time: Duration) -> bool {
    let Ok(timeout) = Timespec::try_from(time) else {
        return false;
    };
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is compared")]
    let expected = expected as u32;
    match futex::wait(lower_half(word), Flags::empty(), expected, Some(&timeout)) {
        Ok(()) | Err(Errno::AGAIN) => true,
        Err(Errno::INTR) => seeded!("shm_interrupted_is_called"),
        Err(_) => false,
    }
}

fn lower_half(word: &AtomicU64) -> &AtomicU32 {
    let half = std::ptr::from_ref(word)
        .cast::<AtomicU32>()
        .wrapping_byte_add(LOWER_HALF);
    // SAFETY: the half lies inside the word, which is alive and aligned for more. Nothing but the kernel reads through it.
    unsafe { &*half }
}
