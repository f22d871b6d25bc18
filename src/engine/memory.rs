//! Shared memory, given to the engine and taken from it by its driver: see [`MemoryObject`].

use super::free::no_such_object;
use super::manager::check_name;
use super::object::{Contents, MemoryObject, Resource, State};
use super::outputs::Outputs;
use super::types::{ObjectId, SessionId, Time};
use super::{Engine, registry::Registry};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::value::{Kind, Limits, Token, walk};

/// The longest note, in bytes.
const NOTE_BYTES_MAX: usize = 1024;

impl Engine {
    /// Makes what the driver keeps an object, of this name if any, and hands it over to the session. If the name has an object already
    /// that is handed over, and what came is dropped; the answer tells whether it was made.
    ///
    /// # Errors
    /// At a limit, if the name is that of something else, and if the note is no plain value.
    pub fn handle_share(
        &self,
        now: Time,
        session: SessionId,
        name: Option<&str>,
        note: &[u8],
        resource: Resource,
        out: &mut Outputs,
    ) -> Result<(Token, bool), Fault> {
        out.begin(self.registry().engine);
        let shared = self.share(session, name, note, resource, out);
        self.free_dropped(now, out);
        shared
    }

    /// Hands an object of shared memory over to the session, with what is kept and its note.
    ///
    /// # Errors
    /// If there is no such object, or it is of another kind.
    pub fn handle_fetch(
        &self,
        now: Time,
        session: SessionId,
        object: u64,
        out: &mut Outputs,
    ) -> Result<(Resource, Box<[u8]>), Fault> {
        out.begin(self.registry().engine);
        let fetched = self.fetch(session, ObjectId(object), out);
        self.free_dropped(now, out);
        fetched
    }

    fn share(
        &self,
        session: SessionId,
        name: Option<&str>,
        note: &[u8],
        resource: Resource,
        out: &mut Outputs,
    ) -> Result<(Token, bool), Fault> {
        check_note(note)?;
        if let Some(name) = name {
            check_name(name)?;
            if let Some(slot) = self.find(name) {
                let slot = Self::expect_kind(slot, Kind::MEMORY, name, out)?;
                if seeded!("memory_found_for_nothing") {
                    out.dropped.push(slot.id);
                }
                self.hand_over(session, &[slot.id.0], &mut out.dropped)?;
                return Ok((slot.token(self.registry().instance), false));
            }
        }
        let memory = MemoryObject::new(resource.clone(), note);
        self.registry().memory.charge(memory.cost()).map_err(|fault| *fault)?;
        let slot = self.register(name, Contents::Memory(memory), out)?;
        let made = match &*slot.state.lock() {
            State::Free(Contents::Memory(memory)) => memory.resource().is(&resource),
            _ => false,
        };
        self.hand_over(session, &[slot.id.0], &mut out.dropped)?;
        Ok((slot.token(self.registry().instance), made))
    }

    fn fetch(&self, session: SessionId, object: ObjectId, out: &mut Outputs) -> Result<(Resource, Box<[u8]>), Fault> {
        let registry: &Registry = self.registry();
        let slot = registry.get(object).ok_or_else(|| no_such_object(object))?;
        let kept = match &*slot.state.lock() {
            State::Free(Contents::Memory(memory)) => (memory.resource().clone(), memory.note().into()),
            State::Freed => return Err(no_such_object(object)),
            _ => {
                let message = format!("object {object} is a {}, and no shared memory", slot.kind);
                return Err(Fault::new(FaultCode::WrongType, message));
            }
        };
        if !registry.take(object) {
            return Err(no_such_object(object));
        }
        self.hand_over(session, &[object.0], &mut out.dropped)?;
        Ok(kept)
    }
}

/// A note is stored without a look at it, so it may hold nothing that would have to be counted.
fn check_note(note: &[u8]) -> Result<(), Fault> {
    if note.len() > NOTE_BYTES_MAX {
        let message = format!("a note takes {NOTE_BYTES_MAX} bytes at most, not {}", note.len());
        return Err(Fault::new(FaultCode::TooLarge, message));
    }
    let mut proxies = false;
    let length = walk(note, &Limits::DEFAULT, |_| proxies = true)?;
    if proxies || length != note.len() {
        return Err(Fault::new(
            FaultCode::BadArgument,
            "a note is one value without proxies",
        ));
    }
    Ok(())
}
