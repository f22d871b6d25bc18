//! The lock word: who holds it, in one word that is taken and given back by one instruction.
//!
//! ```text
//! bit 63   62                          29 28                7 6       1   0
//!    | U |    start time of the process, 34 | process id, 22    | salt, 6 | W |
//! ```
//! `W` says that threads sleep, or may sleep, on the word. `U` says that somebody died, or may have died, holding it, and that this is untold.
//! The salt tells two holdings of one process apart: `tokens.rs`.
//!
//! | word | state | who leaves it, and how |
//! |---|---|---|
//! | 0 | free | anyone: CAS to `holder` (to `holder+W` after having slept: others may sleep still). An addition leaves it 0: `pair.rs` |
//! | U | free, and the next one is to be told | anyone: CAS to `holder+U`, and is told |
//! | holder | held, nobody sleeps | its holder: CAS to 0. A thread about to sleep: CAS to `holder+W` |
//! | holder + W | held, some may sleep | its holder: CAS to 0, then wake one |
//! | holder (+ W), whose process is proved dead | abandoned | anyone who proved it: CAS to `itself+U (+ W)`, and is told |
//! | holder + U (+ W) | held as any other | as any other; the holder of a `Lock` takes `U` away as it gets its guard: `tokens.rs` |
//! | holder (+ W), alive or dead | to be released by another ([`take_away`]) | that one: CAS to `itself+U (+ W)`, then CAS to 0, or to U if a death is to be told: `tokens.rs` |
//! | [`OWNERLESS`] (+ W) | held by nobody ([`leave`]) | a release, by anyone: CAS to 0, then wake one if W |
//! | anything else | a peer scribbled | its process id names no process, or one whose start time differs: as abandoned |
//!
//! The holder is named by the very instruction that takes the word, so there is no moment at which a death leaves it taken by nobody. The same
//! instruction says that there is a death to tell, so there is no moment at which whoever takes the word away from the teller can't see it.
//! A thread that was woken and has no more time marks the word with `W` when it leaves, for those who sleep on.
//! A thread that was woken and dies before it takes the word leaves others asleep on a free word: every sleep is a bounded slice, after
//! which the word is looked at again. After a slice that saw no change, the holder is examined, and its death proved or not assumed.
//!
//! Orderings: the CAS that takes is `Acquire` and pairs with the `Release` of the one that gives back, so a holder sees what the holder
//! before wrote. What an abandoned holder wrote was ordered by its death, which its examiner has seen through the kernel.

use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release};

use super::word::Word;

/// Nobody holds the word.
pub(super) const FREE: u64 = 0;
/// Threads may sleep on the word.
pub(super) const WAITERS: u64 = 1;
/// Held by nobody, until someone frees it: a salt without a process.
pub(super) const OWNERLESS: u64 = 1 << 1;

/// Somebody died holding the word, or may have, and nobody was told.
pub(super) const UNTOLD: u64 = 1 << 63;

/// How often a thread that gives up looks at a word that changes all the time: so often nobody is that unlucky but by a peer's will.
const LOOKS: usize = 100;

/// How a thread waits, and what it can find out meanwhile.
pub(super) trait Patience<W> {
    /// Lets a little time pass, more with every round, and says what to do in this one.
    fn round(&mut self) -> Round;
    /// Sleeps while the word is `expected`, for a slice at most.
    fn park(&mut self, word: &W, expected: u64) -> Woken;
    /// Whether the process that a word names is proved to have ended.
    fn is_dead(&self, word: u64) -> bool;
}

/// What a round of waiting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Look at the word, and go on.
    Look,
    /// Look at the word, and sleep if it is taken.
    Sleep,
    /// The time is up.
    Over,
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// The word changed, or someone woke us.
    Called,
    /// The slice passed, or a signal cut it short, and nothing happened.
    Lapsed,
}

/// A word that is held: proof of one taking, to give it back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// The word as it was taken; `W` may have joined since.
    word: u64,
    abandoned: bool,
}

impl Hold {
    /// The word as it was taken.
    #[inline]
    pub(super) fn word(self) -> u64 {
        self.word
    }

    /// Whether it was taken from a dead holder, or somebody died holding it before and nobody was told.
    #[inline]
    pub(super) fn abandoned(self) -> bool {
        self.abandoned
    }
}

/// Whether nobody holds a word.
pub(super) fn is_free(word: u64) -> bool {
    word & !UNTOLD == FREE
}

/// Takes a free word that has nothing to tell, or leaves it as it is.
#[inline]
pub(super) fn take_free<W: Word>(word: &W, holder: u64) -> Option<Hold> {
    word.compare_exchange(FREE, holder, Acquire, Relaxed)
        .is_ok()
        .then_some(Hold {
            word: holder,
            abandoned: false,
        })
}

/// Takes a free or abandoned word, or leaves it as it is.
pub(super) fn try_take<W: Word, P: Patience<W>>(word: &W, holder: u64, patience: &P) -> Option<Hold> {
    let seen = word.load(Relaxed);
    if is_free(seen) {
        return take_seen(word, seen, holder);
    }
    // Taken before it is known what is taken over: the proof is about this very word, so it can only go to one.
    patience.is_dead(seen).then(|| take_over(word, seen, holder)).flatten()
}

/// Takes the word, waiting as long as `patience` has any.
#[cold]
pub(super) fn take<W: Word, P: Patience<W>>(word: &W, holder: u64, patience: &mut P) -> Option<Hold> {
    // Once we have slept we may have been woken in place of others, who sleep on.
    let mut holder = holder;
    let mut examine = false;
    loop {
        let round = patience.round();
        if round == Round::Over {
            return give_up(word, holder, patience);
        }
        let seen = word.load(Relaxed);
        if is_free(seen) {
            if let Some(hold) = take_seen(word, seen, holder) {
                return Some(hold);
            }
            continue;
        }
        if examine && patience.is_dead(seen) {
            if let Some(hold) = take_over(word, seen, holder) {
                return Some(hold);
            }
            continue;
        }
        examine = false;
        if round == Round::Look {
            continue;
        }
        let marked = seen | WAITERS;
        if marked != seen && word.compare_exchange(seen, marked, Relaxed, Relaxed).is_err() {
            continue;
        }
        holder |= WAITERS;
        examine = patience.park(word, marked) == Woken::Lapsed;
    }
}

/// Takes the word if it is free or abandoned. If not, and the thread has slept, it says that others may sleep still: the wake-up it had may
/// have been theirs, and whoever took the word meanwhile may not know of them.
fn give_up<W: Word, P: Patience<W>>(word: &W, holder: u64, patience: &P) -> Option<Hold> {
    for _ in 0..LOOKS {
        if let Some(hold) = try_take(word, holder, patience) {
            return Some(hold);
        }
        let seen = word.load(Relaxed);
        let marked = seen | (holder & WAITERS);
        if marked == seen || seeded!("shm_wake_up_kept") {
            return None;
        }
        if !is_free(seen) && word.compare_exchange(seen, marked, Relaxed, Relaxed).is_ok() {
            return None;
        }
    }
    None
}

/// Takes a word that was seen free, with a death to tell or without; `None` if it changed.
fn take_seen<W: Word>(word: &W, seen: u64, holder: u64) -> Option<Hold> {
    exchange(word, seen, holder | seen, seen != FREE)
}

/// Takes a word that was seen held from its holder, whether that lives or not; `None` if it changed. Until it is known whether there is a
/// death to tell, the word says that there may be one.
pub(super) fn take_away<W: Word>(word: &W, seen: u64, holder: u64) -> Option<Hold> {
    exchange(word, seen, holder | UNTOLD | (seen & WAITERS), false)
}

/// Holds the word under another name; `None` if it was no longer this holding's.
pub(super) fn rename<W: Word>(word: &W, hold: Hold, holder: u64) -> Option<Hold> {
    // Acquire as well: a holding of this process that looks the same may have begun meanwhile, and then this one goes on in its place.
    let left = replace(word, hold, AcqRel, |left| holder | (left & WAITERS))?;
    Some(Hold {
        word: holder | (left & WAITERS),
        ..hold
    })
}

/// Whether the word is this holding's.
pub(super) fn is_held<W: Word>(word: &W, hold: Hold) -> bool {
    word.load(Relaxed) | WAITERS == hold.word | WAITERS
}

/// Takes the word from the dead holder it names, unless somebody else did.
fn take_over<W: Word>(word: &W, dead: u64, holder: u64) -> Option<Hold> {
    if seeded!("shm_dead_kept") {
        return None;
    }
    let told = !seeded!("shm_death_untold");
    exchange(word, dead, holder | UNTOLD | (dead & WAITERS), told)
}

fn exchange<W: Word>(word: &W, seen: u64, taken: u64, abandoned: bool) -> Option<Hold> {
    word.compare_exchange(seen, taken, Acquire, Relaxed)
        .is_ok()
        .then_some(Hold { word: taken, abandoned })
}

/// Gives a held word back; `false` if it was no longer this holding's.
#[inline]
pub(super) fn give_back<W: Word>(word: &W, hold: Hold, wake: impl FnOnce(&W)) -> bool {
    give_back_as(word, hold, FREE, wake)
}

/// The same, and has the next one be told of a death.
pub(super) fn give_back_untold<W: Word>(word: &W, hold: Hold, wake: impl FnOnce(&W)) -> bool {
    give_back_as(word, hold, UNTOLD, wake)
}

#[inline]
fn give_back_as<W: Word>(word: &W, hold: Hold, free: u64, wake: impl FnOnce(&W)) -> bool {
    replace(word, hold, Release, |_| free).is_some_and(|left| {
        if left & WAITERS != 0 && !seeded!("shm_sleepers_forgotten") {
            wake(word);
        }
        true
    })
}

/// Leaves the word held by nobody; `false` if it was no longer this holding's.
pub(super) fn leave<W: Word>(word: &W, hold: Hold) -> bool {
    replace(word, hold, Release, |left| OWNERLESS | (left & WAITERS)).is_some()
}

/// Frees the word, whoever holds it; `false` if it was free. Nobody knows what became of its holder, so the next one is told.
pub(super) fn free<W: Word>(word: &W, wake: impl FnOnce(&W)) -> bool {
    let left = word.swap(UNTOLD, Release);
    if left & WAITERS != 0 {
        wake(word);
    }
    !is_free(left)
}

/// Puts something in place of this holding, and returns the word that stood there.
#[inline]
fn replace<W: Word>(word: &W, hold: Hold, order: Ordering, new: impl Fn(u64) -> u64) -> Option<u64> {
    let taken = hold.word;
    match word.compare_exchange(taken, new(taken), order, Relaxed) {
        Ok(_) => Some(taken),
        // A thread went to sleep meanwhile. That bit only ever joins, so there is no third form.
        Err(now) if now == taken | WAITERS => word.compare_exchange(now, new(now), order, Relaxed).ok(),
        Err(_) => None,
    }
}
