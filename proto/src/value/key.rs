//! One form for equal keys.
//!
//! A key (of a dict, a member of a set) is found by its bytes, so equal keys must have equal bytes. Canonical encoding
//! gives that to everything but dicts, whose order does not count, and a few floats. In a key therefore:
//!
//! - the pairs of a dict are sorted by the encoded bytes of their keys, and a key that stands twice is refused;
//! - `-0.0` is `0.0`, and every NaN is the one with the bits `0x7ff8_0000_0000_0000`.
//!
//! Unlike in Python, `1`, `1.0` and `True` are three different keys: a key read back must be what was put in.

use super::error::{DecodeError, DecodeErrorKind, Malformed};
use super::raw::{payload, skip};
use super::reader::Reader;
use super::{Limits, Raw, tag, writer};

/// Puts `raw` into the form that keys have. When it has it already the answer is `false` and `out` is left as it was (nearly
/// always: one look at each part settles it, unless there is a dict); else the key's bytes are appended to `out` and the
/// answer is `true`.
///
/// # Errors
/// [`DecodeErrorKind::DuplicateKey`] when a dict in the key holds a key twice; `out` is then as before.
///
/// ```
/// use byproxy_proto::value::{self, Limits, Raw, canonical_key};
///
/// let bytes = value::to_vec(&-0.0, &Limits::default()).unwrap();
/// let mut out = Vec::new();
/// assert!(canonical_key(Raw::assume_checked(&bytes), &mut out)?);
/// assert_eq!(out, value::to_vec(&0.0, &Limits::default()).unwrap());
/// # Ok::<(), value::DecodeError>(())
/// ```
#[expect(clippy::inline_always, reason = "for nearly every key it is a look at one byte")]
#[inline(always)]
pub fn canonical_key(raw: Raw<'_>, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
    match raw.bytes().first() {
        // Nearly all keys; they have one form.
        Some(&(tag::STR | tag::INT)) => Ok(false),
        _ if is_settled(raw) => Ok(false),
        _ => rewrite(raw, out),
    }
}

/// Whether there is nothing in it that could have two forms.
fn is_settled(raw: Raw<'_>) -> bool {
    let mut reader = Reader::new(raw.bytes());
    while let Ok(tag) = reader.byte() {
        let settled = match tag {
            tag::FLOAT => reader
                .float()
                .is_ok_and(|value| normal_float(value).to_bits() == value.to_bits()),
            tag::DICT => reader.count(2).is_ok_and(|count| count <= 1),
            _ => payload(tag, &mut reader).is_ok(),
        };
        if !settled {
            return false;
        }
    }
    true
}

fn rewrite(raw: Raw<'_>, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
    let start = out.len();
    let result = normalise(&mut Reader::new(raw.bytes()), out, Twice::Refused, Limits::DEPTH_MAX);
    let changed = out.get(start..) != Some(raw.bytes());
    if result.is_err() || !changed {
        out.truncate(start);
    }
    result.map(|()| changed)
}

/// What to do with a key that stands twice in a dict.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twice {
    Refused,
    /// Sorted by value then: the order of values needs an answer for every dict.
    Kept,
}

/// Appends the next value to `out` in key form.
pub(crate) fn normalise(
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    twice: Twice,
    depth_left: u32,
) -> Result<(), DecodeError> {
    let Some(depth_left) = depth_left.checked_sub(1) else {
        return Err(DecodeErrorKind::TooDeep {
            limit: Limits::DEPTH_MAX,
        }
        .into());
    };
    match reader.peek()? {
        tag::LIST => {
            reader.byte()?;
            let count = reader.count(1)?;
            writer::write_list_header(out, count);
            for _ in 0..count {
                normalise(reader, out, twice, depth_left)?;
            }
            Ok(())
        }
        tag::DICT => {
            reader.byte()?;
            let count = reader.count(2)?;
            writer::write_dict_header(out, count);
            let start = out.len();
            let mut pairs = Vec::with_capacity(count);
            for _ in 0..count {
                let key_at = out.len();
                normalise(reader, out, twice, depth_left)?;
                let value_at = out.len();
                normalise(reader, out, twice, depth_left)?;
                pairs.push(Pair {
                    key_at,
                    value_at,
                    end: out.len(),
                });
            }
            sort(out, start, &mut pairs, twice)
        }
        tag::FLOAT => {
            reader.byte()?;
            writer::write_float(out, normal_float(reader.float()?));
            Ok(())
        }
        _ => {
            let before = reader.rest;
            skip(reader).ok_or(Malformed::CutShort)?;
            let (value, _) = before
                .split_at_checked(before.len() - reader.rest.len())
                .ok_or(Malformed::CutShort)?;
            out.extend_from_slice(value);
            Ok(())
        }
    }
}

/// Where a pair stands in the output.
struct Pair {
    key_at: usize,
    value_at: usize,
    end: usize,
}

impl Pair {
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.key_at..self.value_at).unwrap_or_default()
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.value_at..self.end).unwrap_or_default()
    }
}

/// Sorts the pairs that stand in `out` from `start` on.
fn sort(out: &mut Vec<u8>, start: usize, pairs: &mut [Pair], twice: Twice) -> Result<(), DecodeError> {
    if !pairs.is_sorted_by(|a, b| a.key(out) < b.key(out)) {
        pairs.sort_unstable_by(|a, b| (a.key(out), a.value(out)).cmp(&(b.key(out), b.value(out))));
        let mut sorted = Vec::with_capacity(out.len() - start);
        for pair in pairs.iter() {
            sorted.extend_from_slice(pair.key(out));
            sorted.extend_from_slice(pair.value(out));
        }
        if twice == Twice::Refused && !pairs.is_sorted_by(|a, b| a.key(out) < b.key(out)) {
            return Err(DecodeErrorKind::DuplicateKey.into());
        }
        out.truncate(start);
        out.extend_from_slice(&sorted);
    }
    Ok(())
}

fn normal_float(value: f64) -> f64 {
    const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0000);
    if value.is_nan() {
        NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    }
}
