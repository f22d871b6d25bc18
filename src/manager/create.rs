//! Making and finding shared objects.

use super::Manager;
use crate::codec;
use crate::error::Result;
use crate::proxy::{DictProxy, Element, Forms, IntoElement, ListProxy, LockProxy, PairForms, QueueProxy};
use byproxy_proto::op::{Operation, QueueOrder};
use byproxy_proto::value::Kind;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Manager {
    /// Makes an empty shared list.
    ///
    /// One round trip. Python: `manager.list()`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list::<u32>()?;
    /// list.append(1)?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn list<T: Element>(&self) -> Result<ListProxy<T>> {
        self.make(ListProxy::<T>::KIND, None, &())
    }

    /// Makes a shared list of these items.
    ///
    /// One round trip. Python: `manager.list([1, 2])`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list_from::<String>(["a", "b"])?;
    /// assert_eq!(list.len()?, 2);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn list_from<T: Element>(&self, items: impl IntoIterator<Item = impl IntoElement<T>>) -> Result<ListProxy<T>> {
        let items: Vec<_> = items.into_iter().collect();
        self.make(ListProxy::<T>::KIND, None, &Forms::new(&items))
    }

    /// Finds the shared list of this name, or makes it.
    ///
    /// It lives until its name is [removed](Manager::remove), and can be found by every process that is connected to the server.
    /// One round trip. Python: `register("name", callable=…)`
    ///
    /// # Errors
    /// [`Error::NameTaken`](crate::Error::NameTaken) if the name is that of something other than a list.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// manager.list_named::<u32>("sold")?.append(1)?;
    /// assert_eq!(manager.list_named::<u32>("sold")?.to_vec()?, [1]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn list_named<T: Element>(&self, name: &str) -> Result<ListProxy<T>> {
        self.make(ListProxy::<T>::KIND, Some(name), &())
    }

    /// Makes an empty shared dict.
    ///
    /// One round trip. Python: `manager.dict()`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let dict = manager.dict::<String, u32>()?;
    /// dict.insert("a", 1)?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn dict<K: Element, V: Element>(&self) -> Result<DictProxy<K, V>> {
        self.make(DictProxy::<K, V>::KIND, None, &())
    }

    /// Makes a shared dict of these pairs.
    ///
    /// One round trip. Python: `manager.dict({"a": 1})`, `dict.fromkeys(keys, value)`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let dict = manager.dict_from::<String, u32>([("a", 1), ("b", 2)])?;
    /// assert_eq!(dict.len()?, 2);
    /// let zeros = manager.dict_from::<String, u32>(["a", "b"].map(|key| (key, 0)))?;
    /// assert_eq!(zeros.get("b")?, Some(0));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "fromkeys")]
    pub fn dict_from<K: Element, V: Element>(
        &self,
        pairs: impl IntoIterator<Item = (impl IntoElement<K>, impl IntoElement<V>)>,
    ) -> Result<DictProxy<K, V>> {
        let pairs: Vec<_> = pairs.into_iter().collect();
        self.make(DictProxy::<K, V>::KIND, None, &PairForms::new(&pairs))
    }

    /// Finds the shared dict of this name, or makes it. It lives until its name is [removed](Manager::remove).
    ///
    /// One round trip. Python: `register("name", callable=…)`
    ///
    /// # Errors
    /// [`Error::NameTaken`](crate::Error::NameTaken) if the name is that of something other than a dict.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// manager.dict_named::<String, u32>("seats")?.insert("G101", 7)?;
    /// assert_eq!(manager.dict_named::<String, u32>("seats")?.get("G101")?, Some(7));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn dict_named<K: Element, V: Element>(&self, name: &str) -> Result<DictProxy<K, V>> {
        self.make(DictProxy::<K, V>::KIND, Some(name), &())
    }

    /// Makes a shared queue that gives the oldest item first, with room for so many; zero is without bound.
    ///
    /// One round trip. Python: `manager.Queue(maxsize)`, `manager.JoinableQueue(maxsize)`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(2)?;
    /// queue.put_many([1, 2])?;
    /// assert_eq!((queue.get()?, queue.get()?), (1, 2));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn queue<T: Element>(&self, maxsize: usize) -> Result<QueueProxy<T>> {
        self.make_queue(None, QueueOrder::Fifo, maxsize)
    }

    /// Makes a shared queue that gives the newest item first, with room for so many; zero is without bound.
    ///
    /// One round trip. Python: `queue.LifoQueue(maxsize)`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let stack = manager.lifo_queue::<u32>(0)?;
    /// stack.put_many([1, 2])?;
    /// assert_eq!((stack.get()?, stack.get()?), (2, 1));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "stack")]
    pub fn lifo_queue<T: Element>(&self, maxsize: usize) -> Result<QueueProxy<T>> {
        self.make_queue(None, QueueOrder::Lifo, maxsize)
    }

    /// Makes a shared queue that gives the smallest item first, with room for so many; zero is without bound.
    ///
    /// The order is that of values, as for [`ListProxy::sort`]; equal items come out in the order they went in.
    /// One round trip. Python: `queue.PriorityQueue(maxsize)`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.priority_queue::<(u32, String)>(0)?;
    /// queue.put((2, "sweep".to_owned()))?;
    /// queue.put((1, "put out the fire".to_owned()))?;
    /// assert_eq!(queue.get()?.0, 1);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "heap")]
    pub fn priority_queue<T: Element>(&self, maxsize: usize) -> Result<QueueProxy<T>> {
        self.make_queue(None, QueueOrder::Priority, maxsize)
    }

    /// Finds the shared queue of this name, or makes it as [`queue`](Manager::queue) does. It lives until its name is
    /// [removed](Manager::remove).
    ///
    /// One that is there keeps its order and its bound, whichever it was made with. One round trip. Python: `register("name", callable=…)`
    ///
    /// # Errors
    /// [`Error::NameTaken`](crate::Error::NameTaken) if the name is that of something other than a queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// manager.queue_named::<u32>("jobs", 0)?.put(1)?;
    /// assert_eq!(manager.queue_named::<u32>("jobs", 0)?.get()?, 1);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn queue_named<T: Element>(&self, name: &str, maxsize: usize) -> Result<QueueProxy<T>> {
        self.make_queue(Some(name), QueueOrder::Fifo, maxsize)
    }

    /// Finds the shared queue of this name, or makes it as [`lifo_queue`](Manager::lifo_queue) does. It lives until its name
    /// is [removed](Manager::remove).
    ///
    /// One that is there keeps its order and its bound, whichever it was made with. One round trip.
    /// Python: `register("name", callable=…)`
    ///
    /// # Errors
    /// [`Error::NameTaken`](crate::Error::NameTaken) if the name is that of something other than a queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// manager.lifo_queue_named::<u32>("stack", 0)?.put_many([1, 2])?;
    /// assert_eq!(manager.lifo_queue_named::<u32>("stack", 0)?.get()?, 2);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn lifo_queue_named<T: Element>(&self, name: &str, maxsize: usize) -> Result<QueueProxy<T>> {
        self.make_queue(Some(name), QueueOrder::Lifo, maxsize)
    }

    /// Finds the shared queue of this name, or makes it as [`priority_queue`](Manager::priority_queue) does. It lives
    /// until its name is [removed](Manager::remove).
    ///
    /// One that is there keeps its order and its bound, whichever it was made with. One round trip.
    /// Python: `register("name", callable=…)`
    ///
    /// # Errors
    /// [`Error::NameTaken`](crate::Error::NameTaken) if the name is that of something other than a queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// manager.priority_queue_named::<u32>("urgent", 0)?.put_many([2, 1])?;
    /// assert_eq!(manager.priority_queue_named::<u32>("urgent", 0)?.get()?, 1);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn priority_queue_named<T: Element>(&self, name: &str, maxsize: usize) -> Result<QueueProxy<T>> {
        self.make_queue(Some(name), QueueOrder::Priority, maxsize)
    }

    /// Makes a shared lock.
    ///
    /// One round trip. Python: `manager.Lock()`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// let _guard = lock.acquire()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "mutex")]
    pub fn lock(&self) -> Result<LockProxy> {
        self.make(LockProxy::KIND, None, &())
    }

    /// Finds the shared lock of this name, or makes it. It lives until its name is [removed](Manager::remove).
    ///
    /// One round trip. Python: `register("name", callable=…)`
    ///
    /// # Errors
    /// [`Error::NameTaken`](crate::Error::NameTaken) if the name is that of something other than a lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let _guard = manager.lock_named("file")?.acquire()?;
    /// assert!(manager.lock_named("file")?.locked()?);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn lock_named(&self, name: &str) -> Result<LockProxy> {
        self.make(LockProxy::KIND, Some(name), &())
    }

    fn make_queue<T: Element>(&self, name: Option<&str>, order: QueueOrder, maxsize: usize) -> Result<QueueProxy<T>> {
        self.make(QueueProxy::<T>::KIND, name, &(order, maxsize))
    }

    fn make<P: DeserializeOwned>(&self, kind: Kind, name: Option<&str>, contents: &impl Serialize) -> Result<P> {
        self.ask(Operation::Create, &(kind.0, name, contents), codec::value)
    }
}
