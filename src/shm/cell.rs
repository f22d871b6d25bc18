//! One element in shared memory: a single atomic if it fits, two slots and an index word if not.
//!
//! | size of the element | in memory | reading | writing |
//! |---|---|---|---|
//! | up to 8 bytes | one atomic of 1, 2, 4 or 8 bytes | a load | a store, or a compare-and-exchange for a holder of the lock |
//! | more | index word, slot, slot | copy, and look again ([`slots`]) | by a holder of the lock |
//!
//! Values are copied in and out. No reference into the memory is ever made but to atomics, and whatever bytes are found become a value.

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use super::element::Element;
use super::slots;

const WORD: usize = 8;

/// The bytes of an element of up to 8, the first one lowest.
pub(super) type Bits = u64;

/// The place of one element. Whoever holds one keeps the memory mapped.
pub(super) struct Cell<T> {
    at: NonNull<u8>,
    element: PhantomData<T>,
}

impl<T: Element> Cell<T> {
    /// How many bytes a cell takes.
    pub(super) const SIZE: usize = if Self::IS_WORD {
        Self::WIDTH
    } else {
        WORD + 2 * WORD * Self::SLOT_WORDS
    };
    /// Whether the element is one atomic.
    pub(super) const IS_WORD: bool = {
        assert!(size_of::<T>() > 0, "an element of shared memory has a size");
        assert!(
            align_of::<T>() <= 16,
            "an element of shared memory is aligned to 16 at most"
        );
        size_of::<T>() <= WORD
    };
    const WIDTH: usize = size_of::<T>().next_power_of_two();
    const SLOT_WORDS: usize = size_of::<T>().div_ceil(WORD);
    /// The bits of a word that one atomic has.
    const MASK: Bits = if Self::WIDTH < WORD {
        (1 << (8 * Self::WIDTH)) - 1
    } else {
        Bits::MAX
    };

    /// A cell at an address.
    ///
    /// # Safety
    ///
    /// - `at` is aligned to 8, or is a multiple of [`SIZE`](Self::SIZE) behind such a place.
    /// - [`SIZE`](Self::SIZE) bytes are mapped there as long as the cell is used.
    /// - They are only ever accessed as this cell is, by all processes.
    #[inline]
    pub(super) unsafe fn new(at: NonNull<u8>) -> Self {
        Self {
            at,
            element: PhantomData,
        }
    }

    /// Puts the first value there, while nobody else knows the place.
    pub(super) fn initialise(self, value: T) {
        if !Self::IS_WORD {
            self.index().store(0, Relaxed);
        }
        self.write(value);
    }

    /// The value and, of one atomic, its bits. `None` if it was replaced while it was copied, which does not happen to one atomic.
    #[inline]
    pub(super) fn read(self) -> Option<(T, Bits)> {
        if Self::IS_WORD {
            let bits = self.load();
            return Some((decode(bits), bits));
        }
        let (value, whole) = self.copy();
        whole.then_some((value, 0))
    }

    /// The value, for a holder of the lock: only a peer that breaks the rules can replace it meanwhile.
    #[inline]
    pub(super) fn read_held(self) -> (T, Bits) {
        if Self::IS_WORD {
            let bits = self.load();
            (decode(bits), bits)
        } else {
            (self.copy().0, 0)
        }
    }

    /// Replaces the value. Of more than one atomic, only a holder of the lock may.
    #[inline]
    pub(super) fn write(self, value: T) {
        if Self::IS_WORD {
            self.store(encode(&value));
        } else {
            slots::write(self.index(), self.slots(), |at| word_of(&value, at));
        }
    }

    /// Replaces the value that a holder of the lock has read. A bare store that came between counts as later, and stays.
    #[inline]
    pub(super) fn commit(self, read: Bits, value: T) {
        if Self::IS_WORD {
            self.exchange(read, encode(&value));
        } else {
            self.write(value);
        }
    }

    /// The value that the bits of one atomic mean.
    #[inline]
    pub(super) fn value_of(bits: Bits) -> T {
        decode(bits & Self::MASK)
    }

    /// The bits of a word whose first bytes are this cell, with another value in it.
    #[inline]
    pub(super) fn change(bits: Bits, change: impl FnOnce(T) -> Option<T>) -> Option<Bits> {
        let after = change(Self::value_of(bits))?;
        Some(bits & !Self::MASK | encode(&after))
    }

    fn copy(self) -> (T, bool) {
        let mut copy = MaybeUninit::<T>::uninit();
        let start = copy.as_mut_ptr().cast::<u8>();
        let whole = slots::read(self.index(), self.slots(), |at, word| {
            let offset = at * WORD;
            let size = (size_of::<T>() - offset).min(WORD);
            // SAFETY: the copy's slots have as many words as the element, so this one begins inside it.
            let part = unsafe { start.add(offset) };
            // SAFETY: at most the rest of the element, which is this function's own, and at most the word.
            unsafe { ptr::copy_nonoverlapping(word.to_ne_bytes().as_ptr(), part, size) };
        });
        if !seeded!("shm_copy_unchecked") {
            // SAFETY: every byte was written above.
            unsafe { T::admit(copy.as_mut_ptr()) };
        }
        // SAFETY: initialised, and `admit` has made it a value.
        (unsafe { copy.assume_init() }, whole)
    }

    fn index(self) -> &'static AtomicU64 {
        debug_assert!(!Self::IS_WORD);
        // SAFETY:
        // - The cell begins with its index word, aligned to 8 by the promise to `new`, and only accessed atomically.
        // - The reference does not leave this type's methods, during which the memory is mapped.
        unsafe { self.at.cast().as_ref() }
    }

    fn slots(self) -> [&'static [AtomicU64]; 2] {
        [0, 1].map(|number| {
            // SAFETY: the slots lie behind the index word, inside the cell.
            let slot = unsafe { self.at.add(WORD + number * WORD * Self::SLOT_WORDS) };
            // SAFETY: as for the index word; each slot has this many words.
            unsafe { slice::from_raw_parts(slot.cast().as_ptr(), Self::SLOT_WORDS) }
        })
    }

    #[inline]
    fn load(self) -> Bits {
        match Self::WIDTH {
            1 => self.atomic::<AtomicU8>().load(Acquire).into(),
            2 => self.atomic::<AtomicU16>().load(Acquire).into(),
            4 => self.atomic::<AtomicU32>().load(Acquire).into(),
            _ => self.atomic::<AtomicU64>().load(Acquire),
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the rest is zero")]
    fn store(self, bits: Bits) {
        match Self::WIDTH {
            1 => self.atomic::<AtomicU8>().store(bits as u8, Release),
            2 => self.atomic::<AtomicU16>().store(bits as u16, Release),
            4 => self.atomic::<AtomicU32>().store(bits as u32, Release),
            _ => self.atomic::<AtomicU64>().store(bits, Release),
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the rest is zero")]
    fn exchange(self, from: Bits, to: Bits) {
        // If it is no longer what was read, what came between stays.
        macro_rules! exchange {
            ($atomic:ty, $integer:ty) => {
                drop(
                    self.atomic::<$atomic>()
                        .compare_exchange(from as $integer, to as $integer, AcqRel, Relaxed),
                )
            };
        }
        match Self::WIDTH {
            1 => exchange!(AtomicU8, u8),
            2 => exchange!(AtomicU16, u16),
            4 => exchange!(AtomicU32, u32),
            _ => exchange!(AtomicU64, u64),
        }
    }

    /// The cell as the atomic of its width.
    #[inline]
    fn atomic<A>(self) -> &'static A {
        debug_assert!(size_of::<A>() == Self::WIDTH && Self::IS_WORD);
        // SAFETY:
        // - The callers name the atomic of the cell's width, to which the cell is aligned by the promise to `new`.
        // - The memory is only accessed as this atomic.
        // - The reference does not leave this type's methods, during which the memory is mapped.
        unsafe { self.at.cast().as_ref() }
    }
}

impl<T> Clone for Cell<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Cell<T> {}

impl<T> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").finish_non_exhaustive()
    }
}

#[inline]
fn encode<T: Element>(value: &T) -> Bits {
    let mut bytes = [0; WORD];
    let size = size_of::<T>().min(WORD);
    // SAFETY: both are valid for `size` bytes and apart; all bytes of an element are initialised.
    unsafe { ptr::copy_nonoverlapping(ptr::from_ref(value).cast(), bytes.as_mut_ptr(), size) };
    u64::from_le_bytes(bytes)
}

/// The value of an element of at most a word.
#[inline]
fn decode<T: Element>(bits: Bits) -> T {
    let bytes = bits.to_le_bytes();
    let mut value = MaybeUninit::<T>::uninit();
    let size = size_of::<T>().min(WORD);
    // SAFETY: `size` is neither more than the bytes nor more than the value, and they are apart.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), value.as_mut_ptr().cast(), size) };
    if !seeded!("shm_unchecked") {
        // SAFETY: the callers are about elements of up to a word, whose bytes were all written above.
        unsafe { T::admit(value.as_mut_ptr()) };
    }
    // SAFETY: initialised, and `admit` has made it a value.
    unsafe { value.assume_init() }
}

/// The word of a value's bytes at a place, filled up with zeroes.
#[inline]
fn word_of<T: Element>(value: &T, at: usize) -> u64 {
    let offset = at * WORD;
    let size = (size_of::<T>() - offset).min(WORD);
    let mut word = [0; WORD];
    // SAFETY: the word begins inside the value, because a slot has no more words than the value.
    let part = unsafe { ptr::from_ref(value).cast::<u8>().add(offset) };
    // SAFETY: at most the rest of the value and at most a word; all bytes of an element are initialised.
    unsafe { ptr::copy_nonoverlapping(part, word.as_mut_ptr(), size) };
    u64::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roundtrip<T: Element + PartialEq + fmt::Debug>(first: T, second: T) {
        let mut memory = vec![u64::MAX; Cell::<T>::SIZE.div_ceil(WORD)];
        let at = NonNull::new(memory.as_mut_ptr()).unwrap().cast();
        // SAFETY: aligned, as large as the cell, and alive until the end of this function.
        let cell = unsafe { Cell::<T>::new(at) };
        cell.initialise(first);
        let (read, bits) = cell.read().unwrap();
        assert_eq!(read, first);
        cell.commit(bits, second);
        assert_eq!(cell.read_held().0, second);
        cell.write(first);
        assert_eq!(cell.read().unwrap().0, first);
        if Cell::<T>::IS_WORD {
            cell.write(second);
            cell.commit(bits, first);
            let later = if encode(&first) == encode(&second) {
                first
            } else {
                second
            };
            cell.write(later);
            assert_eq!(cell.read_held().0, later);
        }
    }

    #[test]
    fn elements_of_every_size_come_back() {
        roundtrip(7_u8, 255);
        roundtrip(true, false);
        roundtrip(-3_i16, 300);
        roundtrip('ä', '\u{10ffff}');
        roundtrip([1_u8, 2, 3], [255, 0, 1]);
        roundtrip([1_u8, 2, 3, 4, 5, 6, 7], [9; 7]);
        roundtrip(1.5_f64, -0.25);
        roundtrip(u64::MAX, 0);
        roundtrip([1_u8; 9], [2; 9]);
        roundtrip(u128::MAX - 1, 1);
        roundtrip([0.5_f64; 40], [1.5; 40]);
    }

    #[test]
    fn a_store_between_reading_and_committing_stays() {
        let memory = AtomicU64::new(0);
        // SAFETY: aligned, as large as the cell, and alive until the end of this function.
        let cell = unsafe { Cell::<u64>::new(NonNull::from(&memory).cast()) };
        let (value, bits) = cell.read_held();
        cell.write(100);
        cell.commit(bits, value + 1);
        assert_eq!(cell.read_held().0, 100);
    }
}
