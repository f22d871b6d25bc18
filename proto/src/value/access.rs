//! The parts of a value as serde asks for them: list elements, dict pairs, enum variants.
//!
//! Each part that fails adds its step to the error's path on the way out.

use std::slice;

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::de::Deserializer;
use super::error::{DecodeError, Step};
use super::reader::Reader;
use super::{tag, text};

/// What is left of a list or dict.
pub(super) struct Elements<'d, 'de> {
    de: &'d mut Deserializer<'de>,
    count: usize,
    next: usize,
}

impl<'d, 'de> Elements<'d, 'de> {
    pub(super) fn new(de: &'d mut Deserializer<'de>, count: usize) -> Self {
        Self { de, count, next: 0 }
    }

    fn left(&self) -> usize {
        self.count - self.next
    }

    /// Demands that nothing is left.
    pub(super) fn end(&self, what: &str) -> Result<(), DecodeError> {
        if self.left() == 0 {
            return Ok(());
        }
        Err(DecodeError::wrong_type(
            format!("a {what} of {}", self.next),
            format!("a {what} of {}", self.count),
        ))
    }

    /// Reads the rest of a list as bytes.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>, DecodeError> {
        let mut list = List(self);
        // An element takes three bytes at least, so this is no more than was sent.
        let mut bytes = Vec::with_capacity(list.0.left());
        while let Some(byte) = de::SeqAccess::next_element(&mut list)? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

/// The elements of a list.
pub(super) struct List<'d, 'de>(pub(super) Elements<'d, 'de>);

impl<'de> de::SeqAccess<'de> for List<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        if self.0.left() == 0 {
            return Ok(None);
        }
        let index = self.0.next;
        self.0.next += 1;
        self.0
            .de
            .part(seed)
            .map(Some)
            .map_err(|error| error.within(Step::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.left())
    }
}

/// The pairs of a dict.
pub(super) struct Pairs<'d, 'de> {
    elements: Elements<'d, 'de>,
    /// The bytes from the last key on, to name it in an error.
    key: Option<&'de [u8]>,
}

impl<'d, 'de> Pairs<'d, 'de> {
    pub(super) fn new(elements: Elements<'d, 'de>) -> Self {
        Self { elements, key: None }
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.key.is_some() {
            return Err(de::Error::custom("the type read a key and not its value"));
        }
        self.elements.end("dict")
    }
}

impl<'de> de::MapAccess<'de> for Pairs<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        if self.elements.left() == 0 {
            return Ok(None);
        }
        if self.key.is_some() {
            return Err(de::Error::custom("the type read a key and not its value"));
        }
        self.elements.next += 1;
        let key = self.elements.de.rest();
        self.key = Some(key);
        self.elements
            .de
            .part(seed)
            .map(Some)
            .map_err(|error| error.within(Step::InKey(text::summary(key))))
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let Some(key) = self.key.take() else {
            return Err(de::Error::custom("the type read a value before its key"));
        };
        self.elements.de.part(seed).map_err(|error| error.within(key_step(key)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.left())
    }
}

/// The step to the value whose key stands at the front of `key`: `.price` for a name, `["two words"]` and `[7]` for others.
#[cold]
fn key_step(key: &[u8]) -> Step {
    let mut reader = Reader::new(key);
    if let (Ok(tag::STR), Ok(name)) = (reader.byte(), reader.string())
        && is_name(name)
    {
        return Step::Key(format!(".{name}"));
    }
    Step::Key(format!("[{}]", text::summary(key)))
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
        && text.len() <= 64
}

/// Bytes where a sequence of small integers is wanted.
pub(super) struct Bytes<'de>(pub(super) slice::Iter<'de, u8>);

impl Bytes<'_> {
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(DecodeError::wrong_type("fewer bytes", format!("{left} bytes more"))),
        }
    }
}

impl<'de> de::SeqAccess<'de> for Bytes<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        self.0
            .next()
            .map(|byte| seed.deserialize((*byte).into_deserializer()))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// A variant: its name, and its content if it has some.
pub(super) struct Enum<'d, 'de> {
    name: &'de str,
    content: Option<&'d mut Deserializer<'de>>,
}

impl<'d, 'de> Enum<'d, 'de> {
    pub(super) fn unit(name: &'de str) -> Self {
        Self { name, content: None }
    }

    pub(super) fn with_content(name: &'de str, content: &'d mut Deserializer<'de>) -> Self {
        Self {
            name,
            content: Some(content),
        }
    }

    fn content<T: DeserializeSeed<'de>>(self, expected: &str, seed: T) -> Result<T::Value, DecodeError> {
        match self.content {
            Some(content) => content
                .part(seed)
                .map_err(|error| error.within(Step::Key(format!(".{}", self.name)))),
            None => Err(DecodeError::wrong_type(expected, format!("{:?} alone", self.name))),
        }
    }
}

impl<'de> de::EnumAccess<'de> for Enum<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        let name = de::value::BorrowedStrDeserializer::<DecodeError>::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Enum<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.content {
            None => Ok(()),
            Some(_) => self.content("a variant without content", std::marker::PhantomData::<()>),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        self.content("a variant with content", seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.content(
            "a variant with a list",
            Shape {
                visitor,
                is_struct: false,
            },
        )
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.content(
            "a variant with fields",
            Shape {
                visitor,
                is_struct: true,
            },
        )
    }
}

/// The content of a tuple or struct variant.
struct Shape<V> {
    visitor: V,
    is_struct: bool,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Shape<V> {
    type Value = V::Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        if self.is_struct {
            deserializer.deserialize_map(self.visitor)
        } else {
            deserializer.deserialize_seq(self.visitor)
        }
    }
}

/// A token without its tag: what is inside the newtype struct that serde sees.
pub(super) struct TokenBody<'de>(pub(super) &'de [u8]);
