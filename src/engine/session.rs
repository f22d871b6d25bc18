//! Sessions: what each client process holds, so that one sweep can give it all back.
//!
//! A session's books are locked after the object whose state they mirror. Once they are marked ending nothing is entered any more;
//! the sweep marks first and visits the objects then, one at a time.

use super::object::Tie;
use super::registry::IdHasher;
use super::types::{ObjectId, Peer, SessionId, Ticket};
use dashmap::DashMap;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Every session that has not ended.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    map: DashMap<SessionId, Arc<Session>, IdHasher>,
}

/// One client process.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: Peer,
    books: Mutex<Books>,
}

/// What a session holds.
#[derive(Debug, Default)]
pub(crate) struct Books {
    ending: bool,
    /// References by object; never zero.
    references: HashMap<ObjectId, u64>,
    /// The sum of them.
    references_total: u64,
    /// Waiters, locks and lent items by object: how many of them the object has of this session; never zero.
    ties: HashMap<ObjectId, u64>,
    /// Deliveries neither confirmed nor declined: the call's ticket, and the object whose items they are.
    deliveries: HashMap<Ticket, ObjectId>,
}

impl Sessions {
    pub(crate) fn add(&self, id: SessionId, peer: Peer) {
        self.map.insert(
            id,
            Arc::new(Session {
                peer,
                books: Mutex::default(),
            }),
        );
    }

    #[inline]
    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.map.get(&id).map(|session| Arc::clone(&session))
    }

    pub(crate) fn remove(&self, id: SessionId) {
        self.map.remove(&id);
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Every session, as it was at some moment of the call.
    pub(crate) fn all(&self) -> Vec<(SessionId, Arc<Session>)> {
        self.map
            .iter()
            .map(|entry| (*entry.key(), Arc::clone(entry.value())))
            .collect()
    }
}

impl Session {
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock()
    }
}

impl Books {
    /// Whether the session is ending: nothing may be entered any more.
    #[inline]
    pub(crate) fn ending(&self) -> bool {
        self.ending
    }

    /// Marks the session as ending and returns every object it is tied to, in ascending order; nothing the second time.
    pub(crate) fn end(&mut self) -> Option<BTreeSet<ObjectId>> {
        if std::mem::replace(&mut self.ending, true) {
            return None;
        }
        Some(self.ties.keys().chain(self.deliveries.values()).copied().collect())
    }

    /// Enters references that a reply hands over.
    #[inline]
    pub(crate) fn adopt(&mut self, handed: &[u64]) {
        for &object in handed {
            *self.references.entry(ObjectId(object)).or_insert(0) += 1;
        }
        self.references_total += handed.len() as u64;
    }

    /// Takes up to so many references to an object out; returns how many there were to take.
    pub(crate) fn release(&mut self, object: ObjectId, times: u64) -> u64 {
        let Some(held) = self.references.get_mut(&object) else {
            return 0;
        };
        let released = times.min(*held);
        *held -= released;
        if *held == 0 {
            self.references.remove(&object);
        }
        self.references_total -= released;
        released
    }

    /// Takes all references out.
    pub(crate) fn release_all(&mut self) -> HashMap<ObjectId, u64> {
        self.references_total = 0;
        std::mem::take(&mut self.references)
    }

    /// Enters what a grant leaves behind.
    #[inline]
    pub(crate) fn tie(&mut self, tie: Tie, object: ObjectId, ticket: Ticket) {
        match tie {
            Tie::Nothing => {}
            Tie::Holding => *self.ties.entry(object).or_insert(0) += 1,
            Tie::Delivery => {
                self.deliveries.insert(ticket, object);
            }
        }
    }

    /// Whether a delivery under this ticket is neither confirmed nor declined: another under the same one would be mistaken for it.
    #[inline]
    pub(crate) fn awaits(&self, ticket: Ticket) -> bool {
        self.deliveries.contains_key(&ticket)
    }

    /// Enters a waiting call.
    pub(crate) fn tie_waiter(&mut self, object: ObjectId) {
        *self.ties.entry(object).or_insert(0) += 1;
    }

    /// Takes one waiter or holding out.
    pub(crate) fn untie(&mut self, object: ObjectId) {
        if let Some(ties) = self.ties.get_mut(&object) {
            *ties -= 1;
            if *ties == 0 {
                self.ties.remove(&object);
            }
        }
    }

    /// Takes a delivery out: the object to tell, unless there is no such delivery.
    #[inline]
    pub(crate) fn settle(&mut self, ticket: Ticket) -> Option<ObjectId> {
        self.deliveries.remove(&ticket)
    }

    /// How many references there are.
    pub(crate) fn references_total(&self) -> u64 {
        self.references_total
    }

    /// References by object.
    pub(crate) fn references(&self) -> &HashMap<ObjectId, u64> {
        &self.references
    }

    /// Waiters, locks and lent items by object.
    pub(crate) fn ties(&self) -> &HashMap<ObjectId, u64> {
        &self.ties
    }

    /// Deliveries neither confirmed nor declined.
    pub(crate) fn deliveries(&self) -> &HashMap<Ticket, ObjectId> {
        &self.deliveries
    }
}
