//! A child that ends with its parent: a thread waits on the parent's pidfd.
//!
//! Not `PR_SET_PDEATHSIG`, which fires when the *thread* that started the child ends.

use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};

const STACK_SIZE: usize = 64 << 10;

/// From now on this process is killed as soon as the process behind `parent` has ended, however it ended, and `grace` has passed.
pub(super) fn end_with_parent(parent: OwnedFd, grace: Duration) -> io::Result<()> {
    let watch = move || {
        let mut descriptors = [PollFd::new(&parent, PollFlags::IN)];
        // An interrupted wait is repeated; no other error can come from a valid descriptor.
        while poll(&mut descriptors, None).is_err() {}
        thread::sleep(grace);
        // Killed, not exited: what would run at an exit may wait for the parent, or for a lock some thread holds.
        let _ = kill_process(getpid(), Signal::KILL);
    };
    thread::Builder::new()
        .name("parent-watch".to_owned())
        .stack_size(STACK_SIZE)
        .spawn(watch)?;
    Ok(())
}
