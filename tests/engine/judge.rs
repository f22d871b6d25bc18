//! The other half of the simulator: holds replies and the engine's counts against the models.

use crate::model::{
    Answer, DictModel, Expected, ListModel, LockModel, Order, QueueModel, Request, Ticket, as_int, done, follow, items,
    tokens,
};
use crate::simulator::{Lane, LaneState, Object, Result, Simulator};
use byproxy::engine::{Outcome, Output, ReplyRef};
use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Kind, Limits, Raw, Value};

/// A reply, read.
struct Reply {
    ticket: Ticket,
    answer: Answer,
    handed: Vec<u64>,
    delivers: bool,
}

impl Simulator {
    /// Takes in what an event has put out, and sees that nothing expected is missing.
    pub(crate) fn absorb(&mut self, caller: Option<Ticket>) -> Result {
        let mut replies = Vec::new();
        let mut out = std::mem::take(&mut self.out);
        if let (Some(reply), Some(ticket)) = (out.immediate(), caller) {
            replies.push(read(ticket, reply)?);
        }
        for output in out.drain() {
            match output {
                Output::Reply { to, reply } => {
                    replies.push(read((to.session.0, to.lane.0, reply.number), reply.as_ref())?);
                }
                Output::Job(job) => self.jobs.push(job),
                Output::Shutdown => return Err("O1: nobody asked for a shutdown".to_owned()),
            }
        }
        self.out = out;
        for reply in replies {
            self.log(|| format!("    {:?} is answered {:?}", reply.ticket, reply.answer));
            self.judge(reply)?;
        }
        match self.expected.pop_first() {
            None => Ok(()),
            Some((ticket, expected)) => Err(format!("O1: {ticket:?} should have been answered {expected:?}")),
        }
    }

    fn judge(&mut self, reply: Reply) -> Result {
        let Reply {
            ticket,
            answer,
            mut handed,
            delivers,
        } = reply;
        let client = self.clients.iter().position(|client| client.session == ticket.0);
        let client = client.ok_or_else(|| format!("O2: {ticket:?} is dead and was answered {answer:?}"))?;
        let index = usize::try_from(ticket.1).map_err(|_| format!("O1: {ticket:?} has no lane"))?;
        let lane = self.clients[client].lanes.get_mut(index);
        let lane = lane.ok_or_else(|| format!("O1: {ticket:?} has no such lane"))?;
        let LaneState::Waiting(request) = std::mem::replace(&mut lane.state, LaneState::Idle) else {
            return Err(format!("O1: {ticket:?} was not waiting for {answer:?}"));
        };
        if delivers {
            lane.state = LaneState::Delivered {
                number: ticket.2,
                queue: request.object,
            };
        }
        if lane.calls != ticket.2 + 1 {
            return Err(format!("O1: {ticket:?} is an old call"));
        }
        if request.operation == Operation::Batch {
            return self.judge_batch(ticket, client, &answer, handed);
        }
        let mut named = Vec::new();
        if let Answer::Done(value) = &answer {
            tokens(value, &mut |object| named.push(object));
        }
        named.sort_unstable();
        handed.sort_unstable();
        if named != handed {
            return Err(format!("O3: {ticket:?} was handed {handed:?} with {answer:?}"));
        }
        for object in handed {
            *self.clients[client].holds.entry(object).or_default() += 1;
        }
        if let Some(expected) = self.expected.remove(&ticket) {
            return self.judge_expected(client, &request, &answer, delivers, &expected);
        }
        let since = self.clients[client].lanes[index].since;
        let mut lanes = self.clients.iter().flat_map(|client| &client.lanes);
        let overtaken = |lane: &&Lane| match &lane.state {
            LaneState::Waiting(earlier) => earlier.object == request.object && lane.since < since,
            LaneState::Idle | LaneState::Delivered { .. } => false,
        };
        let follows = matches!(
            self.objects.get(&request.object),
            Some(Object::List(_) | Object::Dict(_))
        );
        if follows && lanes.any(|lane| overtaken(&lane)) {
            return Err(format!("O1: {ticket:?} overtook an earlier call: {request:?}"));
        }
        self.judge_followed(client, &request, &answer)
    }

    /// A reply that the models of queues and locks have foretold.
    pub(crate) fn judge_expected(
        &mut self,
        client: usize,
        request: &Request,
        answer: &Answer,
        delivers: bool,
        expected: &Expected,
    ) -> Result {
        let wrong = || {
            Err(format!(
                "O1: {request:?} should have been answered {expected:?}, not {answer:?}"
            ))
        };
        let client = &mut self.clients[client];
        match (expected, answer) {
            (Expected::Answer(Answer::Fault(code, _)), Answer::Fault(told, _)) if code == told && !delivers => {}
            (Expected::Answer(foretold), _) if foretold == answer => {
                if let (Operation::LockAcquire, Answer::Done(granted)) = (request.operation, answer) {
                    let token = items(granted).first().and_then(as_int).unwrap_or(0).unsigned_abs();
                    client.tokens.push((request.object, token));
                }
            }
            (Expected::Delivery(foretold), Answer::Done(value)) if foretold == value && delivers => {}
            (Expected::Lease(times, item), Answer::Done(Value::List(parts))) if !delivers => {
                let [lease, told_times, told] = parts.as_slice() else {
                    return wrong();
                };
                if as_int(told_times).map(i64::unsigned_abs) != Some(*times) || told != item {
                    return wrong();
                }
                let lease = as_int(lease).unwrap_or(0).unsigned_abs();
                client.leases.push((request.object, lease));
                let Some(Object::Queue(queue, _)) = self.objects.get_mut(&request.object) else {
                    return wrong();
                };
                if !queue.leased(client.session, lease) {
                    return Err(format!("O1: delivery {lease} is not new"));
                }
            }
            _ => return wrong(),
        }
        if let (Answer::Fault(told, detail), Expected::Answer(Answer::Fault(_, foretold))) = (answer, expected)
            && matches!(
                told,
                FaultCode::WorkerDied | FaultCode::Full | FaultCode::Timeout | FaultCode::ShutDown
            )
            && detail != foretold
        {
            return wrong();
        }
        Ok(())
    }

    /// A reply that the models of the other objects are to explain.
    pub(crate) fn judge_followed(&mut self, client: usize, request: &Request, answer: &Answer) -> Result {
        let &Request {
            operation,
            object,
            ref arguments,
        } = request;
        let wrong = || Err(format!("O1: no model explains {answer:?} to {request:?}"));
        let bare = bare(answer);
        match self.objects.get_mut(&object) {
            _ if matches!(operation, Operation::ListCopy | Operation::DictCopy) => self.copied(object, answer),
            Some(Object::List(states)) => {
                *states = follow(states, &bare, |state| state.step(operation, arguments, Some(&bare)));
                states.dedup();
                if states.is_empty() {
                    return wrong();
                }
                if let (Operation::ListSnapshot, Answer::Done(value)) = (operation, answer) {
                    let version = items(value).first().cloned().unwrap_or(Value::None);
                    self.clients[client].versions.push((object, version));
                }
                Ok(())
            }
            Some(Object::Dict(states)) => {
                *states = follow(states, &bare, |state| state.step(operation, arguments, Some(&bare)));
                states.dedup();
                if states.is_empty() { wrong() } else { Ok(()) }
            }
            Some(Object::Queue(queue, _)) if operation == Operation::QueueAudit => match answer {
                Answer::Done(audit) => queue.check_audit(audit).map_err(|error| format!("O1: {error}")),
                Answer::Fault(..) => wrong(),
            },
            None if object == 0 => self.judge_manager(request, answer),
            _ => wrong(),
        }
    }

    fn judge_manager(&mut self, request: &Request, answer: &Answer) -> Result {
        let wrong = || Err(format!("O1: {answer:?} is no answer to {request:?}"));
        match (request.operation, request.arguments.as_slice(), answer) {
            (Operation::Create, [kind, name, contents], _) => {
                let Value::Str(name) = name else {
                    return self.created(None, contents, answer);
                };
                let Some(&there) = self.names.get(name) else {
                    return self.created(Some(name), contents, answer);
                };
                let same_kind = as_int(kind) == Some(i64::from(self.objects[&there].kind().0));
                match answer {
                    Answer::Done(Value::Proxy(token)) if same_kind && token.object == there => Ok(()),
                    Answer::Fault(FaultCode::NameTaken, _) if !same_kind => Ok(()),
                    _ => wrong(),
                }
            }
            (Operation::Open, [Value::Str(name)], Answer::Done(found)) => {
                let there = self.names.get(name).copied();
                let told = if let Value::Proxy(token) = found {
                    Some(token.object)
                } else {
                    None
                };
                if told == there { Ok(()) } else { wrong() }
            }
            (Operation::Names, [], Answer::Done(Value::List(told))) => {
                let line = |(name, object): (&String, &u64)| {
                    Value::List(vec![
                        Value::from(name.as_str()),
                        Value::from(self.objects[object].kind().to_string()),
                    ])
                };
                if self.names.iter().map(line).eq(told.iter().cloned()) {
                    Ok(())
                } else {
                    wrong()
                }
            }
            (Operation::Remove, [Value::Str(name)], Answer::Done(_)) => {
                self.names.remove(name);
                Ok(())
            }
            (Operation::Adopt, [asked], Answer::Done(told)) if asked == told => Ok(()),
            (Operation::Collect, [], Answer::Done(count)) => self.collected(count),
            (Operation::Ping, [], Answer::Done(Value::None)) | (Operation::Stats, [], Answer::Done(Value::Dict(_))) => {
                Ok(())
            }
            _ => wrong(),
        }
    }

    /// A new object, with the contents it was to be made of.
    fn created(&mut self, name: Option<&String>, contents: &Value, answer: &Answer) -> Result {
        let token = self.new_object(answer)?;
        let object = match token.kind {
            Kind::LIST => Object::List(vec![ListModel::new(items(contents))]),
            Kind::DICT => Object::Dict(vec![DictModel::new(match contents {
                Value::Dict(pairs) => pairs.clone(),
                _ => Vec::new(),
            })]),
            Kind::QUEUE => {
                let parts = items(contents);
                let order = match as_int(&parts[0]) {
                    Some(0) => Order::Fifo,
                    Some(1) => Order::Lifo,
                    _ => Order::Priority,
                };
                Object::Queue(
                    QueueModel::new(
                        order,
                        as_int(&parts[1]).unwrap_or(0),
                        self.engine.settings().small_steps,
                    ),
                    order == Order::Priority,
                )
            }
            _ => Object::Lock(LockModel::default()),
        };
        self.objects.insert(token.object, object);
        if let Some(name) = name {
            self.names.insert(name.clone(), token.object);
        }
        Ok(())
    }

    /// A copy is in any of the states that its original may be in.
    fn copied(&mut self, original: u64, answer: &Answer) -> Result {
        let token = self.new_object(answer)?;
        let copy = match self.objects.get(&original) {
            Some(Object::List(states)) => {
                Object::List(states.iter().map(|state| ListModel::new(state.items.clone())).collect())
            }
            Some(Object::Dict(states)) => Object::Dict(states.clone()),
            _ => return Err("O1: a copy of nothing".to_owned()),
        };
        self.objects.insert(token.object, copy);
        Ok(())
    }

    pub(crate) fn new_object(&mut self, answer: &Answer) -> Result<byproxy_proto::value::Token> {
        match answer {
            Answer::Done(Value::Proxy(token))
                if token.object > self.newest && token.instance == crate::simulator::INSTANCE =>
            {
                self.newest = token.object;
                Ok(*token)
            }
            _ => Err(format!("O1: {answer:?} is not a new object")),
        }
    }
}

/// The answer without a fault's detail, which the models do not foretell.
fn bare(answer: &Answer) -> Answer {
    match answer {
        Answer::Fault(code, _) => Answer::Fault(*code, Value::None),
        Answer::Done(_) => answer.clone(),
    }
}

fn read(ticket: Ticket, reply: ReplyRef<'_>) -> Result<Reply> {
    if reply.number != ticket.2 {
        return Err(format!("O1: {ticket:?} was answered as call {}", reply.number));
    }
    let (answer, handed) = match reply.outcome {
        Outcome::Fault(fault) => (Answer::Fault(fault.code, fault.detail.clone()), Vec::new()),
        Outcome::Done { handed, result } => {
            let value = Raw::check(result, &Limits::default()).and_then(Raw::to_value);
            (
                done(value.map_err(|error| format!("O1: {ticket:?} got a malformed value: {error}"))?),
                handed.to_vec(),
            )
        }
    };
    Ok(Reply {
        ticket,
        answer,
        handed,
        delivers: reply.delivers,
    })
}
