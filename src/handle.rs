//! One reference to one object of one server.
//!
//! Every proxy is a [`Handle`] with types on it. Cloning one is local; the server is told once, when the last clone is dropped.

use crate::backend::Backend;
use byproxy_proto::value::{Kind, Token};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A counted reference to a shared object. The server counts one reference however many clones there are.
#[derive(Clone)]
pub(crate) struct Handle {
    reference: Arc<Reference>,
    kind: Kind,
}

struct Reference {
    backend: Arc<dyn Backend>,
    object: u64,
}

impl Handle {
    /// Takes over one reference that the server has counted for this process.
    pub(crate) fn own(backend: Arc<dyn Backend>, object: u64, kind: Kind) -> Self {
        Self {
            reference: Arc::new(Reference { backend, object }),
            kind,
        }
    }

    /// The same reference, now that the object's kind is known.
    pub(crate) fn with_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Which object this is, for a value that holds it.
    pub(crate) fn token(&self) -> Token {
        Token {
            instance: self.backend().instance(),
            object: self.object(),
            kind: self.kind,
        }
    }

    /// The object's id on its server.
    #[inline]
    pub(crate) fn object(&self) -> u64 {
        self.reference.object
    }

    /// Who hosts it.
    #[inline]
    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.reference.backend
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.backend.release(self.object);
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        self.object() == other.object() && self.backend().instance() == other.backend().instance()
    }
}

impl Eq for Handle {}

impl Hash for Handle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.backend().instance(), self.object()).hash(state);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.token(), f)
    }
}
