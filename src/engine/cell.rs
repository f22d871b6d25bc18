//! A cell: one value as an object keeps it, encoded, in sixteen bytes.
//!
//! Short values lie in the cell itself; longer ones, and all that hold proxies, are shared on the heap, so that copying an element
//! into another container copies no bytes. A cell knows the objects its value refers to, but owns no reference by itself: whoever
//! makes, copies or drops a cell goes through [`Effects`](super::object::Effects), which keeps references and bytes exact.

use byproxy_proto::value::{some_prefix_needed, write_some};
use std::sync::Arc;

/// The longest value that lies in the cell itself.
const INLINE_BYTES_MAX: usize = 14;
/// What a value on the heap occupies beside its bytes: two counts, two slices, the allocator's own.
const HEAP_OVERHEAD: u64 = 64;

/// What an object's id takes in a reply that hands a reference over, at most.
pub(crate) const HANDED_BYTES_MAX: usize = 10;

/// One encoded value.
#[derive(Clone)]
pub(crate) enum Cell {
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Heap(Arc<Heap>),
}

const _: () = assert!(size_of::<Cell>() == 16, "a million small values are to take 16 MB");

#[derive(Debug)]
pub(crate) struct Heap {
    objects: Box<[u64]>,
    bytes: Box<[u8]>,
}

impl Cell {
    /// A cell of a value and the ids of the objects it refers to, repeated as often as it does.
    #[expect(clippy::inline_always, reason = "two moves for nearly every value")]
    #[inline(always)]
    pub(crate) fn new(value: &[u8], objects: &[u64]) -> Self {
        match u8::try_from(value.len()) {
            Ok(len) if value.len() <= INLINE_BYTES_MAX && objects.is_empty() => Self::Inline {
                len,
                bytes: padded(value),
            },
            _ => Self::on_heap(value, objects),
        }
    }

    #[inline(never)]
    fn on_heap(value: &[u8], objects: &[u64]) -> Self {
        Self::Heap(Arc::new(Heap {
            objects: objects.into(),
            bytes: value.into(),
        }))
    }

    /// The encoded value.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(heap) => &heap.bytes,
        }
    }

    /// Appends the encoded value.
    #[expect(clippy::inline_always, reason = "two moves for nearly every cell")]
    #[inline(always)]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Inline { len, bytes } => {
                // All of them, which takes two moves, and then no more than are the value's.
                let end = out.len() + usize::from(*len);
                out.extend_from_slice(bytes);
                out.truncate(end);
            }
            Self::Heap(heap) => out.extend_from_slice(&heap.bytes),
        }
    }

    /// Appends the encoded value as one that is there: with the Some tag where its own first byte demands one.
    #[expect(clippy::inline_always, reason = "a look at one byte before the other")]
    #[inline(always)]
    pub(crate) fn write_some(&self, out: &mut Vec<u8>) {
        if some_prefix_needed(self.bytes()) {
            write_some(out, self.bytes());
        } else {
            self.write(out);
        }
    }

    /// Whether this is the encoded value: [`slice`] equality, without a call for the few bytes that lie in the cell itself.
    #[inline]
    pub(crate) fn is(&self, value: &[u8]) -> bool {
        match self {
            Self::Inline { len, bytes } => {
                usize::from(*len) == value.len() && same_short(&bytes[..usize::from(*len)], value)
            }
            Self::Heap(heap) => *heap.bytes == *value,
        }
    }

    /// The objects the value refers to, repeated as often as it does.
    #[inline]
    pub(crate) fn objects(&self) -> &[u64] {
        match self {
            Self::Inline { .. } => &[],
            Self::Heap(heap) => &heap.objects,
        }
    }

    /// What handing the value over takes in a reply: its bytes, and an id for each reference.
    #[inline]
    pub(crate) fn reply_bytes(&self) -> usize {
        match self {
            Self::Inline { len, .. } => usize::from(*len),
            Self::Heap(heap) => heap.bytes.len() + HANDED_BYTES_MAX * heap.objects.len(),
        }
    }

    /// What the cell is charged for, in bytes, wherever it lies.
    #[inline]
    pub(crate) fn cost(&self) -> u64 {
        match self {
            Self::Inline { .. } => Self::cost_of(0, 0),
            Self::Heap(heap) => Self::cost_of(heap.bytes.len(), heap.objects.len()),
        }
    }

    /// What a cell of so many bytes and objects will be charged for.
    #[inline]
    pub(crate) fn cost_of(bytes: usize, objects: usize) -> u64 {
        let cell = size_of::<Self>() as u64;
        if bytes <= INLINE_BYTES_MAX && objects == 0 {
            cell
        } else {
            cell + HEAP_OVERHEAD + bytes as u64 + 8 * objects as u64
        }
    }
}

/// A value of [`INLINE_BYTES_MAX`] bytes at most, with zeros behind it: its ends are copied, which overlap, and no function is called.
#[inline]
fn padded(value: &[u8]) -> [u8; INLINE_BYTES_MAX] {
    let mut bytes = [0; INLINE_BYTES_MAX];
    let len = value.len().min(INLINE_BYTES_MAX);
    if let (Some(first), Some(last)) = (value.first_chunk::<8>(), value.last_chunk::<8>()) {
        bytes[..8].copy_from_slice(first);
        bytes[len - 8..len].copy_from_slice(last);
    } else if let (Some(first), Some(last)) = (value.first_chunk::<4>(), value.last_chunk::<4>()) {
        bytes[..4].copy_from_slice(first);
        bytes[len - 4..len].copy_from_slice(last);
    } else {
        for (to, &from) in bytes.iter_mut().zip(value) {
            *to = from;
        }
    }
    bytes
}

/// Whether slices of one length, which is [`INLINE_BYTES_MAX`] at most, are equal: by their ends, which overlap.
#[inline]
fn same_short(a: &[u8], b: &[u8]) -> bool {
    if let (Some(a_first), Some(b_first)) = (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        a_first == b_first && a.last_chunk::<8>() == b.last_chunk::<8>()
    } else if let (Some(a_first), Some(b_first)) = (a.first_chunk::<4>(), b.first_chunk::<4>()) {
        a_first == b_first && a.last_chunk::<4>() == b.last_chunk::<4>()
    } else {
        a.iter().eq(b)
    }
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cell({:?})", self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_their_bytes_inline_and_on_the_heap() {
        for len in 0..40 {
            let value: Vec<u8> = (0..len).collect();
            let cell = Cell::new(&value, &[]);
            assert_eq!(cell.bytes(), value);
            let mut out = vec![9];
            cell.write(&mut out);
            assert_eq!((out[0], &out[1..]), (9, value.as_slice()));
            assert!(cell.is(&value));
            for at in 0..value.len() {
                let mut other = value.clone();
                other[at] ^= 1;
                assert!(!cell.is(&other), "byte {at} of {len} makes a difference");
                assert!(!cell.is(&value[..at]));
            }
            assert_eq!(matches!(cell, Cell::Inline { .. }), value.len() <= INLINE_BYTES_MAX);
            assert_eq!(cell.cost(), Cell::cost_of(value.len(), 0));
        }
    }

    #[test]
    fn a_value_with_proxies_lies_on_the_heap_however_short() {
        let cell = Cell::new(&[9, 1, 2, 1], &[2, 2]);
        assert_eq!(
            (cell.objects(), cell.bytes()),
            ([2, 2].as_slice(), [9, 1, 2, 1].as_slice())
        );
        assert_eq!(cell.cost(), Cell::cost_of(4, 2));
        assert_eq!(cell.clone().objects(), [2, 2]);
    }
}
