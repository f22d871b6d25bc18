//! The ends of objects: freed because nobody refers to them any more, or poisoned because an operation failed in them.

use super::Engine;
use super::job::{Job, Work};
use super::object::{Busy, Contents, State};
use super::outputs::{Output, Outputs};
use super::types::{ObjectId, Time};
use byproxy_proto::fault::{Fault, FaultCode};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Engine {
    /// Gives up the references that operations dropped, now that no object is locked.
    #[inline]
    pub(super) fn free_dropped(&self, now: Time, out: &mut Outputs) {
        if !out.dropped.is_empty() {
            self.free(now, Vec::new(), out);
        }
    }

    /// Frees objects, gives up what operations dropped, and frees what goes with it: from a work list, a bounded number at once, the
    /// others as a job.
    pub(super) fn free(&self, now: Time, mut orphans: Vec<ObjectId>, out: &mut Outputs) {
        let mut steps = self.settings().small_steps;
        loop {
            while let Some(object) = out.dropped.pop() {
                if self.registry().give_up(object, 1) {
                    orphans.push(object);
                }
            }
            if steps == 0 && !orphans.is_empty() {
                if seeded!("long_end_is_cut_short") {
                    return;
                }
                out.queue
                    .push(Output::Job(Job::new(self.world.clone(), Work::Free { orphans })));
                return;
            }
            let Some(object) = orphans.pop() else { return };
            let weight = self.free_one(now, object, out);
            steps = steps.saturating_sub(weight.max(1));
        }
    }

    /// Frees an object whose count is zero. Returns how many steps it took.
    fn free_one(&self, now: Time, object: ObjectId, out: &mut Outputs) -> usize {
        let Some(slot) = self.registry().remove(object) else {
            return 1;
        };
        let mut state = slot.state.lock();
        let contents = match std::mem::replace(&mut *state, State::Freed) {
            State::Free(mut contents) => {
                self.dismiss(now, object, &mut contents, &no_such_object(object), out);
                contents
            }
            State::Poisoned(contents) => contents,
            State::Busy(busy) => {
                for queued in busy.queued {
                    self.leave_queue(object, &queued);
                    self.refuse_queued(queued, no_such_object(object), out);
                }
                // Contents that are away come back to no object, and are dropped then.
                let Some(contents) = busy.contents else { return 1 };
                contents
            }
            State::Freed => return 1,
        };
        drop(state);
        let weight = contents.weight().min(self.settings().small_steps);
        self.drop_contents(contents, out);
        weight
    }

    /// Keeps an object's contents for their references only: an operation failed in the middle of them.
    pub(super) fn poison(&self, now: Time, object: ObjectId, state: &mut State, out: &mut Outputs) {
        if seeded!("failed_is_trusted") {
            return;
        }
        let mut contents = match std::mem::replace(state, State::Freed) {
            State::Free(contents)
            | State::Busy(Busy {
                contents: Some(contents),
                ..
            }) => contents,
            other => {
                *state = other;
                return;
            }
        };
        self.dismiss(now, object, &mut contents, &poisoned(object), out);
        *state = State::Poisoned(contents);
    }

    /// Ends all that ties sessions to contents: waiters are refused, holdings and deliveries leave the books.
    pub(super) fn dismiss(
        &self,
        now: Time,
        object: ObjectId,
        contents: &mut Contents,
        fault: &Fault,
        out: &mut Outputs,
    ) {
        let mut context = self.context(now, object, false, out);
        // Contents in which an operation panicked may panic again: then waiters are lost, which is the lesser evil.
        let _ = catch_unwind(AssertUnwindSafe(|| contents.dismiss_waiters(fault, &mut context)));
    }

    /// Drops contents that nobody can reach any more: at once, or as a job if there are many.
    pub(super) fn drop_contents(&self, contents: Contents, out: &mut Outputs) {
        if contents.weight() > self.settings().small_steps {
            let work = Work::Drop { all: vec![contents] };
            out.queue.push(Output::Job(Job::new(self.world.clone(), work)));
            return;
        }
        self.effects(false, out).discard_contents(contents);
    }
}

/// What a caller is told whose object is gone.
#[cold]
pub(super) fn no_such_object(object: ObjectId) -> Fault {
    let message =
        format!("there is no object {object} any more: its last proxy was dropped, or the server is another one");
    Fault::new(FaultCode::NoSuchObject, message)
}

/// What a caller is told whose object an operation failed in before.
#[cold]
pub(super) fn poisoned(object: ObjectId) -> Fault {
    let message = format!("an operation on object {object} failed inside the server; its contents can't be trusted");
    Fault::new(FaultCode::Poisoned, message)
}
