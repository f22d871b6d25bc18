//! Changing an item by what it is: with a function, by comparison, by adding.

use super::{ListCalls, ListProxy};
use crate::codec::{self, Seen};
use crate::error::Result;
use crate::proxy::call::list;
use crate::proxy::element::{Element, Integer, IntoElement, negated};
use crate::proxy::{BackOff, Call, is_wrong_type};
use byproxy_proto::op::Operation;
use byproxy_proto::value::Raw;
use serde::Serialize;

impl<T: Element> ListProxy<T> {
    /// Changes the item at an index by a function, so that no other change comes between, and returns what the function returns.
    ///
    /// The item is read, changed here, and written back if the server still has the bytes that were read; else this starts again, so
    /// the function may run more than once. If it panics, or this process dies while it runs, nothing has been written. Two round trips, and two more for each
    /// time another was faster.
    /// Python: none; `l[i] += 1` loses updates
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list_from::<Vec<u32>>([vec![1]])?;
    /// let length = list.modify(0, |inner| {
    ///     inner.push(2);
    ///     inner.len()
    /// })?;
    /// assert_eq!((length, list.get(0)?), (2, vec![1, 2]));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "update")]
    #[doc(alias = "fetch_update")]
    pub fn modify<R>(&self, index: i64, mut change: impl FnMut(&mut T) -> R) -> Result<R> {
        let mut back_off = BackOff::default();
        loop {
            let mut seen: Seen<T> = self.ask(Operation::ListGet, &(index,), codec::seen)?;
            let answer = change(&mut seen.value);
            if self.swap(index, &Raw::assume_checked(&seen.bytes), &seen.value)? {
                return Ok(answer);
            }
            back_off.pause();
        }
    }

    /// Changes the whole list by a function, so that no other change comes between, and returns what the function returns.
    ///
    /// The items are read, changed here, and written back if the list has not changed since; else this starts again, so the function may
    /// run more than once; if it panics nothing has been written. Two round trips that carry all items, and two more for each time another was faster: for lists that are small or
    /// changed rarely. Python: none
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) if all items together exceed one reply.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list_from::<String>(["ccc", "a", "bb"])?;
    /// list.modify_all(|items| items.sort_by_key(String::len))?;
    /// assert_eq!(list.to_vec()?, ["a", "bb", "ccc"]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn modify_all<R>(&self, mut change: impl FnMut(&mut Vec<T>) -> R) -> Result<R> {
        let mut back_off = BackOff::default();
        loop {
            let (version, mut items): (u64, Vec<T>) = self.ask(Operation::ListSnapshot, &list!(), codec::value)?;
            let answer = change(&mut items);
            if self.ask(Operation::ListReplace, &(version, &items), codec::value)? {
                return Ok(answer);
            }
            back_off.pause();
        }
    }

    /// Replaces the item at an index if it equals an expected one, and tells whether it did.
    ///
    /// Equal means the same bytes, so that a NaN equals itself, or `==` on this side. One round trip if the item was written as the
    /// expected one is, else up to three, and two more each time another process was faster. Python: none
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.list_from::<String>(["free", "free"])?;
    /// assert!(seats.compare_and_set(0, "free", "Ada")?);
    /// assert!(!seats.compare_and_set(0, "free", "Grace")?);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "compare_exchange")]
    pub fn compare_and_set(&self, index: i64, expected: impl IntoElement<T>, item: impl IntoElement<T>) -> Result<bool>
    where
        T: PartialEq,
    {
        if self.swap(index, expected.form(), item.form())? {
            return Ok(true);
        }
        // Equal values may have other bytes, where a type's own order is random: what decides is `==`, then the bytes as they are.
        let expected = expected.into_element();
        let mut back_off = BackOff::default();
        loop {
            let seen: Seen<T> = self.ask(Operation::ListGet, &(index,), codec::seen)?;
            if seen.value != expected {
                return Ok(false);
            }
            if self.swap(index, &Raw::assume_checked(&seen.bytes), item.form())? {
                return Ok(true);
            }
            back_off.pause();
        }
    }

    fn swap<E: Serialize + ?Sized, N: Serialize + ?Sized>(&self, index: i64, seen: &E, item: &N) -> Result<bool> {
        self.ask(Operation::ListCompareAndSet, &(index, seen, item), codec::value)
    }
}

impl<T: Integer> ListProxy<T> {
    /// Adds to the integer at an index in one step and returns what it was.
    ///
    /// One round trip. Python: none; `l[i] += n` loses updates
    ///
    /// # Errors
    /// [`Error::Overflow`](crate::Error::Overflow) if the sum would not fit the type; the item is as it was.
    /// [`Error::WrongType`](crate::Error::WrongType) with the item, fetched by another round trip, if it is no integer.
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Error;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let counters = manager.list_from::<u8>([0, 250])?;
    /// assert_eq!(counters.fetch_add(1, 5)?, 250);
    /// assert!(matches!(counters.fetch_add(1, 1), Err(Error::Overflow(_))));
    /// assert_eq!(counters.get(1)?, 255);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "increment")]
    #[doc(alias = "+=")]
    pub fn fetch_add(&self, index: i64, delta: T) -> Result<T> {
        self.add(index, delta.wide())
    }

    /// Subtracts from the integer at an index in one step and returns what it was.
    ///
    /// One round trip. Python: none; `l[i] -= n` loses updates
    ///
    /// # Errors
    /// As [`fetch_add`](Self::fetch_add).
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.list_from::<u32>([1])?;
    /// assert_eq!(seats.fetch_sub(0, 1)?, 1);
    /// assert!(seats.fetch_sub(0, 1).is_err(), "there is no seat less than none");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "decrement")]
    #[doc(alias = "-=")]
    pub fn fetch_sub(&self, index: i64, delta: T) -> Result<T> {
        self.add(index, negated(delta)?)
    }

    fn add(&self, index: i64, delta: i128) -> Result<T> {
        let sent = &(index, delta, T::LOWEST, T::HIGHEST);
        let outcome = self.ask(Operation::ListFetchAdd, sent, codec::value);
        // What is no integer comes back as from any other method: by reading it.
        outcome.or_else(|error| {
            if is_wrong_type(&error) {
                self.get(index)?;
            }
            Err(error)
        })
    }
}

impl<'a, T: Element> ListCalls<'a, T> {
    /// The call that [`ListProxy::compare_and_set`] makes first: it replaces the item if its bytes are those of the expected one.
    ///
    /// The method also looks at an item whose bytes are others, and compares it with `==`, which is more calls. So this one may refuse what
    /// the method replaces where equal values have different bytes: those of a type whose own order is random, such as a `HashMap`.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.list_from::<String>(["free", "Grace"])?;
    /// let [first, second] = manager.batch([0, 1].map(|seat| seats.calls().compare_and_set(seat, "free", "Ada")));
    /// assert_eq!((first?, second?), (true, false));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "compare_exchange")]
    pub fn compare_and_set(
        &self,
        index: i64,
        expected: impl IntoElement<T>,
        item: impl IntoElement<T>,
    ) -> Call<'a, bool> {
        let sent = (index, expected.form(), item.form());
        Call::new(&self.proxy.handle, Operation::ListCompareAndSet, &sent, codec::value)
    }
}

impl<'a, T: Integer> ListCalls<'a, T> {
    /// The call that [`ListProxy::fetch_add`] makes, except that an item which is no integer stays where it is: then it is an
    /// [`Error::Fault`](crate::Error::Fault).
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.list_from::<u32>([3, 0])?;
    /// let [first, second] = manager.batch([0, 1].map(|train| seats.calls().fetch_add(train, 1)));
    /// assert_eq!((first?, second?), (3, 0));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "increment")]
    pub fn fetch_add(&self, index: i64, delta: T) -> Call<'a, T> {
        self.add(index, delta.wide())
    }

    /// The call that [`ListProxy::fetch_sub`] makes, with the same exception as [`fetch_add`](Self::fetch_add).
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.list_from::<u32>([1])?;
    /// let [sold, refused] = manager.batch([0, 0].map(|train| seats.calls().fetch_sub(train, 1)));
    /// assert_eq!(sold?, 1);
    /// assert!(refused.is_err(), "there is no seat less than none");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "decrement")]
    pub fn fetch_sub(&self, index: i64, delta: T) -> Call<'a, T> {
        match negated(delta) {
            Ok(delta) => self.add(index, delta),
            Err(error) => Call::refused(&self.proxy.handle, Operation::ListFetchAdd, error, codec::value),
        }
    }

    fn add(&self, index: i64, delta: i128) -> Call<'a, T> {
        let sent = (index, delta, T::LOWEST, T::HIGHEST);
        Call::new(&self.proxy.handle, Operation::ListFetchAdd, &sent, codec::value)
    }
}
