//! Frames: how calls and replies lie in a stream of bytes.
//!
//! A frame is a length (four bytes, little endian, counting what follows) and a body. A body begins with one byte for its kind; the
//! rest are fields as postcard would write them, then for a call or a reply one value up to the end. They are written and read by hand,
//! because every call pays for them four times. Nothing here allocates on the path of a small call: writers append to a buffer that the
//! caller reuses, readers borrow.

mod backwards;
mod call;
mod done;
mod error;
mod fields;
mod share;

pub use call::{CALL_ROOM_BYTES, write_call};
use done::read_done_fields;
pub use done::{DONE_ROOM_BYTES, Done, read_done, write_done, write_done_before, write_done_header};
pub use error::FrameError;
pub use share::Share;

use crate::fault::{Fault, FaultCode};
use crate::op::Operation;
use crate::value::{Limits, Raw, Reader, Value, varint};
use fields::Fields;

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
const RING: u8 = 6;
const SHARE: u8 = 7;
const FETCH: u8 = 8;
const DONE: u8 = 1;
const FAULT: u8 = 2;
const RING_MADE: u8 = 3;

/// What one side sends over a lane's socket to wake the other, which sleeps though there is something in their ring: a frame without a body.
pub const DOORBELL: [u8; PREFIX_BYTES] = [0; PREFIX_BYTES];

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
    /// On the control connection: gives the server the descriptor that comes along, to keep as an object.
    Share(Share<'a>),
    /// On the control connection: asks for the descriptor that an object keeps.
    Fetch {
        /// The client's number for it; the reply repeats it.
        number: u64,
        /// The object.
        object: u64,
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
        match body {
            [CALL, rest @ ..] => Self::read_call(rest),
            _ => Self::read_other(body),
        }
    }

    /// Reads a body that is no call.
    fn read_other(body: &'a [u8]) -> Result<Self, FrameError> {
        let (&kind, rest) = body.split_first().ok_or(FrameError::Malformed)?;
        match kind {
            CONFIRM => Ok(Self::Confirm {
                number: only_number(rest)?,
            }),
            DECLINE => Ok(Self::Decline {
                number: only_number(rest)?,
            }),
            RELEASE => read_releases(rest).map(Self::Release),
            GOODBYE if rest.is_empty() => Ok(Self::Goodbye),
            RING => Ok(Self::Ring {
                number: only_number(rest)?,
            }),
            SHARE => Share::read(rest).map(Self::Share),
            FETCH => {
                let mut fields = Reader::new(rest);
                let (number, object) = (fields.varint()?, fields.varint()?);
                if fields.rest.is_empty() {
                    Ok(Self::Fetch { number, object })
                } else {
                    Err(FrameError::Malformed)
                }
            }
            _ => Err(FrameError::Malformed),
        }
    }

    #[inline]
    fn read_call(rest: &'a [u8]) -> Result<Self, FrameError> {
        let mut fields = Reader::new(rest);
        let header = (|| Some((fields.number_spread()?, fields.number()?, fields.number()?)))();
        let (number, code, object) = header.ok_or(FrameError::Malformed)?;
        let code = u16::try_from(code).map_err(|_| FrameError::Malformed)?;
        match Operation::from_code(code) {
            Some(operation) => Ok(Self::Call(Call {
                number,
                operation,
                object,
                arguments: fields.rest,
            })),
            None => Err(FrameError::UnknownOperation { call: number, code }),
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
            Self::Confirm { number } => Fields::of(CONFIRM).number(*number).append(out),
            Self::Decline { number } => Fields::of(DECLINE).number(*number).append(out),
            Self::Release(releases) => {
                Fields::of(RELEASE).number(releases.len() as u64).append(out);
                for &(object, times) in releases {
                    varint(out, object);
                    varint(out, times);
                }
            }
            Self::Goodbye => out.push(GOODBYE),
            Self::Ring { number } => Fields::of(RING).number(*number).append(out),
            Self::Share(share) => share.write(SHARE, out),
            Self::Fetch { number, object } => Fields::of(FETCH).number(*number).number(*object).append(out),
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
    Fields::of(CALL)
        .number(number)
        .number(operation.code().into())
        .number(object)
        .append(out);
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
            DONE => read_done_fields(rest)
                .map(|done| {
                    let Done { number, handed, result } = done;
                    Self::Done { number, handed, result }
                })
                .ok_or(FrameError::Malformed),
            FAULT => read_fault(rest, limits),
            RING_MADE => read_ring(rest),
            _ => Err(FrameError::Malformed),
        }
    }
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
    Fields::of(FAULT)
        .number(number)
        .number(fault.code.number().into())
        .number(fault.message.len() as u64)
        .append(out);
    out.extend_from_slice(fault.message.as_bytes());
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
    Fields::of(RING_MADE)
        .number(number)
        .number(u64::from(fresh))
        .append(out);
}

fn read_releases(rest: &[u8]) -> Result<Vec<(u64, u64)>, FrameError> {
    let mut fields = Reader::new(rest);
    let count = fields.count(2)?;
    if count > RELEASES_MAX {
        return Err(FrameError::Malformed);
    }
    let mut releases = Vec::with_capacity(count);
    for _ in 0..count {
        releases.push((fields.varint()?, fields.varint()?));
    }
    if fields.rest.is_empty() {
        Ok(releases)
    } else {
        Err(FrameError::Malformed)
    }
}

#[cold]
fn read_fault<'a>(rest: &[u8], limits: &Limits) -> Result<Reply<'a>, FrameError> {
    let mut fields = Reader::new(rest);
    let number = fields.varint()?;
    let code = u16::try_from(fields.varint()?).map_err(|_| FrameError::Malformed)?;
    let message = fields.string()?.to_owned();
    let detail = Raw::check(fields.rest, limits).ok().and_then(|raw| raw.to_value().ok());
    let fault = Fault {
        code: FaultCode::from_number(code),
        message,
        detail: detail.unwrap_or(Value::None),
    };
    Ok(Reply::Fault { number, fault })
}

#[cold]
fn read_ring<'a>(rest: &[u8]) -> Result<Reply<'a>, FrameError> {
    let mut fields = Reader::new(rest);
    let number = fields.varint()?;
    match fields.rest {
        [fresh @ (0 | 1)] => Ok(Reply::Ring {
            number,
            fresh: *fresh == 1,
        }),
        _ => Err(FrameError::Malformed),
    }
}

/// The one number that is all of the fields.
#[inline]
fn only_number(rest: &[u8]) -> Result<u64, FrameError> {
    let mut fields = Reader::new(rest);
    let number = fields.varint()?;
    if fields.rest.is_empty() {
        Ok(number)
    } else {
        Err(FrameError::Malformed)
    }
}

#[cfg(test)]
mod tests;
