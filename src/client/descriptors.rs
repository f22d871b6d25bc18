//! Descriptors on their way between this process and the server: over the control connection, one request at a time.
//!
//! Lanes carry none, so that receiving on them stays a plain read. A request is short and goes whole or not at all; if it does not go the
//! session stands as before. Once it has gone, anything but its reply ends the session.

use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};

use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::{self, PREFIX_BYTES, Share};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{self, Limits, Token};

use super::lane::{LaneError, append};
use super::{Answered, Remote};
use crate::backend::{Backend as _, Shared};
use crate::error::{Error, Result};
use crate::transport::ring::Connected;

/// How much a reply may take: a note, or a fault's message.
const REPLY_BYTES_MAX: usize = 64 << 10;

impl Remote {
    /// The connection that descriptors travel on, if they can.
    pub(super) fn post(&self) -> Result<&Connected> {
        self.control.connected().ok_or_else(|| {
            let message = "shared memory can't travel to this server: there is no socket between it and this process";
            Error::Fault(Fault::new(FaultCode::Unsupported, message).into())
        })
    }

    /// Gives a descriptor to the server.
    pub(super) fn send_descriptor(
        &self,
        name: Option<&str>,
        note: &[u8],
        descriptor: BorrowedFd<'_>,
    ) -> Result<Shared> {
        let request = |number| frame::Request::Share(Share { number, name, note });
        self.run_errand(Operation::Create, request, Some(descriptor), |handed, result, _| {
            let (token, made): (Token, bool) = value::from_slice(result, &Limits::DEFAULT).ok()?;
            let object = token.object;
            (handed == [object]).then_some(Shared { object, made })
        })
    }

    /// Gets the descriptor of an object from the server, and a reference to the object.
    pub(super) fn ask_for_descriptor(&self, object: u64) -> Result<(OwnedFd, Vec<u8>)> {
        let request = |number| frame::Request::Fetch { number, object };
        let fetched = self.run_errand(Operation::Adopt, request, None, |handed, note, came| {
            (handed == [object]).then(|| (came, note.to_vec()))
        });
        let (came, note) = fetched?;
        if let Some(descriptor) = came {
            return Ok((descriptor, note));
        }
        // The server sent it: there was no place for it in this process.
        self.release(object);
        Err(Error::Io {
            context: "no descriptor is left for shared memory",
            source: ErrorKind::OutOfMemory.into(),
        })
    }

    /// Sends one request over the control connection and reads its reply.
    fn run_errand<'a, R>(
        &self,
        operation: Operation,
        request: impl FnOnce(u64) -> frame::Request<'a>,
        descriptor: Option<BorrowedFd<'_>>,
        read: impl FnOnce(&[u64], &[u8], Option<OwnedFd>) -> Option<R>,
    ) -> Result<R> {
        self.check_alive()?;
        let post = self.post()?;
        let mut errands = self.errands.lock();
        *errands += 1;
        let number = *errands;
        let mut bytes = Vec::new();
        append(&mut bytes, |out| request(number).write(out));
        let sent = match descriptor {
            Some(descriptor) => post.send_with_descriptor(&bytes, descriptor),
            None => self.control.send(&bytes, &mut 0),
        };
        sent.map_err(|error| self.unsent(operation, error))?;
        bytes.clear();
        let lost = |reason: String| self.lose(operation, LaneError::Lost(reason));
        let came = self.receive_errand(post, &mut bytes).map_err(lost)?;
        match self.read_reply(operation, number, &bytes)? {
            Answered::Fault(fault) => Err(Error::from_fault(fault)),
            Answered::Done { handed, result } => {
                let odd = || lost("the server answered what was not asked for".to_owned());
                read(&handed, result, came).ok_or_else(odd)
            }
        }
    }

    /// Why a request did not go. The session is over only if its connection is.
    fn unsent(&self, operation: Operation, error: io::Error) -> Error {
        match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => self.lose(
                operation,
                LaneError::Unsent(format!("the connection to the server was lost: {error}")),
            ),
            _ => Error::Io {
                context: "can't send shared memory to the server",
                source: error,
            },
        }
    }

    /// Waits for the one frame that answers, and the descriptor that comes along, if one does.
    fn receive_errand(&self, post: &Connected, bytes: &mut Vec<u8>) -> Result<Option<OwnedFd>, String> {
        let told = |error: io::Error| match error.kind() {
            ErrorKind::WouldBlock => "the server did not answer in time, so the session was ended".to_owned(),
            _ => format!("the connection to the server was lost ({error})"),
        };
        self.control.set_timeout(self.options.call_timeout).map_err(told)?;
        let mut descriptor = None;
        loop {
            let split = frame::split(bytes, REPLY_BYTES_MAX).map_err(|error| error.to_string())?;
            if let Some(body) = split {
                let length = PREFIX_BYTES + body.len();
                bytes.truncate(length);
                return Ok(descriptor);
            }
            let (count, came) = post.receive_with_descriptor(bytes, REPLY_BYTES_MAX).map_err(told)?;
            if count == 0 {
                return Err("the connection to the server was lost (end of the stream)".to_owned());
            }
            descriptor = descriptor.or(came);
        }
    }
}
