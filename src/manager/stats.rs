//! How much there is at a server.

use serde::Deserialize;

/// How much there is at a server at one moment; see [`Manager::stats`](crate::Manager::stats).
///
/// # Examples
///
/// ```
/// # let manager = byproxy::Manager::embedded()?;
/// let before = manager.stats()?;
/// let list = manager.list::<u32>()?;
/// let now = manager.stats()?;
/// assert_eq!((now.objects, now.references), (before.objects + 1, before.references + 1));
/// # Ok::<(), byproxy::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Objects that exist.
    pub objects: u64,
    /// References that processes hold to them.
    pub references: u64,
    /// Processes that are connected.
    pub sessions: u64,
    /// Calls that wait.
    pub waiters: u64,
    /// Bytes that the contents of objects occupy, with the shared memory that is kept.
    pub bytes: u64,
    /// Names of objects.
    pub names: u64,
}
