//! Sessions: which connections belong to which client process, and how all of it ends at once.
//!
//! A session ends when its control connection or any of its lanes is lost without a goodbye, when its process dies, or when it breaks
//! the protocol. The end is decided anywhere ([`Driver::doom`]) and carried out by [`Driver::settle`], outside any connection's lock:
//! first nothing more may be written to any lane, then what was written before is taken (it may hold the confirm that commits a
//! delivery), and only then does the engine sweep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::connection::{Connection, Inbound, Role, Source};
use super::driver::{Driver, Mode, Scratch};
use super::poller::Poller;
use crate::engine::SessionId;
use crate::transport::ring::Served;

/// One client process's session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// What a lane must show to join.
    pub(super) secret: u128,
    /// The process that opened it; lanes of other processes can't join.
    pub(super) pid: u32,
    members: Mutex<Members>,
    /// Its end has been decided.
    doomed: AtomicBool,
    /// Where its process is watched.
    watcher: Option<Arc<Poller>>,
}

#[derive(Debug, Default)]
struct Members {
    control: Option<Arc<Connection>>,
    lanes: HashMap<u64, Arc<Connection>>,
    ended: bool,
}

impl Session {
    pub(super) fn new(id: SessionId, secret: u128, control: &Arc<Connection>) -> Self {
        let members = Members {
            control: Some(Arc::clone(control)),
            ..Members::default()
        };
        Self {
            id,
            secret,
            pid: control.pid,
            members: Mutex::new(members),
            doomed: AtomicBool::new(false),
            watcher: control.poller().map(Arc::clone),
        }
    }

    /// Adds a lane, unless there are too many or the session is over.
    pub(super) fn join(&self, lane: &Arc<Connection>, lanes_max: usize) -> Result<(), JoinError> {
        let mut members = self.members.lock();
        if members.ended {
            return Err(JoinError::Ended);
        }
        if members.lanes.len() >= lanes_max {
            return Err(JoinError::TooMany);
        }
        members.lanes.insert(lane.id, Arc::clone(lane));
        Ok(())
    }

    /// Takes out a lane that said goodbye.
    pub(super) fn leave(&self, lane: &Connection) {
        self.members.lock().lanes.remove(&lane.id);
    }

    /// Its lanes.
    pub(super) fn lanes(&self) -> Vec<Arc<Connection>> {
        self.members.lock().lanes.values().map(Arc::clone).collect()
    }

    /// Nobody can join from here on; returns who is there.
    fn close(&self) -> (Option<Arc<Connection>>, Vec<Arc<Connection>>) {
        let mut members = self.members.lock();
        members.ended = true;
        let lanes = std::mem::take(&mut members.lanes);
        (members.control.take(), lanes.into_values().collect())
    }
}

/// Why a lane can't join a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JoinError {
    Ended,
    TooMany,
}

impl Driver {
    /// Decides that a session ends; the next [`Driver::settle`] on this thread carries it out.
    pub(super) fn doom(&self, session: &Arc<Session>) {
        if !session.doomed.swap(true, Ordering::AcqRel) {
            let mut doomed = self.doomed.lock();
            doomed.push(Arc::clone(session));
            self.doomed_count.store(doomed.len(), Ordering::Release);
        }
    }

    /// Carries out the ends that were decided.
    pub(super) fn end_doomed(&self, scratch: &mut Scratch) {
        while self.doomed_count.load(Ordering::Acquire) > 0 {
            let session = {
                let mut doomed = self.doomed.lock();
                let session = doomed.pop();
                self.doomed_count.store(doomed.len(), Ordering::Release);
                session
            };
            if let Some(session) = session {
                self.end_session(&session, scratch);
            }
        }
    }

    fn end_session(&self, session: &Arc<Session>, scratch: &mut Scratch) {
        self.sessions.remove(&session.id.0);
        if let Some(watcher) = &session.watcher {
            watcher.unwatch(session.id.0);
        }
        let (control, lanes) = session.close();
        // On every lane before any is drained: a client that still lives can commit nothing from here on. This is needed even when
        // its process is known to be dead, for a child that it forked may hold the same sockets.
        for lane in &lanes {
            lane.wire.close_reading();
        }
        for lane in &lanes {
            let mut inbound = lane.inbound.lock();
            // Once more: a ring that was being made meanwhile was not there to be closed. From here on none is made.
            lane.wire.close_reading();
            if !seeded!("skip_drain") {
                self.drain(session, lane, &mut inbound, scratch);
            }
            self.retire(lane, &mut inbound);
        }
        if let Some(control) = control {
            self.retire(&control, &mut control.inbound.lock());
        }
        let Scratch { out, frame, .. } = scratch;
        self.engine.handle_session_end(self.timer.now(), session.id, out);
        self.deliver(out, frame);
    }

    /// Takes what a session's client wrote to a lane before its end. Each step by itself: a session whose last words bring about a panic must
    /// still end, and give back what it holds.
    fn drain(&self, session: &Session, lane: &Arc<Connection>, inbound: &mut Inbound, scratch: &mut Scratch) {
        // Its first call in the ring may be the one that nobody has looked at.
        let sources = [Some(Source::Socket), lane.had_ring().then_some(Source::Ring)];
        for source in sources.into_iter().flatten() {
            let taken = self.guarded(|| {
                self.take_frames(lane, inbound, source, Mode::Drain, scratch);
            });
            if !taken {
                self.save(scratch);
            }
        }
        if !self.guarded(|| self.settle_lane(lane, session.id, &mut scratch.frame, &mut scratch.out)) {
            self.save(scratch);
        }
    }

    /// Takes a connection out of everything and closes it. What was sent before can still be read by its peer.
    pub(super) fn retire(&self, connection: &Connection, inbound: &mut Inbound) {
        if matches!(std::mem::replace(&mut inbound.role, Role::Closed), Role::Closed) {
            return;
        }
        inbound.pending = Vec::new();
        inbound.pending_in_ring = Vec::new();
        inbound.descriptors = Vec::new();
        self.forget_ring(connection);
        let bells = connection.wire.served().map_or(0, Served::bells);
        self.counters.bells.fetch_add(bells, Ordering::Relaxed);
        self.lanes.remove(&connection.id);
        self.strangers.lock().remove(&connection.id);
        self.counters.connections.fetch_sub(1, Ordering::Relaxed);
        connection.close();
    }
}
