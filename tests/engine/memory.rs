//! Shared memory in a simulated world: clients give it to the server and fetch it, apart from their lanes and answered at once.

use crate::calls::NAMES;
use crate::model::{MemoryModel, done, encode, int};
use crate::simulator::{OBJECTS_MAX, Object, Result, Simulator};
use byproxy::engine::{Resource, SessionId, Time};
use byproxy_proto::fault::FaultCode;
use byproxy_proto::value::{Kind, Limits, Raw, Value};
use std::sync::{Arc, Weak};

impl Simulator {
    /// A client gives something to the server, with a name or without one.
    pub(crate) fn share(&mut self, client: usize) -> Result {
        let name = self.random.percent(40).then(|| *self.random.pick(&NAMES));
        let there = name.and_then(|name| self.names.get(name).copied());
        if there.is_none() && self.objects.len() >= OBJECTS_MAX {
            return Ok(());
        }
        // Letting go of some of them is long work, of others not; and some are more than a server may keep.
        let bytes = *self.random.pick(&[0, 100, 4096, 5 * 4096, 1 << 20, u64::MAX]);
        let proxies = self.tokens_of(client);
        let note = match proxies.first() {
            Some(proxy) if self.random.percent(10) => Value::List(vec![proxy.clone()]),
            _ => int(self.random.below(5)),
        };
        let expected = match there.map(|there| self.objects[&there].kind()) {
            _ if matches!(note, Value::List(_)) => Err(FaultCode::BadArgument),
            Some(Kind::MEMORY) => Ok(false),
            Some(_) => Err(FaultCode::NameTaken),
            None if bytes == u64::MAX => Err(FaultCode::TooLarge),
            None => Ok(true),
        };
        let given = Arc::new(self.calls);
        let kept = Arc::downgrade(&given);
        let session = SessionId(self.clients[client].session);
        let shared = self.engine.handle_share(
            Time(self.now),
            session,
            name,
            &encode(&note),
            Resource::new(given, bytes),
            &mut self.out,
        );
        self.log(|| format!("session {session} shares {bytes} bytes as {name:?} with {note:?}: {shared:?}"));
        match (shared, expected) {
            (Ok((token, true)), Ok(true)) => {
                self.new_object(&done(Value::from(token)))?;
                let memory = MemoryModel {
                    note,
                    bytes,
                    kept: Weak::clone(&kept),
                };
                self.objects.insert(token.object, Object::Memory(memory));
                self.names.extend(name.map(|name| (name.to_owned(), token.object)));
                self.hold(client, token.object);
                self.kept.push((token.object, Weak::clone(&kept)));
            }
            (Ok((token, false)), Ok(false)) if Some(token.object) == there && token.kind == Kind::MEMORY => {
                self.hold(client, token.object);
            }
            (Err(fault), Err(code)) if fault.code == code => {}
            (shared, expected) => return Err(format!("O1: {shared:?} came of sharing, and not {expected:?}")),
        }
        if expected != Ok(true) && kept.strong_count() > 0 {
            return Err("O8: what was not taken is kept".to_owned());
        }
        self.absorb(None)
    }

    /// A client fetches what stands behind an object that it holds.
    pub(crate) fn fetch(&mut self, client: usize) -> Result {
        let held: Vec<u64> = self.clients[client].holds.keys().copied().collect();
        let object = if held.is_empty() || self.random.percent(5) {
            1 << 40
        } else {
            *self.random.pick(&held)
        };
        let session = SessionId(self.clients[client].session);
        let fetched = self.engine.handle_fetch(Time(self.now), session, object, &mut self.out);
        self.log(|| format!("session {session} fetches {object}: {fetched:?}"));
        match (fetched, self.objects.get(&object)) {
            (Ok((resource, note)), Some(Object::Memory(memory))) => {
                let note = Raw::check(&note, &Limits::default()).and_then(Raw::to_value);
                let same = resource.get().is_some_and(|given| memory.is(given));
                if !same || note.as_ref() != Ok(&memory.note) {
                    return Err(format!("O1: {object} is fetched as another, with {note:?}"));
                }
                self.hold(client, object);
            }
            (Err(fault), Some(Object::Memory(_))) => return Err(format!("O1: {object} can't be fetched: {fault}")),
            (Err(fault), Some(_)) if fault.code == FaultCode::WrongType => {}
            (Err(fault), None) if fault.code == FaultCode::NoSuchObject => {}
            (fetched, _) => return Err(format!("O1: {fetched:?} came of fetching {object}")),
        }
        self.absorb(None)
    }

    /// What is kept is what an object stands for, and it is charged for: to be held when no job is out and it is known what there is.
    pub(crate) fn check_kept(&mut self) -> Result {
        for (object, kept) in &self.kept {
            let stands = matches!(self.objects.get(object), Some(Object::Memory(_)));
            if stands != (kept.strong_count() > 0) {
                return Err(format!(
                    "O8: what {object} stands for is kept or not, unlike the object: {stands}"
                ));
            }
        }
        self.kept.retain(|(_, kept)| kept.strong_count() > 0);
        let least: u64 = self
            .objects
            .values()
            .map(|object| match object {
                Object::Memory(memory) => memory.bytes,
                _ => 0,
            })
            .sum();
        let charged = self.engine.stats().bytes;
        if charged < least {
            return Err(format!(
                "O8: {charged} bytes are charged, and memory alone takes {least}"
            ));
        }
        Ok(())
    }

    fn hold(&mut self, client: usize, object: u64) {
        *self.clients[client].holds.entry(object).or_default() += 1;
    }
}
