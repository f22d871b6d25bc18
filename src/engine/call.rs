//! Calls: from a frame's fields to an answer, a wait or a job.

use super::free::no_such_object;
use super::job::{Finished, Job, JobDone, LongCall, Work, panicked};
use super::object::{Busy, Contents, Queued, State, Step, gone};
use super::outputs::{Answer, Immediate, Output, Outputs};
use super::types::{Caller, ObjectId, SessionId, Ticket, Time};
use super::waiter::Pass;
use super::{Call, Engine};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{ManagerOp, Operation};
use byproxy_proto::value::{Raw, Token, walk};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many queued calls are done before other work has its turn.
const RESUMED_MAX: usize = 64;

/// A call whose arguments were checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked<'a> {
    pub(super) ticket: Ticket,
    pub(super) operation: Operation,
    pub(super) arguments: Raw<'a>,
    /// Whether the arguments hold any proxy.
    pub(super) proxies: bool,
}

impl Engine {
    /// Does a call: the reply is in `out` at once, or comes as an output later; exactly one, unless the session ends.
    #[inline]
    pub fn handle_call(&self, now: Time, caller: Caller, call: Call<'_>, out: &mut Outputs) {
        out.clear();
        let ticket = Ticket {
            caller,
            number: call.number,
        };
        let done = self.check_arguments(call.arguments, &mut out.taken).and_then(|()| {
            let arguments = Raw::assume_checked(call.arguments);
            let proxies = !out.taken.is_empty();
            let checked = Checked {
                ticket,
                operation: call.operation,
                arguments,
                proxies,
            };
            match ManagerOp::read(call.operation, arguments) {
                None => self.call_object(now, ObjectId(call.object), checked, out),
                Some(op) => self.call_manager(ObjectId(call.object), &op?, checked, out),
            }
        });
        self.answer_now(ticket, done, call.operation, out);
        out.dropped.append(&mut out.taken);
        self.free_dropped(now, out);
    }

    /// A job is done: its object's contents come back, its caller is answered, the calls that met the object go on.
    pub fn handle_job_done(&self, now: Time, done: JobDone, out: &mut Outputs) {
        out.clear();
        match done.finished {
            Finished::Call {
                object,
                contents,
                ticket,
                outcome,
                poisoned,
            } => {
                self.put_back(object, contents, poisoned, out);
                self.answer_later(ticket, outcome, out);
                self.resume(now, object, out);
            }
            Finished::Create { name, ticket, outcome } => {
                let outcome = outcome.and_then(|contents| self.register(name.as_deref(), contents, out));
                let answer = outcome.map(|slot| self.answer_with(&slot));
                self.answer_later(ticket, answer, out);
            }
            Finished::Collect { ticket, garbage } => self.finish_collect(now, ticket, garbage, out),
            Finished::Resume { object } => self.resume(now, object, out),
            Finished::Nothing => {}
        }
        self.free(now, done.orphans, out);
    }

    /// Checks a call's arguments in one walk and takes a reference to every object in them.
    #[inline]
    fn check_arguments(&self, arguments: &[u8], taken: &mut Vec<ObjectId>) -> Result<(), Fault> {
        let mut refused = None;
        let len = walk(arguments, &self.settings().limits, |token| {
            if refused.is_none() {
                refused = self.take_token(token, taken).err();
            }
        })?;
        if let Some(fault) = refused {
            return Err(fault);
        }
        if len != arguments.len() {
            return Err(Fault::new(FaultCode::Malformed, "bytes follow the arguments"));
        }
        Ok(())
    }

    fn take_token(&self, token: Token, taken: &mut Vec<ObjectId>) -> Result<(), Fault> {
        if token.instance != self.registry().instance {
            let message = "a value holds a proxy of another server; only objects of this server can be kept in it";
            return Err(Fault::new(FaultCode::ForeignProxy, message));
        }
        let object = ObjectId(token.object);
        let kind = self
            .registry()
            .take_kind(object)
            .ok_or_else(|| no_such_object(object))?;
        taken.push(object);
        if kind == token.kind {
            return Ok(());
        }
        let message = format!("object {object} is a {kind}, not a {}", token.kind);
        Err(Fault::new(FaultCode::BadArgument, message))
    }

    fn call_object(&self, now: Time, id: ObjectId, call: Checked<'_>, out: &mut Outputs) -> Result<Step, Fault> {
        let slot = self.registry().get(id).ok_or_else(|| no_such_object(id))?;
        let mut state = slot.state.lock();
        match &mut *state {
            State::Free(contents) => match self.attempt(now, id, contents, call, out) {
                Some(Ok(Step::Long)) => {
                    let taken = std::mem::take(&mut out.taken);
                    self.depart(id, &mut state, call, taken, Busy::default(), out);
                    Ok(Step::Waits)
                }
                Some(done) => done,
                None => {
                    poison(&mut state);
                    Err(panicked())
                }
            },
            State::Busy(busy) => self.enqueue(id, busy, call, out),
            State::Poisoned(_) => Err(poisoned(id)),
            State::Freed => Err(no_such_object(id)),
        }
    }

    /// Does a call on contents; nothing if it panicked.
    #[inline]
    fn attempt(
        &self,
        now: Time,
        id: ObjectId,
        contents: &mut Contents,
        call: Checked<'_>,
        out: &mut Outputs,
    ) -> Option<Result<Step, Fault>> {
        let mut context = self.context(now, id, call.proxies, out);
        let attempt = || contents.call(call.operation, call.arguments, call.ticket, &mut context);
        catch_unwind(AssertUnwindSafe(attempt)).ok()
    }

    /// Lets a call leave as a job with the contents of its object, which is Busy from here on.
    fn depart(
        &self,
        object: ObjectId,
        state: &mut State,
        call: Checked<'_>,
        taken: Vec<ObjectId>,
        busy: Busy,
        out: &mut Outputs,
    ) {
        let contents = match std::mem::replace(state, State::Busy(busy)) {
            State::Free(contents) => Some(contents),
            State::Busy(busy) => busy.contents,
            State::Poisoned(_) | State::Freed => None,
        };
        let Some(contents) = contents else { return };
        let arguments = call.arguments.bytes().into();
        let call = LongCall {
            ticket: call.ticket,
            operation: call.operation,
            arguments,
            taken,
        };
        out.queue.push(Output::Job(Job::new(
            self.world.clone(),
            Work::Call { object, contents, call },
        )));
    }

    /// Keeps a call that met a Busy object.
    fn enqueue(&self, id: ObjectId, busy: &mut Busy, call: Checked<'_>, out: &mut Outputs) -> Result<Step, Fault> {
        let queued = Queued {
            pass: Pass {
                ticket: call.ticket,
                timer: None,
            },
            operation: call.operation,
            arguments: call.arguments.bytes().into(),
            taken: std::mem::take(&mut out.taken),
        };
        let charged = self.registry().memory.charge(queued.cost());
        let entered = charged.and_then(|()| {
            let entered = self
                .services
                .enter_wait(self.settings(), id, call.ticket.caller.session);
            entered.inspect_err(|_| self.registry().memory.discharge(queued.cost()))
        });
        match entered {
            Ok(()) => {
                busy.queued.push_back(queued);
                Ok(Step::Waits)
            }
            Err(fault) => {
                out.taken = queued.taken;
                Err(fault)
            }
        }
    }

    /// Takes a queued call's traces away; it goes on or is given up.
    pub(super) fn leave_queue(&self, object: ObjectId, queued: &Queued) {
        self.registry().memory.discharge(queued.cost());
        self.services.leave_wait(&queued.pass);
        if let Some(session) = self.services.sessions.get(queued.pass.ticket.caller.session) {
            session.lock().untie(object);
        }
    }

    /// Brings contents back to their object; calls that wait there go on with [`Engine::resume`].
    fn put_back(&self, object: ObjectId, contents: Contents, spoiled: bool, out: &mut Outputs) {
        let slot = self.registry().get(object);
        let mut state = slot.as_ref().map(|slot| slot.state.lock());
        let Some(State::Busy(busy)) = state.as_deref_mut() else {
            return self.drop_contents(contents, out);
        };
        busy.contents = Some(contents);
        if !spoiled {
            return;
        }
        for queued in std::mem::take(&mut busy.queued) {
            self.leave_queue(object, &queued);
            out.queue
                .push(Output::reply(queued.pass.ticket, Err(poisoned(object)), false));
            out.dropped.extend(queued.taken);
        }
        if let Some(state) = state.as_deref_mut() {
            poison(state);
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
            let Some(mut contents) = busy.contents.take() else {
                return;
            };
            let Some(queued) = busy.queued.pop_front() else {
                *state = State::Free(contents);
                return;
            };
            self.leave_queue(object, &queued);
            let ticket = queued.pass.ticket;
            let call = Checked {
                ticket,
                operation: queued.operation,
                arguments: Raw::assume_checked(&queued.arguments),
                proxies: !queued.taken.is_empty(),
            };
            if !self.lives(ticket.caller.session) {
                busy.contents = Some(contents);
                out.dropped.extend(queued.taken);
                continue;
            }
            let done = self.attempt(now, object, &mut contents, call, out);
            busy.contents = Some(contents);
            if let Some(Ok(Step::Long)) = done {
                let rest = Busy {
                    contents: None,
                    queued: std::mem::take(&mut busy.queued),
                };
                self.depart(object, &mut state, call, queued.taken, rest, out);
                return;
            }
            out.dropped.extend(queued.taken);
            let answer = std::mem::take(&mut out.answer);
            match done {
                Some(Ok(Step::Waits | Step::Long)) => {}
                Some(Ok(Step::Done)) => self.answer_later(ticket, Ok(answer), out),
                Some(Err(fault)) => self.answer_later(ticket, Err(fault), out),
                None => {
                    out.dropped.extend(answer.handed.into_iter().map(ObjectId));
                    self.answer_later(ticket, Err(panicked()), out);
                    let contents = busy.contents.take();
                    drop(state);
                    if let Some(contents) = contents {
                        self.put_back(object, contents, true, out);
                    }
                    return;
                }
            }
        }
        if matches!(&*state, State::Busy(_)) {
            out.queue
                .push(Output::Job(Job::new(self.world.clone(), Work::Resume { object })));
        }
    }

    /// Enters the references that an answer hands over in the session's books; gives them up if the session is ending.
    fn hand_over(&self, session: SessionId, handed: &[u64], dropped: &mut Vec<ObjectId>) -> Result<(), Fault> {
        if handed.is_empty() {
            return Ok(());
        }
        if let Some(session) = self.services.sessions.get(session) {
            let mut books = session.lock();
            if !books.ending() {
                books.adopt(handed);
                return Ok(());
            }
        }
        dropped.extend(handed.iter().map(|&object| ObjectId(object)));
        Err(gone())
    }

    #[inline]
    fn answer_now(&self, ticket: Ticket, done: Result<Step, Fault>, operation: Operation, out: &mut Outputs) {
        let done = match done {
            Ok(Step::Done) => self
                .hand_over(ticket.caller.session, &out.answer.handed, &mut out.dropped)
                .map(|()| Step::Done),
            Ok(step) => Ok(step),
            Err(fault) => {
                // Nothing was handed over; a panic may have come in the middle of an answer.
                out.dropped.extend(out.answer.handed.drain(..).map(ObjectId));
                Err(fault)
            }
        };
        out.immediate = match done {
            Ok(Step::Done) => Immediate::Done {
                number: ticket.number,
                delivers: operation.properties().delivers,
            },
            Ok(Step::Waits | Step::Long) => Immediate::Nothing,
            Err(fault) => Immediate::Fault {
                number: ticket.number,
                fault,
            },
        };
    }

    pub(super) fn answer_later(&self, ticket: Ticket, outcome: Result<Answer, Fault>, out: &mut Outputs) {
        if self.services.sessions.get(ticket.caller.session).is_none() {
            out.dropped
                .extend(outcome.into_iter().flat_map(|answer| answer.handed).map(ObjectId));
            return;
        }
        let outcome = outcome.and_then(|answer| {
            self.hand_over(ticket.caller.session, &answer.handed, &mut out.dropped)
                .map(|()| answer)
        });
        out.queue.push(Output::reply(ticket, outcome, false));
    }

    fn lives(&self, session: SessionId) -> bool {
        self.services
            .sessions
            .get(session)
            .is_some_and(|session| !session.lock().ending())
    }
}

/// Keeps an object's contents for their references only.
fn poison(state: &mut State) {
    *state = match std::mem::replace(state, State::Freed) {
        State::Free(contents) | State::Poisoned(contents) => State::Poisoned(contents),
        State::Busy(Busy {
            contents: Some(contents),
            ..
        }) => State::Poisoned(contents),
        other => other,
    };
}

#[cold]
fn poisoned(object: ObjectId) -> Fault {
    let message = format!("an operation on object {object} failed inside the server; its contents can't be trusted");
    Fault::new(FaultCode::Poisoned, message)
}
