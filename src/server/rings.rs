//! Rings: how a worker serves lanes that go on in shared memory.
//!
//! A worker *scans* the rings that were used a moment ago: a look at each is a load, and a call found so needs no system call and no wake-up.
//! A ring in which nothing happened for long is parked on its own; once nothing happens in any, all are, and the worker sleeps in its
//! poller as it does without rings. From a parked ring its client calls by the socket.
//!
//! | ring | the worker | the client, after it has written or taken something |
//! |---|---|---|
//! | scanned | looks at it again and again, in turn with the others | does nothing more |
//! | parked | waits for the socket | finds the server's word set, clears it, rings |
//! | retired: closed, its pages given back | waits for the socket | finds the ring closed, sends over the socket |
//!
//! Nobody is starved: a visit takes at most sixteen requests, sockets and timers have their turn after [`LOOK_AFTER`], amid a scan as well,
//! which goes on from there; and a ring that is closed or goes idle leaves the scan by itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::{self, FrameError};

use super::connection::{Connection, Role};
use super::driver::{Driver, Scratch};
use super::timer::Chore;
use crate::engine::{Caller, LaneId, Outputs, SessionId};
use crate::shm::ring::{Fate, SEGMENT_BYTES, ServerEnd};
use crate::sys;
use crate::transport::looks::{Eagerness, Looked, Looks};
use crate::transport::processor;
use crate::transport::ring::Served;

/// How often a worker gives its processor away between scans in vain before all rings are parked.
const YIELDS: u32 = 200;
/// How often one ring is scanned in vain, while others are busy, before it is parked.
const SCANS_IN_VAIN: u32 = 10_000;
/// After this much work the clock is looked at: a scan is one piece, a visit several.
const PIECES: u32 = 64;
const PIECES_OF_VISIT: u32 = 4;
/// Sockets and timers wait at most so long behind busy rings, in nanoseconds.
const LOOK_AFTER: u64 = 100_000;
/// What a visit reads above this size takes so long to make that, where clients share this worker's processor, it is theirs rather than waited on.
const LARGE_BYTES: u64 = 1 << 10;
/// How often a ring that was overlooked is visited at once, as long as there is something to do in it.
const OVERLOOKED_VISITS_MAX: u32 = 64;
/// After so long without a call a ring is closed and its pages are given back.
const REST_AFTER: Duration = Duration::from_secs(1);

/// The rings that a worker scans.
#[derive(Debug)]
pub(super) struct Rings {
    scanned: Vec<Scanned>,
    /// Scans since something was found.
    looks: Looks,
    eagerness: Eagerness,
    /// Work since the clock was looked at.
    pieces: u32,
    /// When sockets and timers had their turn.
    looked: u64,
    /// They have to have it before the next scan, which was broken off for them.
    overdue: bool,
    /// Where the next scan begins.
    next: usize,
    /// How many processors there are for each worker.
    processors: usize,
    /// The processor that was last said to be this worker's.
    said: Option<usize>,
    /// Whether it was last said that there are more rings than that.
    many: bool,
}

#[derive(Debug)]
struct Scanned {
    connection: Arc<Connection>,
    /// Scans since something was found in it.
    in_vain: u32,
}

impl Rings {
    /// For one of so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            scanned: Vec::new(),
            looks: Looks::default(),
            eagerness: Eagerness::default(),
            pieces: 0,
            looked: 0,
            overdue: false,
            next: 0,
            processors: (sys::processors() / workers.max(1)).max(1),
            said: None,
            many: false,
        }
    }

    /// Whether there is none: then the worker may sleep.
    pub(super) fn is_empty(&self) -> bool {
        self.scanned.is_empty()
    }

    /// Whether sockets and timers have their turn.
    #[inline]
    pub(super) fn is_time_to_look(&mut self, driver: &Driver) -> bool {
        std::mem::take(&mut self.overdue) || self.is_overdue(driver)
    }

    /// Whether they have waited for it long enough. The clock is looked at only so often.
    #[inline]
    fn is_overdue(&mut self, driver: &Driver) -> bool {
        if self.pieces < PIECES || seeded!("ring_never_looks_up") {
            return false;
        }
        self.pieces = 0;
        let now = driver.timer.now().0;
        let is_time = now.saturating_sub(self.looked) >= LOOK_AFTER;
        if is_time {
            self.looked = now;
        }
        is_time
    }

    /// Scans this connection's ring from here on, if it has one.
    pub(super) fn add(&mut self, connection: &Arc<Connection>) {
        let Some(ring) = connection.ring() else { return };
        if !connection.scanned.swap(true, Ordering::AcqRel) {
            ring.unpark();
            ring.runs_on(self.said);
            ring.is_one_of_many(self.many);
            self.looks = Looks::default();
            self.scanned.push(Scanned {
                connection: Arc::clone(connection),
                in_vain: 0,
            });
            self.say_how_many();
        }
    }

    /// Looks at each ring once, or from where the last scan stopped until sockets and timers have their turn; and at all of them only so often
    /// in vain.
    #[inline]
    pub(super) fn scan(&mut self, driver: &Driver, scratch: &mut Scratch) {
        if self.scanned.is_empty() {
            return;
        }
        let (mut found, mut large) = (false, false);
        let before = self.scanned.len();
        let mut at = std::mem::take(&mut self.next);
        if at >= before {
            at = 0;
        }
        while let Some(scanned) = self.scanned.get_mut(at) {
            let connection = &scanned.connection;
            let Some(ring) = connection.ring() else {
                connection.scanned.store(false, Ordering::Release);
                self.scanned.swap_remove(at);
                continue;
            };
            if connection.is_ready(ring) {
                (found, scanned.in_vain) = (true, 0);
                self.pieces += PIECES_OF_VISIT;
                let read = ring.read();
                visit(driver, connection, ring, scratch);
                large |= ring.read() - read > LARGE_BYTES;
                if self.is_overdue(driver) {
                    (self.overdue, self.next) = (true, at + 1);
                    break;
                }
            } else {
                scanned.in_vain += 1;
                if scanned.in_vain >= SCANS_IN_VAIN && park(driver, connection) {
                    self.scanned.swap_remove(at);
                    driver.timer.arm(driver.engine.poll_timeout());
                    continue;
                }
            }
            at += 1;
        }
        self.pieces += 1;
        if self.scanned.len() < before {
            self.say_how_many();
        }
        if found {
            self.looks.found(&self.eagerness);
            self.looks = if large && self.many {
                Looks::without_spins()
            } else {
                Looks::default()
            };
            return;
        }
        match self.looks.again(&self.eagerness, YIELDS) {
            Looked::Spun => {}
            // Sockets may need this worker as others its processor.
            Looked::Yielded => {
                self.pieces = PIECES;
                self.say_where();
            }
            Looked::Enough => {
                self.looks.ended(&self.eagerness);
                self.scanned.retain(|scanned| !park(driver, &scanned.connection));
                self.looks = Looks::default();
                self.said = None;
                self.say_how_many();
                // A look at whether they are idle has been put on the list, outside any visit.
                driver.timer.arm(driver.engine.poll_timeout());
            }
        }
    }

    /// Says in each ring which processor this worker runs on, where its client had better leave that alone: while there are few of them.
    /// Many have to share it anyway, and would only push each other around.
    fn say_where(&mut self) {
        self.say_how_many();
        let processor = (!self.many).then(processor::current);
        if self.said != processor {
            self.said = processor;
            self.each_ring(|ring| ring.runs_on(processor));
        }
    }

    /// Says in each ring whether there are many.
    fn say_how_many(&mut self) {
        let many = self.scanned.len() > self.processors;
        if many {
            self.eagerness.is_one_of_many();
        }
        if self.many != many {
            self.many = many;
            self.each_ring(|ring| ring.is_one_of_many(many));
        }
    }

    fn each_ring(&self, tell: impl Fn(&ServerEnd)) {
        let rings = self.scanned.iter().filter_map(|scanned| scanned.connection.ring());
        rings.for_each(tell);
    }
}

/// Does what there is to do in a ring. Apart from the scan, which mostly finds nothing.
#[inline(never)]
fn visit(driver: &Driver, connection: &Arc<Connection>, ring: &ServerEnd, scratch: &mut Scratch) {
    driver.attend(connection, scratch, |scratch| {
        driver.serve_ring(connection, ring, scratch);
    });
}

/// Scans a ring no more; false if there is something to do in it.
fn park(driver: &Driver, connection: &Arc<Connection>) -> bool {
    let parked = connection.ring().is_none_or(|ring| connection.park(ring));
    if parked {
        // Where the worker runs is said only in rings that it scans: here nobody would say that it has moved.
        if let Some(ring) = connection.ring() {
            ring.runs_on(None);
            ring.is_one_of_many(false);
        }
        connection.scanned.store(false, Ordering::Release);
        driver.rest_later(connection);
    }
    parked
}

impl Driver {
    #[inline]
    fn serve_ring(&self, connection: &Arc<Connection>, ring: &ServerEnd, scratch: &mut Scratch) {
        if connection.has_delivery() || connection.has_unsent() {
            self.catch_up(connection, scratch);
        }
        self.read_ring(connection, ring, scratch);
    }

    /// Before anything more is read from a ring: what became of what was delivered, and what there is still to write.
    fn catch_up(&self, connection: &Arc<Connection>, scratch: &mut Scratch) {
        if connection.has_delivery() {
            let session = match &connection.inbound.lock().role {
                Role::Lane(session) => Some(session.id),
                _ => None,
            };
            if let Some(session) = session {
                self.settle_lane(connection, session, &mut scratch.frame, &mut scratch.out);
            }
        }
        if connection.has_unsent() {
            self.write_on(connection, scratch);
        }
    }

    /// Tells the engine what became of the last delivery through a lane's ring, if that is known.
    pub(super) fn settle_lane(&self, lane: &Connection, session: SessionId, frame: &mut Vec<u8>, out: &mut Outputs) {
        let caller = Caller {
            session,
            lane: LaneId(lane.id),
        };
        lane.settle(|number, fate| match fate {
            Fate::Taken => self.engine.handle_confirm(self.timer.now(), caller, number, out),
            Fate::Declined => self.engine.handle_decline(self.timer.now(), caller, number, out),
        });
        self.deliver(out, frame);
    }

    /// The same for all lanes of all sessions.
    pub(super) fn settle_all(&self, frame: &mut Vec<u8>, out: &mut Outputs) {
        let sessions: Vec<_> = self.sessions.iter().map(|session| Arc::clone(&session)).collect();
        for session in sessions {
            for lane in session.lanes() {
                self.settle_lane(&lane, session.id, frame, out);
            }
        }
    }

    /// Opens a lane's ring. Returns the frame that says so, unless that has been sent already, with the ring.
    pub(super) fn open_ring(&self, lane: &Arc<Connection>, number: u64) -> Result<Vec<u8>, Fault> {
        let refused = |error| Fault::new(FaultCode::TooMany, format!("no memory can be shared: {error}"));
        let served = lane.wire.served().filter(|_| self.limits.ring_after > 0);
        let served = served.ok_or_else(|| {
            Fault::new(
                FaultCode::Unsupported,
                "this server does not share memory with its clients",
            )
        })?;
        if served.ring().is_none() {
            self.take_ring_place(lane)?;
        }
        let opened = served.open_ring().and_then(|fresh| {
            let mut frame = Vec::new();
            frame::write::<FrameError>(&mut frame, usize::MAX, |out| {
                frame::write_ring(number, fresh, out);
                Ok(())
            })
            .map_err(std::io::Error::other)?;
            if fresh {
                let ring = served.any_ring().ok_or(std::io::ErrorKind::NotFound)?;
                lane.write_with(&frame, ring.descriptor())?;
                served.ring_is_sent();
                frame.clear();
            }
            Ok(frame)
        });
        self.counters.rings.fetch_add(1, Ordering::Relaxed);
        opened.map_err(|error| {
            if let Some(ring) = served.ring() {
                ring.retire();
            }
            self.forget_ring(lane);
            refused(error)
        })
    }

    fn take_ring_place(&self, lane: &Connection) -> Result<(), Fault> {
        if lane.has_ring_place.load(Ordering::Relaxed) {
            return Ok(());
        }
        let most = self.limits.ring_bytes_max / SEGMENT_BYTES;
        let place = |open| (open < most || seeded!("ring_ignores_cap")).then_some(open + 1);
        self.rings
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, place)
            .map_err(|_| Fault::new(FaultCode::TooMany, "as much memory is shared as this server allows"))?;
        lane.has_ring_place.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A lane's ring is closed: another may be opened in its place.
    pub(super) fn forget_ring(&self, lane: &Connection) {
        if lane.has_ring_place.swap(false, Ordering::Relaxed) {
            self.rings.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Has somebody look in a while whether a lane's ring is idle.
    pub(super) fn rest_later(&self, lane: &Arc<Connection>) {
        if let Some(ring) = lane.ring()
            && !lane.rests_soon.swap(true, Ordering::AcqRel)
        {
            lane.used_until.store(ring.written(), Ordering::Relaxed);
            self.timer.schedule(REST_AFTER, Chore::Rest(Arc::downgrade(lane)));
        }
    }

    /// Closes a lane's ring if it was not used since somebody was asked to look.
    pub(super) fn rest(&self, lane: &Arc<Connection>, scratch: &mut Scratch) {
        // An exchange, so that what is looked at below is looked at after it: a reply that finds this still set puts no look on the list.
        lane.rests_soon.swap(false, Ordering::AcqRel);
        let was_ready = lane.was_ready.swap(false, Ordering::Relaxed);
        let inbound = lane.inbound.lock();
        let Some(ring) = lane.ring() else { return };
        let idle = lane.used_until.load(Ordering::Relaxed) == ring.written() && !lane.scanned.load(Ordering::Acquire);
        if idle && lane.retire_ring(&inbound, ring) {
            return self.forget_ring(lane);
        }
        let unanswered = lane.answering.load(Ordering::Acquire) != 0;
        drop(inbound);
        if idle {
            self.look_after(lane, ring, was_ready, scratch);
        }
        // A call that waits long is not looked after: its reply will see to that.
        if !(idle && unanswered) {
            self.rest_later(lane);
        }
    }

    /// Nobody scans this ring, and nothing has happened in it for a while. If there is something to do all the same, its client is about to
    /// call, or its call was missed. The next look tells which: then it is done, so that a fault of ours in who calls whom costs seconds
    /// and not a session. Counted, because there must be none.
    fn look_after(&self, lane: &Arc<Connection>, ring: &ServerEnd, was_ready: bool, scratch: &mut Scratch) {
        let ready = lane.is_ready(ring);
        lane.was_ready.store(ready, Ordering::Relaxed);
        if was_ready && ready {
            self.counters.overlooked.fetch_add(1, Ordering::Relaxed);
            for _ in 0..OVERLOOKED_VISITS_MAX {
                self.attend(lane, scratch, |scratch| self.serve_ring(lane, ring, scratch));
                if !lane.is_ready(ring) {
                    break;
                }
            }
        }
        if !ring.is_consumed()
            && let Some(served) = lane.wire.served()
        {
            served.ring_bell();
        }
    }

    /// How often clients were woken.
    pub(super) fn bells(&self) -> u64 {
        let now: u64 = self
            .lanes
            .iter()
            .filter_map(|lane| lane.wire.served().map(Served::bells))
            .sum();
        now + self.counters.bells.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
