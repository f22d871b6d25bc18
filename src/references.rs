//! Proxies inside values: who holds a reference while it travels.
//!
//! Outwards, every proxy met while a value is encoded is kept alive until the value has arrived, so a reference in flight is always
//! held by someone. Inwards, the references that a reply hands over become handles *before* anything is decoded; a proxy read from the
//! value takes its handle from there, and what no proxy took is given back, whatever the value's type skipped, refused or panicked
//! over. Both contexts are per thread and nest: a type's own `Serialize` or `Deserialize` may make calls.

use crate::backend::{Arguments, Backend, Frames, Request};
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::registry;
use byproxy_proto::op::{Operation, Wait};
use byproxy_proto::value::{self, EncodeError, Kind, Limits, Token};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

thread_local! {
    /// The encoding that is going on. Nearly every call holds no proxy, and touches nothing else of this.
    static ENCODING: Encoding = const { Encoding { reach: Cell::new(Reach::Nothing), server: Cell::new(0), met: Cell::new(0) } };
    /// What encodings have met, those around the one that is going on first.
    static MET: RefCell<Vec<Result<Handle>>> = const { RefCell::new(Vec::new()) };
    /// The handles that proxies are decoded from, innermost last.
    static ADOPTED: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// Room for so many proxies that are met is kept.
const MET_KEPT: usize = 64;

/// A value on its way out. Its parts are written and read one by one, in each call: whoever moved all of them at once would have to wait
/// until what was just written has arrived in the cache.
struct Encoding {
    reach: Cell<Reach>,
    /// The one server, if the reach is that.
    server: Cell<u128>,
    /// How many proxies of it were met, and either are held or could not go with it.
    met: Cell<u32>,
}

/// How far a value goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Nowhere: nothing is being encoded.
    Nothing,
    Server,
    Reachable,
}

/// The proxies that an encoding met, if it met any.
pub(crate) type Met = Option<Box<Proxies>>;

#[derive(Default)]
pub(crate) struct Proxies {
    held: Vec<Handle>,
    /// Why one could not go with the value: the first refusal is the one that is told.
    refused: Option<Box<Error>>,
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
    let scope = EncodingScope::enter(bounds);
    let written = value::to_writer(value, out, limits);
    let met = scope.leave();
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

/// Makes a call and holds what its arguments name until its reply is there.
#[cold]
pub(crate) fn holding<R>(met: Box<Proxies>, call: impl FnOnce() -> R) -> R {
    let outcome = call();
    drop(met);
    outcome
}

/// Writes a proxy into the value that is being encoded.
pub(crate) fn serialize<S: Serializer>(handle: &Handle, serializer: S) -> Result<S::Ok, S::Error> {
    hold(handle).map_err(ser::Error::custom)?;
    handle.token().serialize(serializer)
}

/// Which server the value that this thread is encoding goes to: nothing if it encodes none, or one for another process.
pub(crate) fn destination() -> Option<u128> {
    match ENCODING.with(Encoding::bounds) {
        Bounds::Server(instance) => Some(instance),
        _ => None,
    }
}

/// Notes what shared memory is called in the value that is being encoded for its server, or why it can't go there.
pub(crate) fn note(outcome: Result<Handle>) -> std::result::Result<Token, String> {
    let noted = match &outcome {
        Ok(handle) => Ok(handle.token()),
        Err(error) => Err(error.to_string()),
    };
    meet(outcome).map_err(|error| error.to_string())?;
    noted
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
        if handed.is_empty() || seeded!("handed_not_adopted") {
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
    let mut arguments = Arguments::default();
    value::to_writer(&([token],), arguments.writer(), &Limits::DEFAULT)?;
    let mut handle = None;
    let request = Request {
        operation: Operation::Adopt,
        object: 0,
        arguments: &mut arguments,
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
    let refusal = match ENCODING.with(Encoding::bounds) {
        Bounds::Nothing => {
            return Err(Error::Refused(format!(
                "{handle:?} is a proxy: it can be sent to a server or a process of byproxy, and not be written in another format"
            )));
        }
        Bounds::Server(instance) if instance != handle.instance() => format!(
            "{handle:?} belongs to another server than the object it was to be stored in: store a name or an address instead"
        ),
        Bounds::Reachable if handle.backend().address().is_none() => format!(
            "{handle:?} belongs to Manager::embedded() and lives in this process only: use Manager::start() to share it"
        ),
        Bounds::Server(_) | Bounds::Reachable => return meet(Ok(handle.clone())),
    };
    meet(Err(Error::ForeignProxy(refusal.clone())))?;
    Err(Error::ForeignProxy(refusal))
}

/// Keeps a proxy with the value that is being encoded, or why it can't go with it.
fn meet(proxy: Result<Handle>) -> Result<()> {
    MET.try_with(|met| met.borrow_mut().push(proxy)).map_err(|_| ending())?;
    ENCODING.with(|encoding| encoding.met.update(|met| met + 1));
    Ok(())
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

impl Encoding {
    #[inline]
    fn set(&self, bounds: Bounds, met: u32) {
        self.reach.set(match bounds {
            Bounds::Nothing => Reach::Nothing,
            Bounds::Server(instance) => {
                self.server.set(instance);
                Reach::Server
            }
            Bounds::Reachable => Reach::Reachable,
        });
        self.met.set(met);
    }

    /// Goes on with the encoding around it, if there is one; returns what this one met.
    #[cold]
    fn go_back(&self, around: Option<Box<Around>>) -> Met {
        let met = self.met.get();
        match around {
            None => self.reach.set(Reach::Nothing),
            Some(around) => self.set(around.bounds, around.met),
        }
        (met > 0).then(|| Box::new(take_met(met)))
    }

    fn bounds(&self) -> Bounds {
        match self.reach.get() {
            Reach::Nothing => Bounds::Nothing,
            Reach::Server => Bounds::Server(self.server.get()),
            Reach::Reachable => Bounds::Reachable,
        }
    }
}

/// One encoding; the one around it goes on afterwards, even if the value's `Serialize` panics.
struct EncodingScope {
    around: Option<Box<Around>>,
}

/// An encoding in which another one goes on: its value makes calls while it is written.
struct Around {
    bounds: Bounds,
    met: u32,
}

impl EncodingScope {
    #[inline]
    fn enter(bounds: Bounds) -> Self {
        ENCODING.with(|encoding| {
            let around = (encoding.reach.get() != Reach::Nothing).then(|| Box::new(Around::of(encoding)));
            encoding.set(bounds, 0);
            Self { around }
        })
    }

    /// Goes back to the one around it; returns what this encoding met.
    #[inline]
    fn leave(mut self) -> Met {
        let around = self.around.take();
        std::mem::forget(self);
        Self::go_back(around)
    }

    #[inline]
    fn go_back(around: Option<Box<Around>>) -> Met {
        ENCODING.with(|encoding| {
            if around.is_none() && encoding.met.get() == 0 {
                encoding.reach.set(Reach::Nothing);
                return None;
            }
            encoding.go_back(around)
        })
    }
}

impl Drop for EncodingScope {
    #[inline]
    fn drop(&mut self) {
        // What it met is dropped when nothing is borrowed: giving a reference back may free an object and run a job.
        Self::go_back(self.around.take());
    }
}

impl Around {
    #[cold]
    fn of(encoding: &Encoding) -> Self {
        Self {
            bounds: encoding.bounds(),
            met: encoding.met.get(),
        }
    }
}

/// Takes so many proxies from the end of what was met.
#[cold]
fn take_met(count: u32) -> Proxies {
    let taken = MET.try_with(|met| {
        let mut met = met.borrow_mut();
        let before = met.len().saturating_sub(count as usize);
        let taken = met.split_off(before);
        // One large value does not cost this thread its room for good.
        met.shrink_to(MET_KEPT);
        taken
    });
    let mut proxies = Proxies::default();
    for proxy in taken.unwrap_or_default() {
        match proxy {
            Ok(handle) => proxies.held.push(handle),
            Err(error) => {
                proxies.refused.get_or_insert_with(|| Box::new(error));
            }
        }
    }
    proxies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ListProxy, Manager};

    /// Cause: what an encoding met was cut off, and its room stayed. Symptom: a thread that once sent many proxies kept their memory to its end.
    #[test]
    fn a_value_with_many_proxies_leaves_no_room_behind() {
        let manager = Manager::embedded().unwrap();
        let list = manager.list::<u32>().unwrap();
        let lists = manager.list::<ListProxy<u32>>().unwrap();
        lists.extend(vec![list; 10_000]).unwrap();
        let (len, capacity) = MET.with_borrow(|met| (met.len(), met.capacity()));
        assert!(len == 0 && capacity <= MET_KEPT, "room for {capacity}");
    }
}
