//! What an object may do beyond its own contents: keep calls waiting, answer those that waited, enter grants in sessions' books.
//!
//! Everything here is called with the object locked, and locks sessions and timers after it, in this order.

use super::effects::Effects;
use super::{Contents, TimerKey};
use crate::engine::job::{Job, Work, World};
use crate::engine::outputs::{Answer, Output};
use crate::engine::recent::Recent;
use crate::engine::session::Sessions;
use crate::engine::timers::Timers;
use crate::engine::types::{ObjectId, SessionId, Settings, Ticket, Time};
use crate::engine::wait_graph::WaitGraph;
use crate::engine::waiter::{Pass, Waiter, WaiterId, Waiters};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::Wait;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a grant leaves in its session's books, until the object takes it out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    /// Nothing: the call is over with its reply.
    Nothing,
    /// Something held in this object, such as a lock or a lent item: ended by [`Context::untie`].
    Holding,
    /// A delivery under the call's ticket: ended by the client's confirm or decline, which come to the object as events.
    Delivery,
}

/// The world of one call or event.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// When it happens.
    pub(crate) now: Time,
    /// The object it happens to.
    pub(crate) object: ObjectId,
    /// The answer to the call at hand (unused in events), references and bytes.
    pub(crate) effects: Effects<'a>,
    pub(crate) services: &'a Services,
    /// What a job takes with it.
    pub(crate) world: &'a World,
    pub(crate) outputs: &'a mut Vec<Output>,
    /// What the thread that handles it used last.
    pub(crate) recent: &'a mut Recent,
}

/// What all objects share beside the registry: who is connected, who waits until when.
#[derive(Debug, Default)]
pub(crate) struct Services {
    pub(crate) sessions: Sessions,
    pub(crate) timers: Timers,
    pub(crate) graph: WaitGraph,
    /// Calls that wait in or for objects, for the limit.
    pub(crate) waiting: AtomicUsize,
}

impl Context<'_> {
    /// Keeps a call waiting: in `list` (which the object numbers `number` for its timers), in its session's books, and with a timer.
    /// The caller has tried already: a call that must not wait is never passed here.
    ///
    /// # Errors
    /// [`FaultCode::TooMany`] at the limit of waiters, [`FaultCode::Gone`] when the session is ending; the data comes back.
    pub(crate) fn wait<T>(
        &mut self,
        list: &mut Waiters<T>,
        number: u8,
        ticket: Ticket,
        wait: Wait,
        data: T,
    ) -> Result<WaiterId, (Box<Fault>, T)> {
        if let Err(fault) = self
            .services
            .enter_wait(self.effects.settings, self.object, ticket.caller.session)
        {
            return Err((fault, data));
        }
        let deadline = wait.nanoseconds().map(|nanoseconds| self.now.after(nanoseconds));
        let timer = deadline.map(|deadline| self.services.timers.id(deadline));
        let waiter = list.push(Waiter {
            pass: Pass { ticket, timer },
            data,
        });
        if let Some(timer) = timer {
            self.services
                .timers
                .set(timer, self.object, TimerKey { list: number, waiter });
        }
        Ok(waiter)
    }

    /// Answers a call that waited (its waiter is out of its list): `write` makes the answer, with references and bytes accounted as
    /// usual. Refused, without calling `write`, when the session is ending: then nothing was granted, and the next may have it.
    #[must_use = "a refused grant must go to the next waiter"]
    pub(crate) fn grant(&mut self, pass: &Pass, tie: Tie, write: impl FnOnce(&mut Effects<'_>)) -> bool {
        self.services.leave_wait(pass);
        let ticket = pass.ticket;
        let session = self.services.sessions.get(ticket.caller.session);
        let Some(session) = session else {
            return seeded!("grant_to_the_dead");
        };
        let mut books = session.lock();
        books.untie(self.object);
        if books.ending() && !seeded!("grant_without_liveness_check") {
            return false;
        }
        let mut answer = Answer::default();
        write(&mut self.effects.answering(&mut answer));
        books.adopt(&answer.handed);
        books.tie(tie, self.object, ticket);
        drop(books);
        self.outputs
            .push(Output::reply(ticket, Ok(answer), tie == Tie::Delivery));
        true
    }

    /// Answers a call that waited (its waiter is out of its list) with a fault.
    pub(crate) fn refuse(&mut self, pass: &Pass, fault: Fault) {
        self.forget(pass);
        self.outputs.push(Output::reply(pass.ticket, Err(fault), false));
    }

    /// Gives a waiter up without an answer (its waiter is out of its list): its session has ended.
    pub(crate) fn forget(&mut self, pass: &Pass) {
        self.services.leave_wait(pass);
        self.untie(pass.ticket.caller.session);
    }

    /// Enters a grant to the call at hand in its session's books; the answer itself goes through [`Context::effects`].
    ///
    /// # Errors
    /// [`FaultCode::Gone`] when the session is ending, [`FaultCode::Misuse`] when a delivery under this ticket is open: then nothing may
    /// be granted.
    pub(crate) fn tie(&mut self, tie: Tie, ticket: Ticket) -> Result<(), Box<Fault>> {
        let session = self.recent.session(&self.services.sessions, ticket.caller.session);
        let mut books = session.map(|session| session.lock());
        match books.as_deref_mut().filter(|books| !books.ending()) {
            Some(books) if tie == Tie::Delivery && books.awaits(ticket) => return Err(unsettled().into()),
            Some(books) => books.tie(tie, self.object, ticket),
            None if seeded!("grant_without_liveness_check") => {}
            None => return Err(gone().into()),
        }
        Ok(())
    }

    /// Refuses a call that is to be answered with a delivery while an earlier one of its number is open.
    ///
    /// # Errors
    /// [`FaultCode::Misuse`]; [`FaultCode::Gone`] when the session has ended.
    pub(crate) fn check_settled(&mut self, ticket: Ticket) -> Result<(), Box<Fault>> {
        let session = self.recent.session(&self.services.sessions, ticket.caller.session);
        let session = session.ok_or_else(gone)?;
        let awaits = session.lock().awaits(ticket);
        if awaits { Err(unsettled().into()) } else { Ok(()) }
    }

    /// Drops contents that nobody can reach any more: at once, or if that takes long, as a job.
    pub(crate) fn drop_contents(&mut self, contents: Contents) {
        if contents.weight() > self.effects.settings.small_steps {
            let work = Work::Drop { all: vec![contents] };
            self.outputs.push(Output::Job(Job::new(self.world.clone(), work)));
            return;
        }
        self.effects.discard_contents(contents);
    }

    /// Takes one [`Tie::Holding`] out of a session's books.
    pub(crate) fn untie(&mut self, session: SessionId) {
        if let Some(session) = self.recent.session(&self.services.sessions, session) {
            session.lock().untie(self.object);
        }
    }

    /// Takes a [`Tie::Delivery`] out of its session's books, because the object is being freed.
    pub(crate) fn forget_delivery(&mut self, ticket: Ticket) {
        if let Some(session) = self.services.sessions.get(ticket.caller.session) {
            session.lock().settle(ticket);
        }
    }
}

impl Services {
    /// Enters a waiting call in its session's books.
    pub(crate) fn enter_wait(
        &self,
        settings: &Settings,
        object: ObjectId,
        session: SessionId,
    ) -> Result<(), Box<Fault>> {
        let session = self.sessions.get(session).ok_or_else(gone)?;
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= settings.waiters_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let message = format!(
                "{} calls wait already, as many as this server allows",
                settings.waiters_max
            );
            return Err(Fault::new(FaultCode::TooMany, message).into());
        }
        let mut books = session.lock();
        if books.ending() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(gone().into());
        }
        books.tie_waiter(object);
        Ok(())
    }

    /// Takes a call that no longer waits out of the count and its timer out of the timers (not out of its session's books).
    pub(crate) fn leave_wait(&self, pass: &Pass) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(timer) = pass.timer {
            self.timers.cancel(timer);
        }
    }
}

/// Only a client that does not count its calls is told this.
#[cold]
fn unsettled() -> Fault {
    let message = "an earlier call of this number brought items that are neither confirmed nor declined: give every call its own number";
    Fault::new(FaultCode::Misuse, message)
}

pub(crate) fn gone() -> Fault {
    Fault::new(FaultCode::Gone, "the session has ended")
}
