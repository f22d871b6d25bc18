//! What the objects must do, written from their documentation and as simple as can be: vectors, searched from the front.
//!
//! Lists and dicts may be away with a job when a call comes, so their models follow the *replies*: a call is applied when it is
//! answered, and the reply must be what the model says. A call whose session died unanswered may or may not have been done; then the
//! model keeps both worlds until a later reply tells them apart. Queues and locks never leave the engine, so their models predict the
//! exact set of replies of every event.

mod dict;
mod list;
mod lock;
mod memory;
mod queue;

pub(crate) use dict::DictModel;
pub(crate) use list::ListModel;
pub(crate) use lock::{LockModel, deadlocks};
pub(crate) use memory::MemoryModel;
pub(crate) use queue::{Order, QueueModel};

use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::Operation;
use byproxy_proto::value::{self, Limits, Value};

/// A call as the simulator makes it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) object: u64,
    pub(crate) arguments: Vec<Value>,
}

/// A reply as the simulator reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done(Value),
    Fault(FaultCode, Value),
}

/// Which call of which client: session, lane, number.
pub(crate) type Ticket = (u64, u64, u64);

/// What a model of a queue or a lock says of a reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    /// Exactly this.
    Answer(Answer),
    /// Items that stay the server's until they are confirmed.
    Delivery(Value),
    /// `[delivery, times, item]` with a new delivery number.
    Lease(u64, Value),
}

/// A possible outcome of a call on a list or dict: the reply, and the state after it.
pub(crate) type Step<S> = (Answer, S);

/// Which of the possible states the reply of a call leaves, each after the call.
pub(crate) fn follow<S>(states: &[S], reply: &Answer, steps: impl Fn(&S) -> Vec<Step<S>>) -> Vec<S> {
    let matching = |state: &S| {
        steps(state)
            .into_iter()
            .filter(|(answer, _)| answer == reply)
            .map(|(_, next)| next)
            .collect()
    };
    states.iter().flat_map::<Vec<S>, _>(matching).collect()
}

pub(crate) fn int(number: impl TryInto<i64>) -> Value {
    Value::from(number.try_into().ok().expect("small numbers"))
}

pub(crate) fn as_int(value: &Value) -> Option<i64> {
    i64::try_from(value.clone()).ok()
}

pub(crate) fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::List(items) => items.clone(),
        _ => Vec::new(),
    }
}

pub(crate) fn done(value: Value) -> Answer {
    Answer::Done(value)
}

pub(crate) fn fault(code: FaultCode) -> Answer {
    Answer::Fault(code, Value::None)
}

pub(crate) fn encode(value: &Value) -> Vec<u8> {
    value::to_vec(value, &Limits::default()).expect("small values are within the limits")
}

/// Every object a value refers to, repeated as often as it does.
pub(crate) fn tokens(value: &Value, visit: &mut impl FnMut(u64)) {
    match value {
        Value::Proxy(token) => visit(token.object),
        Value::Some(inner) => tokens(inner, visit),
        Value::List(items) => items.iter().for_each(|item| tokens(item, visit)),
        Value::Dict(pairs) => {
            for (key, value) in pairs {
                tokens(key, visit);
                tokens(value, visit);
            }
        }
        _ => {}
    }
}
