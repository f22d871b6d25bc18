//! The registry: which objects exist, how many references each has, and what all contents together occupy.
//!
//! Counts are atomics beside the objects' locks, so that storing a proxy of one object in another never locks both. A count that has
//! reached zero stays there: [`Registry::take`] refuses, and whoever brought it to zero frees the object. Jobs share the registry.

use super::object::{Contents, ObjectSlot, State};
use super::types::ObjectId;
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::value::Kind;
use dashmap::DashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Server-chosen ids need no protection against chosen collisions.
pub(crate) type IdHasher = hashbrown::DefaultHashBuilder;

/// What an object occupies before anything is in it, in bytes: its place, its lock, its kind's own fields.
pub(crate) const OBJECT_BYTES: u64 = 512;

/// Every object by id, and the memory of all.
#[derive(Debug)]
pub(crate) struct Registry {
    /// The server's name in tokens.
    pub(crate) instance: u128,
    /// This engine's number among all of the process.
    pub(crate) engine: u64,
    next_id: AtomicU64,
    /// How many objects there are: the map itself would have to lock all its parts to tell.
    count: AtomicUsize,
    pub(crate) objects: DashMap<ObjectId, Arc<ObjectSlot>, IdHasher>,
    pub(crate) memory: Memory,
}

/// The bytes charged for contents, and their limit.
#[derive(Debug)]
pub(crate) struct Memory {
    used: AtomicU64,
    limit: u64,
}

impl Registry {
    pub(crate) fn new(instance: u128, memory_bytes_max: u64) -> Self {
        static ENGINES: AtomicU64 = AtomicU64::new(1);
        let memory = Memory {
            used: AtomicU64::new(0),
            limit: memory_bytes_max,
        };
        let objects = DashMap::with_hasher(IdHasher::default());
        Self {
            instance,
            engine: ENGINES.fetch_add(1, Ordering::Relaxed),
            next_id: AtomicU64::new(1),
            count: AtomicUsize::new(0),
            objects,
            memory,
        }
    }

    /// The object of an id, cloned out so that the map is never locked while the object is.
    #[inline]
    pub(crate) fn get(&self, id: ObjectId) -> Option<Arc<ObjectSlot>> {
        self.objects.get(&id).map(|slot| Arc::clone(&slot))
    }

    /// Adds an object with so many references.
    ///
    /// # Errors
    /// [`FaultCode::TooMany`] or [`FaultCode::TooLarge`] at a limit, with the contents back.
    pub(crate) fn add(
        &self,
        contents: Contents,
        references: u64,
        objects_max: usize,
    ) -> Result<Arc<ObjectSlot>, Box<(Fault, Contents)>> {
        let refused: Option<Box<Fault>> = if self.count.fetch_add(1, Ordering::Relaxed) >= objects_max {
            let message = format!("{objects_max} objects exist already, as many as this server allows");
            Some(Fault::new(FaultCode::TooMany, message).into())
        } else {
            self.memory.charge(OBJECT_BYTES).err()
        };
        if let Some(fault) = refused {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(Box::new((*fault, contents)));
        }
        let id = ObjectId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let slot = Arc::new(ObjectSlot::new(id, contents, references));
        self.objects.insert(id, Arc::clone(&slot));
        Ok(slot)
    }

    /// Takes an object out that has no references any more.
    pub(crate) fn remove(&self, id: ObjectId) -> Option<Arc<ObjectSlot>> {
        let (_, slot) = self.objects.remove(&id)?;
        self.memory.discharge(OBJECT_BYTES);
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(slot)
    }

    /// How many objects exist.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes one reference, unless the object is gone.
    #[inline]
    pub(crate) fn take(&self, id: ObjectId) -> bool {
        self.take_kind(id).is_some()
    }

    /// Takes one reference and tells the object's kind, unless the object is gone.
    pub(crate) fn take_kind(&self, id: ObjectId) -> Option<Kind> {
        let slot = self.objects.get(&id)?;
        let more = |count| if count == 0 { None } else { Some(count + 1) };
        slot.references
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .ok()?;
        Some(slot.kind)
    }

    /// Gives up references; true when those were the last, and the object is the caller's to free.
    #[must_use = "an object without references must be freed"]
    pub(crate) fn give_up(&self, id: ObjectId, times: u64) -> bool {
        let Some(slot) = self.objects.get(&id) else {
            return false;
        };
        let fewer = |count: u64| {
            if count == 0 {
                None
            } else {
                Some(count.saturating_sub(times))
            }
        };
        let before = slot.references.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer);
        before.is_ok_and(|before| before <= times)
    }
}

impl Drop for Registry {
    /// Takes every object's contents away: threads that remember an object keep no more than its place alive.
    fn drop(&mut self) {
        for slot in &self.objects {
            *slot.state.lock() = State::Freed;
        }
    }
}

impl Memory {
    /// Charges bytes before they are kept.
    ///
    /// # Errors
    /// [`FaultCode::TooLarge`] at the limit.
    #[inline]
    pub(crate) fn charge(&self, bytes: u64) -> Result<(), Box<Fault>> {
        // In one step, so that a charge that is refused is never seen by another, which would be refused with it.
        let more = |used: u64| {
            let more = used.checked_add(bytes)?;
            (more <= self.limit || seeded!("ignore_memory_limit")).then_some(more)
        };
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map(|_| ())
            .map_err(|_| full(bytes, self.limit).into())
    }

    /// Ends the charge for bytes that are no longer kept.
    #[inline]
    pub(crate) fn discharge(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Charges what something costs that takes the place of something else: nothing where it costs the same.
    ///
    /// # Errors
    /// As [`Memory::charge`].
    #[inline]
    pub(crate) fn exchange(&self, old: u64, new: u64) -> Result<(), Box<Fault>> {
        match new.checked_sub(old) {
            Some(0) => Ok(()),
            Some(more) => self.charge(more),
            None => {
                self.discharge(old - new);
                Ok(())
            }
        }
    }

    /// The bytes charged.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

#[cold]
fn full(bytes: u64, limit: u64) -> Fault {
    let message = format!(
        "the server's memory is full: {bytes} bytes more would exceed its limit of {limit}; clear or drop objects, or start it with a \
         higher memory_bytes_max (--memory-max)"
    );
    Fault::new(FaultCode::TooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_refuses_before_it_is_exceeded() {
        let registry = Registry::new(1, 100);
        registry.memory.charge(60).unwrap();
        assert_eq!(registry.memory.charge(41).unwrap_err().code, FaultCode::TooLarge);
        assert_eq!(registry.memory.used(), 60);
        registry.memory.charge(40).unwrap();
        registry.memory.discharge(100);
        assert_eq!(registry.memory.used(), 0);
    }

    #[test]
    fn an_exchange_charges_the_difference() {
        let registry = Registry::new(1, 100);
        registry.memory.charge(90).unwrap();
        for (old, new, used) in [(40, 40, 90), (40, 50, 100), (50, 10, 60)] {
            registry.memory.exchange(old, new).unwrap();
            assert_eq!(registry.memory.used(), used);
        }
        assert_eq!(registry.memory.exchange(10, 51).unwrap_err().code, FaultCode::TooLarge);
        assert_eq!(registry.memory.used(), 60);
    }

    #[test]
    fn a_charge_that_is_refused_refuses_no_other() {
        let registry = Registry::new(1, 100);
        let greedy = || (0..20_000).all(|_| registry.memory.charge(u64::MAX / 2).is_err());
        let modest = || {
            (0..20_000).all(|_| {
                let charged = registry.memory.charge(40).is_ok();
                registry.memory.discharge(if charged { 40 } else { 0 });
                charged
            })
        };
        let (greedy, modest) = std::thread::scope(|scope| {
            let greedy = scope.spawn(greedy);
            (modest(), greedy.join().unwrap())
        });
        assert!(greedy && modest, "there was room for 40 bytes all the time");
        assert_eq!(registry.memory.used(), 0);
    }
}
