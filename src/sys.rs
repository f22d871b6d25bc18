//! System calls that rustix lacks, one wrapper each.
#![expect(unsafe_code, reason = "each wrapper is one system call")]

use std::io;
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

const RAW_FD_SIZE: libc::socklen_t = 4;
const _: () = assert!(size_of::<RawFd>() == 4);

/// A pidfd of the process that connected, or listens on, the other end of a Unix socket.
///
/// It names the process that made the connection even when its id has been used again. Kernels before 6.5 answer
/// `ENOPROTOOPT`, and a peer that has already been collected `ESRCH` or `EINVAL`.
pub(crate) fn peer_pidfd(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut pidfd: RawFd = -1;
    let mut size = RAW_FD_SIZE;
    // SAFETY: the value pointer is a live `c_int`, the size pointer holds its size, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut pidfd).cast(),
            &raw mut size,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if pidfd < 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel has just made this descriptor for us, so it is open and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// How many processors this process may use, at least one: as it was when somebody first asked, because each answer is read from several
/// files where there are control groups.
pub(crate) fn processors() -> usize {
    // Two that ask at once both find out. Not a lock, which a child would wait for that was forked while another thread was asking.
    static PROCESSORS: AtomicUsize = AtomicUsize::new(0);
    match PROCESSORS.load(Ordering::Relaxed) {
        0 => {
            let found = std::thread::available_parallelism().map_or(1, NonZero::get);
            PROCESSORS.store(found, Ordering::Relaxed);
            found
        }
        known => known,
    }
}

/// Makes this process take no notice of Ctrl-C.
pub(crate) fn ignore_interrupt() -> io::Result<()> {
    // SAFETY: ignoring a signal runs no code of ours when it arrives.
    let previous = unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    if previous == libc::SIG_ERR {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Makes the allocator of this process give memory of this many bytes and more back to the system as soon as it is freed.
///
/// Left alone, glibc raises its bound with every large block that is freed, and then keeps what was one large frame in its heap.
pub(crate) fn return_freed_blocks_of(bytes: usize) {
    #[cfg(target_env = "gnu")]
    if let Ok(bytes) = libc::c_int::try_from(bytes) {
        // SAFETY: this sets a number of the allocator, which it allows at any time.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn the_peer_of_a_connection_is_a_process_that_is_alive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();
        match peer_pidfd(&server) {
            Ok(pidfd) => {
                let mut descriptors = [PollFd::new(&pidfd, PollFlags::IN)];
                assert_eq!(
                    poll(&mut descriptors, Some(&Timespec::default())).unwrap(),
                    0,
                    "this process has not ended"
                );
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT)),
        }
    }

    #[test]
    fn a_descriptor_that_is_no_socket_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(peer_pidfd(&file).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}
