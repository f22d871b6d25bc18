//! Calls as values, and the table that declares them together with the methods.

use crate::backend::{self, Backend, Buffers, Lent, Request};
use crate::codec::{self, Read};
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::references::{self, Met};
use byproxy_proto::op::{Operation, Wait};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// A call that has not been made yet: what to do, to which object, with arguments that are encoded already.
///
/// It borrows the proxy that describes it; whatever its arguments name stays alive with it. Make it with [`send`](Call::send) or
/// [`Manager::call`](crate::Manager::call), or together with others with [`Manager::batch`](crate::Manager::batch). Calls on many proxies are
/// described when the proxies are there, in a `Vec` for example: a proxy that is made only to describe a call ends before it.
///
/// # What there are no calls of
///
/// - **What waits**: a call that waits would hold up those behind it in its batch. `try_put` is there, `put` is not.
/// - **What brings items of a queue**, `try_get` and `try_receive` included. An item is the queue's until its consumer has read it and has
///   said so, by the number of the call; and if it can't be read, it is the queue's again. To the server a batch is one call with one number,
///   so all items in it would have to become the consumer's, or go back to their queues, by the same word: one that can't be read would take
///   back with it those that were. [`get_many`](crate::QueueProxy::get_many) brings many items of one queue in one round trip, and promises
///   just that.
/// - **`try_acquire`**: the calls of a batch do not depend on each other, so those behind it would be done as well where the lock was taken,
///   and be protected by nothing. And a guard belongs to its thread, a call to none.
/// - **What is several calls**: `modify`, `modify_all`, `iter`, `concat`, `repeated`, `union`, `is_full`, `put_many`. Where a method makes
///   more than one call only sometimes, as `keys` does when the keys exceed a reply, there is the first of them, and its documentation says
///   what it leaves out.
///
/// # Examples
///
/// ```
/// use byproxy::Manager;
///
/// let manager = Manager::embedded()?;
/// let seats = manager.dict_from::<String, u32>([("G101", 7)])?;
/// let question = seats.calls().get("G101");
/// seats.insert("G101", 6)?;
/// assert_eq!(question.send()?, Some(6));
/// # Ok::<(), byproxy::Error>(())
/// ```
#[must_use = "a call does nothing until it is sent"]
pub struct Call<'a, R> {
    pub(super) envelope: Envelope<'a>,
    pub(super) read: Read<R>,
}

/// What of a call does not depend on what it returns.
pub(super) struct Envelope<'a> {
    pub(super) handle: &'a Handle,
    pub(super) operation: Operation,
    /// The arguments, or why they can't be sent: whoever makes the call is told.
    pub(super) arguments: Result<Arguments, Box<Error>>,
}

pub(super) struct Arguments {
    bytes: Packed,
    _met: Met,
}

/// How many bytes of arguments lie in the call itself: a key of some twenty bytes and a small number, so that describing such a call allocates
/// nothing. A batch writes and reads all of its calls, so room for more is not free either.
const INLINE_BYTES_MAX: usize = 30;

/// Encoded arguments.
enum Packed {
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Heap(Box<[u8]>),
}

impl Packed {
    #[inline]
    fn new(encoded: &mut backend::Arguments) -> Self {
        match encoded.short() {
            Some((len, bytes)) => Self::Inline { len, bytes },
            None => Self::Heap(encoded.value().into()),
        }
    }
}

impl Arguments {
    /// One encoded List value.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Packed::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Packed::Heap(bytes) => bytes,
        }
    }
}

impl<'a, R> Call<'a, R> {
    #[inline]
    pub(crate) fn new<A: Serialize>(handle: &'a Handle, operation: Operation, arguments: &A, read: Read<R>) -> Self {
        let mut lent = Lent::take();
        let encoded = &mut lent.buffers().arguments;
        match references::encode(operation, arguments, encoded.writer(), handle.instance()) {
            Ok(met) => Self {
                envelope: Envelope {
                    handle,
                    operation,
                    arguments: Ok(Arguments {
                        bytes: Packed::new(encoded),
                        _met: met.filter(|_| !seeded!("call_holds_nothing")),
                    }),
                },
                read,
            },
            Err(error) => Self::refused(handle, operation, error, read),
        }
    }

    /// A call that can't be made: whoever makes it is told why.
    #[cold]
    pub(crate) fn refused(handle: &'a Handle, operation: Operation, reason: Error, read: Read<R>) -> Self {
        Self {
            envelope: Envelope {
                handle,
                operation,
                arguments: Err(Box::new(reason)),
            },
            read,
        }
    }

    /// Makes the call.
    ///
    /// One round trip, as the method of the same name.
    ///
    /// # Errors
    /// Those of the method of the same name.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list::<u32>()?;
    /// list.calls().append(1).send()?;
    /// assert_eq!(list.calls().len().send()?, 1);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn send(self) -> Result<R> {
        let Envelope {
            handle,
            operation,
            arguments,
        } = self.envelope;
        let arguments = arguments.map_err(|error| *error)?;
        let mut lent = Lent::take();
        let Buffers {
            arguments: encoded,
            frames,
        } = lent.buffers();
        encoded.writer().extend_from_slice(arguments.bytes());
        let request = Request {
            operation,
            object: handle.object(),
            arguments: encoded,
            wait: Wait::TRY,
        };
        codec::answer(handle.backend(), request, frames, self.read)
    }

    /// Sees to it that the call is refused unless it is to an object of this server.
    pub(crate) fn addressed_to(mut self, instance: u128) -> Self {
        self.envelope.address_to(instance);
        self
    }
}

impl Envelope<'_> {
    /// Refuses the call unless it is to an object behind this backend.
    #[inline]
    pub(super) fn address_through(&mut self, backend: &Arc<dyn Backend>) {
        if !Arc::ptr_eq(self.handle.backend(), backend) {
            self.address_to(backend.instance());
        }
    }

    /// Refuses the call unless it is to an object of this server.
    pub(super) fn address_to(&mut self, instance: u128) {
        if self.handle.instance() != instance {
            let message = format!("{self:?} is of another server than this manager");
            self.arguments = Err(Box::new(Error::ForeignProxy(message)));
        }
    }
}

impl<R> fmt::Debug for Call<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.envelope, f)
    }
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} of {:?})", self.operation.name(), self.handle)
    }
}

/// Declares the calls of a proxy that do not wait: from each row, a method and the same call as a value.
///
/// A row is `fn method(arguments) -> result = Operation(what is sent) => how the reply is read;`, with the method's documentation. Before
/// the semicolon, `, or Outcome: how` gives the method an error of its own, made from the umbrella's; the call as a value keeps the latter.
macro_rules! calls {
    (
        $(#[$calls_meta:meta])*
        $calls:ident of $proxy:ident [$($type:ident),*] {$(
            $(#[$meta:meta])*
            fn $name:ident($($argument:ident: $argument_type:ty),*) -> $result:ty = $operation:ident($($sent:expr),*) => $read:expr $(, or $error:ty: $refused:expr)?;
        )*}
    ) => {
        impl<$($type: $crate::proxy::Element),*> $proxy<$($type),*> {
            /// The same methods as values, to be made later: with [`Call::send`](crate::Call::send),
            /// [`Manager::call`](crate::Manager::call) or, together with others, [`Manager::batch`](crate::Manager::batch).
            ///
            /// What waits, brings items of a queue or takes a lock is not among them, nor what is several calls; [`Call`](crate::Call) says
            /// why.
            ///
            /// Local.
            ///
            /// # Examples
            ///
            /// ```
            /// # let manager = byproxy::Manager::embedded()?;
            /// let list = manager.list::<u32>()?;
            /// let append = list.calls().append(7);
            /// assert_eq!(list.len()?, 0);
            /// manager.call(append)?;
            /// assert_eq!(list.len()?, 1);
            /// # Ok::<(), byproxy::Error>(())
            /// ```
            pub fn calls(&self) -> $calls<'_, $($type),*> {
                $calls { proxy: self }
            }

            $(
                $(#[$meta])*
                #[inline]
                pub fn $name(&self, $($argument: $argument_type),*) -> $crate::Result<$result $(, $error)?> {
                    let outcome = $crate::codec::call(
                        &self.handle,
                        byproxy_proto::op::Operation::$operation,
                        byproxy_proto::op::Wait::TRY,
                        &$crate::proxy::call::list!($($sent),*),
                        $read,
                    );
                    outcome$(.map_err($refused))?
                }
            )*
        }

        $(#[$calls_meta])*
        #[derive(Debug)]
        pub struct $calls<'a, $($type),*> {
            proxy: &'a $proxy<$($type),*>,
        }

        impl<'a, $($type: $crate::proxy::Element),*> $calls<'a, $($type),*> {
            $(
                #[doc = concat!("The call that [`", stringify!($proxy), "::", stringify!($name), "`] makes.\n\nLocal.")]
                #[inline]
                pub fn $name(&self, $($argument: $argument_type),*) -> $crate::proxy::Call<'a, $result> {
                    $crate::proxy::Call::new(
                        &self.proxy.handle,
                        byproxy_proto::op::Operation::$operation,
                        &$crate::proxy::call::list!($($sent),*),
                        $read,
                    )
                }
            )*
        }
    };
}

/// Arguments as one List: a tuple, except that the empty tuple would be None.
macro_rules! list {
    () => {
        [(); 0]
    };
    ($($item:expr),+) => {
        ($($item,)+)
    };
}

pub(crate) use calls;
pub(crate) use list;
