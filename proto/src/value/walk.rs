//! Checking encoded bytes in one pass, without allocating.
//!
//! [`walk`] accepts exactly the bytes that decode to a [`Value`](super::Value): canonical form, within the limits. It
//! runs over every value a server is sent, so scalars take a few instructions and nothing is built.

use super::error::{DecodeError, DecodeErrorKind, Malformed};
use super::reader::Reader;
use super::{Limits, Token, tag};

/// Checks the one value at the front of `bytes` and returns its length; `on_token` is told every proxy in it, in order.
///
/// # Errors
/// When the bytes are no value in canonical form, or the value is over a limit. Tokens seen before the fault have been
/// told already.
///
/// ```
/// use byproxy_proto::value::{walk, Limits};
///
/// let bytes = [7, 2, 0, 3, 0, 5, 99]; // [None, 5], then a byte that is not its business
/// assert_eq!(walk(&bytes, &Limits::default(), |_token| {})?, 6);
/// # Ok::<(), byproxy_proto::value::DecodeError>(())
/// ```
#[inline]
pub fn walk(bytes: &[u8], limits: &Limits, mut on_token: impl FnMut(Token)) -> Result<usize, DecodeError> {
    let mut reader = Reader::new(bytes);
    check(&mut reader, limits, limits.depth_held(), &mut on_token)?;
    let len = bytes.len() - reader.rest.len();
    if len > limits.bytes {
        return Err(DecodeErrorKind::TooLarge {
            size: len,
            limit: limits.bytes,
        }
        .into());
    }
    Ok(len)
}

/// Checks the next value, which may be `depth_left` deep.
pub(crate) fn check(
    reader: &mut Reader<'_>,
    limits: &Limits,
    depth_left: u32,
    on_token: &mut impl FnMut(Token),
) -> Result<(), DecodeError> {
    let mut budget = Budget {
        memory_left: limits.memory,
        limits,
        on_token,
    };
    Ok(value(reader, &mut budget, depth_left)?)
}

/// What is wrong, in a word: the error proper is built once, at the end.
enum Fault {
    Malformed(Malformed),
    TooDeep(u32),
    TooMuch(usize),
}

struct Budget<'a, F> {
    memory_left: usize,
    limits: &'a Limits,
    on_token: &'a mut F,
}

#[inline]
fn value<F: FnMut(Token)>(reader: &mut Reader<'_>, budget: &mut Budget<'_, F>, depth_left: u32) -> Result<(), Fault> {
    if depth_left == 0 {
        return Err(Fault::TooDeep(budget.limits.depth_held()));
    }
    budget.memory_left = match budget.memory_left.checked_sub(Limits::PART_BYTES) {
        Some(left) => left,
        None => return Err(Fault::TooMuch(budget.limits.memory)),
    };
    match reader.byte()? {
        tag::NONE => {}
        tag::BOOL => {
            reader.boolean()?;
        }
        tag::INT => {
            reader.int()?;
        }
        tag::FLOAT => {
            reader.float()?;
        }
        tag::STR => {
            reader.check_string()?;
        }
        tag::BYTES => {
            reader.bytes_counted()?;
        }
        tag::PROXY => (budget.on_token)(Token::read_body(reader)?),
        tag @ (tag::SOME | tag::LIST | tag::DICT) => container(tag, reader, budget, depth_left - 1)?,
        other => return Err(Malformed::Tag(other).into()),
    }
    Ok(())
}

fn container<F: FnMut(Token)>(
    tag: u8,
    reader: &mut Reader<'_>,
    budget: &mut Budget<'_, F>,
    depth_left: u32,
) -> Result<(), Fault> {
    let parts = match tag {
        tag::SOME => {
            reader.some_is_needed()?;
            1
        }
        tag::LIST => reader.count(1)?,
        _ => 2 * reader.count(2)?,
    };
    for _ in 0..parts {
        value(reader, budget, depth_left)?;
    }
    Ok(())
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Fault> for DecodeError {
    #[cold]
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(malformed) => malformed.into(),
            Fault::TooDeep(limit) => DecodeErrorKind::TooDeep { limit }.into(),
            Fault::TooMuch(limit) => DecodeErrorKind::TooLarge {
                size: limit.saturating_add(Limits::PART_BYTES),
                limit,
            }
            .into(),
        }
    }
}
