//! A value larger than a word: two slots, and an index word that says which of them is the value.
//!
//! | index word | the value is in | a writer, who holds the lock, fills |
//! |---|---|---|
//! | even | slot 0 | slot 1, then stores index + 1 |
//! | odd | slot 1 | slot 0, then stores index + 1 |
//!
//! The store of the index word is the commit: killed before it, a writer has changed nothing; after it, everything. Readers take no lock.
//! They copy the slot and look at the index again: only when it has moved can a second writer have begun to fill what they were copying.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::word::Word;

/// Fills the slot that is not the value and makes it the value. The caller holds the lock, and alone.
#[inline]
pub(super) fn write<W: Word>(index: &W, slots: [&[W]; 2], words: impl Fn(usize) -> u64) {
    let now = index.load(Relaxed);
    let next = now.wrapping_add(1);
    if seeded!("shm_commit_early") {
        index.store(next, Release);
    }
    // Pairs with the fence in `read`: who sees any word stored below also sees the index moved past what it began with.
    W::fence(Release);
    for (at, word) in pick(slots, next).iter().enumerate() {
        word.store(words(at), Relaxed);
    }
    // Pairs with the `Acquire` in `read`: who sees the new index sees the whole slot.
    index.store(next, Release);
}

/// Copies the value out; `false` if it was replaced meanwhile, and what was copied is worth nothing.
#[inline]
pub(super) fn read<W: Word>(index: &W, slots: [&[W]; 2], mut take: impl FnMut(usize, u64)) -> bool {
    let seen = index.load(Acquire);
    for (at, word) in pick(slots, seen).iter().enumerate() {
        take(at, word.load(Relaxed));
    }
    W::fence(Acquire);
    index.load(Relaxed) == seen
}

#[inline]
fn pick<W>([even, odd]: [&[W]; 2], index: u64) -> &[W] {
    if index.is_multiple_of(2) { even } else { odd }
}
