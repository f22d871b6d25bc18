//! How a function's arguments travel: bytes, and descriptors that accompany them.
//!
//! The one place that knows the encoding. `encode_arguments` runs in the parent while it holds the arguments;
//! `decode_arguments` runs in the child before the function starts. The parent lets go of its arguments only after the
//! child has reported that it adopted them.

use std::os::fd::OwnedFd;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Arguments ready to be sent.
#[derive(Debug)]
pub struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Turns a tuple of arguments into bytes; the error says why one cannot travel.
pub(super) fn encode_arguments<A: Serialize>(arguments: &A) -> Result<Encoded, String> {
    let bytes = postcard::to_allocvec(arguments).map_err(|error| error.to_string())?;
    Ok(Encoded {
        bytes,
        descriptors: Vec::new(),
    })
}

/// Reads a tuple of arguments back; the error says what was found instead.
pub(super) fn decode_arguments<A: DeserializeOwned>(bytes: &[u8], _descriptors: Vec<OwnedFd>) -> Result<A, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((arguments, [])) => Ok(arguments),
        Ok(_) => Err("bytes after the last argument".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
