//! What can be wrong with a value, while it is written and while it is read.
//!
//! Reading has two kinds of trouble that callers treat differently. *Malformed* bytes are no value at all: whoever sent
//! them broke the protocol. A *mismatch* is a good value of another type than the one asked for: it is the caller's
//! own business, and the error says where in the value it happened.

use std::fmt;

use serde::{de, ser};

/// A value could not be written.
///
/// ```
/// use byproxy_proto::value::{self, EncodeError, Limits};
///
/// let flat = Limits { depth: 2, ..Limits::default() };
/// assert_eq!(value::to_vec(&[[1]], &flat), Err(EncodeError::TooDeep { limit: 2 }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The encoded value grew past [`Limits::bytes`](super::Limits::bytes). `size` is what it had reached: the whole may be larger.
    #[error(
        "the value is too large: at least {size} bytes, and the limit is {limit}; split it, or keep it in several elements"
    )]
    TooLarge {
        /// Bytes needed when the limit was met.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The value nests deeper than [`Limits::depth`](super::Limits::depth).
    #[error(
        "the value nests deeper than {limit} levels: make it flatter, or keep its inner parts in objects of their own"
    )]
    TooDeep {
        /// The limit, in levels.
        limit: u32,
    },
    /// The type asked for something that has no encoding.
    #[error("cannot encode this value: {0}")]
    Unsupported(&'static str),
    /// The type's own `Serialize` refused.
    #[error("{0}")]
    Custom(String),
}

impl ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// A value could not be read: what was wrong, and where.
///
/// ```
/// use byproxy_proto::value::{self, Limits};
///
/// let bytes = value::to_vec(&vec![1u64, 2, 300], &Limits::default())?;
/// let error = value::from_slice::<Vec<u8>>(&bytes, &Limits::default()).unwrap_err();
/// assert_eq!(error.to_string(), "expected u8, found int 300 at [2]");
/// # Ok::<(), byproxy_proto::value::EncodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: DecodeErrorKind,
    /// Innermost step first: steps are added while the error travels outwards.
    path: Vec<Step>,
}

/// One step from a value to one of its parts.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Element of a list.
    Index(usize),
    /// Value of a dict, field of a struct, content of an enum variant: the key as it is shown.
    Key(String),
    /// A key itself.
    InKey(String),
}

/// What was wrong with a value that could not be read.
///
/// ```
/// use byproxy_proto::value::{self, DecodeErrorKind, Limits};
///
/// let error = value::from_slice::<bool>(&[0], &Limits::default()).unwrap_err();
/// assert!(matches!(error.kind(), DecodeErrorKind::WrongType { expected, .. } if expected.contains("bool")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// A good value of another type, or out of the type's range.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// The type asked for.
        expected: String,
        /// What stood there.
        found: String,
    },
    /// A good value that the type refused for a reason of its own: a missing field, an unknown variant, …
    #[error("{0}")]
    Refused(String),
    /// A key stands twice in a dict that is itself a key, or part of one.
    #[error("a dict used as a key holds the same key twice")]
    DuplicateKey,
    /// The value, or what it would occupy in memory, is over the limit.
    #[error("the value is too large: {size} bytes, and the limit is {limit}")]
    TooLarge {
        /// Bytes, encoded or in memory.
        size: usize,
        /// The limit that it met, in bytes.
        limit: usize,
    },
    /// The value nests deeper than the limit.
    #[error("the value nests deeper than {limit} levels")]
    TooDeep {
        /// The limit, in levels.
        limit: u32,
    },
    /// The bytes are no value in canonical form.
    #[error("malformed value: {0}")]
    Malformed(Malformed),
}

/// How bytes fail to be a value in canonical form.
///
/// ```
/// use byproxy_proto::value::{DecodeErrorKind, Limits, Malformed, Raw};
///
/// let error = Raw::check(&[2, 7], &Limits::default()).unwrap_err();
/// assert_eq!(error.kind(), &DecodeErrorKind::Malformed(Malformed::Bool(7)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes end inside the value, or it announces more elements than bytes are left.
    #[error("cut short")]
    CutShort,
    /// Bytes follow where the value should have been the last.
    #[error("{0} bytes follow it")]
    Trailing(usize),
    /// The tag byte has no meaning.
    #[error("tag {0} is reserved")]
    Tag(u8),
    /// A boolean byte is neither 0 nor 1.
    #[error("boolean byte {0}")]
    Bool(u8),
    /// An integer is longer than it needs to be, or too large for its field.
    #[error("over-long or oversized varint")]
    Varint,
    /// The integer is written as minus zero, or is below −2^127.
    #[error("integer out of range (minus zero, or below -2**127)")]
    IntRange,
    /// A string is not UTF-8.
    #[error("string is not UTF-8")]
    Utf8,
    /// The tag Some stands before something other than None or Some.
    #[error("Some before a value that needs none")]
    NeedlessSome,
}

impl DecodeError {
    /// What was wrong.
    ///
    /// ```
    /// use byproxy_proto::value::{DecodeErrorKind, Limits, Malformed, Raw};
    ///
    /// let error = Raw::check(&[5, 9, b'G'], &Limits::default()).unwrap_err();
    /// assert_eq!(error.kind(), &DecodeErrorKind::Malformed(Malformed::CutShort));
    /// ```
    pub fn kind(&self) -> &DecodeErrorKind {
        &self.0.kind
    }

    /// Where, seen from the outermost value: `[3].price`; empty when it is that value itself.
    ///
    /// ```
    /// use byproxy_proto::value::{self, Limits, Value};
    ///
    /// let trains = Value::from([("G1", Value::from(7)), ("G2", Value::from("seven"))]);
    /// let error = trains.to::<std::collections::BTreeMap<String, u32>>().unwrap_err();
    /// assert_eq!(error.path(), ".G2");
    /// ```
    pub fn path(&self) -> String {
        self.0.path.iter().rev().map(ToString::to_string).collect()
    }

    /// Whether the bytes were no acceptable value at all (as opposed to a value of another type than the one asked for).
    ///
    /// ```
    /// use byproxy_proto::value::{self, Limits};
    ///
    /// let text = value::to_vec("G1", &Limits::default())?;
    /// assert!(!value::from_slice::<u32>(&text, &Limits::default()).unwrap_err().is_malformed());
    /// assert!(value::from_slice::<u32>(b"garbage", &Limits::default()).unwrap_err().is_malformed());
    /// # Ok::<(), value::EncodeError>(())
    /// ```
    pub fn is_malformed(&self) -> bool {
        use DecodeErrorKind::{Malformed, TooDeep, TooLarge};
        matches!(self.kind(), Malformed(_) | TooDeep { .. } | TooLarge { .. })
    }

    #[cold]
    pub(crate) fn wrong_type(expected: impl Into<String>, found: impl Into<String>) -> Self {
        DecodeErrorKind::WrongType {
            expected: expected.into(),
            found: found.into(),
        }
        .into()
    }

    /// The same error, one step further out.
    #[cold]
    pub(crate) fn within(mut self, step: Step) -> Self {
        self.0.path.push(step);
        self
    }
}

impl From<DecodeErrorKind> for DecodeError {
    #[cold]
    fn from(kind: DecodeErrorKind) -> Self {
        Self(Box::new(Inner { kind, path: Vec::new() }))
    }
}

impl From<Malformed> for DecodeError {
    #[cold]
    fn from(malformed: Malformed) -> Self {
        DecodeErrorKind::Malformed(malformed).into()
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        if !self.0.path.is_empty() {
            write!(f, " at {}", self.path())?;
        }
        Ok(())
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodeError({:?} at {:?})", self.kind(), self.path())
    }
}

impl std::error::Error for DecodeError {}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Key(key) => write!(f, "{key}"),
            Self::InKey(key) => write!(f, ".<key {key}>"),
        }
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DecodeErrorKind::Refused(message.to_string()).into()
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::wrong_type(expected.to_string(), type_of(found))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::wrong_type(expected.to_string(), value_of(found))
    }
}

/// The type serde found, in this encoding's words.
fn type_of(found: de::Unexpected<'_>) -> String {
    use de::Unexpected as U;
    match found {
        U::Bool(_) => "bool".into(),
        U::Unsigned(_) | U::Signed(_) => "int".into(),
        U::Float(_) => "float".into(),
        U::Char(_) | U::Str(_) => "str".into(),
        U::Bytes(_) => "bytes".into(),
        U::Unit | U::Option => "None".into(),
        U::Seq | U::TupleVariant => "list".into(),
        U::Map | U::StructVariant => "dict".into(),
        U::NewtypeStruct => "proxy".into(),
        other => other.to_string(),
    }
}

/// The value serde found, in this encoding's words; long strings are not repeated.
fn value_of(found: de::Unexpected<'_>) -> String {
    use de::Unexpected as U;
    match found {
        U::Bool(b) => format!("bool {b}"),
        U::Unsigned(n) => format!("int {n}"),
        U::Signed(n) => format!("int {n}"),
        U::Float(x) => format!("float {x:?}"),
        U::Char(c) => format!("str {c:?}"),
        U::Str(s) if s.len() <= 40 => format!("str {s:?}"),
        other => type_of(other),
    }
}
