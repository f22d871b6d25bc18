//! Short scalars, which nearly all values are: a straight line for each kind.
//!
//! What is long, nested or malformed is none of this module's business: it is not passed over here, and the caller reads it step by step.

use super::tag;

/// What follows the short scalar at the front of `bytes`, if there is one in canonical form.
#[inline]
pub(super) fn pass(bytes: &[u8]) -> Option<&[u8]> {
    pass_if(bytes, |string, after| {
        if is_plain(string) {
            Some(after)
        } else {
            after_utf8(string, after)
        }
    })
}

/// As [`pass`], for what takes a few instructions: strings that are ASCII and two words long at most, and small integers.
#[expect(
    clippy::inline_always,
    reason = "it calls nothing, and so costs its caller nothing else"
)]
#[inline(always)]
pub(super) fn pass_brief(bytes: &[u8]) -> Option<&[u8]> {
    match *bytes {
        [tag::STR, len @ 0..=16, ref rest @ ..] => {
            let (string, after) = rest.split_at_checked(len.into())?;
            is_plain(string).then_some(after)
        }
        [tag::INT, ref rest @ ..] => small_int(rest),
        _ => None,
    }
}

/// As [`pass`], for bytes that were checked before: strings are not looked into.
#[inline]
pub(super) fn pass_checked(bytes: &[u8]) -> Option<&[u8]> {
    pass_if(bytes, |_, after| Some(after))
}

/// How many parts the list or dict at the front of `bytes` has, and what follows its header, if there is one and it is short.
#[inline]
pub(super) fn open(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (parts, rest) = match *bytes {
        [tag::LIST, count @ 0..0x80, ref rest @ ..] => (usize::from(count), rest),
        [tag::DICT, count @ 0..0x80, ref rest @ ..] => (2 * usize::from(count), rest),
        _ => return None,
    };
    (parts <= rest.len()).then_some((parts, rest))
}

#[expect(clippy::inline_always, reason = "it is the whole of the functions around it")]
#[inline(always)]
fn pass_if<'a>(bytes: &'a [u8], after_string: impl FnOnce(&[u8], &'a [u8]) -> Option<&'a [u8]>) -> Option<&'a [u8]> {
    let (&tag, rest) = bytes.split_first()?;
    match tag {
        tag::STR => {
            let (string, after) = counted(rest)?;
            after_string(string, after)
        }
        tag::INT => small_int(rest).or_else(|| match rest {
            [0 | 1, 0x80..=0xff, after @ ..] => groups(after),
            _ => None,
        }),
        tag::NONE => Some(rest),
        tag::BOOL => match rest {
            [0 | 1, after @ ..] => Some(after),
            _ => None,
        },
        tag::FLOAT => rest.get(size_of::<f64>()..),
        tag::BYTES => counted(rest).map(|(_, after)| after),
        _ => None,
    }
}

/// What follows the sign and the varint of an integer, if that has four bytes at most.
#[expect(clippy::inline_always, reason = "a look at a few bytes")]
#[inline(always)]
fn small_int(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        // There is no minus zero.
        [negative @ 0..=1, byte @ 0..0x80, after @ ..] if byte >= negative => Some(after),
        [0 | 1, 0x80..=0xff, 1..0x80, after @ ..]
        | [0 | 1, 0x80..=0xff, 0x80..=0xff, 1..0x80, after @ ..]
        | [0 | 1, 0x80..=0xff, 0x80..=0xff, 0x80..=0xff, 1..0x80, after @ ..] => Some(after),
        _ => None,
    }
}

/// What follows the rest of a varint that has more than one byte and takes no more than 63 bits.
#[inline]
fn groups(rest: &[u8]) -> Option<&[u8]> {
    let last = rest.iter().take(8).position(|&byte| byte < 0x80)?;
    let (groups, after) = rest.split_at_checked(last + 1)?;
    (groups.last() != Some(&0)).then_some(after)
}

/// A length of one byte with so many bytes, and what follows.
#[inline]
fn counted(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    match *rest {
        [len @ 0..0x80, ref rest @ ..] => rest.split_at_checked(len.into()),
        _ => None,
    }
}

/// Whether a string is all ASCII: looked at in words, of which the last may overlap the one before.
#[inline]
pub(super) fn is_plain(string: &[u8]) -> bool {
    let all = match (string.first_chunk(), string.last_chunk()) {
        (Some(first), Some(last)) => {
            let mut all = u64::from_le_bytes(*first) | u64::from_le_bytes(*last);
            if string.len() > 16 {
                let (words, _) = string.as_chunks();
                all |= words.iter().fold(0, |all, word| all | u64::from_le_bytes(*word));
            }
            all
        }
        _ => string.iter().fold(0, |all, byte| all | u64::from(*byte)),
    };
    all & 0x8080_8080_8080_8080 == 0
}

/// What follows a string that is not plain, if it is one.
#[cold]
fn after_utf8<'a>(string: &[u8], after: &'a [u8]) -> Option<&'a [u8]> {
    std::str::from_utf8(string).is_ok().then_some(after)
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn one_byte_anywhere_makes_a_string_other_than_plain() {
        for len in 0..50 {
            let mut string = vec![0x7f; len];
            assert!(is_plain(&string));
            for at in 0..len {
                string[at] = 0x80;
                assert!(!is_plain(&string), "byte {at} of {len}");
                string[at] = 0x7f;
            }
        }
    }
}
