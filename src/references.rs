//! Proxies inside values: who holds a reference while it travels.
//!
//! Outwards, every proxy met while a value is encoded is kept alive until the value has arrived, so a reference in flight is always
//! held by someone. Inwards, the references that a reply hands over become handles *before* anything is decoded; a proxy read from the
//! value takes its handle from there, and what no proxy took is given back, whatever the value's type skipped, refused or panicked
//! over. Both contexts are per thread and nest: a type's own `Serialize` or `Deserialize` may make calls.

use crate::backend::{Backend, Request};
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::registry;
use byproxy_proto::op::{Operation, Wait};
use byproxy_proto::value::{self, EncodeError, Kind, Limits, Token};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    /// The encodings that are going on, innermost last.
    static ENCODING: RefCell<Vec<Encoding>> = const { RefCell::new(Vec::new()) };
    /// The handles that proxies are decoded from, innermost last.
    static ADOPTED: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// One value on its way out.
struct Encoding {
    /// The only server whose proxies it may hold; with none, those of any server that another process can reach.
    instance: Option<u128>,
    /// The proxies met so far.
    held: Vec<Handle>,
    /// Why a proxy could not go with it.
    refused: Option<Error>,
}

/// Appends the encoding of a call's arguments and returns the proxies in it, to be held until they have arrived. On error `out` is as it
/// was.
#[inline]
pub(crate) fn encode<A: Serialize + ?Sized>(
    operation: Operation,
    arguments: &A,
    out: &mut Vec<u8>,
    instance: u128,
) -> Result<Vec<Handle>> {
    let limits = Limits {
        depth: Limits::DEFAULT.depth + operation.levels(),
        ..Limits::DEFAULT
    };
    encode_for(Some(instance), arguments, out, &limits).map_err(|error| match error {
        // What stands around the values is no business of whoever passed them.
        Error::Encode(EncodeError::TooDeep { .. }) => Error::Encode(EncodeError::TooDeep {
            limit: Limits::DEFAULT.depth,
        }),
        error => error,
    })
}

/// The same for a value that goes to another process, with proxies of any server that can be reached from there.
pub(crate) fn encode_for_process<A: Serialize + ?Sized>(
    value: &A,
    out: &mut Vec<u8>,
    limits: &Limits,
) -> Result<Vec<Handle>> {
    encode_for(None, value, out, limits)
}

#[inline]
fn encode_for<A: Serialize + ?Sized>(
    instance: Option<u128>,
    value: &A,
    out: &mut Vec<u8>,
    limits: &Limits,
) -> Result<Vec<Handle>> {
    let Some(scope) = EncodingScope::enter(instance) else {
        // This thread is ending. A guard that it kept to its end still has to be given back; proxies are refused.
        value::to_writer(value, out, limits)?;
        return Ok(Vec::new());
    };
    let written = value::to_writer(value, out, limits);
    let encoding = scope.leave();
    match written {
        Ok(()) => Ok(encoding.held),
        Err(error) => Err(encoding.refused.unwrap_or_else(|| error.into())),
    }
}

/// Writes a proxy into the value that is being encoded.
pub(crate) fn serialize<S: Serializer>(handle: &Handle, serializer: S) -> Result<S::Ok, S::Error> {
    hold(handle).map_err(ser::Error::custom)?;
    handle.token().serialize(serializer)
}

/// Reads a proxy of an object of this kind.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(kind: Kind, deserializer: D) -> Result<Handle, D::Error> {
    let token = Token::deserialize(deserializer)?;
    if token.kind != kind {
        return Err(de::Error::custom(format_args!(
            "expected a {kind} proxy, found a {} proxy",
            token.kind
        )));
    }
    take(token).map_err(de::Error::custom)
}

/// The handles that a reply handed over, offered to whatever is decoded until this is dropped.
#[derive(Debug)]
pub(crate) struct Adopting {
    /// How many were on offer before; nothing if this added none.
    before: Option<usize>,
}

impl Adopting {
    /// Owns the references that a reply handed over.
    #[inline]
    pub(crate) fn enter(backend: &Arc<dyn Backend>, handed: &[u64]) -> Self {
        if handed.is_empty() || cfg!(canary = "handed_not_adopted") {
            return Self { before: None };
        }
        // The kind stands in the token that the proxy is read from.
        Self::offer(
            handed
                .iter()
                .map(|&object| Handle::own(backend.clone(), object, Kind(0))),
        )
    }

    /// Offers handles that are owned already.
    pub(crate) fn offer(handles: impl Iterator<Item = Handle>) -> Self {
        let handles: Vec<Handle> = handles.collect();
        // A thread that is ending has nothing to decode them with: they are given back.
        let before = ADOPTED.try_with(|adopted| {
            let mut adopted = adopted.borrow_mut();
            let before = adopted.len();
            adopted.extend(handles);
            before
        });
        Self { before: before.ok() }
    }
}

impl Drop for Adopting {
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        let given_back = ADOPTED.try_with(|adopted| {
            let mut adopted = adopted.borrow_mut();
            let before = before.min(adopted.len());
            adopted.split_off(before)
        });
        // Dropped here, when nothing is borrowed: giving a reference back may free an object and run a job.
        drop(given_back);
    }
}

/// What is on offer now, to be kept with a value that could not be decoded yet.
pub(crate) fn adopted() -> Vec<Handle> {
    ADOPTED.try_with(|adopted| adopted.borrow().clone()).unwrap_or_default()
}

/// Takes a reference to an object of a server that this process has a session with.
pub(crate) fn adopt(backend: &Arc<dyn Backend>, token: Token) -> Result<Handle> {
    let arguments = value::to_vec(&([token],), &Limits::DEFAULT)?;
    let mut handle = None;
    let request = Request {
        operation: Operation::Adopt,
        object: 0,
        arguments: &arguments,
        wait: Wait::TRY,
    };
    backend.call(request, &mut |answer| {
        let mut handed = answer
            .handed
            .iter()
            .map(|&object| Handle::own(backend.clone(), object, token.kind));
        handle = handed.find(|handle| handle.object() == token.object);
        handed.for_each(drop);
    })?;
    handle.ok_or_else(|| Error::NoSuchObject(format!("the server did not hand over {token}")))
}

/// Notes a proxy that goes out with the value being encoded, if it may.
fn hold(handle: &Handle) -> Result<()> {
    let noted = ENCODING.try_with(|encodings| {
        let mut encodings = encodings.borrow_mut();
        let Some(encoding) = encodings.last_mut() else {
            return Err(Error::Refused(format!(
                "{handle:?} is a proxy: it can be sent to a server or a process of byproxy, and not be written in another format"
            )));
        };
        let refusal = match encoding.instance {
            Some(instance) if instance != handle.backend().instance() => format!(
                "{handle:?} belongs to another server than the object it was to be stored in: store a name or an address instead"
            ),
            None if handle.backend().address().is_none() => format!(
                "{handle:?} belongs to Manager::embedded() and lives in this process only: use Manager::start() to share it"
            ),
            _ => {
                encoding.held.push(handle.clone());
                return Ok(());
            }
        };
        let error = Error::ForeignProxy(refusal.clone());
        encoding.refused.get_or_insert(error);
        Err(Error::ForeignProxy(refusal))
    });
    noted.unwrap_or_else(|_| Err(ending()))
}

/// The handle of a token: from the reply that is being decoded, else from its server.
fn take(token: Token) -> Result<Handle> {
    let offered = ADOPTED.try_with(|adopted| {
        let adopted = adopted.borrow();
        let offered = |handle: &&Handle| handle.token().instance == token.instance && handle.object() == token.object;
        adopted.iter().rev().find(offered).cloned()
    });
    if let Some(handle) = offered.map_err(|_| ending())? {
        return Ok(handle.with_kind(token.kind));
    }
    let Some(backend) = registry::find(token.instance) else {
        return Err(Error::ForeignProxy(format!(
            "{token} is of a server that this process is not connected to"
        )));
    };
    adopt(&backend, token)
}

#[cold]
fn ending() -> Error {
    Error::Gone("this thread is ending and can pass no more proxies on".to_owned())
}

/// One entry of [`ENCODING`], taken out again even if the value's `Serialize` panics.
struct EncodingScope;

impl EncodingScope {
    #[inline]
    fn enter(instance: Option<u128>) -> Option<Self> {
        let entry = Encoding {
            instance,
            held: Vec::new(),
            refused: None,
        };
        let entered = ENCODING.try_with(|encodings| encodings.borrow_mut().push(entry));
        entered.ok().map(|()| Self)
    }

    #[inline]
    fn leave(self) -> Encoding {
        std::mem::forget(self);
        Self::pop()
    }

    #[inline]
    fn pop() -> Encoding {
        let entry = ENCODING
            .try_with(|encodings| encodings.borrow_mut().pop())
            .ok()
            .flatten();
        entry.unwrap_or(Encoding {
            instance: None,
            held: Vec::new(),
            refused: None,
        })
    }
}

impl Drop for EncodingScope {
    fn drop(&mut self) {
        drop(Self::pop());
    }
}
