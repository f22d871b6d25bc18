//! Values: what a shared object holds and a call carries.
//!
//! A value describes itself, has exactly one encoding, and is written and read in one pass: any `T: Serialize` goes
//! straight into bytes by [`to_writer`], any `T: Deserialize` straight out by [`from_slice`]. The bytes are what
//! `postcard` makes of the enum [`Value`], but only the canonical ones are accepted: shortest integers, no needless tag.
//! So equal bytes are equal values, and bytes can be compared, hashed and kept without being decoded.
//! `proto/README.md` draws every byte.
//!
//! - [`walk`] and [`Raw::check`] accept exactly the bytes that decode to a [`Value`]: a server needs nothing else.
//! - [`Raw`] looks into checked bytes; the `write_…` functions put values together from encoded parts.
//! - [`compare`] is the one order of values; [`canonical_key`] makes equal keys equal bytes.
//!
//! Nothing here ever does more work than the bytes it is given pay for: see [`Limits`].
//!
//! How Rust types look as values: structs are dicts with their field names, tuples and sequences lists, enums their
//! variant's name or a dict of that name and the content, `()` is `None`, and `Some(x)` is `x`, marked only where `x`
//! would itself read as `None` or a marked Some. The encoding counts as human-readable in serde's sense, so an
//! `Ipv4Addr` is a string, and it supports `flatten`, `untagged`, `tag`, `skip_serializing_if`, `default` and `alias`;
//! serde's own limit remains that `i128` and `u128` cannot pass through `flatten`, `untagged` and `tag`.

mod access;
mod compound;
mod convert;
mod de;
mod error;
mod float;
mod int;
mod key;
mod limits;
mod natural;
mod order;
mod raw;
pub(crate) mod reader;
mod ser;
mod short;
pub(crate) mod tag;
mod text;
mod token;
mod walk;
mod writer;

use std::cmp::Ordering;

pub use compound::Compound;
pub use de::{Deserializer, from_slice};
pub use error::{DecodeError, DecodeErrorKind, EncodeError, Malformed};
pub use int::{Int, IntOutOfRange};
pub use key::canonical_key;
pub use limits::Limits;
pub use order::compare;
pub(crate) use raw::split_first;
pub use raw::{DictItems, ListItems, RAW_NAME, Raw, Tokens};
pub(crate) use reader::Reader;
pub use ser::{Serializer, to_vec, to_writer};
pub use text::summary;
pub use token::{Kind, TOKEN_NAME, Token};
pub use walk::{is_flat, walk};
pub(crate) use writer::{in_a_byte, in_two_bytes, varint};
pub use writer::{
    some_prefix_needed, write_bool, write_bytes, write_dict_header, write_float, write_int, write_list_header,
    write_none, write_some, write_str, write_token, write_uint,
};

/// Any value, for code that does not know its type.
///
/// Equality is that of [`compare`]: the order of a dict's pairs does not count, every NaN equals every NaN, `-0.0`
/// equals `0.0`, and `1`, `1.0` and `True` are three different values.
///
/// ```
/// use byproxy_proto::value::Value;
///
/// let train = Value::from([("number", Value::from("G101")), ("seats", Value::from(7))]);
/// assert_eq!(train.to_string(), "{'number': 'G101', 'seats': 7}");
/// ```
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing: `None`, `()`.
    None,
    /// `Some(x)` where `x` is `None` or again such a Some. Around anything else it is written, and compares, as that.
    Some(Box<Value>),
    /// A boolean.
    Bool(bool),
    /// An integer of any width.
    Int(Int),
    /// A float; an `f32` is one too.
    Float(f64),
    /// A string.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A sequence, tuple or array.
    List(Vec<Value>),
    /// A map or struct: pairs, in the order they were inserted.
    Dict(Vec<(Value, Value)>),
    /// A proxy.
    Proxy(Token),
}

impl Value {
    /// `Some(value)`: marked where it needs to be, else `value` itself.
    ///
    /// ```
    /// use byproxy_proto::value::Value;
    ///
    /// assert_eq!(Value::some(Value::from(7)), Value::from(7));
    /// assert_ne!(Value::some(Value::None), Value::None);
    /// ```
    #[must_use]
    pub fn some(value: Value) -> Value {
        match value {
            Self::None | Self::Some(_) => Self::Some(Box::new(value)),
            other => other,
        }
    }

    /// What messages call a value of this type: `str`, `list`, …
    ///
    /// ```
    /// use byproxy_proto::value::Value;
    ///
    /// assert_eq!(Value::from("G1").type_name(), "str");
    /// ```
    pub fn type_name(&self) -> &'static str {
        tag::name(match self.without_needless_some() {
            Self::None => tag::NONE,
            Self::Some(_) => tag::SOME,
            Self::Bool(_) => tag::BOOL,
            Self::Int(_) => tag::INT,
            Self::Float(_) => tag::FLOAT,
            Self::Str(_) => tag::STR,
            Self::Bytes(_) => tag::BYTES,
            Self::List(_) => tag::LIST,
            Self::Dict(_) => tag::DICT,
            Self::Proxy(_) => tag::PROXY,
        })
    }

    /// The value under this string key, if this is a dict that has it.
    ///
    /// ```
    /// use byproxy_proto::value::Value;
    ///
    /// let train = Value::from([("number", Value::from("G101")), ("seats", Value::from(7))]);
    /// assert_eq!(train.get("seats"), Some(&Value::from(7)));
    /// assert_eq!(train.get("driver"), None);
    /// ```
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Self::Dict(pairs) = self else { return None };
        pairs
            .iter()
            .find(|(k, _)| matches!(k, Self::Str(s) if s == key))
            .map(|(_, value)| value)
    }

    /// The value itself, or what is inside Somes that end in something other than `None`.
    pub(crate) fn without_needless_some(&self) -> &Value {
        let mut inner = self;
        while let Self::Some(next) = inner {
            inner = next;
        }
        if matches!(inner, Self::None) { self } else { inner }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        order::compare_values(self, other) == Ordering::Equal
    }
}
