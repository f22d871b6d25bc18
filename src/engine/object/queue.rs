//! A queue: FIFO, LIFO or by priority, bounded or not, whose items are never lost to a consumer's death.
//!
//! An accepted item is in one of four places, and the books say how many are in each: it *waits* in the queue, is *in flight* (in a
//! reply that its consumer has not confirmed, or lent by `receive`), is *committed* (its consumer's own), or was *discarded* by an
//! immediate shutdown. What was in flight and is declined, given back or left behind by a session that ended returns to its original
//! place, even if that exceeds the maxsize; whoever waits for items gets it from there, in order.
//!
//! - Getters, putters and joiners wait first in, first out. `put_many` puts in as many as there is room for at once, then waits with the
//!   rest; of more than a call may touch it takes the first, and the answer says how many those were. `get_many` waits for the first item and takes what is there and fits a reply.
//! - `shutdown` as in Python 3.13: no more puts; gets go on until nothing waits, then are refused. An immediate one also discards what
//!   waits (that counts as done), and later whatever comes back.
//! - `join` waits until every item put is done, or nobody is left who would do it: see [`books`].
//!
//! **Invariant (Q3):** the waiting items are in order. **Invariant (Q4):** while a getter waits no item does; while a putter waits there
//! is no room. **Invariant (Q5):** nobody waits to put or get in a queue that was shut down, nor to join one that is done.

mod audit;
mod books;
mod claim;
mod delivery;
mod flow;
mod store;
mod upkeep;

use super::{Contents, Context, Step, TimerKey, read};
use crate::engine::types::{SessionId, Ticket};
use crate::engine::waiter::Waiters;
use books::{Books, Progress};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{Argument, Items, Operation, QueueOp, QueueOrder, Wait};
use byproxy_proto::value::{Kind, Raw, write_list_header, write_none, write_uint};
use claim::{Demand, Offer, misuse, not_lent, refuse_offer, shut_down, too_late, worker_died};
use delivery::Deliveries;
use std::collections::VecDeque;
use store::Store;

/// A queue that the server hosts.
#[derive(Debug)]
pub(crate) struct QueueObject {
    /// How many items may wait; zero is without bound.
    maxsize: u64,
    store: Store,
    deliveries: Deliveries,
    books: Books,
    last_sequence: u64,
    phase: Phase,
    putters: Waiters<Offer>,
    getters: Waiters<Demand>,
    joiners: Waiters<()>,
    /// Whether a value may refer to an object.
    refers: bool,
}

/// How far the queue is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Shut down: what waits may still be got.
    Draining,
    /// Shut down at once: nothing waits any more, nor ever will.
    Ended,
}

/// The numbers of the lists of waiters, for their timers.
const PUTTERS: u8 = 0;
const GETTERS: u8 = 1;
const JOINERS: u8 = 2;

impl QueueObject {
    /// A queue made of `[order, maxsize]`; a maxsize of zero or less is without bound, as in Python.
    pub(crate) fn create(contents: Raw<'_>) -> Result<Self, Box<Fault>> {
        let malformed = || Fault::new(FaultCode::BadArgument, "a queue is made of its order and its maxsize");
        let mut parts = contents
            .list_items()
            .filter(|parts| parts.len() == 2)
            .ok_or_else(malformed)?;
        let order = parts.next().and_then(QueueOrder::read).ok_or_else(malformed)?;
        let maxsize = parts.next().and_then(i64::read).ok_or_else(malformed)?;
        let maxsize = u64::try_from(maxsize).unwrap_or(0);
        Ok(Self {
            maxsize,
            ..Self::around(Store::new(order))
        })
    }

    /// A queue of these items that nobody uses yet.
    fn around(store: Store) -> Self {
        Self {
            maxsize: 0,
            store,
            deliveries: Deliveries::default(),
            books: Books::default(),
            last_sequence: 0,
            phase: Phase::Open,
            putters: Waiters::default(),
            getters: Waiters::default(),
            joiners: Waiters::default(),
            refers: false,
        }
    }

    /// Does a call, or keeps it waiting. A queue is never busy: whatever might take long is left to a job.
    pub(crate) fn call(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        ticket: &Ticket,
        context: &mut Context<'_>,
    ) -> Result<Step, Box<Fault>> {
        match operation {
            Operation::QueuePut => self.call_known(Operation::QueuePut, arguments, ticket, context),
            Operation::QueueGet => self.call_known(Operation::QueueGet, arguments, ticket, context),
            _ => self.call_other(operation, arguments, ticket, context),
        }
    }

    #[inline(never)]
    fn call_other(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        ticket: &Ticket,
        context: &mut Context<'_>,
    ) -> Result<Step, Box<Fault>> {
        self.call_known(operation, arguments, ticket, context)
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
        let op = read(operation, Kind::QUEUE, QueueOp::read(operation, arguments))?;
        self.apply(&op, ticket, context)
    }

    #[expect(
        clippy::inline_always,
        reason = "all but one operation's code goes where that is known"
    )]
    #[inline(always)]
    fn apply(&mut self, op: &QueueOp<'_>, &ticket: &Ticket, context: &mut Context<'_>) -> Result<Step, Box<Fault>> {
        let session = ticket.caller.session;
        match *op {
            QueueOp::Put { item, wait } => return self.put(context, ticket, item, wait),
            QueueOp::PutMany { items, wait } => return self.put_many(context, ticket, items, wait),
            QueueOp::Get { wait } => return self.get(context, ticket, Demand::One, wait),
            QueueOp::GetMany { items_max: 0, .. } => write_list_header(context.effects.result(), 0),
            QueueOp::GetMany { items_max, wait } => {
                return self.get(context, ticket, Demand::Many { items_max }, wait);
            }
            QueueOp::Receive { wait } => return self.get(context, ticket, Demand::Lease, wait),
            QueueOp::Ack { delivery } => self.acknowledge(context, session, delivery)?,
            QueueOp::Nack { delivery } => self.give_back(context, session, delivery)?,
            QueueOp::Qsize {} => write_uint(context.effects.result(), self.store.len() as u64),
            QueueOp::Maxsize {} => write_uint(context.effects.result(), self.maxsize),
            QueueOp::TaskDone {} => self.task_done(context, session)?,
            QueueOp::Join { wait } => return self.join(context, ticket, wait),
            QueueOp::Shutdown { immediate } => self.shut_down(context, immediate),
            QueueOp::Audit {} => self.audit(&mut context.effects)?,
            QueueOp::Never(never, _) => match never {},
        }
        Ok(Step::Done)
    }

    /// The client has what the reply to this call carried: the items are its own.
    pub(crate) fn confirm(&mut self, ticket: Ticket, context: &mut Context<'_>) {
        if seeded!("confirm_commits_nothing") {
            return self.decline(ticket, context);
        }
        let Some(flight) = self.deliveries.land(ticket) else {
            return;
        };
        self.books.commit(ticket.caller.session, flight.len());
        flight.into_items().for_each(|item| context.effects.discard(item.cell));
    }

    /// The client gives back what the reply to this call carried.
    pub(crate) fn decline(&mut self, ticket: Ticket, context: &mut Context<'_>) {
        let Some(flight) = self.deliveries.land(ticket) else {
            return;
        };
        self.take_back(context, ticket.caller.session, flight.into_items().collect());
    }

    /// A waiter's time has passed, if it still waits.
    pub(crate) fn timeout(&mut self, key: TimerKey, context: &mut Context<'_>) {
        match key.list {
            PUTTERS => {
                if let Some(waiter) = self.putters.remove(key.waiter) {
                    let fault = too_late("the queue had no room in time");
                    refuse_offer(context, waiter, fault);
                }
            }
            GETTERS => {
                if let Some(waiter) = self.getters.remove(key.waiter) {
                    context.refuse(&waiter.pass, too_late("the queue had no item in time"));
                }
            }
            _ => {
                if let Some(waiter) = self.joiners.remove(key.waiter) {
                    context.refuse(&waiter.pass, too_late("not every item was done in time"));
                }
            }
        }
    }

    /// A session ends: it waits no more, what is on its way to it comes back, and what it owes is owed by nobody.
    pub(crate) fn session_end(&mut self, session: SessionId, context: &mut Context<'_>) {
        for waiter in self
            .putters
            .remove_all(|waiter| waiter.pass.ticket.caller.session == session)
        {
            context.forget(&waiter.pass);
            waiter
                .data
                .rest
                .into_iter()
                .for_each(|cell| context.effects.discard(cell));
        }
        if !seeded!("leave_a_dead_waiter") {
            for waiter in self
                .getters
                .remove_all(|waiter| waiter.pass.ticket.caller.session == session && !seeded!("grant_to_the_dead"))
            {
                context.forget(&waiter.pass);
            }
        }
        for waiter in self
            .joiners
            .remove_all(|waiter| waiter.pass.ticket.caller.session == session)
        {
            context.forget(&waiter.pass);
        }
        for _ in 0..self.deliveries.lent_to(session) {
            context.untie(session);
        }
        let items = self.deliveries.take_all_of(session);
        self.take_back(context, session, items);
        if self.books.depart(session) {
            context.untie(session);
        }
        self.settle_joiners(context);
    }
}

/// The operations.
impl QueueObject {
    fn put(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        item: Raw<'_>,
        wait: Wait,
    ) -> Result<Step, Box<Fault>> {
        self.check_open()?;
        if self.room() == 0 && wait.is_try() {
            return Err(Fault::new(FaultCode::Full, "the queue is full").into());
        }
        let cell = context.effects.cell(item)?;
        self.refers |= context.effects.proxies;
        if self.room() == 0 {
            let offer = Offer {
                rest: VecDeque::from([cell]),
                accepted: 0,
                many: false,
            };
            return self.wait_to_put(context, ticket, offer, wait);
        }
        self.accept(cell);
        self.serve_getters(context);
        write_none(context.effects.result());
        Ok(Step::Done)
    }

    fn put_many(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        items: Items<'_>,
        wait: Wait,
    ) -> Result<Step, Box<Fault>> {
        let mut offer = Offer {
            rest: VecDeque::new(),
            accepted: 0,
            many: true,
        };
        self.check_open().map_err(|fault| offer.fault(*fault))?;
        // A queue never leaves as a job, because its clients' events come to it at any moment: so one call puts only so many.
        let items = items.iter().take(context.effects.settings.small_steps);
        offer.rest = context.effects.cells(items)?.into();
        self.refers |= context.effects.proxies;
        if offer.rest.len() as u64 > self.room() && !wait.is_try() {
            // It waits before anything goes in, so that a wait that is refused has changed nothing.
            let step = self.wait_to_put(context, ticket, offer, wait)?;
            self.admit_putters(context);
            return Ok(step);
        }
        while self.room() > 0 && !offer.rest.is_empty() {
            self.accept_some(&mut offer);
            self.serve_getters(context);
        }
        if offer.rest.is_empty() {
            write_uint(context.effects.result(), offer.accepted);
            return Ok(Step::Done);
        }
        let full = offer.fault(Fault::new(FaultCode::Full, "the queue is full"));
        offer.rest.into_iter().for_each(|cell| context.effects.discard(cell));
        Err(full.into())
    }

    fn wait_to_put(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        offer: Offer,
        wait: Wait,
    ) -> Result<Step, Box<Fault>> {
        context
            .wait(&mut self.putters, PUTTERS, ticket, wait, offer)
            .map(|_| Step::Waits)
            .map_err(|(fault, offer)| {
                let fault = offer.fault(*fault);
                offer.rest.into_iter().for_each(|cell| context.effects.discard(cell));
                fault.into()
            })
    }

    fn get(
        &mut self,
        context: &mut Context<'_>,
        ticket: Ticket,
        demand: Demand,
        wait: Wait,
    ) -> Result<Step, Box<Fault>> {
        if self.store.len() > 0 {
            context.tie(demand.tie(), ticket)?;
            let Some(flight) = self.take(demand, context.effects.settings) else {
                return Ok(Step::Waits);
            };
            demand.write(&flight, self.deliveries.next_lease(), &mut context.effects);
            self.send(context, ticket, demand, flight);
            self.admit_putters(context);
            return Ok(Step::Done);
        }
        if self.phase != Phase::Open {
            return Err(shut_down().into());
        }
        if wait.is_try() {
            return Err(Fault::new(FaultCode::Empty, "the queue is empty").into());
        }
        context.check_settled(ticket)?;
        context
            .wait(&mut self.getters, GETTERS, ticket, wait, demand)
            .map_err(|(fault, _)| fault)?;
        Ok(Step::Waits)
    }

    fn acknowledge(&mut self, context: &mut Context<'_>, session: SessionId, delivery: u64) -> Result<(), Box<Fault>> {
        let item = self.deliveries.take_lent(session, delivery).ok_or_else(not_lent)?;
        context.untie(session);
        self.books.acknowledge(session);
        context.effects.discard(item.cell);
        self.settle_joiners(context);
        write_none(context.effects.result());
        Ok(())
    }

    fn give_back(&mut self, context: &mut Context<'_>, session: SessionId, delivery: u64) -> Result<(), Box<Fault>> {
        let item = self.deliveries.take_lent(session, delivery).ok_or_else(not_lent)?;
        context.untie(session);
        self.take_back(context, session, vec![item]);
        write_none(context.effects.result());
        Ok(())
    }

    fn task_done(&mut self, context: &mut Context<'_>, session: SessionId) -> Result<(), Box<Fault>> {
        let too_many = |_| misuse("task_done was called more often than items were put: call it once for each");
        let lent = || self.deliveries.lent_to(session) as u64;
        self.books.task_done(session, lent).map_err(too_many)?;
        self.settle_joiners(context);
        write_none(context.effects.result());
        Ok(())
    }

    fn join(&mut self, context: &mut Context<'_>, ticket: Ticket, wait: Wait) -> Result<Step, Box<Fault>> {
        match self.books.progress() {
            Progress::Finished => {
                write_none(context.effects.result());
                return Ok(Step::Done);
            }
            Progress::WorkerDied(count) => return Err(worker_died(count).into()),
            Progress::Working if wait.is_try() => return Err(too_late("not every item is done").into()),
            Progress::Working => {}
        }
        context
            .wait(&mut self.joiners, JOINERS, ticket, wait, ())
            .map_err(|(fault, ())| fault)?;
        Ok(Step::Waits)
    }

    fn shut_down(&mut self, context: &mut Context<'_>, immediate: bool) {
        self.phase = self.phase.max(if immediate { Phase::Ended } else { Phase::Draining });
        if self.phase == Phase::Ended {
            self.books.discard(self.store.len() as u64);
            let discarded = Self::around(self.store.take());
            context.drop_contents(Contents::Queue(Box::new(discarded)));
        }
        // Whoever waits to get finds nothing here (Q4), and nothing will come.
        while let Some(waiter) = self.getters.pop_front() {
            context.refuse(&waiter.pass, shut_down());
            if seeded!("shutdown_wakes_one") {
                break;
            }
        }
        while !seeded!("shutdown_forgets_putters")
            && let Some(waiter) = self.putters.pop_front()
        {
            refuse_offer(context, waiter, shut_down());
        }
        self.settle_joiners(context);
        write_none(context.effects.result());
    }

    fn check_open(&self) -> Result<(), Box<Fault>> {
        if self.phase == Phase::Open {
            Ok(())
        } else {
            Err(shut_down().into())
        }
    }
}
