//! One connection: what has arrived and is no whole frame yet, and what could not be written yet.
//!
//! Reading and writing are locked apart. `inbound` belongs to whoever takes frames from the connection: its worker, or the thread that
//! drains it when its session ends. `outbox` belongs to whoever has a frame for it: any worker and any helper. Frames enter the outbox
//! whole, so they never interleave; a small reply to the call that was just read from a ring goes past it, and
//! [`Connection::answer_in_front`] says why it may. An idle connection owns no buffer.
//!
//! A lane may have a ring beside its socket. Frames come through either, and a reply goes where its call came from. What a reply through the
//! ring delivers is settled by the client's index: the connection remembers where that reply ends, and [`Connection::settle`] looks.
//!
//! Order of locks: `inbound`, then `outbox`, then the engine's; never two `inbound`. The engine delivers nothing while it has locked something.

use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use byproxy_proto::frame::{self, DONE_ROOM_BYTES};
use parking_lot::Mutex;

use super::driver::Verdict;
use super::poller::{Interest, Poller};
use super::session::Session;
use crate::engine::SessionId;
use crate::shm::ring::{FRONT_BYTES, Fate, ServerEnd};
use crate::transport::Wire;

/// How much one look at a connection reads.
pub(super) const READ_BYTES: usize = 64 << 10;
/// What is left of a reply above this size is kept in the buffer it was written to, instead of being copied.
const COPIED_BYTES_MAX: usize = 64 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Its number, never used again; also the number of its lane.
    pub(super) id: u64,
    /// The process at the other end.
    pub(super) pid: u32,
    pub(super) wire: Wire,
    pub(super) inbound: Mutex<Inbound>,
    /// Where its events come from; a connection inside this process has no events.
    poller: Option<Arc<Poller>>,
    outbox: Mutex<Outbox>,
    /// The number of the call that is being answered; zero is none. A lane carries one call at a time.
    pub(super) answering: AtomicU64,
    /// A look at its progress is on the timer's list.
    pub(super) on_the_clock: AtomicBool,
    /// So much output is unread that no more requests are taken.
    stalled: AtomicBool,
    /// The last call came through the ring, and so its reply goes there.
    on_ring: AtomicBool,
    /// There is output that waits for room.
    unsent: AtomicBool,
    /// A reply through the ring delivers something, and its fate is open.
    delivers: AtomicBool,
    /// Requests that came through the ring were left for the next visit.
    left_over: AtomicBool,
    /// A worker scans its ring.
    pub(super) scanned: AtomicBool,
    /// How many are writing a reply to a call that waited, or are about to find that another one does: its ring is not idle, though no call is
    /// unanswered.
    pub(super) replying: AtomicUsize,
    /// Its ring takes a place under the cap.
    pub(super) has_ring_place: AtomicBool,
    /// A look at whether its ring is idle is on the timer's list.
    pub(super) rests_soon: AtomicBool,
    /// How far the ring was used when that was put there.
    pub(super) used_until: AtomicU64,
    /// The last such look found something to do in it, though nobody had called.
    pub(super) was_ready: AtomicBool,
}

/// Where bytes of a connection come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The socket, or what stands for it inside a process.
    Socket,
    /// The ring.
    Ring,
}

/// The reading side.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) role: Role,
    /// Bytes that have arrived and were not handled yet: a part of a frame, or whole ones behind too much unread output.
    pub(super) pending: Vec<u8>,
    /// The same of the ring.
    pub(super) pending_in_ring: Vec<u8>,
    /// Descriptors that came with what is pending.
    pub(super) descriptors: Vec<OwnedFd>,
}

/// What a connection is for.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// It has not said hello.
    Stranger,
    /// A session lives as long as it does.
    Control(Arc<Session>),
    /// It carries calls.
    Lane(Arc<Session>),
    /// Nothing more is read from it.
    Closed,
}

/// The writing side.
#[derive(Debug, Default)]
struct Outbox {
    /// Whole frames, of which the first `sent` bytes have been written.
    queue: Vec<u8>,
    sent: usize,
    /// When the peer last made room, by the driver's clock. Meaningful while the queue is not empty.
    progress: u64,
    /// What was delivered through the ring last, until its fate is known.
    delivery: Option<Delivery>,
}

/// A reply through the ring whose items are the client's once its index has passed them.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    /// The number of the call.
    number: u64,
    /// Where the reply ends in the ring, once all of it is there.
    end: Option<u64>,
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Everything is on its way, or waits in order behind what was waiting already.
    Fine,
    /// The peer has stopped reading: from now on it is on the clock.
    Blocked,
    /// The peer is gone.
    Lost,
}

/// What a look at a waiting outbox found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing more to do.
    Fine,
    /// Requests that were held back may be taken again.
    Resume,
    /// The peer is gone.
    Lost,
}

impl Connection {
    pub(super) fn new(id: u64, pid: u32, wire: Wire, poller: Option<Arc<Poller>>) -> Self {
        Self {
            id,
            pid,
            wire,
            inbound: Mutex::new(Inbound {
                role: Role::Stranger,
                pending: Vec::new(),
                pending_in_ring: Vec::new(),
                descriptors: Vec::new(),
            }),
            poller,
            outbox: Mutex::default(),
            answering: AtomicU64::new(0),
            on_the_clock: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            on_ring: AtomicBool::new(false),
            unsent: AtomicBool::new(false),
            delivers: AtomicBool::new(false),
            left_over: AtomicBool::new(false),
            scanned: AtomicBool::new(false),
            replying: AtomicUsize::new(0),
            has_ring_place: AtomicBool::new(false),
            rests_soon: AtomicBool::new(false),
            used_until: AtomicU64::new(0),
            was_ready: AtomicBool::new(false),
        }
    }

    /// Its ring, while the client may write to it.
    #[inline]
    pub(super) fn ring(&self) -> Option<&ServerEnd> {
        self.wire.served()?.ring()
    }

    /// Whether there ever was a ring, so that there may be doorbells.
    #[cold]
    pub(super) fn had_ring(&self) -> bool {
        self.wire.served().is_some_and(|served| served.any_ring().is_some())
    }

    /// Says where the call that is being handled came from.
    #[inline]
    pub(super) fn came_from(&self, source: Source) {
        let on_ring = source == Source::Ring;
        if self.on_ring.load(Ordering::Relaxed) != on_ring {
            self.on_ring.store(on_ring, Ordering::Relaxed);
        }
    }

    /// Whether replies go through the ring.
    #[inline]
    pub(super) fn is_on_ring(&self) -> bool {
        self.on_ring.load(Ordering::Relaxed)
    }

    /// Appends what has arrived.
    #[inline]
    pub(super) fn receive(&self, source: Source, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        match (source, self.wire.served()) {
            (Source::Ring, Some(served)) => served.receive_from_ring(into, most),
            _ => self.wire.receive(into, most),
        }
    }

    /// The reply that is written next delivers something to this call. Through a socket the client tells what becomes of it.
    #[inline]
    pub(super) fn delivers(&self, number: u64) {
        if self.is_on_ring() {
            self.outbox.lock().delivery = Some(Delivery { number, end: None });
            // Before the reply can be seen: whoever sees what its client did next sees this, and then waits for the lock until the end
            // of the reply is known.
            self.delivers
                .store(!seeded!("ring_delivery_unnoted"), Ordering::Release);
        }
    }

    /// Tells what became of the last delivery through the ring, once, with the number of its call; if that is known. Whoever finds it told
    /// already finds the telling done: the end of a session must not overtake it.
    #[inline]
    pub(super) fn settle(&self, tell: impl FnOnce(u64, Fate)) {
        if !self.delivers.load(Ordering::Acquire) {
            return;
        }
        let mut outbox = self.outbox.lock();
        if let Some((number, fate)) = self.look_at_fate(&outbox) {
            tell(number, fate);
            outbox.delivery = None;
            self.delivers.store(false, Ordering::Release);
        }
    }

    /// Whether something was delivered through the ring and its fate is open.
    #[inline]
    pub(super) fn has_delivery(&self) -> bool {
        self.delivers.load(Ordering::Acquire)
    }

    /// Reads from the socket while no requests are taken: bells, which would wake the worker again and again, and the end. A client that
    /// sends anything else there while its ring is full of replies breaks the protocol.
    #[cold]
    pub(super) fn drop_bells(&self, input: &mut Vec<u8>) -> Verdict {
        input.clear();
        match self.wire.receive(input, READ_BYTES) {
            Ok(1..) if input.iter().all(|byte| *byte == 0) => Verdict::Open,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Verdict::Open,
            _ => Verdict::Lost,
        }
    }

    /// Whether there is output that waits for room.
    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent.load(Ordering::Relaxed)
    }

    fn look_at_fate(&self, outbox: &Outbox) -> Option<(u64, Fate)> {
        let Delivery { number, end } = outbox.delivery?;
        let fate = self.wire.served()?.any_ring()?.fate(end?)?;
        Some((number, fate))
    }

    /// Whether there is something to do in its ring: a request, a fate, or output for which there is room.
    #[inline]
    pub(super) fn is_ready(&self, ring: &ServerEnd) -> bool {
        self.takes_requests(ring)
            || (self.waits_for_room() && ring.has_room())
            || (self.delivers.load(Ordering::Relaxed) && self.look_at_fate(&self.outbox.lock()).is_some())
    }

    /// Before its worker scans its ring no more: from here on the client calls. False if there is something to do there.
    pub(super) fn park(&self, ring: &ServerEnd) -> bool {
        ring.park(|| {
            // Whoever is writing a reply now has said what is left of it, or where it ends, when this lock is free.
            let outbox = self.outbox.lock();
            let fate = self.look_at_fate(&outbox).is_some();
            // The last call for room may have come for nothing, and one call is all that a client makes.
            let room = self.waits_for_room() && !seeded!("ring_waits_uncalled") && !ring.park_writer();
            fate || room || self.takes_requests(ring)
        })
    }

    #[inline]
    fn takes_requests(&self, ring: &ServerEnd) -> bool {
        (ring.has_requests() || self.left_over.load(Ordering::Relaxed)) && !self.is_stalled()
    }

    /// Says whether requests that came through the ring are left for the next visit, though it brings no others.
    #[cold]
    pub(super) fn leave_over(&self, some: bool) {
        self.left_over.store(some, Ordering::Relaxed);
    }

    /// Whether there is output that waits for room in the ring.
    #[inline]
    fn waits_for_room(&self) -> bool {
        self.has_unsent() && self.is_on_ring()
    }

    /// Closes its ring if it is idle; true once it is closed. The caller holds `inbound`.
    pub(super) fn retire_ring(&self, inbound: &Inbound, ring: &ServerEnd) -> bool {
        let outbox = self.outbox.lock();
        outbox.queue.is_empty()
            && outbox.delivery.is_none()
            && inbound.pending_in_ring.is_empty()
            && self.answering.load(Ordering::Acquire) == 0
            && (seeded!("ring_retired_under_a_reply") || self.replying.load(Ordering::Acquire) == 0)
            && ring.retire()
    }

    #[inline]
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.wire.served() {
            Some(served) if self.is_on_ring() => served.send_to_ring(bytes),
            _ => self.wire.send(bytes),
        }
    }

    /// Where its events come from.
    pub(super) fn poller(&self) -> Option<&Arc<Poller>> {
        self.poller.as_ref()
    }

    /// Whether requests are held back until the peer reads.
    #[inline]
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Writes whole frames, or keeps them in order for when there is room. Takes the buffer over if much of it is left. The clock is
    /// read only if there is no room: that costs as much as a small call's work.
    #[inline]
    pub(super) fn write(&self, frames: &mut Vec<u8>, now: impl FnOnce() -> u64, unread_bytes_max: usize) -> Written {
        let mut outbox = self.outbox.lock();
        if !outbox.queue.is_empty() && !seeded!("write_interleaves") {
            outbox.compact();
            outbox.queue.extend_from_slice(frames);
            self.hold_back(&outbox, unread_bytes_max);
            return Written::Fine;
        }
        let mut rest = frames.as_slice();
        while !rest.is_empty() {
            match self.send(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let sent = frames.len() - rest.len();
                    outbox.keep(frames, sent, now());
                    self.hold_back(&outbox, unread_bytes_max);
                    return Written::Blocked;
                }
                Err(_) => return Written::Lost,
            }
        }
        self.mark_delivery(&mut outbox);
        Written::Fine
    }

    /// Writes a small reply that delivers nothing and hands over nothing into the front of the ring its call came from; false if it has to
    /// go the usual way, and then nothing is written. The caller holds `inbound`, and the call is the last one that was read.
    ///
    /// The outbox is not locked, though other threads write replies to calls that waited. The one that wrote the last of those may be
    /// behind its lock still, but it has told of that reply, and all that it still does is to look whether the client sleeps:
    ///
    /// | the other thread | the client | this one |
    /// |---|---|---|
    /// | writes the whole reply, notes how far | | |
    /// | moves the index (release) | sees the reply (acquire) | |
    /// | | makes its next call (release) | sees the call (acquire) |
    /// | | | sees how far was written, and writes behind it |
    ///
    /// A reply that is not all written shows in `unsent`, until all of it is; one that delivers shows in `delivers`, and [`Self::settle`] waits
    /// for the lock. A client that does not wait for its reply spoils what it reads itself, and nothing else:
    /// both threads write words that are its own.
    #[inline]
    pub(super) fn answer_in_front(&self, ring: &ServerEnd, number: u64, result: &[u8]) -> bool {
        self.try_in_front(ring, number, result).is_some()
    }

    #[expect(clippy::inline_always, reason = "a small reply is a part of one straight line")]
    #[inline(always)]
    fn try_in_front(&self, ring: &ServerEnd, number: u64, result: &[u8]) -> Option<()> {
        if (self.has_unsent() && !seeded!("ring_reply_overtakes")) || self.has_delivery() {
            return None;
        }
        let mut bytes = [0; DONE_ROOM_BYTES + FRONT_BYTES];
        let (room, place) = bytes.split_first_chunk_mut()?;
        place.get_mut(..result.len())?.copy_from_slice(result);
        let start = frame::write_done_before(room, number, result.len())?;
        let count = DONE_ROOM_BYTES - start + result.len();
        let record = bytes.get(start..)?.first_chunk()?;
        if count > FRONT_BYTES || !ring.send_front(record, count as u64) {
            return None;
        }
        if ring.calls_reader() {
            self.ring_bell();
        }
        Some(())
    }

    #[cold]
    fn ring_bell(&self) {
        if let Some(served) = self.wire.served() {
            served.ring_bell();
        }
    }

    /// Writes on, now that there may be room.
    pub(super) fn flush(&self, now: u64, unread_bytes_max: usize) -> Flushed {
        let mut outbox = self.outbox.lock();
        if outbox.queue.is_empty() {
            return Flushed::Fine;
        }
        loop {
            let sent = outbox.sent;
            let Some(rest) = outbox.queue.get(sent..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            match self.send(rest) {
                Ok(count) => {
                    outbox.sent += count;
                    outbox.progress = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Flushed::Lost,
            }
        }
        if outbox.unread() == 0 {
            let delivery = outbox.delivery;
            *outbox = Outbox {
                delivery,
                ..Outbox::default()
            };
            self.mark_delivery(&mut outbox);
        }
        let resume = self.is_stalled() && outbox.unread() <= unread_bytes_max / 2;
        if resume {
            self.stalled.store(false, Ordering::Relaxed);
        }
        self.show_interest(&outbox);
        if resume { Flushed::Resume } else { Flushed::Fine }
    }

    /// Everything is written: if the last of it delivers something, this is where that ends.
    #[inline]
    fn mark_delivery(&self, outbox: &mut Outbox) {
        if let Some(delivery) = &mut outbox.delivery
            && delivery.end.is_none()
            && let Some(ring) = self.wire.served().and_then(|served| served.any_ring())
        {
            delivery.end = Some(ring.written());
        }
    }

    /// Writes a frame with a descriptor, unless something else still waits for room: whoever sends one request at a time has read it all.
    pub(super) fn write_with(&self, frame: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let outbox = self.outbox.lock();
        if !outbox.queue.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.wire.send_with(frame, descriptor)
    }

    /// When the peer last made room, if it is being waited for.
    pub(super) fn blocked_since(&self) -> Option<u64> {
        let outbox = self.outbox.lock();
        (!outbox.queue.is_empty()).then_some(outbox.progress)
    }

    /// Forgets what was not written, and ends both directions.
    pub(super) fn close(&self) {
        if let Some(poller) = &self.poller {
            poller.remove(self);
        }
        let unsent = std::mem::take(&mut *self.outbox.lock());
        if seeded!("unread_reply_is_kept") {
            std::mem::forget(unsent);
        }
        self.unsent.store(false, Ordering::Relaxed);
        self.wire.close();
    }

    /// Reads what has arrived behind the pending bytes; the next frame is as long as `needed`, if that is known.
    pub(super) fn read_more(&self, source: Source, pending: &mut Vec<u8>, needed: Option<usize>) -> io::Result<usize> {
        // A prefix may promise much: room is made as bytes really arrive, at most doubling what is there.
        let most = match needed {
            Some(needed) => needed
                .saturating_sub(pending.len())
                .clamp(1, pending.len().max(READ_BYTES)),
            None => READ_BYTES,
        };
        self.receive(source, pending, most)
    }

    fn hold_back(&self, outbox: &Outbox, unread_bytes_max: usize) {
        if outbox.unread() > unread_bytes_max && !seeded!("buffers_without_bound") {
            self.stalled.store(true, Ordering::Relaxed);
        }
        self.show_interest(outbox);
    }

    /// Tells the poller what to wait for. Called under the outbox's lock, so that the last word is right.
    fn show_interest(&self, outbox: &Outbox) {
        self.unsent.store(!outbox.queue.is_empty(), Ordering::Relaxed);
        if self.is_on_ring() {
            // Its socket brings bells, and one of them when there is room in the ring.
            return;
        }
        if let Some(poller) = &self.poller {
            poller.change(
                self,
                Interest {
                    read: !self.is_stalled(),
                    write: !outbox.queue.is_empty(),
                },
            );
        }
    }
}

impl Inbound {
    /// What lies alone and small in a lane's ring, and whose lane it is, if nothing has to be dealt with before it.
    #[inline]
    pub(super) fn receive_front<'a>(
        &self,
        connection: &Connection,
        ring: &ServerEnd,
        record: &'a mut [u8; FRONT_BYTES],
    ) -> Option<(SessionId, &'a [u8])> {
        let Role::Lane(session) = &self.role else { return None };
        if !self.pending_in_ring.is_empty() || connection.is_stalled() {
            return None;
        }
        Some((session.id, ring.receive_front(record)?))
    }

    /// The bytes from a source that were not handled yet.
    #[inline]
    pub(super) fn pending(&mut self, source: Source) -> &mut Vec<u8> {
        match source {
            Source::Socket => &mut self.pending,
            Source::Ring => &mut self.pending_in_ring,
        }
    }
}

impl Outbox {
    fn unread(&self) -> usize {
        self.queue.len() - self.sent
    }

    /// Forgets what has been written, when that is most of it: a peer that always leaves a little must not make it grow.
    fn compact(&mut self) {
        if self.sent > COPIED_BYTES_MAX && self.sent >= self.queue.len() / 2 {
            self.queue.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Keeps what is left of these frames, of which some bytes have been written.
    fn keep(&mut self, frames: &mut Vec<u8>, sent: usize, now: u64) {
        self.progress = now;
        if frames.len() - sent > COPIED_BYTES_MAX && self.queue.is_empty() {
            self.queue = std::mem::take(frames);
            self.sent = sent;
        } else {
            self.queue.extend_from_slice(frames.get(sent..).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests;
