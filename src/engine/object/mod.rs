//! Objects: state machines behind one lock each, and what they may do to the world.
//!
//! An object is asked by [`Contents::call`] and told by events (`confirm`, `decline`, `timeout`, `session_end`). It answers the call
//! at hand by writing its result into [`Effects`] and returning [`Step::Done`]; it keeps a call waiting with [`Context::wait`]; it
//! answers calls that waited with [`Context::grant`] or [`Context::refuse`]. It never locks another object.

mod context;
mod dict;
mod effects;
mod list;
mod lock;
mod memory;
mod queue;
mod slot;

pub(crate) use context::{Context, Services, Tie, gone};
pub(crate) use dict::DictObject;
pub(crate) use effects::{Effects, is_crowded_out};
pub(crate) use list::ListObject;
pub(crate) use lock::LockObject;
pub(crate) use memory::MemoryObject;
pub use memory::Resource;
pub(crate) use queue::QueueObject;
pub(crate) use slot::{Busy, ObjectSlot, Queued, State};

use super::cell::Cell;
use super::job::panicked;
use super::types::{ObjectId, SessionId, Ticket};
use super::wait_graph::WaitGraph;
use super::waiter::{Pass, WaiterId};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{Argument, ArgumentError, Items, Operation, Pairs};
use byproxy_proto::value::{Kind, Raw, compare};
use std::fmt;

/// What the headers in one result take, at most, beside the items.
pub(crate) const HEADER_BYTES_MAX: usize = 32;

/// What came of a call that was not refused. A word wide, so that it comes back in two registers, with what tells it from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Step {
    /// It was done; its result and the references it hands over are in [`Effects`].
    Done,
    /// It waits in the object.
    Waits,
    /// Nothing was changed: it is too long to be done here and must leave the engine as a job.
    Long,
}

/// Which waiter a timer is for: the object's own number for the list it waits in, and its address there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    pub(crate) list: u8,
    pub(crate) waiter: WaiterId,
}

/// What an object holds, by kind.
#[derive(Debug)]
pub(crate) enum Contents {
    List(ListObject),
    Dict(DictObject),
    Queue(Box<QueueObject>),
    Lock(LockObject),
    Memory(MemoryObject),
}

impl Contents {
    /// The contents of a new object of a kind: see [`ManagerOp::Create`](byproxy_proto::op::ManagerOp) for what each takes.
    pub(crate) fn create(kind: Kind, contents: Raw<'_>, effects: &mut Effects<'_>) -> Result<Self, Box<Fault>> {
        match kind {
            Kind::LIST => Ok(Self::List(ListObject::create(
                argument::<Option<Items<'_>>>(contents)?,
                effects,
            )?)),
            Kind::DICT => Ok(Self::Dict(DictObject::create(
                argument::<Option<Pairs<'_>>>(contents)?,
                effects,
            )?)),
            Kind::QUEUE => Ok(Self::Queue(Box::new(QueueObject::create(contents)?))),
            Kind::LOCK => Ok(Self::Lock(LockObject::create(contents)?)),
            Kind::MEMORY => Err(Fault::new(
                FaultCode::BadArgument,
                "shared memory is made by its client, which gives the server a descriptor of it",
            )
            .into()),
            _ => Err(Fault::new(FaultCode::BadArgument, format!("this server has no objects of {kind}")).into()),
        }
    }

    /// The kind of the object.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::List(_) => Kind::LIST,
            Self::Dict(_) => Kind::DICT,
            Self::Queue(_) => Kind::QUEUE,
            Self::Lock(_) => Kind::LOCK,
            Self::Memory(_) => Kind::MEMORY,
        }
    }

    /// Does a call, or keeps it waiting, or finds it too long to be done now. A refusal has changed nothing.
    ///
    /// Each kind of object names the operations that most calls ask for: known to the compiler, each is read, weighed and done in one
    /// straight line, by the code that all others share.
    #[inline]
    pub(crate) fn call(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        ticket: &Ticket,
        context: &mut Context<'_>,
    ) -> Result<Step, Box<Fault>> {
        panic_if_asked(arguments);
        match self {
            Self::List(list) => list.call(operation, arguments, &mut context.effects),
            Self::Dict(dict) => dict.call(operation, arguments, &mut context.effects),
            Self::Queue(queue) => queue.call(operation, arguments, ticket, context),
            Self::Lock(lock) => lock.call(operation, arguments, ticket, context),
            Self::Memory(_) => read(operation, Kind::MEMORY, None),
        }
    }

    /// Does a call that [`Contents::call`] found too long, on a helper thread.
    pub(crate) fn run(
        &mut self,
        operation: Operation,
        arguments: Raw<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<(), Box<Fault>> {
        panic_if_asked(arguments);
        match self {
            Self::List(list) => list.run(operation, arguments, effects),
            Self::Dict(dict) => dict.run(operation, arguments, effects),
            Self::Queue(_) | Self::Lock(_) | Self::Memory(_) => Err(panicked().into()),
        }
    }

    /// The client has what the reply to this ticket delivered.
    pub(crate) fn confirm(&mut self, ticket: Ticket, context: &mut Context<'_>) {
        match self {
            Self::Queue(queue) => queue.confirm(ticket, context),
            Self::List(_) | Self::Dict(_) | Self::Lock(_) | Self::Memory(_) => {}
        }
    }

    /// The client gives back what the reply to this ticket delivered.
    pub(crate) fn decline(&mut self, ticket: Ticket, context: &mut Context<'_>) {
        match self {
            Self::Queue(queue) => queue.decline(ticket, context),
            Self::List(_) | Self::Dict(_) | Self::Lock(_) | Self::Memory(_) => {}
        }
    }

    /// The deadline of a waiter has come.
    pub(crate) fn timeout(&mut self, key: TimerKey, context: &mut Context<'_>) {
        match self {
            Self::Queue(queue) => queue.timeout(key, context),
            Self::Lock(lock) => lock.timeout(key, context),
            Self::List(_) | Self::Dict(_) | Self::Memory(_) => {}
        }
    }

    /// A session has ended: its waiters, holdings and deliveries go.
    pub(crate) fn session_end(&mut self, session: SessionId, context: &mut Context<'_>) {
        match self {
            Self::Queue(queue) => queue.session_end(session, context),
            Self::Lock(lock) => lock.session_end(session, context),
            Self::List(_) | Self::Dict(_) | Self::Memory(_) => {}
        }
    }

    /// The object is being freed: everyone who still waits in it is refused.
    pub(crate) fn dismiss_waiters(&mut self, fault: &Fault, context: &mut Context<'_>) {
        match self {
            Self::Queue(queue) => queue.dismiss_waiters(fault, context),
            Self::Lock(lock) => lock.dismiss_waiters(fault, context),
            Self::List(_) | Self::Dict(_) | Self::Memory(_) => {}
        }
    }

    /// Every cell the object holds, wherever in it.
    pub(crate) fn cells(&self, visit: &mut dyn FnMut(&Cell)) {
        match self {
            Self::List(list) => list.cells(visit),
            Self::Dict(dict) => dict.cells(visit),
            Self::Queue(queue) => queue.cells(visit),
            Self::Lock(_) | Self::Memory(_) => {}
        }
    }

    /// Takes the object apart.
    pub(crate) fn take_cells(self, visit: &mut dyn FnMut(Cell)) {
        match self {
            Self::List(list) => list.take_cells().for_each(visit),
            Self::Dict(dict) => dict.take_cells().for_each(visit),
            Self::Queue(queue) => queue.take_cells().for_each(visit),
            Self::Lock(_) | Self::Memory(_) => {}
        }
    }

    /// What the object is charged for beside its cells, in bytes.
    pub(crate) fn own_cost(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.cost(),
            Self::List(_) | Self::Dict(_) | Self::Queue(_) | Self::Lock(_) => 0,
        }
    }

    /// How many steps a walk over all cells takes, about.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::List(list) => list.weight(),
            Self::Dict(dict) => dict.weight(),
            Self::Queue(queue) => queue.weight(),
            Self::Lock(_) => 1,
            Self::Memory(memory) => memory.weight(),
        }
    }

    /// Whether no cell refers to an object, known without a look at each.
    pub(crate) fn is_leaf(&self) -> bool {
        match self {
            Self::List(list) => list.is_leaf(),
            Self::Dict(dict) => dict.is_leaf(),
            Self::Queue(queue) => queue.is_leaf(),
            Self::Lock(_) | Self::Memory(_) => true,
        }
    }

    /// Shows the pass of every waiter.
    pub(crate) fn passes(&self, visit: &mut dyn FnMut(&Pass)) {
        match self {
            Self::Queue(queue) => queue.passes(visit),
            Self::Lock(lock) => lock.passes(visit),
            Self::List(_) | Self::Dict(_) | Self::Memory(_) => {}
        }
    }

    /// Names the session of everything that is held, once for each [`Tie::Holding`].
    pub(crate) fn holdings(&self, visit: &mut dyn FnMut(SessionId)) {
        match self {
            Self::Queue(queue) => queue.holdings(visit),
            Self::Lock(lock) => lock.holdings(visit),
            Self::List(_) | Self::Dict(_) | Self::Memory(_) => {}
        }
    }

    /// Names the ticket of every delivery that is neither confirmed nor declined.
    pub(crate) fn deliveries(&self, visit: &mut dyn FnMut(Ticket)) {
        match self {
            Self::Queue(queue) => queue.deliveries(visit),
            Self::List(_) | Self::Dict(_) | Self::Lock(_) | Self::Memory(_) => {}
        }
    }

    /// Prints the contents as Python would; ends early, with an error, when the writer takes no more.
    pub(crate) fn show(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::List(list) => list.show(out),
            Self::Dict(dict) => dict.show(out),
            Self::Queue(queue) => queue.show(out),
            Self::Lock(lock) => lock.show(out),
            Self::Memory(memory) => memory.show(out),
        }
    }

    /// Checks what holds between the object's own parts.
    pub(crate) fn check(&self, object: ObjectId, graph: &WaitGraph) -> Result<(), String> {
        match self {
            Self::List(list) => list.check(),
            Self::Dict(dict) => dict.check(),
            Self::Queue(queue) => queue.check(),
            Self::Lock(lock) => lock.check(object, graph),
            Self::Memory(_) => Ok(()),
        }
    }
}

/// Whether two encoded values are equal: nearly always a comparison of bytes.
#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    // Only dicts (in another order) and floats (-0.0, NaN) are equal with other bytes, and whatever contains them.
    a == b || (b.len() >= 7 && a.first() == b.first() && compare(a, b).is_eq())
}

/// In tests of the engine: an operation with this first argument panics.
#[cfg(test)]
pub(crate) const PANIC_ITEM: &str = "panic, for a test";
/// The same for what the engine does around an operation in a job, and around listing and collecting if an object has this name.
#[cfg(test)]
pub(crate) const PANIC_AROUND: &str = "panic around it, for a test";

#[cfg(test)]
fn panic_if_asked(arguments: Raw<'_>) {
    panic_if_first(arguments, PANIC_ITEM);
}

#[cfg(test)]
pub(crate) fn panic_around_if_asked(arguments: &[u8]) {
    if let Ok(arguments) = Raw::check(arguments, &byproxy_proto::value::Limits::DEFAULT) {
        panic_if_first(arguments, PANIC_AROUND);
    }
}

#[cfg(test)]
fn panic_if_first(arguments: Raw<'_>, text: &str) {
    let first = arguments.list_items().and_then(|mut items| items.next());
    assert!(first.and_then(Raw::as_str) != Some(text), "asked for by a test");
}

#[cfg(not(test))]
#[inline]
fn panic_if_asked(_: Raw<'_>) {}

#[cfg(not(test))]
#[inline]
pub(crate) fn panic_around_if_asked(_: &[u8]) {}

/// Reads one argument of a shape.
fn argument<'a, A: Argument<'a>>(raw: Raw<'a>) -> Result<A, Box<Fault>> {
    let wrong = || {
        format!(
            "the contents of a new object must be {}, not {}",
            A::EXPECTED,
            raw.type_name()
        )
    };
    A::read(raw).ok_or_else(|| Fault::new(FaultCode::BadArgument, wrong()).into())
}

/// What an object of this kind is to do, if that was read.
#[expect(
    clippy::inline_always,
    reason = "where the operation is known, so is what was read, and it never lies in memory"
)]
#[inline(always)]
fn read<T>(operation: Operation, kind: Kind, read: Option<Result<T, ArgumentError>>) -> Result<T, Box<Fault>> {
    match read {
        Some(Ok(op)) => Ok(op),
        Some(Err(error)) => Err(unreadable(operation, kind, Some(error)).into()),
        None => Err(unreadable(operation, kind, None).into()),
    }
}

/// Why a call could not be read: for its arguments, or because another kind of object has its operation.
#[cold]
fn unreadable(operation: Operation, kind: Kind, error: Option<ArgumentError>) -> Fault {
    let unknown = || {
        let message = format!("a {kind} has no operation {}", operation.name());
        Fault::new(FaultCode::UnknownOperation, message)
    };
    error.map_or_else(unknown, Fault::from)
}
