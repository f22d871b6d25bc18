//! Arguments of the dict operations.

use super::argument::{Pairs, arguments};
use crate::value::Raw;

arguments! {
    /// An operation on a dict with its arguments.
    ///
    /// ```
    /// use byproxy_proto::op::{DictOp, Operation};
    /// use byproxy_proto::value::{self, Limits, Raw};
    ///
    /// let arguments = value::to_vec(&["G1"], &Limits::default())?;
    /// let read = DictOp::read(Operation::DictGet, Raw::assume_checked(&arguments));
    /// assert!(matches!(read, Some(Ok(DictOp::Get { key, .. })) if key.as_str() == Some("G1")));
    /// # Ok::<(), value::EncodeError>(())
    /// ```
    DictOp {
        Insert = DictInsert(key: Raw<'a>, value: Raw<'a>),
        Get = DictGet(key: Raw<'a>),
        Pop = DictPop(key: Raw<'a>),
        Popitem = DictPopitem(),
        Setdefault = DictSetdefault(key: Raw<'a>, value: Raw<'a>),
        Update = DictUpdate(pairs: Pairs<'a>),
        Keys = DictKeys(),
        Values = DictValues(),
        Items = DictItems(),
        Len = DictLen(),
        Contains = DictContains(key: Raw<'a>),
        Delete = DictDelete(key: Raw<'a>),
        Clear = DictClear(),
        Copy = DictCopy(),
        Chunk = DictChunk(cursor: Option<u64>, items_max: u64, backwards: bool),
        CompareAndSet = DictCompareAndSet(key: Raw<'a>, expected: Option<Raw<'a>>, value: Option<Raw<'a>>),
        FetchAdd = DictFetchAdd(key: Raw<'a>, delta: i128, lowest: i128, highest: i128, initial: Option<i128>),
    }
}
