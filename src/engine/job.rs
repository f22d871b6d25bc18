//! Jobs: work that is too long for a call, with everything it works on in its hands.
//!
//! A job holds the contents of its object (which is Busy meanwhile) or contents that nobody can reach any more, and the registry, whose
//! counts are atomics, and the names. It locks no object and asks no session; what it did takes effect when the driver brings its [`JobDone`] back.

use super::batch::{Due, Rest};
use super::collect;
use super::names::{self, Names};
use super::object::{Contents, Effects, panic_around_if_asked};
use super::outputs::Answer;
use super::registry::Registry;
use super::types::{ObjectId, Settings, Ticket};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Kind, Raw};
use hashbrown::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Work for a helper thread.
#[derive(Debug)]
pub struct Job {
    world: World,
    work: Work,
}

/// A job's outcome, for [`Engine::handle_job_done`](super::Engine::handle_job_done).
#[derive(Debug)]
pub struct JobDone {
    pub(super) finished: Finished,
    /// Objects whose last reference the job gave up: to be freed.
    pub(super) orphans: Vec<ObjectId>,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) registry: Arc<Registry>,
    pub(super) settings: Settings,
    pub(super) names: Arc<Names>,
}

#[derive(Debug)]
pub(super) enum Work {
    /// A call on an object whose contents are here.
    Call {
        object: ObjectId,
        contents: Contents,
        call: LongCall,
    },
    /// The contents of an object that is to be made.
    Create {
        kind: Kind,
        name: Option<String>,
        call: LongCall,
    },
    /// Contents that nobody can reach any more.
    Drop { all: Vec<Contents> },
    /// What a session held that has ended: so many references to each object.
    Release { references: HashMap<ObjectId, u64> },
    /// Finds the objects that nobody can reach any more.
    Collect { due: Due },
    /// Lists the names of objects.
    Names { due: Due },
    /// Nothing but the way back into the engine: an object's queued calls go on there.
    Resume { object: ObjectId },
    /// Nothing but the way back into the engine: these are to be freed there.
    Free { orphans: Vec<ObjectId> },
    /// Nothing but the way back into the engine: a batch goes on there, after a call that this came of.
    GoOn {
        ticket: Ticket,
        rest: Box<Rest>,
        outcome: Option<Result<Answer, Fault>>,
    },
    /// What must never be: work that fails.
    #[cfg(test)]
    Panic,
}

/// A call that became a job.
#[derive(Debug)]
pub(super) struct LongCall {
    pub(super) due: Due,
    pub(super) operation: Operation,
    /// For [`Work::Create`] only the contents.
    pub(super) arguments: Box<[u8]>,
    /// References taken for the arguments.
    pub(super) taken: Vec<ObjectId>,
}

#[derive(Debug)]
pub(super) enum Finished {
    Call {
        object: ObjectId,
        contents: Contents,
        due: Due,
        outcome: Result<Answer, Fault>,
        poisoned: bool,
    },
    Create {
        name: Option<String>,
        due: Due,
        outcome: Result<Contents, Fault>,
    },
    Collect {
        due: Due,
        garbage: Result<Vec<(ObjectId, Contents)>, Fault>,
    },
    Names {
        due: Due,
        outcome: Result<Answer, Fault>,
    },
    Resume {
        object: ObjectId,
    },
    GoOn {
        ticket: Ticket,
        rest: Box<Rest>,
        outcome: Option<Result<Answer, Fault>>,
    },
    Nothing,
}

impl Finished {
    /// The object whose contents come back, or to whose calls they are going back, and the call that is owed an answer.
    pub(super) fn owed(&self) -> (Option<ObjectId>, Option<Ticket>) {
        match self {
            Self::Call { object, due, .. } => (Some(*object), Some(due.ticket)),
            Self::Create { due, .. } | Self::Collect { due, .. } | Self::Names { due, .. } => (None, Some(due.ticket)),
            Self::Resume { object } => (Some(*object), None),
            Self::GoOn { ticket, .. } => (None, Some(*ticket)),
            Self::Nothing => (None, None),
        }
    }
}

impl Job {
    /// Whether this call is answered by what comes of the job.
    pub(super) fn answers(&self, ticket: Ticket) -> bool {
        match &self.work {
            Work::Call { call, .. } | Work::Create { call, .. } => call.due.ticket == ticket,
            Work::Collect { due } | Work::Names { due } => due.ticket == ticket,
            Work::GoOn { ticket: owed, .. } => *owed == ticket,
            _ => false,
        }
    }

    pub(super) fn new(world: World, work: Work) -> Self {
        Self { world, work }
    }

    /// Whether the work is so little that it need not leave the engine.
    pub(super) fn is_short(&self) -> bool {
        match &self.work {
            Work::Release { references } => references.len() <= self.world.settings.small_steps,
            _ => false,
        }
    }

    /// Does the work. It takes as long as it takes: for a helper thread, never for one that serves calls.
    pub fn run(self) -> JobDone {
        let Self { world, work } = self;
        let mut dropped = Vec::new();
        let mut orphans = Vec::new();
        let finished = match work {
            Work::Call { object, contents, call } => world.call(object, contents, call, &mut dropped),
            Work::Create { kind, name, call } => world.create(kind, name, call, &mut dropped),
            Work::Drop { all } => world.drop(all, &mut dropped),
            Work::Release { references } => {
                let last = |&(object, times): &(ObjectId, u64)| world.registry.give_up(object, times);
                orphans = references.into_iter().filter(last).map(|(object, _)| object).collect();
                Finished::Nothing
            }
            Work::Collect { due } => {
                let garbage = world.look_at_all(|| Ok(collect::garbage(&world.registry)));
                Finished::Collect { due, garbage }
            }
            Work::Names { due } => {
                let outcome = world.look_at_all(|| {
                    let mut answer = Answer::behind(due.rest.as_deref());
                    names::list(&world, &mut answer)
                        .map(|()| answer)
                        .map_err(|fault| *fault)
                });
                Finished::Names { due, outcome }
            }
            Work::Resume { object } => Finished::Resume { object },
            Work::GoOn { ticket, rest, outcome } => Finished::GoOn { ticket, rest, outcome },
            Work::Free { orphans: left } => {
                orphans = left;
                Finished::Nothing
            }
            #[cfg(test)]
            Work::Panic => panic!("work that fails"),
        };
        orphans.extend(dropped.into_iter().filter(|&object| world.registry.give_up(object, 1)));
        JobDone { finished, orphans }
    }
}

impl World {
    fn call(&self, object: ObjectId, mut contents: Contents, call: LongCall, dropped: &mut Vec<ObjectId>) -> Finished {
        let mut answer = Answer::behind(call.due.rest.as_deref());
        let done = catch_unwind(AssertUnwindSafe(|| {
            panic_around_if_asked(&call.arguments);
            let mut effects = self.effects(&mut answer, dropped, !call.taken.is_empty());
            contents.run(call.operation, Raw::assume_checked(&call.arguments), &mut effects)
        }));
        dropped.extend_from_slice(&call.taken);
        let poisoned = done.is_err();
        let done = done.unwrap_or_else(|_| Err(panicked().into()));
        let outcome = done.map(|()| answer).map_err(|fault| *fault);
        Finished::Call {
            object,
            contents,
            due: call.due,
            outcome,
            poisoned,
        }
    }

    fn create(&self, kind: Kind, name: Option<String>, call: LongCall, dropped: &mut Vec<ObjectId>) -> Finished {
        let mut answer = Answer::default();
        let mut effects = self.effects(&mut answer, dropped, !call.taken.is_empty());
        let arguments = Raw::assume_checked(&call.arguments);
        let made = catch_unwind(AssertUnwindSafe(|| Contents::create(kind, arguments, &mut effects)));
        dropped.extend_from_slice(&call.taken);
        let made = made.unwrap_or_else(|_| Err(panicked().into()));
        let outcome = made.map_err(|fault| *fault);
        Finished::Create {
            name,
            due: call.due,
            outcome,
        }
    }

    /// Does work for a caller on objects of which none is to blame if it panics.
    fn look_at_all<T>(&self, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let guarded = || {
            panic_around_if_named(&self.names);
            work()
        };
        catch_unwind(AssertUnwindSafe(guarded)).unwrap_or_else(|_| Err(failed()))
    }

    fn drop(&self, all: Vec<Contents>, dropped: &mut Vec<ObjectId>) -> Finished {
        let mut answer = Answer::default();
        let mut effects = self.effects(&mut answer, dropped, false);
        for contents in all {
            effects.discard_contents(contents);
        }
        Finished::Nothing
    }

    #[inline]
    pub(super) fn effects<'a>(
        &'a self,
        answer: &'a mut Answer,
        dropped: &'a mut Vec<ObjectId>,
        proxies: bool,
    ) -> Effects<'a> {
        Effects {
            settings: &self.settings,
            registry: &self.registry,
            answer,
            dropped,
            proxies,
        }
    }
}

/// What the caller is told whose operation panicked.
pub(super) fn panicked() -> Fault {
    let message = "the operation failed inside the server; the object can't be used any more";
    Fault::new(FaultCode::Poisoned, message)
}

/// What the caller is told whose call failed and can't be laid to one object.
pub(super) fn failed() -> Fault {
    let message = "the call failed inside the server; how much of it was done is not known";
    Fault::new(FaultCode::Poisoned, message)
}

#[cfg(test)]
fn panic_around_if_named(names: &Names) {
    assert!(!names.lock().contains_key(super::PANIC_AROUND), "asked for by a test");
}

#[cfg(not(test))]
fn panic_around_if_named(_: &Names) {}
