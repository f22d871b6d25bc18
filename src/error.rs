//! What can go wrong, as callers see it.
//!
//! [`Error`] is the umbrella that any call may return. Where an outcome is part of a method's ordinary control flow, the method has a
//! small error of its own that gives the value back (such as [`TryPutError`](crate::TryPutError)), and converts into the umbrella.

use crate::codec::Returned;
use crate::process::{ChildFailed, SpawnError, StillRuns};
use byproxy_proto::address::{Address, AddressError};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{DecodeError, EncodeError, Value};
use std::fmt;
use std::io;

/// The result of a call, with the umbrella error unless said otherwise.
///
/// # Examples
///
/// ```
/// fn seats_left(train: &str) -> byproxy::Result<Option<u32>> {
///     let seats = byproxy::Manager::embedded()?.dict_from::<String, u32>([("G1", 7)])?;
///     seats.get(train)
/// }
/// assert_eq!(seats_left("G1")?, Some(7));
/// # Ok::<(), byproxy::Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Its `Debug` form is its message, so that `fn main() -> byproxy::Result<()>` reads well.
///
/// # Examples
///
/// ```
/// use byproxy::{Error, Manager};
///
/// let manager = Manager::embedded()?;
/// let tickets = manager.list_from::<u32>([3, 1, 2])?;
/// assert!(matches!(tickets.get(7), Err(Error::IndexOutOfRange(_))));
/// # Ok::<(), Error>(())
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server, or this process's session with it, has ended. Nothing on it works any more; make a new manager.
    #[error("the server is gone: {0}; connect again or make a new manager")]
    Gone(String),
    /// The call changed something and the connection ended before its reply: it may or may not have happened. It was tried once.
    #[error(
        "the connection ended before the reply, so {operation} may or may not have happened: {reason}; look at the object before you \
         repeat it"
    )]
    OutcomeUnknown {
        /// The call's name.
        operation: &'static str,
        /// How the connection ended.
        reason: String,
    },
    /// Nothing listens at the address, or it can't be reached.
    #[error("can't connect to {address}: {source}{}", hint(address, source))]
    Connect {
        /// The address that was tried.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The text is not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The peer, its user or its role may not do this.
    #[error("refused: {0}")]
    Refused(String),
    /// The key is wrong or missing.
    #[error("the key was not accepted: {0}")]
    AuthFailed(String),
    /// The time to wait passed.
    #[error("the time to wait passed")]
    Timeout,
    /// The queue has no item now.
    #[error("the queue is empty")]
    Empty,
    /// The queue has no room now.
    #[error("the queue is full")]
    Full,
    /// The queue was shut down.
    #[error("the queue is shut down")]
    ShutDown,
    /// No object has this id any more: it was freed, or its server restarted.
    #[error("no such object: {0}")]
    NoSuchObject(String),
    /// An index is outside the list.
    #[error("{0}")]
    IndexOutOfRange(String),
    /// The dict does not have the key that the operation needs.
    #[error("{0}")]
    KeyMissing(String),
    /// The sum would leave the bounds of its type; nothing was changed.
    #[error("{0}")]
    Overflow(String),
    /// The value is of another type than asked for. It comes back, so that nothing is lost.
    #[error("{0}")]
    WrongType(Box<WrongType>),
    /// The argument can't be written as a value; nothing was sent.
    #[error("the argument can't be sent: {0}")]
    Encode(EncodeError),
    /// A value, frame or reply is over its limit; nothing was changed.
    #[error("{0}")]
    TooLarge(String),
    /// The value holds a proxy of another server; only objects of this server can be stored in it.
    #[error("{0}")]
    ForeignProxy(String),
    /// The container changed while it was being iterated over, so that items could be missed or seen twice.
    #[error("the {0} changed while it was being iterated over: take a snapshot with items(), or start again")]
    Changed(&'static str),
    /// Waiting would have closed a cycle of owned locks.
    #[error("{0}")]
    Deadlock(String),
    /// Consumers died before they said `task_done` for this many items.
    #[error(
        "consumers died before they called task_done for {0} items; put those again if need be, and call task_done for each of them"
    )]
    WorkerDied(u64),
    /// The operation does not fit the object's state: releasing a free lock, one `task_done` too many, closing a process that runs.
    #[error("{0}")]
    Misuse(String),
    /// A setting of a builder makes no sense. Nothing was started, and nobody was connected to.
    #[error("{0}")]
    Setting(String),
    /// The name belongs to an object of another kind.
    #[error("{0}")]
    NameTaken(String),
    /// Any other answer of the server to a request that it will not or can't serve.
    #[error("{0}")]
    Fault(Box<Fault>),
    /// The process was not prepared for starting others.
    #[error(
        "this process can't start others: call byproxy::init() as the first line of main (in tests: put byproxy::test_support!(); \
         into the test crate)"
    )]
    InitMissing,
    /// A process could not be started.
    #[error(transparent)]
    Spawn(Box<SpawnError>),
    /// A process ended badly.
    #[error(transparent)]
    ChildFailed(Box<ChildFailed>),
    /// The system refused something.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

// Every result of a call, and of a batch each, has room for one.
const _: () = assert!(size_of::<Error>() <= 48);

/// A value of another type than the caller asked for: what was found, where, and the value itself.
///
/// # Examples
///
/// ```
/// use byproxy::{DictProxy, Error, Manager};
///
/// let manager = Manager::embedded()?;
/// manager.dict_named::<String, u32>("seats")?.insert("G101", 7)?;
/// // Someone else takes the values for strings.
/// let seats: DictProxy<String, String> = manager.dict_named("seats")?;
/// let Err(Error::WrongType(wrong)) = seats.pop("G101") else { panic!("a number is no string") };
/// assert_eq!(wrong.returned().decode::<u32>()?, 7);
/// # Ok::<(), Error>(())
/// ```
pub struct WrongType {
    error: DecodeError,
    returned: Returned,
}

impl WrongType {
    pub(crate) fn new(error: DecodeError, returned: Returned) -> Self {
        Self { error, returned }
    }

    /// What was expected, what was found, and where in the value.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Error;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let names = manager.list_from::<String>(["Ada"])?;
    /// let Err(Error::WrongType(wrong)) = names.cast::<u32>().pop() else { panic!("a name is no number") };
    /// assert!(wrong.reason().to_string().starts_with("expected u32"));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn reason(&self) -> &DecodeError {
        &self.error
    }

    /// The value as it came, with the references it holds kept alive.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Error;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let names = manager.list_from::<String>(["Ada"])?;
    /// let Err(Error::WrongType(wrong)) = names.cast::<u32>().pop() else { panic!("a name is no number") };
    /// assert_eq!(wrong.returned().type_name(), "str");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn returned(&self) -> &Returned {
        &self.returned
    }

    /// The value itself, to keep; see [`Returned::decode`] for reading it as its right type.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Error;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let names = manager.list_from::<String>(["Ada"])?;
    /// let Err(Error::WrongType(wrong)) = names.cast::<u32>().pop() else { panic!("a name is no number") };
    /// let returned = wrong.into_returned();
    /// assert_eq!(returned.decode::<String>()?, "Ada");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn into_returned(self) -> Returned {
        self.returned
    }
}

impl fmt::Display for WrongType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "wrong type: {}; the value was {} (returned() gives it back, cast() opens the object as another type)",
            self.error,
            self.returned.shortened()
        )
    }
}

impl fmt::Debug for WrongType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for WrongType {}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What helps where nobody listens. Whoever refused us, or is no server of ours, is there already.
fn hint(address: &Address, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!(" (is the server running? start one with `byproxy serve --listen {address}`)")
        }
        _ => String::new(),
    }
}

impl From<SpawnError> for Error {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::InitMissing => Self::InitMissing,
            error => Self::Spawn(Box::new(error)),
        }
    }
}

impl From<ChildFailed> for Error {
    fn from(failed: ChildFailed) -> Self {
        Self::ChildFailed(Box::new(failed))
    }
}

impl From<StillRuns> for Error {
    fn from(error: StillRuns) -> Self {
        Self::Misuse(error.to_string())
    }
}

impl From<Box<Self>> for Error {
    fn from(error: Box<Self>) -> Self {
        *error
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::from_fault(fault)
    }
}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { .. } => Self::TooLarge(error.to_string()),
            error => Self::Encode(error),
        }
    }
}

impl Error {
    /// What a call answers that was in a frame with others, when this came of the frame.
    pub(crate) fn of_one(&self, operation: Operation) -> Self {
        let again = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
        match self {
            Self::OutcomeUnknown { reason, .. } if operation.outlives_session() => Self::OutcomeUnknown {
                operation: operation.name(),
                reason: reason.clone(),
            },
            Self::OutcomeUnknown { reason, .. } | Self::Gone(reason) => Self::Gone(reason.clone()),
            Self::TooLarge(message) => Self::TooLarge(message.clone()),
            Self::Fault(fault) => Self::Fault(fault.clone()),
            Self::Connect { address, source } => Self::Connect {
                address: address.clone(),
                source: again(source),
            },
            Self::Io { context, source } => Self::Io {
                context,
                source: again(source),
            },
            other => Self::Refused(other.to_string()),
        }
    }

    /// The error of a fault: the codes that callers act on have variants of their own.
    pub(crate) fn from_fault(fault: Fault) -> Self {
        match fault.code {
            FaultCode::Gone | FaultCode::ShuttingDown => Self::Gone(fault.message),
            FaultCode::Refused => Self::Refused(fault.message),
            FaultCode::AuthFailed => Self::AuthFailed(fault.message),
            FaultCode::Timeout => Self::Timeout,
            FaultCode::Empty => Self::Empty,
            FaultCode::Full => Self::Full,
            // With a number it is about several items, of which so many were put: only their caller knows what that means.
            FaultCode::ShutDown if fault.detail == Value::None => Self::ShutDown,
            FaultCode::NoSuchObject => Self::NoSuchObject(fault.message),
            FaultCode::IndexOutOfRange => Self::IndexOutOfRange(fault.message),
            FaultCode::KeyMissing => Self::KeyMissing(fault.message),
            FaultCode::Overflow => Self::Overflow(fault.message),
            FaultCode::TooLarge => Self::TooLarge(fault.message),
            FaultCode::ForeignProxy => Self::ForeignProxy(fault.message),
            FaultCode::Deadlock => Self::Deadlock(fault.message),
            FaultCode::WorkerDied => Self::WorkerDied(crate::codec::count_in(&fault.detail)),
            FaultCode::Misuse => Self::Misuse(fault.message),
            FaultCode::NameTaken => Self::NameTaken(fault.message),
            _ => Self::Fault(Box::new(fault)),
        }
    }
}
