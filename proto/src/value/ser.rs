//! Writing any `T: Serialize` straight into the encoding, in one pass.
//!
//! Nothing is built in between. Where serde does not say how long a sequence is, its count is patched in afterwards;
//! where `Some(x)` turns out to need its tag, it is put before what was written for `x`.

use serde::ser::{self, Serialize};

use super::compound::Compound;
use super::error::EncodeError;
use super::reader::Reader;
use super::{Limits, RAW_NAME, TOKEN_NAME, Token, tag, walk, writer};

/// Appends the encoding of `value` to `out`. On error `out` is as it was before.
///
/// ```
/// use byproxy_proto::value::{self, Limits};
///
/// let mut out = vec![0xff];
/// value::to_writer(&(1u8, "a"), &mut out, &Limits::default())?;
/// assert_eq!(out, [0xff, 7, 2, 3, 0, 1, 5, 1, b'a']);
/// # Ok::<(), value::EncodeError>(())
/// ```
#[inline]
pub fn to_writer<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>, limits: &Limits) -> Result<(), EncodeError> {
    let start = out.len();
    let mut serializer = Serializer::new(out, limits);
    match serializer.write(value) {
        Ok(()) => Ok(()),
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// The encoding of `value`.
///
/// ```
/// use byproxy_proto::value::{self, Limits};
///
/// assert_eq!(value::to_vec("G1", &Limits::default())?, [5, 2, b'G', b'1']);
/// # Ok::<(), value::EncodeError>(())
/// ```
pub fn to_vec<T: Serialize + ?Sized>(value: &T, limits: &Limits) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    to_writer(value, &mut out, limits)?;
    Ok(out)
}

/// Writes values to the end of a buffer; `&mut Serializer` is a serde `Serializer`.
///
/// The limits hold for what is written through one `Serializer`. After an error, what it wrote is worth nothing.
///
/// ```
/// use byproxy_proto::value::{Limits, Serializer};
///
/// let mut out = Vec::new();
/// let mut serializer = Serializer::new(&mut out, &Limits::default());
/// serializer.write(&true)?;
/// serializer.write(&None::<u8>)?;
/// assert_eq!(out, [2, 1, 0]);
/// # Ok::<(), byproxy_proto::value::EncodeError>(())
/// ```
#[derive(Debug)]
pub struct Serializer<'a> {
    out: &'a mut Vec<u8>,
    /// What `out` may grow to.
    end: usize,
    limits: Limits,
    /// How many lists, dicts and needed Somes are open around the next value.
    open: u32,
    /// How many wrappers that write nothing are open around it: a type that contains itself through nothing but
    /// `Option` nests without a byte.
    wrappers: u32,
    /// The first error that any part reported: a type that swallows it must not make half a value whole.
    failed: Option<EncodeError>,
}

/// Wrappers without bytes of their own that may nest.
const WRAPPERS_MAX: u32 = 256;

impl<'a> Serializer<'a> {
    /// A serializer that appends to `out`.
    ///
    /// ```
    /// use byproxy_proto::value::{Limits, Serializer};
    ///
    /// let mut out = vec![0xff];
    /// Serializer::new(&mut out, &Limits::default()).write(&true)?;
    /// assert_eq!(out, [0xff, 2, 1]);
    /// # Ok::<(), byproxy_proto::value::EncodeError>(())
    /// ```
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, limits: &Limits) -> Self {
        let end = out.len().saturating_add(limits.bytes);
        Self {
            out,
            end,
            limits: Limits {
                depth: limits.depth_held(),
                ..*limits
            },
            open: 0,
            wrappers: 0,
            failed: None,
        }
    }

    /// Writes one value.
    ///
    /// ```
    /// use byproxy_proto::value::{Limits, Serializer};
    ///
    /// let small = Limits { bytes: 4, ..Limits::default() };
    /// let mut out = Vec::new();
    /// let mut serializer = Serializer::new(&mut out, &small);
    /// serializer.write("G1")?;
    /// assert!(serializer.write("G2").is_err(), "the limit is for both together");
    /// # Ok::<(), byproxy_proto::value::EncodeError>(())
    /// ```
    #[inline]
    pub fn write<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut *self)?;
        if self.failed.is_none() {
            return Ok(());
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Begins a value: checks its depth and the room for `size` bytes.
    #[inline]
    fn begin(&mut self, size: usize) -> Result<(), EncodeError> {
        if self.open >= self.limits.depth {
            return Err(too_deep(self.limits.depth));
        }
        self.room(size)
    }

    #[inline]
    fn room(&self, size: usize) -> Result<(), EncodeError> {
        let end = self.out.len().saturating_add(size);
        if end > self.end {
            return Err(too_large(end - self.end, self.limits.bytes));
        }
        Ok(())
    }

    #[inline]
    fn int(&mut self, negative: bool, magnitude: u64) -> Result<(), EncodeError> {
        if let Some(magnitude) = writer::in_a_byte(magnitude) {
            self.begin(3)?;
            self.out.extend_from_slice(&[tag::INT, u8::from(negative), magnitude]);
            return Ok(());
        }
        self.begin(4)?;
        writer::write_magnitude_short(self.out, negative, magnitude);
        self.room(0)
    }

    fn int_wide(&mut self, negative: bool, magnitude: u128) -> Result<(), EncodeError> {
        self.begin(2)?;
        writer::write_magnitude(self.out, negative, magnitude);
        self.room(0)
    }

    /// Writes a string or bytes.
    #[inline]
    fn counted(&mut self, tag: u8, bytes: &[u8]) -> Result<(), EncodeError> {
        self.begin(bytes.len().saturating_add(2))?;
        writer::write_counted(self.out, tag, bytes);
        // Only a longer length takes more than was reckoned with.
        if bytes.len() < 0x80 { Ok(()) } else { self.room(0) }
    }

    /// Opens a list or dict with `count` elements, as far as that is known.
    #[inline]
    fn container(&mut self, tag: u8, count: Option<usize>) -> Result<Compound<'_, 'a>, EncodeError> {
        self.begin(2)?;
        let announced = count.unwrap_or(0);
        let count_at = self.out.len() + 1;
        writer::header(self.out, tag, announced);
        if announced >= 0x80 {
            self.room(0)?;
        }
        self.open += 1;
        Ok(Compound::new(self, count_at, announced))
    }

    /// Closes so many levels.
    #[inline]
    pub(super) fn close(&mut self, levels: u32) {
        self.open -= levels;
    }

    /// Puts `count` where `announced` stands.
    pub(super) fn patch_count(&mut self, at: usize, announced: usize, count: usize) -> Result<(), EncodeError> {
        let mut patch = Vec::with_capacity(10);
        writer::varint(&mut patch, count as u64);
        self.out.splice(at..at + writer::varint_len(announced), patch);
        self.room(0)
    }

    /// Opens the one-pair dict of an enum variant with content.
    fn variant(&mut self, name: &str) -> Result<(), EncodeError> {
        self.begin(2)?;
        self.out.extend_from_slice(&[tag::DICT, 1]);
        self.open += 1;
        self.counted(tag::STR, name.as_bytes())
    }

    /// Writes a part of a value, and remembers when that failed.
    #[inline]
    pub(super) fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        match value.serialize(&mut *self) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.failed.get_or_insert_with(|| again(&error));
                Err(error)
            }
        }
    }

    /// Writes the content of a wrapper that has no bytes of its own.
    #[inline]
    fn wrapped<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        if self.wrappers >= WRAPPERS_MAX {
            return Err(too_deep(self.limits.depth));
        }
        self.wrappers += 1;
        let result = self.part(value);
        self.wrappers -= 1;
        result
    }

    /// Puts the tag Some before what was written at `at`, when it needs one.
    fn mark_some(&mut self, at: usize) -> Result<(), EncodeError> {
        let Some(written) = self.out.get(at..) else {
            return Ok(());
        };
        if !writer::some_prefix_needed(written) {
            return Ok(());
        }
        // What begins with None or Some is a row of Somes and a None: its length is its depth.
        let depth = self.open as usize + written.len() + 1;
        if depth > self.limits.depth as usize {
            return Err(too_deep(self.limits.depth));
        }
        self.room(1)?;
        self.out.insert(at, tag::SOME);
        Ok(())
    }

    /// Turns the bytes value at `at`, the content of a struct named [`TOKEN_NAME`], into a proxy.
    fn mark_token(&mut self, at: usize) -> Result<(), EncodeError> {
        let mut reader = Reader::new(self.out.get(at..).unwrap_or_default());
        let token = match reader.byte() {
            Ok(tag::BYTES) => reader.bytes_counted().ok().and_then(Token::from_body),
            _ => None,
        };
        let token = token.ok_or(EncodeError::Unsupported(
            "a struct under the name of a token that is none",
        ))?;
        self.out.truncate(at);
        writer::write_token(self.out, token);
        Ok(())
    }

    /// Turns the bytes value at `at`, the content of a struct named [`RAW_NAME`], into the value that the bytes encode.
    fn splice(&mut self, at: usize) -> Result<(), EncodeError> {
        let mut reader = Reader::new(self.out.get(at..).unwrap_or_default());
        let encoded = match reader.byte() {
            Ok(tag::BYTES) => reader.bytes_counted().unwrap_or_default(),
            _ => &[],
        };
        let size = encoded.len();
        let depth_left = self.limits.depth - self.open;
        walk::check(encoded, &self.limits, depth_left, &mut |_| {})
            .and_then(|rest| Reader::new(rest).end())
            .map_err(|error| EncodeError::Custom(format!("an encoded value cannot be written: {error}")))?;
        self.out.drain(at..self.out.len() - size);
        Ok(())
    }
}

// The errors are made apart from the serializer, which stays in registers where a small value is written.

#[cold]
fn too_deep(limit: u32) -> EncodeError {
    EncodeError::TooDeep { limit }
}

#[cold]
fn too_large(over: usize, limit: usize) -> EncodeError {
    EncodeError::TooLarge {
        size: limit.saturating_add(over),
        limit,
    }
}

#[cold]
fn again(error: &EncodeError) -> EncodeError {
    error.clone()
}

impl<'s, 'a> ser::Serializer for &'s mut Serializer<'a> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'s, 'a>;
    type SerializeTuple = Compound<'s, 'a>;
    type SerializeTupleStruct = Compound<'s, 'a>;
    type SerializeTupleVariant = Compound<'s, 'a>;
    type SerializeMap = Compound<'s, 'a>;
    type SerializeStruct = Compound<'s, 'a>;
    type SerializeStructVariant = Compound<'s, 'a>;

    fn is_human_readable(&self) -> bool {
        true
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.begin(2)?;
        writer::write_bool(self.out, value);
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), EncodeError> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), EncodeError> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), EncodeError> {
        self.serialize_i64(value.into())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), EncodeError> {
        self.int(value < 0, value.unsigned_abs())
    }

    fn serialize_i128(self, value: i128) -> Result<(), EncodeError> {
        self.int_wide(value < 0, value.unsigned_abs())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), EncodeError> {
        self.int(false, value.into())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), EncodeError> {
        self.int(false, value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), EncodeError> {
        self.int(false, value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), EncodeError> {
        self.int(false, value)
    }

    fn serialize_u128(self, value: u128) -> Result<(), EncodeError> {
        self.int_wide(false, value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        self.serialize_f64(super::float::widen(value))
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        self.begin(9)?;
        writer::write_float(self.out, value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        self.counted(tag::STR, value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        self.counted(tag::BYTES, value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        let at = self.out.len();
        self.wrapped(value)?;
        self.mark_some(at)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.begin(1)?;
        writer::write_none(self.out);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), EncodeError> {
        let at = self.out.len();
        self.wrapped(value)?;
        match name {
            TOKEN_NAME => self.mark_token(at),
            RAW_NAME => self.splice(at),
            _ => Ok(()),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.variant(variant)?;
        self.part(value)?;
        self.open -= 1;
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Compound<'s, 'a>, EncodeError> {
        self.container(tag::LIST, len)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Compound<'s, 'a>, EncodeError> {
        self.container(tag::LIST, Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Compound<'s, 'a>, EncodeError> {
        self.container(tag::LIST, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'s, 'a>, EncodeError> {
        self.variant(variant)?;
        Ok(self.container(tag::LIST, Some(len))?.in_variant())
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Compound<'s, 'a>, EncodeError> {
        self.container(tag::DICT, len)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Compound<'s, 'a>, EncodeError> {
        self.container(tag::DICT, Some(len))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Compound<'s, 'a>, EncodeError> {
        self.variant(variant)?;
        Ok(self.container(tag::DICT, Some(len))?.in_variant())
    }
}
