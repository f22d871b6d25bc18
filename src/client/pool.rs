//! A set of lanes that calls take and return.
//!
//! A free lane is taken last in, first out: a thread that is alone always gets the same one, so what it sends arrives in order. In the
//! pool of calls that are answered soon, a thread that finds none free opens one more while there are few; beyond that it first looks
//! again for a moment, since most calls are short, then opens another after all (the others may stand behind a long operation), and at
//! the bound waits for one to be returned. Calls that wait never share: each has its own, and beyond the bound is refused.

use std::ops::{Deref, DerefMut};

use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::Wait;
use parking_lot::{Condvar, Mutex};

use super::Remote;
use super::lane::{Lane, goodbye};
use crate::error::{Error, Result};

/// How often a thread looks again before it opens one more lane.
const LOOKS: usize = 32;
/// How many lanes of calls that wait are kept; more are closed when they are returned.
const IDLE_WAIT_LANES_MAX: usize = 64;

/// Lanes of one kind.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
    sharing: Sharing,
}

/// Who may use a pool's lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// All threads, one after the other; below so many lanes one is opened at once.
    Shared { few: usize },
    /// Every call has its own.
    Exclusive,
}

/// A lane that a call has for itself; dropping it returns it.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    remote: &'a Remote,
    pool: &'a Pool,
    /// There until it is dropped.
    lane: Option<Lane>,
}

/// Why a lane was not opened.
#[derive(Debug)]
enum Opening {
    /// There are others, which must do.
    Full,
    Failed(Error),
}

#[derive(Debug, Default)]
struct State {
    free: Vec<Lane>,
    /// How many lanes there are, free or taken.
    open: usize,
    /// How many there may be. It falls to what there is when no more can be had: this process or the server is out of descriptors.
    max: usize,
    /// How many threads wait for one.
    waiting: usize,
    closed: bool,
}

impl Pool {
    pub(super) fn new(sharing: Sharing, max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                max: max.max(1),
                ..State::default()
            }),
            returned: Condvar::new(),
            sharing,
        }
    }

    /// A lane for a call that waits so long, opened if there is none free.
    #[inline]
    pub(super) fn take<'a>(&'a self, remote: &'a Remote, wait: Wait) -> Result<Taken<'a>> {
        let free = self.state.lock().free.pop();
        match free {
            Some(lane) => Ok(Taken {
                remote,
                pool: self,
                lane: Some(lane),
            }),
            None => self.take_slowly(remote, wait),
        }
    }

    /// A lane, if one is free.
    pub(super) fn take_now<'a>(&'a self, remote: &'a Remote) -> Option<Taken<'a>> {
        let lane = self.state.lock().free.pop()?;
        Some(Taken {
            remote,
            pool: self,
            lane: Some(lane),
        })
    }

    /// No lane is handed out from here on; who waits for one wakes.
    pub(super) fn close(&self) {
        let free = {
            let mut state = self.state.lock();
            state.closed = true;
            state.open -= state.free.len();
            std::mem::take(&mut state.free)
        };
        drop(free);
        self.returned.notify_all();
    }

    #[cold]
    fn take_slowly<'a>(&'a self, remote: &'a Remote, wait: Wait) -> Result<Taken<'a>> {
        let found = |lane| {
            Ok(Taken {
                remote,
                pool: self,
                lane: Some(lane),
            })
        };
        let looks = if self.sharing == Sharing::Exclusive { 0 } else { LOOKS };
        for look in 0..=looks {
            let mut state = self.state.lock();
            if let Some(lane) = state.free.pop() {
                return found(lane);
            }
            let at_once = matches!(self.sharing, Sharing::Shared { few } if state.open < few);
            if (at_once || look == looks) && state.open < state.max {
                state.open += 1;
                drop(state);
                match self.open(remote, wait) {
                    Err(Opening::Full) => break,
                    Err(Opening::Failed(error)) => return Err(error),
                    Ok(lane) => return found(lane),
                }
            }
            drop(state);
            if look % 8 == 7 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        if self.sharing == Sharing::Exclusive {
            let message = format!(
                "this process already has {} calls that wait, which is the most it may have",
                self.state.lock().max
            );
            return Err(Error::Fault(Fault::new(FaultCode::TooMany, message)));
        }
        let mut state = self.state.lock();
        loop {
            if let Some(lane) = state.free.pop() {
                return found(lane);
            }
            if state.closed {
                drop(state);
                return Err(remote.why_gone());
            }
            state.waiting += 1;
            self.returned.wait(&mut state);
            state.waiting -= 1;
        }
    }

    /// Opens a lane whose place has been taken. Where there are others to share, no more can be had than those.
    fn open(&self, remote: &Remote, wait: Wait) -> Result<Lane, Opening> {
        remote.open_lane(wait, false).map_err(|error| {
            let mut state = self.state.lock();
            state.open -= 1;
            let refused = matches!(&error, Error::Connect { .. } | Error::Fault(_));
            let shared = matches!(self.sharing, Sharing::Shared { .. });
            if refused && shared && state.open > 0 && !state.closed {
                state.max = state.open;
                return Opening::Full;
            }
            drop(state);
            self.returned.notify_one();
            Opening::Failed(error)
        })
    }

    /// Returns a lane that was taken.
    pub(super) fn put_back(&self, remote: &Remote, lane: Lane) {
        let mut state = self.state.lock();
        let surplus = self.sharing == Sharing::Exclusive && state.free.len() >= IDLE_WAIT_LANES_MAX;
        if state.closed || surplus {
            state.open -= 1;
            drop(state);
            remote.forget_lane(&lane);
            if surplus {
                let _ = lane.send_now(&goodbye());
            }
            return;
        }
        state.free.push(lane);
        let wanted = state.waiting > 0;
        drop(state);
        if wanted {
            self.returned.notify_one();
        }
    }
}

impl Taken<'_> {
    /// Keeps the lane; whoever has it must put it back.
    pub(super) fn keep(mut self) -> Option<Lane> {
        self.lane.take()
    }
}

impl Deref for Taken<'_> {
    type Target = Lane;

    #[inline]
    fn deref(&self) -> &Lane {
        match &self.lane {
            Some(lane) => lane,
            None => unreachable!("the lane is there until this is dropped"),
        }
    }
}

impl DerefMut for Taken<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Lane {
        match &mut self.lane {
            Some(lane) => lane,
            None => unreachable!("the lane is there until this is dropped"),
        }
    }
}

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.pool.put_back(self.remote, lane);
        }
    }
}
