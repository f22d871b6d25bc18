//! Arguments of the operations on the server itself, and on any object whatever its kind.

use super::argument::{Argument, Items, arguments};
use super::batch::BatchCalls;
use crate::value::Raw;

arguments! {
    /// An operation on the server with its arguments.
    ///
    /// `Create` takes contents by kind: a list takes a List of items or nothing, a dict a Dict of pairs or nothing, a queue
    /// `[order, maxsize]`, a lock nothing.
    ///
    /// ```
    /// use byproxy_proto::op::{ManagerOp, Operation};
    /// use byproxy_proto::value::{self, Limits, Raw};
    ///
    /// let arguments = value::to_vec(&["sold"], &Limits::default())?;
    /// let read = ManagerOp::read(Operation::Open, Raw::assume_checked(&arguments));
    /// assert!(matches!(read, Some(Ok(ManagerOp::Open { name: "sold" }))));
    /// # Ok::<(), value::EncodeError>(())
    /// ```
    ManagerOp {
        Ping = Ping(),
        Create = Create(kind: u8, name: Option<&'a str>, contents: Raw<'a>),
        Open = Open(name: &'a str),
        Names = Names(),
        Remove = Remove(name: &'a str),
        Adopt = Adopt(objects: Items<'a>),
        Stats = Stats(),
        Collect = Collect(),
        Show = Show(bytes_max: u64),
        Shutdown = Shutdown(),
        Batch = Batch(calls: BatchCalls<'a>),
    }
}

/// In which order a queue gives its items.
///
/// ```
/// use byproxy_proto::op::QueueOrder;
/// use byproxy_proto::value::{Value, EncodeError};
///
/// assert_eq!(Value::of(&(QueueOrder::Lifo, 100))?.to_string(), "[1, 100]", "what creates a stack of 100");
/// # Ok::<(), EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum QueueOrder {
    /// First in, first out.
    Fifo = 0,
    /// Last in, first out.
    Lifo = 1,
    /// The smallest first by the order of values; equal ones first in, first out.
    Priority = 2,
}

impl serde::Serialize for QueueOrder {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl<'a> Argument<'a> for QueueOrder {
    const EXPECTED: &'static str = "0 (FIFO), 1 (LIFO) or 2 (priority)";

    fn read(raw: Raw<'a>) -> Option<Self> {
        match raw.as_int().and_then(|int| u8::try_from(int).ok())? {
            0 => Some(Self::Fifo),
            1 => Some(Self::Lifo),
            2 => Some(Self::Priority),
            _ => None,
        }
    }
}
