//! Integers of every width, in one form.

use std::fmt;

/// An integer from −2^127 to 2^128 − 1: whatever an `i128` or a `u128` can hold, and nothing else.
///
/// Zero has one form, so equal integers are equal in every field and in every byte.
///
/// ```
/// use byproxy_proto::value::Int;
///
/// assert_eq!(Int::from(7u8), Int::from(7i64));
/// assert_eq!(u8::try_from(Int::from(-1)).ok(), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Int {
    negative: bool,
    magnitude: u128,
}

impl Int {
    /// The integer with this sign and magnitude; `None` for one below −2^127. Minus zero is zero.
    ///
    /// ```
    /// use byproxy_proto::value::Int;
    ///
    /// assert_eq!(Int::new(true, 3), Some(Int::from(-3)));
    /// assert_eq!(Int::new(true, 0), Int::new(false, 0));
    /// assert_eq!(Int::new(true, u128::MAX), None);
    /// ```
    pub const fn new(negative: bool, magnitude: u128) -> Option<Self> {
        if negative && magnitude > 1 << 127 {
            return None;
        }
        Some(Self {
            negative: negative && magnitude != 0,
            magnitude,
        })
    }

    /// Whether it is below zero.
    ///
    /// ```
    /// use byproxy_proto::value::Int;
    ///
    /// assert!(Int::from(-3).is_negative());
    /// ```
    pub const fn is_negative(self) -> bool {
        self.negative
    }

    /// Its distance from zero.
    ///
    /// ```
    /// use byproxy_proto::value::Int;
    ///
    /// assert_eq!(Int::from(i128::MIN).magnitude(), 1 << 127);
    /// ```
    pub const fn magnitude(self) -> u128 {
        self.magnitude
    }

    /// The narrowest of `u64`, `i64`, `i128` and `u128` that holds it, in this order.
    #[inline]
    pub(crate) fn narrowest(self) -> Narrow {
        narrowest(self.negative, self.magnitude)
    }
}

/// An integer in the narrowest of four widths.
pub(crate) enum Narrow {
    U64(u64),
    I64(i64),
    I128(i128),
    U128(u128),
}

/// `u64` comes first because that is what other formats visit for a plain number, so visitors know it.
#[inline]
pub(crate) fn narrowest(negative: bool, magnitude: u128) -> Narrow {
    match (negative, u64::try_from(magnitude)) {
        (false, Ok(value)) => Narrow::U64(value),
        (true, Ok(value)) if value <= 1 << 63 => Narrow::I64(0_i64.wrapping_sub_unsigned(value)),
        (true, _) => Narrow::I128(0_i128.wrapping_sub_unsigned(magnitude)),
        (false, Err(_)) => match i128::try_from(magnitude) {
            Ok(value) => Narrow::I128(value),
            Err(_) => Narrow::U128(magnitude),
        },
    }
}

impl fmt::Display for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(!self.negative, "", &self.magnitude.to_string())
    }
}

impl fmt::Debug for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialOrd for Int {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Int {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.magnitude.cmp(&other.magnitude),
            (true, true) => other.magnitude.cmp(&self.magnitude),
            (false, true) => std::cmp::Ordering::Greater,
            (true, false) => std::cmp::Ordering::Less,
        }
    }
}

/// The integer does not fit the type asked for.
///
/// ```
/// use byproxy_proto::value::{Int, IntOutOfRange};
///
/// assert_eq!(u8::try_from(Int::from(300)), Err(IntOutOfRange));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("integer out of range")]
pub struct IntOutOfRange;

macro_rules! from_integer {
    ($($unsigned:ty)*; $($signed:ty)*) => {
        $(impl From<$unsigned> for Int {
            fn from(value: $unsigned) -> Self {
                Self { negative: false, magnitude: value.into() }
            }
        })*
        $(impl From<$signed> for Int {
            fn from(value: $signed) -> Self {
                Self { negative: value < 0, magnitude: value.unsigned_abs().into() }
            }
        })*
    };
}

from_integer!(u8 u16 u32 u64 u128; i8 i16 i32 i64 i128);

impl From<usize> for Int {
    fn from(value: usize) -> Self {
        (value as u64).into()
    }
}

impl From<isize> for Int {
    fn from(value: isize) -> Self {
        (value as i64).into()
    }
}

macro_rules! to_integer {
    ($($unsigned:ty)*; $($signed:ty)*) => {
        $(impl TryFrom<Int> for $unsigned {
            type Error = IntOutOfRange;

            fn try_from(value: Int) -> Result<Self, IntOutOfRange> {
                if value.negative {
                    return Err(IntOutOfRange);
                }
                Self::try_from(value.magnitude).map_err(|_| IntOutOfRange)
            }
        })*
        $(impl TryFrom<Int> for $signed {
            type Error = IntOutOfRange;

            fn try_from(value: Int) -> Result<Self, IntOutOfRange> {
                let wide = if value.negative {
                    0_i128.wrapping_sub_unsigned(value.magnitude)
                } else {
                    i128::try_from(value.magnitude).map_err(|_| IntOutOfRange)?
                };
                Self::try_from(wide).map_err(|_| IntOutOfRange)
            }
        })*
    };
}

to_integer!(u8 u16 u32 u64 u128 usize; i8 i16 i32 i64 i128 isize);
