//! A cell: one value as an object keeps it, encoded, in sixteen bytes.
//!
//! Short values lie in the cell itself; longer ones, and all that hold proxies, are shared on the heap, so that copying an element
//! into another container copies no bytes. A cell knows the objects its value refers to, but owns no reference by itself: whoever
//! makes, copies or drops a cell goes through [`Effects`](super::object::Effects), which keeps references and bytes exact.

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
    #[inline]
    pub(crate) fn new(value: &[u8], objects: &[u64]) -> Self {
        match u8::try_from(value.len()) {
            Ok(len) if value.len() <= INLINE_BYTES_MAX && objects.is_empty() => {
                let mut bytes = [0; INLINE_BYTES_MAX];
                bytes[..value.len()].copy_from_slice(value);
                Self::Inline { len, bytes }
            }
            _ => Self::Heap(Arc::new(Heap {
                objects: objects.into(),
                bytes: value.into(),
            })),
        }
    }

    /// The encoded value.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(heap) => &heap.bytes,
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
        self.bytes().len() + HANDED_BYTES_MAX * self.objects().len()
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
