//! `DictProxy`: a shared dict.

mod iter;
mod modify;
mod whole;

pub use iter::DictIter;

use crate::codec;
use crate::error::Result;
use crate::proxy::call::calls;
use crate::proxy::element::{Element, IntoElement, PairForms};
use crate::proxy::proxy;
use byproxy_proto::op::{Operation, Wait};
use serde::Serialize;

proxy! {
    /// A shared dict: the same keys and values in every process that holds a proxy of it.
    ///
    /// Keys keep the order in which they were first inserted, as in Python. Any type may be a key; two keys are the same if their values
    /// are. A clone is another handle to the same dict; the dict is freed when no process, no other object and no name refers to it any
    /// more. Every method is atomic on the server, whatever other processes do meanwhile. None of them waits for another process; if
    /// the server dies each returns [`Error::Gone`](crate::Error::Gone), and
    /// [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown) if the change may have happened.
    ///
    /// Python: `manager.dict()`
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// let manager = Manager::embedded()?;
    /// let seats = manager.dict::<String, u32>()?;
    /// seats.insert("G101", 7)?;
    /// seats.modify("G101", |free| *free -= 1)?;
    /// assert_eq!(seats.get("G101")?, Some(6));
    /// assert_eq!(seats.to_string(), "{'G101': 6}");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    DictProxy [K, V] DICT
}

calls! {
    /// The calls of a dict as values; see [`DictProxy::calls`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.dict::<String, u32>()?;
    /// let calls = seats.calls();
    /// let changes = (
    ///     calls.insert("G101", 7), calls.try_insert("G101", 9), calls.setdefault("G102", 3), calls.update([("G103", 1), ("G104", 2)]),
    /// );
    /// assert!(seats.is_empty()?, "a call does nothing until it is made");
    /// let (before, inserted, default, updated) = manager.batch(changes);
    /// assert_eq!((before?, inserted?, default?, updated?), (None, false, 3, ()));
    ///
    /// let (len, empty, left, known) = manager.batch((calls.len(), calls.is_empty(), calls.get("G101"), calls.contains("G9")));
    /// assert_eq!((len?, empty?, left?, known?), (4, false, Some(7), false));
    ///
    /// let takes = (calls.copy(), calls.pop("G101"), calls.popitem(), calls.delete("G102"), calls.clear());
    /// let (copy, popped, last, deleted, cleared) = manager.batch(takes);
    /// assert_eq!((popped?, last?, deleted?, cleared?), (Some(7), Some(("G104".to_owned(), 2)), true, ()));
    /// assert_eq!((copy?.len()?, seats.len()?), (4, 0));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    DictCalls of DictProxy [K, V] {
        /// Sets a key's value and returns the one before, if any. A new key goes to the end.
        ///
        /// One round trip. Python: `d[k] = v`
        ///
        /// # Errors
        /// [`Error::WrongType`](crate::Error::WrongType) gives the value before back, which has been replaced all the same.
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let seats = manager.dict::<String, u32>()?;
        /// assert_eq!(seats.insert("G101", 7)?, None);
        /// assert_eq!(seats.insert("G101", 6)?, Some(7));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "set")]
        #[doc(alias = "put")]
        #[doc(alias = "__setitem__")]
        #[doc(alias = "store")]
        fn insert(key: impl IntoElement<K>, value: impl IntoElement<V>) -> Option<V>
            = DictInsert(key.form(), value.form()) => codec::option;

        /// Returns a key's value; `None` if the dict does not have the key.
        ///
        /// One round trip. Python: `d.get(k)`; `d[k]` is `get(k)?.ok_or(…)`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let seats = manager.dict_from::<String, u32>([("G101", 7)])?;
        /// assert_eq!(seats.get("G101")?, Some(7));
        /// assert_eq!(seats.get("G102")?, None);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "__getitem__")]
        #[doc(alias = "load")]
        fn get(key: impl IntoElement<K>) -> Option<V> = DictGet(key.form()) => codec::option;

        /// Removes a key and returns its value; `None` if the dict did not have the key.
        ///
        /// One round trip. Python: `d.pop(k, None)`
        ///
        /// # Errors
        /// [`Error::WrongType`](crate::Error::WrongType) gives the value back, which has been removed all the same.
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let seats = manager.dict_from::<String, u32>([("G101", 7)])?;
        /// assert_eq!((seats.pop("G101")?, seats.pop("G101")?), (Some(7), None));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "remove")]
        fn pop(key: impl IntoElement<K>) -> Option<V> = DictPop(key.form()) => codec::option;

        /// Removes and returns the pair whose key was inserted last; `None` if the dict is empty.
        ///
        /// One round trip. Python: `d.popitem()`
        ///
        /// # Errors
        /// [`Error::WrongType`](crate::Error::WrongType) gives the pair back, which has been removed all the same.
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let dict = manager.dict_from::<String, u32>([("a", 1), ("b", 2)])?;
        /// assert_eq!(dict.popitem()?, Some(("b".to_owned(), 2)));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "pop_last")]
        fn popitem() -> Option<(K, V)> = DictPopitem() => codec::option;

        /// Returns a key's value, after setting it to this one if the dict did not have the key.
        ///
        /// One round trip. Python: `d.setdefault(k, v)`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let dict = manager.dict::<String, u32>()?;
        /// assert_eq!((dict.setdefault("a", 1)?, dict.setdefault("a", 2)?), (1, 1));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "entry")]
        #[doc(alias = "or_insert")]
        fn setdefault(key: impl IntoElement<K>, value: impl IntoElement<V>) -> V
            = DictSetdefault(key.form(), value.form()) => codec::value;

        /// Sets a key's value if the dict does not have the key, and tells whether it did.
        ///
        /// One round trip. Python: none
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let owners = manager.dict::<u32, String>()?;
        /// assert!(owners.try_insert(7, "Ada")?);
        /// assert!(!owners.try_insert(7, "Grace")?);
        /// assert_eq!(owners.get(7)?.as_deref(), Some("Ada"));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "setnx")]
        #[doc(alias = "insert_new")]
        fn try_insert(key: impl IntoElement<K>, value: impl IntoElement<V>) -> bool
            = DictCompareAndSet(key.form(), None::<()>, Some(value.form())) => codec::value;

        /// Inserts pairs, all in one step.
        ///
        /// One round trip. Python: `d.update(pairs)`, `d |= pairs`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let dict = manager.dict_from::<String, u32>([("a", 1), ("b", 2)])?;
        /// dict.update([("b", 3), ("c", 4)])?;
        /// assert_eq!(dict.values()?, [1, 3, 4]);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "extend")]
        #[doc(alias = "|=")]
        #[doc(alias = "__ior__")]
        #[doc(alias = "insert_all")]
        fn update(pairs: impl IntoIterator<Item = (impl IntoElement<K>, impl IntoElement<V>)>) -> ()
            = DictUpdate(PairForms::new(&pairs.into_iter().collect::<Vec<_>>())) => codec::nothing;

        /// Returns the number of keys.
        ///
        /// One round trip. Python: `len(d)`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// assert_eq!(manager.dict_from::<String, u32>([("a", 1)])?.len()?, 1);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "size")]
        #[doc(alias = "__len__")]
        fn len() -> u64 = DictLen() => codec::value;

        /// Tells whether there are no keys.
        ///
        /// One round trip. Python: `not d`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// assert!(manager.dict::<String, u32>()?.is_empty()?);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        fn is_empty() -> bool = DictLen() => codec::is_zero;

        /// Tells whether the dict has a key.
        ///
        /// One round trip. Python: `k in d`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// assert!(manager.dict_from::<String, u32>([("a", 1)])?.contains("a")?);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "contains_key")]
        #[doc(alias = "has_key")]
        #[doc(alias = "in")]
        #[doc(alias = "__contains__")]
        fn contains(key: impl IntoElement<K>) -> bool = DictContains(key.form()) => codec::value;

        /// Removes a key, and tells whether the dict had it.
        ///
        /// One round trip. Python: `del d[k]`, which raises if it is not there
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let dict = manager.dict_from::<String, u32>([("a", 1)])?;
        /// assert!(dict.delete("a")?);
        /// assert!(!dict.delete("a")?);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "remove")]
        #[doc(alias = "__delitem__")]
        fn delete(key: impl IntoElement<K>) -> bool = DictDelete(key.form()) => codec::value;

        /// Removes all keys.
        ///
        /// One round trip. Python: `d.clear()`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let dict = manager.dict_from::<String, u32>([("a", 1)])?;
        /// dict.clear()?;
        /// assert!(dict.is_empty()?);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        fn clear() -> () = DictClear() => codec::nothing;

        /// Creates another shared dict with the same pairs.
        ///
        /// The copy is made on the server in one step; proxies in it refer to the same objects. One round trip.
        /// Python: `d.copy()`, which makes a plain dict; that is [`items`](Self::items)
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let dict = manager.dict_from::<String, u32>([("a", 1)])?;
        /// let copy = dict.copy()?;
        /// copy.insert("b", 2)?;
        /// assert_eq!((dict.len()?, copy.len()?), (1, 2));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "clone")]
        fn copy() -> DictProxy<K, V> = DictCopy() => codec::value;
    }
}

impl<K: Element, V: Element> DictProxy<K, V> {
    /// The same dict, with its keys and values read as other types.
    ///
    /// Local: what is of another type after all is an error when it is read. Python: none; types are found at run time
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Value;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.dict_from::<String, u32>([("G101", 7)])?;
    /// assert_eq!(seats.cast::<String, Value>().get("G101")?, Some(Value::from(7)));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn cast<L: Element, W: Element>(&self) -> DictProxy<L, W> {
        DictProxy::from_handle(self.handle.apart())
    }

    /// Creates another shared dict: these pairs, and then others, which replace those of the same key.
    ///
    /// Two round trips; the pairs of this dict are copied on the server in one step. If the second fails there is no new dict.
    /// Python: `d | pairs`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let dict = manager.dict_from::<String, u32>([("a", 1), ("b", 2)])?;
    /// let union = dict.union([("b", 3), ("c", 4)])?;
    /// assert_eq!((union.values()?, dict.values()?), (vec![1, 3, 4], vec![1, 2]));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "|")]
    #[doc(alias = "merge")]
    #[doc(alias = "__or__")]
    pub fn union(&self, pairs: impl IntoIterator<Item = (impl IntoElement<K>, impl IntoElement<V>)>) -> Result<Self> {
        let copy = self.copy()?;
        copy.update(pairs)?;
        Ok(copy)
    }

    fn ask<A: Serialize, R>(
        &self,
        operation: Operation,
        sent: &A,
        read: impl Fn(&[u8]) -> codec::Reading<R>,
    ) -> Result<R> {
        codec::call(&self.handle, operation, Wait::TRY, sent, read)
    }
}
