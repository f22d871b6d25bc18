//! `Lock`: a lock in shared memory, and the holding of a lock word that values and arrays use as well.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::futex::{Waiting, wake_one};
use super::mutex::{self, Hold, Patience, Round};
use super::pool::{Block, LINE};
use super::tokens::Words;
use super::{made, owner, travel};
use crate::error::{Error, Result};

const SIZE: usize = size_of::<Words<AtomicU64>>();
const NAME: &str = "shm::Lock";

/// A lock in shared memory: at most one thread of all processes that have it holds it.
///
/// It is given back when its guard is dropped. When the process that holds it dies, whoever waits takes it over within 150 ms and is told
/// by [`LockGuard::abandoned`]; a try takes it over at once. It is not re-entrant, and those who wait get it in no particular order.
/// Taking and giving back a lock that nobody else wants costs no system call; a thread that waits sleeps.
///
/// A clone is another handle to the same lock, and so is what a process gets that was started with it as an argument. The memory goes with
/// the last handle of the last process.
///
/// Python: `multiprocessing.Lock()`
///
/// # Examples
///
/// ```
/// use byproxy::{Process, shm};
///
/// fn wait_and_enter(lock: shm::Lock) {
///     let _guard = lock.acquire();
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     let lock = shm::Lock::new()?;
///     let guard = lock.acquire();
///     let child = Process::spawn(wait_and_enter, (&lock,))?;
///     assert!(lock.try_acquire().is_none());
///     drop(guard);
///     child.join()?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Lock {
    block: Arc<Block>,
    /// In the block, which keeps them mapped.
    words: NonNull<Words<AtomicU64>>,
}

// SAFETY: the words are a place in a mapping of the whole process, kept by the block and accessed atomically.
unsafe impl Send for Lock {}
// SAFETY: as above.
unsafe impl Sync for Lock {}

impl Lock {
    /// Makes a lock that is free.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses memory or a descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = byproxy::shm::Lock::new()?;
    /// assert!(!lock.locked());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn new() -> Result<Self> {
        let lock = Self::at(made(Block::new(SIZE))?);
        lock.words().initialise();
        Ok(lock)
    }

    /// Takes the lock for this thread, and waits for it.
    ///
    /// Waits for ever while a living process holds it, this thread included. Python: `lock.acquire()`, `with lock:`
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = byproxy::shm::Lock::new()?;
    /// {
    ///     let _guard = lock.acquire();
    ///     assert!(lock.locked());
    /// }
    /// assert!(!lock.locked());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "lock")]
    #[inline]
    pub fn acquire(&self) -> LockGuard<'_> {
        let (words, owner) = (self.words(), owner::current());
        match mutex::take_free(&words.lock, words.holder(owner)).and_then(|hold| words.count(hold, owner)) {
            Some((hold, token)) => self.guard(hold, token),
            None => self.acquire_slowly(),
        }
    }

    /// Takes the lock if it is free, or its holder dead; `None` if it is taken.
    ///
    /// A try that fails has made sure that the holder lives, which costs a few system calls. Python: `lock.acquire(block=False)`
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = byproxy::shm::Lock::new()?;
    /// let guard = lock.try_acquire();
    /// assert!(guard.is_some() && lock.try_acquire().is_none());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "try_lock")]
    pub fn try_acquire(&self) -> Option<LockGuard<'_>> {
        let (words, owner) = (self.words(), owner::current());
        let hold = mutex::try_take(&words.lock, words.holder(owner), &Waiting::forever())?;
        let (hold, token) = words.count(hold, owner)?;
        Some(self.guard(hold, token))
    }

    /// Takes the lock, and waits for it at most this long; `None` if it was taken all the time.
    ///
    /// `Duration::ZERO` is a try, `Duration::MAX` for ever. Python: `lock.acquire(timeout=s)`
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = byproxy::shm::Lock::new()?;
    /// let guard = lock.acquire();
    /// assert!(lock.acquire_timeout(Duration::from_millis(5)).is_none());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "try_lock_for")]
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<LockGuard<'_>> {
        self.acquire_with(&mut Waiting::at_most(timeout))
    }

    /// Frees the lock, whoever holds it, or nobody after [`LockGuard::leak`].
    ///
    /// A holder keeps its guard, whose end then does nothing: this is for locks that are handed from one process to another. If the holder is
    /// dead, the next one is told by [`LockGuard::abandoned`] all the same.
    /// Python: `lock.release()`
    ///
    /// # Errors
    /// [`Error::Misuse`] if the lock is free.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = byproxy::shm::Lock::new()?;
    /// lock.acquire().leak();
    /// lock.release()?;
    /// assert!(lock.release().is_err(), "it is free");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "force_unlock")]
    pub fn release(&self) -> Result<()> {
        if self.words().release(owner::current(), owner::is_dead, wake_one) {
            Ok(())
        } else {
            Err(Error::Misuse(
                "the lock is not taken, so it can't be released".to_owned(),
            ))
        }
    }

    /// Tells whether the lock is taken. Another process may change that before you look at the answer.
    ///
    /// Python: `lock.locked()`
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = byproxy::shm::Lock::new()?;
    /// let guard = lock.acquire();
    /// assert!(lock.locked());
    /// drop(guard);
    /// assert!(!lock.locked());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "is_locked")]
    pub fn locked(&self) -> bool {
        !mutex::is_free(self.words().lock.load(Ordering::Relaxed))
    }

    #[cold]
    fn acquire_slowly(&self) -> LockGuard<'_> {
        loop {
            // A patience without end gives up never.
            if let Some(guard) = self.acquire_with(&mut Waiting::forever()) {
                return guard;
            }
        }
    }

    fn acquire_with(&self, patience: &mut Waiting) -> Option<LockGuard<'_>> {
        let (words, owner) = (self.words(), owner::current());
        loop {
            let holder = words.holder(owner);
            let hold = match mutex::take_free(&words.lock, holder) {
                Some(hold) => hold,
                None => mutex::take(&words.lock, holder, patience)?,
            };
            if let Some((hold, token)) = words.count(hold, owner) {
                return Some(self.guard(hold, token));
            }
            // Someone released it before it was of any use.
            if patience.round() == Round::Over {
                return None;
            }
        }
    }

    #[inline]
    fn guard(&self, hold: Hold, token: u64) -> LockGuard<'_> {
        LockGuard {
            lock: self,
            held: Held::new(&self.words().lock, hold),
            token,
        }
    }

    fn at(block: Arc<Block>) -> Self {
        let words = block.part(0, SIZE).cast();
        Self { block, words }
    }

    #[inline]
    fn words(&self) -> &Words<AtomicU64> {
        const { assert!(align_of::<Words<AtomicU64>>() <= LINE) };
        // SAFETY:
        // - The words lie inside the block, which is mapped as long as this lock keeps it, and is aligned to a cache line.
        // - All processes access them atomically, as these words.
        unsafe { self.words.as_ref() }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("locked", &self.locked())
            .finish_non_exhaustive()
    }
}

impl Serialize for Lock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        travel::serialize(NAME.to_owned(), &self.block, 1, serializer)
    }
}

impl<'de> Deserialize<'de> for Lock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (block, _) = travel::deserialize(NAME, |_| Some(SIZE), deserializer)?;
        Ok(Self::at(block))
    }
}

/// A lock held by this thread, until this is dropped.
///
/// It can't be sent to another thread. If the process forks, the copy in the child holds nothing.
///
/// # Examples
///
/// ```
/// let lock = byproxy::shm::Lock::new()?;
/// let guard = lock.acquire();
/// assert_eq!((guard.token(), guard.abandoned()), (1, false));
/// drop(guard);
/// assert!(lock.try_acquire().is_some(), "the end of the guard freed it");
/// # Ok::<(), byproxy::Error>(())
/// ```
#[must_use = "the lock is freed as soon as its guard is dropped"]
pub struct LockGuard<'a> {
    lock: &'a Lock,
    held: Held<'a>,
    token: u64,
}

impl LockGuard<'_> {
    /// The number of this holding: it grows with each time the lock is taken, by whomever.
    ///
    /// A resource that notes the highest token it has seen can refuse a holder that was late.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = byproxy::shm::Lock::new()?;
    /// let first = lock.acquire().token();
    /// assert!(lock.acquire().token() > first);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "fencing token")]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether a process died while it held the lock, since the last guard: what the lock protects may be half changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Process, shm};
    ///
    /// fn die_holding(lock: shm::Lock) {
    ///     let _guard = lock.acquire();
    ///     std::process::exit(1)
    /// }
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let lock = shm::Lock::new()?;
    ///     assert!(Process::spawn(die_holding, (&lock,))?.join().is_err());
    ///     assert!(lock.acquire().abandoned());
    ///     assert!(!lock.acquire().abandoned(), "only the next holder is told");
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "poisoned")]
    #[doc(alias = "EOWNERDEAD")]
    pub fn abandoned(&self) -> bool {
        self.held.abandoned()
    }

    /// The lock.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = byproxy::shm::Lock::new()?;
    /// let guard = lock.acquire();
    /// assert!(guard.lock().locked());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn lock(&self) -> &Lock {
        self.lock
    }

    /// Leaves the lock taken, but owned by nobody, until someone calls [`Lock::release`]; this process's death does not free it.
    ///
    /// Python: `lock.acquire()` whose `release()` happens elsewhere
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = byproxy::shm::Lock::new()?;
    /// lock.acquire().leak();
    /// assert!(lock.locked(), "though no guard is left");
    /// lock.release()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "forget")]
    pub fn leak(self) {
        self.held.leave();
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("token", &self.token)
            .field("abandoned", &self.abandoned())
            .finish_non_exhaustive()
    }
}

/// A lock word held by this thread, until this is dropped.
pub(super) struct Held<'a> {
    word: &'a AtomicU64,
    hold: Hold,
    of_this_thread: PhantomData<*const ()>,
}

impl<'a> Held<'a> {
    /// Takes the word, however long that takes.
    #[inline]
    pub(super) fn acquire(word: &'a AtomicU64) -> Self {
        match mutex::take_free(word, owner::current()) {
            Some(hold) => Self::new(word, hold),
            None => Self::acquire_slowly(word),
        }
    }

    #[cold]
    fn acquire_slowly(word: &'a AtomicU64) -> Self {
        loop {
            // A patience without end gives up never.
            if let Some(hold) = mutex::take(word, owner::current(), &mut Waiting::forever()) {
                return Self::new(word, hold);
            }
        }
    }

    /// Takes the word if it is free or abandoned.
    pub(super) fn try_acquire(word: &'a AtomicU64) -> Option<Self> {
        let hold = mutex::try_take(word, owner::current(), &Waiting::forever())?;
        Some(Self::new(word, hold))
    }

    /// Takes the word, and waits for it at most this long.
    pub(super) fn acquire_within(word: &'a AtomicU64, timeout: Duration) -> Option<Self> {
        let hold = match mutex::take_free(word, owner::current()) {
            Some(hold) => hold,
            None => mutex::take(word, owner::current(), &mut Waiting::at_most(timeout))?,
        };
        Some(Self::new(word, hold))
    }

    /// Whether the holder before died.
    #[inline]
    pub(super) fn abandoned(&self) -> bool {
        self.hold.abandoned()
    }

    /// Whether this thread's process is the one that took the word, and not one forked from it.
    #[inline]
    pub(super) fn is_ours(&self) -> bool {
        owner::is_current(self.hold.word())
    }

    /// Does something as the holder, and gives the word back. In a process that was forked meanwhile it does neither.
    #[inline]
    pub(super) fn give_back_after(self, last: impl FnOnce()) {
        // Neither can panic, so that the end of `self` has nothing to do.
        let (word, hold, is_ours) = (self.word, self.hold, self.is_ours());
        std::mem::forget(self);
        if is_ours {
            last();
            mutex::give_back(word, hold, wake_one);
        }
    }

    /// Leaves the word held by nobody.
    fn leave(self) {
        if self.is_ours() {
            mutex::leave(self.word, self.hold);
        }
        std::mem::forget(self);
    }

    #[inline]
    fn new(word: &'a AtomicU64, hold: Hold) -> Self {
        Self {
            word,
            hold,
            of_this_thread: PhantomData,
        }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_ours() {
            mutex::give_back(self.word, self.hold, wake_one);
        }
    }
}

/// A word of a block.
#[inline]
pub(super) fn word_in(block: &Block, offset: usize) -> &AtomicU64 {
    let at = block.part(offset, size_of::<AtomicU64>());
    debug_assert!(at.cast::<AtomicU64>().is_aligned());
    // SAFETY:
    // - The word lies inside the block, which is mapped as long as it is borrowed.
    // - Blocks are aligned to a cache line, and words stand at multiples of 8 in them.
    // - All processes access it atomically, as this word.
    unsafe { at.cast().as_ref() }
}
