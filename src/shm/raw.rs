//! `RawValue` and `RawArray`: atomic cells without a lock.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cell::Cell;
use super::element::Element;
use super::index::{assert_fit, index_in, range_in};
use super::pool::Block;
use super::{made, travel};
use crate::error::Result;

const VALUE_NOUN: &str = "RawValue";
const ARRAY_NOUN: &str = "RawArray";

/// One value in shared memory, without a lock: reading and writing are one load and one store.
///
/// For elements of up to 8 bytes; a larger one does not compile, because without a lock its parts could come from different writers. Between
/// a `get` and a `set` others may write, and what they wrote is lost then: for counting take [`Value`](super::Value).
///
/// A clone is another handle to the same value, and so is what a process gets that was started with it as an argument.
///
/// Python: `multiprocessing.RawValue('i', 0)`
///
/// # Examples
///
/// ```
/// let stop = byproxy::shm::RawValue::new(false)?;
/// stop.set(true);
/// assert!(stop.get());
/// # Ok::<(), byproxy::Error>(())
/// ```
///
/// ```compile_fail
/// let large = byproxy::shm::RawValue::new(0_u128);
/// ```
pub struct RawValue<T> {
    block: Arc<Block>,
    /// In the block, which keeps it mapped.
    cell: Cell<T>,
}

// SAFETY: the cell is a place in a mapping of the whole process, kept by the block and accessed atomically; elements are `Send` and `Sync`.
unsafe impl<T: Element> Send for RawValue<T> {}
// SAFETY: as above.
unsafe impl<T: Element> Sync for RawValue<T> {}

impl<T: Element> RawValue<T> {
    /// Puts a value into shared memory.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the system refuses memory or a descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// let ready = byproxy::shm::RawValue::new(false)?;
    /// assert!(!ready.get());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn new(value: T) -> Result<Self> {
        let new = Self::at(made(Block::new(Cell::<T>::SIZE))?);
        new.cell.initialise(value);
        Ok(new)
    }

    /// The value. Waits for nobody. Python: `v.value`
    ///
    /// # Examples
    ///
    /// ```
    /// let degrees = byproxy::shm::RawValue::new(21.5)?;
    /// assert_eq!(degrees.clone().get(), 21.5);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "load")]
    #[inline]
    pub fn get(&self) -> T {
        self.cell.read_held().0
    }

    /// Replaces the value. Waits for nobody. Python: `v.value = x`
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Process, shm};
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let degrees = shm::RawValue::new(21.5)?;
    ///     Process::spawn(|degrees: shm::RawValue<f64>| degrees.set(22.0), (&degrees,))?.join()?;
    ///     assert_eq!(degrees.get(), 22.0);
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "store")]
    #[inline]
    pub fn set(&self, value: T) {
        self.cell.write(value);
    }

    fn at(block: Arc<Block>) -> Self {
        const { assert_word::<T>() };
        let at = block.part(0, Cell::<T>::SIZE);
        // SAFETY:
        // - Blocks are aligned to a cache line.
        // - The cell lies inside the block, which this value keeps.
        // - Every process has the block as a `RawValue<T>`: this one made it, or its ticket said so.
        let cell = unsafe { Cell::new(at) };
        Self { block, cell }
    }
}

impl<T> Clone for RawValue<T> {
    fn clone(&self) -> Self {
        Self {
            block: Arc::clone(&self.block),
            cell: self.cell,
        }
    }
}

impl<T: Element + fmt::Debug> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawValue").field(&self.get()).finish()
    }
}

impl<T: Element> Serialize for RawValue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        travel::serialize(travel::name_of::<T>(VALUE_NOUN), &self.block, 1, serializer)
    }
}

impl<'de, T: Element> Deserialize<'de> for RawValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let what = travel::name_of::<T>(VALUE_NOUN);
        let (block, _) = travel::deserialize(&what, |_| Some(Cell::<T>::SIZE), deserializer)?;
        Ok(Self::at(block))
    }
}

/// So many values in shared memory, without a lock: reading and writing one are one load and one store.
///
/// For elements of up to 8 bytes, as [`RawValue`]. A whole array is copied element by element, and others may write meanwhile; for more
/// take [`Array`](super::Array). An index below zero counts from the end.
///
/// A clone is another handle to the same array, and so is what a process gets that was started with it as an argument.
///
/// Python: `multiprocessing.RawArray('d', n)`
///
/// # Examples
///
/// ```
/// let squares = byproxy::shm::RawArray::new(&[0_u32; 4])?;
/// for number in 0..4 {
///     squares.set(i64::from(number), number * number)?;
/// }
/// assert_eq!(squares.to_vec(), [0, 1, 4, 9]);
/// assert_eq!(squares.get(-1)?, 9);
/// # Ok::<(), byproxy::Error>(())
/// ```
pub struct RawArray<T> {
    block: Arc<Block>,
    length: usize,
    element: PhantomData<T>,
}

impl<T: Element> RawArray<T> {
    /// Copies elements into shared memory.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the system refuses memory or a descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// let row = byproxy::shm::RawArray::new(&[0.5_f32; 4])?;
    /// assert_eq!(row.to_vec(), [0.5; 4]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn new(elements: &[T]) -> Result<Self> {
        const { assert_word::<T>() };
        let block = made(Block::new(cells_size::<T>(elements.len()).unwrap_or(usize::MAX)))?;
        let new = Self {
            block,
            length: elements.len(),
            element: PhantomData,
        };
        for (place, element) in elements.iter().enumerate() {
            new.cell(place).initialise(*element);
        }
        Ok(new)
    }

    /// How many elements there are; it never changes. Python: `len(a)`
    ///
    /// # Examples
    ///
    /// ```
    /// let row = byproxy::shm::RawArray::new(&[0_u8; 4])?;
    /// assert_eq!(row.len(), 4);
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
    /// let row = byproxy::shm::RawArray::new(&[0_u8; 4])?;
    /// assert!(!row.is_empty());
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
    /// let row = byproxy::shm::RawArray::new(&[1, 2, 3])?;
    /// assert_eq!((row.get(0)?, row.get(-1)?), (1, 3));
    /// assert!(row.get(3).is_err());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__getitem__")]
    #[inline]
    pub fn get(&self, index: i64) -> Result<T> {
        let place = index_in(index, self.length)?;
        Ok(self.cell(place).read_held().0)
    }

    /// Replaces the element at an index. Waits for nobody. Python: `a[i] = x`
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`](crate::Error::IndexOutOfRange).
    ///
    /// # Examples
    ///
    /// ```
    /// let row = byproxy::shm::RawArray::new(&[1, 2, 3])?;
    /// row.set(-1, 4)?;
    /// assert_eq!(row.to_vec(), [1, 2, 4]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__setitem__")]
    #[inline]
    pub fn set(&self, index: i64, element: T) -> Result<()> {
        let place = index_in(index, self.length)?;
        self.cell(place).write(element);
        Ok(())
    }

    /// Copies all elements, one after the other. Python: `a[:]`
    ///
    /// # Examples
    ///
    /// ```
    /// let row = byproxy::shm::RawArray::new(&['a', 'b'])?;
    /// assert_eq!(row.to_vec(), ['a', 'b']);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "tolist")]
    pub fn to_vec(&self) -> Vec<T> {
        self.slice(..)
    }

    /// Copies the elements of a range, one after the other; an end outside the array is cut off. Python: `a[b:c]`
    ///
    /// # Examples
    ///
    /// ```
    /// let row = byproxy::shm::RawArray::new(&[1, 2, 3])?;
    /// assert_eq!(row.slice(-2..), [2, 3]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__getitem__")]
    pub fn slice(&self, range: impl RangeBounds<i64>) -> Vec<T> {
        range_in(&range, self.length)
            .map(|place| self.cell(place).read_held().0)
            .collect()
    }

    /// Replaces the elements of a range, one after the other. Python: `a[b:c] = values`
    ///
    /// # Errors
    /// [`Error::Misuse`](crate::Error::Misuse) if there are more or fewer than the range has; nothing was changed.
    ///
    /// # Examples
    ///
    /// ```
    /// let row = byproxy::shm::RawArray::new(&[1, 2, 3])?;
    /// row.set_slice(..2, &[7, 8])?;
    /// assert_eq!(row.to_vec(), [7, 8, 3]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__setitem__")]
    pub fn set_slice(&self, range: impl RangeBounds<i64>, elements: &[T]) -> Result<()> {
        let places = range_in(&range, self.length);
        assert_fit(elements.len(), places.len())?;
        for (place, element) in places.zip(elements) {
            self.cell(place).write(*element);
        }
        Ok(())
    }

    #[inline]
    fn cell(&self, place: usize) -> Cell<T> {
        let at = self.block.part(place * Cell::<T>::SIZE, Cell::<T>::SIZE);
        // SAFETY:
        // - Blocks are aligned to a cache line, and cells stand at multiples of their size.
        // - The cell lies inside the block, which this array keeps.
        // - Every process has the block as a `RawArray<T>`: this one made it, or its ticket said so.
        unsafe { Cell::new(at) }
    }
}

impl<T> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        Self {
            block: Arc::clone(&self.block),
            ..*self
        }
    }
}

impl<T: Element + fmt::Debug> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawArray").field(&self.to_vec()).finish()
    }
}

impl<T: Element> Serialize for RawArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        travel::serialize(travel::name_of::<T>(ARRAY_NOUN), &self.block, self.length, serializer)
    }
}

impl<'de, T: Element> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const { assert_word::<T>() };
        let what = travel::name_of::<T>(ARRAY_NOUN);
        let (block, length) = travel::deserialize(&what, cells_size::<T>, deserializer)?;
        Ok(Self {
            block,
            length,
            element: PhantomData,
        })
    }
}

fn cells_size<T: Element>(length: usize) -> Option<usize> {
    length.checked_mul(Cell::<T>::SIZE)
}

const fn assert_word<T: Element>() {
    assert!(
        Cell::<T>::IS_WORD,
        "without a lock an element has at most 8 bytes: use shm::Value or shm::Array"
    );
}
