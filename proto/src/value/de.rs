//! Reading any `T: Deserialize` straight from the encoding.
//!
//! Strings and bytes are borrowed from the input where the type can borrow. Every error says where in the value it
//! happened. What the parts of a value look like to serde is in `access.rs`.

use serde::de::{self, Deserialize, Expected, Visitor};
use serde::forward_to_deserialize_any;

use super::access::{Bytes, Elements, Enum, List, Pairs, TokenBody};
use super::error::{DecodeError, DecodeErrorKind, Malformed};
use super::int::{Narrow, narrowest};
use super::reader::Reader;
use super::walk;
use super::{Limits, TOKEN_NAME, float, tag};

/// Reads the one value that is all of `bytes`.
///
/// ```
/// use byproxy_proto::value::{self, Limits};
///
/// let (name, price): (&str, f64) = value::from_slice(b"\x07\x02\x05\x01a\x03\x00\x05", &Limits::default())?;
/// assert_eq!((name, price), ("a", 5.0));
/// # Ok::<(), value::DecodeError>(())
/// ```
#[inline]
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8], limits: &Limits) -> Result<T, DecodeError> {
    if bytes.len() > limits.bytes {
        return Err(DecodeErrorKind::TooLarge {
            size: bytes.len(),
            limit: limits.bytes,
        }
        .into());
    }
    let mut deserializer = Deserializer::new(bytes, limits);
    let value = T::deserialize(&mut deserializer)?;
    deserializer.reader.end()?;
    Ok(value)
}

/// Reads values from the front of a slice; `&mut Deserializer` is a serde `Deserializer`.
///
/// ```
/// use byproxy_proto::value::{Deserializer, Limits};
///
/// let mut deserializer = Deserializer::new(&[2, 1, 0, 99], &Limits::default());
/// assert!(deserializer.take::<bool>()?);
/// assert_eq!(deserializer.take::<Option<u8>>()?, None);
/// assert_eq!(deserializer.rest(), [99]);
/// # Ok::<(), byproxy_proto::value::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Deserializer<'de> {
    pub(super) reader: Reader<'de>,
    limits: Limits,
    /// How many containers are open around the next value.
    pub(super) open: u32,
    /// How many wrappers without bytes of their own are open around it; see [`Deserializer::wrapped`].
    wrappers: u32,
    memory_left: usize,
}

/// Wrappers without bytes of their own that may nest.
const WRAPPERS_MAX: u32 = 256;

impl<'de> Deserializer<'de> {
    /// A deserializer over `bytes`.
    ///
    /// ```
    /// use byproxy_proto::value::{Deserializer, Limits};
    ///
    /// let mut deserializer = Deserializer::new(&[5, 2, b'G', b'1'], &Limits::default());
    /// assert_eq!(deserializer.take::<&str>()?, "G1");
    /// # Ok::<(), byproxy_proto::value::DecodeError>(())
    /// ```
    #[inline]
    pub fn new(bytes: &'de [u8], limits: &Limits) -> Self {
        Self {
            reader: Reader::new(bytes),
            limits: *limits,
            open: 0,
            wrappers: 0,
            memory_left: limits.memory,
        }
    }

    /// Reads one value from the front and leaves the rest. After an error the rest is empty.
    ///
    /// ```
    /// use byproxy_proto::value::{Deserializer, Limits};
    ///
    /// let mut deserializer = Deserializer::new(&[2, 1, 0xff], &Limits::default());
    /// assert!(deserializer.take::<bool>()?);
    /// assert!(deserializer.take::<bool>().is_err(), "no value begins so");
    /// # Ok::<(), byproxy_proto::value::DecodeError>(())
    /// ```
    #[inline]
    pub fn take<T: Deserialize<'de>>(&mut self) -> Result<T, DecodeError> {
        let before = self.reader.rest.len();
        (self.open, self.wrappers, self.memory_left) = (0, 0, self.limits.memory);
        let value = T::deserialize(&mut *self).inspect_err(|_| self.reader.rest = &[])?;
        let size = before - self.reader.rest.len();
        if size > self.limits.bytes {
            return Err(DecodeErrorKind::TooLarge {
                size,
                limit: self.limits.bytes,
            }
            .into());
        }
        Ok(value)
    }

    /// The bytes not yet read.
    ///
    /// ```
    /// use byproxy_proto::value::{Deserializer, Limits};
    ///
    /// let mut deserializer = Deserializer::new(&[2, 1, 0, 0], &Limits::default());
    /// deserializer.take::<bool>()?;
    /// assert_eq!(deserializer.rest(), [0, 0]);
    /// # Ok::<(), byproxy_proto::value::DecodeError>(())
    /// ```
    pub fn rest(&self) -> &'de [u8] {
        self.reader.rest
    }

    /// Begins a value: its tag, with its depth checked and its memory charged.
    #[inline]
    fn tag(&mut self) -> Result<u8, DecodeError> {
        if self.open >= self.limits.depth_held() {
            return Err(DecodeErrorKind::TooDeep {
                limit: self.limits.depth_held(),
            }
            .into());
        }
        let Some(memory_left) = self.memory_left.checked_sub(Limits::PART_BYTES) else {
            let limit = self.limits.memory;
            return Err(DecodeErrorKind::TooLarge {
                size: limit.saturating_add(Limits::PART_BYTES),
                limit,
            }
            .into());
        };
        self.memory_left = memory_left;
        Ok(self.reader.byte()?)
    }

    /// Reads a part of a container. When it fails nothing else can be read either, whatever the type makes of the error.
    #[inline]
    pub(super) fn part<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, DecodeError> {
        let open = self.open;
        match seed.deserialize(&mut *self) {
            Ok(value) => Ok(value),
            Err(error) => {
                self.open = open;
                self.reader.rest = &[];
                Err(error)
            }
        }
    }

    /// Runs `read` inside one more container.
    #[inline]
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        self.open += 1;
        let result = read(self);
        self.open -= 1;
        result
    }

    /// Runs `read` inside a wrapper that has no bytes of its own: a type that contains itself through nothing but
    /// `Option` and newtypes would otherwise recurse without end on the same byte.
    #[inline]
    fn wrapped<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        if self.wrappers >= WRAPPERS_MAX {
            return Err(DecodeErrorKind::TooDeep {
                limit: self.limits.depth_held(),
            }
            .into());
        }
        self.wrappers += 1;
        let result = read(self);
        self.wrappers -= 1;
        result
    }

    fn list<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        let count = self.reader.count(1)?;
        self.nested(|this| {
            let mut list = List(Elements::new(this, count));
            let value = visitor.visit_seq(&mut list)?;
            list.0.end("list")?;
            Ok(value)
        })
    }

    fn dict<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        let count = self.reader.count(2)?;
        self.nested(|this| {
            let mut pairs = Pairs::new(Elements::new(this, count));
            let value = visitor.visit_map(&mut pairs)?;
            pairs.end()?;
            Ok(value)
        })
    }

    #[inline]
    fn int<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        if let Some(value) = self.reader.natural() {
            return visitor.visit_u64(value);
        }
        let (negative, magnitude, after) = int_of_any_width(self.reader)?;
        self.reader = after;
        visit_narrowest(negative, magnitude, visitor)
    }

    /// Reads a value of whatever type, whose tag has been read.
    fn any<V: Visitor<'de>>(&mut self, found: u8, visitor: V) -> Result<V::Value, DecodeError> {
        match found {
            tag::NONE => visitor.visit_unit(),
            tag::SOME => {
                self.reader.some_is_needed()?;
                self.nested(|this| visitor.visit_some(this))
            }
            tag::BOOL => visitor.visit_bool(self.reader.boolean()?),
            tag::INT => self.int(visitor),
            tag::FLOAT => visitor.visit_f64(self.reader.float()?),
            tag::STR => visitor.visit_borrowed_str(self.reader.string()?),
            tag::BYTES => visitor.visit_borrowed_bytes(self.reader.bytes_counted()?),
            tag::LIST => self.list(visitor),
            tag::DICT => self.dict(visitor),
            tag::PROXY => visitor.visit_newtype_struct(TokenBody(self.reader.token_body()?)),
            other => Err(Malformed::Tag(other).into()),
        }
    }
}

/// Reads an integer, and what follows it. Apart from the deserializer, which stays in registers where a small value is read.
fn int_of_any_width(mut reader: Reader<'_>) -> Result<(bool, u128, Reader<'_>), Malformed> {
    let (negative, magnitude) = reader.int()?;
    Ok((negative, magnitude, reader))
}

fn visit_narrowest<'de, V: Visitor<'de>>(negative: bool, magnitude: u128, visitor: V) -> Result<V::Value, DecodeError> {
    match narrowest(negative, magnitude) {
        Narrow::U64(value) => visitor.visit_u64(value),
        Narrow::I64(value) => visitor.visit_i64(value),
        Narrow::I128(value) => visitor.visit_i128(value),
        Narrow::U128(value) => visitor.visit_u128(value),
    }
}

/// The types that are read from values of one tag only.
macro_rules! from_one_tag {
    ($($method:ident($($ignored:ident: $type:ty),*) from $tag:ident as $read:ident;)*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, $($ignored: $type,)* visitor: V) -> Result<V::Value, DecodeError> {
            match self.tag()? {
                tag::$tag => self.$read(visitor),
                found => mismatch(found, &visitor),
            }
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Deserializer<'de> {
    type Error = DecodeError;

    fn is_human_readable(&self) -> bool {
        true
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let found = self.tag()?;
        self.any(found, visitor)
    }

    from_one_tag! {
        deserialize_i8() from INT as int;
        deserialize_i16() from INT as int;
        deserialize_i32() from INT as int;
        deserialize_i64() from INT as int;
        deserialize_i128() from INT as int;
        deserialize_u8() from INT as int;
        deserialize_u16() from INT as int;
        deserialize_u32() from INT as int;
        deserialize_u64() from INT as int;
        deserialize_u128() from INT as int;
        deserialize_bool() from BOOL as boolean;
        deserialize_char() from STR as string;
        deserialize_str() from STR as string;
        deserialize_string() from STR as string;
        deserialize_identifier() from STR as string;
        deserialize_unit() from NONE as unit;
        deserialize_unit_struct(_name: &'static str) from NONE as unit;
        deserialize_map() from DICT as dict;
        deserialize_struct(_name: &'static str, _fields: &'static [&'static str]) from DICT as dict;
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.tag()? {
            tag::FLOAT => visitor.visit_f32(float::narrow(self.reader.float()?)),
            tag::INT => {
                let value = self.int_as_float(24, &visitor)?;
                visitor.visit_f32(float::narrow(value))
            }
            found => mismatch(found, &visitor),
        }
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.tag()? {
            tag::FLOAT => visitor.visit_f64(self.reader.float()?),
            tag::INT => {
                let value = self.int_as_float(53, &visitor)?;
                visitor.visit_f64(value)
            }
            found => mismatch(found, &visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.tag()? {
            tag::BYTES => visitor.visit_borrowed_bytes(self.reader.bytes_counted()?),
            tag::LIST => {
                let count = self.reader.count(1)?;
                let bytes = self.nested(|this| Elements::new(this, count).into_bytes())?;
                visitor.visit_byte_buf(bytes)
            }
            found => mismatch(found, &visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.reader.peek()? {
            tag::NONE => {
                self.tag()?;
                visitor.visit_none()
            }
            tag::SOME => {
                self.tag()?;
                self.reader.some_is_needed()?;
                self.nested(|this| visitor.visit_some(this))
            }
            _ => self.wrapped(|this| visitor.visit_some(this)),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name != TOKEN_NAME {
            return self.wrapped(|this| visitor.visit_newtype_struct(this));
        }
        match self.tag()? {
            tag::PROXY => visitor.visit_newtype_struct(TokenBody(self.reader.token_body()?)),
            found => mismatch(found, &visitor),
        }
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.tag()? {
            tag::LIST => self.list(visitor),
            tag::BYTES => {
                let mut bytes = Bytes(self.reader.bytes_counted()?.iter());
                let value = visitor.visit_seq(&mut bytes)?;
                bytes.end()?;
                Ok(value)
            }
            found => mismatch(found, &visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.tag()? {
            tag::STR => visitor.visit_enum(Enum::unit(self.reader.string()?)),
            tag::DICT => {
                let count = self.reader.count(2)?;
                if count != 1 {
                    return Err(DecodeError::wrong_type(
                        expected_one_pair(&visitor),
                        format!("dict of {count}"),
                    ));
                }
                self.nested(|this| match this.tag()? {
                    tag::STR => {
                        let name = this.reader.string()?;
                        let content = this.reader.rest.len();
                        let value = visitor.visit_enum(Enum::with_content(name, this))?;
                        if this.reader.rest.len() == content {
                            return Err(de::Error::custom("the type read a variant and not its content"));
                        }
                        Ok(value)
                    }
                    found => mismatch(found, &"the name of a variant"),
                })
            }
            found => mismatch(found, &visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let depth_left = self.limits.depth_held() - self.open;
        self.reader.rest = walk::check(self.reader.rest, &self.limits, depth_left, &mut |_| {})?;
        visitor.visit_unit()
    }
}

/// The error for a value of another type than `expected`, whose tag has been read.
#[cold]
fn mismatch<T>(found: u8, expected: &dyn Expected) -> Result<T, DecodeError> {
    if found > tag::PROXY {
        return Err(Malformed::Tag(found).into());
    }
    Err(DecodeError::wrong_type(expected.to_string(), tag::name(found)))
}

fn expected_one_pair(expected: &dyn Expected) -> String {
    format!("{expected} (a dict of one pair)")
}

/// The readers that [`from_one_tag`] names.
impl<'de> Deserializer<'de> {
    #[inline]
    fn boolean<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_bool(self.reader.boolean()?)
    }

    #[inline]
    fn string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(self.reader.string()?)
    }

    #[inline]
    #[expect(clippy::unused_self, reason = "one shape for all readers")]
    fn unit<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    /// Reads an integer where a float is wanted: accepted when it is that number exactly.
    fn int_as_float(&mut self, mantissa_bits: u32, expected: &dyn Expected) -> Result<f64, DecodeError> {
        let (negative, magnitude) = self.reader.int()?;
        float::exactly(negative, magnitude, mantissa_bits)
            .ok_or_else(|| DecodeError::wrong_type(expected.to_string(), "an int that no such float equals".to_owned()))
    }
}

/// A token's body answers every question with its bytes, borrowed: so it passes through serde's buffered content.
impl<'de> de::Deserializer<'de> for TokenBody<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_bytes(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
