//! Connections through a socket in the file system.
//!
//! [`Listener`] is the server's claim on a path: a directory that nobody else can write to, a lock file held for as long as the server
//! lives, and the socket, which it takes over from a dead server of ours and from nobody else. [`Socket`] is one connection, the same
//! at both ends; each end checks that the other belongs to the same user.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use interprocess::ConnectWaitMode;
use interprocess::local_socket::traits::{Listener as _, Stream as _, StreamCommon as _};
use interprocess::local_socket::{
    ConnectOptions, GenericFilePath, ListenerNonblockingMode, ListenerOptions, ToFsName as _,
};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use interprocess::os::unix::uds_local_socket;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::{ClockId, clock_gettime};

/// How long a client that finds the backlog full sleeps before it tries again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(2);
/// How often a lock file may be replaced under our hands before we give up.
const LOCK_ATTEMPTS_MAX: usize = 8;

/// Why a path can't be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// Another server has it.
    #[error("a server is already running at {path}, held by pid {pid}: connect to it, stop it, or choose another path")]
    AlreadyRunning { path: PathBuf, pid: String },
    /// The directory belongs to somebody else.
    #[error(
        "the directory {path} belongs to user {owner}, not to us (user {user}): choose one of your own, which may be a new one"
    )]
    ForeignDirectory { path: PathBuf, owner: u32, user: u32 },
    /// The directory lets others put files in it.
    #[error(
        "others may write to the directory {path} (mode {mode:03o}): choose one that only you can write to, or `chmod go-w` it"
    )]
    OpenDirectory { path: PathBuf, mode: u32 },
    /// Something is at the path that is not a dead socket of ours.
    #[error("there is {what} at {path}; it is not ours to replace: remove it, or choose another path")]
    Occupied { path: PathBuf, what: String },
    /// The system refused.
    #[error("can't {action} {path}: {source}")]
    System {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// A path that is listened on. Dropping it removes the socket, if it is still ours, and the lock file.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: uds_local_socket::Listener,
    path: PathBuf,
    /// The device and inode of our socket: another server's must not be removed.
    identity: (u64, u64),
    /// Held for life. A child of a fork inherits the lock but must not remove anything: see `owner`.
    lock: File,
    owner: u32,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: uds_local_socket::Stream,
    /// When it was accepted or connected, since the system's start.
    since: Duration,
}

impl Listener {
    /// Claims a path and listens on it.
    ///
    /// # Errors
    /// [`ListenError`]; then nothing is left behind but, perhaps, a new directory.
    pub(crate) fn bind(path: &Path) -> Result<Self, ListenError> {
        prepare_directory(path)?;
        let lock = take_lock(path)?;
        remove_stale(path)?;
        let bound = path.to_fs_name::<GenericFilePath>().and_then(|name| {
            ListenerOptions::new()
                .name(name)
                .mode(0o600)
                .reclaim_name(false)
                .nonblocking(ListenerNonblockingMode::Accept)
                .create_sync_as::<uds_local_socket::Listener>()
        });
        let socket = bound.map_err(system("listen on", path))?;
        let metadata = path.symlink_metadata().map_err(system("look at", path))?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self {
            socket,
            path: path.to_owned(),
            identity,
            lock,
            owner: std::process::id(),
        })
    }

    /// The next connection, if one is waiting.
    pub(crate) fn accept(&self) -> io::Result<Socket> {
        self.socket.accept().map(Socket::new)
    }

    /// The descriptor to wait on.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        let ours = self
            .path
            .symlink_metadata()
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours {
            // Whoever starts now waits for the lock, so nobody can put another socket here in between.
            let _ = std::fs::remove_file(&self.path);
        }
        let _ = std::fs::remove_file(lock_path(&self.path));
        let _ = self.lock.unlock();
    }
}

impl Socket {
    /// Connects, waiting at most so long for a place in the server's backlog.
    pub(crate) fn connect(path: &Path, wait: Duration) -> io::Result<Self> {
        let deadline = Instant::now().checked_add(wait);
        loop {
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            let name = path.to_fs_name::<GenericFilePath>()?;
            let wait_mode = ConnectWaitMode::Timeout(left.min(Duration::from_hours(1)));
            let stream = ConnectOptions::new()
                .name(name)
                .wait_mode(wait_mode)
                .connect_sync_as::<uds_local_socket::Stream>()?;
            // A full backlog makes a connect that does not wait fail with EAGAIN, and the socket then polls as writable though it
            // is not connected: only its peer's name tells.
            if rustix::net::getpeername(stream.inner()).is_ok() {
                let socket = Self::new(stream);
                socket.check_user()?;
                return Ok(socket);
            }
            if left.is_zero() {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "the server does not accept connections",
                ));
            }
            std::thread::sleep(BACKLOG_PAUSE.min(left));
        }
    }

    /// The id of the process that made the connection (for a client: that listens).
    ///
    /// # Errors
    /// If the peer belongs to another user, or is in another pid namespace and can't be named.
    pub(crate) fn check_user(&self) -> io::Result<u32> {
        let credentials = self.stream.peer_creds()?;
        let ours = rustix::process::geteuid().as_raw();
        match (credentials.euid(), credentials.pid()) {
            (Some(user), Some(pid)) if user == ours => u32::try_from(pid)
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
            *sent += retry(|| rustix::net::send(self.stream.inner(), rest, SendFlags::NOSIGNAL))?;
        }
        Ok(())
    }

    pub(super) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_recv_timeout(timeout)?;
        self.stream.set_send_timeout(timeout)
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
        retry(|| rustix::net::recv(self.stream.inner(), spare_capacity(into), flags).map(|(_, received)| received))
    }
}

/// Makes sure that the socket's directory is there, is ours, and that nobody else can write to it.
fn prepare_directory(path: &Path) -> Result<(), ListenError> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !directory.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(system("create", directory))?;
    }
    let metadata = directory.metadata().map_err(system("look at", directory))?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(ListenError::ForeignDirectory {
            path: directory.to_owned(),
            owner: metadata.uid(),
            user,
        });
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(ListenError::OpenDirectory {
            path: directory.to_owned(),
            mode: metadata.mode() & 0o777,
        });
    }
    Ok(())
}

/// Takes the lock file, which says who has the path.
fn take_lock(path: &Path) -> Result<File, ListenError> {
    let lock_path = lock_path(path);
    for _ in 0..LOCK_ATTEMPTS_MAX {
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(&lock_path)
            .map_err(system("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = (&lock).take(16).read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() {
                    "unknown".to_owned()
                } else {
                    pid.trim().to_owned()
                };
                return Err(ListenError::AlreadyRunning {
                    path: path.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(system("lock", &lock_path)(source)),
        }
        // A server that ended between our open and our lock has removed the file: then ours is the lock of nothing.
        let held = lock.metadata().map_err(system("look at", &lock_path))?;
        let current = lock_path.symlink_metadata();
        if current.is_ok_and(|current| (current.dev(), current.ino()) == (held.dev(), held.ino())) {
            let written = lock
                .set_len(0)
                .and_then(|()| lock.rewind())
                .and_then(|()| writeln!(lock, "{}", std::process::id()));
            written.map_err(system("write", &lock_path))?;
            return Ok(lock);
        }
    }
    Err(system("lock", &lock_path)(io::Error::other(
        "it is replaced again and again",
    )))
}

/// Removes a socket that a dead server of ours left behind. The lock is held, so no living server of ours has it.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let occupied = |what: String| ListenError::Occupied {
        path: path.to_owned(),
        what,
    };
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at", path)(error)),
    };
    let kind = metadata.file_type();
    if kind.is_symlink() {
        return Err(occupied("a symbolic link".to_owned()));
    }
    if !kind.is_socket() {
        return Err(occupied("a file that is no socket".to_owned()));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(occupied(format!("a socket of user {}", metadata.uid())));
    }
    // Another kind of program may listen there without our lock; a connection that is refused proves that nobody does.
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Ok(_) => return Err(occupied("a socket on which another program listens".to_owned())),
        Err(error) => return Err(occupied(format!("a socket that answers `{error}`"))),
    }
    std::fs::remove_file(path).map_err(system("remove", path))
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ListenError {
    let path = path.to_owned();
    move |source| ListenError::System { action, path, source }
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
