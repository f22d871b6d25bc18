//! [`Value`] in serde: how it is written to, and read from, any format.
//!
//! In a human-readable format, ours included, a value stands for itself: a list is a sequence, `5` is a number. In
//! another (postcard) it is the enum that its declaration says, so `postcard::to_allocvec(&value)` gives this encoding.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::int::Narrow;
use super::token::{Token, TokenVisitor};
use super::{Int, Limits, Value, tag};

const ENUM: &str = "Value";
const VARIANTS: &[&str] = &[
    "None", "Some", "Bool", "Int", "Float", "Str", "Bytes", "List", "Dict", "Proxy",
];

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.without_needless_some();
        if serializer.is_human_readable() {
            natural(value, serializer)
        } else {
            tagged(value, serializer)
        }
    }
}

fn natural<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Value::None => serializer.serialize_unit(),
        Value::Some(inner) => serializer.serialize_some(inner),
        Value::Bool(value) => serializer.serialize_bool(*value),
        Value::Int(value) => match value.narrowest() {
            Narrow::U64(value) => serializer.serialize_u64(value),
            Narrow::I64(value) => serializer.serialize_i64(value),
            Narrow::I128(value) => serializer.serialize_i128(value),
            Narrow::U128(value) => serializer.serialize_u128(value),
        },
        Value::Float(value) => serializer.serialize_f64(*value),
        Value::Str(value) => serializer.serialize_str(value),
        Value::Bytes(value) => serializer.serialize_bytes(value),
        Value::List(values) => serializer.collect_seq(values),
        Value::Dict(pairs) => {
            let mut map = serializer.serialize_map(Some(pairs.len()))?;
            for (key, value) in pairs {
                map.serialize_entry(key, value)?;
            }
            map.end()
        }
        Value::Proxy(token) => token.serialize(serializer),
    }
}

fn tagged<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    macro_rules! variant {
        ($tag:ident, $content:expr) => {
            serializer.serialize_newtype_variant(ENUM, tag::$tag.into(), variant_name(tag::$tag), $content)
        };
    }
    match value {
        Value::None => serializer.serialize_unit_variant(ENUM, tag::NONE.into(), variant_name(tag::NONE)),
        Value::Some(inner) => variant!(SOME, inner),
        Value::Bool(value) => variant!(BOOL, value),
        Value::Int(value) => variant!(INT, &(value.is_negative(), value.magnitude())),
        Value::Float(value) => variant!(FLOAT, value),
        Value::Str(value) => variant!(STR, value),
        Value::Bytes(value) => variant!(BYTES, value),
        Value::List(values) => variant!(LIST, values),
        Value::Dict(pairs) => variant!(DICT, pairs),
        Value::Proxy(token) => variant!(PROXY, token),
    }
}

fn variant_name(tag: u8) -> &'static str {
    VARIANTS.get(usize::from(tag)).copied().unwrap_or_default()
}

impl<'de> de::Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Part {
            depth_left: Limits::DEPTH_MAX,
        }
        .deserialize(deserializer)
    }
}

/// Reads one value that may be `depth_left` deep: formats without a limit of their own get this one.
#[derive(Clone, Copy)]
struct Part {
    depth_left: u32,
}

impl Part {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        let too_deep = || E::custom(format_args!("the value nests deeper than {} levels", Limits::DEPTH_MAX));
        Ok(Self {
            depth_left: self.depth_left.checked_sub(1).ok_or_else(too_deep)?,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(self)
        } else {
            deserializer.deserialize_enum(ENUM, VARIANTS, Tagged(self))
        }
    }
}

/// Space for so many elements is set aside at once, whatever a length promises.
const RESERVE_MAX: usize = 1024;

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Ok(Value::some(self.inner()?.deserialize(deserializer)?))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Str(value))
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(value.to_owned()))
    }

    fn visit_byte_buf<E: de::Error>(self, value: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        TokenVisitor.visit_newtype_struct(deserializer).map(Value::Proxy)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::with_capacity(access.size_hint().unwrap_or(0).min(RESERVE_MAX));
        while let Some(value) = access.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut pairs = Vec::with_capacity(access.size_hint().unwrap_or(0).min(RESERVE_MAX));
        while let Some(pair) = access.next_entry_seed(inner, inner)? {
            pairs.push(pair);
        }
        Ok(Value::Dict(pairs))
    }
}

/// Reads the enum.
struct Tagged(Part);

impl<'de> Visitor<'de> for Tagged {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("enum Value")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        let inner = self.0.inner()?;
        let (tag, content) = access.variant_seed(Tag)?;
        match tag {
            tag::NONE => content.unit_variant().map(|()| Value::None),
            tag::SOME => match content.newtype_variant_seed(inner)? {
                value @ (Value::None | Value::Some(_)) => Ok(Value::Some(Box::new(value))),
                _ => Err(de::Error::custom("Some before a value that needs none")),
            },
            tag::BOOL => content.newtype_variant().map(Value::Bool),
            tag::INT => {
                let (negative, magnitude) = content.newtype_variant()?;
                let int = Int::new(negative, magnitude).filter(|int| int.is_negative() == negative);
                int.map(Value::Int)
                    .ok_or_else(|| de::Error::custom("integer out of range"))
            }
            tag::FLOAT => content.newtype_variant().map(Value::Float),
            tag::STR => content.newtype_variant().map(Value::Str),
            tag::BYTES => content.newtype_variant().map(Value::Bytes),
            tag::LIST => content.newtype_variant_seed(Many(inner)).map(Value::List),
            tag::DICT => content.newtype_variant_seed(Many(Pair(inner))).map(Value::Dict),
            tag::PROXY => content.newtype_variant::<Token>().map(Value::Proxy),
            other => Err(de::Error::custom(format_args!("tag {other} is reserved"))),
        }
    }
}

/// Reads a variant's index.
struct Tag;

impl<'de> DeserializeSeed<'de> for Tag {
    type Value = u8;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u8, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Tag {
    type Value = u8;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the index of a variant")
    }

    fn visit_u64<E: de::Error>(self, index: u64) -> Result<u8, E> {
        u8::try_from(index).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(index), &self))
    }
}

/// Reads a sequence of parts.
#[derive(Clone, Copy)]
struct Many<S>(S);

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for Many<S> {
    type Value = Vec<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for Many<S> {
    type Value = Vec<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::with_capacity(access.size_hint().unwrap_or(0).min(RESERVE_MAX));
        while let Some(part) = access.next_element_seed(self.0)? {
            parts.push(part);
        }
        Ok(parts)
    }
}

/// Reads a key and its value.
#[derive(Clone, Copy)]
struct Pair(Part);

impl<'de> DeserializeSeed<'de> for Pair {
    type Value = (Value, Value);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for Pair {
    type Value = (Value, Value);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let missing = || de::Error::custom("half a pair");
        let key = access.next_element_seed(self.0)?.ok_or_else(missing)?;
        let value = access.next_element_seed(self.0)?.ok_or_else(missing)?;
        Ok((key, value))
    }
}
