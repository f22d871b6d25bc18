//! Freeing: what happens to objects that nobody refers to any more, and to what they referred to.

use super::Engine;
use super::job::{Job, Work};
use super::object::{Contents, State};
use super::outputs::{Output, Outputs};
use super::types::{ObjectId, Time};
use byproxy_proto::fault::{Fault, FaultCode};

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
        let mut contents = match std::mem::replace(&mut *state, State::Freed) {
            State::Free(contents) | State::Poisoned(contents) => contents,
            State::Busy(busy) => {
                for queued in busy.queued {
                    self.leave_queue(object, &queued);
                    out.queue
                        .push(Output::reply(queued.pass.ticket, Err(no_such_object(object)), false));
                    out.dropped.extend(queued.taken);
                }
                // Contents that are away come back to no object, and are dropped then.
                let Some(contents) = busy.contents else { return 1 };
                contents
            }
            State::Freed => return 1,
        };
        let mut context = self.context(now, object, false, out);
        contents.dismiss_waiters(&no_such_object(object), &mut context);
        drop(state);
        let weight = contents.weight().min(self.settings().small_steps);
        self.drop_contents(contents, out);
        weight
    }

    /// Drops contents that nobody can reach any more: at once, or as a job if there are many.
    pub(super) fn drop_contents(&self, contents: Contents, out: &mut Outputs) {
        if contents.weight() > self.settings().small_steps {
            let work = Work::Drop { all: vec![contents] };
            out.queue.push(Output::Job(Job::new(self.world.clone(), work)));
            return;
        }
        let mut effects = self.effects(false, out);
        contents.take_cells(&mut |cell| effects.discard(cell));
    }
}

/// What a caller is told whose object is gone.
#[cold]
pub(super) fn no_such_object(object: ObjectId) -> Fault {
    let message =
        format!("there is no object {object} any more: its last proxy was dropped, or the server is another one");
    Fault::new(FaultCode::NoSuchObject, message)
}
