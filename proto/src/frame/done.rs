//! The reply that nearly every call gets: that it was done, and its result.

use super::backwards::Backwards;
use super::fields::Fields;
use super::{DONE, FrameError, PREFIX_BYTES, Reader, varint, write};

/// How many bytes may stand before the result of a reply that hands over nothing: a length, a kind, a number and a count.
pub const DONE_ROOM_BYTES: usize = PREFIX_BYTES + 1 + 10 + 1;

/// A [`Reply::Done`](super::Reply::Done) by itself, which nearly every reply is.
///
/// ```
/// use byproxy_proto::frame::read_done;
///
/// let done = read_done(&[1, 7, 1, 9, 2, 1]).unwrap();
/// assert_eq!((done.number, done.handed, done.result), (7, vec![9], [2, 1].as_slice()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<'a> {
    /// The call's number.
    pub number: u64,
    /// As in [`Reply::Done`](super::Reply::Done).
    pub handed: Vec<u64>,
    /// One value, unchecked.
    pub result: &'a [u8],
}

/// Reads the body of a [`Reply::Done`](super::Reply::Done); nothing if it is any other.
///
/// ```
/// use byproxy_proto::frame::read_done;
///
/// assert!(read_done(&[1, 7, 0, 2, 1]).is_some_and(|done| done.number == 7));
/// assert_eq!(read_done(b"garbage"), None);
/// ```
#[inline]
pub fn read_done(body: &[u8]) -> Option<Done<'_>> {
    let (&kind, rest) = body.split_first()?;
    if kind == DONE { read_done_fields(rest) } else { None }
}

#[expect(
    clippy::inline_always,
    reason = "nearly every reply is read by this, and its parts stay in registers"
)]
#[inline(always)]
pub(super) fn read_done_fields(rest: &[u8]) -> Option<Done<'_>> {
    let mut fields = Reader::new(rest);
    let number = fields.number_spread()?;
    let mut handed = Vec::new();
    let count = fields.parts(1)?;
    if count > 0 {
        (handed, fields) = read_handed(fields, count)?;
    }
    Some(Done {
        number,
        handed,
        result: fields.rest,
    })
}

fn read_handed(mut fields: Reader<'_>, count: usize) -> Option<(Vec<u64>, Reader<'_>)> {
    // Each id takes at least one byte, so the count can't ask for more memory than was sent.
    let mut handed = Vec::with_capacity(count);
    for _ in 0..count {
        handed.push(fields.number()?);
    }
    Some((handed, fields))
}

/// Appends a [`Reply::Done`](super::Reply::Done) as a whole frame.
///
/// # Errors
/// [`FrameError::TooLarge`] when the body is over the limit; the buffer is then as it was.
///
/// # Examples
///
/// ```
/// use byproxy_proto::frame::write_done;
///
/// let mut out = Vec::new();
/// write_done(&mut out, 512, 7, &[], &[2, 1])?;
/// assert_eq!(out, [5, 0, 0, 0, 1, 7, 0, 2, 1]);
/// # Ok::<(), byproxy_proto::frame::FrameError>(())
/// ```
#[inline]
pub fn write_done(
    out: &mut Vec<u8>,
    limit: usize,
    number: u64,
    handed: &[u64],
    result: &[u8],
) -> Result<(), FrameError> {
    if handed.is_empty() {
        return Fields::of(DONE)
            .number(number)
            .number(0)
            .append_frame(result, limit, out);
    }
    write(out, limit, |out| {
        write_done_header(number, handed, out);
        out.extend_from_slice(result);
        Ok(())
    })
}

/// Writes what stands before the result of a reply that hands over nothing; the result is so many bytes and follows the room. Returns
/// where in it the frame begins; nothing if its length does not fit the prefix.
///
/// ```
/// use byproxy_proto::frame::{DONE_ROOM_BYTES, write_done_before};
///
/// let mut bytes = [0; DONE_ROOM_BYTES + 2];
/// let (room, result) = bytes.split_first_chunk_mut().unwrap();
/// result.copy_from_slice(&[2, 1]);
/// let start = write_done_before(room, 7, result.len()).unwrap();
/// assert_eq!(bytes[start..], [5, 0, 0, 0, 1, 7, 0, 2, 1]);
/// ```
#[expect(clippy::inline_always, reason = "so that what it returns stays in a register")]
#[inline(always)]
pub fn write_done_before(room: &mut [u8; DONE_ROOM_BYTES], number: u64, result: usize) -> Option<usize> {
    let mut head = Backwards::into(room);
    head.put([0]);
    head.number(number);
    head.put([DONE]);
    head.prefix(result)
}

/// Appends the body of a [`Reply::Done`](super::Reply::Done) up to its result, which the caller appends.
///
/// ```
/// let mut body = Vec::new();
/// byproxy_proto::frame::write_done_header(7, &[9], &mut body);
/// byproxy_proto::value::write_none(&mut body);
/// assert_eq!(body, [1, 7, 1, 9, 0]);
/// ```
#[inline]
pub fn write_done_header(number: u64, handed: &[u64], out: &mut Vec<u8>) {
    Fields::of(DONE).number(number).number(handed.len() as u64).append(out);
    for &object in handed {
        varint(out, object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_stands_before_a_result_is_what_is_written_with_it(
            number: u64,
            bits in 0..64_u32,
            result in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let number = number >> bits;
            let mut bytes = [0xff; DONE_ROOM_BYTES].to_vec();
            bytes.extend_from_slice(&result);
            let start = write_done_before(bytes.first_chunk_mut().unwrap(), number, result.len()).unwrap();
            let mut whole = Vec::new();
            write_done(&mut whole, usize::MAX, number, &[], &result).unwrap();
            prop_assert_eq!(bytes.get(start..).unwrap(), whole);
        }
    }

    #[test]
    fn a_result_that_is_too_long_is_none() {
        let write = |result| write_done_before(&mut [0; DONE_ROOM_BYTES], u64::MAX, result);
        assert_eq!((write(0), write(u32::MAX as usize)), (Some(0), None));
    }
}
