//! Batches in a simulated world: each call is judged as if it had come alone.
//!
//! Queues and locks answer at once, so batches on them come at any moment, and every reply that they cause is foretold. Lists and dicts
//! may be away; batches on them come when no job is out, and all jobs are run before anything else happens, since a call of a batch is
//! done long before its answer shows it. So what meets a call under way are the calls of the same batch, behind it.

use crate::calls::{self, Wish};
use crate::model::{Answer, Expected, Request, Ticket, done, encode, fault, int, items, tokens};
use crate::simulator::{LaneState, Object, Result, Simulator};
use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Limits, Raw, Value};

/// How many calls a simulated batch has at most.
const CALLS_MAX: usize = 5;
/// How many calls are drawn to find them.
const DRAWS: usize = 9;

impl Simulator {
    /// A client makes a batch, whose outcome is judged before anything else happens.
    pub(crate) fn batch(&mut self, client: usize, lane: usize) -> Result {
        let away = self.jobs.is_empty() && self.random.percent(60);
        let requests = self.draw_batch(client, lane, away);
        let ticket = self.ticket(client, lane);
        let mut flat = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let arguments = Value::Bytes(encode(&Value::List(request.arguments.clone())));
            flat.extend([int(request.operation.code()), int(request.object), arguments]);
            let part = part(ticket, index);
            if may_come(request) {
                self.foretell(part, request);
            } else {
                let refused = Expected::Answer(fault(FaultCode::Unsupported));
                self.expected.insert(part, refused);
            }
        }
        self.batches.insert(ticket, requests);
        let batch = Request {
            operation: Operation::Batch,
            object: 0,
            arguments: vec![Value::List(flat)],
        };
        self.send(client, lane, batch)?;
        while matches!(self.clients[client].lanes[lane].state, LaneState::Waiting(_)) {
            if self.jobs.is_empty() {
                return Err(format!("O1: the batch {ticket:?} is never answered"));
            }
            self.finish_job()?;
        }
        Ok(())
    }

    /// Calls on queues and locks, or on what may be away.
    fn draw_batch(&mut self, client: usize, lane: usize, away: bool) -> Vec<Request> {
        let mut requests = Vec::new();
        for _ in 0..DRAWS {
            let (mut request, refused) = calls::draw(self, client, lane, Wish::NothingNew);
            let kept = match self.objects.get(&request.object) {
                _ if refused.is_some() => false,
                Some(Object::List(_) | Object::Dict(_)) => away,
                Some(Object::Queue(..) | Object::Lock(_)) => {
                    // Books are looked at when the answer is there: by then they may be others. And the models learn the number under
                    // which an item is lent from the reply, so that nothing before it in the batch may lend.
                    let settles = matches!(request.operation, Operation::QueueAck | Operation::QueueNack);
                    !away && request.operation != Operation::QueueAudit && (requests.is_empty() || !settles)
                }
                Some(Object::Memory(_)) | None => false,
            };
            if request.operation.properties().may_block
                && self.random.percent(90)
                && let Some(wait) = request.arguments.last_mut()
            {
                *wait = int(0);
            }
            if kept && requests.len() < CALLS_MAX {
                requests.push(request);
            }
        }
        requests
    }

    /// What came of a batch: each outcome must be what its call would have been answered alone.
    pub(crate) fn judge_batch(
        &mut self,
        ticket: Ticket,
        client: usize,
        answer: &Answer,
        mut handed: Vec<u64>,
    ) -> Result {
        let requests = self.batches.remove(&ticket).unwrap_or_default();
        let Answer::Done(outcomes) = answer else {
            return Err(format!("O1: the batch {ticket:?} is answered {answer:?}"));
        };
        let outcomes: Vec<Answer> = items(outcomes).iter().map(read).collect::<Result<_>>()?;
        if outcomes.len() != requests.len() {
            return Err(format!("O1: {} calls came to {outcomes:?}", requests.len()));
        }
        let mut named = Vec::new();
        for outcome in &outcomes {
            if let Answer::Done(value) = outcome {
                tokens(value, &mut |object| named.push(object));
            }
        }
        named.sort_unstable();
        handed.sort_unstable();
        if named != handed {
            return Err(format!("O3: {ticket:?} was handed {handed:?} with {outcomes:?}"));
        }
        for object in handed {
            *self.clients[client].holds.entry(object).or_default() += 1;
        }
        for (index, (request, outcome)) in requests.iter().zip(&outcomes).enumerate() {
            match self.expected.remove(&part(ticket, index)) {
                Some(expected) => self.judge_expected(client, request, outcome, false, &expected)?,
                None => self.judge_followed(client, request, outcome)?,
            }
        }
        Ok(())
    }
}

/// The name of one call of a batch: no call that comes alone has such a number.
fn part(ticket: Ticket, index: usize) -> Ticket {
    (ticket.0, ticket.1, ticket.2 + ((index as u64 + 1) << 32))
}

/// Whether a call may be one of a batch, as the specification says.
fn may_come(request: &Request) -> bool {
    use Operation as O;
    let brings = matches!(request.operation, O::QueueGet | O::QueueGetMany | O::QueueReceive);
    let waits = request.operation.properties().may_block && request.arguments.last() != Some(&int(0));
    !brings && !waits
}

fn read(outcome: &Value) -> Result<Answer> {
    match outcome {
        Value::Bytes(bytes) => {
            let value = Raw::check(bytes, &Limits::default()).and_then(Raw::to_value);
            value
                .map(done)
                .map_err(|error| format!("O1: a malformed result: {error}"))
        }
        Value::List(parts) => match parts.as_slice() {
            [code, Value::Str(_), detail] => {
                let code = u16::try_from(code.clone()).map_err(|_| format!("O1: {code} is no code"))?;
                Ok(Answer::Fault(FaultCode::from_number(code), detail.clone()))
            }
            _ => Err(format!("O1: {outcome} is no outcome")),
        },
        _ => Err(format!("O1: {outcome} is no outcome")),
    }
}
