//! How much one value may cost.

/// Bounds on one encoded value, checked while it is written and again while it is read.
///
/// A reader never does more work than the bytes it was sent pay for: a list that announces `n` elements must bring at
/// least `n` bytes, a dict two per pair; reading recurses at most [`depth`](Limits::depth) deep; and what the values
/// will occupy once decoded is charged to [`memory`](Limits::memory) before it is allocated.
///
/// ```
/// use byproxy_proto::value::{self, Limits};
///
/// let small = Limits { bytes: 16, ..Limits::default() };
/// assert!(value::to_vec("a string that is too long", &small).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Encoded size of one value, in bytes.
    pub bytes: usize,
    /// How deep values may nest; a scalar is depth 1, `[[1]]` is depth 3. More than [`Limits::DEPTH_MAX`] counts as that.
    pub depth: u32,
    /// What one value may occupy once it is decoded: [`Limits::PART_BYTES`] for each value in it.
    pub memory: usize,
}

impl Limits {
    /// The deepest nesting any limit allows: it keeps recursion, in this crate and in drops, far from the end of a stack.
    pub const DEPTH_MAX: u32 = 128;

    /// What each value, and each part of a value, is charged to [`Limits::memory`]: the size of a [`Value`](super::Value).
    pub const PART_BYTES: usize = 48;

    /// The limits byproxy uses unless told otherwise: 64 MiB, 64 levels, 1 GiB decoded.
    pub const DEFAULT: Limits = Limits {
        bytes: 64 << 20,
        depth: 64,
        memory: 1 << 30,
    };

    /// [`Limits::depth`], held to [`Limits::DEPTH_MAX`].
    #[inline]
    pub(crate) const fn depth_held(&self) -> u32 {
        if self.depth < Self::DEPTH_MAX {
            self.depth
        } else {
            Self::DEPTH_MAX
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const _: () = assert!(size_of::<super::Value>() <= Limits::PART_BYTES);
