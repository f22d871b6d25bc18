//! `Delivery`: an item that is lent until it is acknowledged.

use super::QueueProxy;
use crate::codec;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::proxy::Element;
use byproxy_proto::op::{Operation, Wait};
use std::fmt;
use std::ops::Deref;

/// An item that the queue has lent to this process: see [`QueueProxy::receive`].
///
/// It stays the queue's until [`ack`](Delivery::ack). Dropping it, [`nack`](Delivery::nack) and the death of this process put it
/// back to where it was, and others may have it.
///
/// # Examples
///
/// ```
/// # let manager = byproxy::Manager::embedded()?;
/// let queue = manager.queue::<String>(0)?;
/// queue.put("letter")?;
/// let delivery = queue.receive()?;
/// assert_eq!(delivery.len(), 6, "it can be looked at as the item");
/// drop(delivery);
/// assert_eq!(queue.get()?, "letter");
/// # Ok::<(), byproxy::Error>(())
/// ```
#[must_use = "dropping a delivery gives the item back"]
pub struct Delivery<T> {
    loan: Loan,
    count: u64,
    item: T,
}

impl<T: Element> Delivery<T> {
    /// Reads `[delivery, times delivered before, item]`. An item of another type goes back to the queue.
    pub(super) fn read(queue: &QueueProxy<T>, bytes: &[u8]) -> codec::Reading<Self> {
        let [number, count, item] = codec::parts(bytes)?;
        let loan = Loan {
            queue: queue.handle.clone(),
            number: codec::value(number)?,
            over: false,
        };
        Ok(Self {
            count: codec::value(count)?,
            item: codec::value(item)?,
            loan,
        })
    }
}

impl<T> Delivery<T> {
    /// The item.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.put(7)?;
    /// assert_eq!(queue.receive()?.item(), &7);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn item(&self) -> &T {
        &self.item
    }

    /// How many times the item was lent out before: zero the first time.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.put(7)?;
    /// assert_eq!(queue.receive()?.count(), 0);
    /// assert_eq!(queue.receive()?.count(), 1, "it was lent and given back once");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "redelivered")]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Ends the loan, because the item has been dealt with, and gives the item. Counts as [`task_done`](QueueProxy::task_done).
    ///
    /// One round trip.
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) if the loan was over already.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.put(7)?;
    /// assert_eq!(queue.receive()?.ack()?, 7);
    /// queue.join()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn ack(mut self) -> Result<T> {
        self.loan.end(Operation::QueueAck)?;
        Ok(self.item)
    }

    /// Gives the item back to where it was in the queue.
    ///
    /// One round trip.
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) if the loan was over already.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let queue = manager.queue::<u32>(0)?;
    /// queue.put_many([7, 8])?;
    /// queue.receive()?.nack()?;
    /// assert_eq!(queue.get()?, 7, "back at its place");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn nack(mut self) -> Result<()> {
        self.loan.end(Operation::QueueNack)
    }
}

impl<T> Deref for Delivery<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: fmt::Debug> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("item", &self.item)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// What has to be ended one way or the other.
struct Loan {
    queue: Handle,
    number: u64,
    over: bool,
}

impl Loan {
    fn end(&mut self, operation: Operation) -> Result<()> {
        self.over = true;
        codec::call(&self.queue, operation, Wait::TRY, &(self.number,), codec::nothing)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if !self.over {
            // Nobody can be told, and a server that is gone lends nothing.
            let _: Result<(), Error> = self.end(Operation::QueueNack);
        }
    }
}
