//! The engine: shared objects as state machines, and who holds, awaits and owes what.
//!
//! Pure: no socket, no thread, no clock. A driver tells it what happens ([`Engine::handle_call`] and the other `handle_*`), with the
//! time as a number, which matters where a wait begins or ends and may be any moment that has passed elsewhere; it answers with [`Outputs`], and says when it wants to be woken ([`Engine::poll_timeout`]). All methods take
//! `&self` and may be called from many threads; operations on one object are linearizable.
//!
//! # Locks
//! Objects in ascending order of their ids (an operation locks only one, collecting garbage several), then sessions, then timers
//! and the wait graph. The maps of objects and sessions are locked for single steps only, inside any of these. Outputs are
//! delivered when nothing is locked.
//!
//! # References
//! An object is referred to by sessions (as often as replies handed it over and clients did not release it), by cells of containers
//! (as often as their values name it), once by its name, and for a moment by calls under way. The call that takes the last
//! reference away frees the object, through a work list and never recursively.
//!
//! # Invariants
//! [`Engine::check`] holds a quiescent engine (no call under way, no job outstanding) against these:
//!
//! - **Invariant I1, references.** An object's count is the sum of what sessions, cells and its name hold; it is never zero.
//! - **Invariant I2, no dangling.** Every object that a session, a cell or a name refers to exists.
//! - **Invariant I3, the living.** Every waiter, holding and delivery in an object belongs to a session that has not ended.
//! - **Invariant I4, books.** A session's books list exactly the waiters, holdings and deliveries that objects have of it.
//! - **Invariant I5, bytes.** The bytes charged are the sum of the costs of all objects and cells.
//! - **Invariant I6, waiters.** The count of waiting calls is the number of waiters; a timer stands for each that has a deadline.
//! - **Invariant I7, parts.** What holds between each object's own parts holds.
//!
//! Objects that an operation panicked in may keep references and bytes too many (never too few): I1 and I5 allow for that.

mod batch;
mod busy;
mod call;
mod cell;
mod check;
mod collect;
mod free;
mod job;
mod manager;
mod memory;
mod names;
mod object;
mod ordered;
mod outputs;
mod recent;
mod registry;
mod session;
mod show;
#[cfg(test)]
mod tests;
mod timers;
mod types;
mod wait_graph;
mod waiter;

pub use job::{Job, JobDone};
#[cfg(test)]
pub(crate) use object::PANIC_AROUND;
pub use object::Resource;
pub use outputs::{Answer, Outcome, Output, Outputs, Reply, ReplyRef};
pub use types::{Call, Caller, LaneId, ObjectId, Peer, SessionId, Settings, Stats, Ticket, Time};

use byproxy_proto::fault::{Fault, FaultCode};
use job::{Work, World};
use object::{Contents, Context, Effects, Services, State};
use registry::Registry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// All shared objects of one server. See the [module](self).
#[derive(Debug)]
pub struct Engine {
    world: World,
    services: Services,
    next_session: AtomicU64,
}

impl Engine {
    /// An engine without objects. The instance is the server's name in every proxy, so it is to be random.
    pub fn new(instance: u128, settings: Settings) -> Self {
        let settings = Settings {
            // Without a single step nothing would ever be read or freed.
            small_steps: settings.small_steps.max(1),
            ..settings
        };
        let registry = Arc::new(Registry::new(instance, settings.memory_bytes_max));
        Self {
            world: World {
                registry,
                settings,
                names: Arc::default(),
            },
            services: Services::default(),
            next_session: AtomicU64::new(1),
        }
    }

    /// The server's name in every proxy.
    pub fn instance(&self) -> u128 {
        self.registry().instance
    }

    /// What the engine allows.
    pub fn settings(&self) -> &Settings {
        &self.world.settings
    }

    /// A client process has come.
    ///
    /// # Errors
    /// [`FaultCode::TooMany`] at the limit of sessions.
    pub fn handle_session_start(&self, _now: Time, peer: Peer) -> Result<SessionId, Fault> {
        let sessions_max = self.settings().sessions_max;
        if self.services.sessions.len() >= sessions_max {
            let message = format!("{sessions_max} processes are connected already, as many as this server allows");
            return Err(Fault::new(FaultCode::TooMany, message));
        }
        let id = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        self.services.sessions.add(id, peer);
        Ok(id)
    }

    /// The client has what the reply to its call of this number delivered: it is the client's from here on.
    pub fn handle_confirm(&self, now: Time, caller: Caller, number: u64, out: &mut Outputs) {
        self.settle(now, Ticket { caller, number }, out, Contents::confirm);
    }

    /// The client gives back what the reply to its call of this number delivered: it returns to where it was.
    pub fn handle_decline(&self, now: Time, caller: Caller, number: u64, out: &mut Outputs) {
        self.settle(now, Ticket { caller, number }, out, Contents::decline);
    }

    /// The client gives up references: so many to each object. What it does not hold is ignored.
    pub fn handle_release(&self, now: Time, session: SessionId, releases: &[(u64, u64)], out: &mut Outputs) {
        out.begin(self.registry().engine);
        let Some(session) = self.services.sessions.get(session) else {
            return;
        };
        let mut orphans = Vec::new();
        let mut books = session.lock();
        for &(object, times) in releases {
            let object = ObjectId(object);
            let held = books.release(object, times);
            if held > 0 && self.registry().give_up(object, held) {
                orphans.push(object);
            }
        }
        drop(books);
        self.free(now, orphans, out);
    }

    /// Answers every waiter whose deadline is now or was before.
    pub fn handle_timeout(&self, now: Time, out: &mut Outputs) {
        out.begin(self.registry().engine);
        let due = if seeded!("timeout_off_by_job") {
            Time(now.0.saturating_sub(1))
        } else {
            now
        };
        while let Some((object, key)) = self.services.timers.take_due(due) {
            self.tell(now, object, out, |contents, context| contents.timeout(key, context));
        }
        self.free_dropped(now, out);
    }

    /// When [`Engine::handle_timeout`] is wanted next: never later than the earliest deadline. Costs one load.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.services.timers.earliest()
    }

    /// A job that panics when it is run.
    #[cfg(test)]
    pub(crate) fn job_that_panics(&self) -> Job {
        Job::new(self.world.clone(), job::Work::Panic)
    }

    /// A client process is gone: everything it held is given back, every wait of it ended. The second time nothing
    /// happens.
    pub fn handle_session_end(&self, now: Time, session: SessionId, out: &mut Outputs) {
        out.begin(self.registry().engine);
        let Some(books) = self.services.sessions.get(session) else {
            return;
        };
        // Marked before any object is visited: whoever grants looks at the mark under the object's lock, so either the grant
        // came first and is found in the object, or it is refused.
        let Some(tied) = books.lock().end() else { return };
        self.services.graph.end_session(session);
        for object in tied {
            self.end_in_object(now, object, session, out);
        }
        let references = books.lock().release_all();
        self.services.sessions.remove(session);
        if seeded!("forget_sweep_references") {
            return;
        }
        let job = Job::new(self.world.clone(), Work::Release { references });
        if job.is_short() {
            return self.free(now, job.run().orphans, out);
        }
        out.queue.push(Output::Job(job));
        self.free_dropped(now, out);
    }

    /// What there is now. Costs a step for each session.
    pub fn stats(&self) -> Stats {
        let sessions = self.services.sessions.all();
        Stats {
            objects: self.registry().len() as u64,
            references: sessions
                .iter()
                .map(|(_, session)| session.lock().references_total())
                .sum(),
            sessions: sessions.len() as u64,
            waiters: self.services.waiting.load(Ordering::Relaxed) as u64,
            bytes: self.registry().memory.used(),
            names: self.world.names.lock().len() as u64,
        }
    }

    #[inline]
    fn registry(&self) -> &Registry {
        &self.world.registry
    }

    /// Confirms or declines a delivery, if there is one.
    fn settle(
        &self,
        now: Time,
        ticket: Ticket,
        out: &mut Outputs,
        settle: impl FnOnce(&mut Contents, Ticket, &mut Context<'_>),
    ) {
        out.begin(self.registry().engine);
        let session = out.recent.session(&self.services.sessions, ticket.caller.session);
        let Some(object) = session.and_then(|session| session.lock().settle(ticket)) else {
            return;
        };
        self.tell(now, object, out, |contents, context| settle(contents, ticket, context));
        self.free_dropped(now, out);
    }

    /// Tells an object of an event. Objects that have events never leave as jobs, so their contents are always there.
    fn tell(
        &self,
        now: Time,
        object: ObjectId,
        out: &mut Outputs,
        event: impl FnOnce(&mut Contents, &mut Context<'_>),
    ) {
        let Some(slot) = out.recent.object(self.registry(), object) else {
            return;
        };
        let mut state = slot.state.lock();
        if let State::Free(contents) = &mut *state {
            let mut context = self.context(now, object, false, out);
            if catch_unwind(AssertUnwindSafe(|| event(contents, &mut context))).is_err() {
                self.poison(now, object, &mut state, out);
            }
        }
        drop(state);
        out.recent.keep(slot);
    }

    /// Ends all that a session has in one object.
    fn end_in_object(&self, now: Time, object: ObjectId, session: SessionId, out: &mut Outputs) {
        if seeded!("leave_dead_waiter") {
            return;
        }
        self.leave_queues(object, session, out);
        self.tell(now, object, out, |contents, context| {
            contents.session_end(session, context);
        });
    }

    /// The world of one call or event, with the outputs' own buffers.
    #[inline]
    fn context<'a>(&'a self, now: Time, object: ObjectId, proxies: bool, out: &'a mut Outputs) -> Context<'a> {
        let Outputs {
            answer,
            dropped,
            queue,
            recent,
            ..
        } = out;
        let effects = self.world.effects(answer, dropped, proxies);
        Context {
            now,
            object,
            effects,
            services: &self.services,
            world: &self.world,
            outputs: queue,
            recent,
        }
    }

    #[inline]
    fn effects<'a>(&'a self, proxies: bool, out: &'a mut Outputs) -> Effects<'a> {
        self.world.effects(&mut out.answer, &mut out.dropped, proxies)
    }
}
