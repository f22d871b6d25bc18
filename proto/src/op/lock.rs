//! Arguments of the lock operations.

use super::argument::{Wait, arguments};

arguments! {
    /// An operation on a lock with its arguments.
    ///
    /// ```
    /// use byproxy_proto::op::{LockOp, Operation};
    /// use byproxy_proto::value::Raw;
    ///
    /// let read = LockOp::read(Operation::LockLocked, Raw::assume_checked(&[7, 0]));
    /// assert!(matches!(read, Some(Ok(LockOp::Locked {}))));
    /// ```
    LockOp {
        Acquire = LockAcquire(thread: u64, wait: Wait),
        Release = LockRelease(token: Option<u64>),
        Leak = LockLeak(token: u64),
        Locked = LockLocked(),
    }
}
