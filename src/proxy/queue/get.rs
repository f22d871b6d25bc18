//! Getting items, and borrowing them.

use super::{Delivery, GetError, GetTimeoutError, QueueProxy, TryGetError, elapsed};
use crate::codec;
use crate::error::Result;
use crate::proxy::element::Element;
use byproxy_proto::op::{Operation, Wait};
use std::time::Duration;

impl<T: Element> QueueProxy<T> {
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
    /// As [`get`](Self::get); if one item is of another type, all come back as one list. [`Error::TooLarge`](crate::Error::TooLarge) if they
    /// would take too much memory at once here: then they are the queue's still, and fewer can be had.
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

    /// Removes and returns up to so many items, and waits for the first one at most this long.
    ///
    /// One round trip, and the wait. Python: none
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.put_many([1, 2])?;
    /// assert_eq!(queue.get_many_timeout(10, Duration::from_millis(5))?, [1, 2]);
    /// assert!(queue.get_many_timeout(10, Duration::from_millis(5)).is_err());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn get_many_timeout(&self, items_max: usize, timeout: Duration) -> Result<Vec<T>, GetTimeoutError> {
        Ok(self
            .get_many_within(items_max, Wait::at_most(timeout))
            .map_err(elapsed)?)
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
}
