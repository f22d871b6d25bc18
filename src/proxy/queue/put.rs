//! Putting items.

use super::{PutError, PutManyError, PutTimeoutError, QueueProxy, elapsed};
use crate::codec;
use crate::error::{Error, Result};
use crate::proxy::element::{Element, Forms, IntoElement};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{Operation, Wait};
use std::time::Duration;

/// How many items go with one call: no more than the server takes at once.
const PART_ITEMS_MAX: usize = 4096;

impl<T: Element> QueueProxy<T> {
    /// Puts an item, and waits for room if the queue has a bound.
    ///
    /// One round trip, and the wait. Python: `q.put(x)`
    ///
    /// # Errors
    /// [`PutError::ShutDown`] and [`PutError::Refused`] give the item back.
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

    /// Puts an item, and waits for room at most this long. `Duration::ZERO` is a try, `Duration::MAX` for ever.
    ///
    /// One round trip, and the wait, which the server counts. Python: `q.put(x, timeout=s)`
    ///
    /// # Errors
    /// [`PutTimeoutError::Timeout`], [`PutTimeoutError::ShutDown`] and [`PutTimeoutError::Refused`] give the item back.
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

    /// Puts items in order, and waits for room for all of them. Items of others may come between those that had to wait, and after
    /// every 4,096.
    ///
    /// One round trip for each 4,096 items, and the wait. Python: none
    ///
    /// # Errors
    /// [`PutManyError::ShutDown`] and [`PutManyError::Refused`] give back the items that had not gone in.
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
    #[doc(alias = "put_all")]
    pub fn put_many(&self, items: impl IntoIterator<Item = impl IntoElement<T>>) -> Result<(), PutManyError<T>> {
        let items: Vec<_> = items.into_iter().collect();
        let mut put = 0;
        loop {
            let part = items.get(put..).unwrap_or_default();
            let part = part.get(..PART_ITEMS_MAX).unwrap_or(part);
            match self.ask(
                Operation::QueuePutMany,
                Wait::FOREVER,
                &(Forms::new(part), Wait::FOREVER),
                codec::value,
            ) {
                Ok(0) if !part.is_empty() => return Err(PutManyError::Other(nothing_put())),
                Ok(more) => put = items.len().min(put.saturating_add(more)),
                Err(error) => {
                    let (more, error) = refusal(error);
                    put = items.len().min(put.saturating_add(more));
                    let rest = || items.into_iter().skip(put).map(IntoElement::into_element).collect();
                    return Err(PutManyError::new(error, rest));
                }
            }
            if put == items.len() {
                return Ok(());
            }
        }
    }

    fn put_within(&self, item: &impl IntoElement<T>, wait: Wait) -> Result<()> {
        self.ask(Operation::QueuePut, wait, &(item.form(), wait), codec::nothing)
    }
}

/// How many of these items went in before the call was refused, and why it was.
fn refusal(error: Error) -> (usize, Error) {
    match error {
        Error::Fault(fault) if fault.code == FaultCode::ShutDown => {
            let put = usize::try_from(codec::count_in(&fault.detail)).unwrap_or(usize::MAX);
            (put, Error::ShutDown)
        }
        error => (0, error),
    }
}

#[cold]
fn nothing_put() -> Error {
    let message = "the server says that it put none of the items, and not why";
    Error::Fault(Fault::new(FaultCode::Malformed, message).into())
}
