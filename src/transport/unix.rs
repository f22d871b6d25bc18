//! Connections through a socket in the file system.
//!
//! [`Listener`] is the server's claim on a path. [`Socket`] is one connection, the same at both ends; each end checks that the other
//! belongs to the same user.

mod listener;

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use interprocess::local_socket::traits::{Stream as _, StreamCommon as _};
use interprocess::os::unix::uds_local_socket;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::{ClockId, clock_gettime};

pub(crate) use self::listener::Listener;

/// The shortest wait for a place in a backlog: the system takes no time for for ever.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// One connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: uds_local_socket::Stream,
    /// When it was accepted or connected, since the system's start.
    since: Duration,
}

impl Socket {
    /// Connects, waiting at most so long for a place in the server's backlog.
    ///
    /// The system has whoever finds it full sleep, and wakes one for each that is accepted. To ask again and again would be the end of a
    /// server on which thousands of threads call at once: they would take its processors from it, and it would accept ever fewer.
    pub(crate) fn connect(path: &Path, wait: Duration) -> io::Result<Self> {
        let start = Instant::now();
        let address = SocketAddrUnix::new(path)?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        loop {
            let left = wait.saturating_sub(start.elapsed());
            let wait = if seeded!("connect_polls") {
                WAIT_MIN
            } else {
                left.max(WAIT_MIN)
            };
            set_socket_timeout(&socket, Timeout::Send, Some(wait))?;
            match rustix::net::connect(&socket, &address) {
                // A signal that this process handles.
                Err(Errno::INTR | Errno::AGAIN) if !left.is_zero() => {}
                Err(Errno::INTR | Errno::AGAIN) => {
                    return Err(io::Error::new(
                        ErrorKind::TimedOut,
                        "the server does not accept connections",
                    ));
                }
                connected => break connected?,
            }
        }
        set_socket_timeout(&socket, Timeout::Send, None)?;
        let socket = Self::new(socket.into());
        socket.check_user()?;
        Ok(socket)
    }

    /// The id of the process that made the connection (for a client: that listens).
    ///
    /// # Errors
    /// If the peer belongs to another user, or is in another pid namespace and can't be named.
    pub(crate) fn check_user(&self) -> io::Result<u32> {
        let credentials = self.stream.peer_creds()?;
        let ours = rustix::process::geteuid().as_raw();
        match (credentials.euid(), credentials.pid()) {
            (Some(user), Some(pid)) if user == ours || seeded!("any_user") => u32::try_from(pid)
                .map_err(|_| io::Error::new(ErrorKind::PermissionDenied, "the peer's process has no number")),
            (user, _) => {
                let user = user.map_or_else(|| "unknown".to_owned(), |user| user.to_string());
                let message =
                    format!("the other side belongs to user {user} and we to user {ours}: they must be the same");
                Err(io::Error::new(ErrorKind::PermissionDenied, message))
            }
        }
    }

    /// A pidfd of the process that made the connection, whose number is given.
    ///
    /// # Errors
    /// If that process is dead, or there is no descriptor left.
    pub(crate) fn peer_process(&self, pid: u32) -> io::Result<OwnedFd> {
        match crate::sys::peer_pidfd(self.descriptor()) {
            Err(error) if error.raw_os_error() == Some(Errno::NOPROTOOPT.raw_os_error()) => self.process_of(pid),
            pidfd => pidfd,
        }
    }

    /// The descriptor to wait on.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    #[inline]
    pub(super) fn receive_now(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        self.receive_with(into, most, RecvFlags::DONTWAIT)
    }

    #[inline]
    pub(super) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| rustix::net::send(self.stream.inner(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
    }

    #[inline]
    pub(super) fn receive(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        self.receive_with(into, most, RecvFlags::empty())
    }

    #[inline]
    pub(super) fn send(&self, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            *sent += self.retry_within(Timeout::Send, || {
                rustix::net::send(self.stream.inner(), rest, SendFlags::NOSIGNAL)
            })?;
        }
        Ok(())
    }

    /// Writes bytes with a descriptor, without waiting. There is no error for a part: bytes so few go whole or not at all.
    pub(super) fn send_with(&self, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = retry(|| rustix::net::sendmsg(self.stream.inner(), &[IoSlice::new(bytes)], &mut control, flags))?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(ErrorKind::WriteZero.into())
        }
    }

    /// Appends what arrives, as [`Self::receive`], and returns the descriptor that comes along, if one does.
    pub(super) fn receive_with_descriptor(
        &self,
        into: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<(usize, Option<OwnedFd>)> {
        let mut descriptors = Vec::new();
        let count = self.receive_message(into, most, RecvFlags::empty(), &mut descriptors)?;
        Ok((count, descriptors.into_iter().next()))
    }

    /// Appends what has arrived, and two of the descriptors that came along, if there are so many: enough to tell that it was not one.
    pub(super) fn receive_now_with_descriptors(
        &self,
        into: &mut Vec<u8>,
        most: usize,
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<usize> {
        self.receive_message(into, most, RecvFlags::DONTWAIT, descriptors)
    }

    fn receive_message(
        &self,
        into: &mut Vec<u8>,
        most: usize,
        flags: RecvFlags,
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<usize> {
        // The system closes those for which there is no room.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let before = into.len();
        into.resize(before + most, 0);
        let room = into.get_mut(before..).unwrap_or_default();
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = self.retry_within(Timeout::Recv, || {
            rustix::net::recvmsg(self.stream.inner(), &mut [IoSliceMut::new(room)], &mut control, flags)
        });
        let count = received.as_ref().map_or(0, |message| message.bytes);
        into.truncate(before + count);
        received?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(came) = message {
                descriptors.extend(came);
            }
        }
        Ok(count)
    }

    pub(super) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_recv_timeout(timeout)?;
        self.stream.set_send_timeout(timeout)
    }

    /// Whether the peer has ended the connection and everything it sent has been read, or this is so in a moment.
    pub(super) fn has_ended(&self, patience: Duration) -> bool {
        let mut descriptors = [PollFd::new(self.stream.inner(), PollFlags::IN)];
        // However this wait ends, the look decides.
        let _ = poll(&mut descriptors, Timespec::try_from(patience).ok().as_ref());
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match retry(|| rustix::net::recv(self.stream.inner(), &mut [0], flags).map(|(received, _)| received)) {
            Ok(received) => received == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    pub(super) fn close_reading(&self) {
        let _ = rustix::net::shutdown(self.stream.inner(), Shutdown::Read);
    }

    pub(super) fn close(&self) {
        let _ = rustix::net::shutdown(self.stream.inner(), Shutdown::Both);
    }

    fn new(stream: uds_local_socket::Stream) -> Self {
        Self {
            stream,
            since: time_since_start(),
        }
    }

    /// The same from the number alone, for kernels before 6.5. A number may have been used again, but then its process has started
    /// after this connection was there.
    fn process_of(&self, pid: u32) -> io::Result<OwnedFd> {
        let gone = || io::Error::from(Errno::SRCH);
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty())?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything; the start time is the twentieth field behind it.
        let started = stat
            .rsplit_once(')')
            .and_then(|(_, fields)| fields.split_whitespace().nth(19)?.parse::<u64>().ok());
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let started = started
            .and_then(|ticks| (ticks * 1000).checked_div(ticks_per_second))
            .ok_or_else(gone)?;
        if Duration::from_millis(started) > self.since {
            Err(gone())
        } else {
            Ok(pidfd)
        }
    }

    #[inline]
    fn receive_with(&self, into: &mut Vec<u8>, most: usize, flags: RecvFlags) -> io::Result<usize> {
        if into.capacity() - into.len() < most {
            into.reserve_exact(most);
        }
        // The spare room may be larger than asked for, which only means that more is read at once.
        self.retry_within(Timeout::Recv, || {
            rustix::net::recv(self.stream.inner(), spare_capacity(into), flags).map(|(_, received)| received)
        })
    }

    /// Repeats a call that a signal cut short, which this process handles, until the socket's patience has passed since the first of them: if
    /// each wait began anew, signals that keep coming would have it wait for ever. With signals it may be three times as patient, never more.
    #[inline]
    fn retry_within<T>(&self, which: Timeout, mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
        let mut cut_short = None;
        loop {
            match call() {
                Err(Errno::INTR) => self.check_patience(which, *cut_short.get_or_insert_with(Instant::now))?,
                other => return other.map_err(io::Error::from),
            }
        }
    }

    #[cold]
    fn check_patience(&self, which: Timeout, since: Instant) -> io::Result<()> {
        let patience = socket_timeout(self.stream.inner(), which)?;
        if patience.is_some_and(|patience| since.elapsed() >= patience) && !seeded!("signals_begin_a_wait_anew") {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(())
    }
}

fn time_since_start() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

#[inline]
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests;
