//! Deadlines, exact to the nanosecond and without garbage: a waiter that is answered takes its timer with it.
//!
//! The earliest deadline can be read without a lock, so that a driver may look after every call.

use super::object::TimerKey;
use super::types::{ObjectId, Time};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// All deadlines of all objects.
#[derive(Debug)]
pub(crate) struct Timers {
    map: Mutex<BTreeMap<TimerId, (ObjectId, TimerKey)>>,
    /// The earliest deadline in the map, or [`Time::NEVER`]: read without the lock, written under it.
    earliest: AtomicU64,
    sequence: AtomicU64,
}

/// One deadline; equal ones fire in the order they were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId {
    pub(crate) deadline: Time,
    sequence: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            map: Mutex::default(),
            earliest: AtomicU64::new(Time::NEVER.0),
            sequence: AtomicU64::new(0),
        }
    }
}

impl Timers {
    /// A name for a deadline that is to be set.
    pub(crate) fn id(&self, deadline: Time) -> TimerId {
        TimerId {
            deadline,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Sets a deadline for a waiter of an object.
    pub(crate) fn set(&self, id: TimerId, object: ObjectId, key: TimerKey) {
        let mut map = self.map.lock();
        map.insert(id, (object, key));
        self.note_earliest(&map);
    }

    /// Cancels a deadline, if it has not fired yet.
    pub(crate) fn cancel(&self, id: TimerId) {
        let mut map = self.map.lock();
        map.remove(&id);
        self.note_earliest(&map);
    }

    /// Takes the earliest deadline out, if it is due.
    pub(crate) fn take_due(&self, now: Time) -> Option<(ObjectId, TimerKey)> {
        if self.earliest().is_none_or(|earliest| earliest > now) {
            return None;
        }
        let mut map = self.map.lock();
        let entry = map.first_entry().filter(|entry| entry.key().deadline <= now)?;
        let due = entry.remove();
        self.note_earliest(&map);
        Some(due)
    }

    /// The earliest deadline, if there is any.
    #[inline]
    pub(crate) fn earliest(&self) -> Option<Time> {
        let earliest = Time(self.earliest.load(Ordering::Acquire));
        (earliest != Time::NEVER).then_some(earliest)
    }

    /// How many deadlines are set.
    pub(crate) fn len(&self) -> usize {
        self.map.lock().len()
    }

    fn note_earliest(&self, map: &BTreeMap<TimerId, (ObjectId, TimerKey)>) {
        let earliest = map.first_key_value().map_or(Time::NEVER, |(id, _)| id.deadline);
        self.earliest.store(earliest.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Caller, LaneId, SessionId, Ticket};
    use super::super::waiter::{Pass, Waiter, Waiters};
    use super::*;

    fn key() -> TimerKey {
        let ticket = Ticket {
            caller: Caller {
                session: SessionId(1),
                lane: LaneId(1),
            },
            number: 1,
        };
        let waiter = Waiters::default().push(Waiter {
            pass: Pass { ticket, timer: None },
            data: (),
        });
        TimerKey { list: 0, waiter }
    }

    #[test]
    fn timers_fire_in_order_and_never_early() {
        let timers = Timers::default();
        for (deadline, object) in [(30, 1), (10, 2), (20, 3), (10, 4)] {
            timers.set(timers.id(Time(deadline)), ObjectId(object), key());
        }
        let cancelled = timers.id(Time(5));
        timers.set(cancelled, ObjectId(5), key());
        assert_eq!(timers.earliest(), Some(Time(5)));
        timers.cancel(cancelled);
        assert_eq!(timers.earliest(), Some(Time(10)));
        assert_eq!(timers.take_due(Time(9)), None);
        let fired: Vec<u64> = std::iter::from_fn(|| timers.take_due(Time(20)))
            .map(|(object, _)| object.0)
            .collect();
        assert_eq!(fired, [2, 4, 3]);
        assert_eq!((timers.len(), timers.earliest()), (1, Some(Time(30))));
    }
}
