//! The words of a ring, and the only ways to change them.
//!
//! Four kinds of words, each written by one side but for what is said here:
//!
//! | word | written by | states |
//! |---|---|---|
//! | a client's index (`requests.tail`, `replies.head`) | the client, by compare-and-exchange, or by a store where nothing is decided ([`pass`]) | a position, perhaps with `DECLINED`; the server adds `CLOSED`, after which no exchange of the client's succeeds |
//! | a server's index (`requests.head`, `replies.tail`) | the server | a position |
//! | a sleeper's word (`reader_parked`, `writer_parked`) | its sleeper stores [`AWAKE`] and [`PARKED`] | whoever calls the sleeper takes [`PARKED`] away, and rings once |
//!
//! Positions count bytes since the ring was made and only grow. What a client has published before `CLOSED` was set is in the ring; what
//! it publishes afterwards is nowhere, and the client knows: that makes a consumer's commit, and the end of an idle ring, one instruction.
//!
//! One move of an index calls nobody ([`advance`]): past a request that lay in the front, and nothing behind it. What that makes room for
//! is a record's worth in an empty stream, so a client that waits for room has published others since, and the move past those calls it.
//!
//! # Sleeping without missing anything
//!
//! | who moves an index | who is about to sleep |
//! |---|---|
//! | moves it ([`publish`], [`post`]) | stores [`PARKED`] ([`park`]) |
//! | *full fence* | *full fence* |
//! | looks for [`PARKED`] ([`call`]) | looks at the index again ([`park`]) |
//!
//! Of two stores each followed by a look at the other, one at least is seen: the sleeper stays awake, or it is called. It is called once, and
//! perhaps for nothing: who still waits then says so again before it sleeps on.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use crate::shm::word::Word;

/// In a client's index: the server lets it move no more.
pub(super) const CLOSED: u64 = 1 << 63;
/// In the index of what a client has read: what it read last goes back to where it came from.
pub(super) const DECLINED: u64 = 1 << 62;
/// The rest of an index: bytes since the ring was made.
pub(super) const POSITION: u64 = DECLINED - 1;

/// In a sleeper's word: it looks at the indices by itself.
pub(super) const AWAKE: u64 = 0;
/// In a sleeper's word: it has to be called.
pub(super) const PARKED: u64 = 1;

/// Moves a client's index on. False once it was closed, and then nothing has moved.
#[inline]
pub(super) fn publish<W: RingWord>(index: &W, from: u64, to: u64) -> bool {
    // SeqCst is also a Release: whoever sees the index sees the bytes before it (pairs with the Acquire in `look`). Its place in the
    // one order of such accesses, before the look in `call`, pairs with `park`.
    let moved = index.compare_exchange(from, to, SeqCst, Relaxed).is_ok();
    W::fence_after_seq_cst();
    moved
}

/// Moves the index of what a client has read past something that the server neither waits for nor decides about. It calls nobody.
///
/// It may take away `CLOSED`, and then nothing is decided there any more: what is delivered answers a request, and the server closes the index of
/// requests *before* this one. Were a later request still published, then before that close; so this store would have come before the
/// close of this index, which would have stayed.
#[inline]
pub(super) fn pass<W: RingWord>(index: &W, to: u64) {
    // The server overwrites what was read before (pairs with the Acquire in `look`).
    index.store(to, Release);
}

/// Moves a server's index on.
#[inline]
pub(super) fn post<W: RingWord>(index: &W, to: u64) {
    // As in `publish`.
    index.swap(to, SeqCst);
    W::fence_after_seq_cst();
}

/// The same after noting it where other threads of this side look. Whoever has read what the index tells of may have this side's next
/// bytes written by another thread, which must know where; so the note comes first.
#[inline]
pub(super) fn post_noted<W: RingWord>(note: &W, index: &W, to: u64) {
    if seeded!("ring_reply_unnoted") {
        post(index, to);
        return note.store(to, Relaxed);
    }
    note.store(to, Relaxed);
    post(index, to);
}

/// The same where nobody has to be called.
#[inline]
pub(super) fn advance<W: RingWord>(index: &W, to: u64) {
    // Whoever sees the index sees that what lay before it was read (pairs with the Acquire in `look`).
    index.store(to, Release);
}

/// Where an index is. Pairs with [`publish`] and [`post`]: the bytes before it are there.
#[inline]
pub(super) fn look<W: RingWord>(index: &W) -> u64 {
    index.load(Acquire)
}

/// After an index was moved: whether its sleeper has to be called. True for one caller only.
#[inline]
pub(super) fn call<W: RingWord>(sleeper: &W) -> bool {
    sleeper.load(SeqCst) != AWAKE && sleeper.swap(AWAKE, AcqRel) != AWAKE
}

/// Before sleeping: says so, then looks again. False if there is something to do, and then nothing was said.
#[inline]
pub(super) fn park<W: RingWord>(sleeper: &W, ready: impl FnOnce() -> bool) -> bool {
    // Pairs with `publish` and `post` followed by `call`. What is looked at next may be any load, so the fence stands here in memory too.
    sleeper.swap(PARKED, SeqCst);
    W::fence(SeqCst);
    if !seeded!("ring_sleeps_blindly") && ready() {
        // Whoever has called meanwhile rings for nothing.
        sleeper.store(AWAKE, Relaxed);
        return false;
    }
    true
}

/// Lets a client's index move no more; returns where it stays.
pub(super) fn close<W: RingWord>(index: &W) -> u64 {
    index.add_bits(CLOSED)
}

/// The same, but only if it is still here: nothing was published that has not been seen.
pub(super) fn close_at<W: RingWord>(index: &W, at: u64) -> bool {
    index.compare_exchange(at, at | CLOSED, AcqRel, Relaxed).is_ok()
}

/// A word of a ring: memory in production, loom's model of it in tests.
pub(super) trait RingWord: Word {
    /// Sets bits and returns what was there before, with `AcqRel`.
    fn add_bits(&self, bits: u64) -> u64;

    /// After a `SeqCst` access that writes, and before a `SeqCst` load of another word: nothing in memory, where all such accesses have
    /// one order; a fence in a model that does not give them one.
    fn fence_after_seq_cst();
}

impl RingWord for AtomicU64 {
    #[inline]
    fn add_bits(&self, bits: u64) -> u64 {
        self.fetch_or(bits, AcqRel)
    }

    #[inline]
    fn fence_after_seq_cst() {}
}
