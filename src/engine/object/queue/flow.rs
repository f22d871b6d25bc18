//! How items move between putters, the queue and getters, whoever set them going.

use super::claim::{Demand, Offer, worker_died};
use super::delivery::Flight;
use super::store::Item;
use super::{Phase, Progress, QueueObject};
use crate::engine::cell::Cell;
use crate::engine::object::{Context, Tie};
use crate::engine::types::{SessionId, Settings, Ticket};
use crate::engine::waiter::Waiter;
use byproxy_proto::value::{write_none, write_uint};

/// What a reply holds beside its items: the list's header.
const REPLY_HEADER_BYTES_MAX: usize = 16;

impl QueueObject {
    /// Numbers a value and lets it wait. The caller has seen that there is room.
    pub(super) fn accept(&mut self, cell: Cell) {
        self.last_sequence += 1;
        self.books.accept(1);
        self.store.push(Item {
            sequence: self.last_sequence,
            times: 0,
            cell,
        });
    }

    /// Accepts as much of an offer as there is room for.
    pub(super) fn accept_some(&mut self, offer: &mut Offer) {
        let count = usize::try_from(self.room()).unwrap_or(usize::MAX).min(offer.rest.len());
        offer.accepted += count as u64;
        offer.rest.drain(..count).for_each(|cell| self.accept(cell));
    }

    /// Gives waiting items to waiting getters, the longest waiting first.
    pub(super) fn serve_getters(&mut self, context: &mut Context<'_>) {
        while let Some(&Waiter { data: demand, .. }) = self.getters.front()
            && let Some(flight) = self.take(demand, context.effects.settings)
            && let Some(Waiter { pass, .. }) = self.getters.pop_front()
        {
            let lease = self.deliveries.next_lease();
            if context.grant(&pass, demand.tie(), |effects| demand.write(&flight, lease, effects)) {
                self.send(context, pass.ticket, demand, flight);
            } else {
                self.store.give_back(flight.into_items().collect());
            }
        }
    }

    /// Lets in what waiting putters offer as far as there is room, the longest waiting first, and passes it on to waiting getters.
    pub(super) fn admit_putters(&mut self, context: &mut Context<'_>) {
        loop {
            self.serve_getters(context);
            let room = self.room();
            if room == 0 {
                return;
            }
            let Some(waiter) = self.putters.front_mut() else { return };
            if waiter.data.rest.len() as u64 > room {
                let mut offer = std::mem::take(&mut waiter.data);
                self.accept_some(&mut offer);
                if let Some(waiter) = self.putters.front_mut() {
                    waiter.data = offer;
                }
                continue;
            }
            let Some(Waiter { pass, data: mut offer }) = self.putters.pop_front() else {
                return;
            };
            let granted = context.grant(&pass, Tie::Nothing, |effects| {
                let accepted = offer.accepted + offer.rest.len() as u64;
                if offer.many {
                    write_uint(effects.result(), accepted);
                } else {
                    write_none(effects.result());
                }
            });
            if granted {
                self.accept_some(&mut offer);
            }
            offer.rest.into_iter().for_each(|cell| context.effects.discard(cell));
        }
    }

    /// Takes what a demand is given out of the queue; nothing if nothing waits.
    pub(super) fn take(&mut self, demand: Demand, settings: &Settings) -> Option<Flight> {
        let mut flight = Flight::new(self.store.pop()?);
        let Demand::Many { items_max } = demand else {
            return Some(flight);
        };
        let mut bytes = REPLY_HEADER_BYTES_MAX + flight.bytes();
        while flight.len() < items_max
            && let Some(next) = self.store.peek()
            && bytes + next.cell.reply_bytes() <= settings.reply_bytes_max
            && let Some(next) = self.store.pop()
        {
            bytes += next.cell.reply_bytes();
            flight.push(next);
        }
        Some(flight)
    }

    /// Enters what a reply carries as being on its way. The reply itself has been written.
    pub(super) fn send(&mut self, context: &mut Context<'_>, ticket: Ticket, demand: Demand, flight: Flight) {
        let session = ticket.caller.session;
        let peer = || {
            context
                .services
                .sessions
                .get(session)
                .map_or(0, |session| session.peer.pid)
        };
        if self.books.deliver(session, peer, flight.len()) {
            // From now on the session has an account here, to be closed when it ends. If it is ending already, the sweep comes here
            // anyway: the delivery itself is in its books.
            let _ending = context.tie(Tie::Holding, ticket);
        }
        match demand {
            Demand::Lease => flight.into_items().for_each(|item| self.deliveries.lend(session, item)),
            Demand::One | Demand::Many { .. } => self.deliveries.send(ticket, flight),
        }
    }

    /// Lets items in flight wait again, each in its place, or discards them if the queue has ended.
    pub(super) fn take_back(&mut self, context: &mut Context<'_>, session: SessionId, mut items: Vec<Item>) {
        let lent = || self.deliveries.lent_to(session) as u64;
        self.books.give_back(session, items.len() as u64, lent);
        if self.phase == Phase::Ended {
            self.discard(context, items);
            self.settle_joiners(context);
            return;
        }
        for item in &mut items {
            item.times += 1;
        }
        self.store.give_back(items);
        self.admit_putters(context);
    }

    pub(super) fn discard(&mut self, context: &mut Context<'_>, items: Vec<Item>) {
        self.books.discard(items.len() as u64);
        for item in items {
            context.effects.discard(item.cell);
        }
    }

    /// Answers whoever joins, if that can be answered now.
    pub(super) fn settle_joiners(&mut self, context: &mut Context<'_>) {
        let progress = self.books.progress();
        while progress != Progress::Working
            && let Some(waiter) = self.joiners.pop_front()
        {
            if let Progress::WorkerDied(count) = progress {
                context.refuse(&waiter.pass, worker_died(count));
            } else {
                // Refused when its session is ending: there is nothing to pass on.
                let _granted = context.grant(&waiter.pass, Tie::Nothing, |effects| write_none(effects.result()));
            }
        }
    }

    pub(super) fn room(&self) -> u64 {
        if self.maxsize == 0 || seeded!("ignore_maxsize") {
            return u64::MAX;
        }
        self.maxsize.saturating_sub(self.store.len() as u64)
    }
}
