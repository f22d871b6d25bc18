//! A server's claim on a path.
//!
//! A directory that nobody else can write to, a lock file held for as long as the server lives, and the socket, which is taken over from
//! a dead server of ours and from nobody else. At the end only our own socket is removed.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use interprocess::local_socket::traits::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerNonblockingMode, ListenerOptions, ToFsName as _};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use interprocess::os::unix::uds_local_socket;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Socket;

/// How often a lock file may be replaced under our hands before we give up.
const LOCK_ATTEMPTS_MAX: usize = 8;

/// Why a path can't be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// Another server has it.
    #[error("a server is already running at {path}, held by pid {pid}: connect to it, stop it, or choose another path")]
    AlreadyRunning { path: PathBuf, pid: String },
    /// The directory that the socket's own is in is not there: a mistyped path, most likely.
    #[error(
        "there is no directory {missing}, so {path} can't be made: check the path, or create it (only the last directory of a path is made)"
    )]
    NoDirectory { path: PathBuf, missing: PathBuf },
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

/// A path that is listened on. Dropping it removes the socket and the lock file, as far as they are still ours.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: uds_local_socket::Listener,
    path: PathBuf,
    identity: Identity,
    /// Held for life, and given up after the socket is removed.
    lock: Lock,
}

/// The file that says who has a path, locked. Dropping it removes the file, if it is still ours.
#[derive(Debug)]
struct Lock {
    file: File,
    path: PathBuf,
    /// A child of a fork inherits the lock but must not remove anything.
    owner: u32,
}

/// The device and inode of a file of ours: another server's must not be removed.
type Identity = (u64, u64);

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
        Ok(Self {
            socket,
            path: fixed(path),
            identity: identity(&metadata),
            lock,
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
        // Whoever starts now waits for the lock, so nobody can put another socket here in between.
        if self.lock.is_ours() && is_at(&self.path, self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Lock {
    /// Whether this is the process that took it.
    fn is_ours(&self) -> bool {
        self.owner == std::process::id()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        let is_there = |held: Metadata| is_at(&self.path, identity(&held));
        if self.file.metadata().is_ok_and(is_there) {
            let _ = std::fs::remove_file(&self.path);
        }
        // Not only our descriptor lets go: a forked copy of this process may have another.
        let _ = self.file.unlock();
    }
}

/// Makes sure that the socket's directory is there, for which its last level may be made, is ours, and that nobody else can write to it.
fn prepare_directory(path: &Path) -> Result<(), ListenError> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !directory.exists() {
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => {}
            // Another server was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ListenError::NoDirectory {
                    path: directory.to_owned(),
                    missing: first_missing(directory),
                });
            }
            Err(error) => return Err(system("create", directory)(error)),
        }
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

/// The outermost directory of a path that is not there.
fn first_missing(path: &Path) -> PathBuf {
    let mut missing = path;
    while let Some(parent) = missing
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())
    {
        missing = parent;
    }
    missing.to_owned()
}

/// Takes the lock file, which says who has the path.
fn take_lock(path: &Path) -> Result<Lock, ListenError> {
    let lock_path = lock_path(path);
    for _ in 0..LOCK_ATTEMPTS_MAX {
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(&lock_path)
            .map_err(system("open", &lock_path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = (&file).take(16).read_to_string(&mut pid);
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
        let held = file.metadata().map_err(system("look at", &lock_path))?;
        if is_at(&lock_path, identity(&held)) {
            let written = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| writeln!(file, "{}", std::process::id()));
            written.map_err(system("write", &lock_path))?;
            return Ok(Lock {
                file,
                path: fixed(&lock_path),
                owner: std::process::id(),
            });
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
    if !kind.is_socket() && !seeded!("any_file_is_stale") {
        return Err(occupied("a file that is no socket".to_owned()));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(occupied(format!("a socket of user {}", metadata.uid())));
    }
    // Another kind of program may listen there without our lock; a connection that is refused proves that nobody does. One that does not
    // accept must not hold us up.
    match try_connect(path) {
        Err(Errno::CONNREFUSED) if !seeded!("stale_socket_stays") => {}
        Err(Errno::NOENT) => return Ok(()),
        Ok(()) | Err(Errno::AGAIN) => return Err(occupied("a socket on which another program listens".to_owned())),
        Err(error) => return Err(occupied(format!("a socket that answers `{}`", io::Error::from(error)))),
    }
    std::fs::remove_file(path).map_err(system("remove", path))
}

/// Whether somebody listens, without waiting.
fn try_connect(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn is_at(path: &Path, ours: Identity) -> bool {
    path.symlink_metadata().is_ok_and(|found| identity(&found) == ours)
}

/// The same place wherever this process goes: what is to be removed at the end.
fn fixed(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
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
