//! What a queue answers besides an item: one small error for each method, with the item given back where there is one.

use crate::error::Error;
use byproxy_proto::fault::FaultCode;
use std::fmt;

macro_rules! put_errors {
    ($( $(#[$meta:meta])* $name:ident { $( #[doc = $doc:literal] $variant:ident ),* } )*) => {$(
        $(#[$meta])*
        pub enum $name<T> {
            $( #[doc = $doc] $variant(T), )*
            /// Nothing has changed: the item can't be put as it is (it has no encoding, is too large, or holds a proxy of another server), the
            /// queue or its server is gone, or as many calls wait as may.
            Refused(T, Error),
            /// Anything else that can go wrong with a call. The item is gone with it.
            Other(Error),
        }

        impl<T> $name<T> {
            pub(super) fn new(error: Error, item: impl FnOnce() -> T) -> Self {
                match error {
                    $( Error::$variant => Self::$variant(item()), )*
                    error if changed_nothing(&error) || put_nothing(&error) => Self::Refused(item(), error),
                    error => Self::Other(error),
                }
            }

            /// The item that was not put, if it came back.
            ///
            /// Local.
            ///
            /// # Examples
            ///
            /// ```
            /// use byproxy::Manager;
            ///
            /// let queue = Manager::embedded()?.queue::<u32>(1)?;
            /// queue.put(1)?;
            /// assert_eq!(queue.try_put(2).unwrap_err().into_item(), Some(2));
            /// # Ok::<(), byproxy::Error>(())
            /// ```
            pub fn into_item(self) -> Option<T> {
                match self {
                    $( Self::$variant(item) => Some(item), )*
                    Self::Refused(item, _) => Some(item),
                    Self::Other(_) => None,
                }
            }
        }

        impl<T> From<$name<T>> for Error {
            fn from(error: $name<T>) -> Self {
                match error {
                    $( $name::$variant(_) => Self::$variant, )*
                    $name::Refused(_, error) | $name::Other(error) => error,
                }
            }
        }

        impl<T> fmt::Display for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $( Self::$variant(_) => fmt::Display::fmt(&Error::$variant, f), )*
                    Self::Refused(_, error) | Self::Other(error) => fmt::Display::fmt(error, f),
                }
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl<T> std::error::Error for $name<T> {}
    )*};
}

put_errors! {
    /// Why [`QueueProxy::put`](crate::QueueProxy::put) did not put the item.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::PutError;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.shutdown()?;
    /// assert!(matches!(queue.put(7), Err(PutError::ShutDown(7))));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    PutError {
        /// The queue was shut down: no more items go in.
        ShutDown
    }

    /// Why [`QueueProxy::try_put`](crate::QueueProxy::try_put) did not put the item.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::TryPutError;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(1)?;
    /// queue.put(1)?;
    /// assert!(matches!(queue.try_put(2), Err(TryPutError::Full(2))));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    TryPutError {
        /// There is no room now.
        Full,
        /// The queue was shut down: no more items go in.
        ShutDown
    }

    /// Why [`QueueProxy::put_timeout`](crate::QueueProxy::put_timeout) did not put the item.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::PutTimeoutError;
    /// use std::time::Duration;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(1)?;
    /// queue.put(1)?;
    /// let outcome = queue.put_timeout(2, Duration::from_millis(5));
    /// assert!(matches!(outcome, Err(PutTimeoutError::Timeout(2))));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    PutTimeoutError {
        /// There was no room in all that time.
        Timeout,
        /// The queue was shut down: no more items go in.
        ShutDown
    }
}

/// Why [`QueueProxy::put_many`](crate::QueueProxy::put_many) did not put all items.
///
/// # Examples
///
/// ```
/// # let manager = byproxy::Manager::embedded()?;
/// use byproxy::PutManyError;
///
/// let queue = manager.queue::<u32>(0)?;
/// queue.shutdown()?;
/// let Err(PutManyError::ShutDown(rest)) = queue.put_many([1, 2]) else { panic!("it is shut down") };
/// assert_eq!(rest, [1, 2]);
/// # Ok::<(), byproxy::Error>(())
/// ```
pub enum PutManyError<T> {
    /// The queue was shut down before these had gone in; the ones before them are in it.
    ShutDown(Vec<T>),
    /// One of these can't be put as it is (it has no encoding, is too large, or holds a proxy of another server), or the queue is not there.
    /// None of them has gone in; the ones before them are in the queue.
    Refused(Vec<T>, Error),
    /// Anything else that can go wrong with a call. The items are gone with it.
    Other(Error),
}

impl<T> PutManyError<T> {
    pub(super) fn new(error: Error, rest: impl FnOnce() -> Vec<T>) -> Self {
        match error {
            Error::ShutDown => Self::ShutDown(rest()),
            error if changed_nothing(&error) => Self::Refused(rest(), error),
            error => Self::Other(error),
        }
    }
}

/// Whether a call was refused before anything was done with its items, however many.
fn changed_nothing(error: &Error) -> bool {
    matches!(
        error,
        Error::Encode(_) | Error::TooLarge(_) | Error::ForeignProxy(_) | Error::NoSuchObject(_) | Error::Connect { .. }
    )
}

/// Whether the one item of a call did not go in. Of several, some may have before the rest had to wait.
fn put_nothing(error: &Error) -> bool {
    // A call that was sent and lost is `OutcomeUnknown`; one that is answered by the end of its session had been waiting.
    match error {
        Error::Gone(_) => true,
        Error::Fault(fault) => fault.code == FaultCode::TooMany,
        _ => false,
    }
}

impl<T> From<PutManyError<T>> for Error {
    fn from(error: PutManyError<T>) -> Self {
        match error {
            PutManyError::ShutDown(_) => Self::ShutDown,
            PutManyError::Refused(_, error) | PutManyError::Other(error) => error,
        }
    }
}

impl<T> fmt::Display for PutManyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShutDown(rest) => write!(
                f,
                "the queue was shut down before {} of the items had gone in",
                rest.len()
            ),
            Self::Refused(_, error) | Self::Other(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<T> fmt::Debug for PutManyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> std::error::Error for PutManyError<T> {}

macro_rules! get_errors {
    ($( $(#[$meta:meta])* $name:ident { $( #[doc = $doc:literal] $variant:ident ),* } )*) => {$(
        $(#[$meta])*
        pub enum $name {
            $( #[doc = $doc] $variant, )*
            /// Anything else that can go wrong with a call. An item of another type comes back in it.
            Other(Error),
        }

        impl From<Error> for $name {
            fn from(error: Error) -> Self {
                match error {
                    $( Error::$variant => Self::$variant, )*
                    error => Self::Other(error),
                }
            }
        }

        impl From<$name> for Error {
            fn from(error: $name) -> Self {
                match error {
                    $( $name::$variant => Self::$variant, )*
                    $name::Other(error) => error,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $( Self::$variant => fmt::Display::fmt(&Error::$variant, f), )*
                    Self::Other(error) => fmt::Display::fmt(error, f),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::error::Error for $name {}
    )*};
}

get_errors! {
    /// Why [`QueueProxy::get`](crate::QueueProxy::get) or [`receive`](crate::QueueProxy::receive) has no item.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::GetError;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.shutdown()?;
    /// assert!(matches!(queue.get(), Err(GetError::ShutDown)));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    GetError {
        /// The queue was shut down and is empty: no more items come out.
        ShutDown
    }

    /// Why [`QueueProxy::try_get`](crate::QueueProxy::try_get) or [`try_receive`](crate::QueueProxy::try_receive) has no item.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::TryGetError;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    TryGetError {
        /// There is no item now.
        Empty,
        /// The queue was shut down and is empty: no more items come out.
        ShutDown
    }

    /// Why [`QueueProxy::get_timeout`](crate::QueueProxy::get_timeout) or
    /// [`receive_timeout`](crate::QueueProxy::receive_timeout) has no item.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::GetTimeoutError;
    /// use std::time::Duration;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// let outcome = queue.get_timeout(Duration::from_millis(5));
    /// assert!(matches!(outcome, Err(GetTimeoutError::Timeout)));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    GetTimeoutError {
        /// There was no item in all that time.
        Timeout,
        /// The queue was shut down and is empty: no more items come out.
        ShutDown
    }
}
