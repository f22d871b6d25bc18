//! What a shared object can hold, and what may be written where an element is wanted.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use std::marker::PhantomData;

/// A type that a shared object can hold: anything that serde can write and read back.
///
/// It is implemented for every such type. What is held is a self-describing value, so renamed, added and defaulted fields behave as they
/// do in JSON, and a proxy of another type can look at the same object.
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Ticket {
///     train: String,
///     #[serde(default)]
///     seat: Option<u32>,
/// }
///
/// # let manager = byproxy::Manager::embedded()?;
/// let tickets = manager.list::<Ticket>()?;
/// tickets.append(Ticket { train: "G101".to_owned(), seat: None })?;
/// assert_eq!(tickets.get(0)?.train, "G101");
/// # Ok::<(), byproxy::Error>(())
/// ```
pub trait Element: Serialize + DeserializeOwned {}

impl<T: Serialize + DeserializeOwned> Element for T {}

/// What may be written where an element of type `T` is wanted: `T`, `&T`, `&str` for `String`, arrays and slices for `Vec`.
///
/// It makes `list.append(3)`, `list.append("a")` and `dict.insert("G101", 7)` mean what they say, without building a `String` on the way.
///
/// # Examples
///
/// ```
/// use byproxy::Manager;
///
/// let manager = Manager::embedded()?;
/// let routes = manager.dict::<String, Vec<u32>>()?;
/// routes.insert("G101", [1, 2, 3])?;
/// let name = String::from("G7");
/// routes.insert(&name, vec![4])?;
/// assert_eq!(routes.get("G101")?, Some(vec![1, 2, 3]));
/// # Ok::<(), byproxy::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` can't be stored where an element of type `{T}` is wanted")]
pub trait IntoElement<T>: Sized {
    /// What is written: the same bytes as those of a `T`.
    type Form: Serialize + ?Sized;

    /// The value in the form that is written.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::IntoElement;
    ///
    /// fn length(word: impl IntoElement<String, Form = str>) -> usize {
    ///     word.form().len()
    /// }
    /// assert_eq!(length("abc"), 3);
    /// ```
    fn form(&self) -> &Self::Form;

    /// The value itself, to be given back when it could not be stored.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::IntoElement;
    ///
    /// let word: String = "abc".into_element();
    /// assert_eq!(word, "abc");
    /// ```
    fn into_element(self) -> T;
}

impl<T: Serialize> IntoElement<T> for T {
    type Form = T;

    #[inline]
    fn form(&self) -> &T {
        self
    }

    fn into_element(self) -> T {
        self
    }
}

impl<T: Serialize + Clone> IntoElement<T> for &T {
    type Form = T;

    #[inline]
    fn form(&self) -> &T {
        self
    }

    fn into_element(self) -> T {
        self.clone()
    }
}

impl IntoElement<String> for &str {
    type Form = str;

    #[inline]
    fn form(&self) -> &str {
        self
    }

    fn into_element(self) -> String {
        self.to_owned()
    }
}

impl IntoElement<String> for &&str {
    type Form = str;

    #[inline]
    fn form(&self) -> &str {
        self
    }

    fn into_element(self) -> String {
        (*self).to_owned()
    }
}

impl<U: Serialize + Clone> IntoElement<Vec<U>> for &[U] {
    type Form = [U];

    fn form(&self) -> &[U] {
        self
    }

    fn into_element(self) -> Vec<U> {
        self.to_vec()
    }
}

impl<U: Serialize, const N: usize> IntoElement<Vec<U>> for [U; N] {
    type Form = [U];

    fn form(&self) -> &[U] {
        self
    }

    fn into_element(self) -> Vec<U> {
        self.into()
    }
}

impl<U: Serialize + Clone, const N: usize> IntoElement<Vec<U>> for &[U; N] {
    type Form = [U];

    fn form(&self) -> &[U] {
        *self
    }

    fn into_element(self) -> Vec<U> {
        self.to_vec()
    }
}

/// An integer type that the server can add to: it carries the bounds within which the sum must stay.
///
/// Implemented for all of Rust's integers up to 64 bits and for `i128`.
///
/// # Examples
///
/// ```
/// use byproxy::{DictProxy, Integer};
///
/// fn count<T: Integer>(counters: &DictProxy<String, T>, word: &str, by: T) -> byproxy::Result<()> {
///     counters.fetch_add(word, by).map(|_| ())
/// }
///
/// # let manager = byproxy::Manager::embedded()?;
/// let counters = manager.dict_from::<String, u8>([("der", 0)])?;
/// count(&counters, "der", 3)?;
/// assert_eq!(counters.get("der")?, Some(3));
/// # Ok::<(), byproxy::Error>(())
/// ```
pub trait Integer: Element + Copy + sealed::Sealed {
    /// The smallest value of the type.
    const LOWEST: i128;
    /// The largest value of the type.
    const HIGHEST: i128;

    /// The value in the widest type.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Integer;
    ///
    /// assert_eq!((u64::MAX.wide(), i8::LOWEST), (18_446_744_073_709_551_615, -128));
    /// ```
    fn wide(self) -> i128;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl sealed::Sealed for $integer {}

        #[allow(clippy::cast_lossless, reason = "there is no From for usize and isize, which are no wider either")]
        impl Integer for $integer {
            const LOWEST: i128 = <$integer>::MIN as i128;
            const HIGHEST: i128 = <$integer>::MAX as i128;

            #[inline]
            fn wide(self) -> i128 {
                self as i128
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize i128);

/// Elements on their way out as one List.
pub(crate) struct Forms<'a, E, T>(&'a [E], PhantomData<fn() -> T>);

impl<'a, E: IntoElement<T>, T> Forms<'a, E, T> {
    pub(crate) fn new(elements: &'a [E]) -> Self {
        Self(elements, PhantomData)
    }
}

impl<E: IntoElement<T>, T> Serialize for Forms<'_, E, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for element in self.0 {
            list.serialize_element(element.form())?;
        }
        list.end()
    }
}

/// Pairs on their way out as one Dict.
pub(crate) struct PairForms<'a, A, B, K, V>(&'a [(A, B)], PhantomData<fn() -> (K, V)>);

impl<'a, A: IntoElement<K>, B: IntoElement<V>, K, V> PairForms<'a, A, B, K, V> {
    pub(crate) fn new(pairs: &'a [(A, B)]) -> Self {
        Self(pairs, PhantomData)
    }
}

impl<A: IntoElement<K>, B: IntoElement<V>, K, V> Serialize for PairForms<'_, A, B, K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut dict = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            dict.serialize_entry(key.form(), value.form())?;
        }
        dict.end()
    }
}

/// What to add in order to subtract.
pub(crate) fn negated(delta: impl Integer) -> Result<i128> {
    let negated = delta.wide().checked_neg();
    negated.ok_or_else(|| Error::Overflow("the smallest 128-bit integer can't be subtracted".to_owned()))
}
