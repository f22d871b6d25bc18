//! A range of indices as the operations take it: where it begins, and where it ends.

use std::ops::{Bound, RangeBounds};

/// The index that a range begins at.
pub(super) fn start(range: &impl RangeBounds<i64>) -> i64 {
    match range.start_bound() {
        Bound::Included(&index) => index,
        // Behind the last item, whatever follows.
        Bound::Excluded(&-1) => i64::MAX,
        Bound::Excluded(&index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    }
}

/// The index before which a range ends; nothing for the end of the list.
pub(super) fn stop(range: &impl RangeBounds<i64>) -> Option<i64> {
    match range.end_bound() {
        // The last item, or one that no list has: whatever follows.
        Bound::Included(&(-1 | i64::MAX)) | Bound::Unbounded => None,
        Bound::Included(&index) => Some(index + 1),
        Bound::Excluded(&index) => Some(index),
    }
}
