//! What can be started as a process: the function, its arguments, what it returns.
//!
//! [`Target`] joins the three: `spawn(clerk, (&trains, 3))` holds when `clerk` takes a `ListProxy` and a number. The
//! parameter types are found from the function, so a literal or a reference needs no type of its own.

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arguments::{Encoded, decode_arguments, encode_arguments};
use super::init::Arrival;
use super::report::{Cause, Farewell};

/// A function that can be started as a process with arguments `Args`: any `fn`, or a closure that captures nothing, of
/// up to eight parameters.
///
/// You do not implement this. Each argument is an [`Argument`] for its parameter, and the function returns an
/// [`Outcome`]. A closure must name its parameters' types.
///
/// ```
/// fn ring(bell: String, times: u32) {
///     assert_eq!((bell.as_str(), times), ("big", 3));
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     byproxy::Process::spawn(ring, ("big", 3))?.join()?;
///     byproxy::Process::spawn(|n: u8| assert_eq!(n, 7), (7,))?.join()?;
///     byproxy::Process::spawn(|| (), ())?.join()?;
///     Ok(())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be started as a process with the arguments `{Args}`",
    label = "not a function of these arguments",
    note = "it must be an `fn` or a closure that captures nothing, of at most 8 parameters, and return `()`, `u8` or a `Result` of these",
    note = "the arguments are a tuple with one element for each parameter: `()`, `(a,)`, `(a, b)` and so on",
    note = "a closure must name the types of its parameters: `|n: u32| …`"
)]
pub trait Target<Args, Signature>: Copy + Send + 'static {
    /// Turns the arguments into what is sent to the child.
    #[doc(hidden)]
    fn encode(arguments: &Args) -> Result<Encoded, String>;

    /// Reads the arguments, reports that they are adopted, and runs the function.
    #[doc(hidden)]
    fn run(self, arrival: Arrival) -> Farewell;
}

/// A value that may be passed where a process's function takes a `Parameter`: one of its type, a reference to one, and
/// `&str` for `String`, slices and arrays for `Vec<T>`.
///
/// The child gets its own value. Plain data is copied; proxies and shared-memory handles arrive as handles to the same
/// object.
///
/// # Examples
///
/// ```
/// use byproxy::Manager;
///
/// fn sell(seller: String, seats: Vec<u32>, sold: byproxy::ListProxy<String>) {
///     sold.extend(seats.iter().map(|seat| format!("{seat} by {seller}"))).unwrap();
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     let manager = Manager::start()?;
///     let sold = manager.list()?;
///     byproxy::Process::spawn(sell, ("Ann", [4, 5], &sold))?.join()?;
///     assert_eq!(sold.to_vec()?, ["4 by Ann", "5 by Ann"]);
///     Ok(())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a `{Self}` cannot be passed where the process's function takes a `{Parameter}`",
    label = "expected `{Parameter}`",
    note = "an argument is a value of the parameter's type or a reference to one, and that type is `Serialize`"
)]
pub trait Argument<Parameter>: Serialize {}

impl<T: Serialize> Argument<T> for T {}
impl<T: Serialize> Argument<T> for &T {}
impl Argument<String> for &str {}
impl<T: Serialize> Argument<Vec<T>> for &[T] {}
impl<T, const N: usize> Argument<Vec<T>> for [T; N] where [T; N]: Serialize {}
impl<T, const N: usize> Argument<Vec<T>> for &[T; N] where [T; N]: Serialize {}

/// What a process's function may return: nothing, an exit code, or a `Result` of these.
///
/// An error is printed to standard error, makes the exit code 1, and is repeated by the parent's `join`. Other results
/// are sent home through a queue, a pipe or a managed object.
///
/// # Examples
///
/// ```
/// use byproxy::Process;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     Process::spawn(|| (), ())?.join()?;
///     let code = Process::spawn(|| 3_u8, ())?;
///     assert_eq!(code.join().unwrap_err().exit_code(), Some(3));
///     let error = Process::spawn(|| Err::<(), _>("sold out"), ())?;
///     assert_eq!(error.join().unwrap_err().message(), Some("sold out"));
///     Ok(())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a process's function cannot return a `{Self}`",
    note = "it returns `()`, `u8` (the exit code) or a `Result` of these; send results home through a queue or a managed object"
)]
pub trait Outcome {
    /// The exit code, and the message of a failure.
    #[doc(hidden)]
    fn farewell(self) -> Farewell;
}

impl Outcome for () {
    fn farewell(self) -> Farewell {
        Farewell { code: 0, cause: None }
    }
}

impl Outcome for u8 {
    fn farewell(self) -> Farewell {
        Farewell {
            code: self,
            cause: None,
        }
    }
}

impl<T: Outcome, E: Display> Outcome for Result<T, E> {
    fn farewell(self) -> Farewell {
        match self {
            Ok(outcome) => outcome.farewell(),
            Err(error) => Farewell {
                code: 1,
                cause: Some(Cause::error(&error.to_string())),
            },
        }
    }
}

/// The type `!`, which has no name in stable Rust: what a function that never returns returns.
type Never = <fn() -> ! as Returning>::Output;

/// The return type of a function pointer.
#[doc(hidden)]
pub trait Returning {
    /// What it returns.
    type Output;
}

impl<R> Returning for fn() -> R {
    type Output = R;
}

impl Outcome for Never {
    fn farewell(self) -> Farewell {
        self
    }
}

macro_rules! target {
    ($(($argument:ident, $parameter:ident, $value:ident)),*) => {
        impl<F, R, $($argument, $parameter),*> Target<($($argument,)*), fn($($parameter),*) -> R> for F
        where
            F: Fn($($parameter),*) -> R + Copy + Send + 'static,
            R: Outcome,
            $($argument: Argument<$parameter>, $parameter: DeserializeOwned,)*
        {
            fn encode(arguments: &($($argument,)*)) -> Result<Encoded, String> {
                encode_arguments(arguments)
            }

            fn run(self, arrival: Arrival) -> Farewell {
                let ($($value,)*): ($($parameter,)*) = match decode_arguments(&arrival.arguments, arrival.descriptors) {
                    Ok(arguments) => arguments,
                    Err(message) => arrival.channel.refuse(&message),
                };
                drop(arrival.arguments);
                arrival.channel.adopted();
                self($($value),*).farewell()
            }
        }
    };
}

target!();
target!((A1, P1, p1));
target!((A1, P1, p1), (A2, P2, p2));
target!((A1, P1, p1), (A2, P2, p2), (A3, P3, p3));
target!((A1, P1, p1), (A2, P2, p2), (A3, P3, p3), (A4, P4, p4));
target!((A1, P1, p1), (A2, P2, p2), (A3, P3, p3), (A4, P4, p4), (A5, P5, p5));
target!(
    (A1, P1, p1),
    (A2, P2, p2),
    (A3, P3, p3),
    (A4, P4, p4),
    (A5, P5, p5),
    (A6, P6, p6)
);
target!(
    (A1, P1, p1),
    (A2, P2, p2),
    (A3, P3, p3),
    (A4, P4, p4),
    (A5, P5, p5),
    (A6, P6, p6),
    (A7, P7, p7)
);
target!(
    (A1, P1, p1),
    (A2, P2, p2),
    (A3, P3, p3),
    (A4, P4, p4),
    (A5, P5, p5),
    (A6, P6, p6),
    (A7, P7, p7),
    (A8, P8, p8)
);
