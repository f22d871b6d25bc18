//! A directory of our own for a socket whose path nobody chose.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use byproxy_proto::address::UNIX_PATH_BYTES_MAX;

use super::random_number;

/// The socket's name in it.
const SOCKET_NAME: &str = "socket";
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
    /// Makes one.
    pub(crate) fn create() -> io::Result<Self> {
        let name = format!("byproxy-{:016x}", random_number()? >> 64);
        let chosen = std::env::temp_dir().join(&name);
        let fits = chosen.join(SOCKET_NAME).as_os_str().len() + ".lock".len() <= UNIX_PATH_BYTES_MAX;
        let path = if fits {
            chosen
        } else {
            Path::new(SHORT_PARENT).join(name)
        };
        DirBuilder::new().mode(0o700).create(&path)?;
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
            remove(&self.path);
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
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"byproxy-"))
    };
    if let Some(path) = parent.filter(ours) {
        remove(path);
    }
}

fn remove(path: &Path) {
    // Only what a server puts there: a directory with anything else in it stays.
    for name in [SOCKET_NAME, "socket.lock"] {
        let _ = std::fs::remove_file(path.join(name));
    }
    if let Err(error) = std::fs::remove_dir(path) {
        debug_assert!(
            error.kind() != ErrorKind::DirectoryNotEmpty,
            "{} has other files",
            path.display()
        );
    }
}
