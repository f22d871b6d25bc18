//! `QueueProxy`: a shared queue.

mod audit;
mod delivery;
mod errors;

pub use audit::{Consumer, Departed, QueueAudit};
pub use delivery::Delivery;
pub use errors::{GetError, GetTimeoutError, PutError, PutManyError, PutTimeoutError, TryGetError, TryPutError};

use crate::codec;
use crate::error::{Error, Result};
use crate::proxy::call::calls;
use crate::proxy::element::{Element, Forms, IntoElement};
use crate::proxy::proxy;
use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::{Operation, Wait};
use serde::Serialize;
use std::time::Duration;

proxy! {
    /// A shared queue: what one process puts, one other gets.
    ///
    /// One made by [`Manager::queue`](crate::Manager::queue) gives the items in the order they were put;
    /// [`lifo_queue`](crate::Manager::lifo_queue) gives the newest first, [`priority_queue`](crate::Manager::priority_queue) the smallest.
    /// It is Python's `JoinableQueue` as well: [`task_done`](Self::task_done) and [`join`](Self::join).
    ///
    /// No item is lost: until [`get`](Self::get) has returned, an item is the queue's, and if the process that was about to get it dies, the
    /// item is back at its old position. A process that dies while it waits leaves no trace. A clone is another handle to the same queue; the
    /// queue is freed when no process, no other object and no name refers to it any more.
    ///
    /// Calls that wait do so on the server, in order, first come first served. If the server dies they return
    /// [`Error::Gone`](crate::Error::Gone), as every other call.
    ///
    /// Python: `manager.Queue(maxsize)`, `JoinableQueue`
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// let manager = Manager::embedded()?;
    /// let queue = manager.queue::<String>(0)?;
    /// queue.put("first")?;
    /// queue.put("second")?;
    /// assert_eq!(queue.get()?, "first");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    QueueProxy [T] QUEUE
}

calls! {
    /// The calls of a queue as values; see [`QueueProxy::calls`].
    QueueCalls of QueueProxy [T] {
        /// Returns how many items are in the queue. Another process may change that before you look at the number.
        ///
        /// Items on their way to a consumer do not count. One round trip. Python: `q.qsize()`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let queue = manager.queue::<u32>(0)?;
        /// queue.put(1)?;
        /// assert_eq!(queue.qsize()?, 1);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "len")]
        fn qsize() -> u64 = QueueQsize() => codec::value;

        /// Returns how many items there is room for; zero is without bound.
        ///
        /// One round trip. Python: `q.maxsize`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// assert_eq!(manager.queue::<u32>(3)?.maxsize()?, 3);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "capacity")]
        fn maxsize() -> u64 = QueueMaxsize() => codec::value;

        /// Says that one item, got before, has been dealt with.
        ///
        /// One round trip. Python: `q.task_done()`
        ///
        /// # Errors
        /// [`Error::Misuse`](crate::Error::Misuse) if it is said more often than there were items.
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let queue = manager.queue::<u32>(0)?;
        /// queue.put(1)?;
        /// queue.get()?;
        /// queue.task_done()?;
        /// queue.join()?;
        /// assert!(queue.task_done().is_err(), "once too often");
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        fn task_done() -> () = QueueTaskDone() => codec::nothing;

        /// Ends the queue: no more items go in, and gets end when it is empty.
        ///
        /// Puts that wait return `ShutDown` with their item; gets that wait on the empty queue return `ShutDown`. Again is the same.
        /// One round trip. Python: `q.shutdown()`
        ///
        /// # Examples
        ///
        /// ```
        /// use byproxy::{PutError, TryGetError};
        ///
        /// # let manager = byproxy::Manager::embedded()?;
        /// let queue = manager.queue::<u32>(0)?;
        /// queue.put(1)?;
        /// queue.shutdown()?;
        /// assert!(matches!(queue.put(2), Err(PutError::ShutDown(2))));
        /// assert_eq!(queue.get()?, 1);
        /// assert!(matches!(queue.try_get(), Err(TryGetError::ShutDown)));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "close")]
        fn shutdown() -> () = QueueShutdown(false) => codec::nothing;

        /// Ends the queue at once and throws away what is in it.
        ///
        /// One round trip. Python: `q.shutdown(immediate=True)`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let queue = manager.queue::<u32>(0)?;
        /// queue.put(1)?;
        /// queue.shutdown_now()?;
        /// assert!(queue.get().is_err());
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        fn shutdown_now() -> () = QueueShutdown(true) => codec::nothing;

        /// Returns the queue's books: how many items were put, became a consumer's own, came back, and the same for each consumer.
        ///
        /// One round trip. Python: none
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let queue = manager.queue::<u32>(0)?;
        /// queue.put_many([1, 2])?;
        /// queue.get()?;
        /// let books = queue.audit()?;
        /// assert_eq!((books.accepted, books.committed, books.waiting), (2, 1, 1));
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        fn audit() -> QueueAudit = QueueAudit() => codec::value;
    }
}

impl<T: Element> QueueProxy<T> {
    /// The same queue, with its items read as another type.
    ///
    /// Local: an item that is of another type after all is an error when it is read. Python: none; types are found at run time
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Value;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let numbers = manager.queue::<u32>(0)?;
    /// numbers.put(7)?;
    /// assert_eq!(numbers.cast::<Value>().get()?, Value::from(7));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn cast<U: Element>(&self) -> QueueProxy<U> {
        QueueProxy::from_handle(self.handle.clone())
    }

    /// Puts an item, and waits for room if the queue has a bound.
    ///
    /// One round trip, and the wait. Python: `q.put(x)`
    ///
    /// # Errors
    /// [`PutError::ShutDown`] gives the item back.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(1)?;
    /// queue.put(1)?;
    /// assert_eq!(queue.get()?, 1);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "push")]
    #[doc(alias = "send")]
    pub fn put(&self, item: impl IntoElement<T>) -> Result<(), PutError<T>> {
        self.put_within(&item, Wait::FOREVER)
            .map_err(|error| PutError::new(error, || item.into_element()))
    }

    /// Puts an item if there is room now.
    ///
    /// One round trip. Python: `q.put(x, block=False)`, `q.put_nowait(x)`
    ///
    /// # Errors
    /// [`TryPutError::Full`] and [`TryPutError::ShutDown`] give the item back.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::TryPutError;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<String>(1)?;
    /// queue.try_put("a")?;
    /// let Err(TryPutError::Full(item)) = queue.try_put("b") else { panic!("there is room for one") };
    /// assert_eq!(item, "b");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "put_nowait")]
    #[doc(alias = "try_send")]
    pub fn try_put(&self, item: impl IntoElement<T>) -> Result<(), TryPutError<T>> {
        self.put_within(&item, Wait::TRY)
            .map_err(|error| TryPutError::new(error, || item.into_element()))
    }

    /// Puts an item, and waits for room at most this long. `Duration::ZERO` is a try, `Duration::MAX` for ever.
    ///
    /// One round trip, and the wait, which the server counts. Python: `q.put(x, timeout=s)`
    ///
    /// # Errors
    /// [`PutTimeoutError::Timeout`] and [`PutTimeoutError::ShutDown`] give the item back.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::PutTimeoutError;
    /// use std::time::Duration;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(1)?;
    /// queue.put(1)?;
    /// let outcome = queue.put_timeout(2, Duration::from_millis(10));
    /// assert!(matches!(outcome, Err(PutTimeoutError::Timeout(2))));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "send_timeout")]
    pub fn put_timeout(&self, item: impl IntoElement<T>, timeout: Duration) -> Result<(), PutTimeoutError<T>> {
        self.put_within(&item, Wait::at_most(timeout))
            .map_err(|error| PutTimeoutError::new(elapsed(error), || item.into_element()))
    }

    /// Puts items in order, and waits for room for all of them. Items of others may come between those that had to wait.
    ///
    /// One round trip, and the wait. Python: none
    ///
    /// # Errors
    /// [`PutManyError::ShutDown`] gives back the items that had not gone in.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.put_many(0..100)?;
    /// assert_eq!(queue.qsize()?, 100);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "extend")]
    pub fn put_many(&self, items: impl IntoIterator<Item = impl IntoElement<T>>) -> Result<(), PutManyError<T>> {
        let items: Vec<_> = items.into_iter().collect();
        let sent = &(Forms::new(&items), Wait::FOREVER);
        let put: usize = match self.ask(Operation::QueuePutMany, Wait::FOREVER, sent, codec::value) {
            Err(Error::ShutDown) => 0,
            Err(Error::Fault(fault)) if fault.code == FaultCode::ShutDown => {
                usize::try_from(codec::count_in(&fault.detail)).unwrap_or(usize::MAX)
            }
            outcome => outcome.map_err(PutManyError::Other)?,
        };
        if put >= items.len() {
            return Ok(());
        }
        Err(PutManyError::ShutDown(
            items.into_iter().skip(put).map(IntoElement::into_element).collect(),
        ))
    }

    /// Removes and returns the next item, and waits for one.
    ///
    /// Until this has returned the item is the queue's: if this process dies, the item is not lost.
    /// One round trip, and the wait. Python: `q.get()`
    ///
    /// # Errors
    /// [`GetError::ShutDown`] once the queue was shut down and is empty. [`Error::WrongType`](crate::Error::WrongType) gives the item back,
    /// which has been removed all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// std::thread::scope(|scope| {
    ///     let consumer = scope.spawn(|| queue.get());
    ///     queue.put(1)?;
    ///     assert_eq!(consumer.join().unwrap()?, 1);
    ///     Ok::<(), byproxy::Error>(())
    /// })?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "pop")]
    #[doc(alias = "recv")]
    pub fn get(&self) -> Result<T, GetError> {
        Ok(self.get_within(Wait::FOREVER)?)
    }

    /// Removes and returns the next item if there is one now.
    ///
    /// One round trip. Python: `q.get(block=False)`, `q.get_nowait()`
    ///
    /// # Errors
    /// [`TryGetError::Empty`]; otherwise as [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::TryGetError;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "get_nowait")]
    #[doc(alias = "try_recv")]
    pub fn try_get(&self) -> Result<T, TryGetError> {
        Ok(self.get_within(Wait::TRY)?)
    }

    /// Removes and returns the next item, and waits for one at most this long. `Duration::ZERO` is a try, `Duration::MAX` for ever.
    ///
    /// One round trip, and the wait, which the server counts: an item is never lost to a timeout that it just missed.
    /// Python: `q.get(timeout=s)`
    ///
    /// # Errors
    /// [`GetTimeoutError::Timeout`]; otherwise as [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::GetTimeoutError;
    /// use std::time::Duration;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// let outcome = queue.get_timeout(Duration::from_millis(10));
    /// assert!(matches!(outcome, Err(GetTimeoutError::Timeout)));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "recv_timeout")]
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetTimeoutError> {
        Ok(self.get_within(Wait::at_most(timeout)).map_err(elapsed)?)
    }

    /// Removes and returns up to so many items, and waits for the first one. Fewer come when there are no more, or they exceed a reply.
    ///
    /// The items become this process's own in one step. One round trip, and the wait. Python: none
    ///
    /// # Errors
    /// As [`get`](Self::get); if one item is of another type, all come back as one list.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.put_many([1, 2, 3])?;
    /// assert_eq!(queue.get_many(2)?, [1, 2]);
    /// assert_eq!(queue.get_many(2)?, [3]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "drain")]
    pub fn get_many(&self, items_max: usize) -> Result<Vec<T>, GetError> {
        Ok(self.get_many_within(items_max, Wait::FOREVER)?)
    }

    /// Removes and returns up to so many items, if there are any now.
    ///
    /// One round trip. Python: none
    ///
    /// # Errors
    /// As [`try_get`](Self::try_get).
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.put_many([1, 2, 3])?;
    /// assert_eq!(queue.try_get_many(10)?, [1, 2, 3]);
    /// assert!(queue.try_get_many(10).is_err());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn try_get_many(&self, items_max: usize) -> Result<Vec<T>, TryGetError> {
        Ok(self.get_many_within(items_max, Wait::TRY)?)
    }

    /// Borrows the next item, and waits for one: it stays the queue's until it is acknowledged.
    ///
    /// If the delivery is dropped, given back, or this process dies, the item returns to its position and another process may have it. An
    /// item that can be dealt with twice but must not be left undone is received and acknowledged; see [`Delivery`].
    /// One round trip, and the wait. Python: none
    ///
    /// # Errors
    /// As [`get`](Self::get), except that an item of another type returns to its position.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<String>(0)?;
    /// queue.put("letter")?;
    /// drop(queue.receive()?);
    /// let delivery = queue.receive()?;
    /// assert_eq!((delivery.as_str(), delivery.count()), ("letter", 1));
    /// delivery.ack()?;
    /// assert!(queue.is_empty()?);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "peek_lock")]
    #[doc(alias = "consume")]
    pub fn receive(&self) -> Result<Delivery<T>, GetError> {
        Ok(self.receive_within(Wait::FOREVER)?)
    }

    /// Borrows the next item if there is one now; otherwise as [`receive`](Self::receive).
    ///
    /// One round trip. Python: none
    ///
    /// # Errors
    /// [`TryGetError::Empty`]; otherwise as [`receive`](Self::receive).
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// assert!(manager.queue::<u32>(0)?.try_receive().is_err());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn try_receive(&self) -> Result<Delivery<T>, TryGetError> {
        Ok(self.receive_within(Wait::TRY)?)
    }

    /// Borrows the next item, and waits for one at most this long; otherwise as [`receive`](Self::receive).
    ///
    /// One round trip, and the wait. Python: none
    ///
    /// # Errors
    /// [`GetTimeoutError::Timeout`]; otherwise as [`receive`](Self::receive).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// assert!(manager.queue::<u32>(0)?.receive_timeout(Duration::from_millis(5)).is_err());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn receive_timeout(&self, timeout: Duration) -> Result<Delivery<T>, GetTimeoutError> {
        Ok(self.receive_within(Wait::at_most(timeout)).map_err(elapsed)?)
    }

    /// Tells whether there are no items now. Another process may change that before you look at the answer.
    ///
    /// One round trip. Python: `q.empty()`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// assert!(manager.queue::<u32>(0)?.is_empty()?);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.qsize()? == 0)
    }

    /// Tells whether there is no room now. Another process may change that before you look at the answer.
    ///
    /// Two round trips. Python: `q.full()`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(1)?;
    /// queue.put(1)?;
    /// assert!(queue.is_full()?);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "full")]
    pub fn is_full(&self) -> Result<bool> {
        let maxsize = self.maxsize()?;
        Ok(maxsize > 0 && self.qsize()? >= maxsize)
    }

    /// Waits until every item that was put has been dealt with: [`task_done`](Self::task_done) or an acknowledged delivery for each.
    ///
    /// One round trip, and the wait. Python: `q.join()`
    ///
    /// # Errors
    /// [`Error::WorkerDied`](crate::Error::WorkerDied) if consumers died that still owed a `task_done`, instead of waiting for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.put(1)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| queue.get().and_then(|_| Ok(queue.task_done()?)));
    ///     queue.join()
    /// })?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn join(&self) -> Result<()> {
        self.ask(Operation::QueueJoin, Wait::FOREVER, &(Wait::FOREVER,), codec::nothing)
    }

    /// Waits as [`join`](Self::join), but at most this long.
    ///
    /// One round trip, and the wait. Python: none
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout); otherwise as [`join`](Self::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.put(1)?;
    /// assert!(queue.join_timeout(Duration::from_millis(5)).is_err());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn join_timeout(&self, timeout: Duration) -> Result<()> {
        let wait = Wait::at_most(timeout);
        self.ask(Operation::QueueJoin, wait, &(wait,), codec::nothing)
    }

    fn put_within(&self, item: &impl IntoElement<T>, wait: Wait) -> Result<()> {
        self.ask(Operation::QueuePut, wait, &(item.form(), wait), codec::nothing)
    }

    fn get_within(&self, wait: Wait) -> Result<T> {
        self.ask(Operation::QueueGet, wait, &(wait,), codec::value)
    }

    fn get_many_within(&self, items_max: usize, wait: Wait) -> Result<Vec<T>> {
        self.ask(Operation::QueueGetMany, wait, &(items_max, wait), codec::value)
    }

    fn receive_within(&self, wait: Wait) -> Result<Delivery<T>> {
        self.ask(Operation::QueueReceive, wait, &(wait,), |bytes| {
            Delivery::read(self, bytes)
        })
    }

    fn ask<A: Serialize, R>(
        &self,
        operation: Operation,
        wait: Wait,
        sent: &A,
        read: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        codec::call(&self.handle, operation, wait, sent, read)
    }
}

/// With a time to wait of zero the server says at once what there is none of: here that is the time.
fn elapsed(error: Error) -> Error {
    match error {
        Error::Full | Error::Empty => Error::Timeout,
        error => error,
    }
}
