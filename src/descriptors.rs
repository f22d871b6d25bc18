//! Descriptors that accompany a value on its way to another process.
//!
//! Whoever can carry descriptors opens a scope around the encoding with [`collect`], and around the decoding with [`offer`]. What a handle
//! writes into the value is its descriptor's number in the scope. In a value that is encoded for a server it writes an object's token instead:
//! the server keeps the descriptor as that object, once for each session, and [`fetch`] gets it from there. Anywhere else a handle refuses to be
//! written or read: bytes alone could not bring it anywhere.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use byproxy_proto::value::{Kind, Token};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::handle::Handle;
pub(crate) use crate::handle::Pass;
use crate::{references, registry};

/// The note of memory that has no name: None. What stands in it is told by the values that lead there.
const NO_NOTE: &[u8] = &[0];

thread_local! {
    /// The encodings of this thread that can carry descriptors, innermost last.
    static COLLECTED: RefCell<Vec<Vec<Collected>>> = const { RefCell::new(Vec::new()) };
    /// The descriptors that came with what is being decoded, innermost last.
    static OFFERED: RefCell<Vec<Vec<OwnedFd>>> = const { RefCell::new(Vec::new()) };
}

/// A descriptor that goes along, once for however many handles.
struct Collected {
    key: u64,
    descriptor: OwnedFd,
}

/// Where the reader of a value finds a descriptor.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Along with the value, under this number.
    Along(u32),
    /// At the server, as an object. The reference that this process holds to it is to be kept with what lies there.
    Kept(Token, Arc<Pass>),
}

/// The objects that keep one descriptor, at the servers of this process's sessions.
#[derive(Debug, Default)]
pub(crate) struct Passes(Mutex<Vec<Weak<Pass>>>);

impl Passes {
    /// The reference to the object of one server, if there is one.
    pub(crate) fn find(&self, instance: u128) -> Option<Arc<Pass>> {
        find(&self.0.lock(), instance)
    }

    /// Adds one.
    pub(crate) fn add(&self, pass: &Arc<Pass>) {
        add(&mut self.0.lock(), pass);
    }

    /// The object of a server, made now if need be. Whoever else needs it waits, so that it is made once.
    fn find_or_share(&self, instance: u128, descriptor: BorrowedFd<'_>) -> Result<(Handle, Arc<Pass>)> {
        let mut passes = self.0.lock();
        if let Some(pass) = find(&passes, instance)
            && let Some(handle) = Arc::clone(&pass).lend()
        {
            return Ok((handle, pass));
        }
        let ended = || Error::Gone("the session with the server has ended".to_owned());
        let backend = registry::find(instance).ok_or_else(ended)?;
        let object = backend.share(None, NO_NOTE, descriptor)?.object;
        let pass = Arc::new(Pass::own(&backend, object));
        add(&mut passes, &pass);
        let handle = Arc::clone(&pass).lend().ok_or_else(ended)?;
        Ok((handle, pass))
    }
}

fn find(passes: &[Weak<Pass>], instance: u128) -> Option<Arc<Pass>> {
    // The newest first: an older one may be of a session that has ended.
    let mut living = passes.iter().rev().filter_map(Weak::upgrade);
    living.find(|pass| pass.instance() == instance)
}

fn add(passes: &mut Vec<Weak<Pass>>, pass: &Arc<Pass>) {
    passes.retain(|pass| pass.strong_count() > 0);
    passes.push(Arc::downgrade(pass));
}

/// Gets the descriptor that an object keeps, and a reference to the object.
pub(crate) fn fetch(token: Token) -> Result<(OwnedFd, Arc<Pass>)> {
    if token.kind != Kind::MEMORY {
        return Err(Error::Misuse(format!("{token} is no shared memory")));
    }
    // Held until the answer is there, so that the object is too.
    let handle = references::take(token)?;
    let (descriptor, _) = handle.backend().fetch(token.object)?;
    let pass = Arc::new(Pass::own(handle.backend(), token.object));
    Ok((descriptor, pass))
}

/// Runs `write` and returns what it returned, with the descriptors that were attached meanwhile.
pub(crate) fn collect<R>(write: impl FnOnce() -> R) -> (R, Vec<OwnedFd>) {
    COLLECTED.with_borrow_mut(|scopes| scopes.push(Vec::new()));
    let scope = Scope(|| COLLECTED.with_borrow_mut(Vec::pop));
    let written = write();
    let collected = scope.leave().unwrap_or_default();
    (written, collected.into_iter().map(|one| one.descriptor).collect())
}

/// Has a descriptor go where the value goes that is being encoded, and returns the place it has there; nothing if nothing carries it. The
/// key is the same for the same descriptor, and so are the passes.
pub(crate) fn attach(key: u64, descriptor: BorrowedFd<'_>, passes: &Passes) -> Result<Option<Place>, String> {
    if let Some(instance) = references::destination() {
        let (shared, pass) = match passes.find_or_share(instance, descriptor) {
            Ok((handle, pass)) => (Ok(handle), Some(pass)),
            Err(error) => (Err(error), None),
        };
        let token = references::note(shared)?;
        return Ok(pass.map(|pass| Place::Kept(token, pass)));
    }
    let number = collected(key, descriptor).map_err(|error| error.to_string())?;
    Ok(number.map(Place::Along))
}

fn collected(key: u64, descriptor: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    COLLECTED.with_borrow_mut(|scopes| {
        let Some(collected) = scopes.last_mut() else {
            return Ok(None);
        };
        let known = collected.iter().position(|one| one.key == key);
        if known.is_none() {
            let descriptor = descriptor.try_clone_to_owned()?;
            collected.push(Collected { key, descriptor });
        }
        let place = known.unwrap_or(collected.len() - 1);
        u32::try_from(place).map(Some).map_err(io::Error::other)
    })
}

/// Runs `read` with the descriptors that came with what it decodes; they are closed afterwards.
pub(crate) fn offer<R>(descriptors: Vec<OwnedFd>, read: impl FnOnce() -> R) -> R {
    OFFERED.with_borrow_mut(|scopes| scopes.push(descriptors));
    let scope = Scope(|| OFFERED.with_borrow_mut(Vec::pop));
    let value = read();
    drop(scope.leave());
    value
}

/// Lends out a descriptor that came with the value being decoded; `None` if none has this number.
pub(crate) fn with_offered<R>(number: u32, use_it: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
    OFFERED.with_borrow(|scopes| {
        let descriptor = scopes.last()?.get(usize::try_from(number).ok()?)?;
        Some(use_it(descriptor.as_fd()))
    })
}

/// Takes the innermost scope away, also when what runs inside it panics.
struct Scope<F: Fn() -> T, T>(F);

impl<F: Fn() -> T, T> Scope<F, T> {
    fn leave(self) -> T {
        let taken = (self.0)();
        std::mem::forget(self);
        taken
    }
}

impl<F: Fn() -> T, T> Drop for Scope<F, T> {
    fn drop(&mut self) {
        drop((self.0)());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_descriptor_goes_along_once() {
        let file = tempfile::tempfile().unwrap();
        let attach = |key| attach(key, file.as_fd(), &Passes::default());
        let (places, descriptors) = collect(|| [4, 9, 4].map(|key| attach(key).unwrap().unwrap()));
        assert!(matches!(places, [Place::Along(0), Place::Along(1), Place::Along(0)]));
        assert_eq!(descriptors.len(), 2);
        assert!(attach(4).unwrap().is_none(), "nothing carries it here");
    }

    #[test]
    fn scopes_nest_and_end_with_a_panic() {
        let file = tempfile::tempfile().unwrap();
        let ((), outer) = collect(|| {
            let ((), inner) = collect(|| drop(attach(1, file.as_fd(), &Passes::default())));
            assert_eq!(inner.len(), 1);
            std::panic::catch_unwind(|| collect(|| panic!("on purpose"))).unwrap_err();
        });
        assert!(outer.is_empty());
        let seen = offer(vec![file.as_fd().try_clone_to_owned().unwrap()], || {
            (with_offered(0, |_| ()).is_some(), with_offered(1, |_| ()).is_some())
        });
        assert_eq!(seen, (true, false));
        assert!(with_offered(0, |_| ()).is_none());
    }
}
