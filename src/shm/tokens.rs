//! The numbers of a lock's holdings: each is higher than that of every holding before, and the next one's higher still.
//!
//! A holder can lose the lock and go on unaware: someone released it. As long as that never happened, the holder is alone, and counting is a
//! store. Whoever releases a lock that is held first takes it from its holder, so that it is alone itself, and moves the count to a word
//! where late holders do not store. From then on holdings of one process are told apart by salts, so that a late guard frees nothing.
//!
//! | `late` | who counts | token | salt |
//! |---|---|---|---|
//! | 0 | the holder: a store to `tokens` | the number stored | 0 |
//! | not 0 | the holder: a fetch-and-add to `late`; then it looks whether the lock is still its own, and if not takes it again | the number added | from 1 on, by turns |
//!
//! The first value of `late` leaves out a number: the one that the holder which lost the lock first may be about to store.
//!
//! A death that is found out by somebody who has no guard to tell it with is written down, for the next guard:
//!
//! | `untold` | who leaves it, and how |
//! |---|---|
//! | 0 | who took the lock from a dead holder, or released a dead holder's lock: a store of 1, while the lock names it |
//! | 1 | who has counted its holding, and has a guard: a swap for 0, and the guard tells |
//!
//! Whoever is killed between two of these steps holds the lock, so the next one takes it from a dead holder again. Who is late writes 1 for a
//! death that may be told twice, and never takes away what nobody was told. One way is left: a release by somebody else may take the lock from
//! who has just taken it from the dead, before that one has written anything; then it is a later guard that is told, and not the next.
//!
//! Orderings: `late` is first written before the lock is given back with `Release`, so whoever takes it afterwards, with `Acquire`, sees it.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::mutex::{self, FREE, Hold, OWNERLESS, WAITERS};
use super::owner::{self, SALT_MASK};
use super::word::Word;

/// How often a release looks at a word that changes all the time, before it writes without looking.
const LOOKS: usize = 1000;

/// The words of a lock.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Words<W> {
    /// Who holds it: `mutex.rs`.
    pub(super) lock: W,
    tokens: W,
    late: W,
    salts: W,
    untold: W,
}

impl<W: Word> Words<W> {
    /// A free lock of these words, which are all zero.
    #[cfg(test)]
    pub(super) fn of([lock, tokens, late, salts, untold]: [W; 5]) -> Self {
        Self {
            lock,
            tokens,
            late,
            salts,
            untold,
        }
    }

    /// A free lock that nobody ever held.
    pub(super) fn initialise(&self) {
        self.lock.store(FREE, Relaxed);
        for word in [&self.tokens, &self.late, &self.salts, &self.untold] {
            word.store(0, Relaxed);
        }
    }

    /// The word to take the lock with.
    #[inline]
    pub(super) fn holder(&self, owner: u64) -> u64 {
        if self.late.load(Relaxed) == 0 {
            owner
        } else {
            self.salted(owner)
        }
    }

    /// The token of a holding that has just begun, and the holding as it is now; `None` if it was lost already.
    #[inline]
    pub(super) fn count(&self, hold: Hold, owner: u64) -> Option<(Hold, u64)> {
        if hold.abandoned() {
            self.remember();
        }
        let (hold, token) = if self.late.load(Relaxed) == 0 {
            let token = self.tokens.load(Relaxed).wrapping_add(1);
            self.tokens.store(token, Relaxed);
            (hold, token)
        } else {
            self.count_late(hold, owner)?
        };
        let told = self.untold.load(Relaxed) != 0 && self.untold.swap(0, Relaxed) != 0;
        Some((hold.told(hold.abandoned() || told), token))
    }

    /// Has the next guard tell of a death.
    #[cold]
    fn remember(&self) {
        if !seeded!("shm_death_forgotten") {
            self.untold.store(1, Relaxed);
        }
    }

    #[cold]
    fn count_late(&self, hold: Hold, owner: u64) -> Option<(Hold, u64)> {
        let hold = if hold.word() & !WAITERS == owner {
            // Taken in the manner of before: a late guard of this process may look the same.
            mutex::rename(&self.lock, hold, self.salted(owner))?
        } else {
            hold
        };
        // Pairs with itself: who counts after a later holder has counted sees that one's word below, and not its own.
        let token = self.late.fetch_add(1, AcqRel).wrapping_add(1);
        mutex::is_held(&self.lock, hold).then_some((hold, token))
    }

    /// Frees the lock, whoever holds it; `false` if it was free. Who holds it next is told if that one is dead.
    pub(super) fn release(&self, owner: u64, is_dead: impl Fn(u64) -> bool, wake: impl Fn(&W)) -> bool {
        for _ in 0..LOOKS {
            let seen = self.lock.load(Acquire);
            if seen == FREE {
                return false;
            }
            if seen & !WAITERS == OWNERLESS {
                if self.lock.compare_exchange(seen, FREE, Release, Relaxed).is_err() {
                    continue;
                }
                if seen & WAITERS != 0 {
                    wake(&self.lock);
                }
                return true;
            }
            if let Some(hold) = mutex::take_away(&self.lock, seen, self.salted(owner)) {
                self.expect_late_holders();
                // Looked at only now: who was alive when it was about to lose the lock may have died holding it.
                if is_dead(seen) {
                    self.remember();
                }
                mutex::give_back(&self.lock, hold, wake);
                return true;
            }
        }
        self.expect_late_holders();
        mutex::free(&self.lock, wake)
    }

    /// Moves the count, for whoever loses the lock may be about to store it.
    fn expect_late_holders(&self) {
        if seeded!("shm_late_holder_counts") {
            return;
        }
        let first = self.tokens.load(Relaxed).wrapping_add(2).max(1);
        // Once and for all: somebody who took the lock from whoever was about to do this has done it.
        let _ = self.late.compare_exchange(0, first, Relaxed, Relaxed);
    }

    fn salted(&self, owner: u64) -> u64 {
        owner::salted(owner, 1 + self.salts.fetch_add(1, Relaxed) % SALT_MASK)
    }
}
