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
//! # Who is told of a death
//!
//! The lock word itself says that a death is untold, as [`UNTOLD`], and keeps saying so until there is a guard to tell it:
//!
//! | step | lock word before | after |
//! |---|---|---|
//! | somebody takes it from a dead holder | the dead | itself + `U` |
//! | it goes on under a name that no other holding has | itself + `U` | itself, salted, + `U` |
//! | it is counted, and the last step makes its guard, which tells | itself, salted, + `U` | itself, salted |
//! | somebody else releases it | any holder | the releaser + `U` |
//! | the releaser has found out that the holder died, or that its word had `U`; or not | the releaser + `U` | `U`; or 0 |
//! | somebody takes it when it is free | `U` | itself + `U`, and on as above |
//!
//! Each step is one exchange of that one word. Whoever loses the lock between two of them fails at the next and has no guard, and the word that
//! was taken from it had `U`, so the next one is told; whoever is killed holds the lock, and is found dead. So a death is told to the first
//! guard there is after it, and to no other. Where two release one holding at the same time the second can't know yet what the first would
//! have found out, and the next guard is told though perhaps nobody died: what the lock protects may be half changed all the same.
//!
//! Orderings: `late` is first written before the lock is given back with `Release`, so whoever takes it afterwards, with `Acquire`, sees it.
//! Who goes on under another name takes the lock anew, with `Acquire`, and only then looks at `late`: if its word is by then that of a later
//! holding of its process, from which it now has taken the lock, it is counted as one.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::mutex::{self, FREE, Hold, OWNERLESS, UNTOLD, WAITERS};
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
}

impl<W: Word> Words<W> {
    /// A free lock of these words, which are all zero.
    #[cfg(test)]
    pub(super) fn of([lock, tokens, late, salts]: [W; 4]) -> Self {
        Self {
            lock,
            tokens,
            late,
            salts,
        }
    }

    /// A free lock that nobody ever held.
    pub(super) fn initialise(&self) {
        self.lock.store(FREE, Relaxed);
        for word in [&self.tokens, &self.late, &self.salts] {
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
            return self.count_abandoned(hold, owner);
        }
        self.count_alone(hold, owner)
    }

    #[inline]
    fn count_alone(&self, hold: Hold, owner: u64) -> Option<(Hold, u64)> {
        if self.late.load(Relaxed) == 0 {
            let token = self.tokens.load(Relaxed).wrapping_add(1);
            self.tokens.store(token, Relaxed);
            Some((hold, token))
        } else {
            self.count_late(hold, owner)
        }
    }

    #[cold]
    fn count_abandoned(&self, hold: Hold, owner: u64) -> Option<(Hold, u64)> {
        // Until the last step the word says that the death is untold. No other holding looks like this one, so that step tells it once.
        let hold = mutex::rename(&self.lock, hold, self.salted(owner) | UNTOLD)?;
        let (hold, token) = self.count_alone(hold, owner)?;
        let hold = mutex::rename(&self.lock, hold, hold.word() & !(UNTOLD | WAITERS))?;
        Some((hold, token))
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
            if mutex::is_free(seen) {
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
                let untold = (seen & UNTOLD != 0 || is_dead(seen)) && !seeded!("shm_death_forgotten");
                if untold {
                    mutex::give_back_untold(&self.lock, hold, wake);
                } else {
                    mutex::give_back(&self.lock, hold, wake);
                }
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
