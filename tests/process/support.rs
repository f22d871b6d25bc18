//! What the tests share: a desk where children report.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::watchdog::LIMIT;

/// A socket that children connect to: a visit says that a child has come so far, and its end that the child is gone.
pub(crate) struct Desk {
    listener: UnixListener,
    directory: tempfile::TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("desk")).unwrap();
        Self { listener, directory }
    }

    /// Where children find it.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("desk")
    }

    /// The next child that comes.
    pub(crate) fn visitor(&self) -> UnixStream {
        let mut descriptors = [PollFd::new(&self.listener, PollFlags::IN)];
        let limit = Timespec::try_from(LIMIT).unwrap();
        assert_eq!(poll(&mut descriptors, Some(&limit)).unwrap(), 1, "no child came");
        let (visitor, _) = self.listener.accept().unwrap();
        visitor.set_read_timeout(Some(LIMIT)).unwrap();
        visitor
    }

    /// What the next child that comes says until it leaves.
    pub(crate) fn message(&self) -> String {
        let mut message = String::new();
        self.visitor().read_to_string(&mut message).unwrap();
        message
    }
}

/// In a child: say something at the desk, and stay connected.
pub(crate) fn visit(desk: &Path, message: &str) -> UnixStream {
    let mut stream = UnixStream::connect(desk).unwrap();
    stream.write_all(message.as_bytes()).unwrap();
    stream
}

/// In a child: come to the desk, and stay until the other side hangs up.
pub(crate) fn stay(desk: PathBuf) {
    let mut stream = UnixStream::connect(desk).unwrap();
    // The other side may have hung up already.
    let _ = stream.write_all(b"!");
    let _ = stream.read_to_end(&mut Vec::new());
}
