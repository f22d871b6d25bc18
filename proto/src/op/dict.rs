//! Arguments of the dict operations.

use super::argument::{Pairs, arguments};
use crate::value::Raw;

arguments! {
    /// An operation on a dict with its arguments.
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
