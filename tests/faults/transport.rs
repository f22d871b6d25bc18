//! The ways in which calls travel: each promise is held on both.

use crate::served::{Served, byproxy};
use byproxy::Manager;
use std::path::Path;

/// How calls travel between the processes of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Through sockets only.
    Socket,
    /// Through shared memory, from the first call of each lane on.
    Ring,
}

impl Transport {
    /// A server process that ends with this one.
    pub(crate) fn start(self) -> Manager {
        Manager::builder().ring_after(self.ring_after()).start().unwrap()
    }

    /// A server of the command in a new folder, and some more words for its command line.
    pub(crate) fn serve(self, words: &[&str]) -> Served {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.sock");
        self.serve_at(&path, words).with(directory)
    }

    /// The same at a path.
    pub(crate) fn serve_at(self, path: &Path, words: &[&str]) -> Served {
        let mut command = byproxy();
        command.args(["serve", "--listen", &format!("unix:{}", path.display())]);
        command.args(["--ring-after", &self.ring_after().to_string()]);
        Served::run(command.args(words))
    }

    /// From which call on a lane goes on in a ring; zero is never.
    pub(crate) fn ring_after(self) -> u64 {
        match self {
            Self::Socket => 0,
            Self::Ring => 1,
        }
    }
}

/// Runs each test once for every way.
macro_rules! on_each_transport {
    ($( $(#[$meta:meta])* fn $name:ident($transport:ident) $body:block )*) => {$(
        mod $name {
            use super::*;

            fn hold($transport: $crate::transport::Transport) $body

            $(#[$meta])*
            #[test]
            fn socket() {
                hold($crate::transport::Transport::Socket);
            }

            $(#[$meta])*
            #[test]
            fn ring() {
                hold($crate::transport::Transport::Ring);
            }
        }
    )*};
}
