//! Between typed values and the bytes of calls.
//!
//! Arguments are encoded into a buffer of the calling thread, sized and checked before anything is sent. Replies are read by a [`Read`]
//! from borrowed bytes. What a proxy inside a value means on either way is [`references`](crate::references)' business; a value of
//! another type than asked for comes back to the caller as [`Returned`].

use crate::backend::{Answer, Backend, Buffers, Frames, Lent, Request};
use crate::error::{Error, Result, WrongType};
use crate::handle::Handle;
use crate::references::{self, Adopting};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{Operation, RESULT_LEVELS_MAX, Wait};
use byproxy_proto::value::{self, DecodeError, DecodeErrorKind, Limits, Raw, Value, some_prefix_needed};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// What is read of a result.
const RESULT_LIMITS: Limits = Limits {
    depth: Limits::DEFAULT.depth + RESULT_LEVELS_MAX,
    ..Limits::DEFAULT
};

/// The longest value that an error shows in full, in bytes.
const SHOWN_BYTES_MAX: usize = 1024;

/// What came of reading a reply. A small value and a pointer are returned in registers, where an [`Error`] would go through memory.
pub(crate) type Reading<R> = Result<R, Box<Error>>;

/// How a reply's value is read.
pub(crate) type Read<R> = fn(&[u8]) -> Reading<R>;

/// Encodes arguments, makes the call, and reads its reply.
#[inline]
pub(crate) fn call<A, R>(
    handle: &Handle,
    operation: Operation,
    wait: Wait,
    arguments: &A,
    read: impl Fn(&[u8]) -> Reading<R>,
) -> Result<R>
where
    A: Serialize + ?Sized,
{
    let target = (handle.backend(), handle.instance(), handle.object());
    call_target(target, operation, wait, arguments, read)
}

/// The same for an object that there is no handle for, such as the server itself.
#[inline]
pub(crate) fn call_object<A, R>(
    backend: &Arc<dyn Backend>,
    operation: Operation,
    object: u64,
    wait: Wait,
    arguments: &A,
    read: impl Fn(&[u8]) -> Reading<R>,
) -> Result<R>
where
    A: Serialize + ?Sized,
{
    let target = (backend, backend.instance(), object);
    call_target(target, operation, wait, arguments, read)
}

/// The same, where the backend's number is known.
#[inline]
fn call_target<A, R>(
    (backend, instance, object): (&Arc<dyn Backend>, u128, u64),
    operation: Operation,
    wait: Wait,
    arguments: &A,
    read: impl Fn(&[u8]) -> Reading<R>,
) -> Result<R>
where
    A: Serialize + ?Sized,
{
    let mut lent = Lent::take();
    let Buffers {
        arguments: encoded,
        frames,
    } = lent.buffers();
    let met = references::encode(operation, arguments, encoded.writer(), instance)?;
    let request = Request {
        operation,
        object,
        arguments: encoded,
        wait,
    };
    match met {
        None => answer(backend, request, frames, read),
        // What the arguments name is held until the reply is there.
        Some(met) => references::holding(met, || answer(backend, request, frames, read)),
    }
}

/// Makes a call whose arguments are encoded already, and reads its reply.
#[expect(
    clippy::inline_always,
    reason = "it stands twice in `call_target`, and only what holds proxies goes the other way"
)]
#[inline(always)]
pub(crate) fn answer<R>(
    backend: &Arc<dyn Backend>,
    request: Request<'_>,
    frames: &mut Frames,
    read: impl Fn(&[u8]) -> Reading<R>,
) -> Result<R> {
    let (mut value, mut unread) = (None, None);
    backend.call(request, frames, &mut |answer: Answer<'_>| {
        let _adopting = Adopting::enter(backend, answer.handed);
        match read(answer.result) {
            Ok(read) => {
                value = Some(read);
                true
            }
            Err(error) => !loses_value(unread.insert(*error)),
        }
    })?;
    match value {
        Some(value) => Ok(value),
        None => Err(unread.unwrap_or_else(unanswered)),
    }
}

#[cold]
pub(crate) fn unanswered() -> Error {
    Error::Gone("the call ended without an answer".to_owned())
}

/// Reads a reply whose value says nothing.
#[expect(clippy::unnecessary_wraps, reason = "it is one of the ways to read a reply")]
pub(crate) fn nothing(_: &[u8]) -> Reading<()> {
    Ok(())
}

/// Reads a reply that is the value itself.
#[inline]
pub(crate) fn value<T: DeserializeOwned>(bytes: &[u8]) -> Reading<T> {
    value::from_slice(bytes, &RESULT_LIMITS).map_err(|error| unread(error, bytes).into())
}

/// Reads a reply that is a value or None; a value that can't be read comes back without the Some around it.
#[inline]
pub(crate) fn option<T: DeserializeOwned>(bytes: &[u8]) -> Reading<Option<T>> {
    content(bytes).map(self::value).transpose()
}

/// Reads a reply that is a number, and tells whether it is zero.
#[inline]
pub(crate) fn is_zero(bytes: &[u8]) -> Reading<bool> {
    Ok(value::<u64>(bytes)? == 0)
}

/// The bytes inside an optional value, if it is not None.
#[inline]
pub(crate) fn content(bytes: &[u8]) -> Option<&[u8]> {
    if Raw::assume_checked(bytes).is_none() {
        return None;
    }
    // What begins with None or a Some stands behind the Some that this is.
    Some(if some_prefix_needed(bytes) {
        bytes.get(1..).unwrap_or_default()
    } else {
        bytes
    })
}

/// Reads a reply that may be anything.
pub(crate) fn any(bytes: &[u8]) -> Reading<Returned> {
    let value = value::from_slice(bytes, &RESULT_LIMITS).map_err(unreadable)?;
    Ok(Returned {
        value,
        bytes: bytes.to_vec(),
        held: if seeded!("returned_holds_nothing") {
            Vec::new()
        } else {
            references::adopted()
        },
    })
}

/// Reads a List item by item: one that can't be read does not spoil the others.
pub(crate) fn items<T: DeserializeOwned>(bytes: &[u8]) -> Reading<Vec<Result<T>>> {
    let items = checked(bytes)?
        .list_items()
        .ok_or_else(|| unexpected("a list", bytes))?;
    Ok(items.map(|item| Ok(self::value(item.bytes())?)).collect())
}

/// Reads a Dict pair by pair.
pub(crate) fn pairs<K: DeserializeOwned, V: DeserializeOwned>(bytes: &[u8]) -> Reading<Vec<Result<(K, V)>>> {
    let pairs = checked(bytes)?
        .dict_items()
        .ok_or_else(|| unexpected("a dict", bytes))?;
    Ok(pairs
        .map(|(key, value)| Ok((self::value(key.bytes())?, self::value(value.bytes())?)))
        .collect())
}

/// Reads a reply that is the value itself, and keeps its bytes for a comparison on the server.
pub(crate) fn seen<T: DeserializeOwned>(bytes: &[u8]) -> Reading<Seen<T>> {
    Ok(Seen {
        value: self::value(bytes)?,
        bytes: bytes.to_vec(),
        _held: references::adopted(),
    })
}

/// A value as it was read. A comparison on the server must see these bytes: a fresh encoding may differ, for types whose own order is
/// random.
pub(crate) struct Seen<T> {
    pub(crate) value: T,
    pub(crate) bytes: Vec<u8>,
    /// What the bytes name stays alive as long as they do.
    _held: Vec<Handle>,
}

/// A whole Dict, read into its pairs.
struct Pairs<K, V>(Vec<(K, V)>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Pairs<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for InOrder<K, V> {
            type Value = Vec<(K, V)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dict")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // The server's word on how many there are is not worth more than a page of memory.
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(0).min(4096));
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(InOrder(PhantomData)).map(Self)
    }
}

/// Reads a whole Dict into its pairs, in order.
pub(crate) fn all_pairs<K: DeserializeOwned, V: DeserializeOwned>(bytes: &[u8]) -> Reading<Vec<(K, V)>> {
    Ok(value::<Pairs<K, V>>(bytes)?.0)
}

/// The parts of a reply that is a List of exactly so many.
pub(crate) fn parts<const N: usize>(bytes: &[u8]) -> Reading<[&[u8]; N]> {
    let items = checked(bytes)?
        .list_items()
        .ok_or_else(|| unexpected("a list", bytes))?;
    let parts: Vec<&[u8]> = items.map(Raw::bytes).collect();
    let parts = parts.try_into();
    parts.map_err(|_| unexpected("another number of parts", bytes).into())
}

/// The number in a fault's detail, zero if there is none.
pub(crate) fn count_in(detail: &Value) -> u64 {
    match detail {
        Value::Int(int) => u64::try_from(*int).unwrap_or(0),
        _ => 0,
    }
}

/// A value that was not of the type asked for, with the references it holds kept alive.
///
/// It is a [`Value`] to look at, prints as one, and can be read as its right type.
///
/// # Examples
///
/// ```
/// use byproxy::{Error, Manager, Value};
///
/// let manager = Manager::embedded()?;
/// manager.list_named::<String>("names")?.append("Ada")?;
/// let numbers = manager.list_named::<u32>("names")?;
/// let Err(Error::WrongType(wrong)) = numbers.pop() else { panic!("a name is no number") };
/// let returned = wrong.into_returned();
/// assert_eq!(returned.to_string(), "'Ada'");
/// assert_eq!(returned.decode::<String>()?, "Ada");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Returned {
    value: Value,
    bytes: Vec<u8>,
    held: Vec<Handle>,
}

impl Returned {
    /// Reads the value as another type. It stays here, so that this can be tried again.
    ///
    /// Local, unless the type holds proxies.
    ///
    /// # Errors
    /// [`Error::WrongType`] with the same value, if it is not of this type either.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Error, Value};
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let names = manager.list_from::<String>(["Ada"])?;
    /// let Err(Error::WrongType(wrong)) = names.cast::<u32>().pop() else { panic!("a name is no number") };
    /// assert_eq!(wrong.returned().decode::<String>()?, "Ada");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        let _adopting = Adopting::offer(self.held.iter().cloned());
        Ok(self::value(&self.bytes)?)
    }

    /// The value for a message, which is to be short.
    pub(crate) fn shortened(&self) -> String {
        if self.bytes.len() <= SHOWN_BYTES_MAX {
            self.value.to_string()
        } else {
            value::summary(&self.bytes)
        }
    }

    /// The value alone. The references it holds are let go.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Error, Value};
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let names = manager.list_from::<String>(["Ada"])?;
    /// let Err(Error::WrongType(wrong)) = names.cast::<u32>().pop() else { panic!("a name is no number") };
    /// assert_eq!(wrong.into_returned().into_value(), Value::from("Ada"));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn into_value(self) -> Value {
        self.value
    }
}

impl Deref for Returned {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.value, f)
    }
}

impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.value, f)
    }
}

/// The error of bytes that are not the type asked for, or no value at all.
#[cold]
fn unread(error: DecodeError, bytes: &[u8]) -> Error {
    match error.kind() {
        // Decoded it would occupy more than one value may: a part of it at a time does not.
        DecodeErrorKind::TooLarge { .. } => return Error::TooLarge(error.to_string()),
        _ if error.is_malformed() => return malformed(error),
        _ => {}
    }
    match any(bytes) {
        Ok(returned) => Error::WrongType(Box::new(WrongType::new(error, returned))),
        Err(error) => *error,
    }
}

/// Whether an error of reading says nothing of what was read, so that whoever gets it must not have taken it either.
#[cold]
fn loses_value(error: &Error) -> bool {
    !matches!(error, Error::WrongType(_)) && !seeded!("unread_is_taken")
}

/// The error of bytes that can't even be read as any value.
#[cold]
fn unreadable(error: DecodeError) -> Error {
    match error.kind() {
        // Decoded it would occupy more than one value may: a part of it at a time does not.
        DecodeErrorKind::TooLarge { .. } => Error::TooLarge(error.to_string()),
        _ => malformed(error),
    }
}

#[cold]
fn unexpected(what: &str, bytes: &[u8]) -> Error {
    malformed(format_args!(
        "the server answered with {} bytes where {what} was due",
        bytes.len()
    ))
}

#[cold]
pub(crate) fn malformed(reason: impl fmt::Display) -> Error {
    Error::Fault(Fault::new(FaultCode::Malformed, reason).into())
}

fn checked(bytes: &[u8]) -> Result<Raw<'_>> {
    Raw::check(bytes, &RESULT_LIMITS).map_err(malformed)
}
