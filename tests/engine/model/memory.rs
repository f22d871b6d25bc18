//! Shared memory: what was given, for whoever fetches it.

use byproxy_proto::value::Value;
use std::sync::{Arc, Weak};

/// One object of shared memory.
pub(crate) struct MemoryModel {
    pub(crate) note: Value,
    /// What is charged for it at least.
    pub(crate) bytes: u64,
    /// What the engine keeps, as long as it does.
    pub(crate) kept: Weak<u64>,
}

impl MemoryModel {
    /// Whether this is what was given.
    pub(crate) fn is(&self, fetched: &Arc<u64>) -> bool {
        std::ptr::eq(self.kept.as_ptr(), Arc::as_ptr(fetched))
    }
}
