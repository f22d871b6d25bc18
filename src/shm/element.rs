//! What may stand in shared memory: the element contract, and the types that meet it.

/// A type whose values may stand in memory that several processes read and write.
///
/// Implemented for all integers and floats, `bool`, `char`, and arrays `[T; N]` of elements. For your own structs use
/// [`shm_struct!`](crate::shm_struct), which needs no `unsafe` of yours.
///
/// # Safety
///
/// - The layout is fixed (`repr(C)` or `repr(transparent)`) and has no padding: every byte of a value is initialised.
/// - Values are plain data: no pointers, no references, no descriptors, nothing that means something in one process only.
/// - Every pattern of bytes is a value, once [`admit`](Self::admit) has replaced those that are not.
/// - The alignment is at most 16.
///
/// # Examples
///
/// ```
/// use byproxy::shm;
///
/// #[derive(Clone, Copy)]
/// #[repr(transparent)]
/// struct Celsius(f64);
///
/// // SAFETY:
/// // - The layout is that of `f64`, which has no padding.
/// // - It is plain data, and every pattern of bytes is an `f64`.
/// // - Its alignment is 8.
/// unsafe impl shm::Element for Celsius {}
///
/// let temperature = shm::Value::new(Celsius(21.5))?;
/// assert_eq!(temperature.get().0, 21.5);
/// # Ok::<(), byproxy::Error>(())
/// ```
pub unsafe trait Element: Copy + Send + Sync + 'static {
    /// Replaces bytes that are no value of this type by some that are, in place. Whoever can write to the memory may have put them there.
    ///
    /// # Safety
    ///
    /// `place` is aligned, valid for reads and writes, and all its bytes are initialised.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::shm::Element;
    ///
    /// let mut found = 7_u8;
    /// // SAFETY: a `bool` is one byte, and this one is initialised and ours.
    /// unsafe { bool::admit((&raw mut found).cast()) };
    /// assert_eq!(found, 1);
    /// ```
    unsafe fn admit(place: *mut Self) {
        let _ = place;
    }
}

/// A number that can be added to: an integer, within its bounds, or a float.
///
/// # Examples
///
/// ```
/// use byproxy::shm::{Number, Value};
///
/// fn earn<T: Number>(purse: &Value<T>, coins: T) -> byproxy::Result<T> {
///     purse.fetch_add(coins)
/// }
///
/// let (whole, parts) = (Value::new(3_u64)?, Value::new(2.5)?);
/// assert_eq!((earn(&whole, 1)?, earn(&parts, 0.5)?), (3, 2.5));
/// assert_eq!((whole.get(), parts.get()), (4, 3.0));
/// # Ok::<(), byproxy::Error>(())
/// ```
pub trait Number: Element + sealed::Sealed {
    /// The sum, unless it leaves the type's bounds.
    #[doc(hidden)]
    fn plus(self, delta: Self) -> Option<Self>;

    /// The difference, unless it leaves the type's bounds.
    #[doc(hidden)]
    fn minus(self, delta: Self) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        // SAFETY: an integer is plain data without padding, every pattern of bytes is one, and none is aligned to more than 16.
        unsafe impl Element for $integer {}

        impl sealed::Sealed for $integer {}

        impl Number for $integer {
            #[inline]
            fn plus(self, delta: Self) -> Option<Self> {
                self.checked_add(delta)
            }

            #[inline]
            fn minus(self, delta: Self) -> Option<Self> {
                self.checked_sub(delta)
            }
        }
    )*};
}

macro_rules! floats {
    ($($float:ty)*) => {$(
        // SAFETY: a float is plain data without padding, every pattern of bytes is one, and none is aligned to more than 16.
        unsafe impl Element for $float {}

        impl sealed::Sealed for $float {}

        impl Number for $float {
            #[inline]
            fn plus(self, delta: Self) -> Option<Self> {
                Some(self + delta)
            }

            #[inline]
            fn minus(self, delta: Self) -> Option<Self> {
                Some(self - delta)
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);
floats!(f32 f64);

const _: () = assert!(align_of::<u128>() <= 16);

// SAFETY: one byte of plain data; `admit` leaves 0 or 1.
unsafe impl Element for bool {
    unsafe fn admit(place: *mut Self) {
        let byte = place.cast::<u8>();
        // SAFETY: the caller's promise covers the one byte.
        let found = unsafe { byte.read() };
        // SAFETY: as above.
        unsafe { byte.write(u8::from(found != 0)) };
    }
}

// SAFETY: four bytes of plain data; `admit` leaves a character, U+FFFD for what was none.
unsafe impl Element for char {
    unsafe fn admit(place: *mut Self) {
        // SAFETY: the caller's promise covers the four bytes, aligned as a `u32` is.
        let found = unsafe { place.cast::<u32>().read() };
        let character = char::from_u32(found).unwrap_or(char::REPLACEMENT_CHARACTER);
        // SAFETY: as above.
        unsafe { place.write(character) };
    }
}

// SAFETY: an array is its elements without padding between them, with their alignment.
unsafe impl<T: Element, const N: usize> Element for [T; N] {
    unsafe fn admit(place: *mut Self) {
        for number in 0..N {
            // SAFETY: `number` is below the array's length.
            let element = unsafe { place.cast::<T>().add(number) };
            // SAFETY: a part of what the caller promised.
            unsafe { T::admit(element) };
        }
    }
}

/// Defines a struct whose values may stand in shared memory.
///
/// The fields are [`Element`](crate::shm::Element)s: numbers, `bool`, `char`, arrays of them, other such structs. The struct is `repr(C)`
/// and `Copy`. It must have no padding: order the fields from large to small, and fill up with an array of bytes; a struct that has any
/// does not compile.
///
/// # Examples
///
/// ```
/// use byproxy::shm;
///
/// byproxy::shm_struct! {
///     /// Where a train is.
///     #[derive(Debug, PartialEq)]
///     pub struct Position {
///         pub kilometre: f64,
///         pub track: u32,
///         pub moving: bool,
///         pub reserved: [u8; 3],
///     }
/// }
///
/// let start = Position { kilometre: 0.0, track: 4, moving: false, reserved: [0; 3] };
/// let position = shm::Value::new(start)?;
/// position.modify(|position| position.kilometre += 1.5);
/// assert_eq!(position.get(), Position { kilometre: 1.5, ..start });
/// # Ok::<(), byproxy::Error>(())
/// ```
///
/// A struct with padding is refused:
///
/// ```compile_fail
/// byproxy::shm_struct! {
///     struct Padded { small: u8, large: u64 }
/// }
/// ```
///
/// So is one with something that means nothing elsewhere:
///
/// ```compile_fail
/// byproxy::shm_struct! {
///     struct Pointing { to: &'static str }
/// }
/// ```
#[macro_export]
macro_rules! shm_struct {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$field_attribute:meta])* $field_visibility:vis $field:ident: $kind:ty),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy)]
        #[repr(C)]
        $visibility struct $name {
            $($(#[$field_attribute])* $field_visibility $field: $kind,)+
        }

        const _: () = assert!(
            ::core::mem::size_of::<$name>() == 0 $(+ ::core::mem::size_of::<$kind>())+,
            "a struct in shared memory has no padding: order its fields from large to small, and fill up with bytes"
        );

        // SAFETY:
        // - It is `repr(C)` and as large as its fields together (asserted above), so it has no padding.
        // - Its fields are elements, so it is plain data, and aligned as the most aligned of them.
        // - `admit` admits every field.
        unsafe impl $crate::shm::Element for $name {
            unsafe fn admit(place: *mut Self) {
                $(
                    // SAFETY: a field of what the caller promised.
                    unsafe { $crate::shm::admit_field::<$kind>(place.cast(), ::core::mem::offset_of!($name, $field)) };
                )+
            }
        }
    };
}

/// Admits the field at an offset.
///
/// # Safety
///
/// - `place` is the beginning of a struct that has a `T` at `offset`.
/// - It is aligned, valid for reads and writes, and all its bytes are initialised.
#[doc(hidden)]
pub unsafe fn admit_field<T: Element>(place: *mut u8, offset: usize) {
    // SAFETY: the field lies inside the struct.
    let field = unsafe { place.add(offset) };
    // SAFETY: a part of what the caller promised.
    unsafe { T::admit(field.cast()) };
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    shm_struct! {
        #[derive(Debug, PartialEq)]
        struct Mixed {
            letter: char,
            flags: [bool; 2],
            count: u16,
        }
    }

    #[test]
    fn whatever_bytes_are_found_become_values() {
        let mut found = [0xff_u32, 0xffff_ff02];
        let place = found.as_mut_ptr();
        // SAFETY: as large and as aligned as the struct, and initialised.
        unsafe { Mixed::admit(place.cast()) };
        // SAFETY: `admit` has made it a value.
        let mixed = unsafe { place.cast::<Mixed>().read() };
        assert_eq!((mixed.letter, mixed.flags, mixed.count), ('ÿ', [true, true], 0xffff));
        assert_eq!(offset_of!(Mixed, flags), 4);

        let mut surrogate = 0xd800_u32;
        let place = (&raw mut surrogate).cast::<char>();
        // SAFETY: as large and as aligned as a character, and initialised.
        unsafe { char::admit(place) };
        // SAFETY: `admit` has made it a character.
        assert_eq!(unsafe { place.read() }, '\u{fffd}');
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        assert_eq!(250_u8.plus(5), Some(255));
        assert_eq!(250_u8.plus(6), None);
        assert_eq!(i8::MIN.minus(1), None);
        assert_eq!(1.5_f32.plus(1.0), Some(2.5));
    }
}
