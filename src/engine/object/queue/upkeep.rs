//! What the engine asks of every object, answered for queues: who is tied to it, what it holds, whether it is sound.

use super::claim::refuse_offer;
use super::{Phase, Progress, QueueObject};
use crate::engine::cell::Cell;
use crate::engine::object::Context;
use crate::engine::types::{SessionId, Ticket};
use crate::engine::waiter::Pass;
use byproxy_proto::fault::Fault;
use byproxy_proto::value::Raw;
use std::fmt;

impl QueueObject {
    /// The object is being freed: everyone who waits in it is refused, and no session is tied to it any more.
    pub(crate) fn dismiss_waiters(&mut self, fault: &Fault, context: &mut Context<'_>) {
        while let Some(waiter) = self.putters.pop_front() {
            refuse_offer(context, waiter, fault.clone());
        }
        while let Some(waiter) = self.getters.pop_front() {
            context.refuse(&waiter.pass, fault.clone());
        }
        while let Some(waiter) = self.joiners.pop_front() {
            context.refuse(&waiter.pass, fault.clone());
        }
        self.deliveries.borrowers().for_each(|session| context.untie(session));
        self.books.consumers().for_each(|(session, _)| context.untie(session));
        self.deliveries
            .tickets()
            .for_each(|ticket| context.forget_delivery(ticket));
    }

    /// Every value the queue holds: waiting, on its way, offered.
    pub(crate) fn cells(&self, visit: &mut dyn FnMut(&Cell)) {
        self.store
            .iter()
            .chain(self.deliveries.iter())
            .for_each(|item| visit(&item.cell));
        self.putters.iter().flat_map(|waiter| &waiter.data.rest).for_each(visit);
    }

    /// Takes the queue apart, once nobody waits in it.
    pub(crate) fn take_cells(self) -> impl Iterator<Item = Cell> {
        let Self {
            mut store,
            deliveries,
            putters,
            ..
        } = self;
        debug_assert!(putters.is_empty(), "waiters are dismissed before");
        store
            .take_all()
            .into_iter()
            .chain(deliveries.into_items())
            .map(|item| item.cell)
    }

    /// How many values the queue holds, about.
    pub(crate) fn weight(&self) -> usize {
        self.store.len() + self.deliveries.len() + self.putters.len()
    }

    /// Whether no value refers to an object, known without a look at each.
    pub(crate) fn is_leaf(&self) -> bool {
        !self.refers
    }

    /// Prints the values that wait, in the order in which they would be got.
    pub(crate) fn show(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("[")?;
        for (index, item) in self.store.in_order().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(out, "{comma}{}", Raw::assume_checked(item.cell.bytes()))?;
        }
        out.write_str("]")
    }

    /// Names every waiter.
    pub(crate) fn passes(&self, visit: &mut dyn FnMut(&Pass)) {
        self.putters.iter().for_each(|waiter| visit(&waiter.pass));
        self.getters.iter().for_each(|waiter| visit(&waiter.pass));
        self.joiners.iter().for_each(|waiter| visit(&waiter.pass));
    }

    /// Names the session of every lent item and of every account.
    pub(crate) fn holdings(&self, visit: &mut dyn FnMut(SessionId)) {
        let accounts = self.books.consumers().map(|(session, _)| session);
        accounts.chain(self.deliveries.borrowers()).for_each(visit);
    }

    /// Names the ticket of every delivery that is neither confirmed nor declined.
    pub(crate) fn deliveries(&self, visit: &mut dyn FnMut(Ticket)) {
        self.deliveries.tickets().for_each(visit);
    }

    /// Checks the invariants.
    pub(crate) fn check(&self) -> Result<(), String> {
        let waiting = self.store.len() as u64;
        self.store.check()?;
        self.books.check(waiting)?;
        if self.deliveries.len() as u64 != self.books.in_flight() {
            return Err(format!(
                "Q1: {} items are in flight, not what the books say: {self:?}",
                self.deliveries.len()
            ));
        }
        let mut refers = false;
        self.cells(&mut |cell| refers |= !cell.objects().is_empty());
        if refers && !self.refers {
            return Err("a queue that refers to objects says it does not".to_owned());
        }
        let (putters, getters, joiners) = (self.putters.len(), self.getters.len(), self.joiners.len());
        if (getters > 0 && waiting > 0) || (putters > 0 && self.room() > 0) {
            return Err(format!(
                "Q4: {getters} getters and {putters} putters wait without need: {self:?}"
            ));
        }
        if self.phase != Phase::Open && getters + putters > 0 {
            return Err(format!(
                "Q5: {getters} getters and {putters} putters wait for the end of time: {self:?}"
            ));
        }
        if joiners > 0 && self.books.progress() != Progress::Working {
            return Err(format!(
                "Q5: {joiners} joiners wait though nothing is to be done: {self:?}"
            ));
        }
        Ok(())
    }
}
