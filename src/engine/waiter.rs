//! Waiting calls as data: a first-in-first-out list inside an object, in which every waiter has an address of its own.
//!
//! A waiter is addressed by slot and generation, so that a timer or a sweep that comes too late finds nothing rather than another
//! waiter. Adding, removing anywhere and taking the first cost constant time; memory is reused.

use super::timers::TimerId;
use super::types::Ticket;

/// Calls that wait for the same thing, the longest waiting first, each with what it needs to go on.
#[derive(Debug)]
pub(crate) struct Waiters<T> {
    slots: Vec<Slot<T>>,
    first: Option<u32>,
    last: Option<u32>,
    free: Option<u32>,
    len: usize,
}

/// Where a waiter stands. It never names another waiter, even after its own is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WaiterId {
    slot: u32,
    generation: u32,
}

/// One waiting call.
#[derive(Debug)]
pub(crate) struct Waiter<T> {
    /// Whom to answer, and until when. See [`Context::grant`](super::object::Context::grant).
    pub(crate) pass: Pass,
    /// What the object needs to go on with the call.
    pub(crate) data: T,
}

/// What of a waiter does not depend on what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// The call.
    pub(crate) ticket: Ticket,
    /// Its deadline, if it has one.
    pub(crate) timer: Option<TimerId>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    /// Neighbours in the order of waiting; `next` links free slots as well.
    previous: Option<u32>,
    next: Option<u32>,
    waiter: Option<Waiter<T>>,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            first: None,
            last: None,
            free: None,
            len: 0,
        }
    }
}

impl<T> Waiters<T> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a waiter behind all others. Objects call [`Context::wait`](super::object::Context::wait), which also enters it in its
    /// session's books and sets its timer.
    pub(crate) fn push(&mut self, waiter: Waiter<T>) -> WaiterId {
        let slot = self.vacant_slot();
        let last = self.last.replace(slot);
        match last {
            Some(last) => self.slots[last as usize].next = Some(slot),
            None => self.first = Some(slot),
        }
        let entry = &mut self.slots[slot as usize];
        entry.previous = last;
        entry.next = None;
        entry.waiter = Some(waiter);
        self.len += 1;
        WaiterId {
            slot,
            generation: entry.generation,
        }
    }

    /// The longest waiting.
    pub(crate) fn front(&self) -> Option<&Waiter<T>> {
        self.slots.get(self.first? as usize)?.waiter.as_ref()
    }

    /// The longest waiting, to change what it still needs.
    pub(crate) fn front_mut(&mut self) -> Option<&mut Waiter<T>> {
        self.slots.get_mut(self.first? as usize)?.waiter.as_mut()
    }

    /// Takes the longest waiting out.
    pub(crate) fn pop_front(&mut self) -> Option<Waiter<T>> {
        self.unlink(self.first?)
    }

    /// The waiter of this address, if it still waits.
    pub(crate) fn get(&self, id: WaiterId) -> Option<&Waiter<T>> {
        let slot = self
            .slots
            .get(id.slot as usize)
            .filter(|slot| slot.generation == id.generation)?;
        slot.waiter.as_ref()
    }

    /// Takes the waiter of this address out, if it still waits.
    pub(crate) fn remove(&mut self, id: WaiterId) -> Option<Waiter<T>> {
        self.get(id)?;
        self.unlink(id.slot)
    }

    /// Takes every waiter out that satisfies a condition, in the order of waiting.
    pub(crate) fn remove_all(&mut self, condition: impl Fn(&Waiter<T>) -> bool) -> Vec<Waiter<T>> {
        let mut removed = Vec::new();
        let mut next = self.first;
        while let Some(slot) = next {
            let entry = &self.slots[slot as usize];
            next = entry.next;
            if entry.waiter.as_ref().is_some_and(&condition) {
                removed.extend(self.unlink(slot));
            }
        }
        removed
    }

    /// The waiters in the order of waiting.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiter<T>> {
        let step = |&slot: &u32| self.slots.get(slot as usize).and_then(|slot| slot.next);
        std::iter::successors(self.first, step).filter_map(|slot| self.slots.get(slot as usize)?.waiter.as_ref())
    }

    fn vacant_slot(&mut self) -> u32 {
        if let Some(slot) = self.free {
            self.free = self.slots[slot as usize].next;
            return slot;
        }
        let slot = u32::try_from(self.slots.len()).expect("waiters_max is far below 2^32");
        self.slots.push(Slot {
            generation: 0,
            previous: None,
            next: None,
            waiter: None,
        });
        slot
    }

    fn unlink(&mut self, slot: u32) -> Option<Waiter<T>> {
        let entry = &mut self.slots[slot as usize];
        let waiter = entry.waiter.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        let (previous, next) = (entry.previous, entry.next);
        entry.next = self.free;
        self.free = Some(slot);
        match previous {
            Some(previous) => self.slots[previous as usize].next = next,
            None => self.first = next,
        }
        match next {
            Some(next) => self.slots[next as usize].previous = previous,
            None => self.last = previous,
        }
        self.len -= 1;
        Some(waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Caller, LaneId, SessionId};
    use super::*;

    fn waiter(number: u64) -> Waiter<u64> {
        let caller = Caller {
            session: SessionId(number % 3),
            lane: LaneId(0),
        };
        Waiter {
            pass: Pass {
                ticket: Ticket { caller, number },
                timer: None,
            },
            data: number,
        }
    }

    fn order(waiters: &Waiters<u64>) -> Vec<u64> {
        waiters.iter().map(|waiter| waiter.data).collect()
    }

    #[test]
    fn waiters_leave_in_the_order_they_came() {
        let mut waiters = Waiters::default();
        let ids: Vec<_> = (0..6).map(|number| waiters.push(waiter(number))).collect();
        assert_eq!(waiters.remove(ids[2]).unwrap().data, 2);
        assert_eq!(waiters.remove(ids[5]).unwrap().data, 5);
        assert_eq!(waiters.pop_front().unwrap().data, 0);
        waiters.push(waiter(6));
        assert_eq!(order(&waiters), [1, 3, 4, 6]);
        assert_eq!(
            waiters
                .remove_all(|waiter| waiter.pass.ticket.caller.session == SessionId(1))
                .len(),
            2
        );
        assert_eq!(order(&waiters), [3, 6]);
        assert_eq!((waiters.len(), waiters.front().unwrap().data), (2, 3));
    }

    #[test]
    fn an_old_address_never_names_a_new_waiter() {
        let mut waiters = Waiters::default();
        let old = waiters.push(waiter(1));
        waiters.pop_front();
        let new = waiters.push(waiter(2));
        assert_ne!(old, new);
        assert!(waiters.get(old).is_none());
        assert!(waiters.remove(old).is_none());
        assert_eq!(waiters.remove(new).unwrap().data, 2);
        assert!(waiters.is_empty());
    }
}
