//! One reference to one object of one server.
//!
//! Every proxy is a [`Handle`] with types on it. Cloning one is local; the server is told once, when the last clone is dropped.

use crate::backend::Backend;
use byproxy_proto::value::{Kind, Token};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

/// A counted reference to a shared object. The server counts one reference however many clones there are.
#[derive(Clone)]
pub(crate) struct Handle {
    reference: Arc<Reference>,
    kind: Kind,
}

struct Reference {
    backend: Arc<dyn Backend>,
    object: u64,
    /// The reference is this one's, which is kept for as long.
    lent: Option<Arc<Pass>>,
}

/// A counted reference that goes along with shared memory. Unlike a [`Handle`] it does not keep its session: memory needs no server once it
/// is mapped.
pub(crate) struct Pass {
    backend: Weak<dyn Backend>,
    instance: u128,
    object: u64,
}

impl Handle {
    /// Takes over one reference that the server has counted for this process.
    pub(crate) fn own(backend: Arc<dyn Backend>, object: u64, kind: Kind) -> Self {
        Self {
            reference: Arc::new(Reference {
                backend,
                object,
                lent: None,
            }),
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
        if self.lent.is_none() {
            self.backend.release(self.object);
        }
    }
}

impl Pass {
    /// Takes over one reference that the server has counted for this process.
    pub(crate) fn own(backend: &Arc<dyn Backend>, object: u64) -> Self {
        Self {
            backend: Arc::downgrade(backend),
            instance: backend.instance(),
            object,
        }
    }

    /// The server.
    pub(crate) fn instance(&self) -> u128 {
        self.instance
    }

    /// The same reference as a handle, while its session stands.
    pub(crate) fn lend(self: Arc<Self>) -> Option<Handle> {
        let backend = self.backend.upgrade().filter(|backend| backend.is_open())?;
        let reference = Reference {
            backend,
            object: self.object,
            lent: Some(self),
        };
        Some(Handle {
            reference: Arc::new(reference),
            kind: Kind::MEMORY,
        })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(backend) = self.backend.upgrade() {
            backend.release(self.object);
        }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("object", &self.object)
            .finish_non_exhaustive()
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
