//! Calls as values, and the table that declares them together with the methods.

use crate::backend::Request;
use crate::codec::{self, Read};
use crate::error::Result;
use crate::handle::Handle;
use crate::references;
use byproxy_proto::op::{Operation, Wait};
use serde::Serialize;
use std::fmt;

/// A call that has not been made yet: what to do, to which object, with arguments that are encoded already.
///
/// Whatever its arguments name stays alive with it. Make it with [`send`](Call::send) or [`Manager::call`](crate::Manager::call).
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
pub struct Call<R> {
    handle: Handle,
    operation: Operation,
    /// The arguments, or why they could not be encoded: whoever sends the call is told.
    arguments: Result<Arguments>,
    read: Read<R>,
}

struct Arguments {
    bytes: Vec<u8>,
    _held: Vec<Handle>,
}

impl<R> Call<R> {
    pub(crate) fn new<A: Serialize>(handle: &Handle, operation: Operation, arguments: &A, read: Read<R>) -> Self {
        let mut bytes = Vec::new();
        let arguments =
            references::encode(operation, arguments, &mut bytes, handle.backend().instance()).map(|held| Arguments {
                bytes,
                _held: if cfg!(canary = "call_holds_nothing") {
                    Vec::new()
                } else {
                    held
                },
            });
        Self {
            handle: handle.clone(),
            operation,
            arguments,
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
        let arguments = self.arguments?;
        let (operation, object) = (self.operation, self.handle.object());
        let request = Request {
            operation,
            object,
            arguments: &arguments.bytes,
            wait: Wait::TRY,
        };
        codec::answer(self.handle.backend(), request, self.read)
    }

    /// The server that the call goes to.
    pub(crate) fn instance(&self) -> u128 {
        self.handle.backend().instance()
    }
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} of {:?})", self.operation.name(), self.handle)
    }
}

/// Declares the calls of a proxy that do not wait: from each row, a method and the same call as a value.
///
/// A row is `fn method(arguments) -> result = Operation(what is sent) => how the reply is read;`, with the method's documentation.
macro_rules! calls {
    (
        $(#[$calls_meta:meta])*
        $calls:ident of $proxy:ident [$($type:ident),*] {$(
            $(#[$meta:meta])*
            fn $name:ident($($argument:ident: $argument_type:ty),*) -> $result:ty = $operation:ident($($sent:expr),*) => $read:expr;
        )*}
    ) => {
        impl<$($type: $crate::proxy::Element),*> $proxy<$($type),*> {
            /// The same methods as values: calls to be made later, with [`Call::send`](crate::Call::send) or
            /// [`Manager::call`](crate::Manager::call).
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
                pub fn $name(&self, $($argument: $argument_type),*) -> $crate::Result<$result> {
                    $crate::codec::call(
                        &self.handle,
                        byproxy_proto::op::Operation::$operation,
                        byproxy_proto::op::Wait::TRY,
                        &$crate::proxy::call::list!($($sent),*),
                        $read,
                    )
                }
            )*
        }

        $(#[$calls_meta])*
        #[derive(Debug)]
        pub struct $calls<'a, $($type),*> {
            proxy: &'a $proxy<$($type),*>,
        }

        impl<$($type: $crate::proxy::Element),*> $calls<'_, $($type),*> {
            $(
                #[doc = concat!("The call that [`", stringify!($proxy), "::", stringify!($name), "`] makes.\n\nLocal.")]
                pub fn $name(&self, $($argument: $argument_type),*) -> $crate::proxy::Call<$result> {
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
