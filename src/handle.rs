//! One reference to one object of one server.
//!
//! Every proxy is a [`Handle`] with types on it. Cloning one is local; the server is told once, when the last clone is dropped.
//!
//! A clone of a proxy has a count of its own ([`Handle::apart`]). A guard of a lock keeps its object alive by a clone of the handle, as does
//! an item on loan, so that threads which take many, each with its own proxy, would else push the one count from processor to processor.

use crate::backend::Backend;
use byproxy_proto::value::{Kind, Token};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

/// A counted reference to a shared object. The server counts one reference however many clones there are. Clones share a count.
#[derive(Clone)]
pub(crate) struct Handle {
    reference: Arc<Reference>,
    kind: Kind,
}

struct Reference {
    backend: Arc<dyn Backend>,
    /// The backend's, which every call needs.
    instance: u128,
    object: u64,
    of: Origin,
}

/// Whose the reference is that the server counts.
enum Origin {
    /// This one's: it is given back at the end.
    Own,
    /// Another one's, which is kept for as long.
    Apart(Arc<Reference>),
    /// This one's, likewise.
    Lent { _pass: Arc<Pass> },
}

/// A counted reference that goes along with shared memory. Unlike a [`Handle`] it does not keep its session: memory needs no server once it
/// is mapped.
pub(crate) struct Pass {
    backend: Weak<dyn Backend>,
    instance: u128,
    object: u64,
}

impl Handle {
    fn new(reference: Reference, kind: Kind) -> Self {
        Self {
            reference: Arc::new(reference),
            kind,
        }
    }

    /// Takes over one reference that the server has counted for this process.
    pub(crate) fn own(backend: Arc<dyn Backend>, object: u64, kind: Kind) -> Self {
        Self::new(Reference::new(backend, object, Origin::Own), kind)
    }

    /// The same reference with a count of its own, for a proxy that may go to another thread.
    pub(crate) fn apart(&self) -> Self {
        let counted = match &self.reference.of {
            Origin::Apart(counted) => counted,
            Origin::Own | Origin::Lent { .. } => &self.reference,
        };
        let of = Origin::Apart(counted.clone());
        Self::new(Reference::new(self.backend().clone(), self.object(), of), self.kind)
    }

    /// The same reference, now that the object's kind is known.
    pub(crate) fn with_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Which object this is, for a value that holds it.
    pub(crate) fn token(&self) -> Token {
        Token {
            instance: self.instance(),
            object: self.object(),
            kind: self.kind,
        }
    }

    /// The object's id on its server.
    #[inline]
    pub(crate) fn object(&self) -> u64 {
        self.reference.object
    }

    /// Its server's number, which is in its token.
    #[inline]
    pub(crate) fn instance(&self) -> u128 {
        self.reference.instance
    }

    /// Who hosts it.
    #[inline]
    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.reference.backend
    }
}

impl Reference {
    fn new(backend: Arc<dyn Backend>, object: u64, of: Origin) -> Self {
        Self {
            instance: backend.instance(),
            backend,
            object,
            of,
        }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        if matches!(self.of, Origin::Own) {
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
        let reference = Reference::new(backend, self.object, Origin::Lent { _pass: self });
        Some(Handle::new(reference, Kind::MEMORY))
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
        self.object() == other.object() && self.instance() == other.instance()
    }
}

impl Eq for Handle {}

impl Hash for Handle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.instance(), self.object()).hash(state);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.token(), f)
    }
}

#[cfg(test)]
mod tests {
    use crate::{ListProxy, Manager};

    #[test]
    fn whichever_clone_is_the_last_gives_the_reference_back_once() {
        let manager = Manager::embedded().unwrap();
        let outer = manager.list::<ListProxy<u32>>().unwrap();
        let objects = || manager.stats().unwrap().objects;
        let before = objects();
        // In some orders of a proxy, its clone, the clone's clone, and an iterator that holds one of them.
        for at in 0..4 {
            let list = manager.list_from([7]).unwrap();
            // What is given back once too often would be taken from here.
            outer.append(&list).unwrap();
            let clone = list.clone();
            let second = clone.clone();
            let items = second.iter();
            let mut held: Vec<Box<dyn std::any::Any>> =
                vec![Box::new(list), Box::new(clone), Box::new(second), Box::new(items)];
            held.rotate_left(at);
            while let Some(last) = held.pop() {
                drop(last);
                assert_eq!(objects(), before + 1);
            }
            assert_eq!(outer.pop().unwrap().unwrap().to_vec().unwrap(), [7]);
            assert_eq!(objects(), before);
        }
        let list = manager.list_from([7]).unwrap();
        let clone = list.clone();
        drop(list);
        assert_eq!(clone.get(0).unwrap(), 7, "it was not given back too early");
        drop(clone);
        assert_eq!(objects(), before);
    }
}
