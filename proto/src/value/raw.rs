//! A checked value that stays bytes, and views into it.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::reader::Reader;
use super::{DecodeError, Limits, Malformed, Token, Value, from_slice, short, tag, walk};

/// The name under which an encoded value travels through serde, as a newtype struct around its bytes: this crate's
/// [`Serializer`](super::Serializer) writes the value that they encode.
///
/// In any other format it is a sequence of bytes.
pub const RAW_NAME: &str = "$byproxy::value::Raw";

/// One value, encoded, in canonical form: a view of its bytes.
///
/// Looking into it never fails and never panics; where the question does not suit the value, the answer is `None`.
///
/// ```
/// use byproxy_proto::value::{self, Limits, Raw};
///
/// let bytes = value::to_vec(&("a", 7), &Limits::default())?;
/// let raw = Raw::check(&bytes, &Limits::default()).unwrap();
/// let items: Vec<_> = raw.list_items().unwrap().collect();
/// assert_eq!((items[0].as_str(), items[1].as_int()), (Some("a"), Some(7)));
/// # Ok::<(), value::EncodeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Raw<'a>(&'a [u8]);

impl<'a> Raw<'a> {
    /// Checks that `bytes` are one value, all of them.
    ///
    /// ```
    /// use byproxy_proto::value::{Limits, Raw};
    ///
    /// assert!(Raw::check(&[2, 1], &Limits::default()).is_ok());
    /// assert!(Raw::check(&[2, 1, 0], &Limits::default()).is_err(), "a byte follows it");
    /// ```
    #[inline]
    pub fn check(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let (raw, rest) = Self::take(bytes, limits)?;
        if rest.is_empty() {
            Ok(raw)
        } else {
            Err(Malformed::Trailing(rest.len()).into())
        }
    }

    /// Checks the one value at the front of `bytes`; the second half is what follows it.
    ///
    /// ```
    /// use byproxy_proto::value::{Limits, Raw};
    ///
    /// let (raw, rest) = Raw::take(&[2, 1, 99], &Limits::default())?;
    /// assert_eq!((raw.as_bool(), rest), (Some(true), [99].as_slice()));
    /// # Ok::<(), byproxy_proto::value::DecodeError>(())
    /// ```
    #[inline]
    pub fn take(bytes: &'a [u8], limits: &Limits) -> Result<(Self, &'a [u8]), DecodeError> {
        let len = walk(bytes, limits, |_| {})?;
        let (value, rest) = bytes.split_at_checked(len).ok_or(Malformed::CutShort)?;
        Ok((Self(value), rest))
    }

    /// Takes bytes that were checked before, or written by this module. Others give wrong answers, not undefined ones.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// assert_eq!(Raw::assume_checked(&[2, 1]).as_bool(), Some(true));
    /// assert_eq!(Raw::assume_checked(b"garbage").as_bool(), None);
    /// ```
    #[inline]
    pub const fn assume_checked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The value's bytes.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// assert_eq!(Raw::assume_checked(&[2, 1]).bytes(), [2, 1]);
    /// ```
    #[inline]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Reads the value as `T`.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// let raw = Raw::assume_checked(&[5, 2, b'G', b'1']);
    /// assert_eq!(raw.decode::<String>()?, "G1");
    /// assert!(raw.decode::<bool>().is_err());
    /// # Ok::<(), byproxy_proto::value::DecodeError>(())
    /// ```
    #[inline]
    pub fn decode<T: Deserialize<'a>>(self) -> Result<T, DecodeError> {
        from_slice(self.0, &self.own_limits())
    }

    /// The value as a tree.
    ///
    /// ```
    /// use byproxy_proto::value::{Raw, Value};
    ///
    /// assert_eq!(Raw::assume_checked(&[2, 1]).to_value()?, Value::Bool(true));
    /// # Ok::<(), byproxy_proto::value::DecodeError>(())
    /// ```
    pub fn to_value(self) -> Result<Value, DecodeError> {
        self.decode()
    }

    /// What messages call a value of this type: `str`, `list`, …
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// assert_eq!(Raw::assume_checked(&[7, 0]).type_name(), "list");
    /// ```
    pub fn type_name(self) -> &'static str {
        tag::name(self.tag())
    }

    /// Whether it is `None`.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// assert!(Raw::assume_checked(&[0]).is_none());
    /// ```
    #[inline]
    pub fn is_none(self) -> bool {
        self.tag() == tag::NONE
    }

    /// The boolean, if it is one.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// assert_eq!(Raw::assume_checked(&[2, 1]).as_bool(), Some(true));
    /// ```
    #[inline]
    pub fn as_bool(self) -> Option<bool> {
        self.after(tag::BOOL)?.boolean().ok()
    }

    /// The integer, if it is one that fits.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// assert_eq!(Raw::assume_checked(&[3, 1, 7]).as_int(), Some(-7));
    /// ```
    #[inline]
    pub fn as_int(self) -> Option<i128> {
        let mut reader = self.after(tag::INT)?;
        match reader.natural() {
            Some(natural) => Some(natural.into()),
            None => any_int(reader),
        }
    }

    /// The float, if it is one. An integer is none.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// assert_eq!(Raw::assume_checked(&[4, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f]).as_float(), Some(1.5));
    /// assert_eq!(Raw::assume_checked(&[3, 0, 7]).as_float(), None);
    /// ```
    #[inline]
    pub fn as_float(self) -> Option<f64> {
        self.after(tag::FLOAT)?.float().ok()
    }

    /// The string, if it is one.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// assert_eq!(Raw::assume_checked(&[5, 2, b'G', b'1']).as_str(), Some("G1"));
    /// ```
    #[inline]
    pub fn as_str(self) -> Option<&'a str> {
        self.after(tag::STR)?.string().ok()
    }

    /// The bytes, if it is a bytes value.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// assert_eq!(Raw::assume_checked(&[6, 2, 7, 8]).as_bytes(), Some([7, 8].as_slice()));
    /// ```
    #[inline]
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        self.after(tag::BYTES)?.bytes_counted().ok()
    }

    /// The token, if it is a proxy.
    ///
    /// ```
    /// use byproxy_proto::value::{Kind, Raw, Token};
    ///
    /// let token = Token { instance: 1, object: 9, kind: Kind::LIST };
    /// assert_eq!(Raw::assume_checked(&[9, 1, 9, 1]).as_token(), Some(token));
    /// ```
    #[inline]
    pub fn as_token(self) -> Option<Token> {
        Token::read_body(&mut self.after(tag::PROXY)?).ok()
    }

    /// The elements, if it is a list.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// let items = Raw::assume_checked(&[7, 2, 2, 1, 0]).list_items().unwrap();
    /// assert_eq!(items.map(Raw::type_name).collect::<Vec<_>>(), ["bool", "None"]);
    /// assert!(Raw::assume_checked(&[2, 1]).list_items().is_none());
    /// ```
    #[inline]
    pub fn list_items(self) -> Option<ListItems<'a>> {
        let mut reader = self.after(tag::LIST)?;
        let left = reader.parts(1)?;
        Some(ListItems { reader, left })
    }

    /// The pairs in their order, if it is a dict.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// let pairs = Raw::assume_checked(&[8, 1, 5, 1, b'a', 2, 1]).dict_items().unwrap();
    /// let pairs: Vec<_> = pairs.map(|(key, value)| (key.as_str(), value.as_bool())).collect();
    /// assert_eq!(pairs, [(Some("a"), Some(true))]);
    /// ```
    #[inline]
    pub fn dict_items(self) -> Option<DictItems<'a>> {
        let mut reader = self.after(tag::DICT)?;
        let left = reader.parts(2)?;
        Some(DictItems(ListItems { reader, left: 2 * left }))
    }

    /// Every proxy in it, however deep, in order; the same object as often as it occurs.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// let two_in_a_list = Raw::assume_checked(&[7, 2, 9, 1, 9, 1, 9, 1, 10, 2]);
    /// assert_eq!(two_in_a_list.tokens().map(|token| token.object).collect::<Vec<_>>(), [9, 10]);
    /// ```
    #[inline]
    pub fn tokens(self) -> Tokens<'a> {
        Tokens {
            reader: Reader::new(self.0),
        }
    }

    /// Whether there is any proxy in it.
    ///
    /// ```
    /// use byproxy_proto::value::Raw;
    ///
    /// assert!(Raw::assume_checked(&[7, 1, 9, 1, 9, 1]).has_tokens());
    /// assert!(!Raw::assume_checked(&[7, 0]).has_tokens());
    /// ```
    #[inline]
    pub fn has_tokens(self) -> bool {
        self.tokens().next().is_some()
    }

    #[inline]
    fn tag(self) -> u8 {
        self.0.first().copied().unwrap_or(u8::MAX)
    }

    /// What follows the tag, if it is this one.
    #[inline]
    fn after(self, tag: u8) -> Option<Reader<'a>> {
        let (&found, rest) = self.0.split_first()?;
        (found == tag).then_some(Reader { rest })
    }

    /// It passed some limit already: none but its depth is left to hold.
    fn own_limits(self) -> Limits {
        Limits {
            bytes: self.0.len(),
            depth: Limits::DEPTH_MAX,
            memory: usize::MAX,
        }
    }
}

/// Writes the value as it stands, byte for byte: a comparison must see what was read, not a fresh encoding of it.
impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Bytes<'a>(&'a [u8]);

        impl Serialize for Bytes<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(self.0)
            }
        }

        serializer.serialize_newtype_struct(RAW_NAME, &Bytes(self.0))
    }
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Part by part, for a writer that takes only so much ends this early: a tree of everything would have been built in vain.
        if let Some(items) = self.list_items() {
            f.write_str("[")?;
            for (index, item) in items.enumerate() {
                f.write_str(if index == 0 { "" } else { ", " })?;
                write!(f, "{item}")?;
            }
            return f.write_str("]");
        }
        if let Some(pairs) = self.dict_items() {
            f.write_str("{")?;
            for (index, (key, value)) in pairs.enumerate() {
                f.write_str(if index == 0 { "" } else { ", " })?;
                write!(f, "{key}: {value}")?;
            }
            return f.write_str("}");
        }
        match self.to_value() {
            Ok(value) => write!(f, "{value}"),
            Err(error) => write!(f, "<{error}>"),
        }
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({self})")
    }
}

/// The elements of an encoded list.
///
/// ```
/// use byproxy_proto::value::Raw;
///
/// let mut items = Raw::assume_checked(&[7, 2, 2, 1, 0]).list_items().unwrap();
/// assert_eq!(items.len(), 2);
/// assert_eq!(items.next().and_then(Raw::as_bool), Some(true));
/// assert_eq!(items.len(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct ListItems<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for ListItems<'a> {
    type Item = Raw<'a>;

    #[inline]
    fn next(&mut self) -> Option<Raw<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (item, rest) = split_first(self.reader.rest)?;
        self.reader.rest = rest;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ListItems<'_> {}

/// The pairs of an encoded dict.
///
/// ```
/// use byproxy_proto::value::Raw;
///
/// let pairs = Raw::assume_checked(&[8, 1, 5, 1, b'a', 2, 1]).dict_items().unwrap();
/// assert_eq!(pairs.len(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct DictItems<'a>(ListItems<'a>);

impl<'a> Iterator for DictItems<'a> {
    type Item = (Raw<'a>, Raw<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Raw<'a>, Raw<'a>)> {
        Some((self.0.next()?, self.0.next()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.left / 2, Some(self.0.left / 2))
    }
}

impl ExactSizeIterator for DictItems<'_> {}

/// The proxies in an encoded value.
///
/// ```
/// use byproxy_proto::value::Raw;
///
/// assert_eq!(Raw::assume_checked(&[7, 1, 9, 1, 9, 1]).tokens().count(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct Tokens<'a> {
    reader: Reader<'a>,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    #[inline]
    fn next(&mut self) -> Option<Token> {
        // Parts follow their header directly, so depth does not matter: one look at each tag in turn.
        while let Ok(tag) = self.reader.byte() {
            if tag == tag::PROXY {
                return Token::read_body(&mut self.reader).ok();
            }
            payload(tag, &mut self.reader).ok()?;
        }
        None
    }
}

/// The integer whose sign comes next, if it fits.
#[inline(never)]
fn any_int(mut reader: Reader<'_>) -> Option<i128> {
    let (negative, magnitude) = reader.int().ok()?;
    if negative {
        Some(0_i128.wrapping_sub_unsigned(magnitude))
    } else {
        magnitude.try_into().ok()
    }
}

/// The value at the front of bytes that were checked, and what follows it.
#[inline]
pub(crate) fn split_first(bytes: &[u8]) -> Option<(Raw<'_>, &[u8])> {
    // As most keys are.
    if let [tag::STR, len @ 0..0x80, ..] = *bytes
        && let Some((value, rest)) = bytes.split_at_checked(2 + usize::from(len))
    {
        return Some((Raw(value), rest));
    }
    split_any(bytes)
}

#[inline(never)]
fn split_any(bytes: &[u8]) -> Option<(Raw<'_>, &[u8])> {
    let mut reader = Reader::new(bytes);
    skip(&mut reader)?;
    let (value, rest) = bytes.split_at_checked(bytes.len() - reader.rest.len())?;
    Some((Raw(value), rest))
}

/// Passes over the next value without checking it again.
#[inline]
pub(crate) fn skip(reader: &mut Reader<'_>) -> Option<()> {
    reader.rest = match short::pass_checked(reader.rest) {
        Some(rest) => rest,
        None => skip_long(reader.rest)?,
    };
    Some(())
}

fn skip_long(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let mut values_left = 1_usize;
    while values_left > 0 {
        let tag = reader.byte().ok()?;
        let parts = payload(tag, &mut reader).ok()?;
        values_left = (values_left - 1).checked_add(parts)?;
    }
    Some(reader.rest)
}

/// Passes over what follows `tag` up to the first part; the answer is how many values follow as parts.
#[inline]
pub(crate) fn payload(tag: u8, reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    match tag {
        tag::NONE => Ok(0),
        tag::SOME => Ok(1),
        tag::BOOL => reader.byte().map(|_| 0),
        tag::INT => reader.skip_int().map(|()| 0),
        tag::FLOAT => reader.float().map(|_| 0),
        tag::STR | tag::BYTES => reader.bytes_counted().map(|_| 0),
        tag::LIST => reader.count(1),
        tag::DICT => reader.count(2).map(|pairs| 2 * pairs),
        tag::PROXY => Token::read_body(reader).map(|_| 0),
        other => Err(Malformed::Tag(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::to_vec;

    #[test]
    fn an_encoded_value_is_written_as_it_stands() {
        let limits = Limits::default();
        for value in [
            Value::None,
            Value::some(Value::None),
            Value::from("票"),
            Value::from([("k", 1)]),
        ] {
            let bytes = to_vec(&value, &limits).unwrap();
            let raw = Raw::assume_checked(&bytes);
            assert_eq!(to_vec(&raw, &limits).unwrap(), bytes);
            assert_eq!(
                to_vec(&(1, raw, 2), &limits).unwrap(),
                to_vec(&(1, &value, 2), &limits).unwrap()
            );
            assert_eq!(
                to_vec(&Some(raw), &limits).unwrap(),
                to_vec(&Some(&value), &limits).unwrap()
            );
        }
        assert!(
            to_vec(&Raw::assume_checked(&[]), &limits).is_err(),
            "no bytes are no value"
        );
    }
}
