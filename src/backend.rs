//! The seam between proxies and whatever hosts their objects.
//!
//! A proxy knows a [`Backend`] and an object id, nothing else. The arguments of a call are bytes in a buffer of the calling thread; the
//! reply comes back as borrowed bytes, through a visitor, so that a call allocates nothing on its way. Two backends exist:
//! [`Embedded`](crate::embedded::Embedded) drives an engine in this process, `Remote` is a session with a server process.

use crate::error::Error;
use byproxy_proto::address::Address;
use byproxy_proto::frame::{CALL_ROOM_BYTES, write_call};
use byproxy_proto::op::{Operation, Wait};
use std::cell::Cell;
use std::fmt::Debug;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// One call, borrowed from whoever makes it.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// What to do.
    pub(crate) operation: Operation,
    /// The object to do it to; zero for the server itself.
    pub(crate) object: u64,
    /// One encoded List value, within the limits of values already.
    pub(crate) arguments: &'a mut Arguments,
    /// How long the arguments tell the server to wait, repeated so that no backend has to read them: [`Wait::TRY`] unless the
    /// operation may block. The server counts the time; a backend only chooses a lane by it, or when to look at the clock.
    pub(crate) wait: Wait,
}

/// Arguments, encoded, behind room for what stands before them in a frame: a call is sent from where it was written.
#[derive(Debug)]
pub(crate) struct Arguments {
    bytes: Vec<u8>,
}

/// A thread's buffers for one call: a call within a call has others.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) arguments: Arguments,
    pub(crate) frames: Frames,
}

/// Room for what travels. It is the backend's during a call, and holds nothing between two.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Frames to send.
    pub(crate) output: Vec<u8>,
    /// The frame that was received, and nothing else.
    pub(crate) input: Vec<u8>,
}

/// Capacity above which a thread's buffers are freed rather than kept for its next call.
const KEPT_BYTES_MAX: usize = 512 << 10;

thread_local! {
    /// The buffers of this thread, while no call of it uses them.
    static SPARE: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            bytes: vec![0; CALL_ROOM_BYTES],
        }
    }
}

impl Arguments {
    /// Arguments that are encoded already.
    pub(crate) fn of(value: &[u8]) -> Self {
        let mut arguments = Self::default();
        arguments.bytes.extend_from_slice(value);
        arguments
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(CALL_ROOM_BYTES);
    }

    /// Where they are appended.
    #[inline]
    pub(crate) fn writer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What was appended.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        self.bytes.get(CALL_ROOM_BYTES..).unwrap_or_default()
    }

    /// How many bytes were appended, and they, filled up with zeros, if they are no more than that. Copied as a whole: who takes them from where
    /// they were just written, piece by piece, waits for each piece.
    #[inline]
    pub(crate) fn short<const N: usize>(&mut self) -> Option<(u8, [u8; N])> {
        let len = self.bytes.len().saturating_sub(CALL_ROOM_BYTES);
        let count = u8::try_from(len).ok().filter(|_| len <= N)?;
        self.bytes.extend_from_slice(&[0; N]);
        let short = self.value().first_chunk().copied();
        self.bytes.truncate(CALL_ROOM_BYTES + len);
        Some((count, short?))
    }
}

impl Request<'_> {
    /// The call as a frame. Its size has been checked.
    #[expect(
        clippy::inline_always,
        reason = "most calls are one straight line from their session to the ring"
    )]
    #[inline(always)]
    pub(crate) fn frame(&mut self, number: u64) -> &[u8] {
        let bytes = &mut self.arguments.bytes;
        let length = bytes.len().saturating_sub(CALL_ROOM_BYTES);
        let start = bytes
            .first_chunk_mut()
            .and_then(|room| write_call(room, number, self.operation, self.object, length));
        debug_assert!(start.is_some(), "there is always room, and its size has been checked");
        start.and_then(|start| bytes.get(start..)).unwrap_or_default()
    }
}

/// This thread's buffers while a call uses them. Dropping it keeps them for the thread's next call, unless they grew large.
pub(crate) struct Lent(Option<Box<Buffers>>);

impl Lent {
    #[inline]
    pub(crate) fn take() -> Self {
        Self(SPARE.try_with(Cell::take).ok().flatten())
    }

    /// The buffers, with no arguments in them.
    #[inline]
    pub(crate) fn buffers(&mut self) -> &mut Buffers {
        let buffers = self.written();
        buffers.arguments.clear();
        buffers
    }

    /// The buffers as they are.
    #[inline]
    pub(crate) fn written(&mut self) -> &mut Buffers {
        self.0.get_or_insert_with(Buffers::fresh)
    }
}

impl Drop for Lent {
    #[inline]
    fn drop(&mut self) {
        if let Some(buffers) = self.0.take()
            && buffers.capacity() <= KEPT_BYTES_MAX
        {
            // A thread that is ending has no place for them any more.
            let _ = SPARE.try_with(|spare| spare.set(Some(buffers)));
        }
    }
}

impl Buffers {
    #[expect(clippy::unnecessary_box_returns, reason = "so a word moves, and not nine")]
    #[cold]
    fn fresh() -> Box<Self> {
        Box::default()
    }

    /// That of the largest.
    #[inline]
    fn capacity(&self) -> usize {
        let Frames { output, input } = &self.frames;
        self.arguments
            .bytes
            .capacity()
            .max(output.capacity())
            .max(input.capacity())
    }
}

/// What a call returned, borrowed from where it arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    /// The objects of which this answer hands one reference each to the caller, repeated where it hands over several.
    pub(crate) handed: &'a [u64],
    /// One encoded value. Of a server in another process it is not checked yet.
    pub(crate) result: &'a [u8],
}

/// Reads an answer. False if nothing came of that, not even an error that has what was to be read.
pub(crate) type Reader<'a> = dyn FnMut(Answer<'_>) -> bool + 'a;

/// What became of a descriptor that was given away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    /// The object that keeps it, or that has the name already. One reference to it was handed over.
    pub(crate) object: u64,
    /// It is a new object.
    pub(crate) made: bool,
}

/// Whatever hosts objects: it takes calls and references, for every thread of this process.
pub(crate) trait Backend: Send + Sync + Debug {
    /// The server's random number, which tokens carry.
    fn instance(&self) -> u128;

    /// Where the server listens; nothing if it is in this process.
    fn address(&self) -> Option<Address>;

    /// Makes one call and waits for its one reply, with room for its frames if they have to travel.
    ///
    /// `visit` sees a successful reply exactly once, on this thread, and nothing of this backend is locked meanwhile: it may make calls
    /// and drop handles. Whatever the reply delivers is confirmed after `visit` has returned, and declined if it could not be read or
    /// `visit` unwinds.
    ///
    /// # Errors
    /// A fault comes back by [`Error::from_fault`]. A lost connection is [`Error::Gone`], or [`Error::OutcomeUnknown`] if the request
    /// may have reached the server and what it does may outlive the session. A request over the server's frame limit is [`Error::TooLarge`] and has
    /// not been sent. `visit` has not run in any of these cases, unless confirming a delivery failed: then what it saw is the server's
    /// again, and the caller throws it away.
    fn call(&self, request: Request<'_>, frames: &mut Frames, visit: &mut Reader<'_>) -> Result<(), Error>;

    /// Gives back one reference to an object. Never waits for an answer and never fails: a session that is over has none left.
    fn release(&self, object: u64);

    /// Gives a descriptor of shared memory into the server's keeping, with a name if any, and a note: one value without proxies.
    ///
    /// One round trip.
    ///
    /// # Errors
    /// [`Error::Fault`] with `Unsupported` if no descriptor can travel there, `TooMany` if the server keeps as many as it may;
    /// [`Error::NameTaken`].
    fn share(&self, name: Option<&str>, note: &[u8], descriptor: BorrowedFd<'_>) -> Result<Shared, Error>;

    /// The descriptor that an object keeps, and its note. Hands over a reference to it.
    ///
    /// One round trip.
    ///
    /// # Errors
    /// [`Error::NoSuchObject`], or [`Error::Fault`] if the object keeps none.
    fn fetch(&self, object: u64) -> Result<(OwnedFd, Vec<u8>), Error>;

    /// Whether descriptors can travel there at all.
    ///
    /// # Errors
    /// Why not.
    fn carries_descriptors(&self) -> Result<(), Error>;

    /// Whether the session still stands, as far as is known without asking.
    fn is_open(&self) -> bool;

    /// Ends this process's session: every proxy of it answers `Gone` from now on, and calls that wait return it. Idempotent.
    fn close(&self);
}

/// A number for the calling thread that no other thread of this process has had or will have; never zero.
pub(crate) fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    NUMBER.with(|number| match number.get() {
        0 => {
            let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(fresh);
            fresh
        }
        known => known,
    })
}
