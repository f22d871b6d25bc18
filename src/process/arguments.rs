//! How a function's arguments travel: bytes, and descriptors that accompany them.
//!
//! The one place that knows the encoding. `encode_arguments` runs in the parent while it holds the arguments;
//! `decode_arguments` runs in the child before the function starts. The parent lets go of its arguments only after the
//! child has reported that it adopted them.

use std::os::fd::OwnedFd;

use byproxy_proto::value::{Limits, from_slice, to_vec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::report::ARGUMENTS_SIZE_MAX;

/// What arguments may cost. Both ends are one program and one user, so memory is no concern, only a size that is surely a mistake.
const LIMITS: Limits = Limits {
    bytes: ARGUMENTS_SIZE_MAX,
    // The list of the arguments is a level of its own.
    depth: Limits::DEFAULT.depth + 1,
    memory: usize::MAX,
};

/// Arguments ready to be sent.
#[derive(Debug)]
pub struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Turns a tuple of arguments into bytes; the error says why one cannot travel.
pub(super) fn encode_arguments<A: Serialize>(arguments: &A) -> Result<Encoded, String> {
    let bytes = to_vec(arguments, &LIMITS).map_err(|error| error.to_string())?;
    Ok(Encoded {
        bytes,
        descriptors: Vec::new(),
    })
}

/// Reads a tuple of arguments back; the error says what was found instead.
pub(super) fn decode_arguments<A: DeserializeOwned>(bytes: &[u8], _descriptors: Vec<OwnedFd>) -> Result<A, String> {
    from_slice(bytes, &LIMITS).map_err(|error| error.to_string())
}
