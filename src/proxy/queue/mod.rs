//! `QueueProxy`: a shared queue.

mod audit;
mod delivery;
mod errors;
mod get;
mod put;

pub use audit::{Consumer, Departed, QueueAudit};
pub use delivery::Delivery;
pub use errors::{GetError, GetTimeoutError, PutError, PutManyError, PutTimeoutError, TryGetError, TryPutError};

use crate::codec;
use crate::error::{Error, Result};
use crate::proxy::call::calls;
use crate::proxy::element::{Element, IntoElement};
use crate::proxy::proxy;
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
    /// [`Error::Gone`](crate::Error::Gone): what they would have got was not given. A put that was on its way returns
    /// [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown).
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
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(1)?;
    /// let calls = queue.calls();
    /// let puts = (calls.try_put(7), calls.try_put(8), calls.qsize(), calls.maxsize(), calls.is_empty());
    /// let (put, full, size, most, empty) = manager.batch(puts);
    /// put?;
    /// assert!(matches!(full, Err(byproxy::Error::Full)));
    /// assert_eq!((size?, most?, empty?), (1, 1, false));
    ///
    /// let (closed, refused) = manager.batch((calls.shutdown(), calls.try_put(9)));
    /// closed?;
    /// assert!(matches!(refused, Err(byproxy::Error::ShutDown)));
    /// assert_eq!(queue.get()?, 7, "what is in it can still be had");
    ///
    /// let (done, discarded, books) = manager.batch((calls.task_done(), calls.shutdown_now(), calls.audit()));
    /// assert_eq!((done?, discarded?, books?.committed), ((), (), 1));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    QueueCalls of QueueProxy [T] {
        /// Puts an item if there is room now.
        ///
        /// One round trip. Python: `q.put(x, block=False)`, `q.put_nowait(x)`
        ///
        /// # Errors
        /// [`TryPutError::Full`], [`TryPutError::ShutDown`] and [`TryPutError::Refused`] give the item back.
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
        fn try_put(item: impl IntoElement<T>) -> () = QueuePut(item.form(), Wait::TRY) => codec::nothing,
            or TryPutError<T>: |error| TryPutError::new(error, || item.into_element());

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
        #[doc(alias = "size")]
        fn qsize() -> u64 = QueueQsize() => codec::value;

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
        fn is_empty() -> bool = QueueQsize() => codec::is_zero;

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
        #[doc(alias = "JoinableQueue")]
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
        #[doc(alias = "immediate")]
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
        QueueProxy::from_handle(self.handle.apart())
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
    #[doc(alias = "wait_done")]
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

    fn ask<A: Serialize, R>(
        &self,
        operation: Operation,
        wait: Wait,
        sent: &A,
        read: impl Fn(&[u8]) -> codec::Reading<R>,
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
