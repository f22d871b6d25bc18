//! A proxy inside a value.
//!
//! A token names one object of one server. Equal objects have equal tokens and so equal bytes. Whoever reads a token
//! owns nothing by that alone: references are counted by calls and replies, outside the value.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::Malformed;
use super::reader::Reader;
use super::writer;

/// The name under which a token travels through serde, as a newtype struct: this crate's [`Serializer`](super::Serializer)
/// writes such a struct as a proxy, and its [`Deserializer`](super::Deserializer) demands a proxy for it.
///
/// In any other human-readable format a token is a short sequence of bytes that means nothing and reads back as nothing.
pub const TOKEN_NAME: &str = "$byproxy::value::Token";

/// Which object of which server a proxy stands for.
///
/// ```
/// use byproxy_proto::value::{Kind, Limits, Raw, Token, to_vec};
///
/// let queue = Token { instance: 1, object: 300, kind: Kind::QUEUE };
/// let bytes = to_vec(&("queue", queue), &Limits::default())?;
/// assert_eq!(Raw::assume_checked(&bytes).tokens().next(), Some(queue));
/// # Ok::<(), byproxy_proto::value::EncodeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The server, as it named itself at random when it started.
    pub instance: u128,
    /// The object; a server never uses an id twice.
    pub object: u64,
    /// What the object is.
    pub kind: Kind,
}

/// What kind of object a token names.
///
/// Every byte is a kind, so that a value that holds a proxy of a later version passes through an older one unharmed.
///
/// ```
/// use byproxy_proto::value::Kind;
///
/// assert_eq!(Kind(3), Kind::QUEUE);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// A list.
    pub const LIST: Kind = Kind(1);
    /// A dict.
    pub const DICT: Kind = Kind(2);
    /// A queue.
    pub const QUEUE: Kind = Kind(3);
    /// A lock.
    pub const LOCK: Kind = Kind(4);
    /// Shared memory that the server keeps a descriptor of.
    pub const MEMORY: Kind = Kind(5);

    /// The kind's name, `None` for one this version does not know.
    ///
    /// ```
    /// use byproxy_proto::value::Kind;
    ///
    /// assert_eq!(Kind::QUEUE.name(), Some("queue"));
    /// assert_eq!(Kind(200).name(), None);
    /// ```
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::LIST => Some("list"),
            Self::DICT => Some("dict"),
            Self::QUEUE => Some("queue"),
            Self::LOCK => Some("lock"),
            Self::MEMORY => Some("memory"),
            _ => None,
        }
    }
}

/// The longest body: 19 bytes of instance, 10 of object, 1 of kind.
const BODY_SIZE_MAX: usize = 30;

impl Token {
    /// Appends the token without its tag.
    #[inline]
    pub(crate) fn write_body(self, out: &mut Vec<u8>) {
        writer::varint_wide(out, self.instance);
        writer::varint(out, self.object);
        out.push(self.kind.0);
    }

    /// Reads a token without its tag.
    #[inline]
    pub(crate) fn read_body(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let instance = reader.varint_wide()?;
        let object = reader.varint()?;
        let kind = Kind(reader.byte()?);
        Ok(Self { instance, object, kind })
    }

    /// Reads a token that is all of `body`.
    pub(crate) fn from_body(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let token = Self::read_body(&mut reader).ok()?;
        reader.rest.is_empty().then_some(token)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind {}", self.0),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({self})")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} #{}>", self.kind, self.object)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(<{} #{} of {:032x}>)", self.kind, self.object, self.instance)
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let mut body = Vec::with_capacity(BODY_SIZE_MAX);
            self.write_body(&mut body);
            return serializer.serialize_newtype_struct(TOKEN_NAME, &Body(&body));
        }
        let mut tuple = serializer.serialize_tuple(3)?;
        tuple.serialize_element(&self.instance)?;
        tuple.serialize_element(&self.object)?;
        tuple.serialize_element(&self.kind.0)?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_newtype_struct(TOKEN_NAME, TokenVisitor);
        }
        let (instance, object, kind) = Deserialize::deserialize(deserializer)?;
        Ok(Self {
            instance,
            object,
            kind: Kind(kind),
        })
    }
}

/// The content of the newtype struct: the body, as bytes.
struct Body<'a>(&'a [u8]);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Takes the newtype struct, then (as its own content's visitor) the bytes in it.
pub(crate) struct TokenVisitor;

impl<'de> Visitor<'de> for TokenVisitor {
    type Value = Token;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a proxy")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Token, D::Error> {
        deserializer.deserialize_bytes(self)
    }

    fn visit_bytes<E: de::Error>(self, body: &[u8]) -> Result<Token, E> {
        Token::from_body(body).ok_or_else(|| E::invalid_type(Unexpected::Bytes(body), &self))
    }
}
