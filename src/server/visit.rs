//! What is done with the frames of one connection, one after the other.
//!
//! This is the whole protocol as the server sees it: a hello from a stranger, releases, descriptors and a goodbye on a control connection,
//! calls and what follows them on a lane. It reads and writes no sockets: bytes come in, calls go to the engine, replies are appended to a buffer.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::{self, FrameError, HANDSHAKE_BYTES_MAX, PREFIX_BYTES, Request};
use byproxy_proto::op::Operation;

use super::connection::{Connection, Inbound, READ_BYTES, Role, Source};
use super::descriptors;
use super::driver::{Driver, Mode, Scratch, Verdict, encode};
use crate::engine::{Call, Caller, LaneId, Outcome, ReplyRef, SessionId, Time};
use crate::shm::ring::ServerEnd;

/// How many requests one visit takes from a ring: a client that does not wait for its replies lets others have their turn.
const RING_FRAMES_MAX: u32 = 16;

/// One look at one connection.
pub(super) struct Visit<'a> {
    pub(super) driver: &'a Driver,
    pub(super) connection: &'a Arc<Connection>,
    pub(super) source: Source,
    pub(super) mode: Mode,
    pub(super) scratch: &'a mut Scratch,
    /// Where the frames lie alone, if they do: their replies may go straight there.
    front: Option<&'a ServerEnd>,
}

impl<'a> Visit<'a> {
    #[inline]
    pub(super) fn new(
        driver: &'a Driver,
        connection: &'a Arc<Connection>,
        source: Source,
        mode: Mode,
        scratch: &'a mut Scratch,
    ) -> Self {
        Self {
            driver,
            connection,
            source,
            mode,
            scratch,
            front: None,
        }
    }

    /// One look at a lane's ring, in whose front one record lies alone.
    #[inline]
    pub(super) fn of_front(
        driver: &'a Driver,
        connection: &'a Arc<Connection>,
        ring: &'a ServerEnd,
        scratch: &'a mut Scratch,
    ) -> Self {
        Self {
            front: Some(ring),
            ..Self::new(driver, connection, Source::Ring, Mode::Read, scratch)
        }
    }

    /// Handles the whole frames in front of these bytes and writes what there is to reply; returns how many bytes those were.
    pub(super) fn take(&mut self, inbound: &mut Inbound, bytes: &[u8]) -> (usize, Verdict) {
        match &inbound.role {
            Role::Lane(session) => self.serve(session.id, bytes),
            Role::Control(session) => {
                let session = session.id;
                let taken = self.handle_control(session, &mut inbound.descriptors, bytes);
                self.finish(session, taken.1);
                taken
            }
            Role::Stranger => {
                let taken = self.handle_stranger(inbound, bytes);
                self.driver.write(self.connection, None, &mut self.scratch.replies);
                taken
            }
            Role::Closed => (bytes.len(), Verdict::Open),
        }
    }

    /// The same for a lane of this session.
    #[inline]
    pub(super) fn serve(&mut self, session: SessionId, bytes: &[u8]) -> (usize, Verdict) {
        let taken = self.each_frame(Some(session), bytes, |visit, body| visit.handle_request(session, body));
        self.finish(session, taken.1);
        taken
    }

    /// Writes the replies. Whoever has said goodbye may be gone and takes nothing along: how it went is to be read.
    #[inline]
    fn finish(&mut self, session: SessionId, verdict: Verdict) {
        let session = (verdict != Verdict::Goodbye).then_some(session);
        self.driver.write(self.connection, session, &mut self.scratch.replies);
    }

    /// Handles one whole frame after the other; returns how many bytes those were. If a reply can't be written meanwhile, that is the end of
    /// the session, if there is one.
    #[inline]
    fn each_frame(
        &mut self,
        session: Option<SessionId>,
        bytes: &[u8],
        mut handle: impl FnMut(&mut Self, &[u8]) -> Verdict,
    ) -> (usize, Verdict) {
        let mut rest = bytes;
        let mut frames = 0;
        loop {
            let body = match frame::split(rest, self.driver.limits.frame_bytes_max) {
                Ok(Some(body)) => body,
                Ok(None) => return (bytes.len() - rest.len(), Verdict::Open),
                Err(error) => return (bytes.len(), self.refuse(&error.into())),
            };
            rest = rest.get(PREFIX_BYTES + body.len()..).unwrap_or_default();
            if body.is_empty() && self.connection.had_ring() {
                // A doorbell: what it is about is in the ring.
                continue;
            }
            let verdict = handle(self, body);
            if rest.is_empty() || verdict != Verdict::Open {
                return (bytes.len() - rest.len(), verdict);
            }
            if self.scratch.replies.len() >= READ_BYTES {
                self.driver.write(self.connection, session, &mut self.scratch.replies);
            }
            if self.mode == Mode::Read && self.connection.is_stalled() {
                return (bytes.len() - rest.len(), Verdict::Open);
            }
            frames += 1;
            if frames == RING_FRAMES_MAX && self.source == Source::Ring && self.mode == Mode::Read {
                self.connection.leave_over(true);
                return (bytes.len() - rest.len(), Verdict::Open);
            }
        }
    }

    #[inline]
    fn handle_request(&mut self, session: SessionId, body: &[u8]) -> Verdict {
        let driver = self.driver;
        let caller = Caller {
            session,
            lane: LaneId(self.connection.id),
        };
        match Request::read(body) {
            Ok(Request::Call(call)) => {
                if !self.begin(caller, call.number) {
                    return self.refuse_untimely();
                }
                if call.operation == Operation::QueueAudit {
                    // Whoever asks for the books sees all that was taken before.
                    driver.settle_all(&mut self.scratch.frame, &mut self.scratch.out);
                }
                let frame::Call {
                    number,
                    operation,
                    object,
                    arguments,
                } = call;
                let call = Call {
                    number,
                    operation,
                    object,
                    arguments,
                };
                // Only a call that may wait needs to know when it came.
                let now = if operation.properties().may_block {
                    driver.timer.now()
                } else {
                    Time::START
                };
                driver.engine.handle_call(now, caller, call, &mut self.scratch.out);
            }
            Ok(Request::Confirm { number }) => {
                driver
                    .engine
                    .handle_confirm(Time::START, caller, number, &mut self.scratch.out);
            }
            Ok(Request::Decline { number }) => {
                driver
                    .engine
                    .handle_decline(Time::START, caller, number, &mut self.scratch.out);
            }
            Ok(Request::Release(releases)) => {
                driver
                    .engine
                    .handle_release(Time::START, session, &releases, &mut self.scratch.out);
            }
            Ok(Request::Goodbye) => {
                // What the client took before it said so is its own.
                driver.settle_lane(self.connection, session, &mut self.scratch.frame, &mut self.scratch.out);
                return Verdict::Goodbye;
            }
            Ok(Request::Ring { number }) => return self.open_ring(caller, number),
            Ok(Request::Share(_) | Request::Fetch { .. }) => {
                return self.refuse(&Fault::new(
                    FaultCode::Malformed,
                    "descriptors travel on the control connection, never on a lane",
                ));
            }
            Err(error @ FrameError::UnknownOperation { call, .. }) => {
                if !self.begin(caller, call) {
                    return self.refuse_untimely();
                }
                self.connection.answering.store(0, Ordering::Release);
                let fault = Fault::from(error);
                let reply = ReplyRef {
                    number: call,
                    outcome: Outcome::Fault(&fault),
                    delivers: false,
                };
                encode(reply, driver.reply_limit(), &mut self.scratch.replies);
            }
            Err(_) if seeded!("garbage_is_passed_over") => {}
            Err(error) => return self.refuse(&error.into()),
        }
        self.hand_out();
        Verdict::Open
    }

    /// Notes the call that is being answered from here on, and where it came from. False if there is one already, or the last one's reply or
    /// what it delivered lies unread.
    #[inline]
    fn begin(&mut self, caller: Caller, number: u64) -> bool {
        if self.connection.has_delivery() {
            self.driver.settle_lane(
                self.connection,
                caller.session,
                &mut self.scratch.frame,
                &mut self.scratch.out,
            );
            if self.connection.has_delivery() {
                return false;
            }
        }
        if self.connection.is_on_ring() != (self.source == Source::Ring) {
            // The rest of a reply can't go on another way than it began.
            if self.connection.has_unsent() && !seeded!("ring_reply_turns") {
                return false;
            }
            self.connection.came_from(self.source);
        }
        if number == 0 {
            return false;
        }
        // Whoever answers a call elsewhere makes this zero before its client can make another; only who reads from here sets it.
        let answers_none = self.connection.answering.load(Ordering::Acquire) == 0;
        self.connection.answering.store(number, Ordering::Release);
        answers_none
    }

    /// Lets this lane go on in a ring, if there is a place for one.
    fn open_ring(&mut self, caller: Caller, number: u64) -> Verdict {
        if self.source == Source::Ring || self.mode == Mode::Drain || !self.begin(caller, number) {
            return self.refuse(&Fault::new(
                FaultCode::Malformed,
                "a lane asks for a ring over its socket, between its calls",
            ));
        }
        self.connection.answering.store(0, Ordering::Release);
        // A descriptor goes past what is collected here.
        self.driver
            .write(self.connection, Some(caller.session), &mut self.scratch.replies);
        match self.driver.open_ring(self.connection, number) {
            Ok(frame) => {
                self.scratch.replies.extend_from_slice(&frame);
                Verdict::Open
            }
            Err(fault) => {
                let reply = ReplyRef {
                    number,
                    outcome: Outcome::Fault(&fault),
                    delivers: false,
                };
                encode(reply, self.driver.reply_limit(), &mut self.scratch.replies);
                Verdict::Open
            }
        }
    }

    /// The control connection carries releases, descriptors and the goodbye. A descriptor comes with the frame that is about it.
    #[cold]
    fn handle_control(&mut self, session: SessionId, descriptors: &mut Vec<OwnedFd>, bytes: &[u8]) -> (usize, Verdict) {
        if descriptors.len() > 1 {
            return (bytes.len(), self.refuse(&descriptors::unasked()));
        }
        let (consumed, verdict) = self.each_frame(Some(session), bytes, |visit, body| {
            visit.handle_errand(session, descriptors, body)
        });
        if verdict == Verdict::Open && consumed == bytes.len() && !descriptors.is_empty() {
            return (consumed, self.refuse(&descriptors::unasked()));
        }
        (consumed, verdict)
    }

    fn handle_errand(&mut self, session: SessionId, descriptors: &mut Vec<OwnedFd>, body: &[u8]) -> Verdict {
        match Request::read(body) {
            Ok(Request::Release(releases)) => {
                self.driver
                    .engine
                    .handle_release(Time::START, session, &releases, &mut self.scratch.out);
            }
            Ok(Request::Share(share)) => return self.share(session, share, descriptors.pop()),
            Ok(Request::Fetch { number, object }) => return self.fetch(session, number, object),
            Ok(Request::Goodbye) => return Verdict::Goodbye,
            Ok(_) => {
                return self.refuse(&Fault::new(
                    FaultCode::Malformed,
                    "the control connection carries no calls: open a lane of the session for them",
                ));
            }
            Err(error) => return self.refuse(&error.into()),
        }
        self.hand_out();
        Verdict::Open
    }

    #[inline]
    fn hand_out(&mut self) {
        if let Some(reply) = self.scratch.out.immediate() {
            self.connection.answering.store(0, Ordering::Release);
            if self.mode == Mode::Read && !self.answer_in_front(reply) {
                if reply.delivers {
                    self.connection.delivers(reply.number);
                }
                encode(reply, self.driver.reply_limit(), &mut self.scratch.replies);
            }
        }
        self.driver.deliver(&mut self.scratch.out, &mut self.scratch.frame);
    }

    /// Writes a reply at once, if it is small and the client waits for it alone.
    #[inline]
    fn answer_in_front(&self, reply: ReplyRef<'_>) -> bool {
        match (self.front, reply.outcome) {
            (Some(ring), Outcome::Done { handed: [], result })
                if !reply.delivers && self.scratch.replies.is_empty() =>
            {
                self.connection.answer_in_front(ring, reply.number, result)
            }
            _ => false,
        }
    }

    /// A connection's first frame is its hello; what follows depends on what that made of it.
    #[cold]
    fn handle_stranger(&mut self, inbound: &mut Inbound, bytes: &[u8]) -> (usize, Verdict) {
        let limit = if seeded!("no_prefix_limit") {
            self.driver.limits.frame_bytes_max
        } else {
            HANDSHAKE_BYTES_MAX
        };
        let body = match frame::split(bytes, limit) {
            Ok(Some(body)) => body,
            Ok(None) => return (0, Verdict::Open),
            Err(error) => return (bytes.len(), self.refuse(&error.into())),
        };
        let length = PREFIX_BYTES + body.len();
        match self.driver.greet(self.connection, body, &mut self.scratch.replies) {
            Ok(role) => inbound.role = role,
            Err(fault) => return (length, self.refuse(&fault)),
        }
        // Whoever gave up on its welcome may be gone and takes nothing along.
        self.driver.write(self.connection, None, &mut self.scratch.replies);
        let (consumed, verdict) = self.take(inbound, bytes.get(length..).unwrap_or_default());
        (length + consumed, verdict)
    }

    #[cold]
    fn refuse_untimely(&mut self) -> Verdict {
        self.refuse(&Fault::new(
            FaultCode::Malformed,
            "a lane carries one call at a time, and a call's number is not zero",
        ))
    }

    /// Tells the peer why nothing more is taken from it.
    #[cold]
    pub(super) fn refuse(&mut self, fault: &Fault) -> Verdict {
        self.connection.came_from(self.source);
        let reply = ReplyRef {
            number: 0,
            outcome: Outcome::Fault(fault),
            delivers: false,
        };
        encode(reply, self.driver.reply_limit(), &mut self.scratch.replies);
        Verdict::Refused
    }
}
