//! The invariants, checked: for simulators and tests, on an engine in which nothing is under way.

use super::Engine;
use super::object::State;
use super::registry::OBJECT_BYTES;
use super::types::{ObjectId, SessionId, Ticket};
use super::wait_graph::WaitGraph;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// What all objects, sessions and names say, summed up.
#[derive(Debug, Default)]
struct Census {
    /// References found, by object.
    references: BTreeMap<ObjectId, u64>,
    /// Waiters and holdings found in objects.
    ties: BTreeMap<(SessionId, ObjectId), u64>,
    deliveries: BTreeMap<Ticket, ObjectId>,
    bytes: u64,
    waiters: usize,
    timers: usize,
    poisoned: bool,
}

impl Engine {
    /// Checks every invariant of the [module](super).
    ///
    /// # Errors
    /// The first invariant that does not hold, and where. An object whose contents are with a job is an error too.
    pub fn check(&self) -> Result<(), String> {
        let mut census = Census::default();
        for entry in &self.registry().objects {
            let (object, slot) = (*entry.key(), entry.value());
            census
                .add_object(object, &slot.state.lock(), &self.services.graph)
                .map_err(|error| format!("object {object}: {error}"))?;
        }
        for &object in self.world.names.lock().values() {
            *census.references.entry(object).or_insert(0) += 1;
        }
        self.services.graph.check()?;
        self.check_books(&mut census)?;
        self.check_references(&census)?;
        self.check_totals(&census)
    }

    /// I3 and I4; adds what sessions hold to the references found.
    fn check_books(&self, census: &mut Census) -> Result<(), String> {
        let (mut ties, mut deliveries) = (BTreeMap::new(), BTreeMap::new());
        for (id, session) in self.services.sessions.all() {
            let books = session.lock();
            for (&object, &times) in books.references() {
                *census.references.entry(object).or_insert(0) += times;
            }
            ties.extend(books.ties().iter().map(|(&object, &times)| ((id, object), times)));
            deliveries.extend(books.deliveries().iter().map(|(&ticket, &object)| (ticket, object)));
        }
        if ties != census.ties {
            return Err(format!(
                "I3, I4: objects have the waiters and holdings {:?}, books {ties:?}",
                census.ties
            ));
        }
        if deliveries != census.deliveries {
            return Err(format!(
                "I3, I4: objects have the deliveries {:?}, books {deliveries:?}",
                census.deliveries
            ));
        }
        Ok(())
    }

    /// I1 and I2.
    fn check_references(&self, census: &Census) -> Result<(), String> {
        for entry in &self.registry().objects {
            let (object, count) = (entry.key(), entry.value().references.load(Ordering::Acquire));
            let found = census.references.get(object).copied().unwrap_or(0);
            if count == 0 || count < found || (count > found && !census.poisoned) {
                return Err(format!(
                    "I1: object {object} counts {count} references, and {found} are held"
                ));
            }
        }
        for object in census.references.keys() {
            if self.registry().get(*object).is_none() {
                return Err(format!("I2: object {object} is referred to and does not exist"));
            }
        }
        if self.registry().len() != self.registry().objects.len() {
            return Err("I2: the count of objects is wrong".to_owned());
        }
        Ok(())
    }

    /// I5 and I6.
    fn check_totals(&self, census: &Census) -> Result<(), String> {
        let charged = self.registry().memory.used();
        if charged < census.bytes || (charged > census.bytes && !census.poisoned) {
            return Err(format!(
                "I5: {charged} bytes are charged, and objects and cells cost {}",
                census.bytes
            ));
        }
        let waiting = self.services.waiting.load(Ordering::Relaxed);
        if waiting != census.waiters {
            return Err(format!(
                "I6: {waiting} waiters are counted, and {} wait",
                census.waiters
            ));
        }
        let timers = self.services.timers.len();
        if timers != census.timers {
            return Err(format!(
                "I6: {timers} timers are set, and {} waiters have a deadline",
                census.timers
            ));
        }
        Ok(())
    }
}

impl Census {
    fn add_object(&mut self, object: ObjectId, state: &State, graph: &WaitGraph) -> Result<(), String> {
        let contents = match state {
            State::Free(contents) => {
                contents.check(object, graph).map_err(|error| format!("I7: {error}"))?;
                contents
            }
            State::Poisoned(contents) => {
                self.poisoned = true;
                contents
            }
            State::Busy(_) => return Err("its contents are with a job".to_owned()),
            State::Freed => return Err("I2: it was freed and is still there".to_owned()),
        };
        self.bytes += OBJECT_BYTES + contents.own_cost();
        contents.cells(&mut |cell| {
            self.bytes += cell.cost();
            for &object in cell.objects() {
                *self.references.entry(ObjectId(object)).or_insert(0) += 1;
            }
        });
        contents.passes(&mut |pass| {
            self.waiters += 1;
            self.timers += usize::from(pass.timer.is_some());
            *self.ties.entry((pass.ticket.caller.session, object)).or_insert(0) += 1;
        });
        contents.holdings(&mut |session| *self.ties.entry((session, object)).or_insert(0) += 1);
        contents.deliveries(&mut |ticket| {
            self.deliveries.insert(ticket, object);
        });
        Ok(())
    }
}
