//! Which process a process id means: ids are used again, an id with a start time is not.
#![cfg_attr(not(test), expect(dead_code, reason = "for the watch over connected processes"))]

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process, told apart from any other that has or had its id since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Identity {
    pid: u32,
    /// Clock ticks from the machine's start to the process's.
    start_time: u64,
}

impl Identity {
    /// The process that asks.
    pub(crate) fn current() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// The process that has this id now, which may be a zombie.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start_time = start_time(&stat).ok_or_else(|| io::Error::other("/proc/<pid>/stat has an unknown form"))?;
        Ok(Self { pid, start_time })
    }

    /// The process id.
    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    /// Clock ticks from the machine's start to the process's.
    pub(crate) fn start_time(self) -> u64 {
        self.start_time
    }

    /// A pidfd of this process; `NotFound` once it has ended and been collected.
    pub(crate) fn open(self) -> io::Result<OwnedFd> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        // The id may have passed to another process before it was opened. If it still means this one now, it meant it
        // then.
        if Self::of(self.pid)? == self {
            Ok(pidfd)
        } else {
            Err(gone())
        }
    }
}

/// The 22nd field. The second is the program's name in parentheses, which may contain anything, so count from its end.
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_hides_nothing() {
        let stat = "71 (a) b (c) S 1 71 71 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11";
        assert_eq!(start_time(stat), Some(987_654));
        assert_eq!(start_time("71 no name"), None);
        assert_eq!(start_time("71 (short) S 1"), None);
    }

    #[test]
    fn this_process_can_be_opened_and_another_start_time_cannot() {
        let identity = Identity::current().unwrap();
        assert_eq!(identity.pid(), std::process::id());
        identity.open().unwrap();
        let earlier = Identity {
            start_time: identity.start_time - 1,
            ..identity
        };
        assert_eq!(earlier.open().unwrap_err().kind(), io::ErrorKind::NotFound);
        let nobody = Identity {
            pid: u32::MAX,
            ..identity
        };
        assert_eq!(nobody.open().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
