//! One lane: one connection that carries one call at a time.
//!
//! A lane owns no buffers: they belong to the calling thread, so that an idle lane costs a descriptor and nothing more.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::{self, FrameError, PREFIX_BYTES, Reply};
use byproxy_proto::value::Limits;

use crate::transport::Stream;
use crate::transport::ring::Connected;

/// How much a reply is expected to take at first.
const READ_BYTES: usize = 16 << 10;
/// How often a connection that failed is read for the reason: bells may lie before it, but no more than a socket holds.
const WORDS_READS_MAX: usize = 16;
/// Why a session ends whose server is there, and silent.
pub(super) const FROZEN: &str = "the server did not answer in time, so the session was ended";

/// One connection of a session. It belongs to one thread at a time, wherever it lies: only so that it need not be moved its words are atomic.
#[derive(Debug)]
pub(super) struct Lane {
    /// Its number in the session's list of streams.
    pub(super) id: u64,
    stream: Arc<Stream>,
    /// The last call's.
    number: AtomicU64,
    /// How long its stream waits, in nanoseconds.
    patience: AtomicU64,
    /// From which call on the socket on the lane asks for a ring; zero is never.
    ring_after: AtomicU64,
    /// Calls on the socket since it last asked.
    calls: AtomicU64,
}

/// A patience without end.
const FOREVER: u64 = u64::MAX;

/// Why a call on a lane failed. Whatever it was, the session is over.
#[derive(Debug)]
pub(super) enum LaneError {
    /// The request did not leave as a whole, so the server has not acted on it.
    Unsent(String),
    /// The request was sent, and no reply came.
    Lost(String),
    /// The server said why it closes the connection.
    Ended(Fault),
}

impl LaneError {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Unsent(reason) | Self::Lost(reason) => reason,
            Self::Ended(fault) => &fault.message,
        }
    }
}

impl Lane {
    pub(super) fn new(id: u64, stream: Arc<Stream>, ring_after: u64) -> Self {
        Self {
            id,
            stream,
            number: AtomicU64::new(0),
            patience: AtomicU64::new(FOREVER),
            ring_after: AtomicU64::new(ring_after),
            calls: AtomicU64::new(0),
        }
    }

    /// Before a call: if this lane has become a hot one, lets it go on in a ring.
    #[inline]
    pub(super) fn prepare(&self) -> Result<(), Box<LaneError>> {
        match self.stream.connected() {
            Some(connected) if !connected.is_on_ring() => self.prepare_ring(connected),
            _ => Ok(()),
        }
    }

    #[inline(never)]
    fn prepare_ring(&self, connected: &Connected) -> Result<(), Box<LaneError>> {
        let ring_after = self.ring_after.load(Relaxed);
        let calls = self.calls.load(Relaxed) + 1;
        let asks = ring_after != 0 && calls >= ring_after;
        self.calls.store(if asks { 0 } else { calls }, Relaxed);
        if asks {
            Ok(self.ask_for_ring(connected)?)
        } else {
            Ok(())
        }
    }

    /// Asks for a ring, and goes on in it if there is one to be had.
    #[cold]
    fn ask_for_ring(&self, connected: &Connected) -> Result<(), LaneError> {
        let expected = self.next_number();
        let mut bytes = Vec::new();
        let request = frame::Request::Ring { number: expected };
        append(&mut bytes, |out| request.write(out));
        self.stream
            .send(&bytes, &mut 0)
            .map_err(|error| LaneError::Unsent(failed(&error)))?;
        bytes.clear();
        let mut descriptor = None;
        loop {
            skip_doorbells(&mut bytes);
            let split = frame::split(&bytes, READ_BYTES).map_err(|error| LaneError::Unsent(error.to_string()))?;
            if let Some(body) = split {
                let reply = Reply::read(body, &Limits::default());
                match reply.map_err(|error| LaneError::Unsent(error.to_string()))? {
                    Reply::Ring { number, fresh } if number == expected => {
                        if !connected.go_on_in_ring(descriptor.filter(|_| fresh)) {
                            // This process can't map it, and could not the next one.
                            self.ring_after.store(0, Relaxed);
                        }
                    }
                    Reply::Fault { number, fault } if number == expected => {
                        // There may be a place later; a server that makes no rings never will.
                        let later = fault.code == FaultCode::TooMany;
                        let after = self.ring_after.load(Relaxed);
                        self.ring_after
                            .store(if later { after.saturating_mul(4) } else { 0 }, Relaxed);
                    }
                    Reply::Fault { number: 0, fault } => return Err(LaneError::Ended(fault)),
                    _ => {
                        return Err(LaneError::Unsent(
                            "the server answered another call than was made".to_owned(),
                        ));
                    }
                }
                return Ok(());
            }
            match connected.receive_with_descriptor(&mut bytes, READ_BYTES) {
                Ok((0, _)) => return Err(LaneError::Unsent(closed("end of the stream"))),
                Ok((_, came)) => descriptor = descriptor.or(came),
                Err(error) => return Err(LaneError::Unsent(failed(&error))),
            }
        }
    }

    /// What was received through a ring has been read.
    #[inline]
    pub(super) fn consume(&self) {
        self.stream.consume();
    }

    /// What was delivered through a ring is ours, or goes back. Nothing if it came another way: then the server has to be told.
    pub(super) fn settle(&self, declined: bool) -> Option<Result<(), Box<LaneError>>> {
        let settled = self.stream.settle(declined)?;
        Some(if settled {
            Ok(())
        } else {
            Err(LaneError::Lost(closed("the server ended the session")).into())
        })
    }

    /// The number of the next call.
    #[inline]
    pub(super) fn next_number(&self) -> u64 {
        let number = self.number.load(Relaxed) + 1;
        self.number.store(number, Relaxed);
        number
    }

    /// How long [`Self::receive`] waits.
    #[inline]
    pub(super) fn set_patience(&self, patience: Option<Duration>) -> Result<(), Box<LaneError>> {
        let nanoseconds = patience.map_or(FOREVER, |patience| {
            u64::try_from(patience.as_nanos()).unwrap_or(FOREVER)
        });
        if self.patience.load(Relaxed) == nanoseconds {
            return Ok(());
        }
        self.change_patience(nanoseconds)
    }

    #[inline(never)]
    fn change_patience(&self, nanoseconds: u64) -> Result<(), Box<LaneError>> {
        let patience = (nanoseconds != FOREVER).then(|| Duration::from_nanos(nanoseconds));
        self.stream
            .set_timeout(patience)
            .map_err(|error| LaneError::Unsent(error.to_string()))?;
        self.patience.store(nanoseconds, Relaxed);
        Ok(())
    }

    /// Sends everything.
    #[expect(
        clippy::inline_always,
        reason = "most calls are one straight line from their session to the ring"
    )]
    #[inline(always)]
    pub(super) fn send(&self, bytes: &[u8]) -> Result<(), Box<LaneError>> {
        let mut sent = 0;
        self.stream
            .send(bytes, &mut sent)
            .map_err(|error| self.why_unsent(&error).into())
    }

    /// A server that closes says why, if it can.
    #[cold]
    fn why_unsent(&self, error: &io::Error) -> LaneError {
        self.last_words()
            .map_or_else(|| LaneError::Unsent(failed(error)), LaneError::Ended)
    }

    /// Sends what goes without waiting; returns how many bytes that was. If it was not all, the lane is nobody's until the rest is sent.
    pub(super) fn send_now(&self, bytes: &[u8]) -> Result<usize, LaneError> {
        match self.stream.send_now(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            sent => sent.map_err(|error| self.why_unsent(&error)),
        }
    }

    /// Waits for one whole frame.
    #[expect(
        clippy::inline_always,
        reason = "most calls are one straight line from their session to the ring"
    )]
    #[inline(always)]
    pub(super) fn receive(&self, input: &mut Vec<u8>, limit: usize) -> Result<(), Box<LaneError>> {
        self.receive_some(input, READ_BYTES)?;
        match frame::split(input, limit) {
            Ok(Some(body @ [_, ..])) => {
                let length = PREFIX_BYTES + body.len();
                // One call, one reply: nothing else may follow, but the reason for the end of the session.
                input.truncate(length);
                Ok(())
            }
            _ => self.receive_on(input, limit),
        }
    }

    /// The same when what has come is not a frame yet, or begins with bells.
    #[inline(never)]
    fn receive_on(&self, input: &mut Vec<u8>, limit: usize) -> Result<(), Box<LaneError>> {
        loop {
            if self.stream.connected().is_some_and(Connected::has_ring) {
                skip_doorbells(input);
            }
            let split = frame::split(input, limit)
                .map_err(|error| LaneError::Lost(format!("the server's reply can't be read: {error}")))?;
            if let Some(body) = split {
                let length = PREFIX_BYTES + body.len();
                input.truncate(length);
                return Ok(());
            }
            // Room is made as bytes arrive, so that a wrong length costs no more than was sent.
            let needed = input.first_chunk().map_or(READ_BYTES, |&prefix| {
                usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(0)
            });
            let most = (needed + PREFIX_BYTES)
                .saturating_sub(input.len())
                .clamp(1, input.len().max(READ_BYTES));
            self.receive_some(input, most)?;
        }
    }

    #[expect(
        clippy::inline_always,
        reason = "most calls are one straight line from their session to the ring"
    )]
    #[inline(always)]
    fn receive_some(&self, input: &mut Vec<u8>, most: usize) -> Result<(), Box<LaneError>> {
        match self.stream.receive(input, most) {
            Ok(1..) => Ok(()),
            outcome => Err(why_lost(outcome).into()),
        }
    }

    /// The fault that the server sent before it closed, if it did.
    fn last_words(&self) -> Option<Fault> {
        let mut bytes = Vec::new();
        self.stream.set_timeout(Some(Duration::from_millis(10))).ok()?;
        for _ in 0..WORDS_READS_MAX {
            if self.stream.receive(&mut bytes, READ_BYTES).ok()? == 0 {
                return None;
            }
            // The server may have called before it knew that it would close.
            skip_doorbells(&mut bytes);
            if let Some(body) = frame::split(&bytes, READ_BYTES).ok()? {
                return match Reply::read(body, &Limits::default()).ok()? {
                    Reply::Fault { number: 0, fault } => Some(fault),
                    _ => None,
                };
            }
        }
        None
    }
}

/// Why nothing more can be received.
#[cold]
fn why_lost(outcome: io::Result<usize>) -> LaneError {
    match outcome {
        Ok(_) => LaneError::Lost(closed("end of the stream")),
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => {
            LaneError::Unsent(closed("it had not read the call"))
        }
        Err(error) => LaneError::Lost(failed(&error)),
    }
}

/// Frames without a body, which only woke us.
#[cold]
fn skip_doorbells(bytes: &mut Vec<u8>) {
    while bytes.starts_with(&frame::DOORBELL) {
        bytes.drain(..frame::DOORBELL.len());
    }
}

/// The frame that says goodbye.
pub(super) fn goodbye() -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, |out| frame::Request::Goodbye.write(out));
    bytes
}

/// Appends a frame whose size has been checked.
#[inline]
pub(super) fn append(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let written = frame::write::<FrameError>(out, usize::MAX, |out| {
        body(out);
        Ok(())
    });
    debug_assert!(
        written.is_ok(),
        "frames are checked against the server's limit before they are written"
    );
}

/// Why a stream failed; to block is to have waited for as long as a call may take.
fn failed(error: &io::Error) -> String {
    if error.kind() == ErrorKind::WouldBlock {
        FROZEN.to_owned()
    } else {
        closed(&error.to_string())
    }
}

pub(super) fn closed(reason: &str) -> String {
    format!("the connection to the server was lost ({reason}): it ended, was killed, or ended this session")
}
