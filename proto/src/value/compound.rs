//! A list or dict while it is being written.

use serde::ser::{self, Serialize};

use super::error::EncodeError;
use super::ser::Serializer;

/// A list or dict that is being written.
///
/// ```
/// use byproxy_proto::value::{EncodeError, Limits, Serializer};
/// use serde::ser::{SerializeSeq, Serializer as _};
///
/// let mut out = Vec::new();
/// let mut serializer = Serializer::new(&mut out, &Limits::default());
/// let mut list = (&mut serializer).serialize_seq(None)?;
/// list.serialize_element(&true)?;
/// SerializeSeq::end(list)?;
/// assert_eq!(out, [7, 1, 2, 1]);
/// # Ok::<(), EncodeError>(())
/// ```
#[derive(Debug)]
pub struct Compound<'s, 'a> {
    serializer: &'s mut Serializer<'a>,
    /// Where its count stands.
    count_at: usize,
    /// The count that was written there.
    announced: usize,
    /// The elements or pairs written so far.
    count: usize,
    /// Whether a key waits for its value.
    key_open: bool,
    /// How many levels end with it: 2 when it is the content of an enum variant.
    enclosing: u32,
}

impl<'s, 'a> Compound<'s, 'a> {
    #[inline]
    pub(super) fn new(serializer: &'s mut Serializer<'a>, count_at: usize, announced: usize) -> Self {
        Self {
            serializer,
            count_at,
            announced,
            count: 0,
            key_open: false,
            enclosing: 1,
        }
    }

    /// The same, as the content of an enum variant.
    pub(super) fn in_variant(self) -> Self {
        Self { enclosing: 2, ..self }
    }

    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.count += 1;
        self.serializer.part(value)
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), EncodeError> {
        self.serializer.part(name)?;
        self.element(value)
    }

    #[inline]
    fn finish(self) -> Result<(), EncodeError> {
        self.serializer.close(self.enclosing);
        if self.key_open {
            return Err(EncodeError::Unsupported("a map with a key that has no value"));
        }
        if self.count == self.announced {
            return Ok(());
        }
        self.serializer.patch_count(self.count_at, self.announced, self.count)
    }
}

impl ser::SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        if std::mem::replace(&mut self.key_open, true) {
            return Err(EncodeError::Unsupported("a map with a key that has no value"));
        }
        self.serializer.part(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        if !std::mem::replace(&mut self.key_open, false) {
            return Err(EncodeError::Unsupported("a map with a value that has no key"));
        }
        self.element(value)
    }

    fn end(self) -> Result<(), EncodeError> {
        self.finish()
    }
}

/// The five kinds of list, and the two kinds of dict with field names, differ in the trait's name only.
macro_rules! compounds {
    (elements: $($list:ident::$element:ident),*; fields: $($dict:ident),*) => {
        $(impl ser::$list for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            #[inline]
            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.element(value)
            }

            #[inline]
            fn end(self) -> Result<(), EncodeError> {
                self.finish()
            }
        })*
        $(impl ser::$dict for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.field(name, value)
            }

            #[inline]
            fn end(self) -> Result<(), EncodeError> {
                self.finish()
            }
        })*
    };
}

compounds! {
    elements: SerializeSeq::serialize_element, SerializeTuple::serialize_element,
        SerializeTupleStruct::serialize_field, SerializeTupleVariant::serialize_field;
    fields: SerializeStruct, SerializeStructVariant
}
