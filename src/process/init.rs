//! The child's side of a start: `init()`, which a child never returns from.
//!
//! A child is this program, started again with one more argument at the end and an order on its standard input.
//! `init()` recognises it, takes the order, runs the function and exits. Everywhere else it only notes that it was
//! called, so that `spawn` knows a child would find its way.

use std::any::Any;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, io, thread};

use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::stdio;

use super::entry::trampoline_at;
use super::program::is_privileged;
use super::report::{Cause, Delivery, Farewell, Order, Report, receive_order};
use super::role::{Door, Role};
use super::watch::end_with_parent;
use super::wire::Wire;
use crate::sys;

/// How a child's last argument begins; its name follows.
pub(super) const MARKER: &str = "byproxy-child=";
/// The exit code of a child that panicked, as of any Rust program.
const PANIC_CODE: u8 = 101;
/// How long a child with a link outlives its parent at most.
const LINKED_GRACE: Duration = Duration::from_secs(2);
/// The exit code of a child that could not begin.
const REFUSED_CODE: i32 = 70;
/// Stands for the message of a panic that has none.
const NO_TEXT: &str = "(the panic's value is no text)";

/// The stream an internal launch gave this child, until it is taken.
static LINK: Mutex<Option<UnixStream>> = Mutex::new(None);

/// Makes this program able to start processes. The first line of `main`.
///
/// [`Process::spawn`](crate::Process::spawn) starts this same program again; in such a child `init` runs the function
/// it was started for and exits, and never returns. In every other process it returns at once. What stands before it in
/// `main` therefore runs in every child as well; what stands after it runs only in the program you started.
///
/// Without it `spawn` fails with [`SpawnError::InitMissing`](crate::process::SpawnError::InitMissing) before anything
/// is started. In tests, where you do not write `main`, put [`test_support!`](crate::test_support!) into the test crate.
///
/// Python: `if __name__ == "__main__":`
///
/// # Examples
///
/// ```
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     byproxy::Process::spawn(|| println!("hello from a child"), ())?.join()?;
///     Ok(())
/// }
/// ```
#[doc(alias = "freeze_support")]
pub fn init() {
    enter(Door::Main);
}

/// Puts the entry of child processes into a test crate, once, anywhere in it: tests of that crate may then start processes.
///
/// It expands to a test named `byproxy_test_support`, which a child process is started into and which passes by itself.
///
/// ```
/// byproxy::test_support!();
///
/// # /*
/// #[test]
/// # */
/// fn a_child_runs() {
///     byproxy::Process::spawn(|| (), ()).unwrap().join().unwrap();
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! test_support {
    () => {
        #[cfg(test)]
        #[test]
        fn byproxy_test_support() {
            $crate::process::enter_test(b"byproxy test entry\xF5");
        }
    };
}

/// The entry of children of a test program; `mark` only has to exist, which is how the parent knows there is an entry.
#[doc(hidden)]
#[inline(never)]
pub fn enter_test(mark: &'static [u8]) {
    std::hint::black_box(mark);
    if is_child() {
        enter(Door::Test);
    }
}

/// What a child has been given, on its way to the function.
#[derive(Debug)]
pub struct Arrival {
    pub(super) arguments: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) channel: Arc<Channel>,
}

/// The child's end of the socket.
#[derive(Debug)]
pub(super) struct Channel {
    wire: Wire,
}

impl Channel {
    /// Tells the parent that the arguments are this process's own now.
    pub(super) fn adopted(&self) {
        self.report(&Report::Adopted);
    }

    /// Tells the parent that the order or its arguments cannot be read, and ends.
    pub(super) fn refuse(&self, message: &str) -> ! {
        self.report(&Report::refused(message));
        exit(REFUSED_CODE)
    }

    /// A parent that is gone, or reads no more, misses nothing.
    fn report(&self, report: &Report) {
        let _ = report.send(&self.wire);
    }
}

/// The stream that connects this process with its starter, if it was launched with one and nobody has taken it yet.
pub(crate) fn inherited() -> Option<UnixStream> {
    LINK.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn enter(door: Door) {
    if Role::is_known() {
        return;
    }
    if is_child() {
        serve(door);
    }
    Role::set(Role::Main);
}

/// Whether this process was started by `spawn`: the last argument says so, and standard input is a socket.
fn is_child() -> bool {
    let marked = env::args_os()
        .last()
        .is_some_and(|last| last.as_encoded_bytes().starts_with(MARKER.as_bytes()));
    marked && matches!(socket_domain(stdio::stdin()), Ok(AddressFamily::UNIX))
}

/// The life of a child.
fn serve(door: Door) -> ! {
    if is_privileged() {
        fail("a program with special rights does not run functions by order");
    }
    let wire = take_standard_input().unwrap_or_else(|error| fail(&error.to_string()));
    let delivery = receive_order(&wire);
    // From here on the parent may stop reading at any time, and the function's end must not wait for it.
    let channel = Arc::new(Channel {
        wire: wire.with_patience(Some(Duration::ZERO)),
    });
    let Delivery {
        order,
        arguments,
        descriptors,
    } = delivery.unwrap_or_else(|error| {
        let message = format!("the order did not arrive: {error}");
        complain(&message);
        channel.refuse(&message)
    });
    let Some(trampoline) = trampoline_at(order.entry, &order.program) else {
        channel.report(&Report::OtherProgram);
        exit(REFUSED_CODE);
    };
    let descriptors = settle(&order, descriptors).unwrap_or_else(|error| channel.refuse(&error.to_string()));
    let name = order.name.clone();
    Role::set(Role::child(order, door));

    let panic_message = remember_panics(Arc::clone(&channel));
    let arrival = Arrival {
        arguments,
        descriptors,
        channel: Arc::clone(&channel),
    };
    let farewell = panic::catch_unwind(AssertUnwindSafe(|| trampoline(arrival))).unwrap_or_else(|payload| {
        let remembered = panic_message.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A hook of the function's own may have taken the place of ours.
        let message = remembered.as_deref().or_else(|| text_of(&*payload)).unwrap_or(NO_TEXT);
        Farewell {
            code: PANIC_CODE,
            cause: Some(Cause::panic(message)),
        }
    });
    if let Some(Cause::Error(message)) = &farewell.cause {
        complain(&format!("{name}: {message}"));
    }
    let code = i32::from(farewell.code);
    channel.report(&Report::Farewell(farewell));
    exit(code)
}

/// Moves the socket from standard input to a place of its own; standard input is empty from then on, as in Python.
fn take_standard_input() -> io::Result<Wire> {
    let socket = rustix::io::fcntl_dupfd_cloexec(stdio::stdin(), 3)?;
    stdio::dup2_stdin(File::open("/dev/null")?)?;
    Wire::new(UnixStream::from(socket), None)
}

/// Makes this process what the order says, and gives back the descriptors of the arguments.
fn settle(order: &Order, descriptors: Vec<OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    let missing = || io::Error::other("a descriptor is missing");
    let mut descriptors = descriptors.into_iter();
    let parent = descriptors.next().ok_or_else(missing)?;
    if order.link {
        let link = descriptors.next().ok_or_else(missing)?;
        *LINK.lock().unwrap_or_else(PoisonError::into_inner) = Some(UnixStream::from(link));
    }
    if order.standard_output {
        stdio::dup2_stdout(descriptors.next().ok_or_else(missing)?)?;
    }
    if order.ignores_interrupt {
        sys::ignore_interrupt()?;
    }
    if order.dies_with_parent {
        // One that has a link learns from it that its parent has ended, and may put its affairs in order.
        end_with_parent(parent, if order.link { LINKED_GRACE } else { Duration::ZERO })?;
    }
    Ok(descriptors.collect())
}

/// Keeps what the function's thread panicked with; where a panic ends the process at once, sends it at once.
fn remember_panics(channel: Arc<Channel>) -> Arc<Mutex<Option<String>>> {
    let message = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&message);
    let function_thread = thread::current().id();
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        print(panic);
        let place = panic.location().map(|place| format!("{place}: ")).unwrap_or_default();
        let words = panic.payload_as_str().unwrap_or(NO_TEXT);
        let words = format!("{place}{words}");
        if cfg!(panic = "abort") {
            channel.report(&Report::Farewell(Farewell {
                code: PANIC_CODE,
                cause: Some(Cause::panic(&words)),
            }));
        } else if thread::current().id() == function_thread {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        }
    }));
    message
}

/// A panic's message, if it has one.
fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Ends a child that cannot even tell its parent what is wrong.
fn fail(message: &str) -> ! {
    complain(message);
    exit(REFUSED_CODE)
}

/// Prints to standard error, if there is one.
fn complain(message: &str) {
    use std::io::Write;
    let _ = writeln!(io::stderr(), "byproxy: {message}");
}
