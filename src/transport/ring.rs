//! A connection that goes on in shared memory: its socket, and the ring that its bytes take once the client has asked for one.
//!
//! [`Served`] is the server's end and never blocks, [`Connected`] is the client's and does. The socket stays: its end tells of the other
//! side's, and a side that sleeps though there is something to do in the ring is woken over it, by a [`DOORBELL`], which is a frame of no
//! bytes. Bells are sent without waiting and lost without harm: a socket that has no room for one more holds others that were not read. Frames with
//! something in them still count on the socket. So a client that can't map a ring, or whose ring the server has closed because it was
//! idle, just goes on there.

use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use byproxy_proto::frame::DOORBELL;
use parking_lot::Mutex;

use super::looks::{Eagerness, Looked, Looks};
use super::processor;
use super::unix::Socket;
use crate::shm::ring::{ClientEnd, ServerEnd};

/// How often a client gives its processor away between looks before it sleeps.
const YIELDS: u32 = 100;
/// Bells and last words that one read of the socket brings.
const BELLS_BYTES: usize = 4 << 10;

/// The server's end of a connection.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) socket: Socket,
    ring: OnceLock<ServerEnd>,
    /// The client has been sent the ring's descriptor.
    ring_sent: AtomicBool,
    bells: AtomicU64,
}

/// The client's end of a connection.
#[derive(Debug)]
pub(crate) struct Connected {
    socket: Socket,
    ring: OnceLock<ClientEnd>,
    /// Requests take the ring.
    on_ring: AtomicBool,
    eagerness: Eagerness,
    /// How long one look for a reply may take, in nanoseconds.
    patience: AtomicU64,
    /// What came over the socket while this side waited for room in the ring: whoever reads next has it.
    words: Mutex<Vec<u8>>,
    /// This side has ended the connection.
    closed: AtomicBool,
}

impl Served {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            ring: OnceLock::new(),
            ring_sent: AtomicBool::new(false),
            bells: AtomicU64::new(0),
        }
    }

    /// The ring, while the client may write to it.
    #[inline]
    pub(crate) fn ring(&self) -> Option<&ServerEnd> {
        self.ring.get().filter(|ring| ring.is_open())
    }

    /// The ring, open or not.
    #[inline]
    pub(crate) fn any_ring(&self) -> Option<&ServerEnd> {
        self.ring.get()
    }

    /// Opens the ring that there was, or makes one; true if the client does not have it yet. The caller sees to it that nobody else does so
    /// meanwhile.
    pub(crate) fn open_ring(&self) -> io::Result<bool> {
        if let Some(ring) = self.ring.get() {
            ring.reopen();
        } else {
            // Nobody else has made one meanwhile.
            let _ = self.ring.set(ServerEnd::create()?);
        }
        Ok(!self.ring_sent.load(Ordering::Relaxed))
    }

    /// The descriptor of the ring is on its way to the client.
    pub(crate) fn ring_is_sent(&self) {
        self.ring_sent.store(true, Ordering::Relaxed);
    }

    /// Reads what has arrived in the ring.
    #[inline]
    pub(crate) fn receive_from_ring(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let ring = self.ring.get().ok_or(ErrorKind::WouldBlock)?;
        let received = ring.receive(into, most)?;
        if ring.calls_writer() {
            self.ring_bell();
        }
        Ok(received)
    }

    /// Writes to the ring as much as there is room for.
    #[inline]
    pub(crate) fn send_to_ring(&self, bytes: &[u8]) -> io::Result<usize> {
        let ring = self.ring.get().ok_or(ErrorKind::BrokenPipe)?;
        let sent = ring.send(bytes)?;
        if ring.calls_reader() {
            self.ring_bell();
        }
        Ok(sent)
    }

    /// How often a client was woken.
    pub(crate) fn bells(&self) -> u64 {
        self.bells.load(Ordering::Relaxed)
    }

    pub(crate) fn close_reading(&self) {
        // The ring first: what the client commits through it can't be told apart by the socket.
        if let Some(ring) = self.ring.get() {
            ring.close();
        }
        self.socket.close_reading();
    }

    pub(crate) fn close(&self) {
        if let Some(ring) = self.ring.get() {
            ring.close();
        }
        self.socket.close();
    }

    /// Wakes the client, if it sleeps.
    #[cold]
    pub(crate) fn ring_bell(&self) {
        if seeded!("ring_never_rings") {
            return;
        }
        self.bells.fetch_add(1, Ordering::Relaxed);
        // Without room there are bells enough; and a client that is gone needs none.
        let _ = self.socket.send_now(&DOORBELL);
    }
}

impl Connected {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            ring: OnceLock::new(),
            on_ring: AtomicBool::new(false),
            eagerness: Eagerness::default(),
            patience: AtomicU64::new(u64::MAX),
            words: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Whether requests take the ring.
    #[inline]
    pub(crate) fn is_on_ring(&self) -> bool {
        self.on_ring.load(Ordering::Relaxed)
    }

    /// The processor that the server's worker runs on, as it says in the ring.
    #[cfg(test)]
    pub(crate) fn processor(&self) -> Option<usize> {
        self.ring.get()?.processor()
    }

    /// Whether that worker looks at many rings, as it says there.
    #[cfg(test)]
    pub(crate) fn is_one_of_many(&self) -> bool {
        self.ring.get().is_some_and(ClientEnd::is_one_of_many)
    }

    /// Whether there ever was a ring, so that there may be doorbells.
    #[inline]
    pub(crate) fn has_ring(&self) -> bool {
        self.ring.get().is_some()
    }

    /// From here on requests take the ring whose descriptor has come, or the one there was. False if it can't be mapped: then everything
    /// stays as it is.
    pub(crate) fn go_on_in_ring(&self, descriptor: Option<OwnedFd>) -> bool {
        use std::os::fd::AsFd as _;
        if let Some(descriptor) = descriptor
            && let Ok(ring) = ClientEnd::open(descriptor.as_fd())
        {
            let _ = self.ring.set(ring);
        }
        self.on_ring.store(self.has_ring(), Ordering::Relaxed);
        self.has_ring()
    }

    /// Reads from the socket, and the descriptor that comes along, if one does.
    pub(crate) fn receive_with_descriptor(
        &self,
        into: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<(usize, Option<OwnedFd>)> {
        self.socket.receive_with_descriptor(into, most)
    }

    /// Writes a few bytes and a descriptor to the socket, without waiting: all or nothing.
    pub(crate) fn send_with_descriptor(&self, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.socket.send_with(bytes, descriptor)
    }

    #[expect(
        clippy::inline_always,
        reason = "what a small call does here is a part of one straight line"
    )]
    #[inline(always)]
    pub(super) fn send(&self, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
        let rest = bytes.get(*sent..).unwrap_or_default();
        let Some(ring) = self.open_ring() else {
            return self.socket.send(bytes, sent);
        };
        match ring.send(rest) {
            Ok(count) if count == rest.len() => {
                *sent = bytes.len();
                self.call_reader(ring);
                Ok(())
            }
            outcome => self.send_on(ring, outcome, bytes, sent),
        }
    }

    /// Sends what is left after a first attempt.
    #[inline(never)]
    fn send_on(&self, ring: &ClientEnd, outcome: io::Result<usize>, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
        match self.send_to_ring(ring, outcome, bytes, sent) {
            // The server has closed the ring. It was idle, or the session has ended: then the socket says so, but not after a part of a
            // frame, whose rest would be taken for frames; nor if something lies in the ring, which is why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe && *sent == 0 && !ring.has_replies() => {
                self.on_ring.store(false, Ordering::Relaxed);
                self.socket.send(bytes, sent)
            }
            outcome => outcome,
        }
    }

    pub(super) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(ring) = self.open_ring() else {
            return self.socket.send_now(bytes);
        };
        match ring.send(bytes) {
            Ok(sent) => {
                self.call_reader(ring);
                Ok(sent)
            }
            // As in `send_on`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe && !ring.has_replies() => {
                self.on_ring.store(false, Ordering::Relaxed);
                self.socket.send_now(bytes)
            }
            Err(error) => Err(error),
        }
    }

    /// As any stream's; but fails with `ConnectionAborted` if it is certain that the peer has not read all that was sent.
    #[expect(
        clippy::inline_always,
        reason = "what a small call does here is a part of one straight line"
    )]
    #[inline(always)]
    pub(super) fn receive(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        match self.open_ring() {
            None => self.socket.receive(into, most),
            Some(ring) => self.receive_from_ring(ring, into),
        }
    }

    /// What was received is this side's from here on, or with `declined` goes back to where it came from. Nothing if it did not come through
    /// the ring; false if the server has closed that before.
    #[inline]
    pub(super) fn settle(&self, declined: bool) -> Option<bool> {
        let ring = self.open_ring()?;
        let settled = if declined { ring.decline() } else { ring.take() };
        // The server may be waiting for room, or for this.
        if ring.calls_writer() || ring.calls_reader() {
            self.ring_bell();
        }
        Some(settled)
    }

    /// What was received has been read, and nobody needs to know.
    #[inline]
    pub(super) fn consume(&self) {
        if let Some(ring) = self.open_ring()
            && !ring.pass()
        {
            self.take_part(ring);
        }
    }

    pub(super) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        let nanoseconds = timeout.and_then(|timeout| u64::try_from(timeout.as_nanos()).ok());
        self.patience.store(nanoseconds.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.socket.set_timeout(timeout)
    }

    pub(super) fn has_ended(&self, patience: Duration) -> bool {
        self.socket.has_ended(patience)
    }

    pub(super) fn close(&self) {
        // Before the socket: whoever wakes then knows that the server may still read what was sent.
        self.closed.store(true, Ordering::Release);
        self.socket.close();
    }

    #[inline]
    fn open_ring(&self) -> Option<&ClientEnd> {
        if self.is_on_ring() { self.ring.get() } else { None }
    }

    fn send_to_ring(
        &self,
        ring: &ClientEnd,
        mut outcome: io::Result<usize>,
        bytes: &[u8],
        sent: &mut usize,
    ) -> io::Result<()> {
        let mut looks = Looks::default();
        let mut slept_first = None;
        loop {
            match outcome {
                Ok(count) => {
                    *sent += count;
                    looks.ended(&self.eagerness);
                    (looks, slept_first) = (Looks::default(), None);
                    self.call_reader(ring);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.is_late(slept_first) {
                        return Err(error);
                    }
                    if self.looks_enough(&mut looks, ring) && ring.park_writer() {
                        slept_first.get_or_insert_with(Instant::now);
                        let mut words = Vec::new();
                        let slept = self.sleep(&mut words);
                        ring.unpark();
                        match slept? {
                            Woken::Bell => {}
                            // Amid a call there is nothing to be said but why nothing more of it is taken.
                            Woken::Words => {
                                *self.words.lock() = words;
                                return Err(ErrorKind::ConnectionReset.into());
                            }
                            Woken::End => return Err(ErrorKind::ConnectionReset.into()),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
            match bytes.get(*sent..) {
                Some(rest @ [_, ..]) => outcome = ring.send(rest),
                _ => return Ok(()),
            }
        }
    }

    #[expect(
        clippy::inline_always,
        reason = "what a small call does here is a part of one straight line"
    )]
    #[inline(always)]
    fn receive_from_ring(&self, ring: &ClientEnd, into: &mut Vec<u8>) -> io::Result<usize> {
        if ring.is_holding() {
            self.take_part(ring);
        }
        if !ring.has_replies()
            && let Some(received) = self.await_reply(ring, into)?
        {
            return Ok(received);
        }
        ring.receive(into)
    }

    /// Takes a part of a frame, or a large one. Whether the ring was closed shows in what follows.
    #[cold]
    fn take_part(&self, ring: &ClientEnd) {
        ring.take();
        self.call_writer(ring);
    }

    /// Waits until there is a record in the ring; or returns how many bytes came otherwise, as [`Self::receive`] does.
    #[inline(never)]
    fn await_reply(&self, ring: &ClientEnd, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let mut looks = Looks::default();
        let mut slept_first = None;
        loop {
            if self.looks_enough(&mut looks, ring) && ring.park_reader() {
                slept_first.get_or_insert_with(Instant::now);
                let before = into.len();
                let slept = self.sleep(into);
                ring.unpark();
                match slept? {
                    Woken::Bell => {}
                    Woken::Words => return Ok(Some(into.len() - before)),
                    // What the server wrote before it ended can still be read.
                    Woken::End if ring.has_replies() => {}
                    Woken::End => return self.after_the_end(ring).map(Some),
                }
            }
            if ring.has_replies() {
                looks.found(&self.eagerness);
                if self.eagerness.is_to_move()
                    && let Some(processor) = ring.processor()
                {
                    processor::leave(processor);
                }
                return Ok(None);
            }
            if self.is_late(slept_first) {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Waits a little; true once it is time to sleep.
    #[inline]
    fn looks_enough(&self, looks: &mut Looks, ring: &ClientEnd) -> bool {
        let looked = looks.again(&self.eagerness, YIELDS);
        if looked != Looked::Spun && ring.is_one_of_many() {
            self.eagerness.is_one_of_many();
        }
        looked == Looked::Enough
    }

    /// Whether all sleeps since the first took as long as they may: each bell begins a wait of the socket's own anew.
    fn is_late(&self, slept_first: Option<Instant>) -> bool {
        slept_first.is_some_and(|first| {
            let patience = Duration::from_nanos(self.patience.load(Ordering::Relaxed));
            first.elapsed() >= patience
        })
    }

    /// What it means that the server has ended the connection, and there is nothing to read.
    #[cold]
    fn after_the_end(&self, ring: &ClientEnd) -> io::Result<usize> {
        let ours = self.closed.load(Ordering::Acquire) && !seeded!("ring_own_end_is_certain");
        if !ours && ring.is_unread() {
            Err(ErrorKind::ConnectionAborted.into())
        } else {
            Ok(0)
        }
    }

    /// Sleeps until the server calls. What it sends beside bells is appended.
    #[cold]
    fn sleep(&self, words: &mut Vec<u8>) -> io::Result<Woken> {
        let before = words.len();
        words.append(&mut self.words.lock());
        if words.len() > before {
            return Ok(Woken::Words);
        }
        if self.socket.receive(words, BELLS_BYTES)? == 0 {
            return Ok(Woken::End);
        }
        let bells = words.get(before..).map_or(0, |words| {
            words
                .as_chunks::<{ DOORBELL.len() }>()
                .0
                .iter()
                .take_while(|word| **word == DOORBELL)
                .count()
        });
        words.drain(before..before + bells * DOORBELL.len());
        Ok(if words.len() > before {
            Woken::Words
        } else {
            Woken::Bell
        })
    }

    #[inline]
    fn call_reader(&self, ring: &ClientEnd) {
        if ring.calls_reader() {
            self.ring_bell();
        }
    }

    /// After making room, and only then: the server does not ask for it twice.
    #[inline]
    fn call_writer(&self, ring: &ClientEnd) {
        if ring.calls_writer() {
            self.ring_bell();
        }
    }

    #[cold]
    fn ring_bell(&self) {
        // As at the server's end.
        let _ = self.socket.send_now(&DOORBELL);
    }
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    Bell,
    /// The server has sent a frame over the socket.
    Words,
    /// The server has ended the connection.
    End,
}

#[cfg(test)]
mod tests;
