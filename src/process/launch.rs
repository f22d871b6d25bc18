//! The parent's side of a start: run the program again, hand over the order, wait for the answer.
//!
//! The socket is the child's standard input, so no descriptor is ever left inheritable: another thread that starts a
//! program at the same moment passes nothing of ours on. `start` returns once the child has adopted its arguments;
//! whoever holds them keeps them until then.

use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{env, process};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};
use rustix::stdio;

use super::arguments::Encoded;
use super::children::{Child, reap};
use super::error::SpawnError;
use super::init::MARKER;
use super::program::{EXECUTABLE, Program};
use super::report::{DESCRIPTORS_MAX, Farewell, Order, Report, send_order};
use super::role::{Door, next_lineage};
use super::wire::Wire;

/// What kind of child to start.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: Option<String>,
    pub(super) daemon: bool,
    /// How long the child may be silent until it has adopted its arguments.
    pub(super) patience: Duration,
    /// The library's own: in a process group of its own, deaf to Ctrl-C, ends with its starter, linked by a stream.
    pub(super) internal: bool,
}

/// A child that runs.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) child: Arc<Child>,
    /// The stream to an internal child.
    pub(super) link: Option<UnixStream>,
}

/// Starts this program again and has it run the function at `entry`.
pub(super) fn start(plan: &Plan, door: Door, entry: i64, encoded: &Encoded) -> Result<Launched, SpawnError> {
    check_limits(encoded)?;
    reap();
    let lineage = next_lineage();
    let name = plan.name.clone().unwrap_or_else(|| format!("Process-{lineage}"));
    let order = Order {
        program: Program::current().map_err(SpawnError::Exec)?,
        entry,
        name,
        lineage,
        parent_pid: process::id(),
        daemon: plan.daemon,
        dies_with_parent: plan.daemon || plan.internal,
        ignores_interrupt: plan.internal,
        link: plan.internal,
        standard_output: door == Door::Test,
    };
    let (ours, theirs) = UnixStream::pair().map_err(SpawnError::Exec)?;
    let wire = Wire::new(ours, Some(plan.patience)).map_err(SpawnError::Exec)?;
    let (link, far_link) = if plan.internal {
        let (near, far) = UnixStream::pair().map_err(SpawnError::Exec)?;
        (Some(near), Some(far))
    } else {
        (None, None)
    };
    let this_process = pidfd_open(getpid(), PidfdFlags::empty()).map_err(|error| SpawnError::Exec(error.into()))?;
    let mut descriptors: Vec<BorrowedFd<'_>> = vec![this_process.as_fd()];
    descriptors.extend(far_link.as_ref().map(AsFd::as_fd));
    if order.standard_output {
        descriptors.push(stdio::stdout());
    }
    descriptors.extend(encoded.descriptors.iter().map(AsFd::as_fd));

    let child = execute(plan, door, &order.name, theirs).map_err(SpawnError::Exec)?;
    let answer = send_order(&wire, &order, &encoded.bytes, &descriptors).and_then(|()| Report::receive(&wire));
    match answer {
        Ok(Report::Adopted) => {
            child.enlist(wire);
            Ok(Launched { child, link })
        }
        answer => Err(failure(&child, answer, wire, plan.patience)),
    }
}

fn check_limits(encoded: &Encoded) -> Result<(), SpawnError> {
    // Three more may go ahead of the arguments' own.
    let (count, count_max) = (encoded.descriptors.len(), DESCRIPTORS_MAX - 3);
    if count > count_max {
        return Err(SpawnError::TooManyDescriptors { count, count_max });
    }
    Ok(())
}

/// Runs the program file again with `socket` as its standard input.
fn execute(plan: &Plan, door: Door, name: &str, socket: UnixStream) -> io::Result<Arc<Child>> {
    let mut arguments = env::args_os();
    let mut command = Command::new(EXECUTABLE);
    command.arg0(arguments.next().unwrap_or_else(|| OsString::from(EXECUTABLE)));
    match door {
        // What the user gave the program, so that the child finds it in `env::args()` too.
        Door::Main => {
            command.args(arguments.filter(|argument| !argument.as_encoded_bytes().starts_with(MARKER.as_bytes())));
        }
        // A filter that only the entry's name contains, whatever module it stands in. The harness announces the test on
        // standard output, which is therefore handed over by itself.
        Door::Test => {
            command.args(["byproxy_test_support", "--nocapture", "--test-threads=1"]);
            command.stdout(Stdio::null());
        }
    }
    command.arg(marker(name));
    command.stdin(OwnedFd::from(socket));
    if plan.internal {
        command.process_group(0);
    }
    let mut started = command.spawn()?;
    let pid = started.id();
    let pidfd = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("an impossible process id"))
        .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
    match pidfd {
        Ok(pidfd) => Ok(Child::new(name.to_owned(), pid, pidfd, plan.daemon, plan.internal)),
        Err(error) => {
            // No descriptor is left for it, unless it has ended and been collected already: then its id is nobody's, or
            // somebody else's.
            if error.raw_os_error() != Some(Errno::SRCH.raw_os_error()) {
                let _ = started.kill();
                let _ = started.wait();
            }
            Err(error)
        }
    }
}

/// The child's last argument: shows its name in a list of processes.
fn marker(name: &str) -> String {
    let mut marker = MARKER.to_owned();
    for character in name.chars() {
        if character.is_control() {
            let _ = write!(marker, "{}", character.escape_default());
        } else {
            marker.push(character);
        }
    }
    marker
}

/// Ends a child that did not adopt its arguments, and says why.
fn failure(child: &Child, answer: io::Result<Report>, wire: Wire, timeout: Duration) -> SpawnError {
    let name = child.name().to_owned();
    let pid = child.pid();
    // A child that refused a part of the order may have said so before it closed the socket.
    let answer = answer.or_else(|error| Report::receive(&wire.with_patience(Some(Duration::ZERO))).map_err(|_| error));
    let end = child.abandon();
    match answer {
        Ok(Report::OtherProgram) => SpawnError::BuildMismatch { name },
        Ok(Report::Refused(message)) => SpawnError::Refused { name, message },
        Ok(Report::Farewell(Farewell { code, cause })) => {
            let failed = super::error::ChildFailed::new(&name, pid, Some(code.into()), cause);
            SpawnError::Refused {
                name,
                message: failed.message().unwrap_or("it panicked").to_owned(),
            }
        }
        Ok(Report::Adopted) => SpawnError::Exec(io::Error::other("the child closed its socket at once")),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => SpawnError::Silent { name, pid, timeout },
        Err(error) if is_closed(&error) => match child.verdict(end) {
            Err(failed) => SpawnError::ChildFailed(failed),
            Ok(()) => SpawnError::ChildFailed(super::error::ChildFailed::new(&name, pid, Some(0), None)),
        },
        Err(error) => SpawnError::Exec(error),
    }
}

/// Whether the error says that the other side is gone.
fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}
