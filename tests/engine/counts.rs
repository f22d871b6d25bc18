//! What can be counted from outside: sessions, references, names, waiters, objects; and who should be gone.

use crate::model::{int, tokens};
use crate::simulator::{Object, Result, Simulator};
use byproxy_proto::value::{Kind, Value};
use std::collections::BTreeSet;

impl Simulator {
    /// What no session and no name can reach is gone.
    pub(crate) fn collected(&mut self, count: &Value) -> Result {
        let mut reached: BTreeSet<u64> = self.names.values().copied().collect();
        reached.extend(self.clients.iter().flat_map(|client| client.holds.keys()));
        let mut before = 0;
        while reached.len() > before {
            before = reached.len();
            for object in reached.clone() {
                self.objects
                    .get(&object)
                    .into_iter()
                    .for_each(|object| object.refers(&mut reached));
            }
        }
        let garbage: Vec<&u64> = self.objects.keys().filter(|object| !reached.contains(object)).collect();
        if self.objects.values().all(Object::is_certain) && *count != int(garbage.len()) {
            return Err(format!("O4: {garbage:?} were garbage, and {count} were collected"));
        }
        self.objects.retain(|object, _| reached.contains(object));
        Ok(())
    }

    /// What can be seen of the engine from outside is what the models say, and its own invariants hold.
    pub(crate) fn check(&mut self) -> Result {
        let stats = self.engine.stats();
        let held: u64 = self.clients.iter().flat_map(|client| client.holds.values()).sum();
        let counts = [stats.sessions, stats.references, stats.names];
        if counts != [self.clients.len() as u64, held, self.names.len() as u64] {
            return Err(format!(
                "O4: {stats:?} with {} sessions, {held} references, {:?}",
                self.clients.len(),
                self.names
            ));
        }
        let (mut waiters, mut earliest) = (0, None::<u64>);
        for object in self.objects.values() {
            let deadline = match object {
                Object::Queue(queue, _) => {
                    waiters += queue.waiters() as u64;
                    queue.deadlines().min()
                }
                Object::Lock(lock) => {
                    waiters += lock.waiters() as u64;
                    lock.deadlines().min()
                }
                Object::List(_) | Object::Dict(_) | Object::Memory(_) => None,
            };
            earliest = [earliest, deadline].into_iter().flatten().min();
        }
        if let Some(earliest) = earliest
            && self.engine.poll_timeout().is_none_or(|next| next.0 > earliest)
        {
            return Err(format!("O5: the deadline at {earliest} would be slept through"));
        }
        if !self.jobs.is_empty() {
            return Ok(());
        }
        self.engine.check().map_err(|error| format!("O6: {error}"))?;
        if stats.waiters != waiters {
            return Err(format!("O4: {waiters} calls should wait: {stats:?}"));
        }
        self.forget_the_freed();
        let certain = self.objects.values().all(Object::is_certain);
        if certain && stats.objects != self.objects.len() as u64 {
            return Err(format!("O4: {:?} should exist: {stats:?}", self.objects.keys()));
        }
        if certain { self.check_kept() } else { Ok(()) }
    }

    /// Drops the models of objects to which no reference is left: from sessions, names, or contents of others that are there.
    fn forget_the_freed(&mut self) {
        while self.objects.values().all(Object::is_certain) {
            let mut referred: BTreeSet<u64> = self.names.values().copied().collect();
            referred.extend(self.clients.iter().flat_map(|client| client.holds.keys()));
            self.objects.values().for_each(|object| object.refers(&mut referred));
            let before = self.objects.len();
            self.objects.retain(|object, _| referred.contains(object));
            if self.objects.len() == before {
                return;
            }
        }
    }
}

impl Object {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::List(_) => Kind::LIST,
            Self::Dict(_) => Kind::DICT,
            Self::Queue(..) => Kind::QUEUE,
            Self::Lock(_) => Kind::LOCK,
            Self::Memory(_) => Kind::MEMORY,
        }
    }

    pub(crate) fn is_certain(&self) -> bool {
        match self {
            Self::List(states) => states.len() == 1,
            Self::Dict(states) => states.len() == 1,
            Self::Queue(..) | Self::Lock(_) | Self::Memory(_) => true,
        }
    }

    fn refers(&self, referred: &mut BTreeSet<u64>) {
        let mut visit = |value: &Value| tokens(value, &mut |object| referred.extend([object]));
        match self {
            Self::List(states) => states.iter().flat_map(|state| &state.items).for_each(visit),
            Self::Dict(states) => states
                .iter()
                .flat_map(|state| &state.pairs)
                .for_each(|(_, value)| visit(value)),
            Self::Queue(queue, _) => queue.values().into_iter().for_each(visit),
            Self::Lock(_) | Self::Memory(_) => {}
        }
    }
}
