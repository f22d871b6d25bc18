//! The books of a queue.

use serde::Deserialize;

/// The books of a queue: what became of every item; see [`QueueProxy::audit`](crate::QueueProxy::audit).
///
/// Nothing is lost as long as `accepted` equals `committed + in_flight + waiting + discarded`.
///
/// # Examples
///
/// ```
/// # let manager = byproxy::Manager::embedded()?;
/// let queue = manager.queue::<u32>(0)?;
/// queue.put_many([1, 2, 3])?;
/// queue.get()?;
/// let lent = queue.receive()?;
/// let books = queue.audit()?;
/// assert_eq!(books.accepted, books.committed + books.in_flight + books.waiting + books.discarded);
/// assert_eq!((books.committed, books.in_flight, books.waiting), (1, 1, 1));
/// # Ok::<(), byproxy::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct QueueAudit {
    /// Items that were ever put.
    pub accepted: u64,
    /// Items that became a consumer's own.
    pub committed: u64,
    /// Items on their way to a consumer, or lent to one.
    pub in_flight: u64,
    /// Times that an item came back from a consumer that died or declined it.
    pub returned: u64,
    /// Items in the queue.
    pub waiting: u64,
    /// Items thrown away by an immediate shutdown.
    pub discarded: u64,
    /// The processes that take items.
    pub consumers: Vec<Consumer>,
    /// The processes that took items and have ended, newest last; the last 256.
    pub departed: Vec<Departed>,
}

/// One process that takes items from a queue.
///
/// # Examples
///
/// ```
/// # let manager = byproxy::Manager::embedded()?;
/// let queue = manager.queue::<u32>(0)?;
/// queue.put(1)?;
/// queue.get()?;
/// let consumer = &queue.audit()?.consumers[0];
/// assert_eq!((consumer.pid, consumer.committed, consumer.owed), (std::process::id(), 1, 1));
/// # Ok::<(), byproxy::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "(u32, u64, u64, u64, u64)")]
#[non_exhaustive]
pub struct Consumer {
    /// Its process id.
    pub pid: u32,
    /// Its session's number on the server.
    pub session: u64,
    /// Items that became its own.
    pub committed: u64,
    /// Items on their way to it, or lent to it.
    pub in_flight: u64,
    /// Items it has not said `task_done` for.
    pub owed: u64,
}

/// One process that took items from a queue and has ended.
///
/// # Examples
///
/// ```
/// # let manager = byproxy::Manager::embedded()?;
/// let queue = manager.queue::<u32>(0)?;
/// assert_eq!(queue.audit()?.departed, [], "nobody has left");
/// # Ok::<(), byproxy::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "(u32, u64, u64, u64)")]
#[non_exhaustive]
pub struct Departed {
    /// Its process id.
    pub pid: u32,
    /// Its session's number on the server.
    pub session: u64,
    /// Items that had become its own.
    pub committed: u64,
    /// Items that came back from it when it ended.
    pub returned: u64,
}

impl From<(u32, u64, u64, u64, u64)> for Consumer {
    fn from((pid, session, committed, in_flight, owed): (u32, u64, u64, u64, u64)) -> Self {
        Self {
            pid,
            session,
            committed,
            in_flight,
            owed,
        }
    }
}

impl From<(u32, u64, u64, u64)> for Departed {
    fn from((pid, session, committed, returned): (u32, u64, u64, u64)) -> Self {
        Self {
            pid,
            session,
            committed,
            returned,
        }
    }
}
