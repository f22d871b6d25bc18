//! The smallest steps of reading: bytes, varints, tags. Nothing here allocates, and nothing reads past the slice.

use super::error::{DecodeError, Malformed};
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

    /// A varint of one or two bytes, as nearly all are; nothing, and nothing read, if it is another.
    #[inline]
    fn varint_short(&mut self) -> Option<u16> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Some(byte.into())
            }
            [low, high, ref rest @ ..] if high < 0x80 && high != 0 => {
                self.rest = rest;
                Some(u16::from(low & 0x7f) | u16::from(high) << 7)
            }
            _ => None,
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
        // Most strings are short and plain; the full check pays for itself only where it is needed.
        let all = bytes.iter().fold(0, |all, byte| all | byte);
        if all < 0x80 || std::str::from_utf8(bytes).is_ok() {
            Ok(())
        } else {
            Err(Malformed::Utf8)
        }
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
