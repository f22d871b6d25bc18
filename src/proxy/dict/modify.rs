//! Changing a value by what it is: with a function, by comparison, by adding.

use super::{DictCalls, DictProxy};
use crate::codec::{self, Seen};
use crate::error::{Error, Result};
use crate::proxy::element::{Element, Integer, IntoElement, negated};
use crate::proxy::{BackOff, Call, is_wrong_type};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{self, Limits, Raw};
use serde::Serialize;

impl<K: Element, V: Element> DictProxy<K, V> {
    /// Changes a key's value by a function, so that no other change comes between, and returns what the function returns.
    ///
    /// The value is read, changed here, and written back if the server still has the bytes that were read; else this starts again, so
    /// the function may run more than once. If it panics, or this process dies while it runs, nothing has been written. Two round trips, and two more for each
    /// time another was faster.
    /// Python: none; `d[k] += 1` loses updates
    ///
    /// # Errors
    /// [`Error::KeyMissing`](crate::Error::KeyMissing) if the dict does not have the key: [`setdefault`](Self::setdefault) sees to it.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.dict_from::<String, u32>([("G101", 1)])?;
    /// let book = |free: &mut u32| {
    ///     let sold = *free > 0;
    ///     *free -= u32::from(sold);
    ///     sold
    /// };
    /// assert!(seats.modify("G101", book)?);
    /// assert!(!seats.modify("G101", book)?, "sold out");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "update")]
    #[doc(alias = "fetch_update")]
    #[doc(alias = "and_modify")]
    pub fn modify<R>(&self, key: impl IntoElement<K>, mut change: impl FnMut(&mut V) -> R) -> Result<R> {
        let mut back_off = BackOff::default();
        loop {
            let Some(mut seen) = self.look(&key)? else {
                return Err(missing(key.form()));
            };
            let answer = change(&mut seen.value);
            if self.swap(&key, &Raw::assume_checked(&seen.bytes), Some(&seen.value))? {
                return Ok(answer);
            }
            back_off.pause();
        }
    }

    /// Replaces a key's value if it equals an expected one, and tells whether it did.
    ///
    /// Equal means the same bytes, so that a NaN equals itself, or `==` on this side; a key that is not there equals nothing, see
    /// [`try_insert`](Self::try_insert). One round trip if the value was written as the expected one is, else up to three, and two more
    /// each time another process was faster. Python: none
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let owners = manager.dict_from::<u32, String>([(7, "free")])?;
    /// assert!(owners.compare_and_set(7, "free", "Ada")?);
    /// assert!(!owners.compare_and_set(7, "free", "Grace")?);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "compare_exchange")]
    #[doc(alias = "replace")]
    pub fn compare_and_set(
        &self,
        key: impl IntoElement<K>,
        expected: impl IntoElement<V>,
        value: impl IntoElement<V>,
    ) -> Result<bool>
    where
        V: PartialEq,
    {
        self.swap_equal(&key, expected, Some(value.form()))
    }

    /// Removes a key if its value equals an expected one, and tells whether it did.
    ///
    /// Equal means the same bytes, or `==` on this side. One round trip if the value was written as the expected one is, else up to three, and two
    /// more each time another process was faster. Python: none
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let owners = manager.dict_from::<u32, String>([(7, "Ada")])?;
    /// assert!(!owners.compare_and_delete(7, "Grace")?);
    /// assert!(owners.compare_and_delete(7, "Ada")?);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn compare_and_delete(&self, key: impl IntoElement<K>, expected: impl IntoElement<V>) -> Result<bool>
    where
        V: PartialEq,
    {
        self.swap_equal(&key, expected, None::<&()>)
    }

    fn swap_equal<N: Serialize + ?Sized>(
        &self,
        key: &impl IntoElement<K>,
        expected: impl IntoElement<V>,
        value: Option<&N>,
    ) -> Result<bool>
    where
        V: PartialEq,
    {
        if self.swap(key, expected.form(), value)? {
            return Ok(true);
        }
        // Equal values may have other bytes, where a type's own order is random: what decides is `==`, then the bytes as they are.
        let expected = expected.into_element();
        let mut back_off = BackOff::default();
        loop {
            let Some(seen) = self.look(key)?.filter(|seen| seen.value == expected) else {
                return Ok(false);
            };
            if self.swap(key, &Raw::assume_checked(&seen.bytes), value)? {
                return Ok(true);
            }
            back_off.pause();
        }
    }

    fn look(&self, key: &impl IntoElement<K>) -> Result<Option<Seen<V>>> {
        self.ask(Operation::DictGet, &(key.form(),), |bytes| {
            codec::content(bytes).map(codec::seen).transpose()
        })
    }

    fn swap<E: Serialize + ?Sized, N: Serialize + ?Sized>(
        &self,
        key: &impl IntoElement<K>,
        seen: &E,
        value: Option<&N>,
    ) -> Result<bool> {
        self.ask(
            Operation::DictCompareAndSet,
            &(key.form(), Some(seen), value),
            codec::value,
        )
    }
}

impl<K: Element, V: Integer> DictProxy<K, V> {
    /// Adds to a key's integer in one step and returns what it was.
    ///
    /// One round trip. Python: none; `d[k] += n` loses updates
    ///
    /// # Errors
    /// [`Error::Overflow`](crate::Error::Overflow) if the sum would not fit the type; the value is as it was.
    /// [`Error::KeyMissing`](crate::Error::KeyMissing) if the dict does not have the key: see
    /// [`fetch_add_from`](Self::fetch_add_from). [`Error::WrongType`](crate::Error::WrongType) with the value, fetched by another round
    /// trip, if it is no integer.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Error;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let counters = manager.dict_from::<String, u8>([("a", 250)])?;
    /// assert_eq!(counters.fetch_add("a", 5)?, 250);
    /// assert!(matches!(counters.fetch_add("a", 1), Err(Error::Overflow(_))));
    /// assert_eq!(counters.get("a")?, Some(255));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "increment")]
    #[doc(alias = "+=")]
    pub fn fetch_add(&self, key: impl IntoElement<K>, delta: V) -> Result<V> {
        self.add(&key, delta.wide(), None)
    }

    /// Adds to a key's integer in one step and returns what it was, or what it was taken to be if the dict did not have the key.
    ///
    /// One round trip. Python: `d[k] = d.get(k, initial) + n`, which loses updates
    ///
    /// # Errors
    /// [`Error::Overflow`](crate::Error::Overflow) if the sum would not fit the type; the value is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let words = manager.dict::<String, u32>()?;
    /// for word in ["der", "die", "der"] {
    ///     words.fetch_add_from(word, 0, 1)?;
    /// }
    /// assert_eq!(words.get("der")?, Some(2));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "Counter")]
    pub fn fetch_add_from(&self, key: impl IntoElement<K>, initial: V, delta: V) -> Result<V> {
        self.add(&key, delta.wide(), Some(initial.wide()))
    }

    /// Subtracts from a key's integer in one step and returns what it was.
    ///
    /// One round trip. Python: none; `d[k] -= n` loses updates
    ///
    /// # Errors
    /// As [`fetch_add`](Self::fetch_add).
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.dict_from::<String, u32>([("G101", 1)])?;
    /// assert_eq!(seats.fetch_sub("G101", 1)?, 1);
    /// assert!(seats.fetch_sub("G101", 1).is_err(), "there is no seat less than none");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "decrement")]
    #[doc(alias = "-=")]
    pub fn fetch_sub(&self, key: impl IntoElement<K>, delta: V) -> Result<V> {
        self.add(&key, negated(delta)?, None)
    }

    fn add(&self, key: &impl IntoElement<K>, delta: i128, initial: Option<i128>) -> Result<V> {
        let sent = &(key.form(), delta, V::LOWEST, V::HIGHEST, initial);
        let outcome = self.ask(Operation::DictFetchAdd, sent, codec::value);
        // What is no integer comes back as from any other method: by reading it.
        outcome.or_else(|error| {
            if is_wrong_type(&error) {
                self.ask(Operation::DictGet, &(key.form(),), codec::option::<V>)?;
            }
            Err(error)
        })
    }
}

impl<'a, K: Element, V: Element> DictCalls<'a, K, V> {
    /// The call that [`DictProxy::compare_and_set`] makes first: it replaces the value if its bytes are those of the expected one.
    ///
    /// The method also looks at a value whose bytes are others, and compares it with `==`, which is more calls. So this one may refuse what
    /// the method replaces where equal values have different bytes: those of a type whose own order is random, such as a `HashMap`.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let owners = manager.dict_from::<u32, String>([(7, "free"), (8, "Grace")])?;
    /// let [first, second] = manager.batch([7, 8].map(|seat| owners.calls().compare_and_set(seat, "free", "Ada")));
    /// assert_eq!((first?, second?), (true, false));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "compare_exchange")]
    #[doc(alias = "replace")]
    pub fn compare_and_set(
        &self,
        key: impl IntoElement<K>,
        expected: impl IntoElement<V>,
        value: impl IntoElement<V>,
    ) -> Call<'a, bool> {
        self.swap(&key, &expected, Some(value.form()))
    }

    /// The call that [`DictProxy::compare_and_delete`] makes first: it removes the key if the bytes of its value are those of the expected
    /// one; otherwise as [`compare_and_set`](Self::compare_and_set).
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let owners = manager.dict_from::<u32, String>([(7, "Ada"), (8, "Grace")])?;
    /// let [first, second] = manager.batch([7, 8].map(|seat| owners.calls().compare_and_delete(seat, "Ada")));
    /// assert_eq!((first?, second?, owners.keys()?), (true, false, vec![8]));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn compare_and_delete(&self, key: impl IntoElement<K>, expected: impl IntoElement<V>) -> Call<'a, bool> {
        self.swap(&key, &expected, None::<&()>)
    }

    fn swap<N: Serialize + ?Sized>(
        &self,
        key: &impl IntoElement<K>,
        expected: &impl IntoElement<V>,
        value: Option<&N>,
    ) -> Call<'a, bool> {
        let sent = (key.form(), Some(expected.form()), value);
        Call::new(&self.proxy.handle, Operation::DictCompareAndSet, &sent, codec::value)
    }
}

impl<'a, K: Element, V: Integer> DictCalls<'a, K, V> {
    /// The call that [`DictProxy::fetch_add`] makes, except that a value which is no integer stays where it is: then it is an
    /// [`Error::Fault`].
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let hits = manager.dict_from::<String, u32>([("home", 7), ("news", 0)])?;
    /// let (home, news) = manager.batch((hits.calls().fetch_add("home", 1), hits.calls().fetch_add("news", 1)));
    /// assert_eq!((home?, news?), (7, 0));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "increment")]
    pub fn fetch_add(&self, key: impl IntoElement<K>, delta: V) -> Call<'a, V> {
        self.add(&key, delta.wide(), None)
    }

    /// The call that [`DictProxy::fetch_add_from`] makes, with the same exception as [`fetch_add`](Self::fetch_add).
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let words = manager.dict::<String, u32>()?;
    /// let text = ["der", "die", "der"];
    /// manager.batch(text.map(|word| words.calls().fetch_add_from(word, 0, 1)));
    /// assert_eq!(words.get("der")?, Some(2));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "Counter")]
    pub fn fetch_add_from(&self, key: impl IntoElement<K>, initial: V, delta: V) -> Call<'a, V> {
        self.add(&key, delta.wide(), Some(initial.wide()))
    }

    /// The call that [`DictProxy::fetch_sub`] makes, with the same exception as [`fetch_add`](Self::fetch_add).
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.dict_from::<String, u32>([("G101", 1)])?;
    /// let [sold, refused] = manager.batch(["G101", "G101"].map(|train| seats.calls().fetch_sub(train, 1)));
    /// assert_eq!(sold?, 1);
    /// assert!(refused.is_err(), "there is no seat less than none");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "decrement")]
    pub fn fetch_sub(&self, key: impl IntoElement<K>, delta: V) -> Call<'a, V> {
        match negated(delta) {
            Ok(delta) => self.add(&key, delta, None),
            Err(error) => Call::refused(&self.proxy.handle, Operation::DictFetchAdd, error, codec::value),
        }
    }

    fn add(&self, key: &impl IntoElement<K>, delta: i128, initial: Option<i128>) -> Call<'a, V> {
        let sent = (key.form(), delta, V::LOWEST, V::HIGHEST, initial);
        Call::new(&self.proxy.handle, Operation::DictFetchAdd, &sent, codec::value)
    }
}

#[cold]
fn missing<F: Serialize + ?Sized>(key: &F) -> Error {
    let key = value::to_vec(key, &Limits::default()).map_or_else(|_| "…".to_owned(), |key| value::summary(&key));
    Error::KeyMissing(format!("the dict has no key {key}: insert it first, or use setdefault"))
}
