//! Items that left the queue but are not their consumer's yet.
//!
//! A *flight* is what one reply of `get` or `get_many` carries: the client confirms or declines it as a whole, by the call's number. A
//! *lease* is one item lent by `receive`, under a delivery number, until its session acknowledges it or gives it back. Both belong to a
//! session and come back when it ends.

use super::store::Item;
use crate::engine::types::{Caller, LaneId, SessionId, Ticket};
use std::collections::BTreeMap;

/// The items of one reply. One item needs no allocation.
#[derive(Debug)]
pub(super) struct Flight {
    first: Item,
    rest: Vec<Item>,
}

/// Everything of one queue that is on its way.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    flights: BTreeMap<Ticket, Flight>,
    leases: BTreeMap<(SessionId, u64), Item>,
    /// The number of the last lease; they start at one.
    last_lease: u64,
}

impl Flight {
    pub(super) fn new(first: Item) -> Self {
        Self {
            first,
            rest: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.rest.push(item);
    }

    pub(super) fn len(&self) -> u64 {
        1 + self.rest.len() as u64
    }

    /// The encoded length of all its items.
    pub(super) fn bytes(&self) -> usize {
        self.iter().map(|item| item.cell.bytes().len()).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    pub(super) fn into_items(self) -> impl Iterator<Item = Item> {
        std::iter::once(self.first).chain(self.rest)
    }
}

impl Deliveries {
    /// Sends items to a call's session.
    pub(super) fn send(&mut self, ticket: Ticket, flight: Flight) {
        let before = self.flights.insert(ticket, flight);
        debug_assert!(before.is_none(), "a lane has one unconfirmed delivery per call number");
    }

    /// Takes out what the reply of this call carried.
    pub(super) fn land(&mut self, ticket: Ticket) -> Option<Flight> {
        if seeded!("release_wrong_delivery") {
            return self.flights.pop_first().map(|(_, flight)| flight);
        }
        self.flights.remove(&ticket)
    }

    /// Lends an item to a session under the next delivery number.
    pub(super) fn lend(&mut self, session: SessionId, item: Item) {
        self.last_lease += 1;
        self.leases.insert((session, self.last_lease), item);
    }

    /// The delivery number that the next [`lend`](Self::lend) uses.
    pub(super) fn next_lease(&self) -> u64 {
        self.last_lease + 1
    }

    /// Takes out what was lent to this session under this number.
    pub(super) fn take_lent(&mut self, session: SessionId, delivery: u64) -> Option<Item> {
        self.leases.remove(&(session, delivery))
    }

    /// Takes out everything that is on its way to a session.
    pub(super) fn take_all_of(&mut self, session: SessionId) -> Vec<Item> {
        let mut items = Vec::new();
        let end = |lane, number| Ticket {
            caller: Caller {
                session,
                lane: LaneId(lane),
            },
            number,
        };
        let flights = end(0, 0)..=end(u64::MAX, u64::MAX);
        while let Some(&key) = self.flights.range(flights.clone()).next().map(|(key, _)| key) {
            items.extend(self.flights.remove(&key).into_iter().flat_map(Flight::into_items));
        }
        let leases = (session, 0)..=(session, u64::MAX);
        while let Some(&key) = self.leases.range(leases.clone()).next().map(|(key, _)| key) {
            items.extend(self.leases.remove(&key));
        }
        items
    }

    /// How many items are on their way.
    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    /// The calls whose replies are neither confirmed nor declined.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.flights.keys().copied()
    }

    /// The session of each lent item.
    pub(super) fn borrowers(&self) -> impl Iterator<Item = SessionId> {
        self.leases.keys().map(|&(session, _)| session)
    }

    /// How many items are lent to a session.
    pub(super) fn lent_to(&self, session: SessionId) -> usize {
        self.leases.range((session, 0)..=(session, u64::MAX)).count()
    }

    /// Every item on its way.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.flights.values().flat_map(Flight::iter).chain(self.leases.values())
    }

    /// Takes everything apart.
    pub(super) fn into_items(self) -> impl Iterator<Item = Item> {
        self.flights
            .into_values()
            .flat_map(Flight::into_items)
            .chain(self.leases.into_values())
    }
}
