//! The smallest steps of reading: bytes, varints, tags. Nothing here allocates, and nothing reads past the slice.

use std::num::NonZeroU32;

use super::error::{DecodeError, Malformed};
use super::short::is_plain;
use super::tag;

/// The bytes not yet read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next byte, left where it is.
    #[inline]
    pub(crate) fn peek(&self) -> Result<u8, Malformed> {
        self.rest.first().copied().ok_or(Malformed::CutShort)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed::CutShort)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed::CutShort)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    pub(crate) fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Malformed::Bool(other)),
        }
    }

    /// A varint of up to 64 bits, refused unless it is the shortest one.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        match self.varint_short() {
            Some(value) => Ok(value.into()),
            None => u64::try_from(self.varint_long()?).map_err(|_| Malformed::Varint),
        }
    }

    /// A varint of up to 128 bits, refused unless it is the shortest one.
    #[inline]
    pub(crate) fn varint_wide(&mut self) -> Result<u128, Malformed> {
        match self.varint_short() {
            Some(value) => Ok(value.into()),
            None => self.varint_long(),
        }
    }

    /// A varint of one to four bytes, as nearly all are; nothing, and nothing read, if it is another.
    #[inline]
    fn varint_short(&mut self) -> Option<u32> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Some(byte.into())
            }
            [low, high, ref rest @ ..] if high < 0x80 && high != 0 => {
                self.rest = rest;
                Some(u32::from(low & 0x7f) | u32::from(high) << 7)
            }
            [low, middle, high, ref rest @ ..] if high < 0x80 && high != 0 && middle >= 0x80 => {
                self.rest = rest;
                Some(u32::from(low & 0x7f) | u32::from(middle & 0x7f) << 7 | u32::from(high) << 14)
            }
            [first, second, third, fourth, ref rest @ ..]
                if fourth < 0x80 && fourth != 0 && third >= 0x80 && second >= 0x80 =>
            {
                self.rest = rest;
                let low = u32::from(first & 0x7f) | u32::from(second & 0x7f) << 7;
                Some(low | u32::from(third & 0x7f) << 14 | u32::from(fourth) << 21)
            }
            _ => None,
        }
    }

    /// The same as [`Reader::varint`], for those who need not know what is wrong with it.
    #[inline]
    pub(crate) fn number(&mut self) -> Option<u64> {
        if let Some(value) = self.varint_short() {
            return Some(value.into());
        }
        let (value, rest) = number_long(self.rest)?;
        self.rest = rest;
        Some(value)
    }

    /// The same as [`Reader::number`], for one that is seldom short, as a call's is: up to four bytes are read as one word.
    #[expect(
        clippy::inline_always,
        reason = "a few instructions on a word, in the middle of every call"
    )]
    #[inline(always)]
    pub(crate) fn number_spread(&mut self) -> Option<u64> {
        match self.rest.first_chunk().copied().and_then(spread) {
            Some((value, len)) => {
                self.rest = self.rest.get(len..)?;
                Some(value.into())
            }
            None => self.number(),
        }
    }

    fn varint_long(&mut self) -> Result<u128, Malformed> {
        // Most integers fit 63 bits, that is nine bytes; 128-bit shifts are only paid for beyond.
        let (mut low, mut shift) = (0_u64, 0);
        let mut rest = self.rest;
        while shift < 63 {
            let (&byte, after) = rest.split_first().ok_or(Malformed::CutShort)?;
            rest = after;
            low |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                self.rest = rest;
                return if byte == 0 && shift > 0 {
                    Err(Malformed::Varint)
                } else {
                    Ok(u128::from(low))
                };
            }
            shift += 7;
        }
        let mut wide = u128::from(low);
        while shift < 128 {
            let (&byte, after) = rest.split_first().ok_or(Malformed::CutShort)?;
            rest = after;
            let bits = u128::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                return Err(Malformed::Varint);
            }
            wide |= shifted;
            if byte < 0x80 {
                self.rest = rest;
                return if byte == 0 { Err(Malformed::Varint) } else { Ok(wide) };
            }
            shift += 7;
        }
        Err(Malformed::Varint)
    }

    /// A length or count: no more than what the bytes left can hold at `size_min` bytes each.
    #[inline]
    pub(crate) fn count(&mut self, size_min: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed::CutShort)?;
        match count.checked_mul(size_min) {
            Some(bytes_min) if bytes_min <= self.rest.len() => Ok(count),
            _ => Err(Malformed::CutShort),
        }
    }

    /// The same as [`Reader::count`], for those who need not know what is wrong with it.
    #[inline]
    pub(crate) fn parts(&mut self, size_min: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count.checked_mul(size_min)? <= self.rest.len()).then_some(count)
    }

    /// The sign and magnitude of an integer, after its tag.
    #[inline]
    pub(crate) fn int(&mut self) -> Result<(bool, u128), Malformed> {
        let negative = self.boolean()?;
        let magnitude = self.varint_wide()?;
        if negative && (magnitude == 0 || magnitude > 1 << 127) {
            return Err(Malformed::IntRange);
        }
        Ok((negative, magnitude))
    }

    #[inline]
    pub(crate) fn float(&mut self) -> Result<f64, Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(Malformed::CutShort)?;
        self.rest = rest;
        Ok(f64::from_le_bytes(*head))
    }

    #[inline]
    pub(crate) fn bytes_counted(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.count(1)?;
        self.bytes(len)
    }

    /// A string that is only passed over, checked.
    #[inline]
    pub(crate) fn check_string(&mut self) -> Result<(), Malformed> {
        let bytes = self.bytes_counted()?;
        // Most strings are plain; the full check pays for itself only where it is needed.
        if is_plain(bytes) || std::str::from_utf8(bytes).is_ok() {
            Ok(())
        } else {
            Err(Malformed::Utf8)
        }
    }

    /// An integer after its tag, if it is not negative and fits 64 bits, as nearly all do; nothing, and nothing read, if it is another
    /// or malformed.
    #[inline]
    pub(crate) fn natural(&mut self) -> Option<u64> {
        let [0, ref rest @ ..] = *self.rest else { return None };
        let mut after = Self { rest };
        let value = after.number()?;
        *self = after;
        Some(value)
    }

    /// Passes over an integer that was checked before, after its tag.
    #[inline]
    pub(crate) fn skip_int(&mut self) -> Result<(), Malformed> {
        let end = self
            .rest
            .iter()
            .skip(1)
            .position(|&byte| byte < 0x80)
            .ok_or(Malformed::CutShort)?;
        self.rest = self.rest.get(end + 2..).unwrap_or_default();
        Ok(())
    }

    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes_counted()?).map_err(|_| Malformed::Utf8)
    }

    /// The body of a token, after its tag, as bytes: checked.
    #[inline]
    pub(crate) fn token_body(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.rest;
        self.varint_wide()?;
        self.varint()?;
        self.byte()?;
        let len = start.len() - self.rest.len();
        start
            .split_at_checked(len)
            .map(|(body, _)| body)
            .ok_or(Malformed::CutShort)
    }

    /// Checks that, after a tag Some, a None or Some follows.
    #[inline]
    pub(crate) fn some_is_needed(&self) -> Result<(), Malformed> {
        match self.peek()? {
            tag::NONE | tag::SOME => Ok(()),
            other if other <= tag::PROXY => Err(Malformed::NeedlessSome),
            other => Err(Malformed::Tag(other)),
        }
    }

    /// Refuses bytes that follow.
    #[inline]
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing(self.rest.len()).into())
        }
    }
}

/// The varint at the front of four bytes, if it ends in them, and its length.
#[inline]
fn spread(bytes: [u8; 4]) -> Option<(u32, usize)> {
    let word = u32::from_le_bytes(bytes);
    let ends = NonZeroU32::new(!word & 0x8080_8080)?;
    let end = ends.get() & ends.get().wrapping_neg();
    let groups = word & (end - 1);
    // The last group is not zero, or the varint were not the shortest. (Zero itself is, but it is not spread.)
    if groups < end >> 7 {
        return None;
    }
    let pairs = groups & 0x007f_007f | groups >> 1 & 0x3f80_3f80;
    let value = pairs & 0x3fff | pairs >> 2 & 0x0fff_c000;
    Some((value, ends.trailing_zeros() as usize / 8 + 1))
}

fn number_long(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut reader = Reader::new(bytes);
    let value = reader.varint().ok()?;
    Some((value, reader.rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes among which varints of every length, whole, cut and too long, are frequent.
    fn groups() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(0),
            Just(1),
            Just(0x7f),
            Just(0x80),
            Just(0xff),
            0x80..=0xff_u8,
            any::<u8>()
        ];
        proptest::collection::vec(byte, 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// Whatever way a number is read, it is the same number, or none.
        #[test]
        fn every_way_to_read_a_number_reads_the_same(bytes in groups()) {
            let mut reader = Reader::new(&bytes);
            let expected = reader.varint_long().ok().and_then(|wide| u64::try_from(wide).ok());
            let rest = reader.rest;
            let read = |read: &dyn Fn(&mut Reader<'_>) -> Option<u64>| {
                let mut reader = Reader::new(&bytes);
                let value = read(&mut reader)?;
                assert_eq!(reader.rest, rest);
                Some(value)
            };
            prop_assert_eq!(read(&|reader| reader.varint().ok()), expected);
            prop_assert_eq!(read(&|reader| reader.number()), expected);
            prop_assert_eq!(read(&|reader| reader.number_spread()), expected);
        }

        #[test]
        fn a_natural_is_the_integer_it_seems(bytes in groups(), sign in 0..3_u8) {
            let bytes = [&[sign][..], &bytes].concat();
            let (mut whole, mut natural) = (Reader::new(&bytes), Reader::new(&bytes));
            let expected = whole.int().ok().filter(|&(negative, _)| !negative);
            let expected = expected.and_then(|(_, magnitude)| u64::try_from(magnitude).ok());
            prop_assert_eq!(natural.natural(), expected);
            prop_assert_eq!(natural.rest, if expected.is_some() { whole.rest } else { &bytes });
        }
    }
}
