//! A lock: one owner at a time, the others wait in line.
//!
//! - Not re-entrant. The owner is a thread of a session; anyone may release, as Python allows. A guard releases *its* holding, by token:
//!   if the lock was taken from it meanwhile, that is a misuse and changes nothing.
//! - Tokens grow with every grant, so that a resource can refuse a holder that was overtaken.
//! - When the owner's session ends, the lock is free, and the next holder is told that it was *abandoned* (once).
//! - A leaked lock is taken but owned by nobody: it outlives the session that leaked it, until someone releases it.
//! - Waiters are served in the order they came; nothing is ever granted to a session that is ending.
//!
//! **Invariant (L1):** nobody waits for a free lock. **Invariant (L2):** the wait graph has exactly this lock's waiters without deadline,
//! and this lock's owner, while there are any.

use super::{Context, Effects, Step, Tie, TimerKey, read};
use crate::engine::types::{ObjectId, SessionId, Ticket};
use crate::engine::wait_graph::{Owner, WaitGraph};
use crate::engine::waiter::{Pass, Waiter, Waiters};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{LockOp, Operation, Wait};
use byproxy_proto::value::{Kind, Raw, write_bool, write_list_header, write_none, write_uint};
use std::fmt;

/// A lock that the server hosts.
#[derive(Debug, Default)]
pub(crate) struct LockObject {
    holding: Option<Holding>,
    /// The token of the last grant; the first is one.
    last_token: u64,
    /// The last owner ended without releasing, and nobody has been told yet.
    abandoned: bool,
    waiters: Waiters<Claim>,
    /// How many of the waiters have no deadline: those stand in the wait graph.
    patient: usize,
}

/// One grant of the lock.
#[derive(Clone, Copy, Debug)]
struct Holding {
    token: u64,
    /// Nobody once it was leaked.
    owner: Option<Owner>,
}

/// What a waiter needs to be granted the lock.
#[derive(Clone, Copy, Debug)]
struct Claim {
    thread: u64,
}

impl LockObject {
    /// A free lock; it is made of nothing.
    pub(crate) fn create(contents: Raw<'_>) -> Result<Self, Box<Fault>> {
        if contents.is_none() {
            return Ok(Self::default());
        }
        Err(Fault::new(FaultCode::BadArgument, "a lock is made of nothing").into())
    }

    /// Does a call, or keeps it waiting.
    pub(crate) fn call(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        ticket: &Ticket,
        context: &mut Context<'_>,
    ) -> Result<Step, Box<Fault>> {
        match operation {
            Operation::LockAcquire => self.call_known(Operation::LockAcquire, arguments, ticket, context),
            Operation::LockRelease => self.call_known(Operation::LockRelease, arguments, ticket, context),
            _ => self.call_known(operation, arguments, ticket, context),
        }
    }

    #[expect(
        clippy::inline_always,
        reason = "all but one operation's code goes where that is known"
    )]
    #[inline(always)]
    fn call_known(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        ticket: &Ticket,
        context: &mut Context<'_>,
    ) -> Result<Step, Box<Fault>> {
        let op = read(operation, Kind::LOCK, LockOp::read(operation, arguments))?;
        self.apply(&op, ticket, context)
    }

    #[expect(
        clippy::inline_always,
        reason = "all but one operation's code goes where that is known"
    )]
    #[inline(always)]
    fn apply(&mut self, op: &LockOp<'_>, &ticket: &Ticket, context: &mut Context<'_>) -> Result<Step, Box<Fault>> {
        match *op {
            LockOp::Acquire { thread, wait } => return self.acquire(context, ticket, thread, wait),
            LockOp::Release { token } => self.release(context, token)?,
            LockOp::Leak { token } => self.leak(context, token)?,
            LockOp::Locked {} => {
                write_bool(context.effects.result(), self.holding.is_some());
                return Ok(Step::Done);
            }
            LockOp::Never(never, _) => match never {},
        }
        write_none(context.effects.result());
        Ok(Step::Done)
    }

    /// A waiter's time has passed.
    pub(crate) fn timeout(&mut self, key: TimerKey, context: &mut Context<'_>) {
        // Waiters with a deadline are not in the wait graph.
        if let Some(waiter) = self.waiters.remove(key.waiter) {
            context.refuse(&waiter.pass, too_late());
        }
    }

    /// A session ends: it waits no more, and what it owns is free.
    pub(crate) fn session_end(&mut self, session: SessionId, context: &mut Context<'_>) {
        for waiter in self
            .waiters
            .remove_all(|waiter| waiter.pass.ticket.caller.session == session)
        {
            context.forget(&waiter.pass);
            self.left(context, patient(&waiter));
        }
        let owns = self.owner().is_some_and(|owner| owner.session == session);
        if owns && !seeded!("lock_keeps_dead_owner") {
            self.abandoned = !seeded!("abandoned_not_told");
            self.hand_on(context);
        }
    }

    fn acquire(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        thread: u64,
        wait: Wait,
    ) -> Result<Step, Box<Fault>> {
        let claimant = Owner {
            session: ticket.caller.session,
            thread,
        };
        if self.holding.is_none() {
            context.tie(Tie::Holding, ticket)?;
            self.granted(claimant, &mut context.effects);
            return Ok(Step::Done);
        }
        if wait.is_try() {
            return Err(too_late().into());
        }
        let patient = wait == Wait::FOREVER;
        let graph = &context.services.graph;
        if patient && let Err(cycle) = graph.begin(claimant, context.object, self.owner()) {
            return Err(Fault::new(FaultCode::Deadlock, cycle).into());
        }
        self.patient += usize::from(patient);
        let waits = context.wait(&mut self.waiters, 0, ticket, wait, Claim { thread });
        if let Err((fault, Claim { .. })) = waits {
            self.left(context, patient.then_some(claimant));
            return Err(fault);
        }
        Ok(Step::Waits)
    }

    fn release(&mut self, context: &mut Context<'_>, token: Option<u64>) -> Result<(), Box<Fault>> {
        let holding = self
            .holding
            .ok_or_else(|| misuse("released a lock that nobody holds: acquire it first, and release it once; dropping its guard releases it"))?;
        if token.is_some_and(|token| token != holding.token) && !seeded!("release_ignores_token") {
            return Err(overtaken().into());
        }
        self.hand_on(context);
        Ok(())
    }

    fn leak(&mut self, context: &mut Context<'_>, token: u64) -> Result<(), Box<Fault>> {
        let holding = self
            .holding
            .as_mut()
            .filter(|holding| holding.token == token)
            .ok_or_else(overtaken)?;
        if let Some(owner) = holding.owner.take() {
            context.untie(owner.session);
            if self.patient > 0 {
                context.services.graph.change(context.object, None, None);
            }
        }
        Ok(())
    }

    /// Takes the lock from whoever holds it and gives it to the first waiter that is still there.
    fn hand_on(&mut self, context: &mut Context<'_>) {
        if let Some(owner) = self.holding.take().and_then(|holding| holding.owner) {
            context.untie(owner.session);
        }
        while let Some(waiter) = self.waiters.pop_front() {
            let claimant = claimant(&waiter);
            let granted = context.grant(&waiter.pass, Tie::Holding, |effects| self.granted(claimant, effects));
            self.left(context, patient(&waiter));
            if granted {
                return;
            }
        }
    }

    /// Makes a claimant the owner and tells it its token.
    fn granted(&mut self, claimant: Owner, effects: &mut Effects<'_>) {
        self.last_token += u64::from(!seeded!("token_does_not_grow"));
        self.holding = Some(Holding {
            token: self.last_token,
            owner: Some(claimant),
        });
        let abandoned = std::mem::take(&mut self.abandoned);
        write_list_header(effects.result(), 2);
        write_uint(effects.result(), self.last_token);
        write_bool(effects.result(), abandoned);
    }

    /// Tells the wait graph that a waiter left the line (who, if it was in the graph) and who owns the lock now, in one step.
    fn left(&mut self, context: &Context<'_>, patient: Option<Owner>) {
        if self.patient > 0 {
            context.services.graph.change(context.object, patient, self.owner());
        }
        self.patient -= usize::from(patient.is_some());
    }

    fn owner(&self) -> Option<Owner> {
        self.holding.and_then(|holding| holding.owner)
    }

    /// The object is being freed: everyone who waits in it is refused, and no session is tied to it any more.
    pub(crate) fn dismiss_waiters(&mut self, fault: &Fault, context: &mut Context<'_>) {
        if let Some(owner) = self.owner() {
            context.untie(owner.session);
        }
        while let Some(waiter) = self.waiters.pop_front() {
            context.refuse(&waiter.pass, fault.clone());
            self.left(context, patient(&waiter));
        }
    }

    /// Prints who has it.
    pub(crate) fn show(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self.holding {
            None => out.write_str("<free>"),
            Some(Holding { token, owner: None }) => write!(out, "<leaked, token {token}>"),
            Some(Holding {
                token,
                owner: Some(owner),
            }) => write!(out, "<held by {owner}, token {token}>"),
        }
    }

    /// Names every waiter.
    pub(crate) fn passes(&self, visit: &mut dyn FnMut(&Pass)) {
        self.waiters.iter().for_each(|waiter| visit(&waiter.pass));
    }

    /// Names the session of the owner.
    pub(crate) fn holdings(&self, visit: &mut dyn FnMut(SessionId)) {
        self.owner().into_iter().for_each(|owner| visit(owner.session));
    }

    /// Checks the invariants.
    pub(crate) fn check(&self, object: ObjectId, graph: &WaitGraph) -> Result<(), String> {
        if self.holding.is_none() && !self.waiters.is_empty() {
            return Err(format!(
                "L1: {} calls wait for the free lock {object}",
                self.waiters.len()
            ));
        }
        let mut patient: Vec<Owner> = self.waiters.iter().filter_map(patient).collect();
        let (owner, mut registered) = graph.lock_state(object).unwrap_or((self.owner(), Vec::new()));
        patient.sort();
        registered.sort();
        if (owner, &registered) != (self.owner(), &patient) || self.patient != patient.len() {
            return Err(format!(
                "L2: the wait graph has {owner:?} and {registered:?} for {self:?}"
            ));
        }
        Ok(())
    }
}

fn claimant(waiter: &Waiter<Claim>) -> Owner {
    Owner {
        session: waiter.pass.ticket.caller.session,
        thread: waiter.data.thread,
    }
}

/// The waiter, if it is in the wait graph: those with a deadline are not.
fn patient(waiter: &Waiter<Claim>) -> Option<Owner> {
    waiter.pass.timer.is_none().then(|| claimant(waiter))
}

fn too_late() -> Fault {
    Fault::new(FaultCode::Timeout, "the lock was not free in time")
}

fn overtaken() -> Fault {
    misuse("this holding of the lock has ended: someone else released it")
}

fn misuse(message: &str) -> Fault {
    Fault::new(FaultCode::Misuse, message)
}
