//! The driver: takes frames from connections, hands calls to the engine with the time, and delivers what the engine puts out.
//!
//! It has no thread of its own. A worker calls it with the events of sockets, a helper with finished jobs, and an in-process client
//! with its own connection; each brings its [`Scratch`]. Every such visit ends with [`Driver::settle`].

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use byproxy_proto::fault::Fault;
use byproxy_proto::frame::{self, FrameError, HEADER_BYTES_MAX, PREFIX_BYTES};
use dashmap::DashMap;
use parking_lot::Mutex;

use super::Limits;
use super::admission::Stranger;
use super::connection::{Connection, Flushed, Inbound, READ_BYTES, Role, Source, Written};
use super::helpers::Helpers;
use super::poller::Poller;
use super::session::Session;
use super::timer::{Chore, Timer};
use super::visit::Visit;
use crate::engine::{Caller, Engine, Outcome, Output, Outputs, ReplyRef, SessionId};
use crate::shm::ring::{FRONT_BYTES, ServerEnd};

/// Buffers above this capacity are given back after use.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Everything the threads of one server share.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) engine: Engine,
    pub(super) timer: Timer,
    pub(super) limits: Limits,
    pub(super) pollers: Vec<Arc<Poller>>,
    pub(super) sessions: DashMap<u64, Arc<Session>>,
    /// Every lane by its number, for replies that come from elsewhere.
    pub(super) lanes: DashMap<u64, Arc<Connection>>,
    /// Connections that have not said hello, the oldest first.
    pub(super) strangers: Mutex<BTreeMap<u64, Stranger>>,
    /// A look at the strangers is on the timer's list.
    pub(super) hellos_due: AtomicBool,
    /// Sessions whose end is decided but not carried out, and how many those are.
    pub(super) doomed: Mutex<Vec<Arc<Session>>>,
    pub(super) doomed_count: AtomicUsize,
    pub(super) helpers: Helpers,
    pub(super) counters: Counters,
    pub(super) next_connection: AtomicU64,
    /// How many rings are open.
    pub(super) rings: AtomicUsize,
    /// How many descriptors are kept for clients.
    pub(super) kept: Arc<AtomicUsize>,
    /// A client asked for the server's end, and its reply has been sent.
    pub(super) ending: AtomicBool,
    /// Readable once the server is to stop.
    pub(super) stop: OwnedFd,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Connections that are open.
    pub(super) connections: AtomicUsize,
    /// Connections that were let in or not.
    pub(super) accepted: AtomicU64,
    /// Connections that were refused, with or without a fault.
    pub(super) refused: AtomicU64,
    /// Times that accepting stopped for want of descriptors.
    pub(super) starved: AtomicU64,
    /// Panics that were caught; each ended the connection it happened on.
    pub(super) panics: AtomicU64,
    /// Rings that were opened, whether new or again.
    pub(super) rings: AtomicU64,
    /// Times that clients which slept were woken over their sockets, of lanes that are gone.
    pub(super) bells: AtomicU64,
    /// Times that something lay in a ring beside a sleeper.
    pub(super) overlooked: AtomicU64,
    /// Times that workers slept.
    pub(super) sleeps: AtomicU64,
}

/// One thread's buffers.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// What a connection sent, when nothing of it was pending.
    input: Vec<u8>,
    /// Replies to the connection being read.
    pub(super) replies: Vec<u8>,
    /// A reply to another one.
    pub(super) frame: Vec<u8>,
    pub(super) out: Outputs,
}

/// How frames are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// What one read brings; replies are written.
    Read,
    /// All there is, because the session ends; nobody reads replies any more.
    Drain,
}

/// What became of a connection while its frames were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Open,
    /// It said goodbye.
    Goodbye,
    /// It ended, or failed.
    Lost,
    /// It broke the protocol or was refused; it has been told why. Nothing more is taken from it.
    Refused,
}

impl Driver {
    /// Takes what lies in a lane's ring: mostly one small call alone, which goes straight from its record to the engine.
    #[inline]
    pub(super) fn read_ring(&self, connection: &Arc<Connection>, ring: &ServerEnd, scratch: &mut Scratch) {
        let mut inbound = connection.inbound.lock();
        let mut record = [0; FRONT_BYTES];
        let verdict = match inbound.receive_front(connection, ring, &mut record) {
            Some((session, bytes)) => {
                let mut visit = Visit::of_front(self, connection, ring, scratch);
                let (consumed, verdict) = visit.serve(session, bytes);
                if let Some(rest) = bytes.get(consumed..).filter(|rest| !rest.is_empty()) {
                    inbound.pending_in_ring.extend_from_slice(rest);
                }
                verdict
            }
            None => self.take_frames(connection, &mut inbound, Source::Ring, Mode::Read, scratch),
        };
        if verdict != Verdict::Open {
            self.settle_refused(connection, &inbound, verdict, scratch);
            self.part(connection, &mut inbound, verdict);
        }
    }

    /// Takes what a connection has sent.
    #[inline]
    pub(super) fn read(&self, connection: &Arc<Connection>, source: Source, scratch: &mut Scratch) {
        let mut inbound = connection.inbound.lock();
        let mut verdict = self.take_frames(connection, &mut inbound, source, Mode::Read, scratch);
        if verdict == Verdict::Lost && source == Source::Socket && connection.ring().is_some() {
            // What the client wrote to the ring before its end comes before it: perhaps a goodbye.
            verdict = match self.take_frames(connection, &mut inbound, Source::Ring, Mode::Read, scratch) {
                Verdict::Open => Verdict::Lost,
                verdict => verdict,
            };
        }
        if verdict != Verdict::Open {
            self.settle_refused(connection, &inbound, verdict, scratch);
            self.part(connection, &mut inbound, verdict);
        }
    }

    /// Writes on to a connection that has room again, and takes the requests that were held back meanwhile.
    pub(super) fn write_on(&self, connection: &Arc<Connection>, scratch: &mut Scratch) {
        match connection.flush(self.timer.now().0, self.limits.unread_bytes_max) {
            Flushed::Fine => {}
            Flushed::Resume => {
                self.read(connection, Source::Socket, scratch);
                if connection.ring().is_some() {
                    self.read(connection, Source::Ring, scratch);
                }
            }
            Flushed::Lost => self.lose(connection),
        }
    }

    /// A connection is lost, as something other than reading it told.
    pub(super) fn lose(&self, connection: &Arc<Connection>) {
        let mut inbound = connection.inbound.lock();
        self.part(connection, &mut inbound, Verdict::Lost);
    }

    /// What a client took from its ring before it was refused is its own: after [`Self::part`] nobody knows of it any more.
    #[cold]
    fn settle_refused(&self, lane: &Connection, inbound: &Inbound, verdict: Verdict, scratch: &mut Scratch) {
        if let (Verdict::Refused, Role::Lane(session)) = (verdict, &inbound.role)
            && !seeded!("refusal_forgets_delivery")
        {
            // From here on it takes nothing.
            lane.wire.close_reading();
            self.settle_lane(lane, session.id, &mut scratch.frame, &mut scratch.out);
        }
    }

    /// Deals with a connection that does not go on.
    #[cold]
    fn part(&self, connection: &Connection, inbound: &mut Inbound, verdict: Verdict) {
        let session = match &inbound.role {
            Role::Closed => return,
            Role::Stranger => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                return self.retire(connection, inbound);
            }
            Role::Control(session) | Role::Lane(session) => Arc::clone(session),
        };
        let is_lane = matches!(inbound.role, Role::Lane(_));
        if verdict == Verdict::Goodbye && is_lane && connection.answering.load(Ordering::Acquire) == 0 {
            session.leave(connection);
            return self.retire(connection, inbound);
        }
        if verdict == Verdict::Refused {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            self.retire(connection, inbound);
        }
        self.doom(&session);
    }

    /// Reads from a connection and handles every whole frame. The caller holds `inbound` and acts on the verdict.
    pub(super) fn take_frames(
        &self,
        connection: &Arc<Connection>,
        inbound: &mut Inbound,
        source: Source,
        mode: Mode,
        scratch: &mut Scratch,
    ) -> Verdict {
        loop {
            if matches!(inbound.role, Role::Closed) {
                return Verdict::Open;
            }
            if connection.is_stalled() && mode == Mode::Read {
                return if source == Source::Socket && connection.is_on_ring() {
                    connection.drop_bells(&mut scratch.input)
                } else {
                    Verdict::Open
                };
            }
            let mut input = std::mem::take(&mut scratch.input);
            let mut pending = std::mem::take(inbound.pending(source));
            let fresh = pending.is_empty();
            if !fresh && source == Source::Ring {
                connection.leave_over(false);
            }
            let taken = if matches!(inbound.role, Role::Control(_)) {
                let into = if fresh { &mut input } else { &mut pending };
                if fresh {
                    into.clear();
                }
                connection
                    .wire
                    .receive_with_descriptors(into, READ_BYTES, &mut inbound.descriptors)
            } else if fresh {
                input.clear();
                connection.receive(source, &mut input, READ_BYTES)
            } else {
                match length_of_first(&pending) {
                    // What was left over comes first: a ring brings whole records, so more would only pile up behind it.
                    Some(needed)
                        if source == Source::Ring
                            && mode == Mode::Read
                            && needed <= pending.len()
                            && !seeded!("ring_piles_up") =>
                    {
                        Err(ErrorKind::WouldBlock.into())
                    }
                    needed => connection.read_more(source, &mut pending, needed),
                }
            };
            let (arrived, some) = match taken {
                Ok(0) => (Verdict::Lost, false),
                Ok(_) => (Verdict::Open, true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => (Verdict::Open, false),
                Err(_) => (Verdict::Lost, false),
            };
            let bytes = if fresh { input.as_slice() } else { pending.as_slice() };
            let (consumed, verdict) = Visit::new(self, connection, source, mode, scratch).take(inbound, bytes);
            if consumed < bytes.len() {
                if fresh {
                    pending = bytes.get(consumed..).unwrap_or_default().to_vec();
                } else if consumed > 0 {
                    pending.drain(..consumed);
                }
                *inbound.pending(source) = pending;
            }
            scratch.input = input;
            if verdict != Verdict::Open {
                return verdict;
            }
            // A reader stops after one read, for others want their turn; a drain goes on to the end.
            if arrived != Verdict::Open || mode == Mode::Read || !some {
                return arrived;
            }
        }
    }

    /// Writes frames to a connection and empties the buffer.
    #[inline]
    pub(super) fn write(&self, connection: &Arc<Connection>, session: Option<SessionId>, frames: &mut Vec<u8>) {
        if frames.is_empty() {
            return;
        }
        match connection.write(frames, || self.timer.now().0, self.limits.unread_bytes_max) {
            Written::Fine => {}
            Written::Blocked => self.watch_progress(connection, self.limits.stuck_wait),
            Written::Lost => self.lose_session(session),
        }
        frames.clear();
        if frames.capacity() > KEPT_BYTES_MAX {
            give_back(frames);
        }
    }

    /// What was to be written to one of its connections can't be.
    #[cold]
    fn lose_session(&self, session: Option<SessionId>) {
        let session = session.and_then(|session| self.sessions.get(&session.0).map(|found| Arc::clone(&found)));
        if let Some(session) = session {
            self.doom(&session);
        }
    }

    /// Does what the engine asks for. No lock of the engine is held.
    #[inline]
    pub(super) fn deliver(&self, out: &mut Outputs, frame: &mut Vec<u8>) {
        if out.asks_more() {
            self.deliver_all(out, frame);
        }
        out.clear();
    }

    fn deliver_all(&self, out: &mut Outputs, frame: &mut Vec<u8>) {
        let mut more = Vec::new();
        for output in out.drain() {
            self.deliver_apart(output, frame, &mut more);
        }
        // One after the other, however many follow from each other: a job that is done here may ask for the next.
        while !more.is_empty() {
            for output in std::mem::take(&mut more) {
                self.deliver_apart(output, frame, &mut more);
            }
        }
    }

    /// Delivers one by itself: they are for different sessions, and what is not delivered here never is.
    fn deliver_apart(&self, output: Output, frame: &mut Vec<u8>, more: &mut Vec<Output>) {
        let session = match &output {
            Output::Reply { to, .. } => Some(to.session),
            Output::Job(_) | Output::Shutdown => None,
        };
        if seeded!("panic_spreads") {
            self.deliver_one(output, frame, more);
        } else if !self.guarded(|| self.deliver_one(output, frame, more)) {
            give_back(frame);
            self.lose_session(session);
        }
    }

    fn deliver_one(&self, output: Output, frame: &mut Vec<u8>, more: &mut Vec<Output>) {
        match output {
            Output::Reply { to, reply } => self.reply(to, reply.as_ref(), frame),
            Output::Job(job) => {
                let submitted = if seeded!("jobs_run_at_once") {
                    Err(Box::new(job))
                } else {
                    self.helpers.submit(job)
                };
                if let Err(job) = submitted {
                    // No thread can be had: better slow than never.
                    let mut next = Outputs::default();
                    self.engine.handle_job_done(self.timer.now(), job.run(), &mut next);
                    more.extend(next.drain());
                }
            }
            Output::Shutdown => self.ending.store(true, Ordering::Release),
        }
    }

    /// Ends a visit: carries out the ends of sessions that it decided, and sets the timer.
    #[inline]
    pub(super) fn settle(&self, scratch: &mut Scratch) {
        if self.doomed_count.load(Ordering::Acquire) > 0 {
            self.end_doomed(scratch);
        }
        self.timer.arm(self.engine.poll_timeout());
        if self.ending.load(Ordering::Acquire) {
            self.stop();
        }
        if scratch.input.capacity() > KEPT_BYTES_MAX {
            give_back(&mut scratch.input);
        }
    }

    /// Handles what is due.
    pub(super) fn expire(&self, scratch: &mut Scratch) -> bool {
        let now = self.timer.now();
        let mut accept = false;
        for chore in self.timer.expire(now) {
            match chore {
                Chore::Accept => accept = true,
                Chore::Hellos => self.dismiss_late_strangers(now),
                Chore::Rest(lane) => {
                    if let Some(lane) = lane.upgrade() {
                        self.rest(&lane, scratch);
                    }
                }
                Chore::Progress(connection) => {
                    if let Some(connection) = connection.upgrade() {
                        self.check_progress(&connection, now.0);
                    }
                }
            }
        }
        self.engine.handle_timeout(now, &mut scratch.out);
        self.deliver(&mut scratch.out, &mut scratch.frame);
        accept
    }

    fn reply(&self, to: Caller, reply: ReplyRef<'_>, frame: &mut Vec<u8>) {
        // A lane that is not there belongs to a session that is ending: the engine's sweep takes back what the reply carries.
        let Some(lane) = self.lanes.get(&to.lane.0).map(|lane| Arc::clone(&lane)) else {
            return;
        };
        // Before the call counts as answered: until its reply is written the lane's ring is not idle, and encoding a large one takes long.
        lane.replying.fetch_add(1, Ordering::AcqRel);
        // At the server's end whoever comes first answers.
        if lane.answering.swap(0, Ordering::AcqRel) == 0 {
            lane.replying.fetch_sub(1, Ordering::Release);
            return;
        }
        if reply.delivers {
            lane.delivers(reply.number);
        }
        encode(reply, self.reply_limit(), frame);
        self.write(&lane, Some(to.session), frame);
        lane.replying.fetch_sub(1, Ordering::Release);
        // Its ring too was not looked after while the call waited, whichever way that came.
        self.rest_later(&lane);
    }

    #[cold]
    fn watch_progress(&self, connection: &Arc<Connection>, after: Duration) {
        if !connection.on_the_clock.swap(true, Ordering::AcqRel) {
            self.timer.schedule(after, Chore::Progress(Arc::downgrade(connection)));
        }
    }

    fn check_progress(&self, connection: &Arc<Connection>, now: u64) {
        // Taken off the clock before looking, so that a write which blocks meanwhile puts it back on.
        connection.on_the_clock.store(false, Ordering::Release);
        let Some(since) = connection.blocked_since() else {
            return;
        };
        let waited = Duration::from_nanos(now.saturating_sub(since));
        match self.limits.stuck_wait.checked_sub(waited) {
            Some(left) if !left.is_zero() => self.watch_progress(connection, left),
            _ => self.lose(connection),
        }
    }

    pub(super) fn reply_limit(&self) -> usize {
        self.limits.frame_bytes_max.saturating_add(HEADER_BYTES_MAX)
    }
}

/// In tests of the server: a reply with this in its result can't be delivered.
#[cfg(test)]
pub(super) const PANIC_RESULT: &str = "panic while it is delivered, for a test";

#[cfg(test)]
fn panic_if_asked(reply: ReplyRef<'_>) {
    let Outcome::Done { result, .. } = reply.outcome else {
        return;
    };
    let asked = result.len() < 100
        && result
            .windows(PANIC_RESULT.len())
            .any(|part| part == PANIC_RESULT.as_bytes());
    assert!(!asked, "asked for by a test");
}

/// Appends a reply's frame.
#[inline]
pub(super) fn encode(reply: ReplyRef<'_>, limit: usize, out: &mut Vec<u8>) {
    #[cfg(test)]
    panic_if_asked(reply);
    let written = match reply.outcome {
        Outcome::Done { handed, result } => frame::write_done(out, limit, reply.number, handed, result),
        Outcome::Fault(fault) => encode_fault(reply.number, fault, limit, out),
    };
    if let Err(error) = written {
        // The engine bounds results; only very many handed references could get here, and a call must have its answer.
        let _ = encode_fault(reply.number, &error.into(), usize::MAX, out);
    }
}

#[cold]
fn encode_fault(number: u64, fault: &Fault, limit: usize, out: &mut Vec<u8>) -> Result<(), FrameError> {
    frame::write(out, limit, |out| {
        frame::write_fault(number, fault, out);
        Ok(())
    })
}

#[cold]
fn give_back(buffer: &mut Vec<u8>) {
    *buffer = Vec::new();
}

/// The length of the first frame with its prefix, once the prefix is there. It has been checked against the limit.
fn length_of_first(pending: &[u8]) -> Option<usize> {
    let prefix = pending.first_chunk::<PREFIX_BYTES>()?;
    Some(PREFIX_BYTES + usize::try_from(u32::from_le_bytes(*prefix)).ok()?)
}
