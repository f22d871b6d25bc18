//! `Array`: many values in shared memory, with one lock.

mod guard;

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cell::Cell;
use super::element::{Element, Number};
use super::index::{index_in, range_in};
use super::lock::{Held, word_in};
use super::mutex::FREE;
use super::pool::{Block, LINE};
use super::value::{self, READER_PATIENCE};
use super::{made, travel};
use crate::error::Result;

pub use guard::ArrayGuard;

const WORD_AT: usize = 0;
/// Not zero while a death that a call without a guard came across has not been told to anyone.
const UNTOLD_AT: usize = 8;
/// On a cache line of their own: whoever waits for the lock does not slow down who reads.
const CELLS_AT: usize = LINE;
const NOUN: &str = "Array";

/// So many values of one type in shared memory, with a lock.
///
/// Each element is what a [`Value`](super::Value) is: reading it waits for nobody, writing it up to 8 bytes is one store, and a
/// process that is killed leaves it old or new. Several elements together are only consistent for those who hold the lock. The
/// length never changes; an index below zero counts from the end.
///
/// A lock whose holder died is taken over within 150 ms. A clone is another handle to the same array, and so is what a process gets that
/// was started with it as an argument. The memory goes with the last handle of the last process.
///
/// Python: `multiprocessing.Array('d', n)`
///
/// # Examples
///
/// ```
/// use byproxy::{Process, shm};
///
/// fn double(prices: shm::Array<f64>) {
///     let prices = prices.lock();
///     for (index, price) in (0..).zip(prices.to_vec()) {
///         prices.set(index, price * 2.0).unwrap();
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     let prices = shm::Array::new(&[1.5, 2.0, 4.0])?;
///     Process::spawn(double, (&prices,))?.join()?;
///     assert_eq!(prices.to_vec(), [3.0, 4.0, 8.0]);
///     Ok(())
/// }
/// ```
pub struct Array<T> {
    block: Arc<Block>,
    length: usize,
    element: PhantomData<T>,
}

impl<T: Element> Array<T> {
    /// Copies elements into shared memory.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the system refuses memory or a descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// let prices = byproxy::shm::Array::new(&[1.5, 2.0, 4.0])?;
    /// assert_eq!(prices.to_vec(), [1.5, 2.0, 4.0]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn new(elements: &[T]) -> Result<Self> {
        Self::from_fn(elements.iter().copied())
    }

    /// Makes an array of so many copies of one element. Python: `Array('i', n)`, which is all zero
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the system refuses memory or a descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// let counts = byproxy::shm::Array::filled(0_u64, 1000)?;
    /// assert_eq!(counts.len(), 1000);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn filled(element: T, length: usize) -> Result<Self> {
        Self::from_fn(std::iter::repeat_n(element, length))
    }

    /// How many elements there are; it never changes. Python: `len(a)`
    ///
    /// # Examples
    ///
    /// ```
    /// let prices = byproxy::shm::Array::new(&[1.5, 2.0, 4.0])?;
    /// assert_eq!(prices.len(), 3);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__len__")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no elements.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(byproxy::shm::Array::<u8>::new(&[])?.is_empty());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The element at an index. Waits for nobody. Python: `a[i]`
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// let prices = byproxy::shm::Array::new(&[1.5, 2.0, 4.0])?;
    /// assert_eq!((prices.get(0)?, prices.get(-1)?), (1.5, 4.0));
    /// assert!(prices.get(3).is_err());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__getitem__")]
    #[inline]
    pub fn get(&self, index: i64) -> Result<T> {
        let place = index_in(index, self.length)?;
        Ok(self.read(place))
    }

    /// Replaces the element at an index.
    ///
    /// Up to 8 bytes it is one store, and waits for nobody; a larger element takes the lock. Python: `a[i] = x`
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// let prices = byproxy::shm::Array::new(&[1.5, 2.0, 4.0])?;
    /// prices.set(-1, 4.5)?;
    /// assert_eq!(prices.to_vec(), [1.5, 2.0, 4.5]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__setitem__")]
    #[inline]
    pub fn set(&self, index: i64, element: T) -> Result<()> {
        let place = index_in(index, self.length)?;
        let _held = (!Cell::<T>::IS_WORD).then(|| self.hold());
        self.cell(place).write(element);
        Ok(())
    }

    /// Changes the element at an index by a function, under the lock, and returns what the function returns.
    ///
    /// The function runs once, on a copy. If it panics, the element is as it was. Python: `with a.get_lock(): a[i] += 1`
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::new(&[0_u32, 7])?;
    /// let sold = seats.modify(1, |left| {
    ///     let sold = *left > 0;
    ///     *left -= u32::from(sold);
    ///     sold
    /// })?;
    /// assert!(sold);
    /// assert_eq!(seats.to_vec(), [0, 6]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[inline]
    pub fn modify<R>(&self, index: i64, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        let place = index_in(index, self.length)?;
        Ok(value::change_held(self.cell(place), self.hold(), change))
    }

    /// Copies all elements, one after the other; under the lock ([`ArrayGuard::to_vec`]) they belong together. Python: `a[:]`
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::filled(40_u32, 2)?;
    /// seats.set(0, 39)?;
    /// assert_eq!(seats.to_vec(), [39, 40]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "tolist")]
    pub fn to_vec(&self) -> Vec<T> {
        (0..self.length).map(|place| self.read(place)).collect()
    }

    /// Copies the elements of a range, one after the other, as [`to_vec`](Self::to_vec) does; an end outside the array is cut off. Python: `a[b:c]`
    ///
    /// # Examples
    ///
    /// ```
    /// let prices = byproxy::shm::Array::new(&[1.5, 2.0, 4.0])?;
    /// assert_eq!(prices.slice(1..3), [2.0, 4.0]);
    /// assert_eq!(prices.slice(-1..100), [4.0]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__getitem__")]
    pub fn slice(&self, range: impl RangeBounds<i64>) -> Vec<T> {
        range_in(&range, self.length).map(|place| self.read(place)).collect()
    }

    /// Replaces all elements, under the lock. Python: `a[:] = values`
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) if there are more or fewer than the array has; nothing was changed.
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::filled(0_u32, 3)?;
    /// seats.copy_from_slice(&[40, 50, 60])?;
    /// assert!(seats.copy_from_slice(&[40, 50]).is_err(), "it has three");
    /// assert_eq!(seats.to_vec(), [40, 50, 60]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__setitem__")]
    pub fn copy_from_slice(&self, elements: &[T]) -> Result<()> {
        self.lock().copy_from_slice(elements)
    }

    /// Replaces the elements of a range, under the lock. Python: `a[b:c] = values`
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) if there are more or fewer than the range has; nothing was changed.
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::new(&[40_u32, 50, 60])?;
    /// seats.set_slice(1.., &[49, 59])?;
    /// assert!(seats.set_slice(1.., &[49]).is_err(), "those are two");
    /// assert_eq!(seats.to_vec(), [40, 49, 59]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__setitem__")]
    pub fn set_slice(&self, range: impl RangeBounds<i64>, elements: &[T]) -> Result<()> {
        self.lock().set_slice(range, elements)
    }

    /// Takes the array's lock, and waits for it.
    ///
    /// Not re-entrant: while a thread has the guard, it goes through the guard. Python: `with a.get_lock():`
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::new(&[40_u32, 50])?;
    /// let guard = seats.lock();
    /// let (first, second) = (guard.get(0)?, guard.get(1)?);
    /// guard.copy_from_slice(&[second, first])?;
    /// drop(guard);
    /// assert_eq!(seats.to_vec(), [50, 40]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "get_lock")]
    pub fn lock(&self) -> ArrayGuard<'_, T> {
        self.guard(Held::acquire(self.word()))
    }

    /// Takes the array's lock if it is free, or its holder dead; `None` if it is taken.
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::filled(40_u32, 2)?;
    /// let guard = seats.lock();
    /// assert!(seats.try_lock().is_none());
    /// drop(guard);
    /// assert!(seats.try_lock().is_some());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn try_lock(&self) -> Option<ArrayGuard<'_, T>> {
        Held::try_acquire(self.word()).map(|held| self.guard(held))
    }

    /// Takes the array's lock, and waits for it at most this long; `None` if it was taken all the time.
    ///
    /// `Duration::ZERO` is a try, `Duration::MAX` for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let seats = byproxy::shm::Array::filled(40_u32, 2)?;
    /// let guard = seats.lock();
    /// assert!(seats.lock_timeout(Duration::from_millis(5)).is_none());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn lock_timeout(&self, timeout: Duration) -> Option<ArrayGuard<'_, T>> {
        Held::acquire_within(self.word(), timeout).map(|held| self.guard(held))
    }

    fn from_fn(elements: impl ExactSizeIterator<Item = T>) -> Result<Self> {
        let length = elements.len();
        let block = made(Block::new(size_of_all::<T>(length).unwrap_or(usize::MAX)))?;
        let new = Self {
            block,
            length,
            element: PhantomData,
        };
        new.word().store(FREE, Ordering::Relaxed);
        new.untold().store(0, Ordering::Relaxed);
        for (place, element) in elements.enumerate() {
            new.cell(place).initialise(element);
        }
        Ok(new)
    }

    #[inline]
    fn read(&self, place: usize) -> T {
        value::get(self.cell(place), || {
            let held = Held::acquire_within(self.word(), READER_PATIENCE)?;
            Some(self.remember(held))
        })
    }

    fn guard<'a>(&'a self, held: Held<'a>) -> ArrayGuard<'a, T> {
        let untold = self.untold().load(Ordering::Relaxed) != 0;
        if untold {
            // Should this process die now, then whoever is next is told because of that.
            self.untold().store(0, Ordering::Relaxed);
        }
        ArrayGuard {
            array: self,
            abandoned: held.abandoned() || untold,
            held,
        }
    }

    /// Takes the lock for a call that has nobody to tell of a death.
    #[inline]
    fn hold(&self) -> Held<'_> {
        self.remember(Held::acquire(self.word()))
    }

    #[inline]
    fn remember<'a>(&self, held: Held<'a>) -> Held<'a> {
        if held.abandoned() {
            self.untold().store(1, Ordering::Relaxed);
        }
        held
    }

    #[inline]
    fn cell(&self, place: usize) -> Cell<T> {
        let at = self.block.part(CELLS_AT + place * Cell::<T>::SIZE, Cell::<T>::SIZE);
        // SAFETY:
        // - Blocks and the first cell are aligned to a cache line, and cells stand at multiples of their size.
        // - The cell lies inside the block, which this array keeps.
        // - Every process has the block as an `Array<T>`: this one made it, or its ticket said so.
        unsafe { Cell::new(at) }
    }

    #[inline]
    fn word(&self) -> &AtomicU64 {
        word_in(&self.block, WORD_AT)
    }

    fn untold(&self) -> &AtomicU64 {
        word_in(&self.block, UNTOLD_AT)
    }
}

impl<T: Number> Array<T> {
    /// Adds to the element at an index in one step and returns what it was.
    ///
    /// Takes the lock. Python: `with a.get_lock(): a[i] += n`
    ///
    /// # Errors
    /// [`Error::Overflow`](crate::Error::Overflow) if the sum would not fit the type; the element is as it was.
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// let votes = byproxy::shm::Array::new(&[0_u32, 0, 0])?;
    /// votes.fetch_add(1, 1)?;
    /// assert_eq!(votes.fetch_add(1, 1)?, 1);
    /// assert_eq!(votes.to_vec(), [0, 2, 0]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "increment")]
    #[doc(alias = "+=")]
    #[inline]
    pub fn fetch_add(&self, index: i64, delta: T) -> Result<T> {
        self.fetch(index, delta, T::plus)
    }

    /// Subtracts from the element at an index in one step and returns what it was.
    ///
    /// Takes the lock. Python: `with a.get_lock(): a[i] -= n`
    ///
    /// # Errors
    /// [`Error::Overflow`](crate::Error::Overflow) if the difference would not fit the type; the element is as it was.
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::new(&[40_u32, 0])?;
    /// assert_eq!(seats.fetch_sub(0, 1)?, 40);
    /// assert!(seats.fetch_sub(1, 1).is_err(), "none are left");
    /// assert_eq!(seats.to_vec(), [39, 0]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "decrement")]
    #[doc(alias = "-=")]
    #[inline]
    pub fn fetch_sub(&self, index: i64, delta: T) -> Result<T> {
        self.fetch(index, delta, T::minus)
    }

    #[inline]
    fn fetch(&self, index: i64, delta: T, change: impl FnOnce(T, T) -> Option<T>) -> Result<T> {
        let place = index_in(index, self.length)?;
        value::fetch_held(self.cell(place), self.hold(), delta, change)
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self {
            block: Arc::clone(&self.block),
            ..*self
        }
    }
}

impl<T: Element + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Array").field(&self.to_vec()).finish()
    }
}

impl<T: Element> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        travel::serialize(travel::name_of::<T>(NOUN), &self.block, self.length, serializer)
    }
}

impl<'de, T: Element> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let what = travel::name_of::<T>(NOUN);
        let (block, length) = travel::deserialize(&what, size_of_all::<T>, deserializer)?;
        Ok(Self {
            block,
            length,
            element: PhantomData,
        })
    }
}

fn size_of_all<T: Element>(length: usize) -> Option<usize> {
    length.checked_mul(Cell::<T>::SIZE)?.checked_add(CELLS_AT)
}
