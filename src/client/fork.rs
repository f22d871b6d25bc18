//! Whether this is still the process that opened a session.
//!
//! A forked child has the same sockets as its parent, and must not touch the parent's streams. One page that the kernel wipes in
//! children holds a number of this process: a load tells a child apart, without a system call.

use std::sync::atomic::{AtomicU64, Ordering};

/// The process in which something was made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Birth {
    /// Where the wiped page is, and what it held.
    Marked(&'static AtomicU64, u64),
    /// Without such a page: the process's number, which costs a system call to compare.
    Numbered(u32),
}

impl Birth {
    /// This process.
    pub(super) fn of_this_process() -> Self {
        let Some(mark) = crate::sys::fork_mark() else {
            return Self::Numbered(std::process::id());
        };
        let mut bytes = [0; 8];
        let random = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        let fresh = if random.is_ok() {
            u64::from_ne_bytes(bytes) | 1
        } else {
            u64::from(std::process::id())
        };
        // Zero is what a new page and a wiped one hold: the first to come here after a start or a fork names the process.
        match mark.compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Self::Marked(mark, fresh),
            Err(known) => Self::Marked(mark, known),
        }
    }

    /// Whether the calling process is the one.
    #[inline]
    pub(super) fn is_here(self) -> bool {
        match self {
            Self::Marked(mark, number) => mark.load(Ordering::Acquire) == number,
            Self::Numbered(pid) => std::process::id() == pid,
        }
    }
}
