//! Batches: calls that come as one and are done one after the other, each as if it had come alone.
//!
//! Every call is linearizable by itself, and the batch is nothing more: others' calls may come between, and one that is refused keeps
//! none of the rest from being done. A call that has to leave as a job, or that meets a Busy object, takes the [`Rest`] of its batch
//! along as data; its answer comes back as a job of its own, which goes on with the next call. So no thread waits, outcomes stay in
//! order, and of one batch only one call is ever under way.
//!
//! Short calls that follow one another on the same object have it locked once, and no more than [`RUN_MAX`] of them, nor many bytes: to whoever
//! watches the object that is no different from calls of one client that are fast. All others are done by themselves.
//!
//! The outcomes share one reply, and each is written where it stays. A call that would have had room in a reply of its own, but not behind
//! the others', is not done: the reply ends before it, and tells the client so by being shorter. What the outcomes hand over enters the
//! session's books with the reply.

use super::call::Checked;
use super::cell::HANDED_BYTES_MAX;
use super::job::{Job, Work};
use super::object::{Contents, State, Step, is_crowded_out, panic_around_if_asked};
use super::outputs::{Answer, Output, Outputs};
use super::types::{ObjectId, Ticket, Time};
use super::{Call, Engine};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{
    BATCH_DONE_BYTES, BatchCall, BatchCalls, Operation, begin_batch_done, end_batch_done, write_batch_fault,
};
use byproxy_proto::value::{Raw, write_list_header};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// How many calls that may be long are done before other work has its turn.
const LONG_CALLS_MAX: usize = 16;
/// What is left free for an outcome that is not held against the limit: a fault, or one of the small results.
const SPARE_BYTES: usize = 2 << 10;
/// What stands around one result.
const OUTCOME_HEADER_BYTES_MAX: usize = 8;
/// So many calls at most are done to an object before others may lock it, and no more once they have brought and taken as many bytes as a chunk.
const RUN_MAX: usize = 64;

/// Whom to answer, and what is left of its batch if the call is one of a batch.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) ticket: Ticket,
    pub(crate) rest: Option<Box<Rest>>,
}

/// What is left of a batch, while one of its calls is under way.
#[derive(Debug)]
pub(crate) struct Rest {
    calls: Box<[u8]>,
    left: usize,
    /// What came of the calls before.
    outcomes: Answer,
    tally: Tally,
}

/// How far a batch is, whose outcomes are written into the answer one behind the other: a list, whose header counts all of its calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    calls: usize,
    outcomes: usize,
    /// How many references the outcomes before the one being written hand over.
    handed: usize,
}

/// The calls of a batch that are done in one go.
struct Turn<'a> {
    now: Time,
    ticket: Ticket,
    /// Those that are left.
    calls: BatchCalls<'a>,
    /// How many of those that were done may have been long.
    long: usize,
    /// Whether an object has one of them in hand.
    in_hand: Cell<bool>,
}

/// What comes after some calls of a batch.
enum Next {
    /// Another call, if there is one.
    Call,
    /// Another call that has to be done by itself.
    Apart,
    /// The answer: all are done, or there is no room for what comes of more.
    Answer,
    /// A wait: the batch goes on when the call has been done elsewhere.
    Wait,
}

/// What came of one call.
enum Done {
    /// Its outcome, which was entered.
    Entered,
    /// Nothing, for there is no room for that.
    Full,
    /// Nothing yet.
    Not(Step),
}

impl Engine {
    /// Does the calls of a batch, as far as they go at once.
    pub(super) fn begin_batch(&self, now: Time, ticket: Ticket, calls: BatchCalls<'_>, out: &mut Outputs) -> Step {
        out.begin_outcomes(calls.len());
        self.do_calls(now, ticket, calls, out)
    }

    /// Goes on with a batch; `outcome` is that of the call it waited for, if it waited for one.
    pub(super) fn go_on(
        &self,
        now: Time,
        ticket: Ticket,
        rest: Rest,
        outcome: Option<Result<Answer, Fault>>,
        out: &mut Outputs,
    ) {
        if !self.lives(ticket.caller.session) {
            let handed = outcome.and_then(Result::ok).map(|answer| answer.handed);
            out.dropped.extend(handed.into_iter().flatten().map(ObjectId));
            if seeded!("batch_leaks_its_rest") {
                return;
            }
            return rest.give_up(&mut out.dropped);
        }
        (out.answer, out.tally) = (rest.outcomes, rest.tally);
        let goes_on = outcome.is_none_or(|outcome| {
            out.begin_outcome();
            match outcome {
                Ok(answer) => out.collect(answer),
                Err(fault) => out.collect_fault(&fault),
            }
        });
        let step = if goes_on && !seeded!("batch_ends_at_a_job") {
            self.do_calls(now, ticket, BatchCalls::resume(&rest.calls, rest.left), out)
        } else {
            out.end_outcomes();
            Step::Done
        };
        if step == Step::Done {
            let answer = std::mem::take(&mut out.answer);
            self.answer_later(Due { ticket, rest: None }, Ok(answer), out);
        }
    }

    fn do_calls(&self, now: Time, ticket: Ticket, calls: BatchCalls<'_>, out: &mut Outputs) -> Step {
        let mut turn = Turn {
            now,
            ticket,
            calls,
            long: 0,
            in_hand: Cell::new(false),
        };
        loop {
            let next = match self.do_run(&mut turn, out) {
                Next::Apart => self.do_apart(&mut turn, out),
                next => next,
            };
            match next {
                Next::Call | Next::Apart => self.free_dropped(now, out),
                Next::Answer => {
                    self.free_dropped(now, out);
                    out.end_outcomes();
                    return Step::Done;
                }
                Next::Wait => return Step::Waits,
            }
        }
    }

    /// Does the calls that come next as long as they are short and to the same object, which is locked once for all of them.
    fn do_run(&self, turn: &mut Turn<'_>, out: &mut Outputs) -> Next {
        let Some((first, _)) = turn.calls.split_first() else {
            return Next::Answer;
        };
        let id = short(&first).map(|_| ObjectId(first.object));
        let Some(slot) = id.and_then(|id| out.recent.object(self.registry(), id)) else {
            return Next::Apart;
        };
        let next = self.do_locked(turn, slot.id, &mut slot.state.lock(), out);
        out.recent.keep(slot);
        next
    }

    fn do_locked(&self, turn: &mut Turn<'_>, id: ObjectId, state: &mut State, out: &mut Outputs) -> Next {
        let State::Free(contents) = state else {
            return Next::Apart;
        };
        let done = catch_unwind(AssertUnwindSafe(|| self.do_short(turn, id, contents, out)));
        done.unwrap_or_else(|panic| {
            if !turn.in_hand.take() {
                // It is no business of the object.
                resume_unwind(panic);
            }
            let fault = self.fail(turn.now, id, state, turn.ticket, out);
            out.drop_taken();
            if !seeded!("batch_forgets_who_panicked") {
                out.collect_fault(&fault);
            }
            Next::Call
        })
    }

    fn do_short(&self, turn: &mut Turn<'_>, id: ObjectId, contents: &mut Contents, out: &mut Outputs) -> Next {
        let (before, mut asked) = (out.answer.result.len(), 0);
        for _ in 0..RUN_MAX {
            let Some((call, others)) = turn.calls.split_first() else {
                return Next::Answer;
            };
            if call.object != id.0 {
                break;
            }
            let Some(operation) = short(&call) else {
                return Next::Apart;
            };
            let with_it = std::mem::replace(&mut turn.calls, others);
            let done = self.do_next(turn.ticket, Some(operation), &call, out, |call, out| {
                self.check_arguments(call, &mut out.taken)?;
                let arguments = Raw::assume_checked(call.arguments);
                let mut context = self.context(turn.now, id, !out.taken.is_empty(), out);
                turn.in_hand.set(true);
                let done = contents.call(call.operation, arguments, &turn.ticket, &mut context);
                turn.in_hand.set(false);
                done
            });
            match done {
                Done::Entered => {}
                Done::Full => return Next::Answer,
                Done::Not(step) => {
                    debug_assert_eq!(step, Step::Long, "nothing that is short waits");
                    // The object is such that it takes long: it is done anew, by itself.
                    out.unbegin_outcome();
                    out.drop_taken();
                    if !seeded!("batch_skips_what_is_long") {
                        turn.calls = with_it;
                    }
                    return Next::Apart;
                }
            }
            asked += call.arguments.len();
            let bytes = asked + (out.answer.result.len() - before);
            // What was dropped is freed when nothing is locked; and nobody has an object for long because the values in it are large.
            if !out.dropped.is_empty() || bytes > self.settings().chunk_bytes {
                break;
            }
        }
        Next::Call
    }

    /// Does the next call, whatever it is.
    #[inline(never)]
    fn do_apart(&self, turn: &mut Turn<'_>, out: &mut Outputs) -> Next {
        let Some((call, others)) = turn.calls.split_first() else {
            return Next::Answer;
        };
        let operation = Operation::from_code(call.operation);
        turn.long += usize::from(operation.is_some_and(|operation| operation.properties().may_be_long));
        if turn.long > LONG_CALLS_MAX {
            let rest = Box::new(Rest::new(turn.calls, out));
            self.go_on_later(turn.ticket, rest, None, out);
            return Next::Wait;
        }
        turn.calls = others;
        let done = self.do_next(turn.ticket, operation, &call, out, |call, out| {
            self.apply(turn.now, turn.ticket.caller, call, Some(&others), out)
        });
        match done {
            Done::Entered => Next::Call,
            Done::Full => Next::Answer,
            Done::Not(_) => Next::Wait,
        }
    }

    /// Has a call done, and enters what comes of it.
    #[expect(clippy::inline_always, reason = "it stands around the two ways to do a call")]
    #[inline(always)]
    fn do_next<'a>(
        &self,
        ticket: Ticket,
        operation: Option<Operation>,
        call: &BatchCall<'a>,
        out: &mut Outputs,
        do_it: impl FnOnce(&Call<'a>, &mut Outputs) -> Result<Step, Box<Fault>>,
    ) -> Done {
        panic_around_if_asked(call.arguments);
        out.begin_outcome();
        if out.is_full(self.settings().reply_bytes_max) {
            return Done::Full;
        }
        let done = match operation {
            Some(operation) => {
                let call = Call {
                    number: ticket.number,
                    operation,
                    object: call.object,
                    arguments: call.arguments,
                };
                do_it(&call, out)
            }
            None => Err(unknown_operation(call.operation).into()),
        };
        let goes_on = match done {
            Ok(step @ (Step::Waits | Step::Long)) => return Done::Not(step),
            Ok(Step::Done) => out.collect_done(),
            Err(fault) => out.collect_fault(&fault),
        };
        out.drop_taken();
        if goes_on { Done::Entered } else { Done::Full }
    }

    /// Has the driver come back for the rest of a batch: now other work has its turn, or an object is locked.
    pub(super) fn go_on_later(
        &self,
        ticket: Ticket,
        rest: Box<Rest>,
        outcome: Option<Result<Answer, Fault>>,
        out: &mut Outputs,
    ) {
        let work = Work::GoOn { ticket, rest, outcome };
        out.queue.push(Output::Job(Job::new(self.world.clone(), work)));
    }
}

impl Outputs {
    /// Begins the outcomes of so many calls.
    fn begin_outcomes(&mut self, calls: usize) {
        self.tally = Tally {
            calls,
            ..Tally::default()
        };
        write_list_header(&mut self.answer.result, calls);
    }

    /// Begins what comes of a call, as that of one that is done: its result comes next.
    #[inline]
    fn begin_outcome(&mut self) {
        let Self { answer, tally, .. } = self;
        tally.handed = answer.handed.len();
        answer.taken = taken(answer, *tally);
        answer.start = begin_batch_done(&mut answer.result);
    }

    /// Whether a reply of so many bytes has no room for another outcome, however small: what was begun is none then.
    #[inline]
    fn is_full(&mut self, bytes: usize) -> bool {
        let is_full = self.answer.taken.saturating_add(SPARE_BYTES) > bytes && self.tally.outcomes > 0;
        if is_full {
            self.unbegin_outcome();
        }
        is_full
    }

    /// Takes back what was begun, if an outcome was: a panic may have come in the middle of it.
    fn unbegin_outcome(&mut self) {
        let before = self.outcomes_bytes();
        if before < self.answer.result.len() {
            self.answer.result.truncate(before);
            self.answer.start = 0;
            let handed = self.tally.handed.min(self.answer.handed.len());
            self.dropped.extend(self.answer.handed.drain(handed..).map(ObjectId));
        }
    }

    /// How many bytes the outcomes take that are ended.
    fn outcomes_bytes(&self) -> usize {
        let begun = self.answer.start.checked_sub(BATCH_DONE_BYTES);
        begun.unwrap_or(self.answer.result.len())
    }

    /// Ends what came of a call, whose result was written. The batch goes on.
    #[inline]
    fn collect_done(&mut self) -> bool {
        end_batch_done(&mut self.answer.result, std::mem::take(&mut self.answer.start));
        self.tally.outcomes += 1;
        true
    }

    /// Enters what came of a call that was done elsewhere.
    fn collect(&mut self, mut answer: Answer) -> bool {
        self.answer.result.append(&mut answer.result);
        self.answer.handed.append(&mut answer.handed);
        self.collect_done()
    }

    /// Enters why a call was refused. False if it is not done for want of room, and so nothing after it.
    #[cold]
    fn collect_fault(&mut self, fault: &Fault) -> bool {
        self.unbegin_outcome();
        if is_crowded_out(fault) {
            return false;
        }
        write_batch_fault(fault, &mut self.answer.result);
        self.tally.outcomes += 1;
        true
    }

    /// Gives up what was to be handed over: an answer that was being made is not sent.
    pub(super) fn give_up_answer(&mut self) {
        self.dropped.extend(self.answer.handed.drain(..).map(ObjectId));
        self.answer.clear();
    }

    /// Makes the outcomes a reply: its header counts those that there are.
    fn end_outcomes(&mut self) {
        let Self { answer, tally, .. } = self;
        (answer.start, answer.taken) = (0, 0);
        if tally.outcomes != tally.calls {
            let (mut promised, mut header) = (Vec::new(), Vec::new());
            write_list_header(&mut promised, tally.calls);
            write_list_header(&mut header, tally.outcomes);
            answer.result.splice(..promised.len(), header);
        }
    }
}

/// What of a reply the outcomes in it take, with the beginning of the next.
#[inline]
fn taken(outcomes: &Answer, tally: Tally) -> usize {
    if tally.outcomes == 0 {
        return 0;
    }
    outcomes.result.len() + HANDED_BYTES_MAX * outcomes.handed.len() + OUTCOME_HEADER_BYTES_MAX
}

impl Rest {
    /// The calls that are left, and what came of those before the one that was begun last.
    fn new(calls: BatchCalls<'_>, out: &mut Outputs) -> Self {
        out.unbegin_outcome();
        Self {
            calls: calls.bytes().into(),
            left: calls.len(),
            outcomes: std::mem::take(&mut out.answer),
            tally: out.tally,
        }
    }

    /// What it occupies.
    pub(crate) fn cost(&self) -> u64 {
        cost(self.calls.len(), self.outcomes.result.len())
    }

    /// What of the reply is taken already.
    pub(super) fn taken(&self) -> usize {
        taken(&self.outcomes, self.tally)
    }

    /// Gives up what it was to hand over: nobody will be answered.
    pub(super) fn give_up(&self, dropped: &mut Vec<ObjectId>) {
        dropped.extend(self.outcomes.handed.iter().map(|&object| ObjectId(object)));
    }
}

impl Answer {
    /// An answer that goes behind what came of the calls of a batch before its own, if there were any.
    pub(super) fn behind(rest: Option<&Rest>) -> Self {
        Self {
            taken: rest.map_or(0, Rest::taken),
            ..Self::default()
        }
    }
}

/// What the bytes of calls occupy, and those of what came of the calls before them.
fn cost(calls: usize, outcomes: usize) -> u64 {
    (calls + outcomes) as u64
}

impl Checked<'_> {
    /// Whom to answer once the call, which can't be done now, is done.
    pub(super) fn due(&self, out: &mut Outputs) -> Due {
        Due {
            ticket: self.ticket,
            rest: self.batch.map(|&calls| Box::new(Rest::new(calls, out))),
        }
    }

    /// What [`Rest::cost`] of it will be.
    pub(super) fn rest_cost(&self, out: &Outputs) -> u64 {
        self.batch
            .map_or(0, |calls| cost(calls.bytes().len(), out.outcomes_bytes()))
    }
}

/// What is done to an object without a wait and at once, unless the object is such that it takes long.
#[expect(clippy::inline_always, reason = "it looks into two tables")]
#[inline(always)]
fn short(call: &BatchCall<'_>) -> Option<Operation> {
    let operation = Operation::from_code(call.operation)?;
    let properties = operation.properties();
    let waits = properties.may_block || properties.delivers;
    (!waits && !properties.may_be_long && !call.asks_server()).then_some(operation)
}

#[cold]
fn unknown_operation(code: u16) -> Fault {
    Fault::new(
        FaultCode::UnknownOperation,
        format_args!("no operation has code {code}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Caller, LaneId, Peer, Settings};
    use byproxy_proto::op::{ManagerOp, unbatchable, write_batch_call, write_batch_header};
    use byproxy_proto::value::{Kind, Limits, to_vec};

    #[test]
    fn what_is_short_may_be_in_a_batch_and_is_done_by_an_object() {
        for &operation in Operation::ALL {
            let code = operation.code();
            let call = BatchCall {
                operation: code,
                object: 1,
                arguments: &[7, 0],
            };
            if short(&call).is_none() {
                continue;
            }
            let arguments = Raw::assume_checked(call.arguments);
            assert_eq!(unbatchable(operation, arguments), None, "{operation:?}");
            assert!(ManagerOp::read(operation, arguments).is_none(), "{operation:?}");
        }
    }

    /// How many of a hundred calls to a dict, with values of so many bytes, are done before others may have it.
    fn first_run(operation: Operation, bytes: usize) -> usize {
        let engine = Engine::new(1, Settings::default());
        let peer = Peer::default();
        let session = engine.handle_session_start(Time(0), peer).unwrap();
        let caller = Caller {
            session,
            lane: LaneId(1),
        };
        let (mut out, limits) = (Outputs::default(), Limits::default());
        let call = |number, operation, object, arguments: &[u8], out: &mut Outputs| {
            let call = Call {
                number,
                operation,
                object,
                arguments,
            };
            engine.handle_call(Time(0), caller, call, out);
        };
        let new = to_vec(&(Kind::DICT.0, (), ()), &limits).unwrap();
        call(1, Operation::Create, 0, &new, &mut out);
        let dict = out.answer.handed[0];
        let (key, pair) = (
            to_vec(&("key",), &limits).unwrap(),
            to_vec(&("key", "x".repeat(bytes)), &limits).unwrap(),
        );
        call(2, Operation::DictInsert, dict, &pair, &mut out);
        let arguments = if operation == Operation::DictGet { &key } else { &pair };
        let mut batch = Vec::new();
        write_batch_header(100, &mut batch);
        for _ in 0..100 {
            write_batch_call(
                &BatchCall {
                    operation: operation.code(),
                    object: dict,
                    arguments,
                },
                &mut batch,
            );
        }
        out.begin(engine.registry().engine);
        out.begin_outcomes(100);
        let mut turn = Turn {
            now: Time(0),
            ticket: caller.ticket(3),
            calls: BatchCalls::check(&batch).unwrap(),
            long: 0,
            in_hand: Cell::new(false),
        };
        assert!(matches!(engine.do_run(&mut turn, &mut out), Next::Call));
        100 - turn.calls.len()
    }

    #[test]
    fn a_row_of_calls_ends_after_so_many_and_after_so_many_bytes() {
        let chunk = Settings::default().chunk_bytes;
        for operation in [Operation::DictGet, Operation::DictInsert] {
            assert_eq!(first_run(operation, 10), RUN_MAX);
            assert_eq!(first_run(operation, chunk + 1), 1, "{operation:?}");
        }
        assert_eq!(first_run(Operation::DictGet, chunk / 10), 10);
        assert_eq!(
            first_run(Operation::DictInsert, chunk / 10),
            5,
            "what comes and what goes"
        );
    }
}
