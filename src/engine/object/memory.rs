//! Shared memory: something that the driver keeps for clients, and that the engine counts references to.
//!
//! What it is is the driver's business: here it is a [`Resource`], which is dropped with the object, wherever that happens. So it goes with
//! the last reference, and nothing has to be told. There are no operations: clients get the thing itself, by
//! [`Engine::handle_fetch`](crate::engine::Engine::handle_fetch).

use byproxy_proto::value::{Limits, Raw, summary};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What is given back to the system in one small step, about, in bytes.
const BYTES_A_STEP: u64 = 4096;

/// What the driver keeps as an object.
#[derive(Clone)]
pub struct Resource {
    content: Arc<dyn Any + Send + Sync>,
    bytes: u64,
}

/// One object of shared memory.
#[derive(Debug)]
pub(crate) struct MemoryObject {
    resource: Resource,
    /// One value, for whoever fetches it.
    note: Box<[u8]>,
}

impl Resource {
    /// Wraps what is kept, which occupies so many bytes and will never occupy more.
    pub fn new(content: impl Any + Send + Sync, bytes: u64) -> Self {
        Self {
            content: Arc::new(content),
            bytes,
        }
    }

    /// What is kept, if it is of this type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.content.downcast_ref()
    }

    /// Whether it is the very same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.content, &other.content)
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl MemoryObject {
    pub(crate) fn new(resource: Resource, note: &[u8]) -> Self {
        Self {
            resource,
            note: note.into(),
        }
    }

    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(crate) fn note(&self) -> &[u8] {
        &self.note
    }

    /// What it is charged for, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        self.resource.bytes.saturating_add(self.note.len() as u64)
    }

    /// How many small steps it takes to let go of it.
    pub(crate) fn weight(&self) -> usize {
        let steps = self.resource.bytes / BYTES_A_STEP;
        usize::try_from(steps).unwrap_or(usize::MAX).max(1)
    }

    /// Shows what the note says lies there. The rest of it, such as where, says nothing to anybody.
    pub(crate) fn show(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let note = Raw::check(&self.note, &Limits::DEFAULT).ok();
        let mut entries = note.and_then(Raw::dict_items).into_iter().flatten();
        let what = entries.find(|(key, _)| key.as_str() == Some("what"));
        match what.and_then(|(_, what)| what.as_str()) {
            Some(what) => write!(out, "<shared memory: {}>", what.escape_debug()),
            None => write!(out, "<shared memory: {}>", summary(&self.note)),
        }
    }
}
