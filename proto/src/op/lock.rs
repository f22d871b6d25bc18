//! Arguments of the lock operations.

use super::argument::{Wait, arguments};

arguments! {
    /// An operation on a lock with its arguments.
    LockOp {
        Acquire = LockAcquire(thread: u64, wait: Wait),
        Release = LockRelease(token: Option<u64>),
        Leak = LockLeak(token: u64),
        Locked = LockLocked(),
    }
}
