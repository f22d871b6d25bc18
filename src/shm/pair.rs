//! Two neighbouring words, a lock word and the value it guards, compared and replaced by one instruction.
//!
//! | lock word | value | [`change`] does |
//! |---|---|---|
//! | 0: free | as last seen | leaves the lock word 0 and replaces the value, in one step: the commit |
//! | 0: free | another | nothing; tries again with that one, a limited number of times |
//! | anything else | any | nothing; its caller takes the lock |
//!
//! That the lock is free is proved by the very instruction that replaces the value, so a holder excludes this as it excludes other holders,
//! and whoever is killed has changed the value or not, and holds nothing. An instruction that fails has brought the words over from another
//! processor, which costs more than many changes. So one that fails is followed by a rest, in which that processor changes them as often as
//! it can, and one that fails after a rest at once by another try, while the words are here.
//!
//! Orderings: the instruction is a full fence. It reads the 0 that a holder stored with `Release`, so it comes after what that holder wrote,
//! and the next holder's `Acquire` reads the 0 that it left, or a later one.

use std::hint::spin_loop;
use std::ptr::NonNull;

use super::mutex::FREE;

/// How often it is tried. Who had no luck so often takes the lock, and so has its turn.
const TRIES: u32 = 16;
/// The shortest rest and the longest, in pauses of the processor.
const REST_MIN: u32 = 16;
const REST_MAX: u32 = 64;

/// A lock word, and the word behind it.
pub(super) trait Pair {
    /// Replaces both if they are `current`; else says what they are.
    fn compare_exchange(&self, current: (u64, u64), new: (u64, u64)) -> Result<(), (u64, u64)>;
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Done; this was there.
    From(u64),
    /// The function refused it.
    Refused,
    /// It needs the lock.
    Not,
}

/// Replaces the value by a function of it while nobody holds the lock. `seen` is what it probably is.
#[inline]
pub(super) fn change<P: Pair>(pair: &P, seen: u64, change: impl Fn(u64) -> Option<u64>) -> Changed {
    let Some(new) = change(seen) else {
        return Changed::Refused;
    };
    match pair.compare_exchange((FREE, seen), (FREE, new)) {
        Ok(()) => Changed::From(seen),
        Err(found) => change_again(pair, found, change),
    }
}

/// The tries after the first.
#[cold]
fn change_again<P: Pair>(pair: &P, found: (u64, u64), change: impl Fn(u64) -> Option<u64>) -> Changed {
    let mut found = found;
    let mut rest = REST_MIN;
    for attempt in 1..TRIES {
        let (lock, seen) = found;
        if lock != FREE && !seeded!("shm_added_under_a_guard") {
            return Changed::Not;
        }
        let Some(new) = change(seen) else {
            return Changed::Refused;
        };
        if !attempt.is_multiple_of(2) {
            (0..rest).for_each(|_| spin_loop());
            rest = (rest * 2).min(REST_MAX);
        }
        match pair.compare_exchange((lock, seen), (lock, new)) {
            Ok(()) => return Changed::From(seen),
            Err(now) => found = now,
        }
    }
    Changed::Not
}

/// A pair in shared memory, on a processor that has the instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbours(NonNull<u8>);

impl Neighbours {
    /// The pair at an address; `None` if this processor can't.
    ///
    /// # Safety
    ///
    /// - `at` is aligned to 16, and 16 bytes are mapped there as long as the pair is used.
    /// - They are only ever accessed by atomic instructions, by all processes.
    #[inline]
    pub(super) unsafe fn new(at: NonNull<u8>) -> Option<Self> {
        can_exchange().then_some(Self(at))
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn can_exchange() -> bool {
    std::arch::is_x86_feature_detected!("cmpxchg16b")
}

#[cfg(not(target_arch = "x86_64"))]
fn can_exchange() -> bool {
    false
}

impl Pair for Neighbours {
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn compare_exchange(&self, current: (u64, u64), new: (u64, u64)) -> Result<(), (u64, u64)> {
        let (lock, value): (u64, u64);
        let done: u8;
        // SAFETY:
        // - The promise to `new`: mapped, aligned to 16, atomic for everyone. The processor orders it with narrower atomics in it.
        // - `rbx`, which the compiler keeps for itself, is as it was afterwards. It may give it to operands that name no register, so the
        //   address names one.
        // - The function in `core::arch` is the same instruction, but is never inlined where the processor is not known.
        unsafe {
            std::arch::asm!(
                "xchg rbx, rsi",
                "lock cmpxchg16b [rdi]",
                "mov rbx, rsi",
                "sete {done}",
                in("rdi") self.0.as_ptr(),
                inout("rsi") new.0 => _,
                done = out(reg_byte) done,
                in("rcx") new.1,
                inout("rax") current.0 => lock,
                inout("rdx") current.1 => value,
                options(nostack),
            );
        }
        if done == 0 { Err((lock, value)) } else { Ok(()) }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn compare_exchange(&self, _: (u64, u64), _: (u64, u64)) -> Result<(), (u64, u64)> {
        // Nobody has such a pair.
        Err((!FREE, 0))
    }
}
