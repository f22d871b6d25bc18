//! Batches: calls that come as one and are done one after the other, each as if it had come alone.
//!
//! Every call is linearizable by itself, and the batch is nothing more: others' calls may come between, and one that is refused keeps
//! none of the rest from being done. A call that has to leave as a job, or that meets a Busy object, takes the [`Rest`] of its batch
//! along as data; its answer comes back as a job of its own, which goes on with the next call. So no thread waits, outcomes stay in
//! order, and of one batch only one call is ever under way.
//!
//! The outcomes share one reply. A call that would have had room in a reply of its own, but not behind the others', is not done: the
//! reply ends before it, and tells the client so by being shorter. What the outcomes hand over enters the session's books with the reply.

use super::call::Checked;
use super::cell::HANDED_BYTES_MAX;
use super::job::{Job, Work};
use super::object::{Step, is_crowded_out, panic_around_if_asked};
use super::outputs::{Answer, Output, Outputs};
use super::types::{ObjectId, Ticket, Time};
use super::{Call, Engine};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{BatchCall, BatchCalls, Operation, write_batch_done, write_batch_fault};
use byproxy_proto::value::write_list_header;

/// How many calls that may be long are done before other work has its turn.
const LONG_CALLS_MAX: usize = 16;
/// What is left free for an outcome that is not held against the limit: a fault, or one of the small results.
const SPARE_BYTES: usize = 2 << 10;
/// What stands around one result.
const OUTCOME_HEADER_BYTES_MAX: usize = 8;

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
    collected: Collected,
}

/// What came of the calls so far.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// A list; its header counts all calls of the batch.
    outcomes: Vec<u8>,
    handed: Vec<u64>,
    count: usize,
    calls: usize,
}

impl Engine {
    /// Does the calls of a batch, as far as they go at once.
    pub(super) fn begin_batch(&self, now: Time, ticket: Ticket, calls: BatchCalls<'_>, out: &mut Outputs) -> Step {
        out.collected.begin(calls.len());
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
        out.collected = rest.collected;
        let goes_on = match outcome {
            None => true,
            Some(Ok(answer)) => {
                out.answer = answer;
                out.collect_done()
            }
            Some(Err(fault)) => out.collect_fault(&fault),
        };
        let step = if goes_on && !seeded!("batch_ends_at_a_job") {
            self.do_calls(now, ticket, BatchCalls::resume(&rest.calls, rest.left), out)
        } else {
            out.answer_collected();
            Step::Done
        };
        if step == Step::Done {
            let answer = std::mem::take(&mut out.answer);
            self.answer_later(Due { ticket, rest: None }, Ok(answer), out);
        }
    }

    fn do_calls(&self, now: Time, ticket: Ticket, mut calls: BatchCalls<'_>, out: &mut Outputs) -> Step {
        let mut long = 0;
        while let Some((call, others)) = calls.split_first() {
            let operation = Operation::from_code(call.operation);
            long += usize::from(operation.is_some_and(|operation| operation.properties().may_be_long));
            if long > LONG_CALLS_MAX {
                let rest = Box::new(Rest::new(calls, &mut out.collected));
                self.go_on_later(ticket, rest, None, out);
                return Step::Waits;
            }
            calls = others;
            panic_around_if_asked(call.arguments);
            out.answer.clear();
            out.answer.taken = out.collected.bytes();
            if out.answer.taken.saturating_add(SPARE_BYTES) > self.settings().reply_bytes_max && out.collected.count > 0
            {
                break;
            }
            let done = match operation {
                Some(operation) => self.do_one(now, ticket, operation, &call, others, out),
                None => Err(unknown_operation(call.operation).into()),
            };
            let goes_on = match done {
                Ok(Step::Waits | Step::Long) => return Step::Waits,
                Ok(Step::Done) => out.collect_done(),
                Err(fault) => out.collect_fault(&fault),
            };
            out.drop_taken();
            self.free_dropped(now, out);
            if !goes_on {
                break;
            }
        }
        out.answer_collected();
        Step::Done
    }

    #[inline]
    fn do_one(
        &self,
        now: Time,
        ticket: Ticket,
        operation: Operation,
        call: &BatchCall<'_>,
        others: BatchCalls<'_>,
        out: &mut Outputs,
    ) -> Result<Step, Box<Fault>> {
        let call = Call {
            number: ticket.number,
            operation,
            object: call.object,
            arguments: call.arguments,
        };
        self.apply(now, ticket.caller, &call, Some(&others), out)
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
    /// Enters what came of a call, whose answer lies in the outputs. The batch goes on.
    #[inline]
    fn collect_done(&mut self) -> bool {
        let Self { answer, collected, .. } = self;
        write_batch_done(&answer.result, &mut collected.outcomes);
        if !answer.handed.is_empty() {
            collected.handed.append(&mut answer.handed);
        }
        collected.count += 1;
        true
    }

    /// Enters why a call was refused. False if it is not done for want of room, and so nothing after it.
    #[cold]
    fn collect_fault(&mut self, fault: &Fault) -> bool {
        // A panic may have come in the middle of an answer.
        self.dropped.extend(self.answer.handed.drain(..).map(ObjectId));
        if is_crowded_out(fault) {
            return false;
        }
        write_batch_fault(fault, &mut self.collected.outcomes);
        self.collected.count += 1;
        true
    }

    /// Gives up what was to be handed over: an answer that was being made is not sent.
    pub(super) fn give_up_answer(&mut self) {
        let Self {
            answer,
            collected,
            dropped,
            ..
        } = self;
        let handed = answer.handed.drain(..).chain(collected.handed.drain(..));
        dropped.extend(handed.map(ObjectId));
        answer.clear();
        collected.clear();
    }

    /// Makes the collected outcomes the answer.
    fn answer_collected(&mut self) {
        let Self { answer, collected, .. } = self;
        collected.correct_header();
        answer.clear();
        std::mem::swap(&mut answer.result, &mut collected.outcomes);
        std::mem::swap(&mut answer.handed, &mut collected.handed);
    }
}

impl Collected {
    fn begin(&mut self, calls: usize) {
        self.clear();
        self.calls = calls;
        write_list_header(&mut self.outcomes, calls);
    }

    /// Whether there is nothing to forget.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.outcomes.is_empty() && self.handed.is_empty()
    }

    /// Forgets everything; buffers keep their capacity unless it is large.
    pub(super) fn clear(&mut self) {
        if self.outcomes.capacity() > Answer::KEPT_BYTES_MAX {
            self.outcomes = Vec::new();
        }
        self.outcomes.clear();
        self.handed.clear();
        self.count = 0;
    }

    /// What of a reply the outcomes take, with the beginning of the next.
    #[inline]
    fn bytes(&self) -> usize {
        if self.count == 0 {
            return 0;
        }
        self.outcomes.len() + HANDED_BYTES_MAX * self.handed.len() + OUTCOME_HEADER_BYTES_MAX
    }

    /// Lets the header count the outcomes that there are.
    fn correct_header(&mut self) {
        if self.count == self.calls {
            return;
        }
        let (mut promised, mut header) = (Vec::new(), Vec::new());
        write_list_header(&mut promised, self.calls);
        write_list_header(&mut header, self.count);
        self.outcomes.splice(..promised.len(), header);
    }
}

impl Rest {
    fn new(calls: BatchCalls<'_>, collected: &mut Collected) -> Self {
        Self {
            calls: calls.bytes().into(),
            left: calls.len(),
            collected: std::mem::take(collected),
        }
    }

    /// What it occupies.
    pub(crate) fn cost(&self) -> u64 {
        (self.calls.len() + self.collected.outcomes.len()) as u64
    }

    /// What of the reply is taken already.
    pub(super) fn taken(&self) -> usize {
        self.collected.bytes()
    }

    /// Gives up what it was to hand over: nobody will be answered.
    pub(super) fn give_up(&self, dropped: &mut Vec<ObjectId>) {
        dropped.extend(self.collected.handed.iter().map(|&object| ObjectId(object)));
    }
}

impl Checked<'_> {
    /// Whom to answer once the call, which can't be done now, is done.
    pub(super) fn due(&self, out: &mut Outputs) -> Due {
        Due {
            ticket: self.ticket,
            rest: self.batch.map(|&calls| Box::new(Rest::new(calls, &mut out.collected))),
        }
    }

    /// What [`Rest::cost`] of it will be.
    pub(super) fn rest_cost(&self, out: &Outputs) -> u64 {
        self.batch
            .map_or(0, |calls| (calls.bytes().len() + out.collected.outcomes.len()) as u64)
    }
}

#[cold]
fn unknown_operation(code: u16) -> Fault {
    Fault::new(
        FaultCode::UnknownOperation,
        format_args!("no operation has code {code}"),
    )
}
