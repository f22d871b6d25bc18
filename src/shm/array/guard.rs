//! `ArrayGuard`: an array whose lock is held, and what its holder may do.

use std::fmt;
use std::ops::RangeBounds;

use super::Array;
use crate::error::Result;
use crate::shm::element::Element;
use crate::shm::index::{assert_fit, index_in, range_in};
use crate::shm::lock::Held;

/// An array whose lock this thread holds. Each element is written at once, not when this is dropped.
///
/// If the process dies meanwhile, the next holder is told by [`abandoned`](Self::abandoned): some elements may be new and others not. It
/// can't be sent to another thread.
///
/// # Examples
///
/// ```
/// let seats = byproxy::shm::Array::new(&[40_u32, 50])?;
/// let guard = seats.lock();
/// guard.set(0, 39)?;
/// assert_eq!(seats.get(0)?, 39, "at once");
/// assert!(seats.try_lock().is_none());
/// drop(guard);
/// # Ok::<(), byproxy::Error>(())
/// ```
#[must_use = "the lock is freed as soon as its guard is dropped"]
pub struct ArrayGuard<'a, T: Element> {
    pub(super) array: &'a Array<T>,
    pub(super) abandoned: bool,
    pub(super) held: Held<'a>,
}

impl<T: Element> ArrayGuard<'_, T> {
    /// Whether a process died while it held the lock, since the last guard: it may have written only some of what it was about to.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Process, shm};
    ///
    /// fn die_moving(seats: shm::Array<u32>) {
    ///     let guard = seats.lock();
    ///     guard.set(0, 39).unwrap();
    ///     std::process::exit(1)
    /// }
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let seats = shm::Array::new(&[40, 50])?;
    ///     assert!(Process::spawn(die_moving, (&seats,))?.join().is_err());
    ///     let guard = seats.lock();
    ///     assert!(guard.abandoned());
    ///     assert_eq!(guard.to_vec(), [39, 50], "half moved");
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "poisoned")]
    pub fn abandoned(&self) -> bool {
        self.abandoned
    }

    /// How many elements there are.
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::filled(40_u32, 2)?;
    /// assert_eq!(seats.lock().len(), 2);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__len__")]
    pub fn len(&self) -> usize {
        self.array.length
    }

    /// Whether there are no elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::filled(40_u32, 2)?;
    /// assert!(!seats.lock().is_empty());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.array.is_empty()
    }

    /// The element at an index.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::new(&[40_u32, 50])?;
    /// let guard = seats.lock();
    /// assert_eq!(guard.get(0)? + guard.get(-1)?, 90);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__getitem__")]
    pub fn get(&self, index: i64) -> Result<T> {
        let place = index_in(index, self.array.length)?;
        Ok(self.array.cell(place).read_held().0)
    }

    /// Replaces the element at an index.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::new(&[40_u32, 50])?;
    /// let guard = seats.lock();
    /// guard.set(0, guard.get(0)? - 1)?;
    /// guard.set(1, guard.get(1)? + 1)?;
    /// assert_eq!(guard.to_vec(), [39, 51]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__setitem__")]
    pub fn set(&self, index: i64, element: T) -> Result<()> {
        let place = index_in(index, self.array.length)?;
        self.write(place, element);
        Ok(())
    }

    /// Copies all elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::new(&[40_u32, 50])?;
    /// let total: u32 = seats.lock().to_vec().iter().sum();
    /// assert_eq!(total, 90);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "tolist")]
    pub fn to_vec(&self) -> Vec<T> {
        self.slice(..)
    }

    /// Copies the elements of a range; an end outside the array is cut off. Python: `a[b:c]`
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::new(&[40_u32, 50, 60])?;
    /// assert_eq!(seats.lock().slice(..2), [40, 50]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__getitem__")]
    pub fn slice(&self, range: impl RangeBounds<i64>) -> Vec<T> {
        range_in(&range, self.array.length)
            .map(|place| self.array.cell(place).read_held().0)
            .collect()
    }

    /// Replaces all elements.
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) if there are more or fewer than the array has; nothing was changed.
    ///
    /// # Examples
    ///
    /// ```
    /// let row = byproxy::shm::Array::filled(0_u8, 3)?;
    /// let guard = row.lock();
    /// guard.copy_from_slice(&[1, 2, 3])?;
    /// assert!(guard.copy_from_slice(&[1, 2]).is_err());
    /// assert_eq!(guard.to_vec(), [1, 2, 3]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn copy_from_slice(&self, elements: &[T]) -> Result<()> {
        self.set_slice(.., elements)
    }

    /// Replaces the elements of a range. Python: `a[b:c] = values`
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) if there are more or fewer than the range has; nothing was changed.
    ///
    /// # Examples
    ///
    /// ```
    /// let row = byproxy::shm::Array::new(&[1_u8, 2, 3])?;
    /// row.lock().set_slice(..-1, &[7, 8])?;
    /// assert_eq!(row.to_vec(), [7, 8, 3]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__setitem__")]
    pub fn set_slice(&self, range: impl RangeBounds<i64>, elements: &[T]) -> Result<()> {
        let places = range_in(&range, self.array.length);
        assert_fit(elements.len(), places.len())?;
        for (place, element) in places.zip(elements) {
            self.write(place, *element);
        }
        Ok(())
    }

    fn write(&self, place: usize, element: T) {
        // In a process forked from the holder this guard holds nothing.
        if self.held.is_ours() {
            self.array.cell(place).write(element);
        }
    }
}

impl<T: Element + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ArrayGuard").field(&self.to_vec()).finish()
    }
}
