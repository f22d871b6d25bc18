//! `ArrayGuard`: an array whose lock is held, and what its holder may do.

use std::fmt;

use super::Array;
use crate::error::{Error, Result};
use crate::shm::element::Element;
use crate::shm::index_in;
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
    /// [`Error::IndexOutOfRange`].
    ///
    /// # Examples
    ///
    /// ```
    /// let seats = byproxy::shm::Array::new(&[40_u32, 50])?;
    /// let guard = seats.lock();
    /// assert_eq!(guard.get(0)? + guard.get(-1)?, 90);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn get(&self, index: i64) -> Result<T> {
        let place = index_in(index, self.array.length)?;
        Ok(self.array.cell(place).read_held().0)
    }

    /// Replaces the element at an index.
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`].
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
    pub fn to_vec(&self) -> Vec<T> {
        (0..self.array.length)
            .map(|place| self.array.cell(place).read_held().0)
            .collect()
    }

    /// Replaces all elements.
    ///
    /// # Errors
    /// [`Error::Misuse`] if there are more or fewer than the array has; nothing was changed.
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
        let length = self.array.length;
        if elements.len() != length {
            return Err(Error::Misuse(format!(
                "an array of {length} elements can't take {} of them",
                elements.len()
            )));
        }
        for (place, element) in elements.iter().enumerate() {
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
