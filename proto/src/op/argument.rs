//! Reading a call's arguments: one List value, item by item, into the shapes an operation declares.

use crate::value::{ListItems, Raw, some_prefix_needed, split_first, tag};
use std::time::Duration;

/// The arguments of a call do not have the shape its operation declares.
///
/// ```
/// use byproxy_proto::op::{ArgumentError, ListOp, Operation};
/// use byproxy_proto::value::Raw;
///
/// // An empty list, where an index is wanted.
/// let read = ListOp::read(Operation::ListGet, Raw::assume_checked(&[7, 0])).unwrap();
/// let error = ArgumentError::Count { operation: "list.get", expected: 1, found: 0 };
/// assert_eq!(read.unwrap_err(), error);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// More or fewer arguments than the operation takes.
    #[error("{operation} takes {expected} arguments, not {found}")]
    Count {
        /// The operation's name.
        operation: &'static str,
        /// How many it takes.
        expected: usize,
        /// How many were sent.
        found: usize,
    },
    /// An argument of another type than the operation takes.
    #[error("{operation}: argument `{argument}` must be {expected}")]
    Type {
        /// The operation's name.
        operation: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The arguments are not a List value at all.
    #[error("{operation}: the arguments must be one list")]
    NotAList {
        /// The operation's name.
        operation: &'static str,
    },
}

/// A type that an argument can be read into.
///
/// ```
/// use byproxy_proto::op::Argument;
/// use byproxy_proto::value::Raw;
///
/// let text = Raw::assume_checked(&[5, 2, b'G', b'1']);
/// assert_eq!((<&str>::read(text), bool::read(text)), (Some("G1"), None));
/// assert_eq!(bool::EXPECTED, "true or false");
/// ```
pub trait Argument<'a>: Sized {
    /// What the argument must be, for the error.
    const EXPECTED: &'static str;

    /// Reads the argument, or nothing if the value is of another type.
    ///
    /// ```
    /// use byproxy_proto::op::Argument;
    /// use byproxy_proto::value::Raw;
    ///
    /// let seven = Raw::assume_checked(&[3, 0, 7]);
    /// assert_eq!((u8::read(seven), bool::read(seven)), (Some(7), None));
    /// ```
    fn read(raw: Raw<'a>) -> Option<Self>;
}

impl<'a> Argument<'a> for Raw<'a> {
    const EXPECTED: &'static str = "any value";

    #[inline]
    fn read(raw: Raw<'a>) -> Option<Self> {
        Some(raw)
    }
}

macro_rules! integer_arguments {
    ($($integer:ty => $expected:literal),*) => {$(
        impl<'a> Argument<'a> for $integer {
            const EXPECTED: &'static str = $expected;

            #[inline]
            fn read(raw: Raw<'a>) -> Option<Self> {
                let int = raw.as_int()?;
                <$integer>::try_from(int).ok()
            }
        }
    )*};
}

integer_arguments!(i64 => "a 64-bit integer", u64 => "an unsigned 64-bit integer", i128 => "a 128-bit integer", u8 => "a small integer");

impl<'a> Argument<'a> for bool {
    const EXPECTED: &'static str = "true or false";

    #[inline]
    fn read(raw: Raw<'a>) -> Option<Self> {
        raw.as_bool()
    }
}

impl<'a> Argument<'a> for &'a str {
    const EXPECTED: &'static str = "a string";

    #[inline]
    fn read(raw: Raw<'a>) -> Option<Self> {
        raw.as_str()
    }
}

/// An optional argument: None is absent, and `Some` of a value that itself begins with None or Some is unwrapped once.
impl<'a, T: Argument<'a>> Argument<'a> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    #[inline]
    fn read(raw: Raw<'a>) -> Option<Self> {
        if raw.is_none() {
            return Some(None);
        }
        let wrapped = some_prefix_needed(raw.bytes());
        let inner = raw.bytes().get(usize::from(wrapped)..)?;
        T::read(Raw::assume_checked(inner)).map(Some)
    }
}

/// How long a call may wait: for ever, or so many nanoseconds, zero of which is a try.
///
/// ```
/// use byproxy_proto::op::Wait;
/// use std::time::Duration;
///
/// assert_eq!(Wait::at_most(Duration::ZERO), Wait::TRY);
/// assert_eq!(Wait::at_most(Duration::MAX), Wait::FOREVER);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(Option<u64>);

impl Wait {
    /// Waits until it is satisfied.
    pub const FOREVER: Self = Self(None);
    /// Does not wait at all.
    pub const TRY: Self = Self(Some(0));

    /// Waits at most this long. `Duration::MAX`, and all that exceeds 584 years, is for ever.
    ///
    /// ```
    /// use byproxy_proto::op::Wait;
    /// use std::time::Duration;
    ///
    /// assert_eq!(Wait::at_most(Duration::from_millis(1)).nanoseconds(), Some(1_000_000));
    /// ```
    pub fn at_most(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).ok())
    }

    /// The nanoseconds to wait; nothing is for ever.
    ///
    /// ```
    /// use byproxy_proto::op::Wait;
    ///
    /// assert_eq!((Wait::TRY.nanoseconds(), Wait::FOREVER.nanoseconds()), (Some(0), None));
    /// ```
    #[inline]
    pub const fn nanoseconds(self) -> Option<u64> {
        self.0
    }

    /// Whether the call must be answered at once.
    ///
    /// ```
    /// use byproxy_proto::op::Wait;
    ///
    /// assert!(Wait::TRY.is_try() && !Wait::FOREVER.is_try());
    /// ```
    #[inline]
    pub const fn is_try(self) -> bool {
        matches!(self.0, Some(0))
    }
}

impl serde::Serialize for Wait {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'a> Argument<'a> for Wait {
    const EXPECTED: &'static str = "a number of nanoseconds, or nothing for ever";

    #[inline]
    fn read(raw: Raw<'a>) -> Option<Self> {
        Option::<u64>::read(raw).map(Self)
    }
}

/// A List argument, to be walked item by item.
///
/// ```
/// use byproxy_proto::op::{Argument, Items};
/// use byproxy_proto::value::Raw;
///
/// let items = Items::read(Raw::assume_checked(&[7, 2, 2, 1, 2, 0])).unwrap();
/// assert_eq!(items.iter().map(Raw::as_bool).collect::<Vec<_>>(), [Some(true), Some(false)]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Items<'a>(Raw<'a>);

impl<'a> Items<'a> {
    /// The number of items.
    ///
    /// ```
    /// use byproxy_proto::op::{Argument, Items};
    /// use byproxy_proto::value::Raw;
    ///
    /// let items = Items::read(Raw::assume_checked(&[7, 2, 2, 1, 2, 0])).unwrap();
    /// assert_eq!(items.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.0.list_items().map_or(0, |items| items.len())
    }

    /// Whether there are no items.
    ///
    /// ```
    /// use byproxy_proto::op::{Argument, Items};
    /// use byproxy_proto::value::Raw;
    ///
    /// assert!(Items::read(Raw::assume_checked(&[7, 0])).unwrap().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items in order.
    ///
    /// ```
    /// use byproxy_proto::op::{Argument, Items};
    /// use byproxy_proto::value::Raw;
    ///
    /// let items = Items::read(Raw::assume_checked(&[7, 2, 2, 1, 2, 0])).unwrap();
    /// assert!(items.iter().all(|item| item.as_bool().is_some()));
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = Raw<'a>> + Clone + use<'a> {
        self.0.list_items().into_iter().flatten()
    }
}

impl<'a> Argument<'a> for Items<'a> {
    const EXPECTED: &'static str = "a list";

    #[inline]
    fn read(raw: Raw<'a>) -> Option<Self> {
        raw.list_items().map(|_| Self(raw))
    }
}

/// A Dict argument, to be walked pair by pair.
///
/// ```
/// use byproxy_proto::op::{Argument, Pairs};
/// use byproxy_proto::value::Raw;
///
/// let pairs = Pairs::read(Raw::assume_checked(&[8, 1, 5, 1, b'a', 2, 1])).unwrap();
/// let (key, value) = pairs.iter().next().unwrap();
/// assert_eq!((key.as_str(), value.as_bool()), (Some("a"), Some(true)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a>(Raw<'a>);

impl<'a> Pairs<'a> {
    /// The number of pairs.
    ///
    /// ```
    /// use byproxy_proto::op::{Argument, Pairs};
    /// use byproxy_proto::value::Raw;
    ///
    /// assert_eq!(Pairs::read(Raw::assume_checked(&[8, 1, 5, 1, b'a', 2, 1])).unwrap().len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.0.dict_items().map_or(0, |pairs| pairs.len())
    }

    /// Whether there are no pairs.
    ///
    /// ```
    /// use byproxy_proto::op::{Argument, Pairs};
    /// use byproxy_proto::value::Raw;
    ///
    /// assert!(Pairs::read(Raw::assume_checked(&[8, 0])).unwrap().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pairs in order.
    ///
    /// ```
    /// use byproxy_proto::op::{Argument, Pairs};
    /// use byproxy_proto::value::Raw;
    ///
    /// let pairs = Pairs::read(Raw::assume_checked(&[8, 1, 5, 1, b'a', 2, 1])).unwrap();
    /// assert!(pairs.iter().all(|(key, _)| key.as_str() == Some("a")));
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (Raw<'a>, Raw<'a>)> + Clone + use<'a> {
        self.0.dict_items().into_iter().flatten()
    }
}

impl<'a> Argument<'a> for Pairs<'a> {
    const EXPECTED: &'static str = "a dict";

    #[inline]
    fn read(raw: Raw<'a>) -> Option<Self> {
        raw.dict_items().map(|_| Self(raw))
    }
}

/// A call's arguments, as they are taken one by one.
///
/// ```
/// use byproxy_proto::op::Arguments;
/// use byproxy_proto::value::{self, Limits, Raw};
///
/// let bytes = value::to_vec(&(-1, "G1"), &Limits::default()).unwrap();
/// let mut arguments = Arguments::open("list.set", Raw::assume_checked(&bytes), 2)?;
/// assert_eq!(arguments.take::<i64>("index")?, -1);
/// assert_eq!(arguments.take::<&str>("item")?, "G1");
/// # Ok::<(), byproxy_proto::op::ArgumentError>(())
/// ```
#[derive(Debug)]
pub struct Arguments<'a> {
    operation: &'static str,
    items: ListItems<'a>,
}

impl<'a> Arguments<'a> {
    /// Opens the arguments of a call, which must be one List of exactly `expected` items.
    ///
    /// ```
    /// use byproxy_proto::op::{ArgumentError, Arguments};
    /// use byproxy_proto::value::Raw;
    ///
    /// let error = Arguments::open("list.get", Raw::assume_checked(&[0]), 1).unwrap_err();
    /// assert_eq!(error, ArgumentError::NotAList { operation: "list.get" });
    /// ```
    #[inline]
    pub fn open(operation: &'static str, raw: Raw<'a>, expected: usize) -> Result<Self, ArgumentError> {
        let items = raw.list_items().ok_or(ArgumentError::NotAList { operation })?;
        if items.len() != expected {
            return Err(ArgumentError::Count {
                operation,
                expected,
                found: items.len(),
            });
        }
        Ok(Self { operation, items })
    }

    /// Takes the next argument.
    ///
    /// ```
    /// use byproxy_proto::op::Arguments;
    /// use byproxy_proto::value::Raw;
    ///
    /// let mut arguments = Arguments::open("list.get", Raw::assume_checked(&[7, 1, 2, 1]), 1)?;
    /// let error = arguments.take::<i64>("index").unwrap_err();
    /// assert_eq!(error.to_string(), "list.get: argument `index` must be a 64-bit integer");
    /// # Ok::<(), byproxy_proto::op::ArgumentError>(())
    /// ```
    #[inline]
    pub fn take<T: Argument<'a>>(&mut self, argument: &'static str) -> Result<T, ArgumentError> {
        match self.items.next().and_then(T::read) {
            Some(value) => Ok(value),
            None => Err(ArgumentError::Type {
                operation: self.operation,
                argument,
                expected: T::EXPECTED,
            }),
        }
    }
}

/// The same without a word about what is wrong: nearly always nothing is.
pub(super) struct Unnamed<'a> {
    rest: &'a [u8],
    left: u8,
}

impl<'a> Unnamed<'a> {
    /// Opens arguments of exactly so many items.
    #[inline]
    pub(super) fn open(raw: Raw<'a>, expected: usize) -> Option<Self> {
        match *raw.bytes() {
            [tag::LIST, left @ 0..0x80, ref rest @ ..] if usize::from(left) == expected => Some(Self { rest, left }),
            _ => None,
        }
    }

    /// Takes the next argument. The last is all that is left: the list was checked, and nothing follows it.
    #[expect(
        clippy::inline_always,
        reason = "which of them is the last is known where they are taken"
    )]
    #[inline(always)]
    pub(super) fn take<T: Argument<'a>>(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        if self.left == 0 {
            return T::read(Raw::assume_checked(self.rest));
        }
        let (item, rest) = split_first(self.rest)?;
        self.rest = rest;
        T::read(item)
    }
}

/// Declares the borrowed arguments of one noun's operations and how they are read.
macro_rules! arguments {
    ($(#[$meta:meta])* $name:ident { $( $variant:ident = $operation:ident ( $( $field:ident : $type:ty ),* ) ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        // A tag of its own: hidden in an argument of 128 bits, each look at it would compare as many.
        #[repr(u8)]
        #[allow(missing_docs, reason = "the table of operations describes each; the fields are its arguments")]
        pub enum $name<'a> {
            $( $variant { $( $field: $type ),* }, )*
            #[doc(hidden)]
            Never(std::convert::Infallible, std::marker::PhantomData<&'a ()>),
        }

        impl<'a> $name<'a> {
            /// Reads the arguments of an operation of this noun; nothing if the operation is another noun's.
            ///
            /// ```
            #[doc = concat!("use byproxy_proto::op::{", stringify!($name), ", Operation};")]
            /// use byproxy_proto::value::Raw;
            ///
            /// let no_list = Raw::assume_checked(&[0]);
            #[doc = concat!("let read = Operation::ALL.iter().filter_map(|&operation| ", stringify!($name), "::read(operation, no_list));")]
            /// assert!(read.clone().count() < Operation::ALL.len(), "the others are another noun's");
            /// assert!(read.clone().all(|arguments| arguments.is_err()), "arguments are one list, whatever the operation");
            /// ```
            #[allow(clippy::inline_always, reason = "where the operation is known, its own arguments are all there is to read")]
            #[inline(always)]
            pub fn read(
                operation: $crate::op::Operation,
                raw: $crate::value::Raw<'a>,
            ) -> Option<Result<Self, $crate::op::ArgumentError>> {
                let read = match operation {
                    $( $crate::op::Operation::$operation => (|| {
                        const COUNT: usize = <[&str]>::len(&[$( stringify!($field) ),*]);
                        #[allow(unused_mut, unused_variables, reason = "some operations take nothing")]
                        let mut arguments = $crate::op::argument::Unnamed::open(raw, COUNT)?;
                        Some($name::$variant { $( $field: arguments.take()? ),* })
                    })(), )*
                    _ => return None,
                };
                match read {
                    Some(arguments) => Some(Ok(arguments)),
                    None => Self::read_named(operation, raw),
                }
            }

            /// The same, argument by argument, so that what is wrong can be named.
            #[cold]
            pub(super) fn read_named(
                operation: $crate::op::Operation,
                raw: $crate::value::Raw<'a>,
            ) -> Option<Result<Self, $crate::op::ArgumentError>> {
                match operation {
                    $( $crate::op::Operation::$operation => Some((|| {
                        const COUNT: usize = <[&str]>::len(&[$( stringify!($field) ),*]);
                        #[allow(unused_mut, unused_variables, reason = "some operations take nothing")]
                        let mut arguments = $crate::op::Arguments::open(operation.name(), raw, COUNT)?;
                        Ok($name::$variant { $( $field: arguments.take(stringify!($field))? ),* })
                    })()), )*
                    _ => None,
                }
            }
        }
    };
}

pub(super) use arguments;

#[cfg(test)]
mod tests {
    use crate::op::{DictOp, ListOp, LockOp, ManagerOp, Operation, QueueOp};
    use crate::value::{Raw, Value, to_vec};
    use proptest::prelude::*;

    fn argument() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::None),
            Just(Value::some(Value::None)),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (0..5_i64).prop_map(Value::from),
            "[a-z]{0,12}".prop_map(Value::from),
        ];
        let list = proptest::collection::vec(scalar.clone(), 0..3).prop_map(Value::List);
        let dict = proptest::collection::vec((scalar.clone(), scalar.clone()), 0..3).prop_map(Value::Dict);
        prop_oneof![4 => scalar, 1 => list, 1 => dict]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// Arguments are read without names first; that must find what reading them by name finds.
        #[test]
        fn names_make_no_difference(arguments in proptest::collection::vec(argument(), 0..6), operation in 0..Operation::ALL.len()) {
            let bytes = to_vec(&Value::List(arguments), &crate::value::Limits::DEFAULT).unwrap();
            let (raw, operation) = (Raw::assume_checked(&bytes), Operation::ALL[operation]);
            macro_rules! compare {
                ($($noun:ident),*) => {$(
                    let (read, named) = ($noun::read(operation, raw), $noun::read_named(operation, raw));
                    prop_assert_eq!(format!("{read:?}"), format!("{named:?}"));
                )*};
            }
            compare!(DictOp, ListOp, LockOp, ManagerOp, QueueOp);
        }
    }
}
