//! Indices and ranges of an array, as Python counts: below zero from the end.

use std::ops::{Bound, Range, RangeBounds};

use crate::error::{Error, Result};

/// The place of an index.
#[inline]
pub(super) fn index_in(index: i64, length: usize) -> Result<usize> {
    let place = match usize::try_from(index) {
        Ok(place) => Some(place),
        Err(_) => usize::try_from(index.unsigned_abs())
            .ok()
            .and_then(|back| length.checked_sub(back)),
    };
    match place {
        Some(place) if place < length => Ok(place),
        _ => Err(out_of_range(index, length)),
    }
}

/// The places of a range: what leaves the array at either end is cut off.
pub(super) fn range_in(range: &impl RangeBounds<i64>, length: usize) -> Range<usize> {
    let start = match range.start_bound() {
        Bound::Included(&index) => cut(index, length),
        // Behind the last element, whatever follows.
        Bound::Excluded(&-1) => length,
        Bound::Excluded(&index) => cut(index.saturating_add(1), length),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        // The last element, or one that no array has: whatever follows.
        Bound::Included(&(-1 | i64::MAX)) | Bound::Unbounded => length,
        Bound::Included(&index) => cut(index + 1, length),
        Bound::Excluded(&index) => cut(index, length),
    };
    start..end.max(start)
}

fn cut(index: i64, length: usize) -> usize {
    match usize::try_from(index) {
        Ok(place) => place.min(length),
        Err(_) => length.saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    }
}

/// Whether so many elements have so many places.
pub(super) fn assert_fit(elements: usize, places: usize) -> Result<()> {
    if elements == places {
        return Ok(());
    }
    Err(Error::Misuse(format!(
        "{places} elements of an array can't be replaced by {elements}"
    )))
}

#[cold]
fn out_of_range(index: i64, length: usize) -> Error {
    let from_end = match length {
        0 => String::new(),
        _ => format!(": use 0 to {}, or -1 to -{length} from the end", length - 1),
    };
    Error::IndexOutOfRange(format!(
        "index {index} is outside an array of {length} elements{from_end}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_off_at_both_ends() {
        assert_eq!(range_in(&(1..3), 5), 1..3);
        assert_eq!(range_in(&(-2..), 5), 3..5);
        assert_eq!(range_in(&(..-1), 5), 0..4);
        assert_eq!(range_in(&(-4..=-1), 5), 1..5);
        assert_eq!(range_in(&(-9..=-9), 5), 0..0);
        assert_eq!(range_in(&(3..100), 5), 3..5);
        assert_eq!(range_in(&(100..), 5), 5..5);
        assert_eq!(range_in(&(i64::MIN..=i64::MAX), 5), 0..5);
        assert_eq!(range_in(&.., 0), 0..0);
        assert_eq!(range_in(&(Bound::Excluded(-1), Bound::Unbounded), 5), 5..5);
        let reversed = range_in(&(Bound::Included(3), Bound::Excluded(1)), 5);
        assert_eq!(reversed, 3..3);
    }
}
