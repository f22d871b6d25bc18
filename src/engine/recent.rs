//! What a thread of the driver used last: objects and a session, so that a call on them asks no map.
//!
//! The maps are shared by all threads, and a look into one costs four atomic steps that other threads' looks wait for. An entry here is
//! only ever a shortcut to what the map held: an object that was freed since says so itself ([`State::Freed`](super::object::State)),
//! and a session that has ended is marked as ending. Neither id is used twice, so an entry can be out of date and never wrong.

use super::object::ObjectSlot;
use super::registry::Registry;
use super::session::{Session, Sessions};
use super::types::{ObjectId, SessionId};
use std::sync::Arc;

/// How many objects are remembered: each at the place that its id's lowest bits name.
const OBJECTS_MAX: usize = 16;

/// One thread's memory of one engine.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// The engine that all of it belongs to: the same thread may drive several, whose ids are the same.
    engine: u64,
    objects: [Option<Arc<ObjectSlot>>; OBJECTS_MAX],
    session: Option<(SessionId, Arc<Session>)>,
}

impl Recent {
    /// Forgets everything, unless it is this engine's.
    #[inline]
    pub(crate) fn belong_to(&mut self, engine: u64) {
        if self.engine != engine {
            self.begin(engine);
        }
    }

    #[cold]
    fn begin(&mut self, engine: u64) {
        *self = Self {
            engine,
            ..Self::default()
        };
    }

    /// The object of an id, to be [`kept`](Self::keep) after use.
    #[inline]
    pub(crate) fn object(&mut self, registry: &Registry, id: ObjectId) -> Option<Arc<ObjectSlot>> {
        let place = self.objects.get_mut(place(id))?;
        place.take_if(|slot| slot.id == id).or_else(|| look_up(registry, id))
    }

    /// Remembers an object.
    #[inline]
    pub(crate) fn keep(&mut self, slot: Arc<ObjectSlot>) {
        if let Some(place) = self.objects.get_mut(place(slot.id)) {
            *place = Some(slot);
        }
    }

    /// The session of an id.
    #[inline]
    pub(crate) fn session(&mut self, sessions: &Sessions, id: SessionId) -> Option<&Session> {
        if self.session.as_ref().is_none_or(|&(known, _)| known != id) {
            self.session = Some((id, sessions.get(id)?));
        }
        self.session.as_ref().map(|(_, session)| &**session)
    }
}

#[cold]
fn look_up(registry: &Registry, id: ObjectId) -> Option<Arc<ObjectSlot>> {
    registry.get(id)
}

#[inline]
fn place(id: ObjectId) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are all that is wanted")]
    let lowest = id.0 as usize;
    lowest % OBJECTS_MAX
}
