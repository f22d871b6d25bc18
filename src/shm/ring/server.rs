//! The server's end of a ring.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::words::{self, CLOSED, DECLINED, POSITION};
use super::{CAPACITY, FRONT_BYTES, Layout, Memory, SEGMENT_BYTES, nonsense};
use crate::shm::segment::Segment;

/// The server's end. Reading is one thread's business at a time, and so is writing; looking is anybody's at any time.
pub(crate) struct ServerEnd {
    pub(super) memory: Memory,
    /// How far requests were read.
    read: AtomicU64,
    /// How far replies were written.
    written: AtomicU64,
    /// How far the client had read when we last looked.
    client_read: AtomicU64,
    /// A request has come since the last reply.
    answers: AtomicBool,
    /// The client may write.
    open: AtomicBool,
    /// Where requests ended when the ring was closed; what is written behind that is nowhere. No end before that.
    end: AtomicU64,
}

/// In [`ServerEnd::end`]: the ring is not closed.
const NO_END: u64 = u64::MAX;

/// What a client has done with what was delivered to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It took it.
    Taken,
    /// It gives it back.
    Declined,
}

impl ServerEnd {
    /// A new ring in a new segment, open.
    pub(crate) fn create() -> io::Result<Self> {
        let memory = Memory::of(Segment::create_sparse(SEGMENT_BYTES)?)?;
        Ok(Self {
            memory,
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            client_read: AtomicU64::new(0),
            answers: AtomicBool::new(false),
            open: AtomicBool::new(true),
            end: AtomicU64::new(NO_END),
        })
    }

    /// What the client maps.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.memory.segment.as_fd()
    }

    /// Whether the client may write.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether there is a request to read.
    #[inline]
    pub(crate) fn has_requests(&self) -> bool {
        self.tail() != self.read.load(Ordering::Relaxed)
    }

    /// Takes a request that lies in the front, if nothing lies behind it. Nobody has to be called for that: a client that waits for room has
    /// written more, which [`Self::receive`] takes.
    #[inline]
    pub(crate) fn receive_front<'a>(&self, record: &'a mut [u8; FRONT_BYTES]) -> Option<&'a [u8]> {
        let (read, tail) = (self.read.load(Ordering::Relaxed), self.tail());
        if tail == read {
            return None;
        }
        let requests = self.memory.requests();
        let (bytes, end) = requests.read_front(requests.in_front(read)?, read, record)?;
        if end != tail {
            return None;
        }
        self.read.store(end, Ordering::Relaxed);
        self.answers.store(true, Ordering::Relaxed);
        words::advance(&self.layout().requests.head.0, end);
        Some(bytes)
    }

    /// Appends the records that have arrived, until these are so many bytes; `WouldBlock` if there are none.
    #[inline]
    pub(crate) fn receive(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let mut read = self.read.load(Ordering::Relaxed);
        let tail = self.tail().min(self.end.load(Ordering::Relaxed));
        if tail == read {
            return Err(ErrorKind::WouldBlock.into());
        }
        if tail.checked_sub(read).is_none_or(|bytes| bytes > CAPACITY) && !seeded!("ring_index_believed") {
            return Err(nonsense());
        }
        let mut received = 0;
        while read < tail && received < most {
            let (count, end) = self.memory.requests().read(read, tail, into).ok_or_else(nonsense)?;
            (read, received) = (end, received + count);
        }
        self.read.store(read, Ordering::Relaxed);
        self.answers.store(true, Ordering::Relaxed);
        words::post(&self.layout().requests.head.0, read);
        Ok(received)
    }

    /// Writes as much as there is room for; `WouldBlock` if there is none, and then the client calls when it has made some.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let (sent, written) = match self.write_front(bytes)? {
            Some(end) => (bytes.len(), end),
            None => self.write_behind(bytes)?,
        };
        self.tell(written);
        Ok(sent)
    }

    /// Writes a record of the first so many of these bytes into the front. False if it is not free, and then nothing is written.
    #[inline]
    pub(crate) fn send_front(&self, record: &[u8; FRONT_BYTES], count: u64) -> bool {
        if !self.answers.load(Ordering::Relaxed) {
            return false;
        }
        let written = self.written();
        let end = self.client_read.load(Ordering::Relaxed) + CAPACITY;
        let Some(written) = self.memory.replies().write_whole_front(written, end, record, count) else {
            return false;
        };
        self.tell(written);
        true
    }

    /// Tells of what was written.
    #[inline]
    fn tell(&self, written: u64) {
        self.answers.store(false, Ordering::Relaxed);
        words::post_noted(&self.written, &self.layout().replies.tail.0.index, written);
    }

    /// Writes all of these bytes into the front, if they fit there and it is free; returns where they end.
    #[inline]
    fn write_front(&self, bytes: &[u8]) -> io::Result<Option<u64>> {
        if !self.answers.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let written = self.written();
        let end = self.room_end(written)?;
        Ok(self.memory.replies().write_front(written, end, bytes))
    }

    /// Writes into the stream as much as there is room for; returns how many bytes that were and where they end.
    #[inline(never)]
    fn write_behind(&self, bytes: &[u8]) -> io::Result<(usize, u64)> {
        let mut written = self.written();
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.memory.replies().write(written, self.room_end(written)?, rest) {
                Some((count, end)) => (written, sent) = (end, sent + count),
                None if self.look_for_room(written)? => {}
                None if sent > 0 => break,
                None if self.park_writer() => return Err(ErrorKind::WouldBlock.into()),
                None => {}
            }
        }
        Ok((sent, written))
    }

    /// Whether the client sleeps until there is a reply; the caller then has to wake it.
    #[inline]
    pub(crate) fn calls_reader(&self) -> bool {
        words::call(&self.layout().client.0.reader)
    }

    /// Whether the client sleeps until there is room for a request; the caller then has to wake it.
    #[inline]
    pub(crate) fn calls_writer(&self) -> bool {
        words::call(&self.layout().client.0.writer)
    }

    /// Before nobody looks at this ring any more: from here on the client calls when it has done something. False if there is something to
    /// do already, and then it does not.
    pub(crate) fn park(&self, ready: impl FnOnce() -> bool) -> bool {
        words::park(&self.layout().server.0.reader, ready)
    }

    /// Before waiting for room for replies, which is the business of whoever writes: the client calls once when it has made some, and perhaps
    /// for nothing. False if there is some.
    pub(crate) fn park_writer(&self) -> bool {
        let written = self.written();
        words::park(&self.layout().server.0.writer, || {
            self.look_for_room(written).unwrap_or(true)
        })
    }

    /// Somebody looks again: calls are for nothing.
    pub(crate) fn unpark(&self) {
        self.layout().server.0.reader.store(words::AWAKE, Ordering::Relaxed);
    }

    /// Says which processor this side's worker runs on, where the client had better keep away from it.
    pub(crate) fn runs_on(&self, processor: Option<usize>) {
        let processor = processor.map_or(0, |processor| processor as u64 + 1);
        tell(&self.layout().worker.0.processor, processor);
    }

    /// Says whether this side's worker looks at more rings than there are processors for it.
    pub(crate) fn is_one_of_many(&self, many: bool) {
        tell(&self.layout().worker.0.many, u64::from(many));
    }

    /// How far requests were read.
    #[inline]
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// How far replies were written: right after one was, where it ends.
    #[inline]
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether there is room for replies.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.look_for_room(self.written()).unwrap_or(true)
    }

    /// What the client has done with a reply that ends here, if it has done anything.
    #[inline]
    pub(crate) fn fate(&self, end: u64) -> Option<Fate> {
        let head = words::look(&self.layout().replies.head.0);
        let seen = head & POSITION;
        if seen < end || seen > self.written() {
            None
        } else if head & DECLINED == 0 {
            Some(Fate::Taken)
        } else {
            Some(Fate::Declined)
        }
    }

    /// The client publishes nothing and takes nothing from here on; what it did before stands, and its requests can still be read.
    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
        let end = words::close(&self.layout().requests.tail.0.index) & !CLOSED;
        // The first time counts: a client that breaks the rules can move its index on all the same.
        let _ = self
            .end
            .compare_exchange(NO_END, end, Ordering::Relaxed, Ordering::Relaxed);
        if !seeded!("ring_close_keeps_index") {
            words::close(&self.layout().replies.head.0);
        }
    }

    /// Whether the client has read all that was written.
    pub(crate) fn is_consumed(&self) -> bool {
        words::look(&self.layout().replies.head.0) & POSITION == self.written()
    }

    /// Closes the ring to requests if nothing is in it, and gives its pages back. True once it is closed.
    pub(crate) fn retire(&self) -> bool {
        if !self.is_open() {
            return true;
        }
        if !self.is_consumed()
            || !words::close_at(&self.layout().requests.tail.0.index, self.read.load(Ordering::Relaxed))
        {
            return false;
        }
        self.open.store(false, Ordering::Relaxed);
        if !seeded!("ring_keeps_pages") {
            // What the client writes from here on it can't publish, so nobody misses it. If the system refuses, the pages stay.
            let _ = self
                .memory
                .segment
                .give_back(std::mem::offset_of!(Layout, request_bytes));
        }
        true
    }

    /// Opens a ring that was retired. The client waits for the answer to asking for this, and does not touch the ring.
    pub(crate) fn reopen(&self) {
        let read = self.read.load(Ordering::Relaxed);
        self.end.store(NO_END, Ordering::Relaxed);
        self.layout().requests.tail.0.index.store(read, Ordering::Release);
        self.open.store(true, Ordering::Relaxed);
    }

    #[inline]
    fn layout(&self) -> &Layout {
        self.memory.layout()
    }

    #[inline]
    fn tail(&self) -> u64 {
        words::look(&self.layout().requests.tail.0.index) & !CLOSED
    }

    /// How far replies may be written, by what is known.
    #[inline]
    fn room_end(&self, written: u64) -> io::Result<u64> {
        let end = self.client_read.load(Ordering::Relaxed) + CAPACITY;
        if end < written { Err(nonsense()) } else { Ok(end) }
    }

    /// Looks how far the client has read; whether there is room for a record.
    fn look_for_room(&self, written: u64) -> io::Result<bool> {
        // In this order: another thread that looks at the same time may have seen more than this one, and never less than was known.
        let before = self.client_read.load(Ordering::Acquire);
        let seen = words::look(&self.layout().replies.head.0) & POSITION;
        // An index that goes back, or past what was written, is nonsense.
        if seen < before || seen > written || !seen.is_multiple_of(super::WORD) {
            return Err(nonsense());
        }
        self.client_read.fetch_max(seen, Ordering::AcqRel);
        Ok(seen + CAPACITY >= written + 2 * super::WORD)
    }
}

/// Stores what is not there yet: a word that is only read stays with its readers.
fn tell(word: &AtomicU64, what: u64) {
    if word.load(Ordering::Relaxed) != what {
        word.store(what, Ordering::Relaxed);
    }
}

impl fmt::Debug for ServerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerEnd")
            .field("read", &self.read)
            .field("written", &self.written)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}
