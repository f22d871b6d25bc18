//! An object's place: its identity and count, which never need its lock, and its state, which does.

use super::Contents;
use crate::engine::batch::Rest;
use crate::engine::types::{ObjectId, Ticket};
use crate::engine::waiter::Pass;
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Kind, Token};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;

/// One object.
#[derive(Debug)]
pub(crate) struct ObjectSlot {
    pub(crate) id: ObjectId,
    pub(crate) kind: Kind,
    /// Held by sessions, by cells of containers, by the object's name, and for a moment by calls under way. Zero is the end.
    pub(crate) references: AtomicU64,
    pub(crate) state: Mutex<State>,
}

/// What can be done with an object now.
#[derive(Debug)]
pub(crate) enum State {
    /// Calls are done at once.
    Free(Contents),
    /// The contents are with a job; calls wait here.
    Busy(Busy),
    /// An operation panicked: the contents can't be trusted, and are kept only for their references.
    Poisoned(Contents),
    /// Nothing refers to the object any more; a call that still has its slot finds this.
    Freed,
}

/// What there is of an object whose contents are away.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    /// The contents, once they are back and while calls that came before others are still to be done.
    pub(crate) contents: Option<Contents>,
    /// Calls, to be done in order when the contents are back.
    pub(crate) queued: VecDeque<Queued>,
    /// The one of them that is being done.
    pub(crate) doing: Option<Ticket>,
}

/// A call that waits for an object's contents to come back.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) pass: Pass,
    pub(crate) operation: Operation,
    pub(crate) arguments: Box<[u8]>,
    /// References taken for the arguments.
    pub(crate) taken: Vec<ObjectId>,
    /// What is left of its batch, if it is one of a batch.
    pub(crate) rest: Option<Box<Rest>>,
}

impl ObjectSlot {
    /// A new object with so many references.
    pub(crate) fn new(id: ObjectId, contents: Contents, references: u64) -> Self {
        let kind = contents.kind();
        Self {
            id,
            kind,
            references: AtomicU64::new(references),
            state: Mutex::new(State::Free(contents)),
        }
    }

    /// The object as it stands in values.
    pub(crate) fn token(&self, instance: u128) -> Token {
        Token {
            instance,
            object: self.id.0,
            kind: self.kind,
        }
    }
}

impl Busy {
    /// Takes the call out that is next.
    pub(crate) fn take_next(&mut self) -> Option<Queued> {
        if seeded!("busy_queue_out_of_order") {
            return self.queued.pop_back();
        }
        self.queued.pop_front()
    }
}

impl Queued {
    /// What its arguments, and what is left of its batch, are charged for.
    pub(crate) fn cost(&self) -> u64 {
        self.arguments.len() as u64 + self.rest.as_ref().map_or(0, |rest| rest.cost())
    }

    /// Gives up the references it has: it is neither done nor answered.
    pub(crate) fn give_up(self, dropped: &mut Vec<ObjectId>) {
        dropped.extend(self.taken);
        if let Some(rest) = self.rest {
            rest.give_up(dropped);
        }
    }
}
