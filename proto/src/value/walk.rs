//! Checking encoded bytes in one pass, without allocating.
//!
//! [`walk`] accepts exactly the bytes that decode to a [`Value`](super::Value): canonical form, within the limits. It
//! runs over every value a server is sent, so scalars take a few instructions and nothing is built.

use super::error::{DecodeError, DecodeErrorKind, Malformed};
use super::reader::Reader;
use super::{Limits, Token, short, tag};

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
    let rest = match flat(bytes, limits) {
        Some(rest) => rest,
        None => check(bytes, limits, limits.depth_held(), &mut on_token)?,
    };
    let len = bytes.len() - rest.len();
    if len > limits.bytes {
        return Err(DecodeErrorKind::TooLarge {
            size: len,
            limit: limits.bytes,
        }
        .into());
    }
    Ok(len)
}

/// Whether `bytes` are one list or dict of a few short scalars within the limits, as most arguments are: then there is no need to
/// [`walk`] them, which would find their whole length and no proxy. If not, that says nothing.
///
/// ```
/// use byproxy_proto::value::{is_flat, walk, Limits};
///
/// let limits = Limits::default();
/// assert!(is_flat(&[7, 2, 0, 3, 0, 5], &limits), "[None, 5]");
/// assert!(!is_flat(&[7, 1, 7, 0], &limits) && walk(&[7, 1, 7, 0], &limits, |_token| {}).is_ok(), "[[]]");
/// assert!(!is_flat(b"garbage", &limits));
/// ```
#[inline]
pub fn is_flat(bytes: &[u8], limits: &Limits) -> bool {
    let Some((mut left, mut rest)) = open_within(bytes, limits).filter(|_| bytes.len() <= limits.bytes) else {
        return false;
    };
    while left > 0 {
        // Whatever takes more than a few instructions is left to a function, and all that comes behind it: so nothing is saved here.
        let Some(after) = short::pass_brief(rest) else {
            return are_flat(rest, left);
        };
        (left, rest) = (left - 1, after);
    }
    rest.is_empty()
}

/// Whether these are so many short scalars.
#[inline(never)]
fn are_flat(rest: &[u8], left: usize) -> bool {
    pass_all(rest, left).is_some_and(<[u8]>::is_empty)
}

/// What follows the list or dict at the front of `bytes`, if all its parts are few and short: most that is checked is such a list of
/// arguments. If they are not, the walk begins anew.
fn flat<'a>(bytes: &'a [u8], limits: &Limits) -> Option<&'a [u8]> {
    let (parts, rest) = open_within(bytes, limits)?;
    pass_all(rest, parts)
}

/// How many parts the list or dict at the front of `bytes` has, if they are few and may be as many, and what follows its header.
#[inline]
fn open_within<'a>(bytes: &'a [u8], limits: &Limits) -> Option<(usize, &'a [u8])> {
    let (parts, rest) = short::open(bytes)?;
    let within = limits.depth >= 2 && limits.memory >= (parts + 1) * Limits::PART_BYTES;
    within.then_some((parts, rest))
}

#[inline]
fn pass_all(rest: &[u8], parts: usize) -> Option<&[u8]> {
    (0..parts).try_fold(rest, |rest, _| short::pass(rest))
}

/// Checks the value at the front of `bytes`, which may be `depth_left` deep; the answer is what follows it.
pub(crate) fn check<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    depth_left: u32,
    on_token: &mut impl FnMut(Token),
) -> Result<&'a [u8], DecodeError> {
    let mut budget = Budget {
        memory_left: limits.memory,
        limits,
        on_token,
    };
    values(bytes, 1, depth_left, &mut budget)
}

struct Budget<'a, F> {
    memory_left: usize,
    limits: &'a Limits,
    on_token: &'a mut F,
}

/// Checks so many values, one after the other; the answer is what follows them.
fn values<'a, F: FnMut(Token)>(
    mut rest: &'a [u8],
    mut left: usize,
    mut depth_left: u32,
    budget: &mut Budget<'_, F>,
) -> Result<&'a [u8], DecodeError> {
    while left > 0 {
        left -= 1;
        if depth_left == 0 {
            return Err(too_deep(budget.limits));
        }
        let Some(memory_left) = budget.memory_left.checked_sub(Limits::PART_BYTES) else {
            return Err(too_much(budget.limits));
        };
        budget.memory_left = memory_left;
        if let Some(after) = short::pass(rest) {
            rest = after;
            continue;
        }
        let parts;
        (parts, rest) = match short::open(rest) {
            Some(opened) => opened,
            None => begin(rest, budget.on_token)?,
        };
        if left == 0 {
            // Nothing follows on this level, so there is nothing to come back for.
            (left, depth_left) = (parts, depth_left - 1);
        } else if parts > 0 {
            rest = values(rest, parts, depth_left - 1, budget)?;
        }
    }
    Ok(rest)
}

/// Checks the value at the front of `bytes` up to its first part; the answer is how many parts it has, and what follows.
#[inline(never)]
fn begin<'a>(bytes: &'a [u8], on_token: &mut impl FnMut(Token)) -> Result<(usize, &'a [u8]), Malformed> {
    let mut reader = Reader::new(bytes);
    let mut parts = 0;
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
        tag::PROXY => on_token(Token::read_body(&mut reader)?),
        tag::SOME => {
            reader.some_is_needed()?;
            parts = 1;
        }
        tag::LIST => parts = reader.count(1)?,
        tag::DICT => parts = 2 * reader.count(2)?,
        other => return Err(Malformed::Tag(other)),
    }
    Ok((parts, reader.rest))
}

#[cold]
fn too_deep(limits: &Limits) -> DecodeError {
    let limit = limits.depth_held();
    DecodeErrorKind::TooDeep { limit }.into()
}

#[cold]
fn too_much(limits: &Limits) -> DecodeError {
    let limit = limits.memory;
    let size = limit.saturating_add(Limits::PART_BYTES);
    DecodeErrorKind::TooLarge { size, limit }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that are often values, or nearly.
    fn nearly_values() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![5 => 0..10_u8, 1 => Just(0x7f), 1 => Just(0x80), 1 => Just(b'a'), 1 => any::<u8>()];
        let groups = proptest::collection::vec(0x80_u8.., 0..20);
        let int = (0..3_u8, groups, 0..0x80_u8)
            .prop_map(|(sign, groups, last)| [&[tag::INT, sign], &groups[..], &[last]].concat());
        let zero_at_the_end = int.clone().prop_map(|mut int| {
            *int.last_mut().unwrap() = 0;
            int
        });
        let text = (0..0x90_u8, any::<u8>(), any::<proptest::sample::Index>()).prop_map(|(len, odd, at)| {
            let mut text = vec![b'a'; len.into()];
            if len > 0 {
                *at.get_mut(&mut text) = odd;
            }
            [&[tag::STR, len], &text[..]].concat()
        });
        let part = prop_oneof![
            4 => proptest::collection::vec(byte, 0..4),
            2 => int,
            1 => zero_at_the_end,
            2 => text,
            1 => "[a-z]{0,9}é[a-z]{0,9}".prop_map(|text| crate::value::to_vec(&text, &Limits::DEFAULT).unwrap()),
            1 => proptest::collection::vec(any::<u8>(), 8).prop_map(|bytes| [&[tag::FLOAT], &bytes[..]].concat()),
        ];
        let parts = proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat());
        let list = (0..6_u8, parts.clone()).prop_map(|(count, parts)| [&[tag::LIST, count], &parts[..]].concat());
        prop_oneof![parts, list]
    }

    /// The same step by step, without a shorter way for anything.
    fn slowly<'a>(
        bytes: &'a [u8],
        limits: &Limits,
        depth: u32,
        parts_left: &mut usize,
    ) -> Result<&'a [u8], DecodeError> {
        if depth == limits.depth_held() {
            return Err(too_deep(limits));
        }
        *parts_left = parts_left.checked_sub(1).ok_or_else(|| too_much(limits))?;
        let (parts, mut rest) = begin(bytes, &mut |_| {})?;
        for _ in 0..parts {
            rest = slowly(rest, limits, depth + 1, parts_left)?;
        }
        Ok(rest)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_short_way_finds_what_the_long_way_finds(bytes in nearly_values(), depth in 0..5_u32, parts in 0..8_usize) {
            let memory = parts * Limits::PART_BYTES + parts;
            let limits = Limits { bytes: 1 << 20, depth, memory };
            let mut parts_left = parts;
            let slowly = slowly(&bytes, &limits, 0, &mut parts_left).map(|rest| bytes.len() - rest.len());
            prop_assert_eq!(is_flat(&bytes, &limits), flat(&bytes, &limits) == Some(&[]));
            prop_assert_eq!(walk(&bytes, &limits, |_| {}), slowly);
        }

        #[test]
        fn what_is_passed_over_as_short_is_one_scalar(bytes in nearly_values()) {
            let begun = begin(&bytes, &mut |_| {});
            if let Some(rest) = short::pass(&bytes) {
                prop_assert_eq!(&begun, &Ok((0, rest)));
                prop_assert_eq!(short::pass_checked(&bytes), Some(rest));
                prop_assert!(short::pass_brief(&bytes).is_none_or(|brief| brief == rest));
            } else {
                prop_assert_eq!(short::pass_brief(&bytes), None);
            }
            if let Some(opened) = short::open(&bytes) {
                prop_assert_eq!(begun, Ok(opened));
            }
        }
    }
}
