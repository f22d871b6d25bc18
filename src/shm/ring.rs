//! Rings: a lane's bytes in memory that a client and its server share, one stream in each direction.
//!
//! The server makes the segment and keeps a [`ServerEnd`]; the client maps it and keeps a [`ClientEnd`]. A stream is cut into records: a
//! word with the length of what follows, then so many bytes, filled up to whole words. A side writes a record, moves its index, and calls
//! the other side if that sleeps; how is the business of whoever owns the ends, which only learns *that* a call is due. Nothing here waits.
//!
//! - **A small record travels with its index.** One that comes when all before it was read lies in the [`Front`], in the very cache line
//!   of the index that tells of it: a small call then moves one line in each direction. Its place in the stream stays empty.
//! - **The end of a delivery is the client's index.** A reply's last record stays unconsumed until the client has read it; the exchange
//!   that moves its index past that record makes the reply's items the client's, or with a mark gives them back. The server closes that
//!   index before it decides what became of them, so each is committed or is not, whatever the client is doing ([`words`]).
//! - **Both sides are strangers to each other.** Any word may hold anything at any time. An index is read once, bounded, and what lies
//!   before it is copied out before anybody believes it. Words and payload are only touched as atomics.
//! - **An idle ring costs its first page.** Once the server has closed an index that has nothing behind it, the client goes back to its socket,
//!   and the pages of both streams are given back until it asks for the ring again.
//!
//! A forked child does not have a ring's memory: its parent's streams are none of its business.

mod client;
#[cfg(test)]
mod models;
mod server;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use client::ClientEnd;
pub(crate) use server::{Fate, ServerEnd};

use std::io::{self, ErrorKind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::segment::{PAGE_SIZE, Segment};

/// What one direction holds, in bytes.
const CAPACITY: u64 = 64 << 10;
const WORD: u64 = size_of::<u64>() as u64;
const WORDS: usize = (CAPACITY / WORD) as usize;
/// What a front holds, in bytes.
pub(crate) const FRONT_BYTES: usize = FRONT_WORDS * size_of::<u64>();
const FRONT_WORDS: usize = 6;
/// What a ring's two directions take in memory, at most, in bytes.
pub(crate) const SEGMENT_BYTES: usize = size_of::<Layout>();

/// Words that different sides write stand so far apart that they share neither a cache line nor the pair of lines that is fetched at once.
#[repr(C, align(128))]
struct Apart<T>(T);

/// The segment. Every field is atomic, so that any bytes are a valid one.
#[repr(C)]
struct Layout {
    requests: Indices,
    replies: Indices,
    /// Words that the server sets when it sleeps.
    server: Apart<Sleepers>,
    /// Words that the client sets when it sleeps.
    client: Apart<Sleepers>,
    worker: Apart<Worker>,
    _page: [Apart<[AtomicU64; 16]>; 25],
    request_bytes: [AtomicU64; WORDS],
    reply_bytes: [AtomicU64; WORDS],
}

#[repr(C)]
struct Indices {
    tail: Apart<Tail>,
    /// Bytes read.
    head: Apart<AtomicU64>,
}

#[repr(C)]
struct Tail {
    /// Bytes written.
    index: AtomicU64,
    front: Front,
}

/// A record in the cache line of its index.
///
/// Its writer overwrites it without a look at what was read, so it only writes it when something has come back since: a request after the
/// last reply, a reply after the last request. Lanes carry one call at a time, so whoever answers has read.
#[repr(C)]
struct Front {
    /// Eight times the record's position, and the count of its bytes, which is below that. The next record has another.
    mark: AtomicU64,
    bytes: [AtomicU64; FRONT_WORDS],
}

/// What the server's worker tells of itself.
#[repr(C)]
struct Worker {
    /// Where it runs: a processor's number and one, or zero if that is of no use to the client.
    processor: AtomicU64,
    /// Not zero if it looks at more rings than there are processors for each worker.
    many: AtomicU64,
}

#[repr(C)]
struct Sleepers {
    /// This side waits for bytes.
    reader: AtomicU64,
    /// This side waits for room.
    writer: AtomicU64,
}

const _: () = assert!(std::mem::offset_of!(Layout, request_bytes) == PAGE_SIZE);
const _: () = assert!(size_of::<Tail>() == 64, "an index and its front are one cache line");
const _: () = assert!(CAPACITY.is_power_of_two() && SEGMENT_BYTES.is_multiple_of(PAGE_SIZE));

/// The mapped segment.
struct Memory {
    segment: Arc<Segment>,
    layout: NonNull<Layout>,
}

// SAFETY: the layout lies in a mapping of the whole process, which `segment` keeps.
unsafe impl Send for Memory {}
// SAFETY: as above; all of it is atomics.
unsafe impl Sync for Memory {}

impl Memory {
    fn of(segment: Arc<Segment>) -> io::Result<Self> {
        let address = segment
            .address(0, SEGMENT_BYTES)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "shared memory too small for a ring"))?;
        segment.keep_from_children()?;
        let layout = address.cast();
        Ok(Self { segment, layout })
    }

    #[inline]
    fn requests(&self) -> Stream<'_> {
        let layout = self.layout();
        Stream {
            front: &layout.requests.tail.0.front,
            bytes: &layout.request_bytes,
        }
    }

    #[inline]
    fn replies(&self) -> Stream<'_> {
        let layout = self.layout();
        Stream {
            front: &layout.replies.tail.0.front,
            bytes: &layout.reply_bytes,
        }
    }

    #[inline]
    fn layout(&self) -> &Layout {
        // SAFETY: the mapping is as large as a layout, aligned to a page and lives as long as `self`; every field is an atomic, for which
        // any bytes are valid and which others may change.
        unsafe { self.layout.as_ref() }
    }
}

/// One direction's records.
#[derive(Clone, Copy)]
struct Stream<'a> {
    front: &'a Front,
    bytes: &'a [AtomicU64; WORDS],
}

impl<'a> Stream<'a> {
    /// Writes a record of some bytes, as many as fit between `at` and `end`; returns how many bytes that were and where the record ends.
    /// Nothing if there is room for none.
    #[inline]
    fn write(self, at: u64, end: u64, bytes: &[u8]) -> Option<(usize, u64)> {
        let room = end.checked_sub(at)?.checked_sub(WORD).filter(|room| *room > 0)?;
        let count = bytes.len().min(usize::try_from(room).ok()?);
        let bytes = bytes.get(..count)?;
        self.bytes.get(place(at))?.store(count as u64, Relaxed);
        let (places, around) = self.places(at + WORD);
        let (first, rest) = bytes.split_at(count.min(size_of_val(places)));
        store(places, first);
        store(around, rest);
        Some((count, at + WORD + (count as u64).next_multiple_of(WORD)))
    }

    /// Writes a record of all of these bytes into the front; returns where the record ends. Nothing if it does not fit there, or `end` comes
    /// before that.
    #[expect(
        clippy::inline_always,
        reason = "nearly every record takes this way, and it is short"
    )]
    #[inline(always)]
    fn write_front(self, at: u64, end: u64, bytes: &[u8]) -> Option<u64> {
        if bytes.is_empty() || bytes.len() > FRONT_BYTES {
            return None;
        }
        let stop = self.mark_front(at, end, bytes.len() as u64)?;
        store(&self.front.bytes, bytes);
        Some(stop)
    }

    /// The same with a record of the first so many of these bytes, copied without asking how many they are.
    #[inline]
    fn write_whole_front(self, at: u64, end: u64, record: &[u8; FRONT_BYTES], count: u64) -> Option<u64> {
        let stop = self.mark_front(at, end, count)?;
        for (place, word) in self.front.bytes.iter().zip(record.as_chunks().0) {
            place.store(u64::from_le_bytes(*word), Relaxed);
        }
        Some(stop)
    }

    /// Says of which record the front is going to hold so many bytes; returns where that ends. Nothing if `end` comes before.
    #[inline]
    fn mark_front(self, at: u64, end: u64, count: u64) -> Option<u64> {
        let stop = at + WORD + whole_words(count);
        if stop > end {
            return None;
        }
        self.front.mark.store(mark(at) + count, Relaxed);
        Some(stop)
    }

    /// Takes back a record that was written there and not told of.
    #[cold]
    fn clear_front(self) {
        self.front.mark.store(0, Relaxed);
    }

    /// Appends what the record at `at` holds; returns how many bytes that were and where the record ends. Nothing if it claims to go on
    /// behind `end`, or holds nothing.
    #[expect(
        clippy::inline_always,
        reason = "what a small call does here is a part of one straight line"
    )]
    #[inline(always)]
    fn read(self, at: u64, end: u64, into: &mut Vec<u8>) -> Option<(usize, u64)> {
        let Some(count) = self.in_front(at) else {
            return self.read_behind(at, end, into);
        };
        let stop = at + WORD + whole_words(count);
        if stop > end {
            return None;
        }
        let mut record = [0; FRONT_BYTES];
        load(&self.front.bytes, &mut record);
        let count = usize::try_from(count).ok()?;
        let before = into.len();
        // All of it, because so many bytes are copied without asking how many they are.
        into.extend_from_slice(&record);
        into.truncate(before + count);
        Some((count, stop))
    }

    /// The same for a record that does not lie in the front.
    #[inline(never)]
    fn read_behind(self, at: u64, end: u64, into: &mut Vec<u8>) -> Option<(usize, u64)> {
        let count = self.bytes.get(place(at))?.load(Relaxed);
        let stop = count.checked_next_multiple_of(WORD)?.checked_add(at + WORD)?;
        if count == 0 || stop > end {
            return None;
        }
        let count = usize::try_from(count).ok()?;
        let before = into.len();
        let filled = usize::try_from(stop - at - WORD).ok()?;
        into.resize(before + filled, 0);
        let (places, around) = self.places(at + WORD);
        let (first, rest) = into.get_mut(before..)?.split_at_mut(filled.min(size_of_val(places)));
        load(places, first);
        load(around, rest);
        into.truncate(before + count);
        Some((count, stop))
    }

    /// The words from a position on, and those before it, where it goes on.
    #[inline]
    fn places(self, position: u64) -> (&'a [AtomicU64], &'a [AtomicU64]) {
        let (around, places) = self.bytes.split_at(place(position));
        (places, around)
    }

    /// How many bytes the record at `at` has, if it lies in the front.
    #[inline]
    fn in_front(self, at: u64) -> Option<u64> {
        let count = self.front.mark.load(Relaxed).wrapping_sub(mark(at));
        (1..=FRONT_BYTES as u64).contains(&count).then_some(count)
    }

    /// Copies out the record of so many bytes that lies in the front; also returns where it ends.
    #[inline]
    fn read_front(self, count: u64, at: u64, record: &mut [u8; FRONT_BYTES]) -> Option<(&[u8], u64)> {
        load(&self.front.bytes, record);
        let bytes = record.get(..usize::try_from(count).ok()?)?;
        Some((bytes, at + WORD + whole_words(count)))
    }
}

/// Writes bytes into words, the last one filled up with zeros.
#[inline]
fn store(places: &[AtomicU64], bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks();
    let mut words = words.iter();
    for place in places {
        match words.next() {
            Some(word) => place.store(u64::from_le_bytes(*word), Relaxed),
            None if rest.is_empty() => return,
            None => return place.store(last_word(bytes, rest), Relaxed),
        }
    }
}

/// The bytes that are left over as a word.
#[inline]
fn last_word(bytes: &[u8], rest: &[u8]) -> u64 {
    if let Some(last) = bytes.last_chunk() {
        // Its first bytes were written before.
        u64::from_le_bytes(*last) >> (u64::BITS as usize - 8 * rest.len())
    } else {
        let place_byte = |word, &byte| word << 8 | u64::from(byte);
        rest.iter().rev().fold(0, place_byte)
    }
}

/// Reads words into whole words of bytes.
#[inline]
fn load(places: &[AtomicU64], bytes: &mut [u8]) {
    for (word, place) in bytes.as_chunks_mut().0.iter_mut().zip(places) {
        *word = place.load(Relaxed).to_le_bytes();
    }
}

/// What a few bytes take in words.
#[inline]
const fn whole_words(count: u64) -> u64 {
    (count + (WORD - 1)) & !(WORD - 1)
}

/// The mark of a record at a position, without its count. Positions are multiples of a word, so the count is told apart.
#[inline]
const fn mark(position: u64) -> u64 {
    position.wrapping_mul(WORD)
}

/// The word at a position.
#[inline]
const fn place(position: u64) -> usize {
    (position / WORD % WORDS as u64) as usize
}

#[cold]
fn nonsense() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the ring's memory holds nonsense")
}
