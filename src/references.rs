//! Proxies inside values: who holds a reference while it travels.
//!
//! Outwards, every proxy met while a value is encoded is kept alive until the value has arrived, so a reference in flight is always
//! held by someone. Inwards, the references that a reply hands over become handles *before* anything is decoded; a proxy read from the
//! value takes its handle from there, and what no proxy took is given back, whatever the value's type skipped, refused or panicked
//! over. Both contexts are per thread and nest: a type's own `Serialize` or `Deserialize` may make calls.

use crate::backend::{Backend, Frames, Request};
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::registry;
use byproxy_proto::op::{Operation, Wait};
use byproxy_proto::value::{self, EncodeError, Kind, Limits, Token};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

thread_local! {
    /// The encoding that is going on, and what the encodings around it have met.
    static ENCODING: Encoding = const {
        Encoding {
            bounds: Cell::new(Bounds::Nothing),
            met: Cell::new(None),
        }
    };
    /// The handles that proxies are decoded from, innermost last.
    static ADOPTED: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// The value on its way out. A nested encoding puts what it finds here aside, so that nearly every call, which holds no proxy, moves a few
/// words only.
struct Encoding {
    bounds: Cell<Bounds>,
    met: Cell<Met>,
}

/// The proxies that an encoding met, if it met any.
pub(crate) type Met = Option<Box<Proxies>>;

#[derive(Default)]
pub(crate) struct Proxies {
    held: Vec<Handle>,
    /// Why one could not go with the value.
    refused: Option<Box<Error>>,
}

impl Encoding {
    fn hold(&self, handle: Handle) {
        let mut met = self.met.take().unwrap_or_default();
        met.held.push(handle);
        self.met.set(Some(met));
    }

    /// The first refusal is the one that is told.
    fn refuse(&self, error: Error) {
        let mut met = self.met.take().unwrap_or_default();
        met.refused.get_or_insert_with(|| Box::new(error));
        self.met.set(Some(met));
    }
}

/// Which proxies a value may hold.
#[derive(Clone, Copy)]
enum Bounds {
    /// None: nothing is being encoded.
    Nothing,
    /// Those of the one server with this number.
    Server(u128),
    /// Those of any server that another process can reach.
    Reachable,
}

/// Appends the encoding of a call's arguments and returns the proxies in it, to be held until they have arrived. On error `out` is as it
/// was.
#[inline]
pub(crate) fn encode<A: Serialize + ?Sized>(
    operation: Operation,
    arguments: &A,
    out: &mut Vec<u8>,
    instance: u128,
) -> Result<Met> {
    let limits = Limits {
        depth: Limits::DEFAULT.depth + operation.levels(),
        ..Limits::DEFAULT
    };
    encode_for(Bounds::Server(instance), arguments, out, &limits).map_err(|error| match error {
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
    let met = encode_for(Bounds::Reachable, value, out, limits)?;
    Ok(met.map(|met| met.held).unwrap_or_default())
}

#[inline]
fn encode_for<A: Serialize + ?Sized>(bounds: Bounds, value: &A, out: &mut Vec<u8>, limits: &Limits) -> Result<Met> {
    let Some(mut scope) = EncodingScope::enter(bounds) else {
        // This thread is ending. A guard that it kept to its end still has to be given back; proxies are refused.
        value::to_writer(value, out, limits)?;
        return Ok(None);
    };
    let written = value::to_writer(value, out, limits);
    let met = scope.put_back();
    // It has nothing to put back any more, and is not moved on the way to its end.
    std::mem::forget(scope);
    match written {
        Ok(()) => Ok(met),
        Err(error) => Err(why_unwritten(error, met)),
    }
}

/// Why a value could not be encoded: because a proxy could not go with it, if that was it.
#[cold]
fn why_unwritten(error: EncodeError, met: Met) -> Error {
    met.and_then(|met| met.refused)
        .map_or_else(|| error.into(), |refused| *refused)
}

/// Lets go what a call held until its reply was there.
#[cold]
pub(crate) fn let_go(met: Box<Proxies>) {
    drop(met);
}

/// Writes a proxy into the value that is being encoded.
pub(crate) fn serialize<S: Serializer>(handle: &Handle, serializer: S) -> Result<S::Ok, S::Error> {
    hold(handle).map_err(ser::Error::custom)?;
    handle.token().serialize(serializer)
}

/// Which server the value that this thread is encoding goes to: nothing if it encodes none, or one for another process.
pub(crate) fn destination() -> Option<u128> {
    let bounds = ENCODING.try_with(|encoding| encoding.bounds.get());
    match bounds {
        Ok(Bounds::Server(instance)) => Some(instance),
        _ => None,
    }
}

/// Notes what shared memory is called in the value that is being encoded for its server, or why it can't go there.
pub(crate) fn note(outcome: Result<Handle>) -> std::result::Result<Token, String> {
    let noted = ENCODING.try_with(|encoding| match outcome {
        Ok(handle) => {
            let token = handle.token();
            encoding.hold(handle);
            Ok(token)
        }
        Err(error) => {
            let reason = error.to_string();
            encoding.refuse(error);
            Err(reason)
        }
    });
    noted.unwrap_or_else(|_| Err(ending().to_string()))
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
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.before {
            Self::give_back(before);
        }
    }
}

impl Adopting {
    /// Takes off the offer what was added to so many.
    #[cold]
    fn give_back(before: usize) {
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
    backend.call(request, &mut Frames::default(), &mut |answer| {
        let mut handed = answer
            .handed
            .iter()
            .map(|&object| Handle::own(backend.clone(), object, token.kind));
        handle = handed.find(|handle| handle.object() == token.object);
        handed.for_each(drop);
        true
    })?;
    handle.ok_or_else(|| Error::NoSuchObject(format!("the server did not hand over {token}")))
}

/// Notes a proxy that goes out with the value being encoded, if it may.
fn hold(handle: &Handle) -> Result<()> {
    let noted = ENCODING.try_with(|encoding| {
        let refusal = match encoding.bounds.get() {
            Bounds::Nothing => {
                return Err(Error::Refused(format!(
                    "{handle:?} is a proxy: it can be sent to a server or a process of byproxy, and not be written in another format"
                )));
            }
            Bounds::Server(instance) if instance != handle.backend().instance() => format!(
                "{handle:?} belongs to another server than the object it was to be stored in: store a name or an address instead"
            ),
            Bounds::Reachable if handle.backend().address().is_none() => format!(
                "{handle:?} belongs to Manager::embedded() and lives in this process only: use Manager::start() to share it"
            ),
            Bounds::Server(_) | Bounds::Reachable => {
                encoding.hold(handle.clone());
                return Ok(());
            }
        };
        encoding.refuse(Error::ForeignProxy(refusal.clone()));
        Err(Error::ForeignProxy(refusal))
    });
    noted.unwrap_or_else(|_| Err(ending()))
}

/// The handle of a token: from the reply that is being decoded, else from its server.
pub(crate) fn take(token: Token) -> Result<Handle> {
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

/// One encoding; what it found in [`ENCODING`] is put back even if the value's `Serialize` panics.
struct EncodingScope {
    bounds: Bounds,
    met: Met,
}

impl EncodingScope {
    #[inline]
    fn enter(bounds: Bounds) -> Option<Self> {
        let entered = ENCODING.try_with(|encoding| Self {
            bounds: encoding.bounds.replace(bounds),
            met: encoding.met.take(),
        });
        entered.ok()
    }

    /// Puts back what was found; returns what this encoding met.
    #[inline]
    fn put_back(&mut self) -> Met {
        let met = self.met.take();
        let left = ENCODING.try_with(|encoding| {
            encoding.bounds.set(self.bounds);
            encoding.met.replace(met)
        });
        left.ok().flatten()
    }
}

impl Drop for EncodingScope {
    #[cold]
    fn drop(&mut self) {
        // What it met is dropped when nothing is borrowed: giving a reference back may free an object and run a job.
        self.put_back();
    }
}
