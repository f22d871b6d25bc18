//! `Value`: one value in shared memory, with its lock.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::panicking;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cell::{Bits, Cell};
use super::element::{Element, Number};
use super::lock::{Held, word_in};
use super::mutex::FREE;
use super::pair::{self, Changed, Neighbours};
use super::pool::Block;
use super::{made, overflow, travel};
use crate::error::Result;

const WORD_AT: usize = 0;
const CELL_AT: usize = 8;
const NOUN: &str = "Value";
/// Copies that another process made worthless before the value is read under the lock.
const COPIES: usize = 64;
/// How long a reader waits for that lock: longer than an honest writer holds it, and not for ever.
pub(super) const READER_PATIENCE: Duration = Duration::from_millis(100);

/// One value in shared memory, with a lock.
///
/// Reading is a load, whatever others do. A value of up to 8 bytes is one atomic: [`set`](Self::set) is a store. A larger one stands in two
/// slots, and one word says which is the value: a process that is killed at whatever instruction leaves the old value or the new one,
/// nothing between. [`modify`](Self::modify), [`fetch_add`](Self::fetch_add) and [`lock`](Self::lock) exclude each other; a
/// `set` of up to 8 bytes does not wait for them, and wins over what they are about to write.
///
/// A lock whose holder died is taken over within 150 ms; the value itself is whole in any case. A clone is another handle to the same value, and so is what a process gets that
/// was started with it as an argument. The memory goes with the last handle of the last process.
///
/// Python: `multiprocessing.Value('i', 0)`
///
/// # Examples
///
/// ```
/// use byproxy::{Process, shm};
///
/// fn count(total: shm::Value<u64>) {
///     for _ in 0..1000 {
///         total.modify(|total| *total += 1);
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     let total = shm::Value::new(0)?;
///     let children = [Process::spawn(count, (&total,))?, Process::spawn(count, (&total,))?];
///     for child in children {
///         child.join()?;
///     }
///     assert_eq!(total.get(), 2000);
///     Ok(())
/// }
/// ```
pub struct Value<T> {
    block: Arc<Block>,
    /// Both in the block, which keeps them mapped.
    word: NonNull<AtomicU64>,
    cell: Cell<T>,
}

// SAFETY: word and cell are places in a mapping of the whole process, kept by the block and accessed atomically; elements are `Send` and
// `Sync`.
unsafe impl<T: Element> Send for Value<T> {}
// SAFETY: as above.
unsafe impl<T: Element> Sync for Value<T> {}

impl<T: Element> Value<T> {
    const SIZE: usize = CELL_AT + Cell::<T>::SIZE;

    /// Puts a value into shared memory.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the system refuses memory or a descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Value::new(40_u32)?;
    /// assert_eq!(seats.get(), 40);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn new(value: T) -> Result<Self> {
        let new = Self::at(made(Block::new(Self::SIZE))?);
        new.word().store(FREE, Ordering::Relaxed);
        // The whole word: what is behind a smaller value is compared with it, and stays zero.
        word_in(&new.block, CELL_AT).store(0, Ordering::Relaxed);
        new.cell.initialise(value);
        Ok(new)
    }

    /// The value. Waits for nobody.
    ///
    /// A larger value may be replaced while it is copied; it is then copied again, and after many times in vain under the lock.
    /// Python: `v.value`
    ///
    /// # Examples
    ///
    /// ```
    /// let speed = byproxy::shm::Value::new(160_u16)?;
    /// let same = speed.clone();
    /// speed.set(180);
    /// assert_eq!(same.get(), 180);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "load")]
    #[inline]
    pub fn get(&self) -> T {
        get(self.cell, || Held::acquire_within(self.word(), READER_PATIENCE))
    }

    /// Replaces the value.
    ///
    /// Up to 8 bytes it is one store, and waits for nobody; a larger value takes the lock. Python: `v.value = x`
    ///
    /// # Examples
    ///
    /// ```
    /// let temperature = byproxy::shm::Value::new(20.5)?;
    /// temperature.set(21.0);
    /// assert_eq!(temperature.get(), 21.0);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "store")]
    #[inline]
    pub fn set(&self, value: T) {
        let _held = (!Cell::<T>::IS_WORD).then(|| Held::acquire(self.word()));
        self.cell.write(value);
    }

    /// Changes the value by a function, under the lock, and returns what the function returns.
    ///
    /// The function runs once, on a copy. If it panics, the value is as it was. Python: `with v.get_lock(): v.value += 1`
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Value::new(3_u32)?;
    /// let sold = seats.modify(|left| {
    ///     let sold = *left > 0;
    ///     *left -= u32::from(sold);
    ///     sold
    /// });
    /// assert!(sold);
    /// assert_eq!(seats.get(), 2);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "update")]
    #[inline]
    pub fn modify<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change_held(self.cell, Held::acquire(self.word()), change)
    }

    /// Takes the value's lock, and waits for it. The guard works on a copy, which becomes the value when the guard is dropped.
    ///
    /// Not re-entrant: while a thread has the guard, its own `modify`, `fetch_add` and `lock` wait for ever, and so does `set` of a value of
    /// more than 8 bytes. Python: `with v.get_lock():`
    ///
    /// # Examples
    ///
    /// ```
    /// let count = byproxy::shm::Value::new(1)?;
    /// {
    ///     let mut guard = count.lock();
    ///     *guard += 1;
    ///     *guard *= 10;
    ///     assert_eq!(count.get(), 1, "not yet");
    /// }
    /// assert_eq!(count.get(), 20);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "get_lock")]
    #[inline]
    pub fn lock(&self) -> ValueGuard<'_, T> {
        ValueGuard::new(self.cell, Held::acquire(self.word()))
    }

    /// Takes the value's lock if it is free, or its holder dead; `None` if it is taken.
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Value::new(40_u32)?;
    /// let guard = seats.lock();
    /// assert!(seats.try_lock().is_none());
    /// drop(guard);
    /// assert!(seats.try_lock().is_some());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn try_lock(&self) -> Option<ValueGuard<'_, T>> {
        Held::try_acquire(self.word()).map(|held| ValueGuard::new(self.cell, held))
    }

    /// Takes the value's lock, and waits for it at most this long; `None` if it was taken all the time.
    ///
    /// `Duration::ZERO` is a try, `Duration::MAX` for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let seats = byproxy::shm::Value::new(40_u32)?;
    /// let guard = seats.lock();
    /// assert!(seats.lock_timeout(Duration::from_millis(5)).is_none());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn lock_timeout(&self, timeout: Duration) -> Option<ValueGuard<'_, T>> {
        Held::acquire_within(self.word(), timeout).map(|held| ValueGuard::new(self.cell, held))
    }

    fn at(block: Arc<Block>) -> Self {
        const { assert!(CELL_AT.is_multiple_of(8)) };
        let at = block.part(CELL_AT, Cell::<T>::SIZE);
        // SAFETY:
        // - Blocks are aligned to a cache line, so the cell is aligned to 8.
        // - It lies inside the block, which this value keeps.
        // - Every process has the block as a `Value<T>`: this one made it, or its ticket said so.
        let cell = unsafe { Cell::new(at) };
        let word = NonNull::from(word_in(&block, WORD_AT));
        Self { block, word, cell }
    }

    #[inline]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: it lies in the block, which this value keeps; `word_in` made it a reference before.
        unsafe { self.word.as_ref() }
    }

    /// The lock word and the value's, if they can be changed at once.
    #[inline]
    fn pair(&self) -> Option<Neighbours> {
        const { assert!(WORD_AT.is_multiple_of(16) && CELL_AT == WORD_AT + 8) };
        if !Cell::<T>::IS_WORD {
            return None;
        }
        // SAFETY:
        // - Blocks are aligned to a cache line and a multiple of it, so the pair is aligned to 16 and lies inside.
        // - The first word is the lock's; the second is the value's, with nothing else in it.
        unsafe { Neighbours::new(self.word.cast()) }
    }
}

impl<T: Number> Value<T> {
    /// Adds to the value in one step and returns what it was.
    ///
    /// Waits for whoever holds the lock. Up to 8 bytes it is one instruction where the processor has it, and else done under the lock.
    /// Python: `with v.get_lock(): v.value += n`
    ///
    /// # Errors
    /// [`Error::Overflow`](crate::Error::Overflow) if the sum would not fit the type; the value is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// let count = byproxy::shm::Value::new(250_u8)?;
    /// assert_eq!(count.fetch_add(5)?, 250);
    /// assert!(count.fetch_add(1).is_err());
    /// assert_eq!(count.get(), 255);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "increment")]
    #[doc(alias = "+=")]
    #[inline]
    pub fn fetch_add(&self, delta: T) -> Result<T> {
        self.fetch(delta, T::plus)
    }

    /// Subtracts from the value in one step and returns what it was.
    ///
    /// Waits for whoever holds the lock, as [`fetch_add`](Self::fetch_add) does. Python: `with v.get_lock(): v.value -= n`
    ///
    /// # Errors
    /// [`Error::Overflow`](crate::Error::Overflow) if the difference would not fit the type; the value is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Value::new(2_u8)?;
    /// assert_eq!(seats.fetch_sub(2)?, 2);
    /// assert!(seats.fetch_sub(1).is_err(), "none are left");
    /// assert_eq!(seats.get(), 0);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "decrement")]
    #[doc(alias = "-=")]
    #[inline]
    pub fn fetch_sub(&self, delta: T) -> Result<T> {
        self.fetch(delta, T::minus)
    }

    #[inline]
    fn fetch(&self, delta: T, change: impl Fn(T, T) -> Option<T>) -> Result<T> {
        if let Some(pair) = self.pair() {
            let seen = self.cell.read_held().1;
            match pair::change(&pair, seen, |bits| Cell::change(bits, |value| change(value, delta))) {
                Changed::From(bits) => return Ok(Cell::value_of(bits)),
                Changed::Refused => return Err(overflow::<T>()),
                Changed::Not => {}
            }
        }
        fetch_held(self.cell, Held::acquire(self.word()), delta, change)
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self {
            block: Arc::clone(&self.block),
            ..*self
        }
    }
}

impl<T: Element + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.get()).finish()
    }
}

impl<T: Element> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        travel::serialize(travel::name_of::<T>(NOUN), &self.block, 1, serializer)
    }
}

impl<'de, T: Element> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (block, _) = travel::deserialize(&travel::name_of::<T>(NOUN), |_| Some(Self::SIZE), deserializer)?;
        Ok(Self::at(block))
    }
}

/// A value whose lock this thread holds, as a copy. What was changed becomes the value when this is dropped.
///
/// If the thread panics meanwhile, or the process dies, the value is as it was. It can't be sent to another thread. If the process forks,
/// the copy in the child holds nothing and changes nothing.
///
/// # Examples
///
/// ```
/// let seats = byproxy::shm::Value::new([3_u8, 5])?;
/// let mut guard = seats.lock();
/// guard[0] -= 1;
/// guard[1] += 1;
/// assert_eq!(seats.get(), [3, 5], "others see both changes or none");
/// drop(guard);
/// assert_eq!(seats.get(), [2, 6]);
/// # Ok::<(), byproxy::Error>(())
/// ```
#[must_use = "the lock is freed as soon as its guard is dropped"]
pub struct ValueGuard<'a, T: Element> {
    cell: Cell<T>,
    copy: T,
    /// What the copy was made from.
    read: Bits,
    changed: bool,
    /// The thread was unwinding when the lock was taken: then that is no reason to change nothing.
    unwinding: bool,
    held: Held<'a>,
}

impl<'a, T: Element> ValueGuard<'a, T> {
    /// Reads a cell whose lock is held.
    #[inline]
    pub(super) fn new(cell: Cell<T>, held: Held<'a>) -> Self {
        let (copy, read) = cell.read_held();
        Self {
            cell,
            copy,
            read,
            changed: false,
            unwinding: panicking(),
            held,
        }
    }

    /// Whether the holder before died while it held the lock. The value is one that somebody committed all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Process, shm};
    ///
    /// fn die_holding(seats: shm::Value<u32>) {
    ///     *seats.lock() -= 1;
    ///     let mut guard = seats.lock();
    ///     *guard -= 1;
    ///     std::process::exit(1)
    /// }
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let seats = shm::Value::new(40)?;
    ///     assert!(Process::spawn(die_holding, (&seats,))?.join().is_err());
    ///     let guard = seats.lock();
    ///     assert!(guard.abandoned());
    ///     assert_eq!(*guard, 39, "the second change was never committed");
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "poisoned")]
    pub fn abandoned(&self) -> bool {
        self.held.abandoned()
    }

    /// Frees the lock and leaves the value as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Value::new(40)?;
    /// let mut guard = seats.lock();
    /// *guard -= 1;
    /// guard.discard();
    /// assert_eq!(seats.get(), 40);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn discard(mut self) {
        self.changed = false;
    }
}

impl<T: Element> Deref for ValueGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.copy
    }
}

impl<T: Element> DerefMut for ValueGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.copy
    }
}

impl<T: Element> Drop for ValueGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // The lock is freed afterwards, with `held`.
        if self.changed && (self.unwinding || !panicking()) && self.held.is_ours() {
            self.cell.commit(self.read, self.copy);
        }
    }
}

impl<T: Element + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueGuard").field(&self.copy).finish()
    }
}

/// Reads a cell without its lock, if possible.
#[inline]
pub(super) fn get<'a, T: Element>(cell: Cell<T>, hold: impl FnOnce() -> Option<Held<'a>>) -> T {
    match cell.read() {
        Some((value, _)) => value,
        None => get_again(cell, hold),
    }
}

#[cold]
fn get_again<'a, T: Element>(cell: Cell<T>, hold: impl FnOnce() -> Option<Held<'a>>) -> T {
    for _ in 0..COPIES {
        if let Some((value, _)) = cell.read() {
            return value;
        }
        std::hint::spin_loop();
    }
    // With the lock nobody replaces it. If the lock is not to be had and it is still replaced all the time, someone writes without the
    // lock: then no whole value exists, and a reader has to return all the same.
    let _held = hold();
    cell.read_held().0
}

/// Changes a cell by a function, under its lock, which is given back then.
#[inline]
pub(super) fn change_held<T: Element, R>(cell: Cell<T>, held: Held<'_>, change: impl FnOnce(&mut T) -> R) -> R {
    let (mut copy, read) = cell.read_held();
    // If it panics, the lock is freed with `held`, and the cell is as it was.
    let result = change(&mut copy);
    held.give_back_after(|| cell.commit(read, copy));
    result
}

/// Replaces a cell's number by another, under its lock, which is given back then, and returns what it was.
#[inline]
pub(super) fn fetch_held<T: Number>(
    cell: Cell<T>,
    held: Held<'_>,
    delta: T,
    change: impl FnOnce(T, T) -> Option<T>,
) -> Result<T> {
    let (before, read) = cell.read_held();
    let Some(after) = change(before, delta) else {
        return Err(overflow::<T>());
    };
    held.give_back_after(|| cell.commit(read, after));
    Ok(before)
}
