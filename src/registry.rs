//! The sessions of this process, by the server instance they are with.
//!
//! A token read anywhere in this process, on any thread, finds its server here. The registry owns nothing: a session lives as long as
//! a manager or a proxy holds it.

use crate::backend::Backend;
use crate::client::{Options, Remote};
use crate::error::{Error, Result};
use crate::fork::PerProcess;
use byproxy_proto::address::Address;
use dashmap::DashMap;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

static SESSIONS: PerProcess<DashMap<u128, Weak<dyn Backend>>> = PerProcess::new(|| DashMap::with_shard_amount(SHARDS));

/// Said here, because what the map takes by itself stands behind a lock that all processes inherit.
const SHARDS: usize = 16;

/// Held while a session enters, so that two connections made at once agree on one of them.
static ENTERING: PerProcess<Mutex<()>> = PerProcess::new(Mutex::default);

/// Enters a new session, unless this process has an open one with the same server: that one is to be used then, and is returned.
pub(crate) fn enter(backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
    let _entering = ENTERING.get().lock();
    // Nothing of the map may be borrowed while a session could be dropped: it would come back to `forget`.
    match find(backend.instance()) {
        Some(known) if known.is_open() => known,
        _ => {
            SESSIONS.get().insert(backend.instance(), Arc::downgrade(&backend));
            backend
        }
    }
}

/// The session with the server at an address: the one this process has, or a new one.
///
/// # Errors
/// [`Error::Gone`] if by now another server listens there.
pub(crate) fn reach(instance: u128, address: &Address) -> Result<Arc<dyn Backend>> {
    if let Some(known) = find(instance).filter(|known| known.is_open()) {
        return Ok(known);
    }
    let session = enter(Remote::connect(address, Options::default())?);
    if session.instance() == instance {
        Ok(session)
    } else {
        Err(Error::Gone(format!(
            "the server at {address} has been replaced by another one"
        )))
    }
}

/// The session with a server, if this process has one.
pub(crate) fn find(instance: u128) -> Option<Arc<dyn Backend>> {
    SESSIONS.get().get(&instance)?.upgrade()
}

/// Forgets a session that is being dropped. A newer one with the same server stays.
pub(crate) fn forget(instance: u128) {
    SESSIONS
        .get()
        .remove_if(&instance, |_, session| session.strong_count() == 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_finds_no_session_and_waits_for_no_thread_of_its_parent() {
        const INSTANCE: u128 = 0x5e55;
        SESSIONS.get().insert(INSTANCE, Weak::<Remote>::new());
        let entering = ENTERING.get().lock();
        let changing = SESSIONS.get().get_mut(&INSTANCE);
        assert!(crate::fork::holds_in_fork(|| {
            let _entering = ENTERING.get().lock();
            !SESSIONS.get().contains_key(&INSTANCE)
        }));
        drop((entering, changing));
        forget(INSTANCE);
        assert!(!SESSIONS.get().contains_key(&INSTANCE));
    }
}
