//! A directory of our own for a socket whose path nobody chose.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use byproxy_proto::address::UNIX_PATH_BYTES_MAX;

use super::random_number;

/// The socket's name in it.
const SOCKET_NAME: &str = "socket";
/// The lock file beside it, held for as long as its server lives.
const LOCK_NAME: &str = "socket.lock";
/// What our directories' names begin with.
const NAME_PREFIX: &str = "byproxy-";
/// How many directories of killed servers one that starts removes at most.
const SWEPT_MAX: usize = 256;
/// Where to put the directory when the system's place for temporary files has too long a path for a socket.
const SHORT_PARENT: &str = "/tmp";

/// An empty directory that only this user can enter (0700). Dropping it removes it.
#[derive(Debug)]
pub(crate) struct PrivateDirectory {
    path: PathBuf,
    /// A forked child must not remove its parent's.
    owner: u32,
}

impl PrivateDirectory {
    /// Makes one where the system has its temporary files, and removes those beside it that servers of ours left behind when they were
    /// killed.
    ///
    /// # Errors
    /// What the system says, with the path and where that comes from.
    pub(crate) fn create() -> io::Result<Self> {
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        let name = format!("{NAME_PREFIX}{:016x}", random_number()? >> 64);
        let chosen = parent.join(&name);
        let fits = chosen.join(SOCKET_NAME).as_os_str().len() + ".lock".len() <= UNIX_PATH_BYTES_MAX;
        let path = if fits {
            chosen
        } else {
            Path::new(SHORT_PARENT).join(name)
        };
        if let Some(parent) = path.parent() {
            sweep(parent);
        }
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            let hint = if fits {
                "it goes where TMPDIR says, or to /tmp: set TMPDIR to a folder that you can write to"
            } else {
                "it goes there because the path that TMPDIR says is too long for a socket: set TMPDIR to a shorter one"
            };
            io::Error::new(error.kind(), format!("{}: {error} ({hint})", path.display()))
        })?;
        Ok(Self {
            path,
            owner: std::process::id(),
        })
    }

    /// Where the socket is to be.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET_NAME)
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            let removed = remove(&self.path);
            debug_assert!(
                removed.is_ok_and(|nothing_else| nothing_else),
                "{} has other files",
                self.path.display()
            );
        }
    }
}

/// Removes what a server with a private directory left behind, given its socket; does nothing to any other directory.
pub(crate) fn remove_leftovers(socket: &Path) {
    let parent = socket
        .parent()
        .filter(|_| socket.file_name() == Some(SOCKET_NAME.as_ref()));
    let ours = |path: &&Path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(NAME_PREFIX.as_bytes()))
    };
    if let Some(path) = parent.filter(ours) {
        let _ = remove(path);
    }
}

/// Removes the directories of servers that were killed. What can't be looked at or removed stays.
fn sweep(parent: &Path) {
    let user = rustix::process::geteuid().as_raw();
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_str()
            .and_then(|name| name.strip_prefix(NAME_PREFIX))
            .is_some_and(|number| number.len() == 16 && number.bytes().all(|digit| digit.is_ascii_hexdigit()))
            // Of the entry itself: a link that somebody put there leads nowhere.
            && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user && found.mode() & 0o777 == 0o700)
    });
    for entry in ours.take(SWEPT_MAX) {
        let _ = remove_if_dead(&entry.path());
    }
}

/// Removes the directory of a server whose lock nobody holds.
fn remove_if_dead(path: &Path) -> io::Result<()> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path.join(LOCK_NAME))?;
    // A server that has made its lock file and does not hold it yet has not written its number: to take its lock would end its start.
    let mut pid = String::new();
    (&mut lock).take(16).read_to_string(&mut pid)?;
    if !pid.trim().is_empty() && lock.try_lock().is_ok() {
        remove(path)?;
    }
    Ok(())
}

/// Removes what a server puts into its directory, and the directory; tells whether there was nothing else in it, which would stay.
fn remove(path: &Path) -> io::Result<bool> {
    for name in [SOCKET_NAME, LOCK_NAME] {
        let _ = std::fs::remove_file(path.join(name));
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    /// What a server leaves behind under this number, with this in its lock file.
    fn directory(parent: &Path, name: &str, lock: &str) -> PathBuf {
        let path = parent.join(name);
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        std::os::unix::net::UnixListener::bind(path.join(SOCKET_NAME)).unwrap();
        std::fs::write(path.join(LOCK_NAME), lock).unwrap();
        path
    }

    #[test]
    fn only_what_a_killed_server_left_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name, lock| directory(parent.path(), name, lock);
        let dead = make("byproxy-0123456789abcdef", "4711\n");
        let living = make("byproxy-0123456789abcde0", "4711\n");
        let held = File::open(living.join(LOCK_NAME)).unwrap();
        held.lock().unwrap();
        let starting = make("byproxy-0123456789abcde1", "");
        let other = make("byproxy-work", "4711\n");
        let shared = make("byproxy-0123456789abcde2", "4711\n");
        std::fs::write(shared.join("notes"), "mine").unwrap();
        let link = parent.path().join("byproxy-0123456789abcde3");
        std::os::unix::fs::symlink(&other, &link).unwrap();

        sweep(parent.path());
        assert!(!dead.exists());
        for stays in [&living, &starting, &other, &link] {
            assert!(stays.join(SOCKET_NAME).exists(), "{} was touched", stays.display());
        }
        assert!(shared.join("notes").exists());
        // Not by closing it: a child that another test has just forked may have a copy.
        held.unlock().unwrap();
        sweep(parent.path());
        assert!(!living.exists(), "its server is dead now");
    }

    #[test]
    fn a_place_that_can_not_be_used_is_named_with_the_way_out() {
        let error = PrivateDirectory::create_in(Path::new("/nowhere/at/all")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("/nowhere/at/all/byproxy-") && text.contains("TMPDIR"),
            "{text}"
        );
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
