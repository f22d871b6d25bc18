//! What stands before a frame's value, written from its last byte to its first, into room that was left for it: nothing has to be moved
//! when its length is known.

/// Room, of which the end is written.
pub(super) struct Backwards<'a, const ROOM: usize> {
    room: &'a mut [u8; ROOM],
    /// Where what is written begins.
    start: usize,
}

impl<'a, const ROOM: usize> Backwards<'a, ROOM> {
    /// All of this room is free.
    #[inline]
    pub(super) fn into(room: &'a mut [u8; ROOM]) -> Self {
        Self { room, start: ROOM }
    }

    /// A varint. A straight line for each length that numbers of calls and objects have within hours of calls without a pause.
    #[expect(clippy::inline_always, reason = "so that where it begins stays in a register")]
    #[inline(always)]
    pub(super) fn number(&mut self, value: u64) {
        match value {
            0..0x80 => self.put(groups::<1>(value)),
            0x80..0x4000 => self.put(groups::<2>(value)),
            0x4000..0x20_0000 => self.put(groups::<3>(value)),
            0x20_0000..0x1000_0000 => self.put(groups::<4>(value)),
            0x1000_0000..0x8_0000_0000 => self.put(groups::<5>(value)),
            _ => self.start = Self::number_long(self.room, self.start, value),
        }
    }

    /// Any other, group by group.
    #[cold]
    fn number_long(room: &mut [u8; ROOM], start: usize, value: u64) -> usize {
        let mut head = Backwards { room, start };
        let last = value.ilog2() / 7;
        head.put(groups::<1>(value >> (7 * last)));
        for group in (0..last).rev() {
            let [low, _] = groups::<2>(value >> (7 * group));
            head.put([low]);
        }
        head.start
    }

    #[inline]
    pub(super) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        debug_assert!(self.start >= N, "there is room for the longest of everything");
        let left = self.room.get_mut(..self.start);
        if let Some(place) = left.and_then(<[u8]>::last_chunk_mut) {
            *place = bytes;
            self.start -= N;
        }
    }

    /// The frame's length, with a value of so many bytes behind the room. Returns where in the room the frame begins; nothing if the length
    /// does not fit.
    #[expect(clippy::inline_always, reason = "so that what it returns stays in a register")]
    #[inline(always)]
    pub(super) fn prefix(mut self, value: usize) -> Option<usize> {
        let length = u32::try_from(ROOM - self.start + value).ok()?;
        self.put(length.to_le_bytes());
        Some(self.start)
    }
}

/// The first groups of a number's varint. All but the last say that more follow.
#[inline]
fn groups<const N: usize>(value: u64) -> [u8; N] {
    std::array::from_fn(|at| {
        let [low, ..] = (value >> (7 * at)).to_le_bytes();
        low & 0x7f | if at + 1 < N { 0x80 } else { 0 }
    })
}
