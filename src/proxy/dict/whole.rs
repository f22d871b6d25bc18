//! Reading a dict as a whole: at one moment, or a chunk at a time.

use super::{DictCalls, DictIter, DictProxy};
use crate::codec;
use crate::error::{Error, Result};
use crate::proxy::Call;
use crate::proxy::call::list;
use crate::proxy::element::Element;
use byproxy_proto::op::Operation;

impl<K: Element, V: Element> DictProxy<K, V> {
    /// Returns the keys in order, as they were at one moment.
    ///
    /// One round trip. When they exceed a reply, the server copies the dict in one step and the copy is fetched in chunks, one round trip
    /// for each. Python: `list(d.keys())`
    ///
    /// # Errors
    /// [`Error::WrongType`] if one is of another type: all come back as one list, or the one alone where they came in chunks.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let dict = manager.dict_from::<String, u32>([("b", 1), ("a", 2)])?;
    /// assert_eq!(dict.keys()?, ["b", "a"]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn keys(&self) -> Result<Vec<K>> {
        match self.ask(Operation::DictKeys, &list!(), codec::value) {
            Err(Error::TooLarge(_)) => self.copy()?.iter().map(|pair| Ok(pair?.0)).collect(),
            outcome => outcome,
        }
    }

    /// Returns the values in the order of their keys, as they were at one moment.
    ///
    /// One round trip, or more for a large dict, as [`keys`](Self::keys). Python: `list(d.values())`
    ///
    /// # Errors
    /// As [`keys`](Self::keys).
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let dict = manager.dict_from::<String, u32>([("b", 1), ("a", 2)])?;
    /// assert_eq!(dict.values()?, [1, 2]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn values(&self) -> Result<Vec<V>> {
        match self.ask(Operation::DictValues, &list!(), codec::value) {
            Err(Error::TooLarge(_)) => self.copy()?.iter().map(|pair| Ok(pair?.1)).collect(),
            outcome => outcome,
        }
    }

    /// Returns the pairs in order, as they were at one moment.
    ///
    /// One round trip, or more for a large dict, as [`keys`](Self::keys). Python: `list(d.items())`, `d.copy()`
    ///
    /// # Errors
    /// As [`keys`](Self::keys), except that all pairs come back as one dict.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let dict = manager.dict_from::<String, u32>([("b", 1), ("a", 2)])?;
    /// assert_eq!(dict.items()?, [("b".to_owned(), 1), ("a".to_owned(), 2)]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "pairs")]
    #[doc(alias = "entries")]
    pub fn items(&self) -> Result<Vec<(K, V)>> {
        match self.ask(Operation::DictItems, &list!(), codec::all_pairs) {
            Err(Error::TooLarge(_)) => self.copy()?.iter().collect(),
            outcome => outcome,
        }
    }

    /// Goes through the pairs in order, a chunk at a time.
    ///
    /// If keys come or go meanwhile, the next item is [`Error::Changed`](crate::Error::Changed) and the iteration ends, as Python raises;
    /// changed values show. For a snapshot use [`items`](Self::items). One round trip for each chunk of up to 4096 pairs. A pair of another
    /// type is an error in its place, and the iteration goes on after it; any other error ends it.
    ///
    /// Python: `for k, v in d.items()`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.dict_from::<String, u32>([("G101", 7), ("G102", 3)])?;
    /// let mut free = 0;
    /// for pair in &seats {
    ///     free += pair?.1;
    /// }
    /// assert_eq!(free, 10);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn iter(&self) -> DictIter<K, V> {
        DictIter::new(self, false)
    }

    /// Goes through the pairs from the last to the first, a chunk at a time; otherwise as [`iter`](Self::iter).
    ///
    /// One round trip for each chunk of up to 4096 pairs. Python: `reversed(d.items())`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let dict = manager.dict_from::<String, u32>([("a", 1), ("b", 2)])?;
    /// assert_eq!(dict.iter_reversed().next().transpose()?, Some(("b".to_owned(), 2)));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "reversed")]
    #[doc(alias = "rev")]
    pub fn iter_reversed(&self) -> DictIter<K, V> {
        DictIter::new(self, true)
    }
}

impl<'a, K: Element, V: Element> DictCalls<'a, K, V> {
    /// The call that [`DictProxy::keys`] makes first: it reads all keys, as they were at one moment, if together they do not exceed a reply.
    ///
    /// Local.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if they do: the method then has the dict copied and reads it in chunks, which is several calls.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let dict = manager.dict_from::<String, u32>([("b", 1), ("a", 2)])?;
    /// let (keys, values) = manager.batch((dict.calls().keys(), dict.calls().values()));
    /// assert_eq!((keys?, values?), (vec!["b".to_owned(), "a".to_owned()], vec![1, 2]));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn keys(&self) -> Call<'a, Vec<K>> {
        Call::new(&self.proxy.handle, Operation::DictKeys, &list!(), codec::value)
    }

    /// The call that [`DictProxy::values`] makes first; otherwise as [`keys`](Self::keys).
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let dict = manager.dict_from::<String, u32>([("b", 1), ("a", 2)])?;
    /// assert_eq!(dict.calls().values().send()?, [1, 2]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn values(&self) -> Call<'a, Vec<V>> {
        Call::new(&self.proxy.handle, Operation::DictValues, &list!(), codec::value)
    }

    /// The call that [`DictProxy::items`] makes first; otherwise as [`keys`](Self::keys).
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let (sold, free) = (manager.dict_from::<String, u32>([("G1", 3)])?, manager.dict_from::<String, u32>([("G1", 7)])?);
    /// let [sold, free] = manager.batch([&sold, &free].map(|dict| dict.calls().items()));
    /// assert_eq!((sold?, free?), (vec![("G1".to_owned(), 3)], vec![("G1".to_owned(), 7)]));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "pairs")]
    #[doc(alias = "entries")]
    pub fn items(&self) -> Call<'a, Vec<(K, V)>> {
        Call::new(&self.proxy.handle, Operation::DictItems, &list!(), codec::all_pairs)
    }
}
