//! The children of this process: one record each, kept until the child has been collected.
//!
//! A child is addressed by its pidfd only, so an id that is used again hurts nobody. It is collected exactly once, under
//! its record's lock. A child nobody holds a handle of is collected by the next `spawn` or `active_children`; one that is
//! being started is its starter's alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::error::ChildFailed;
use super::report::{Cause, Farewell, Report};
use super::wire::Wire;
use crate::fork::PerProcess;

/// Every child that has started and has not been collected yet.
static CHILDREN: PerProcess<Mutex<Vec<Arc<Child>>>> = PerProcess::new(Mutex::default);

/// One child.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    pid: u32,
    daemon: bool,
    /// Started by the library for its own purposes.
    internal: bool,
    pidfd: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Not collected. The wire brings the farewell; it is dropped when there is none to come.
    Uncollected(Option<Wire>),
    Collected(End),
}

/// How a child ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// −n for signal n; `None` when somebody else collected the child.
    pub(super) exit_code: Option<i32>,
    cause: Option<Cause>,
}

impl Child {
    /// Takes charge of a child that is being started.
    pub(super) fn new(name: String, pid: u32, pidfd: OwnedFd, daemon: bool, internal: bool) -> Arc<Self> {
        Arc::new(Self {
            name,
            pid,
            daemon,
            internal,
            pidfd,
            state: Mutex::new(State::Uncollected(None)),
        })
    }

    /// The child has started, and the farewell will come from here. Not before this may others collect it, who would not
    /// hear the farewell.
    pub(super) fn enlist(self: &Arc<Self>, wire: Wire) {
        if let State::Uncollected(farewell) = &mut *self.state.lock() {
            *farewell = Some(wire);
        }
        CHILDREN.get().lock().push(Arc::clone(self));
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn daemon(&self) -> bool {
        self.daemon
    }

    /// Collects the child if it has ended; `None` while it runs.
    pub(super) fn try_end(&self) -> Option<End> {
        let end = self.collect();
        if end.is_some() {
            CHILDREN
                .get()
                .lock()
                .retain(|child| !std::ptr::eq(Arc::as_ptr(child), self));
        }
        end
    }

    /// Waits until the child has ended, at most until `deadline`; `None` when it still runs then.
    pub(super) fn end_before(&self, deadline: Option<Instant>) -> Option<End> {
        loop {
            if let Some(end) = self.try_end() {
                return Some(end);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            if self.poll_end(left) && self.try_end().is_none() {
                // Ended, but a debugger has the first look at it.
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Waits until the child has ended.
    pub(super) fn end(&self) -> End {
        loop {
            if let Some(end) = self.end_before(None) {
                return end;
            }
        }
    }

    /// Sends a signal; a child that has ended gets none, and that is fine.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills a child that did not start properly, and collects it.
    pub(super) fn abandon(&self) -> End {
        // A process that is not our child any more has been collected elsewhere; its pidfd, opened by number, could
        // then mean another process.
        if self.try_end().is_none() {
            let _ = self.signal(Signal::KILL);
        }
        self.end()
    }

    /// The error of a child that ended badly.
    pub(super) fn verdict(&self, end: End) -> Result<(), ChildFailed> {
        match end.exit_code {
            Some(0) => Ok(()),
            exit_code => Err(ChildFailed::new(&self.name, self.pid, exit_code, end.cause)),
        }
    }

    fn collect(&self) -> Option<End> {
        let mut state = self.state.lock();
        let wire = match &mut *state {
            State::Collected(end) => return Some(end.clone()),
            State::Uncollected(wire) => wire,
        };
        let id = WaitId::PidFd(self.pidfd.as_fd());
        let exit_code = match retry_on_intr(|| waitid(id.clone(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)) {
            Ok(Some(status)) => status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|signal| -signal)),
            // Not ours to collect: the signal of a child's end is ignored in this program, or this is a forked copy of
            // the parent. The pidfd still tells when it has ended.
            Err(Errno::CHILD) if self.poll_end(Some(Duration::ZERO)) => None,
            _ => return None,
        };
        // What the child wrote before it ended can still be read, and nothing more will come.
        let farewell = wire.take().and_then(last_words);
        let end = match farewell {
            Some(Farewell { code, cause }) => {
                let exit_code = exit_code.unwrap_or(i32::from(code));
                End {
                    exit_code: Some(exit_code),
                    cause,
                }
            }
            None => End { exit_code, cause: None },
        };
        *state = State::Collected(end.clone());
        Some(end)
    }

    /// Waits for the child's end, at most `timeout`; whether it has ended.
    fn poll_end(&self, timeout: Option<Duration>) -> bool {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut descriptors = [PollFd::new(&self.pidfd, PollFlags::IN)];
        matches!(poll(&mut descriptors, timeout.as_ref()), Ok(1..))
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Collects every child that has ended, and returns those that have not.
pub(super) fn reap() -> Vec<Arc<Child>> {
    // A copy, because collecting one takes it from the list.
    let children = CHILDREN.get().lock().clone();
    children.into_iter().filter(|child| child.try_end().is_none()).collect()
}

/// The children the user started that have not ended.
pub(super) fn active() -> Vec<Arc<Child>> {
    reap().into_iter().filter(|child| !child.internal).collect()
}

/// The farewell of a child that has ended, if it sent one.
fn last_words(wire: Wire) -> Option<Farewell> {
    let wire = wire.with_patience(Some(Duration::ZERO));
    match Report::receive(&wire) {
        Ok(Report::Farewell(farewell)) => Some(farewell),
        _ => None,
    }
}
