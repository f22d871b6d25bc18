//! Descriptors that accompany a value on its way to another process.
//!
//! Whoever can carry descriptors opens a scope around the encoding with [`collect`], and around the decoding with [`offer`]. What a handle
//! writes into the value is its descriptor's number in the scope. Outside a scope a handle refuses to be written or read: bytes alone
//! could not bring it anywhere.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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

/// Runs `write` and returns what it returned, with the descriptors that were attached meanwhile.
pub(crate) fn collect<R>(write: impl FnOnce() -> R) -> (R, Vec<OwnedFd>) {
    COLLECTED.with_borrow_mut(|scopes| scopes.push(Vec::new()));
    let scope = Scope(|| COLLECTED.with_borrow_mut(Vec::pop));
    let written = write();
    let collected = scope.leave().unwrap_or_default();
    (written, collected.into_iter().map(|one| one.descriptor).collect())
}

/// Has a descriptor go along with the value being encoded, and returns its number there. The key is the same for the same descriptor.
pub(crate) fn attach(key: u64, descriptor: BorrowedFd<'_>) -> io::Result<Option<u32>> {
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
        let (numbers, descriptors) = collect(|| [4, 9, 4].map(|key| attach(key, file.as_fd()).unwrap().unwrap()));
        assert_eq!((numbers, descriptors.len()), ([0, 1, 0], 2));
        assert!(attach(4, file.as_fd()).unwrap().is_none(), "nothing carries it here");
    }

    #[test]
    fn scopes_nest_and_end_with_a_panic() {
        let file = tempfile::tempfile().unwrap();
        let ((), outer) = collect(|| {
            let ((), inner) = collect(|| drop(attach(1, file.as_fd())));
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
