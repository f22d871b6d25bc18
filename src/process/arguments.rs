//! How a function's arguments travel: bytes, and descriptors that accompany them.
//!
//! The one place that knows the encoding. `encode_arguments` runs in the parent while it holds the arguments;
//! `decode_arguments` runs in the child before the function starts. The parent lets go of its arguments, and of the
//! proxies in them, only after the child has reported that it adopted them.
//!
//! Two values lie one after the other: where to find the servers of the proxies, and the arguments.

use std::os::fd::OwnedFd;

use byproxy_proto::address::Address;
use byproxy_proto::value::{Deserializer, Limits, from_slice, to_writer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::report::ARGUMENTS_SIZE_MAX;
use crate::handle::Handle;
use crate::{descriptors, references, registry};

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
    /// What the bytes name stays alive until the child has it, or is dead.
    _held: Vec<Handle>,
}

/// A server's number, and where it listens.
type Server = (u128, String);

/// Turns a tuple of arguments into bytes; the error says why one cannot travel.
pub(super) fn encode_arguments<A: Serialize>(arguments: &A) -> Result<Encoded, String> {
    let mut values = Vec::new();
    let (held, descriptors) = descriptors::collect(|| references::encode_for_process(arguments, &mut values, &LIMITS));
    let held = held.map_err(|error| error.to_string())?;
    let mut servers: Vec<Server> = Vec::new();
    for handle in &held {
        let instance = handle.token().instance;
        if let Some(address) = handle.backend().address()
            && servers.iter().all(|(known, _)| *known != instance)
        {
            servers.push((instance, address.to_string()));
        }
    }
    let mut bytes = Vec::new();
    to_writer(&servers, &mut bytes, &LIMITS).map_err(|error| error.to_string())?;
    bytes.append(&mut values);
    Ok(Encoded {
        bytes,
        descriptors,
        _held: if seeded!("arguments_let_go") { Vec::new() } else { held },
    })
}

/// Reads a tuple of arguments back; the error says what was found instead.
pub(super) fn decode_arguments<A: DeserializeOwned>(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<A, String> {
    let mut reader = Deserializer::new(bytes, &LIMITS);
    let servers: Vec<Server> = reader.take().map_err(|error| error.to_string())?;
    let mut sessions = Vec::with_capacity(servers.len());
    for (instance, address) in servers {
        let address: Address = address.parse().map_err(|error| format!("{error}"))?;
        // Held until the proxies that are read below hold it themselves.
        sessions.push(registry::reach(instance, &address).map_err(|error| error.to_string())?);
    }
    descriptors::offer(descriptors, || from_slice(reader.rest(), &LIMITS)).map_err(|error| error.to_string())
}
