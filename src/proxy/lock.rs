//! `LockProxy`: a shared lock.

use crate::backend::thread_number;
use crate::codec;
use crate::error::{Error, Result};
use crate::proxy::call::calls;
use crate::proxy::proxy;
use byproxy_proto::op::{Operation, Wait};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

proxy! {
    /// A shared lock: at most one thread of all processes holds it.
    ///
    /// It is given back when its guard is dropped, and when the process that holds it dies: the next holder is told by
    /// [`LockGuard::abandoned`]. It is not re-entrant. Those who wait get it in the order they came. A clone is another handle to the same
    /// lock. If the server dies, calls that wait return [`Error::Gone`](crate::Error::Gone), as every other call.
    ///
    /// Python: `manager.Lock()`
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// let manager = Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// let guard = lock.acquire()?;
    /// assert!(lock.try_acquire()?.is_none());
    /// drop(guard);
    /// assert!(lock.try_acquire()?.is_some());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    LockProxy [] LOCK
}

calls! {
    /// The calls of a lock as values; see [`LockProxy::calls`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// lock.acquire()?.leak()?;
    /// let (before, released, after) = manager.batch((lock.calls().locked(), lock.calls().release(), lock.calls().locked()));
    /// assert_eq!((before?, released?, after?), (true, (), false));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    LockCalls of LockProxy [] {
        /// Tells whether the lock is taken. Another process may change that before you look at the answer.
        ///
        /// One round trip. Python: `lock.locked()`
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let lock = manager.lock()?;
        /// let guard = lock.acquire()?;
        /// assert!(lock.locked()?);
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "is_locked")]
        fn locked() -> bool = LockLocked() => codec::value;

        /// Frees the lock, whoever holds it, or nobody after [`LockGuard::leak`].
        ///
        /// A holder keeps its guard, and finds out by nothing: this is for locks that are handed from one process to another. One round trip.
        /// Python: `lock.release()`
        ///
        /// # Errors
        /// [`Error::Misuse`](crate::Error::Misuse) if the lock is free.
        ///
        /// # Examples
        ///
        /// ```
        /// # let manager = byproxy::Manager::embedded()?;
        /// let lock = manager.lock()?;
        /// lock.acquire()?.leak()?;
        /// lock.release()?;
        /// assert!(lock.release().is_err(), "it is free");
        /// # Ok::<(), byproxy::Error>(())
        /// ```
        #[doc(alias = "force_unlock")]
        #[doc(alias = "unlock")]
        fn release() -> () = LockRelease(None::<u64>) => codec::nothing;
    }
}

impl LockProxy {
    /// Takes the lock for this thread, and waits for it.
    ///
    /// One round trip, and the wait. Python: `lock.acquire()`, `with lock:`
    ///
    /// # Errors
    /// [`Error::Deadlock`](crate::Error::Deadlock) if waiting would close a cycle of threads that wait for each other's locks for ever, this
    /// one's own lock included.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// {
    ///     let _guard = lock.acquire()?;
    ///     assert!(lock.locked()?);
    /// }
    /// assert!(!lock.locked()?);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "lock")]
    pub fn acquire(&self) -> Result<LockGuard> {
        self.acquire_within(Wait::FOREVER)
    }

    /// Takes the lock for this thread if it is free; `None` if it is taken.
    ///
    /// One round trip. Python: `lock.acquire(block=False)`
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// let guard = lock.try_acquire()?;
    /// assert!(guard.is_some());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "try_lock")]
    pub fn try_acquire(&self) -> Result<Option<LockGuard>> {
        self.acquire_timeout(Duration::ZERO)
    }

    /// Takes the lock for this thread, and waits for it at most this long; `None` if it was taken all the time.
    ///
    /// `Duration::ZERO` is a try, `Duration::MAX` for ever. One round trip, and the wait, which the server counts.
    /// Python: `lock.acquire(timeout=s)`
    ///
    /// # Errors
    /// [`Error::Deadlock`](crate::Error::Deadlock) for `Duration::MAX`, as [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let manager = byproxy::Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// let guard = lock.acquire()?;
    /// assert!(lock.acquire_timeout(Duration::from_millis(5))?.is_none());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "try_lock_for")]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Option<LockGuard>> {
        match self.acquire_within(Wait::at_most(timeout)) {
            Err(Error::Timeout) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    fn acquire_within(&self, wait: Wait) -> Result<LockGuard> {
        let sent = &(thread_number(), wait);
        let (token, abandoned) = codec::call(&self.handle, Operation::LockAcquire, wait, sent, codec::value)?;
        Ok(LockGuard {
            lock: Self::from_handle(self.handle.clone()),
            token,
            abandoned,
            held: true,
            of_this_thread: PhantomData,
        })
    }
}

/// A lock held by this thread, until this is dropped.
///
/// Dropping it is a full call: when it has returned, the lock is free, so that a message sent afterwards finds it so. It can't be sent
/// to another thread, because the thread is the lock's owner.
///
/// # Examples
///
/// ```
/// # let manager = byproxy::Manager::embedded()?;
/// let lock = manager.lock()?;
/// {
///     let guard = lock.acquire()?;
///     assert!(!guard.abandoned());
/// }
/// assert!(!lock.locked()?, "the guard is gone");
/// # Ok::<(), byproxy::Error>(())
/// ```
///
/// ```compile_fail,E0277
/// let manager = byproxy::Manager::embedded().unwrap();
/// let guard = manager.lock().unwrap().acquire().unwrap();
/// std::thread::spawn(move || drop(guard));
/// ```
#[must_use = "the lock is freed as soon as its guard is dropped"]
pub struct LockGuard {
    lock: LockProxy,
    token: u64,
    abandoned: bool,
    held: bool,
    of_this_thread: PhantomData<*const ()>,
}

impl LockGuard {
    /// The number of this holding: it grows with each time the lock is taken, by whomever.
    ///
    /// A resource that notes the highest token it has seen can refuse a holder that was late. Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// let first = lock.acquire()?.token();
    /// assert!(lock.acquire()?.token() > first);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "fencing token")]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether the holder before died while it held the lock: what the lock protects may be half changed.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// let guard = lock.acquire()?;
    /// if guard.abandoned() {
    ///     // Look at what the lock protects, and repair it.
    /// }
    /// assert!(!guard.abandoned(), "nobody died here");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "poisoned")]
    #[doc(alias = "EOWNERDEAD")]
    pub fn abandoned(&self) -> bool {
        self.abandoned
    }

    /// The lock.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// assert_eq!(lock.acquire()?.lock(), &lock);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn lock(&self) -> &LockProxy {
        &self.lock
    }

    /// Frees the lock, and says so if that failed; dropping the guard does the same and says nothing.
    ///
    /// One round trip.
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) if someone freed the lock already.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// let guard = lock.acquire()?;
    /// guard.release()?;
    /// assert!(!lock.locked()?);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "unlock")]
    #[doc(alias = "__exit__")]
    pub fn release(mut self) -> Result<()> {
        self.free()
    }

    /// Leaves the lock taken, but owned by nobody, until someone calls [`LockProxy::release`]; this process's death does not free it.
    ///
    /// One round trip. Python: `lock.acquire()` whose `release()` happens elsewhere
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) if someone freed the lock already.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let lock = manager.lock()?;
    /// lock.acquire()?.leak()?;
    /// assert!(lock.locked()?);
    /// lock.release()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "forget")]
    pub fn leak(mut self) -> Result<()> {
        self.held = false;
        codec::call(
            &self.lock.handle,
            Operation::LockLeak,
            Wait::TRY,
            &(self.token,),
            codec::nothing,
        )
    }

    fn free(&mut self) -> Result<()> {
        self.held = false;
        codec::call(
            &self.lock.handle,
            Operation::LockRelease,
            Wait::TRY,
            &(Some(self.token),),
            codec::nothing,
        )
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.held {
            // Nobody can be told; the sweep of an ended session frees what it held.
            let _ = self.free();
        }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("lock", &self.lock)
            .field("token", &self.token)
            .field("abandoned", &self.abandoned)
            .finish_non_exhaustive()
    }
}
