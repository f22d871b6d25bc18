//! Frames: how calls and replies lie in a stream of bytes.
//!
//! A frame is a length (four bytes, little endian, counting what follows) and a body. A body begins with one byte for its kind; the
//! rest are plain postcard fields, then for a call or a reply one value up to the end. Nothing here allocates on the path of a small
//! call: writers append to a buffer that the caller reuses, readers borrow.

use crate::fault::{Fault, FaultCode};
use crate::op::Operation;
use crate::value::{Limits, Raw, Value};
use serde::{Deserialize, Serialize};

/// The bytes before a frame's body.
pub const PREFIX_BYTES: usize = 4;
/// The largest frame a peer may send before it has been let in.
pub const HANDSHAKE_BYTES_MAX: usize = 512;
/// The largest frame otherwise, unless a server is told another limit.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// How much longer than its value a call's or a reply's frame may be.
pub const HEADER_BYTES_MAX: usize = 64;
/// How many objects one release frame may name.
pub const RELEASES_MAX: usize = 4096;

const CALL: u8 = 1;
const CONFIRM: u8 = 2;
const DECLINE: u8 = 3;
const RELEASE: u8 = 4;
const GOODBYE: u8 = 5;
const RING: u8 = 7;
const DONE: u8 = 1;
const FAULT: u8 = 2;
const RING_MADE: u8 = 4;

/// What one side sends over a lane's socket to wake the other, which sleeps though there is something in their ring: a frame without a body.
pub const DOORBELL: [u8; PREFIX_BYTES] = [0; PREFIX_BYTES];

/// The bytes can't be a frame of this protocol.
///
/// ```
/// use byproxy_proto::fault::{Fault, FaultCode};
/// use byproxy_proto::frame::{FrameError, split};
///
/// let error = split(&[255, 255, 0, 0], 512).unwrap_err();
/// assert_eq!(error, FrameError::TooLarge { bytes: 65_535, limit: 512 });
/// assert_eq!(Fault::from(error).code, FaultCode::TooLarge, "what the peer is told");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length prefix is over the limit.
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// What the prefix says.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The body does not begin with a known kind, or its fields do not parse.
    #[error("the frame's body is malformed")]
    Malformed,
    /// The operation's code is not in the table.
    #[error("no operation has code {code}")]
    UnknownOperation {
        /// The call it came with, to answer to.
        call: u64,
        /// The code.
        code: u16,
    },
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::TooLarge { .. } => FaultCode::TooLarge,
            FrameError::Malformed => FaultCode::Malformed,
            FrameError::UnknownOperation { .. } => FaultCode::UnknownOperation,
        };
        Self::new(code, error)
    }
}

/// A call, borrowed from the frame that brought it. Its arguments have not been checked yet: see [`Raw::check`].
///
/// ```
/// use byproxy_proto::frame::{Call, Request};
/// use byproxy_proto::op::Operation;
///
/// let call = Call { number: 1, operation: Operation::ListPop, object: 9, arguments: &[7, 0] };
/// let mut body = Vec::new();
/// Request::Call(call).write(&mut body);
/// assert!(body.ends_with(call.arguments));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The caller's number for it; the reply repeats it.
    pub number: u64,
    /// What to do.
    pub operation: Operation,
    /// The object to do it to; zero for the server itself.
    pub object: u64,
    /// One List value.
    pub arguments: &'a [u8],
}

/// What a client sends once it is let in.
///
/// ```
/// use byproxy_proto::frame::Request;
///
/// let mut body = Vec::new();
/// Request::Release(vec![(9, 1), (300, 2)]).write(&mut body);
/// assert!(matches!(Request::read(&body)?, Request::Release(objects) if objects == [(9, 1), (300, 2)]));
/// # Ok::<(), byproxy_proto::frame::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// Asks for something; answered by exactly one [`Reply`].
    Call(Call<'a>),
    /// Takes what the reply of this number delivered: it is the client's from here on.
    Confirm {
        /// The call's number.
        number: u64,
    },
    /// Gives back what the reply of this number delivered.
    Decline {
        /// The call's number.
        number: u64,
    },
    /// Gives back references: so many to each object.
    Release(Vec<(u64, u64)>),
    /// Ends this lane; the session goes on.
    Goodbye,
    /// Asks that this lane go on in shared memory; answered by [`Reply::Ring`] or a fault.
    Ring {
        /// The client's number for it; the reply repeats it.
        number: u64,
    },
}

/// What a server answers to one call.
///
/// ```
/// use byproxy_proto::frame::{Reply, write_done_header};
/// use byproxy_proto::value::{Limits, write_str};
///
/// let mut body = Vec::new();
/// write_done_header(1, &[], &mut body);
/// write_str(&mut body, "G1");
/// let reply = Reply::read(&body, &Limits::default())?;
/// assert!(matches!(reply, Reply::Done { number: 1, result: b"\x05\x02G1", .. }));
/// # Ok::<(), byproxy_proto::frame::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub enum Reply<'a> {
    /// The call was done.
    Done {
        /// The call's number.
        number: u64,
        /// The objects to each of which this reply hands over one reference, repeated where it hands over several.
        handed: Vec<u64>,
        /// One value, unchecked.
        result: &'a [u8],
    },
    /// The call was refused, and changed nothing unless its fault's description says so.
    Fault {
        /// The call's number; zero when the fault is about the connection itself.
        number: u64,
        /// Why.
        fault: Fault,
    },
    /// This lane may go on in a ring from here on.
    Ring {
        /// The number of the request.
        number: u64,
        /// The ring's descriptor comes along with this frame; otherwise it is the ring that this lane had before.
        fresh: bool,
    },
}

#[derive(Serialize, Deserialize)]
struct CallHeader {
    number: u64,
    operation: u16,
    object: u64,
}

#[derive(Serialize, Deserialize)]
struct FaultHeader<'a> {
    number: u64,
    code: u16,
    message: &'a str,
}

/// Finds the first frame in the front of a stream's bytes: its body, or nothing yet.
///
/// # Errors
/// [`FrameError::TooLarge`] as soon as the prefix is there, before any of the body is waited for.
///
/// # Examples
///
/// ```
/// use byproxy_proto::frame::split;
///
/// assert_eq!(split(&[2, 0, 0, 0, 7], 512)?, None, "a byte is still to come");
/// assert_eq!(split(&[2, 0, 0, 0, 7, 8, 9], 512)?, Some([7, 8].as_slice()));
/// # Ok::<(), byproxy_proto::frame::FrameError>(())
/// ```
#[inline]
pub fn split(bytes: &[u8], limit: usize) -> Result<Option<&[u8]>, FrameError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > limit {
        return Err(FrameError::TooLarge { bytes: length, limit });
    }
    Ok(rest.get(..length))
}

/// Appends a frame whose body is written by a function.
///
/// # Errors
/// What the function returns; the buffer is then as it was. [`Fault`]s with [`FaultCode::TooLarge`] when the body is over the limit.
///
/// # Examples
///
/// ```
/// use byproxy_proto::frame::{self, FrameError, Request};
///
/// let mut out = Vec::new();
/// frame::write(&mut out, 512, |body| {
///     Request::Goodbye.write(body);
///     Ok::<(), FrameError>(())
/// })?;
/// assert_eq!(out, [1, 0, 0, 0, 5]);
/// # Ok::<(), FrameError>(())
/// ```
#[inline]
pub fn write<E: From<FrameError>>(
    out: &mut Vec<u8>,
    limit: usize,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    let written = body(out).and_then(|()| {
        let bytes = out.len() - start - PREFIX_BYTES;
        let too_large = FrameError::TooLarge { bytes, limit };
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= limit).ok_or(too_large)?;
        if let Some(prefix) = out.get_mut(start..start + PREFIX_BYTES) {
            prefix.copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

impl<'a> Request<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] or [`FrameError::UnknownOperation`].
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy_proto::frame::{FrameError, Request};
    ///
    /// assert!(matches!(Request::read(&[2, 7])?, Request::Confirm { number: 7 }));
    /// assert_eq!(Request::read(b"garbage").unwrap_err(), FrameError::Malformed);
    /// # Ok::<(), FrameError>(())
    /// ```
    #[inline]
    pub fn read(body: &'a [u8]) -> Result<Self, FrameError> {
        let (&kind, rest) = body.split_first().ok_or(FrameError::Malformed)?;
        match kind {
            CALL => {
                let (header, arguments) = take::<CallHeader>(rest)?;
                let unknown = FrameError::UnknownOperation {
                    call: header.number,
                    code: header.operation,
                };
                let operation = Operation::from_code(header.operation).ok_or(unknown)?;
                Ok(Self::Call(Call {
                    number: header.number,
                    operation,
                    object: header.object,
                    arguments,
                }))
            }
            CONFIRM => Ok(Self::Confirm {
                number: take_all(rest)?,
            }),
            DECLINE => Ok(Self::Decline {
                number: take_all(rest)?,
            }),
            RELEASE => read_releases(rest).map(Self::Release),
            GOODBYE if rest.is_empty() => Ok(Self::Goodbye),
            RING => Ok(Self::Ring {
                number: take_all(rest)?,
            }),
            _ => Err(FrameError::Malformed),
        }
    }

    /// Appends the body.
    ///
    /// ```
    /// use byproxy_proto::frame::Request;
    ///
    /// let mut body = Vec::new();
    /// Request::Decline { number: 7 }.write(&mut body);
    /// assert_eq!(body, [3, 7]);
    /// ```
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Call(call) => {
                write_call_header(call.number, call.operation, call.object, out);
                out.extend_from_slice(call.arguments);
            }
            Self::Confirm { number } => put(CONFIRM, number, out),
            Self::Decline { number } => put(DECLINE, number, out),
            Self::Release(releases) => put(RELEASE, releases, out),
            Self::Goodbye => out.push(GOODBYE),
            Self::Ring { number } => put(RING, number, out),
        }
    }
}

/// Appends the part of a call's body that stands before its arguments.
///
/// ```
/// use byproxy_proto::frame::{Request, write_call_header};
/// use byproxy_proto::op::Operation;
/// use byproxy_proto::value::write_list_header;
///
/// let mut body = Vec::new();
/// write_call_header(1, Operation::ListPop, 9, &mut body);
/// write_list_header(&mut body, 0);
/// assert!(matches!(Request::read(&body)?, Request::Call(call) if call.operation == Operation::ListPop));
/// # Ok::<(), byproxy_proto::frame::FrameError>(())
/// ```
#[inline]
pub fn write_call_header(number: u64, operation: Operation, object: u64, out: &mut Vec<u8>) {
    put(
        CALL,
        &CallHeader {
            number,
            operation: operation as u16,
            object,
        },
        out,
    );
}

impl<'a> Reply<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy_proto::frame::{FrameError, Reply};
    /// use byproxy_proto::value::Limits;
    ///
    /// let reply = Reply::read(&[1, 7, 0, 2, 1], &Limits::default())?;
    /// assert!(matches!(reply, Reply::Done { number: 7, result: [2, 1], .. }), "true");
    /// assert_eq!(Reply::read(b"garbage", &Limits::default()).unwrap_err(), FrameError::Malformed);
    /// # Ok::<(), FrameError>(())
    /// ```
    #[inline]
    pub fn read(body: &'a [u8], limits: &Limits) -> Result<Self, FrameError> {
        let (&kind, rest) = body.split_first().ok_or(FrameError::Malformed)?;
        match kind {
            DONE => {
                let (number, rest) = take::<u64>(rest)?;
                let (count, rest) = take::<u64>(rest)?;
                // Each id takes at least one byte, so the count can't ask for more memory than was sent.
                let count = usize::try_from(count)
                    .ok()
                    .filter(|&count| count <= rest.len())
                    .ok_or(FrameError::Malformed)?;
                let mut handed = Vec::with_capacity(count);
                let mut rest = rest;
                for _ in 0..count {
                    let (object, tail) = take::<u64>(rest)?;
                    handed.push(object);
                    rest = tail;
                }
                Ok(Self::Done {
                    number,
                    handed,
                    result: rest,
                })
            }
            FAULT => {
                let (header, detail) = take::<FaultHeader<'_>>(rest)?;
                let detail = Raw::check(detail, limits).ok().and_then(|raw| raw.to_value().ok());
                let code = FaultCode::from_number(header.code);
                let fault = Fault {
                    code,
                    message: header.message.to_owned(),
                    detail: detail.unwrap_or(Value::None),
                };
                Ok(Self::Fault {
                    number: header.number,
                    fault,
                })
            }
            RING_MADE => {
                let (number, fresh) = take_all(rest)?;
                Ok(Self::Ring { number, fresh })
            }
            _ => Err(FrameError::Malformed),
        }
    }
}

/// Appends the body of a [`Reply::Done`] up to its result, which the caller appends.
///
/// ```
/// let mut body = Vec::new();
/// byproxy_proto::frame::write_done_header(7, &[9], &mut body);
/// byproxy_proto::value::write_none(&mut body);
/// assert_eq!(body, [1, 7, 1, 9, 0]);
/// ```
#[inline]
pub fn write_done_header(number: u64, handed: &[u64], out: &mut Vec<u8>) {
    put(DONE, &number, out);
    put_plain(&handed, out);
}

/// Appends the body of a [`Reply::Fault`].
///
/// ```
/// use byproxy_proto::fault::{Fault, FaultCode};
/// use byproxy_proto::frame::{Reply, write_fault};
/// use byproxy_proto::value::Limits;
///
/// let empty = Fault::new(FaultCode::Empty, "the queue has no item");
/// let mut body = Vec::new();
/// write_fault(7, &empty, &mut body);
/// assert!(matches!(Reply::read(&body, &Limits::default())?, Reply::Fault { number: 7, fault } if fault == empty));
/// # Ok::<(), byproxy_proto::frame::FrameError>(())
/// ```
pub fn write_fault(number: u64, fault: &Fault, out: &mut Vec<u8>) {
    put(
        FAULT,
        &FaultHeader {
            number,
            code: fault.code.number(),
            message: &fault.message,
        },
        out,
    );
    if crate::value::to_writer(&fault.detail, out, &Limits::default()).is_err() {
        crate::value::write_none(out);
    }
}

/// Appends the body of a [`Reply::Ring`].
///
/// ```
/// use byproxy_proto::frame::{Reply, write_ring};
/// use byproxy_proto::value::Limits;
///
/// let mut body = Vec::new();
/// write_ring(7, true, &mut body);
/// assert!(matches!(Reply::read(&body, &Limits::default())?, Reply::Ring { number: 7, fresh: true }));
/// # Ok::<(), byproxy_proto::frame::FrameError>(())
/// ```
pub fn write_ring(number: u64, fresh: bool, out: &mut Vec<u8>) {
    put(RING_MADE, &(number, fresh), out);
}

fn read_releases(rest: &[u8]) -> Result<Vec<(u64, u64)>, FrameError> {
    let (count, mut rest) = take::<u64>(rest)?;
    let count = usize::try_from(count)
        .ok()
        .filter(|&count| count <= RELEASES_MAX)
        .ok_or(FrameError::Malformed)?;
    let mut releases = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let (release, tail) = take::<(u64, u64)>(rest)?;
        releases.push(release);
        rest = tail;
    }
    if rest.is_empty() {
        Ok(releases)
    } else {
        Err(FrameError::Malformed)
    }
}

#[inline]
fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), FrameError> {
    postcard::take_from_bytes(bytes).map_err(|_| FrameError::Malformed)
}

fn take_all<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, FrameError> {
    let (value, rest) = take(bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(FrameError::Malformed)
    }
}

#[inline]
fn put<T: Serialize + ?Sized>(kind: u8, fields: &T, out: &mut Vec<u8>) {
    out.push(kind);
    put_plain(fields, out);
}

#[inline]
fn put_plain<T: Serialize + ?Sized>(fields: &T, out: &mut Vec<u8>) {
    /// Postcard's own growing flavour takes its buffer by value; this one appends to a borrowed one.
    struct Append<'v>(&'v mut Vec<u8>);

    impl postcard::ser_flavors::Flavor for Append<'_> {
        type Output = ();

        #[inline]
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }

        #[inline]
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }

    // Numbers, strings and sequences of known length always serialise, and appending to a vector never fails.
    let appended = postcard::serialize_with_flavor(fields, Append(out));
    debug_assert!(appended.is_ok(), "plain protocol fields always serialise");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_round_trips_through_its_frame() {
        let call = Call {
            number: 7,
            operation: Operation::ListAppend,
            object: 9,
            arguments: &[7, 1, 0],
        };
        let mut bytes = Vec::new();
        write::<FrameError>(&mut bytes, FRAME_BYTES_MAX, |out| {
            Request::Call(call).write(out);
            Ok(())
        })
        .unwrap();
        assert_eq!(split(bytes.get(..bytes.len() - 1).unwrap(), 100), Ok(None));
        let body = split(&bytes, 100).unwrap().unwrap();
        let Request::Call(read) = Request::read(body).unwrap() else {
            panic!("not a call")
        };
        assert_eq!(
            (read.number, read.operation, read.object),
            (7, Operation::ListAppend, 9)
        );
        assert_eq!(read.arguments, [7, 1, 0]);
    }

    #[test]
    fn a_frame_over_the_limit_leaves_the_buffer_as_it_was() {
        let mut bytes = vec![1, 2, 3];
        let error = write::<FrameError>(&mut bytes, 10, |out| {
            out.extend_from_slice(&[0; 11]);
            Ok(())
        });
        assert_eq!(error, Err(FrameError::TooLarge { bytes: 11, limit: 10 }));
        assert_eq!(bytes, [1, 2, 3]);
    }

    #[test]
    fn releases_are_bounded_and_exact() {
        let mut body = Vec::new();
        Request::Release(vec![(1, 2), (300, 1)]).write(&mut body);
        let Request::Release(read) = Request::read(&body).unwrap() else {
            panic!("not a release")
        };
        assert_eq!(read, [(1, 2), (300, 1)]);
        body.push(0);
        assert!(Request::read(&body).is_err(), "trailing bytes are refused");
        assert!(
            Request::read(&[RELEASE, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err(),
            "a count bomb is refused"
        );
    }

    #[test]
    fn replies_round_trip() {
        let limits = Limits::default();
        let mut body = Vec::new();
        write_done_header(5, &[1, 200], &mut body);
        body.push(0);
        let Reply::Done { number, handed, result } = Reply::read(&body, &limits).unwrap() else {
            panic!("not done")
        };
        assert_eq!(
            (number, handed.as_slice(), result),
            (5, [1, 200].as_slice(), [0].as_slice())
        );

        let fault = Fault::new(FaultCode::Full, "the queue is full").with_detail(3);
        let mut body = Vec::new();
        write_fault(6, &fault, &mut body);
        let Reply::Fault { number, fault: read } = Reply::read(&body, &limits).unwrap() else {
            panic!("not a fault")
        };
        assert_eq!((number, read), (6, fault));
    }
}
