//! Bytes between two processes, or between two threads for tests.
//!
//! A [`Wire`] is the server's end of one connection and never blocks; a [`Stream`] is the client's end and does. Both carry an ordered
//! stream of bytes in each direction and know nothing of calls and objects. What a transport must promise: bytes written before an end
//! closed, or before its process died, are still read by the other end; and after [`Wire::close_reading`] the other end can write
//! nothing more, while what it wrote before can still be read.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub(crate) mod looks;
pub(crate) mod memory;
pub(crate) mod processor;
pub(crate) mod ring;
pub(crate) mod unix;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// The server's end of a connection. All methods return at once, with [`io::ErrorKind::WouldBlock`] where others would wait.
#[derive(Debug)]
pub(crate) enum Wire {
    /// A connection in the file system's socket, and perhaps a ring.
    Unix(ring::Served),
    /// The twin inside this process.
    Memory(memory::End),
}

/// The client's end of a connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// A connection to the file system's socket, and perhaps a ring.
    Unix(ring::Connected),
    /// The twin inside this process.
    Memory(memory::Stream),
}

impl Wire {
    /// Appends what has arrived, at most so many bytes; zero is the end of the stream.
    #[inline]
    pub(crate) fn receive(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        match self {
            Self::Unix(served) => served.socket.receive_now(into, most),
            Self::Memory(end) => end.receive_now(into, most),
        }
    }

    /// The same with the descriptors that came along, where any can: at most two at a time.
    pub(crate) fn receive_with_descriptors(
        &self,
        into: &mut Vec<u8>,
        most: usize,
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<usize> {
        match self {
            Self::Unix(served) => served.socket.receive_now_with_descriptors(into, most, descriptors),
            Self::Memory(end) => end.receive_now(into, most),
        }
    }

    /// Writes a few bytes and a descriptor, all or nothing.
    pub(crate) fn send_with(&self, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::Unix(served) => served.socket.send_with(bytes, descriptor),
            Self::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes as much as there is room for.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(served) => served.socket.send_now(bytes),
            Self::Memory(end) => end.send_now(bytes),
        }
    }

    /// From here on the peer can write nothing more; what it has written can still be received.
    pub(crate) fn close_reading(&self) {
        match self {
            Self::Unix(served) => served.close_reading(),
            Self::Memory(end) => end.close_reading(),
        }
    }

    /// Ends both directions; the peer can still read what was sent.
    pub(crate) fn close(&self) {
        match self {
            Self::Unix(served) => served.close(),
            Self::Memory(end) => end.close(),
        }
    }

    /// This end of a ring, if this kind of connection can have one.
    #[inline]
    pub(crate) fn served(&self) -> Option<&ring::Served> {
        match self {
            Self::Unix(served) => Some(served),
            Self::Memory(_) => None,
        }
    }

    /// The descriptor to wait on, if this wire has one.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Unix(served) => Some(served.socket.descriptor()),
            Self::Memory(_) => None,
        }
    }
}

impl Stream {
    /// Writes all bytes, waiting for room; counts what was written even when it fails.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
        match self {
            Self::Unix(connected) => connected.send(bytes, sent),
            Self::Memory(stream) => stream.send(bytes, sent),
        }
    }

    /// Writes as much as there is room for.
    pub(crate) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(connected) => connected.send_now(bytes),
            Self::Memory(stream) => stream.send_now(bytes),
        }
    }

    /// Appends what arrives, at most so many bytes, waiting for the first; zero is the end of the stream. Fails with
    /// [`io::ErrorKind::WouldBlock`] when the time set by [`Self::set_timeout`] passed, and with [`io::ErrorKind::ConnectionAborted`] at the end
    /// of a stream whose peer has certainly not read all that was sent.
    #[expect(
        clippy::inline_always,
        reason = "most calls are one straight line from their session to the ring"
    )]
    #[inline(always)]
    pub(crate) fn receive(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        match self {
            Self::Unix(connected) => connected.receive(into, most),
            Self::Memory(stream) => stream.receive(into, most),
        }
    }

    /// What was received is this side's from here on; with `declined` it goes back. Nothing if the transport does not know of such a thing:
    /// then the peer is to be told. False if the peer has decided before.
    #[inline]
    pub(crate) fn settle(&self, declined: bool) -> Option<bool> {
        match self {
            Self::Unix(connected) => connected.settle(declined),
            Self::Memory(_) => None,
        }
    }

    /// What was received has been read, and is of no further meaning.
    #[inline]
    pub(crate) fn consume(&self) {
        match self {
            Self::Unix(connected) => connected.consume(),
            Self::Memory(_) => {}
        }
    }

    /// This end of a ring, if this kind of connection can have one.
    #[inline]
    pub(crate) fn connected(&self) -> Option<&ring::Connected> {
        match self {
            Self::Unix(connected) => Some(connected),
            Self::Memory(_) => None,
        }
    }

    /// How long [`Self::receive`] waits, and [`Self::send`] for each part; nothing is for ever.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(connected) => connected.set_timeout(timeout),
            Self::Memory(stream) => {
                stream.set_timeout(timeout);
                Ok(())
            }
        }
    }

    /// Whether the peer has ended the connection, or does so within this time. What it sent before counts as no end.
    pub(crate) fn has_ended(&self, patience: Duration) -> bool {
        match self {
            Self::Unix(connected) => connected.has_ended(patience),
            Self::Memory(stream) => stream.has_ended(patience),
        }
    }

    /// Ends both directions, and wakes a thread that is waiting in [`Self::receive`].
    pub(crate) fn close(&self) {
        match self {
            Self::Unix(connected) => connected.close(),
            Self::Memory(stream) => stream.close(),
        }
    }
}
