//! Arguments of the list operations. Indices count from the end when negative.

use super::argument::{Items, arguments};
use crate::value::Raw;

arguments! {
    /// An operation on a list with its arguments.
    ///
    /// ```
    /// use byproxy_proto::op::{ListOp, Operation};
    /// use byproxy_proto::value::{self, Limits, Raw};
    ///
    /// let arguments = value::to_vec(&(-1, "G1"), &Limits::default())?;
    /// let read = ListOp::read(Operation::ListSet, Raw::assume_checked(&arguments));
    /// assert!(matches!(read, Some(Ok(ListOp::Set { index: -1, item })) if item.as_str() == Some("G1")));
    /// # Ok::<(), value::EncodeError>(())
    /// ```
    ListOp {
        Append = ListAppend(item: Raw<'a>),
        Extend = ListExtend(items: Items<'a>),
        Insert = ListInsert(index: i64, item: Raw<'a>),
        Pop = ListPop(),
        PopAt = ListPopAt(index: i64),
        Remove = ListRemove(item: Raw<'a>),
        Index = ListIndex(item: Raw<'a>, start: i64, stop: Option<i64>),
        Count = ListCount(item: Raw<'a>),
        Reverse = ListReverse(),
        Sort = ListSort(descending: bool),
        Len = ListLen(),
        Contains = ListContains(item: Raw<'a>),
        Get = ListGet(index: i64),
        Set = ListSet(index: i64, item: Raw<'a>),
        Delete = ListDelete(index: i64),
        Slice = ListSlice(start: i64, stop: Option<i64>),
        SetSlice = ListSetSlice(start: i64, stop: Option<i64>, items: Items<'a>),
        DeleteSlice = ListDeleteSlice(start: i64, stop: Option<i64>),
        Clear = ListClear(),
        Copy = ListCopy(),
        Chunk = ListChunk(start: u64, items_max: u64),
        Repeat = ListRepeat(times: i64),
        CompareAndSet = ListCompareAndSet(index: i64, expected: Raw<'a>, item: Raw<'a>),
        FetchAdd = ListFetchAdd(index: i64, delta: i128, lowest: i128, highest: i128),
        Snapshot = ListSnapshot(),
        Replace = ListReplace(version: u64, items: Items<'a>),
    }
}
