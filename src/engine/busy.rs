//! Busy objects: their contents leave with a job, calls that meet them wait, and both come back in order.

use super::Engine;
use super::batch::Due;
use super::call::Checked;
use super::free::poisoned;
use super::job::{Finished, Job, JobDone, LongCall, Work, failed, panicked};
use super::object::{Busy, Contents, Queued, State, Step, panic_around_if_asked};
use super::outputs::{Output, Outputs};
use super::types::{ObjectId, SessionId, Ticket, Time};
use super::waiter::Pass;
use byproxy_proto::fault::Fault;
use byproxy_proto::value::Raw;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many queued calls are done before other work has its turn.
const RESUMED_MAX: usize = 64;

impl Engine {
    /// A job is done: its object's contents come back, its caller is answered, the calls that met the object go on.
    ///
    /// It is nobody's call that brings this about, so nobody would notice if it failed half way: then the object is poisoned, and whoever is
    /// owed an answer gets that for one. What had been put out until then stands.
    pub fn handle_job_done(&self, now: Time, done: JobDone, out: &mut Outputs) {
        out.begin(self.registry().engine);
        let JobDone { finished, orphans } = done;
        let (object, owed) = finished.owed();
        if catch_unwind(AssertUnwindSafe(|| self.finish(now, finished, out))).is_err() {
            out.give_up_answer();
            let doing = object.and_then(|object| self.poison_busy(now, object, out));
            for ticket in owed.into_iter().chain(doing) {
                if !out.queue.iter().any(|output| output.settles(ticket)) {
                    self.answer_later(Due { ticket, rest: None }, Err(failed()), out);
                }
            }
        }
        self.free(now, orphans, out);
    }

    fn finish(&self, now: Time, finished: Finished, out: &mut Outputs) {
        match finished {
            Finished::Call {
                object,
                contents,
                due,
                outcome,
                poisoned,
            } => {
                self.put_back(now, object, contents, poisoned, out);
                self.answer_later(due, outcome, out);
                self.resume(now, object, out);
            }
            Finished::Create { name, due, outcome } => {
                let outcome = outcome.and_then(|contents| self.register(name.as_deref(), contents, out));
                let answer = outcome.map(|slot| self.answer_with(&slot));
                self.answer_later(due, answer, out);
            }
            Finished::Names { due, outcome } => self.answer_later(due, outcome, out),
            Finished::Collect { due, garbage } => self.finish_collect(now, due, garbage, out),
            Finished::Resume { object } => self.resume(now, object, out),
            Finished::GoOn { ticket, rest, outcome } => self.go_on(now, ticket, *rest, outcome, out),
            Finished::Nothing => {}
        }
    }

    /// Poisons an object whose contents are back and whose calls were going on; returns the call that was being done.
    fn poison_busy(&self, now: Time, object: ObjectId, out: &mut Outputs) -> Option<Ticket> {
        let slot = self.registry().get(object)?;
        let mut state = slot.state.lock();
        let State::Busy(busy) = &mut *state else { return None };
        // If they are away they are with another job, which comes back here.
        busy.contents.as_ref()?;
        let doing = busy.doing.take();
        self.spoil(now, object, &mut state, out);
        doing
    }

    /// Refuses all calls that wait for an object's contents, and poisons it.
    fn spoil(&self, now: Time, object: ObjectId, state: &mut State, out: &mut Outputs) {
        if let State::Busy(busy) = state {
            for queued in std::mem::take(&mut busy.queued) {
                self.leave_queue(object, &queued);
                self.refuse_queued(queued, poisoned(object), out);
            }
        }
        self.poison(now, object, state, out);
    }

    /// Lets a call leave as a job with the contents of its object, which is Busy from here on.
    pub(super) fn depart(&self, object: ObjectId, state: &mut State, call: LongCall, busy: Busy, out: &mut Outputs) {
        let contents = match std::mem::replace(state, State::Busy(busy)) {
            State::Free(contents) => Some(contents),
            State::Busy(busy) => busy.contents,
            State::Poisoned(_) | State::Freed => None,
        };
        let Some(contents) = contents else { return };
        out.queue.push(Output::Job(Job::new(
            self.world.clone(),
            Work::Call { object, contents, call },
        )));
    }

    /// Keeps a call that met a Busy object.
    pub(super) fn enqueue(
        &self,
        id: ObjectId,
        busy: &mut Busy,
        call: &Checked<'_>,
        out: &mut Outputs,
    ) -> Result<Step, Box<Fault>> {
        let cost = call.arguments.bytes().len() as u64 + call.rest_cost(out);
        self.registry().memory.charge(cost)?;
        let entered = self
            .services
            .enter_wait(self.settings(), id, call.ticket.caller.session);
        entered.inspect_err(|_| self.registry().memory.discharge(cost))?;
        busy.queued.push_back(Queued {
            pass: Pass {
                ticket: call.ticket,
                timer: None,
            },
            operation: call.operation,
            arguments: call.arguments.bytes().into(),
            taken: std::mem::take(&mut out.taken),
            rest: call.due(out).rest,
        });
        Ok(Step::Waits)
    }

    /// Refuses a queued call, whose traces are gone.
    pub(super) fn refuse_queued(&self, queued: Queued, fault: Fault, out: &mut Outputs) {
        let Queued { pass, taken, rest, .. } = queued;
        out.dropped.extend(taken);
        let due = Due {
            ticket: pass.ticket,
            rest,
        };
        self.answer_later(due, Err(fault), out);
    }

    /// Takes a queued call's traces away; it goes on or is given up.
    pub(super) fn leave_queue(&self, object: ObjectId, queued: &Queued) {
        self.registry().memory.discharge(queued.cost());
        self.services.leave_wait(&queued.pass);
        if let Some(session) = self.services.sessions.get(queued.pass.ticket.caller.session) {
            session.lock().untie(object);
        }
    }

    /// Gives up the calls of a session that has ended which wait for an object's contents.
    pub(super) fn leave_queues(&self, object: ObjectId, session: SessionId, out: &mut Outputs) {
        let Some(slot) = self.registry().get(object) else {
            return;
        };
        let mut state = slot.state.lock();
        let State::Busy(busy) = &mut *state else { return };
        let of_session = |queued: &Queued| queued.pass.ticket.caller.session == session;
        let (ended, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut busy.queued).into_iter().partition(of_session);
        busy.queued = stay.into();
        for queued in ended {
            self.leave_queue(object, &queued);
            queued.give_up(&mut out.dropped);
        }
    }

    /// Brings contents back to their object; calls that wait there go on with [`Engine::resume`].
    fn put_back(&self, now: Time, object: ObjectId, contents: Contents, spoiled: bool, out: &mut Outputs) {
        let slot = self.registry().get(object);
        let mut state = slot.as_ref().map(|slot| slot.state.lock());
        let Some(State::Busy(busy)) = state.as_deref_mut() else {
            return self.drop_contents(contents, out);
        };
        busy.contents = Some(contents);
        if spoiled && let Some(state) = state.as_deref_mut() {
            self.spoil(now, object, state, out);
        }
    }

    /// Goes on with the calls that wait for an object's contents, in order: a bounded number at once.
    fn resume(&self, now: Time, object: ObjectId, out: &mut Outputs) {
        let Some(slot) = self.registry().get(object) else {
            return;
        };
        let mut state = slot.state.lock();
        for _ in 0..RESUMED_MAX {
            let State::Busy(busy) = &mut *state else { return };
            busy.doing = None;
            if busy.contents.is_none() {
                return;
            }
            let Some(queued) = busy.take_next() else {
                if let Some(contents) = busy.contents.take() {
                    *state = State::Free(contents);
                }
                return;
            };
            let ticket = queued.pass.ticket;
            busy.doing = Some(ticket);
            self.leave_queue(object, &queued);
            panic_around_if_asked(&queued.arguments);
            let call = Checked {
                ticket,
                operation: queued.operation,
                arguments: Raw::assume_checked(&queued.arguments),
                proxies: !queued.taken.is_empty(),
                batch: None,
            };
            if !self.lives(ticket.caller.session) {
                queued.give_up(&mut out.dropped);
                continue;
            }
            out.answer.taken = queued.rest.as_ref().map_or(0, |rest| rest.taken());
            // The contents stay here, so that they are not lost whatever happens.
            let Some(contents) = &mut busy.contents else { return };
            let done = self.attempt(now, object, contents, &call, out);
            if let Some(Ok(Step::Long)) = done {
                let rest = Busy {
                    queued: std::mem::take(&mut busy.queued),
                    ..Busy::default()
                };
                let due = Due {
                    ticket,
                    rest: queued.rest,
                };
                self.depart(object, &mut state, call.leave(due, queued.taken), rest, out);
                return;
            }
            out.dropped.extend(queued.taken);
            let answer = std::mem::take(&mut out.answer);
            let due = Due {
                ticket,
                rest: queued.rest,
            };
            match done {
                Some(Ok(Step::Waits | Step::Long)) => {}
                Some(Ok(Step::Done)) => self.answer_later(due, Ok(answer), out),
                Some(Err(fault)) => self.answer_later(due, Err(*fault), out),
                None => {
                    out.dropped.extend(answer.handed.into_iter().map(ObjectId));
                    self.answer_later(due, Err(panicked()), out);
                    self.spoil(now, object, &mut state, out);
                    return;
                }
            }
        }
        if matches!(&*state, State::Busy(_)) {
            out.queue
                .push(Output::Job(Job::new(self.world.clone(), Work::Resume { object })));
        }
    }
}
