//! The fields before a frame's value, put together on the stack and appended at once: one look at the buffer's room instead of one for
//! each byte.

use super::{FrameError, PREFIX_BYTES};

/// A kind and up to three numbers.
pub(super) struct Fields {
    /// Room for a frame's length, then the fields.
    bytes: [u8; Self::BYTES_MAX],
    len: usize,
}

impl Fields {
    const NUMBERS_MAX: usize = 3;
    const BYTES_MAX: usize = PREFIX_BYTES + 1 + Self::NUMBERS_MAX * 10;

    #[inline]
    pub(super) fn of(kind: u8) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[PREFIX_BYTES] = kind;
        Self {
            bytes,
            len: PREFIX_BYTES + 1,
        }
    }

    /// One more number, as a varint. No more than three may be asked for.
    #[inline]
    #[must_use]
    pub(super) fn number(mut self, mut value: u64) -> Self {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                self.push(low);
                return self;
            }
            self.push(low | 0x80);
        }
    }

    /// Appends the fields.
    #[inline]
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes.get(PREFIX_BYTES..self.len).unwrap_or_default());
    }

    /// Appends the fields and a value as a whole frame.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] when the body is over the limit; the buffer is then as it was.
    #[inline]
    pub(super) fn append_frame(mut self, value: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let bytes = self.len - PREFIX_BYTES + value.len();
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= limit);
        let length = length.ok_or(FrameError::TooLarge { bytes, limit })?;
        if let Some(prefix) = self.bytes.first_chunk_mut() {
            *prefix = length.to_le_bytes();
        }
        // All of the room for fields, because a copy of known length is a few moves.
        let start = out.len();
        out.reserve(Self::BYTES_MAX + value.len());
        out.extend_from_slice(&self.bytes);
        out.truncate(start + self.len);
        out.extend_from_slice(value);
        Ok(())
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        debug_assert!(self.len < Self::BYTES_MAX, "no frame has more fields");
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_are_what_postcard_writes(kind in 0..0x80_u8, bits in 0..64_u32, numbers: (u64, u16, u64)) {
            let (number, code, object) = (numbers.0 >> bits, numbers.1, numbers.2 >> bits);
            let mut out = Vec::new();
            Fields::of(kind).number(number).number(code.into()).number(object).append(&mut out);
            prop_assert_eq!(&out, &postcard::to_allocvec(&(kind, number, code, object)).unwrap());
            let mut frame = vec![7];
            Fields::of(kind).number(number).append_frame(&out, 1 << 20, &mut frame).unwrap();
            let body = super::super::split(&frame[1..], 1 << 20).unwrap().unwrap();
            prop_assert!(body.ends_with(&out));
            prop_assert_eq!(body.len() + PREFIX_BYTES + 1, frame.len());
        }
    }
}
