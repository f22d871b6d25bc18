//! One lane: one connection that carries one call at a time.
//!
//! A lane owns no buffers: they belong to the calling thread, so that an idle lane costs a descriptor and nothing more.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::{self, FrameError, PREFIX_BYTES, Reply};
use byproxy_proto::value::Limits;

use crate::backend;
use crate::transport::Stream;
use crate::transport::ring::Connected;

/// How much a reply is expected to take at first.
const READ_BYTES: usize = 16 << 10;
/// How often a connection that failed is read for the reason: bells may lie before it, but no more than a socket holds.
const WORDS_READS_MAX: usize = 16;
/// Why a session ends whose server is there, and silent.
pub(super) const FROZEN: &str = "the server did not answer in time, so the session was ended";
/// Buffers above this capacity are given back after use.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// One connection of a session.
#[derive(Debug)]
pub(super) struct Lane {
    /// Its number in the session's list of streams.
    pub(super) id: u64,
    stream: Arc<Stream>,
    number: u64,
    patience: Option<Duration>,
    /// From which call on the socket on the lane asks for a ring; zero is never.
    ring_after: u64,
    /// Calls on the socket since it last asked.
    calls: u64,
}

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

/// A thread's buffers for one call: a call within a call has others.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Frames to send.
    pub(super) output: Vec<u8>,
    /// The frame that was received, and nothing else.
    pub(super) input: Vec<u8>,
}

impl Buffers {
    /// This thread's.
    #[inline]
    pub(super) fn take() -> Self {
        SPARE.try_with(Cell::take).unwrap_or_default()
    }

    /// Replaces what is to be sent by the confirm of a delivery.
    pub(super) fn confirm(&mut self, number: u64) {
        self.output.clear();
        append(&mut self.output, |out| frame::Request::Confirm { number }.write(out));
    }

    /// Replaces what is to be sent by the decline of a delivery.
    pub(super) fn decline(&mut self, number: u64) {
        self.output.clear();
        append(&mut self.output, |out| frame::Request::Decline { number }.write(out));
    }

    /// Empties them.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.output.clear();
        self.input.clear();
    }

    /// Keeps them for the thread's next call, unless they grew large.
    #[inline]
    pub(super) fn give_back(mut self) {
        for buffer in [&mut self.output, &mut self.input] {
            if buffer.capacity() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
        // A thread that is ending has no place for them any more.
        let _ = SPARE.try_with(|spare| spare.set(self));
    }
}

thread_local! {
    static SPARE: Cell<Buffers> = const { Cell::new(Buffers { output: Vec::new(), input: Vec::new() }) };
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
            number: 0,
            patience: None,
            ring_after,
            calls: 0,
        }
    }

    /// Before a call: if this lane has become a hot one, lets it go on in a ring.
    #[inline]
    pub(super) fn prepare(&mut self) -> Result<(), LaneError> {
        if self.ring_after == 0 || self.stream.connected().is_none_or(Connected::is_on_ring) {
            return Ok(());
        }
        self.calls += 1;
        if self.calls < self.ring_after {
            return Ok(());
        }
        self.calls = 0;
        self.ask_for_ring()
    }

    /// Asks for a ring, and goes on in it if there is one to be had.
    #[cold]
    fn ask_for_ring(&mut self) -> Result<(), LaneError> {
        let Some(connected) = self.stream.connected() else {
            return Ok(());
        };
        self.number += 1;
        let mut bytes = Vec::new();
        let request = frame::Request::Ring { number: self.number };
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
                    Reply::Ring { number, fresh } if number == self.number => {
                        if !connected.go_on_in_ring(descriptor.filter(|_| fresh)) {
                            // This process can't map it, and could not the next one.
                            self.ring_after = 0;
                        }
                    }
                    Reply::Fault { number, fault } if number == self.number => {
                        // There may be a place later; a server that makes no rings never will.
                        let later = fault.code == FaultCode::TooMany;
                        self.ring_after = if later { self.ring_after.saturating_mul(4) } else { 0 };
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
    pub(super) fn settle(&self, declined: bool) -> Option<Result<(), LaneError>> {
        let settled = self.stream.settle(declined)?;
        Some(if settled {
            Ok(())
        } else {
            Err(LaneError::Lost(closed("the server ended the session")))
        })
    }

    /// Appends a call; returns its number. Its size has been checked.
    #[inline]
    pub(super) fn write_call(&mut self, request: &backend::Request<'_>, buffers: &mut Buffers) -> u64 {
        self.number += 1;
        let number = self.number;
        let call = frame::Call {
            number,
            operation: request.operation,
            object: request.object,
            arguments: request.arguments,
        };
        let written = frame::write_call(&mut buffers.output, call);
        debug_assert!(written.is_ok(), "its size has been checked");
        number
    }

    /// How long [`Self::receive`] waits.
    #[inline]
    pub(super) fn set_patience(&mut self, patience: Option<Duration>) -> Result<(), LaneError> {
        if self.patience != patience {
            self.stream
                .set_timeout(patience)
                .map_err(|error| LaneError::Unsent(error.to_string()))?;
            self.patience = patience;
        }
        Ok(())
    }

    /// Sends everything in the output buffer.
    #[inline]
    pub(super) fn send(&self, buffers: &Buffers) -> Result<(), LaneError> {
        let mut sent = 0;
        self.stream.send(&buffers.output, &mut sent).map_err(|error| {
            // A server that closes says why, if it can.
            self.last_words()
                .map_or_else(|| LaneError::Unsent(failed(&error)), LaneError::Ended)
        })
    }

    /// Sends what goes without waiting; returns how many bytes that was. If it was not all, the lane is nobody's until the rest is sent.
    pub(super) fn send_now(&self, bytes: &[u8]) -> Result<usize, LaneError> {
        match self.stream.send_now(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            sent => sent.map_err(|error| LaneError::Unsent(closed(&error.to_string()))),
        }
    }

    /// Waits for one whole frame.
    #[inline]
    pub(super) fn receive(&self, buffers: &mut Buffers, limit: usize) -> Result<(), LaneError> {
        let input = &mut buffers.input;
        let mut most = READ_BYTES;
        loop {
            match self.stream.receive(input, most) {
                Ok(0) => return Err(LaneError::Lost(closed("end of the stream"))),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {
                    return Err(LaneError::Unsent(closed("it had not read the call")));
                }
                Err(error) => return Err(LaneError::Lost(failed(&error))),
            }
            if self.stream.connected().is_some_and(Connected::has_ring) {
                skip_doorbells(input);
            }
            let lost = |error: FrameError| LaneError::Lost(format!("the server's reply can't be read: {error}"));
            if let Some(body) = frame::split(input, limit).map_err(lost)? {
                let length = PREFIX_BYTES + body.len();
                // One call, one reply: nothing else may follow, but the reason for the end of the session.
                input.truncate(length);
                return Ok(());
            }
            // Room is made as bytes arrive, so that a wrong length costs no more than was sent.
            let needed = input.first_chunk().map_or(READ_BYTES, |&prefix| {
                usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(0)
            });
            most = (needed + PREFIX_BYTES)
                .saturating_sub(input.len())
                .clamp(1, input.len().max(READ_BYTES));
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

/// Frames without a body, which only woke us.
#[inline]
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
