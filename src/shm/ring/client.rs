//! The client's end of a ring.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::words::{self, DECLINED, POSITION};
use super::{CAPACITY, Layout, Memory, nonsense};
use crate::shm::segment::Segment;

/// The client's end. It belongs to one thread at a time.
pub(crate) struct ClientEnd {
    memory: Memory,
    /// Our index of requests, as we last stored it.
    written: AtomicU64,
    /// How far the server had read when we last looked.
    server_read: AtomicU64,
    /// Our index of replies, as we last stored it.
    taken: AtomicU64,
    /// How far replies were copied out: ahead of our index while what was copied is not ours yet.
    read: AtomicU64,
    /// A reply has come since the last request, or there was none.
    answered: AtomicBool,
}

impl ClientEnd {
    /// Maps a ring that the server made.
    pub(crate) fn open(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let memory = Memory::of(Segment::open(descriptor)?)?;
        Ok(Self {
            memory,
            written: AtomicU64::new(0),
            server_read: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            read: AtomicU64::new(0),
            answered: AtomicBool::new(true),
        })
    }

    /// Writes as much as there is room for: `WouldBlock` if there is none, `BrokenPipe` once the server has closed the ring.
    #[expect(
        clippy::inline_always,
        reason = "what a small call does here is a part of one straight line"
    )]
    #[inline(always)]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.written.load(Ordering::Relaxed);
        let end = self.server_read.load(Ordering::Relaxed) + CAPACITY;
        if self.answered.load(Ordering::Relaxed)
            && let Some(end) = self.memory.requests().write_front(written, end, bytes)
        {
            if self.publish(written, end) {
                return Ok(bytes.len());
            }
            // What was written there now is nowhere, and something else may come to its place. What was there before has been read.
            self.memory.requests().clear_front();
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.send_records(written, bytes)
    }

    #[inline(never)]
    fn send_records(&self, before: u64, bytes: &[u8]) -> io::Result<usize> {
        let is_closed = words::look(&self.layout().requests.tail.0.index) & words::CLOSED != 0;
        if is_closed && !self.is_unread() && !seeded!("ring_fills_closed") {
            // A ring that rests has given its pages back, and would take them again for what goes another way.
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut written = before;
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            let end = self.server_read.load(Ordering::Relaxed) + CAPACITY;
            match self.memory.requests().write(written, end, rest) {
                Some((count, end)) => (written, sent) = (end, sent + count),
                None if self.look_for_room(written)? => {}
                None if sent > 0 => break,
                None => return Err(ErrorKind::WouldBlock.into()),
            }
        }
        if self.publish(before, written) {
            Ok(sent)
        } else {
            Err(ErrorKind::BrokenPipe.into())
        }
    }

    /// Appends the next record, and leaves it in the ring until [`Self::take`]. `WouldBlock` if there is none.
    #[expect(
        clippy::inline_always,
        reason = "what a small call does here is a part of one straight line"
    )]
    #[inline(always)]
    pub(crate) fn receive(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        let read = self.read.load(Ordering::Relaxed);
        let tail = words::look(&self.layout().replies.tail.0.index);
        match tail.wrapping_sub(read) {
            0 => return Err(ErrorKind::WouldBlock.into()),
            1..=CAPACITY => {}
            _ => return Err(nonsense()),
        }
        let (count, end) = self.memory.replies().read(read, tail, into).ok_or_else(nonsense)?;
        self.read.store(end, Ordering::Relaxed);
        self.answered.store(true, Ordering::Relaxed);
        Ok(count)
    }

    /// Whether there is something to receive.
    #[inline]
    pub(crate) fn has_replies(&self) -> bool {
        words::look(&self.layout().replies.tail.0.index) != self.read.load(Ordering::Relaxed)
    }

    /// Whether something was received and not taken.
    #[inline]
    pub(crate) fn is_holding(&self) -> bool {
        self.read.load(Ordering::Relaxed) != self.taken.load(Ordering::Relaxed) & POSITION
    }

    /// Whether the server has not read all that was written. It says so before it looks at what it has read.
    pub(crate) fn is_unread(&self) -> bool {
        words::look(&self.layout().requests.head.0) != self.written.load(Ordering::Relaxed)
    }

    /// Takes what was received: from here on it is ours. False if the server has closed the ring: then it is not, and never will be.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.move_on(0)
    }

    /// Leaves behind what was received, all that the server had to say. It is not told at once, and can't tell otherwise than by looking.
    ///
    /// A reply that left half of the ring free needs no more: whoever has room does not sleep until there is some. False if it was larger; then
    /// it has to be taken.
    #[inline]
    pub(crate) fn pass(&self) -> bool {
        let (from, to) = (self.taken.load(Ordering::Relaxed), self.read.load(Ordering::Relaxed));
        let left = to - (from & POSITION);
        if left == 0 {
            // Whatever was said about the last one stands: it may have been given back.
            return true;
        }
        if left > CAPACITY / 2 {
            return false;
        }
        self.taken.store(to, Ordering::Relaxed);
        words::pass(&self.layout().replies.head.0, to);
        true
    }

    /// Gives what was received back.
    pub(crate) fn decline(&self) -> bool {
        self.move_on(DECLINED)
    }

    /// Whether the server sleeps until there is a request; the caller then has to wake it.
    #[inline]
    pub(crate) fn calls_reader(&self) -> bool {
        words::call(&self.layout().server.0.reader)
    }

    /// Whether the server sleeps until there is room for a reply; the caller then has to wake it.
    #[inline]
    pub(crate) fn calls_writer(&self) -> bool {
        words::call(&self.layout().server.0.writer)
    }

    /// Before sleeping until there is a reply. False if there is one.
    pub(crate) fn park_reader(&self) -> bool {
        words::park(&self.layout().client.0.reader, || self.has_replies())
    }

    /// Before sleeping until there is room for a request. False if there is some.
    pub(crate) fn park_writer(&self) -> bool {
        let written = self.written.load(Ordering::Relaxed);
        words::park(&self.layout().client.0.writer, || {
            self.look_for_room(written).unwrap_or(true)
        })
    }

    /// We look by ourselves again: calls are for nothing.
    pub(crate) fn unpark(&self) {
        let sleepers = &self.layout().client.0;
        sleepers.reader.store(words::AWAKE, Ordering::Relaxed);
        sleepers.writer.store(words::AWAKE, Ordering::Relaxed);
    }

    /// The processor that the server's worker runs on, as it says.
    pub(crate) fn processor(&self) -> Option<usize> {
        let processor = self.layout().worker.0.processor.load(Ordering::Relaxed);
        usize::try_from(processor.checked_sub(1)?).ok()
    }

    /// Whether that worker looks at more rings than there are processors for it, as it says.
    pub(crate) fn is_one_of_many(&self) -> bool {
        self.layout().worker.0.many.load(Ordering::Relaxed) != 0
    }

    #[inline]
    fn layout(&self) -> &Layout {
        self.memory.layout()
    }

    /// Tells of what was written. False once the server has closed the ring.
    #[inline]
    fn publish(&self, from: u64, to: u64) -> bool {
        if !words::publish(&self.layout().requests.tail.0.index, from, to) {
            return false;
        }
        self.answered.store(false, Ordering::Relaxed);
        self.written.store(to, Ordering::Relaxed);
        true
    }

    #[inline]
    fn move_on(&self, mark: u64) -> bool {
        let from = self.taken.load(Ordering::Relaxed);
        let to = self.read.load(Ordering::Relaxed) | mark;
        // Stored before the exchange: if that fails the ring is closed, and nothing is taken from it again.
        self.taken.store(to, Ordering::Relaxed);
        words::publish(&self.layout().replies.head.0, from, to)
    }

    /// Looks how far the server has read; whether there is room for a record.
    fn look_for_room(&self, written: u64) -> io::Result<bool> {
        let seen = words::look(&self.layout().requests.head.0);
        if seen < self.server_read.load(Ordering::Relaxed) || seen > written || !seen.is_multiple_of(super::WORD) {
            return Err(nonsense());
        }
        self.server_read.store(seen, Ordering::Relaxed);
        Ok(seen + CAPACITY >= written + 2 * super::WORD)
    }
}

impl fmt::Debug for ClientEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEnd")
            .field("written", &self.written)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}
