//! A handle on its way to another process: which segment, where in it, and what stands there.
//!
//! Written where descriptors can go along, as in the arguments of `Process::spawn`, and refused with a reason everywhere else. What is read
//! is checked before it is used: the type, the place, and that the segment can't shrink.

use std::any::type_name;
use std::os::fd::AsFd;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::pool::Block;
use super::segment::Segment;
use crate::descriptors;

/// What is written of a handle.
#[derive(Deserialize, Serialize)]
struct Ticket {
    /// The handle's type, element included: a place read as another type would be nonsense to both sides.
    what: String,
    /// The segment's number among the descriptors that go along.
    segment: u32,
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
    let attached = descriptors::attach(segment.key(), segment.as_fd())
        .map_err(|error| ser::Error::custom(format_args!("{what} can't go along: {error}")))?;
    let Some(segment) = attached else {
        return Err(ser::Error::custom(format_args!(
            "{what} is shared memory: it can be given to a process as an argument of Process::spawn, and not be written anywhere else"
        )));
    };
    let ticket = Ticket {
        what,
        segment,
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
    let Some(segment) = descriptors::with_offered(ticket.segment, Segment::open) else {
        return Err(de::Error::custom(format_args!(
            "{what} is shared memory, which did not come along: it can only be an argument of Process::spawn"
        )));
    };
    let unusable = |error| de::Error::custom(format_args!("{what} can't be used: {error}"));
    let size = size_of(ticket.count).unwrap_or(usize::MAX);
    let block = Block::open(segment.map_err(unusable)?, ticket.offset, size).map_err(unusable)?;
    // Whoever sent it, and others, have it too.
    let _ = block.travel();
    Ok((block, ticket.count))
}
