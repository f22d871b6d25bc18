//! Faults: how a server says no, in one table of codes.

use crate::value::Value;
use std::fmt;

macro_rules! fault_codes {
    ($( #[doc = $doc:literal] $name:ident = $code:literal ),* $(,)?) => {
        /// Why a call, or a connection, was refused. Unknown codes are kept, so that an older client can still show the message.
        ///
        /// ```
        /// use byproxy_proto::fault::FaultCode;
        ///
        /// assert_eq!(FaultCode::Empty.number(), 13);
        /// assert_eq!(FaultCode::from_number(60_000), FaultCode::Unknown(60_000));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FaultCode {
            $( #[doc = $doc] $name, )*
            #[doc = "A code that this version does not know."]
            Unknown(u16),
        }

        impl FaultCode {
            /// Every known code with its number, name and meaning, in the order of the table.
            pub const ALL: &'static [(FaultCode, u16, &'static str, &'static str)] =
                &[$( (FaultCode::$name, $code, stringify!($name), $doc) ),*];

            /// The number on the wire.
            ///
            /// ```
            /// use byproxy_proto::fault::FaultCode;
            ///
            /// assert!(FaultCode::ALL.iter().all(|&(code, number, ..)| code.number() == number));
            /// ```
            pub const fn number(self) -> u16 {
                match self {
                    $( FaultCode::$name => $code, )*
                    FaultCode::Unknown(number) => number,
                }
            }

            /// The code of a number from the wire.
            ///
            /// ```
            /// use byproxy_proto::fault::FaultCode;
            ///
            /// assert_eq!(FaultCode::from_number(14), FaultCode::Full);
            /// ```
            pub const fn from_number(number: u16) -> Self {
                match number {
                    $( $code => FaultCode::$name, )*
                    _ => FaultCode::Unknown(number),
                }
            }
        }
    };
}

fault_codes! {
    /// The session has ended; nothing more will be answered.
    Gone = 1,
    /// The peer, its user or its role is not allowed to do this.
    Refused = 2,
    /// The key is wrong or missing.
    AuthFailed = 3,
    /// The two sides speak different versions of the protocol.
    Version = 4,
    /// The bytes are not what the protocol allows; the connection is closed.
    Malformed = 5,
    /// The server does not know this operation, or the object is of another kind.
    UnknownOperation = 6,
    /// An argument has the wrong type.
    BadArgument = 7,
    /// No object has this id any more.
    NoSuchObject = 8,
    /// The value holds a proxy of another server.
    ForeignProxy = 9,
    /// A value, a frame or a reply is over its limit; nothing was changed.
    TooLarge = 10,
    /// A limit on a number of things (connections, waiters, objects, bytes) is reached.
    TooMany = 11,
    /// The time to wait passed.
    Timeout = 12,
    /// The queue has no item now.
    Empty = 13,
    /// The queue has no room now.
    Full = 14,
    /// The queue was shut down.
    ShutDown = 15,
    /// An index is outside the list.
    IndexOutOfRange = 16,
    /// The dict does not have the key.
    KeyMissing = 17,
    /// The sum would leave the bounds of its type; nothing was changed.
    Overflow = 18,
    /// The stored value is of another type than the operation needs.
    WrongType = 19,
    /// Waiting would close a cycle of owned locks.
    Deadlock = 20,
    /// The operation does not fit the object's state: releasing a free lock, one `task_done` too many.
    Misuse = 21,
    /// The name belongs to an object of another kind.
    NameTaken = 22,
    /// Consumers died before they said `task_done`; the detail is how many items they owed.
    WorkerDied = 23,
    /// An operation on this object panicked before; its contents can't be trusted.
    Poisoned = 24,
    /// The server can't do this, by design or not yet.
    Unsupported = 25,
    /// The server is ending.
    ShuttingDown = 26,
}

/// A refusal: a code to act on, a message that says what to do, and for some codes a detail.
///
/// ```
/// use byproxy_proto::fault::{Fault, FaultCode};
///
/// let fault = Fault::new(FaultCode::Full, "the queue is full: get an item first");
/// assert_eq!(fault.to_string(), "the queue is full: get an item first");
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind of refusal this is.
    pub code: FaultCode,
    /// What happened and what to do about it, for a person.
    pub message: String,
    /// What the code's description promises, else None.
    pub detail: Value,
}

impl Fault {
    /// A fault without a detail.
    ///
    /// ```
    /// use byproxy_proto::fault::{Fault, FaultCode};
    /// use byproxy_proto::value::Value;
    ///
    /// let fault = Fault::new(FaultCode::TooLarge, format_args!("over the limit of {} bytes", 512));
    /// assert_eq!(fault.message, "over the limit of 512 bytes");
    /// assert_eq!(fault.detail, Value::None);
    /// ```
    pub fn new(code: FaultCode, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            detail: Value::None,
        }
    }

    /// The same fault with a detail.
    ///
    /// ```
    /// use byproxy_proto::fault::{Fault, FaultCode};
    /// use byproxy_proto::value::Value;
    ///
    /// let fault = Fault::new(FaultCode::WorkerDied, "3 items were never done").with_detail(3);
    /// assert_eq!(fault.detail, Value::from(3));
    /// ```
    #[must_use]
    pub fn with_detail(self, detail: impl Into<Value>) -> Self {
        Self {
            detail: detail.into(),
            ..self
        }
    }
}

impl From<crate::op::ArgumentError> for Fault {
    fn from(error: crate::op::ArgumentError) -> Self {
        Self::new(FaultCode::BadArgument, error)
    }
}

impl From<crate::value::DecodeError> for Fault {
    fn from(error: crate::value::DecodeError) -> Self {
        use crate::value::DecodeErrorKind;

        let code = match error.kind() {
            DecodeErrorKind::TooLarge { .. } | DecodeErrorKind::TooDeep { .. } => FaultCode::TooLarge,
            _ => FaultCode::Malformed,
        };
        Self::new(code, error)
    }
}
