//! A handle on its way to another process: which segment, where in it, and what stands there.
//!
//! Written where descriptors can go along, as in the arguments of `Process::spawn`, or where a server keeps them, as in the containers of a
//! manager, and refused with a reason everywhere else. What is read is checked before it is used: the type, the place, and that the segment
//! can't shrink.

use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};

use byproxy_proto::value::Token;
use parking_lot::Mutex;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::pool::Block;
use super::segment::Segment;
use crate::descriptors::{self, Pass, Place};
use crate::error::{Error, Result as Outcome};
use crate::fork::PerProcess;

/// The segments of objects at servers, while they are mapped here: by server and object.
static FETCHED: PerProcess<Mutex<Known>> = PerProcess::new(Mutex::default);

type Known = HashMap<(u128, u64), Weak<Segment>>;

/// What is written of a handle.
#[derive(Deserialize, Serialize)]
struct Ticket {
    /// The handle's type, element included: a place read as another type would be nonsense to both sides.
    what: String,
    /// The segment's number among the descriptors that go along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<u32>,
    /// The object of a server that keeps the segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<Token>,
    offset: usize,
    /// How many elements.
    count: usize,
}

/// The name of a handle's type, as messages and tickets have it.
pub(super) fn name_of<T>(noun: &str) -> String {
    format!("shm::{noun}<{}>", type_name::<T>())
}

/// Writes a handle of `what`.
pub(super) fn serialize<S: Serializer>(
    what: String,
    block: &Block,
    count: usize,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (segment, offset) = block.travel();
    let attached = descriptors::attach(segment.key(), segment.as_fd(), segment.passes())
        .map_err(|error| ser::Error::custom(format_args!("{what} can't go along: {error}")))?;
    let (number, memory) = match attached {
        Some(Place::Along(number)) => (Some(number), None),
        Some(Place::Kept(token, pass)) => {
            block.keep(pass);
            remember(token, segment);
            (None, Some(token))
        }
        None => {
            return Err(ser::Error::custom(format_args!(
                "{what} is shared memory: it can be given to a process as an argument of Process::spawn, or stored in an object of a \
                 manager, and not be written anywhere else"
            )));
        }
    };
    let ticket = Ticket {
        what,
        segment: number,
        memory,
        offset,
        count,
    };
    ticket.serialize(serializer)
}

/// Reads a handle of `what`; `size_of` says how many bytes so many elements take.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    what: &str,
    size_of: impl FnOnce(usize) -> Option<usize>,
    deserializer: D,
) -> Result<(Arc<Block>, usize), D::Error> {
    let ticket = Ticket::deserialize(deserializer)?;
    if ticket.what != what {
        return Err(de::Error::custom(format_args!(
            "expected {what}, found {}",
            ticket.what
        )));
    }
    let (segment, pass) = match (ticket.segment, ticket.memory) {
        (Some(number), None) => {
            let came = descriptors::with_offered(number, Segment::open);
            (came.transpose().map_err(|error| unusable(what, &error))?, None)
        }
        (None, Some(token)) => {
            let (segment, pass) = opened(token).map_err(|error| unusable(what, &error))?;
            (Some(segment), pass)
        }
        _ => (None, None),
    };
    let Some(segment) = segment else {
        return Err(de::Error::custom(format_args!(
            "{what} is shared memory, which did not come along: it is an argument of Process::spawn, or stands in an object of a manager"
        )));
    };
    let size = size_of(ticket.count).unwrap_or(usize::MAX);
    let block = Block::open(segment, ticket.offset, size).map_err(|error| unusable(what, &error))?;
    // Whoever sent it, and others, have it too.
    let _ = block.travel();
    if let Some(pass) = pass {
        block.keep(pass);
    }
    Ok((block, ticket.count))
}

/// The segment that an object keeps: known, or fetched. With it the reference to the object, to be kept with what lies there.
fn opened(token: Token) -> Outcome<(Arc<Segment>, Option<Arc<Pass>>)> {
    let known = FETCHED
        .get()
        .lock()
        .get(&(token.instance, token.object))
        .and_then(Weak::upgrade);
    if let Some(segment) = known {
        let pass = segment.passes().find(token.instance);
        return Ok((segment, pass));
    }
    let (descriptor, pass) = descriptors::fetch(token)?;
    let segment = Segment::open(descriptor.as_fd()).map_err(|source| Error::Io {
        context: "can't map it",
        source,
    })?;
    segment.passes().add(&pass);
    remember(token, &segment);
    Ok((segment, Some(pass)))
}

/// Notes which segment an object keeps. That stays so: ids are never used again.
fn remember(token: Token, segment: &Arc<Segment>) {
    let mut fetched = FETCHED.get().lock();
    if fetched.len() == fetched.capacity() {
        fetched.retain(|_, segment| segment.strong_count() > 0);
        // So that as many come before the next look as this one saw.
        let living = fetched.len();
        fetched.reserve(living);
    }
    fetched.insert((token.instance, token.object), Arc::downgrade(segment));
}

fn unusable<E: de::Error>(what: &str, error: &dyn fmt::Display) -> E {
    E::custom(format_args!("{what} can't be used: {error}"))
}
