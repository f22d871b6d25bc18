//! Calls: from a frame's fields to an answer, a wait or a job.

use super::batch::Due;
use super::cell::HANDED_BYTES_MAX;
use super::free::{no_such_object, poisoned};
use super::job::{LongCall, panicked};
use super::object::{Busy, Contents, ObjectSlot, State, Step, gone};
use super::outputs::{Answer, Immediate, Output, Outputs};
use super::types::{Caller, ObjectId, SessionId, Ticket, Time};
use super::{Call, Engine};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{BatchCalls, ManagerOp, Operation, unbatchable};
use byproxy_proto::value::{DecodeError, DecodeErrorKind, Limits, Raw, Token, is_flat, walk};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A call whose arguments were checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked<'a> {
    pub(super) ticket: Ticket,
    pub(super) operation: Operation,
    pub(super) arguments: Raw<'a>,
    /// Whether the arguments hold any proxy.
    pub(super) proxies: bool,
    /// If it is one of a batch: the calls after it.
    pub(super) batch: Option<&'a BatchCalls<'a>>,
}

impl Checked<'_> {
    /// The call as it goes with a job, with the references taken for its arguments.
    pub(super) fn leave(&self, due: Due, taken: Vec<ObjectId>) -> LongCall {
        LongCall {
            due,
            operation: self.operation,
            arguments: self.arguments.bytes().into(),
            taken,
        }
    }
}

impl Engine {
    /// Does a call: the reply is in `out` at once, or comes as an output later; exactly one, unless the session ends.
    #[inline]
    pub fn handle_call(&self, now: Time, caller: Caller, call: Call<'_>, out: &mut Outputs) {
        out.begin(self.registry().engine);
        let done = self.apply(now, caller, &call, None, out);
        self.answer_now(caller.session, done, &call, out);
        out.drop_taken();
        self.free_dropped(now, out);
    }

    /// Does a call, which may be one of a batch; what is still to be done then comes with it.
    #[inline]
    pub(super) fn apply(
        &self,
        now: Time,
        caller: Caller,
        call: &Call<'_>,
        batch: Option<&BatchCalls<'_>>,
        out: &mut Outputs,
    ) -> Result<Step, Box<Fault>> {
        if call.operation == Operation::Batch
            && batch.is_none()
            && call.arguments.len() <= self.settings().limits.bytes
            && let Some(calls) = BatchCalls::check(call.arguments)
        {
            return Ok(self.begin_batch(now, caller.ticket(call.number), calls, out));
        }
        let checked = self.check_call(caller, call, batch, out)?;
        match ManagerOp::read(call.operation, checked.arguments) {
            None => self.call_object(now, ObjectId(call.object), &checked, out),
            Some(op) => {
                let op = op.map_err(Fault::from)?;
                self.call_manager(now, ObjectId(call.object), &op, &checked, out)
            }
        }
    }

    /// Checks a call, and takes a reference to every object in its arguments.
    #[expect(clippy::inline_always, reason = "what it returns is to stay in registers")]
    #[inline(always)]
    pub(super) fn check_call<'a>(
        &self,
        caller: Caller,
        call: &Call<'a>,
        batch: Option<&'a BatchCalls<'a>>,
        out: &mut Outputs,
    ) -> Result<Checked<'a>, Box<Fault>> {
        self.check_arguments(call, &mut out.taken)?;
        let arguments = Raw::assume_checked(call.arguments);
        if batch.is_some()
            && let Some(reason) = unbatchable(call.operation, arguments)
        {
            let message = format!("{} {reason}", call.operation.name());
            return Err(Fault::new(FaultCode::Unsupported, message).into());
        }
        Ok(Checked {
            ticket: caller.ticket(call.number),
            operation: call.operation,
            arguments,
            proxies: !out.taken.is_empty(),
            batch,
        })
    }

    /// Checks a call's arguments and takes a reference to every object in them.
    #[expect(clippy::inline_always, reason = "nearly always a look at a few bytes")]
    #[inline(always)]
    pub(super) fn check_arguments(&self, call: &Call<'_>, taken: &mut Vec<ObjectId>) -> Result<(), Box<Fault>> {
        if is_flat(call.arguments, &self.settings().limits) {
            return Ok(());
        }
        self.walk_arguments(call, taken)
    }

    /// The same in one walk, whatever they are.
    #[inline(never)]
    fn walk_arguments(&self, call: &Call<'_>, taken: &mut Vec<ObjectId>) -> Result<(), Box<Fault>> {
        let mut refused = None;
        let depth = self.settings().limits.depth;
        // What stands around the values does not count: each may be as deep as any other call allows.
        let limits = Limits {
            depth: depth + call.operation.levels(),
            ..self.settings().limits
        };
        let walked = walk(call.arguments, &limits, |token| {
            if refused.is_none() {
                refused = self.take_object(token, taken).err();
            }
        });
        let len = walked.map_err(|error| not_checked(error, depth))?;
        if let Some(fault) = refused {
            return Err(fault);
        }
        if len != call.arguments.len() {
            return Err(Fault::new(FaultCode::Malformed, "bytes follow the arguments").into());
        }
        // So that whatever is stored can be handed out again: a reply lists the references beside the value.
        let handed = HANDED_BYTES_MAX * taken.len();
        let limit = self.settings().limits.bytes;
        if len + handed > limit {
            let message = format!(
                "a value of {len} bytes and {} proxies is over the limit of {limit}; split it, or keep it in several elements",
                taken.len()
            );
            return Err(Fault::new(FaultCode::TooLarge, message).into());
        }
        Ok(())
    }

    fn take_object(&self, token: Token, held: &mut Vec<ObjectId>) -> Result<(), Box<Fault>> {
        if token.instance != self.registry().instance {
            let message = "a value holds a proxy of another server; only objects of this server can be kept in it";
            return Err(Fault::new(FaultCode::ForeignProxy, message).into());
        }
        let object = ObjectId(token.object);
        let kind = self
            .registry()
            .take_kind(object)
            .ok_or_else(|| no_such_object(object))?;
        held.push(object);
        if kind == token.kind {
            return Ok(());
        }
        let message = format!("object {object} is a {kind}, not a {}", token.kind);
        Err(Fault::new(FaultCode::BadArgument, message).into())
    }

    #[inline]
    fn call_object(&self, now: Time, id: ObjectId, call: &Checked<'_>, out: &mut Outputs) -> Result<Step, Box<Fault>> {
        let slot = out
            .recent
            .object(self.registry(), id)
            .ok_or_else(|| no_such_object(id))?;
        let done = self.call_slot(now, &slot, call, out);
        out.recent.keep(slot);
        done
    }

    #[inline]
    fn call_slot(
        &self,
        now: Time,
        slot: &ObjectSlot,
        call: &Checked<'_>,
        out: &mut Outputs,
    ) -> Result<Step, Box<Fault>> {
        let id = slot.id;
        let mut state = slot.state.lock();
        let State::Free(contents) = &mut *state else {
            return self.call_away(id, &mut state, call, out);
        };
        match self.attempt(now, id, contents, call, out) {
            Some(Ok(Step::Long)) => {
                let taken = std::mem::take(&mut out.taken);
                let call = call.leave(call.due(out), taken);
                self.depart(id, &mut state, call, Busy::default(), out);
                Ok(Step::Waits)
            }
            Some(done) => done,
            None => {
                let fault = self.fail(now, id, &mut state, call.ticket, out);
                Err(fault.into())
            }
        }
    }

    /// Poisons an object that a call panicked in, and takes back what it may have answered; returns what it is answered with.
    #[cold]
    pub(super) fn fail(&self, now: Time, id: ObjectId, state: &mut State, ticket: Ticket, out: &mut Outputs) -> Fault {
        self.poison(now, id, state, out);
        out.queue.retain(|output| !output.answers(ticket));
        panicked()
    }

    /// Does what there is to do with a call on an object whose contents are not there.
    #[cold]
    fn call_away(
        &self,
        id: ObjectId,
        state: &mut State,
        call: &Checked<'_>,
        out: &mut Outputs,
    ) -> Result<Step, Box<Fault>> {
        match state {
            State::Busy(busy) => self.enqueue(id, busy, call, out),
            State::Poisoned(_) => Err(poisoned(id).into()),
            // Contents that are there are the caller's business.
            State::Free(_) | State::Freed => Err(no_such_object(id).into()),
        }
    }

    /// Does a call on contents; nothing if it panicked.
    #[expect(clippy::inline_always, reason = "it only stands around the call")]
    #[inline(always)]
    pub(super) fn attempt(
        &self,
        now: Time,
        id: ObjectId,
        contents: &mut Contents,
        call: &Checked<'_>,
        out: &mut Outputs,
    ) -> Option<Result<Step, Box<Fault>>> {
        let mut context = self.context(now, id, call.proxies, out);
        let attempt = || contents.call(call.operation, call.arguments, &call.ticket, &mut context);
        catch_unwind(AssertUnwindSafe(attempt)).ok()
    }

    /// Enters the references that an answer hands over in the session's books; gives them up if the session is ending.
    #[inline]
    pub(super) fn hand_over(
        &self,
        session: SessionId,
        handed: &[u64],
        dropped: &mut Vec<ObjectId>,
    ) -> Result<(), Fault> {
        if handed.is_empty() {
            return Ok(());
        }
        self.hand_over_some(session, handed, dropped)
    }

    fn hand_over_some(&self, session: SessionId, handed: &[u64], dropped: &mut Vec<ObjectId>) -> Result<(), Fault> {
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
    fn answer_now(&self, session: SessionId, done: Result<Step, Box<Fault>>, call: &Call<'_>, out: &mut Outputs) {
        let number = call.number;
        out.immediate = match done {
            Ok(Step::Done) => match self.hand_over(session, &out.answer.handed, &mut out.dropped) {
                Ok(()) => Immediate::Done {
                    number,
                    delivers: call.operation.properties().delivers,
                },
                Err(fault) => Immediate::Fault {
                    number,
                    fault: fault.into(),
                },
            },
            Ok(Step::Waits | Step::Long) => Immediate::Nothing,
            Err(fault) => {
                // Nothing was handed over; a panic may have come in the middle of an answer.
                out.dropped.extend(out.answer.handed.drain(..).map(ObjectId));
                Immediate::Fault { number, fault }
            }
        };
    }

    /// Answers a call that could not be answered at once, or goes on with its batch.
    pub(super) fn answer_later(&self, due: Due, outcome: Result<Answer, Fault>, out: &mut Outputs) {
        let Due { ticket, rest } = due;
        if let Some(rest) = rest {
            return self.go_on_later(ticket, rest, Some(outcome), out);
        }
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

    pub(super) fn lives(&self, session: SessionId) -> bool {
        self.services
            .sessions
            .get(session)
            .is_some_and(|session| !session.lock().ending())
    }
}

/// Why arguments are refused that are no value, or one over a limit, of which `depth` is that of one argument.
#[cold]
fn not_checked(error: DecodeError, depth: u32) -> Fault {
    match error.kind() {
        DecodeErrorKind::TooDeep { .. } => {
            let message = format!(
                "a value nests deeper than {depth} levels: make it flatter, or keep its inner parts in objects of their own"
            );
            Fault::new(FaultCode::TooLarge, message)
        }
        DecodeErrorKind::TooLarge { .. } => {
            let message = format!("{error}; split it, or keep it in several elements");
            Fault::new(FaultCode::TooLarge, message)
        }
        _ => error.into(),
    }
}
