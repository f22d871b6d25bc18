//! Tiny writers that append one encoded value, or the header of one, without serde and without limits.
//!
//! They are for code that puts values together from parts that are encoded already: a reply that is a list of
//! elements is [`list_header`] followed by the elements' bytes.

use super::{Token, tag};

/// Appends `None`.
///
/// ```
/// let mut out = Vec::new();
/// byproxy_proto::value::write_none(&mut out);
/// assert_eq!(out, [0]);
/// ```
#[inline]
pub fn write_none(out: &mut Vec<u8>) {
    out.push(tag::NONE);
}

/// Appends a boolean.
///
/// ```
/// let mut out = Vec::new();
/// byproxy_proto::value::write_bool(&mut out, true);
/// assert_eq!(out, [2, 1]);
/// ```
#[inline]
pub fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(&[tag::BOOL, u8::from(value)]);
}

/// Appends an integer.
///
/// ```
/// let mut out = Vec::new();
/// byproxy_proto::value::write_int(&mut out, -3);
/// assert_eq!(out, [3, 1, 3]);
/// ```
#[inline]
pub fn write_int(out: &mut Vec<u8>, value: i128) {
    write_magnitude(out, value < 0, value.unsigned_abs());
}

/// Appends a non-negative integer.
///
/// ```
/// let mut out = Vec::new();
/// byproxy_proto::value::write_uint(&mut out, 300);
/// assert_eq!(out, [3, 0, 0xac, 0x02]);
/// ```
#[inline]
pub fn write_uint(out: &mut Vec<u8>, value: u64) {
    match in_two_bytes(value) {
        Some([low, 0]) => out.extend_from_slice(&[tag::INT, 0, low]),
        Some([low, high]) => out.extend_from_slice(&[tag::INT, 0, low, high]),
        None => {
            out.extend_from_slice(&[tag::INT, 0]);
            varint_long(out, value);
        }
    }
}

/// Appends a float.
///
/// ```
/// let mut out = Vec::new();
/// byproxy_proto::value::write_float(&mut out, 1.5);
/// assert_eq!(out, [4, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f]);
/// ```
#[inline]
pub fn write_float(out: &mut Vec<u8>, value: f64) {
    out.push(tag::FLOAT);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a string.
///
/// ```
/// let mut out = Vec::new();
/// byproxy_proto::value::write_str(&mut out, "票");
/// assert_eq!(out, [5, 3, 0xe7, 0xa5, 0xa8]);
/// ```
#[inline]
pub fn write_str(out: &mut Vec<u8>, value: &str) {
    header(out, tag::STR, value.len());
    out.extend_from_slice(value.as_bytes());
}

/// Appends bytes.
///
/// ```
/// let mut out = Vec::new();
/// byproxy_proto::value::write_bytes(&mut out, &[7, 8]);
/// assert_eq!(out, [6, 2, 7, 8]);
/// ```
#[inline]
pub fn write_bytes(out: &mut Vec<u8>, value: &[u8]) {
    header(out, tag::BYTES, value.len());
    out.extend_from_slice(value);
}

/// Appends a proxy token.
///
/// ```
/// use byproxy_proto::value::{Kind, Token, write_token};
///
/// let mut out = Vec::new();
/// write_token(&mut out, Token { instance: 1, object: 300, kind: Kind::LIST });
/// assert_eq!(out, [9, 1, 0xac, 0x02, 1]);
/// ```
#[inline]
pub fn write_token(out: &mut Vec<u8>, token: Token) {
    out.push(tag::PROXY);
    token.write_body(out);
}

/// Appends the header of a list; exactly `count` encoded values must follow.
///
/// ```
/// use byproxy_proto::value::{Limits, from_slice, write_bool, write_list_header};
///
/// let mut out = Vec::new();
/// write_list_header(&mut out, 2);
/// write_bool(&mut out, true);
/// write_bool(&mut out, false);
/// assert_eq!(from_slice::<Vec<bool>>(&out, &Limits::default())?, [true, false]);
/// # Ok::<(), byproxy_proto::value::DecodeError>(())
/// ```
#[inline]
pub fn write_list_header(out: &mut Vec<u8>, count: usize) {
    header(out, tag::LIST, count);
}

/// Appends the header of a dict; exactly `count` pairs of encoded key and encoded value must follow.
///
/// ```
/// use byproxy_proto::value::{Limits, Value, from_slice, write_dict_header, write_str, write_uint};
///
/// let mut out = Vec::new();
/// write_dict_header(&mut out, 1);
/// write_str(&mut out, "seats");
/// write_uint(&mut out, 7);
/// assert_eq!(from_slice::<Value>(&out, &Limits::default())?.to_string(), "{'seats': 7}");
/// # Ok::<(), byproxy_proto::value::DecodeError>(())
/// ```
#[inline]
pub fn write_dict_header(out: &mut Vec<u8>, count: usize) {
    header(out, tag::DICT, count);
}

/// Appends `Some(value)` for a value that is encoded already: the tag Some only where it is needed.
///
/// ```
/// use byproxy_proto::value::{Limits, from_slice, write_some};
///
/// let (mut seven, mut none) = (Vec::new(), Vec::new());
/// write_some(&mut seven, &[3, 0, 7]);
/// write_some(&mut none, &[0]);
/// assert_eq!(seven, [3, 0, 7]);
/// assert_eq!(from_slice::<Option<Option<u8>>>(&none, &Limits::default())?, Some(None));
/// # Ok::<(), byproxy_proto::value::DecodeError>(())
/// ```
#[inline]
pub fn write_some(out: &mut Vec<u8>, encoded: &[u8]) {
    if some_prefix_needed(encoded) {
        out.push(tag::SOME);
    }
    out.extend_from_slice(encoded);
}

/// Whether `Some(x)` needs the tag Some before the encoded `x`: only when `x` begins with None or Some.
///
/// ```
/// use byproxy_proto::value::some_prefix_needed;
///
/// assert!(some_prefix_needed(&[0]), "Some(None) is not None");
/// assert!(!some_prefix_needed(&[2, 1]), "Some(true) is true");
/// ```
#[inline]
pub fn some_prefix_needed(encoded: &[u8]) -> bool {
    matches!(encoded.first(), Some(&(tag::NONE | tag::SOME)))
}

#[inline]
pub(crate) fn write_magnitude(out: &mut Vec<u8>, negative: bool, magnitude: u128) {
    out.extend_from_slice(&[tag::INT, u8::from(negative && magnitude != 0)]);
    varint_wide(out, magnitude);
}

/// Appends an integer of 64 bits.
#[inline]
pub(crate) fn write_magnitude_short(out: &mut Vec<u8>, negative: bool, magnitude: u64) {
    if let Some(([first, second, third, fourth], len)) = in_four_bytes(magnitude) {
        // All of them at once, because so many bytes are a few moves.
        let end = out.len() + 2 + len;
        out.extend_from_slice(&[tag::INT, u8::from(negative), first, second, third, fourth]);
        out.truncate(end);
    } else {
        out.extend_from_slice(&[tag::INT, u8::from(negative)]);
        varint_long(out, magnitude);
    }
}

/// Appends a string or bytes. Not in place: what stands around it stays small enough to be put together in registers.
#[inline(never)]
pub(crate) fn write_counted(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    header(out, tag, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a tag and a length or count.
#[inline]
pub(crate) fn header(out: &mut Vec<u8>, tag: u8, count: usize) {
    match in_a_byte(count as u64) {
        Some(count) => out.extend_from_slice(&[tag, count]),
        None => header_long(out, tag, count),
    }
}

#[cold]
fn header_long(out: &mut Vec<u8>, tag: u8, count: usize) {
    out.push(tag);
    varint_long(out, count as u64);
}

#[inline]
pub(crate) fn varint(out: &mut Vec<u8>, value: u64) {
    match in_two_bytes(value) {
        Some([low, 0]) => out.push(low),
        Some(both) => out.extend_from_slice(&both),
        None => varint_long(out, value),
    }
}

fn varint_long(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_group(value) | 0x80);
        value >>= 7;
    }
    out.push(low_group(value));
}

/// The varint of a value that takes no more than two bytes; the second is zero if there is none.
#[inline]
pub(crate) fn in_two_bytes(value: u64) -> Option<[u8; 2]> {
    match value {
        0..0x80 => Some([low_group(value), 0]),
        0x80..0x4000 => Some([low_group(value) | 0x80, low_group(value >> 7)]),
        _ => None,
    }
}

/// The varint of a value that takes no more than four bytes, and how many those are; the others are not to be written.
#[inline]
fn in_four_bytes(value: u64) -> Option<([u8; 4], usize)> {
    let value = u32::try_from(value).ok().filter(|&value| value < 1 << 28)?;
    let groups = value & 0x7f | (value & 0x3f80) << 1 | (value & 0x001f_c000) << 2 | (value & 0x0fe0_0000) << 3;
    let more = value.max(1).ilog2() / 7;
    // All groups but the last say that more follow.
    let follow = 0x8080_8080 & ((1 << (8 * more)) - 1);
    Some(((groups | follow).to_le_bytes(), more as usize + 1))
}

#[inline]
pub(crate) fn varint_wide(out: &mut Vec<u8>, mut value: u128) {
    while value > u128::from(u64::MAX) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low seven bits are all that is wanted"
        )]
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the loop above ends below 2^64")]
    varint(out, value as u64);
}

/// The whole varint of a value that takes one byte.
#[inline]
pub(crate) fn in_a_byte(value: u64) -> Option<u8> {
    u8::try_from(value).ok().filter(|&byte| byte < 0x80)
}

/// How many bytes `value` takes as a varint.
#[inline]
pub(crate) fn varint_len(value: usize) -> usize {
    let bits = (usize::BITS - value.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low seven bits are all that is wanted"
)]
fn low_group(value: u64) -> u8 {
    value as u8 & 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_length_are_what_postcard_writes() {
        for bit in 0..64 {
            for magnitude in [1_u64 << bit, (1 << bit) - 1, (1 << bit) | 1] {
                let expected = postcard::to_allocvec(&magnitude).unwrap();
                for negative in [false, true] {
                    let mut int = Vec::new();
                    write_magnitude_short(&mut int, negative, magnitude);
                    let head = [tag::INT, negative.into()];
                    assert_eq!(int, [&head, expected.as_slice()].concat(), "{magnitude}");
                }
                let mut all = Vec::new();
                varint(&mut all, magnitude);
                assert_eq!(all, expected);
            }
        }
    }
}
