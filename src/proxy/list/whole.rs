//! Reading a list as a whole: at one moment, or a chunk at a time.

use super::{ListCalls, ListIter, ListProxy};
use crate::codec;
use crate::error::{Error, Result};
use crate::proxy::Call;
use crate::proxy::element::Element;
use byproxy_proto::op::Operation;

impl<T: Element> ListProxy<T> {
    /// Returns all items, as they were at one moment.
    ///
    /// One round trip. When the items together exceed a reply, the server copies the list in one step and the copy is fetched in chunks,
    /// one round trip for each. Python: `list(l)`, `l[:]`, `l.copy()`
    ///
    /// # Errors
    /// [`Error::WrongType`] if one is of another type: all come back as one list, or the one alone where they came in chunks.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// assert_eq!(manager.list_from::<u32>([1, 2])?.to_vec()?, [1, 2]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "collect")]
    #[doc(alias = "tolist")]
    pub fn to_vec(&self) -> Result<Vec<T>> {
        match self.slice(..) {
            Err(Error::TooLarge(_)) => self.copy()?.iter().collect(),
            outcome => outcome,
        }
    }

    /// Goes through the items in order, a chunk at a time.
    ///
    /// Each item is the one that stands at its index when its chunk is fetched; changes made meanwhile show, as they do when Python
    /// iterates over a list that is being changed. For a snapshot use [`to_vec`](Self::to_vec). One round trip for each chunk of up to 4096
    /// items. An item of another type is an error in its place, and the iteration goes on after it; any other error ends it.
    ///
    /// Python: `for x in l`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list_from::<u32>(0..10_000)?;
    /// let sum = list.iter().sum::<Result<u32, _>>()?;
    /// assert_eq!(sum, 49_995_000);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn iter(&self) -> ListIter<T> {
        ListIter::new(self)
    }
}

impl<'a, T: Element> ListCalls<'a, T> {
    /// The call that [`ListProxy::to_vec`] makes first: it reads all items, as they were at one moment, if together they do not exceed a
    /// reply.
    ///
    /// Local.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if they do: the method then has the list copied and reads it in chunks, which is several calls.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let (waiting, done) = (manager.list_from::<u32>([1, 2])?, manager.list_from::<u32>([3])?);
    /// let [waiting, done] = manager.batch([waiting.calls().to_vec(), done.calls().to_vec()]);
    /// assert_eq!((waiting?, done?), (vec![1, 2], vec![3]));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "collect")]
    #[doc(alias = "tolist")]
    pub fn to_vec(&self) -> Call<'a, Vec<T>> {
        let everything = (0, None::<i64>);
        Call::new(&self.proxy.handle, Operation::ListSlice, &everything, codec::value)
    }
}
