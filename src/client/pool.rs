//! A set of lanes that calls take and return.
//!
//! The first lane that was opened lies in its own [seat](super::seat) and is taken before all others; those are taken last in, first out. So a thread
//! that is alone always gets the same one, and what it sends arrives in order. In the pool of calls that are answered soon, a thread that finds none free opens one more while there are few; beyond that it first looks
//! again for a moment, since most calls are short, then opens another after all (the others may stand behind a long operation), and at
//! the bound waits for one to be returned. A server that has no place for one more is left alone for a while. Calls that wait never share:
//! each has its own, and beyond the bound is refused.
//!
//! Who sleeps is woken in order, but finds nothing if others were faster, and they nearly always are: they are awake. So every now and then a
//! lane that is returned is reserved for the sleeper that comes next. At each return that would be fair and slow, for the lane would lie idle until
//! the sleeper runs. The first lane is reserved for nobody: where it is the only one, who is awake is faster.

use std::ops::Deref;
use std::time::{Duration, Instant};

use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::Wait;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Remote;
use super::lane::{Lane, goodbye};
use super::seat::Seat;
use crate::error::{Error, Result};

/// How often a thread looks again before it opens one more lane.
const LOOKS: usize = 32;
/// How long after a refusal no more lanes are asked for where there are some to share.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// How often a lane is reserved for a thread that sleeps.
const TURN_EVERY: Duration = Duration::from_millis(1);
/// How many lanes of calls that wait are kept beside the first; more are closed when they are returned.
const IDLE_WAIT_LANES_MAX: usize = 64;

/// Lanes of one kind.
#[derive(Debug)]
pub(super) struct Pool {
    first: Seat,
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
pub(super) enum Taken<'a> {
    First(First<'a>),
    Other(Other<'a>),
}

/// The first lane of a pool, as long as a call has it.
#[derive(Debug)]
pub(super) struct First<'a> {
    remote: &'a Remote,
    pool: &'a Pool,
    lane: &'a Lane,
}

/// Another one.
#[derive(Debug)]
pub(super) struct Other<'a> {
    remote: &'a Remote,
    pool: &'a Pool,
    /// There until it is dropped.
    lane: Option<Box<Lane>>,
}

/// A lane that is kept beyond the call which took it.
#[derive(Debug)]
pub(super) struct Kept(Option<Box<Lane>>);

/// Why a lane was not opened.
#[derive(Debug)]
enum Opening {
    /// There are others, which must do.
    Full,
    Failed(Error),
}

#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "a lane is large, and moves with every call")]
struct State {
    /// Those that are free, but for the first.
    free: Vec<Box<Lane>>,
    /// How many lanes there are, free or taken.
    open: usize,
    /// How many there may be.
    max: usize,
    /// No more could be had, and until then no more are asked for: this process or the server is out of descriptors or places.
    refused_until: Option<Instant>,
    /// How many threads wait for one.
    waiting: usize,
    /// One that is for a thread which has slept, and when the next may be.
    reserved: Option<Box<Lane>>,
    next_turn: Option<Instant>,
    /// One of them has been woken and has not run yet: it takes a lane that is free then, and wakes the next if there are more.
    woken: bool,
    closed: bool,
}

impl Pool {
    pub(super) fn new(sharing: Sharing, max: usize) -> Self {
        Self {
            first: Seat::default(),
            state: Mutex::new(State {
                max: max.max(1),
                ..State::default()
            }),
            returned: Condvar::new(),
            sharing,
        }
    }

    /// The lane to look for first, if it is free.
    #[inline]
    pub(super) fn first<'a>(&'a self, remote: &'a Remote) -> Option<First<'a>> {
        let lane = self.first.take()?;
        Some(First {
            remote,
            pool: self,
            lane,
        })
    }

    /// A lane for a call that waits so long, opened if there is none free.
    pub(super) fn take<'a>(&'a self, remote: &'a Remote, wait: Wait) -> Result<Taken<'a>> {
        match self.take_now(remote) {
            Some(lane) => Ok(lane),
            None => self.take_slowly(remote, wait),
        }
    }

    /// A lane, if one is free.
    pub(super) fn take_now<'a>(&'a self, remote: &'a Remote) -> Option<Taken<'a>> {
        if let Some(lane) = self.first(remote) {
            return Some(Taken::First(lane));
        }
        let lane = self.state.lock().free.pop()?;
        Some(self.other(remote, lane))
    }

    /// A lane that was kept.
    pub(super) fn resume<'a>(&'a self, remote: &'a Remote, kept: Kept) -> Option<Taken<'a>> {
        Some(match kept.0 {
            Some(lane) => self.other(remote, lane),
            None => Taken::First(First {
                remote,
                pool: self,
                lane: self.first.taken()?,
            }),
        })
    }

    /// How many threads wait for a lane.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    /// Counts a thread that waits for a lane and never wakes.
    #[cfg(test)]
    pub(super) fn count_sleeper(&self) {
        self.state.lock().waiting += 1;
    }

    /// Whether a lane is reserved.
    #[cfg(test)]
    pub(super) fn reserves(&self) -> bool {
        self.state.lock().reserved.is_some()
    }

    fn other<'a>(&'a self, remote: &'a Remote, lane: Box<Lane>) -> Taken<'a> {
        Taken::Other(Other {
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
            let mut free = std::mem::take(&mut state.free);
            free.extend(state.reserved.take());
            state.open -= free.len() + usize::from(self.first.close());
            free
        };
        drop(free);
        self.returned.notify_all();
    }

    #[cold]
    fn take_slowly<'a>(&'a self, remote: &'a Remote, wait: Wait) -> Result<Taken<'a>> {
        let mut looks = if self.sharing == Sharing::Exclusive { 0 } else { LOOKS };
        let mut slept = false;
        loop {
            let mut state = self.state.lock();
            if slept && let Some(lane) = state.reserved.take() {
                self.mind_waiting(state);
                return Ok(self.other(remote, lane));
            }
            if let Some(lane) = self.first(remote) {
                self.mind_waiting(state);
                return Ok(Taken::First(lane));
            }
            if let Some(lane) = state.free.pop() {
                self.mind_waiting(state);
                return Ok(self.other(remote, lane));
            }
            if state.closed {
                drop(state);
                return Err(remote.why_gone());
            }
            let at_once = matches!(self.sharing, Sharing::Shared { few } if state.open < few);
            if (at_once || looks == 0) && state.may_open() {
                state.open += 1;
                match self.open(remote, wait, state) {
                    Err(Opening::Full) => continue,
                    Err(Opening::Failed(error)) => return Err(error),
                    Ok(lane) => return Ok(lane),
                }
            }
            if looks > 0 {
                drop(state);
                looks -= 1;
                if looks % 8 == 0 {
                    std::thread::yield_now();
                } else {
                    std::hint::spin_loop();
                }
            } else if self.sharing == Sharing::Exclusive {
                let message = format!(
                    "this process already has {} calls that wait, which is the most it may have",
                    state.max
                );
                return Err(Error::Fault(Fault::new(FaultCode::TooMany, message).into()));
            } else if self.first.want() {
                self.await_return(&mut state);
                slept = true;
            }
        }
    }

    /// Waits until a lane may be free, or until more may be asked for.
    fn await_return(&self, state: &mut MutexGuard<'_, State>) {
        state.waiting += 1;
        match state.refused_until.filter(|_| state.open < state.max) {
            Some(until) => {
                self.returned.wait_until(state, until);
            }
            None => self.returned.wait(state),
        }
        state.waiting -= 1;
        state.woken = false;
    }

    /// Wakes a thread that waits for a lane if there is one, unless one is on its way already: threads that are awake return lanes and take them
    /// again far faster than a sleeper gets to run, and each wake-up costs more than their call. If there is none, whoever returns the first
    /// does this.
    fn mind_waiting(&self, mut state: MutexGuard<'_, State>) {
        if state.waiting > 0 && !state.woken && (!state.free.is_empty() || !self.first.want()) {
            state.woken = true;
            drop(state);
            self.returned.notify_one();
        }
    }

    /// Opens a lane whose place has been taken. Where there are others to share, those must do if no more can be had.
    fn open<'a>(
        &'a self,
        remote: &'a Remote,
        wait: Wait,
        mut state: MutexGuard<'_, State>,
    ) -> Result<Taken<'a>, Opening> {
        let share = self.sharing != Sharing::Exclusive && state.open > 1;
        if state.refused_until.is_some() {
            // One thread tries, and the others go on as before.
            state.refused_until = Some(Instant::now() + REFUSED_PAUSE);
        }
        self.mind_waiting(state);
        let opened = remote.open_lane(wait, share);
        let mut state = self.state.lock();
        let error = match opened {
            Ok(lane) => {
                let more = state.refused_until.take().is_some() && state.waiting > 0;
                let lane = match self.first.fill(lane) {
                    Ok(lane) => Taken::First(First {
                        remote,
                        pool: self,
                        lane,
                    }),
                    Err(lane) => self.other(remote, Box::new(lane)),
                };
                self.mind_waiting(state);
                if more {
                    self.returned.notify_one();
                }
                return Ok(lane);
            }
            Err(error) => error,
        };
        state.open -= 1;
        let refused = matches!(&error, Error::Connect { .. } | Error::Fault(_));
        if refused && share && !state.closed {
            state.refused_until = Some(Instant::now() + REFUSED_PAUSE);
            return Err(Opening::Full);
        }
        drop(state);
        self.returned.notify_one();
        Err(Opening::Failed(error))
    }

    /// Returns the first lane though it is wanted, or there is no session any more.
    #[cold]
    fn put_back_first(&self, remote: &Remote, lane: &Lane) {
        let mut state = self.state.lock();
        if self.first.put_back_wanted() {
            self.mind_waiting(state);
        } else {
            state.open -= 1;
            drop(state);
            remote.forget_lane(lane);
        }
    }

    /// Returns a lane other than the first.
    fn put_back(&self, remote: &Remote, lane: Box<Lane>) {
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
        if state.is_sleepers_turn() {
            state.reserved = Some(lane);
            if !std::mem::replace(&mut state.woken, true) {
                drop(state);
                self.returned.notify_one();
            }
            return;
        }
        state.free.push(lane);
        self.mind_waiting(state);
    }
}

impl State {
    /// Whether a lane that is returned is reserved for a thread that sleeps. Each of those that are counted looks for it as it wakes.
    fn is_sleepers_turn(&mut self) -> bool {
        if self.waiting == 0 || self.reserved.is_some() || seeded!("sleepers_have_no_turn") {
            return false;
        }
        let now = Instant::now();
        let turn = self.next_turn.is_none_or(|next| next <= now);
        if turn {
            self.next_turn = Some(now + TURN_EVERY);
        }
        turn
    }

    /// Whether one more may be asked for.
    fn may_open(&self) -> bool {
        self.open < self.max && self.refused_until.is_none_or(|until| until <= Instant::now())
    }
}

impl Taken<'_> {
    /// Keeps the lane; whoever has it must [resume](Pool::resume) it.
    pub(super) fn keep(self) -> Kept {
        match self {
            Taken::First(first) => {
                std::mem::forget(first);
                Kept(None)
            }
            Taken::Other(mut other) => Kept(other.lane.take()),
        }
    }
}

impl Deref for Taken<'_> {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        match self {
            Taken::First(first) => first.lane,
            Taken::Other(other) => match &other.lane {
                Some(lane) => lane,
                None => unreachable!("the lane is there until this is dropped"),
            },
        }
    }
}

impl Deref for First<'_> {
    type Target = Lane;

    #[inline]
    fn deref(&self) -> &Lane {
        self.lane
    }
}

impl Drop for First<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.pool.first.put_back() {
            self.pool.put_back_first(self.remote, self.lane);
        }
    }
}

impl Drop for Other<'_> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.pool.put_back(self.remote, lane);
        }
    }
}
