//! The simulator: one engine, some fake clients and a virtual clock in one thread.
//!
//! Every event is drawn from a seed: calls on objects of four kinds (nested in one another, named and anonymous), alone and in
//! batches, shared memory that is given and fetched, confirms and declines that come late or never, jobs that finish late, time that passes, references released, clients that die at any moment. The
//! clients keep the rules of the protocol (a lane has one call at a time, a proxy in use is held); everything else is random.
//!
//! After each event the replies are held against the models, and the engine against what can be known from outside:
//!
//! - **O1** every reply is the one the model allows, and answers a call that is waiting for it, once,
//!   and no call on a list or dict overtakes another;
//! - **O2** nothing is ever answered to a session that has ended;
//! - **O3** a reply hands over exactly the references that are in it;
//! - **O4** the engine counts as many sessions, references, names, waiters and objects as there are;
//! - **O5** no deadline is slept through, and none fires early;
//! - **O6** [`Engine::check`] holds whenever no job is out;
//! - **O7** when every session has ended and the names are gone, nothing is left at all;
//! - **O8** memory is kept and charged for as long as its object exists, and no longer.

use crate::calls::{self, Wish};
use crate::model::{DictModel, Expected, ListModel, LockModel, MemoryModel, QueueModel, Request, Ticket};
use crate::random::Random;
use byproxy::engine::{Caller, Engine, Job, LaneId, Outputs, SessionId, Settings, Stats};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Token, Value};
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Weak;

/// The server's name in the proxies of a simulated world.
pub(crate) const INSTANCE: u128 = 0x5eed;
/// How many clients there are at most at a time.
const CLIENTS_MAX: usize = 4;
/// How many objects there are at most, about.
pub(crate) const OBJECTS_MAX: usize = 14;

pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// A world under simulation.
pub(crate) struct Simulator {
    pub(crate) random: Random,
    pub(crate) engine: Engine,
    pub(crate) out: Outputs,
    pub(crate) now: u64,
    pub(crate) clients: Vec<Client>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) objects: BTreeMap<u64, Object>,
    pub(crate) names: BTreeMap<String, u64>,
    /// The replies that the event at hand must cause.
    pub(crate) expected: BTreeMap<Ticket, Expected>,
    /// The calls of the batch that is under way.
    pub(crate) batches: BTreeMap<Ticket, Vec<Request>>,
    /// What was given to the engine, and for which object.
    pub(crate) kept: Vec<(u64, Weak<u64>)>,
    /// The greatest id seen: new objects have greater ones.
    pub(crate) newest: u64,
    pub(crate) calls: u64,
    pub(crate) deaths: Deaths,
    /// What happened, if anyone wants to read it.
    trace: Option<Vec<String>>,
}

/// A fake client process.
pub(crate) struct Client {
    pub(crate) session: u64,
    pub(crate) lanes: Vec<Lane>,
    /// References, as handed over and not released.
    pub(crate) holds: BTreeMap<u64, u64>,
    /// What was lent to it: queue and delivery number.
    pub(crate) leases: Vec<(u64, u64)>,
    /// The tokens it got with locks.
    pub(crate) tokens: Vec<(u64, u64)>,
    /// The versions it was told by lists.
    pub(crate) versions: Vec<(u64, Value)>,
}

/// One lane of a client: also one thread of it.
pub(crate) struct Lane {
    pub(crate) calls: u64,
    /// When its call came, counted in calls.
    pub(crate) since: u64,
    pub(crate) state: LaneState,
}

pub(crate) enum LaneState {
    Idle,
    Waiting(Request),
    /// The reply to this call on this queue has brought items that are neither confirmed nor declined.
    Delivered {
        number: u64,
        queue: u64,
    },
}

/// An object as the models see it.
pub(crate) enum Object {
    /// The states it may be in.
    List(Vec<ListModel>),
    Dict(Vec<DictModel>),
    Queue(QueueModel, bool),
    Lock(LockModel),
    Memory(MemoryModel),
}

/// How many clients died with nothing to lose, and how many while waiting, holding, or with items on their way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deaths {
    pub(crate) idle: u64,
    pub(crate) torn: u64,
}

impl AddAssign for Deaths {
    fn add_assign(&mut self, more: Self) {
        self.idle += more.idle;
        self.torn += more.torn;
    }
}

/// Runs one seed; an error says what went wrong, and what happened before if `traced`.
pub(crate) fn run(seed: u64, events: usize, traced: bool) -> Result<Deaths> {
    let mut simulator = Simulator::new(seed, traced);
    let done = simulator.live(events).and_then(|()| simulator.die());
    done.map(|()| simulator.deaths).map_err(|error| match &simulator.trace {
        Some(trace) => format!("{error}\nafter\n{}", trace.join("\n")),
        None => error,
    })
}

impl Simulator {
    fn new(seed: u64, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let small_steps = *random.pick(&[2, 3, 4096]);
        let settings = Settings {
            small_steps,
            ..Settings::default()
        };
        Self {
            random,
            engine: Engine::new(INSTANCE, settings),
            out: Outputs::default(),
            now: 0,
            clients: Vec::new(),
            jobs: Vec::new(),
            objects: BTreeMap::new(),
            names: BTreeMap::new(),
            expected: BTreeMap::new(),
            batches: BTreeMap::new(),
            kept: Vec::new(),
            newest: 0,
            calls: 0,
            deaths: Deaths::default(),
            trace: traced.then(Vec::new),
        }
    }

    fn live(&mut self, events: usize) -> Result {
        for _ in 0..events {
            self.event()?;
            self.check()?;
        }
        Ok(())
    }

    /// Everyone dies, in any order; then someone tidies up, and nothing must be left.
    fn die(&mut self) -> Result {
        while !self.clients.is_empty() {
            let victim = self.random.below(self.clients.len());
            self.kill(victim)?;
            self.check()?;
        }
        self.finish_jobs()?;
        self.start()?;
        for name in self.names.keys().cloned().collect::<Vec<_>>() {
            self.call(
                0,
                0,
                Request {
                    operation: Operation::Remove,
                    object: 0,
                    arguments: vec![Value::from(name)],
                },
            )?;
        }
        self.finish_jobs()?;
        self.call(
            0,
            0,
            Request {
                operation: Operation::Collect,
                object: 0,
                arguments: Vec::new(),
            },
        )?;
        self.finish_jobs()?;
        self.kill(0)?;
        self.finish_jobs()?;
        self.engine.check()?;
        if self.kept.iter().any(|(_, kept)| kept.strong_count() > 0) {
            return Err("O8: something is kept for nobody".to_owned());
        }
        let stats = self.engine.stats();
        if stats == Stats::default() {
            Ok(())
        } else {
            Err(format!("O7: something is left: {stats:?}"))
        }
    }

    fn finish_jobs(&mut self) -> Result {
        while !self.jobs.is_empty() {
            self.finish_job()?;
        }
        self.check()
    }

    fn event(&mut self) -> Result {
        if self.clients.is_empty() {
            return self.start();
        }
        let client = self.random.below(self.clients.len());
        let lane = self.random.below(self.clients[client].lanes.len());
        match self.random.below(100) {
            0..4 if self.clients.len() < CLIENTS_MAX => self.start(),
            4..7 => self.kill(client),
            7..16 if !self.jobs.is_empty() => self.finish_job(),
            16..24 => self.pass_time(),
            24..30 => self.release(client),
            30..33 => self.share(client),
            33..35 => self.fetch(client),
            _ => match self.clients[client].lanes[lane].state {
                LaneState::Idle if self.random.percent(4) => self.batch(client, lane),
                LaneState::Idle => {
                    let wish = if self.objects.len() < OBJECTS_MAX {
                        Wish::Anything
                    } else {
                        Wish::NothingNew
                    };
                    let (request, refused) = calls::draw(self, client, lane, wish);
                    if let Some(code) = refused {
                        let ticket = self.ticket(client, lane);
                        self.expected
                            .insert(ticket, Expected::Answer(crate::model::fault(code)));
                        return self.send(client, lane, request);
                    }
                    let collects = request.operation == Operation::Collect;
                    self.call(client, lane, request)?;
                    // The models can only tell what is garbage while nothing else is under way.
                    if collects { self.finish_job() } else { Ok(()) }
                }
                LaneState::Delivered { number, .. } => self.settle(client, lane, number),
                LaneState::Waiting(_) if self.random.percent(50) => self.pass_time(),
                LaneState::Waiting(_) => Ok(()),
            },
        }
    }

    pub(crate) fn caller(&self, client: usize, lane: usize) -> Caller {
        Caller {
            session: SessionId(self.clients[client].session),
            lane: LaneId(lane as u64),
        }
    }

    /// The ticket of the lane's next call.
    pub(crate) fn ticket(&self, client: usize, lane: usize) -> Ticket {
        (
            self.clients[client].session,
            lane as u64,
            self.clients[client].lanes[lane].calls,
        )
    }

    /// The proxies a client has.
    pub(crate) fn tokens_of(&self, client: usize) -> Vec<Value> {
        let held = self.clients[client]
            .holds
            .keys()
            .filter_map(|object| Some((*object, self.objects.get(object)?)));
        held.map(|(object, held)| {
            Value::from(Token {
                instance: INSTANCE,
                object,
                kind: held.kind(),
            })
        })
        .collect()
    }

    /// Whether it is known what every object holds, and no job is out.
    pub(crate) fn is_calm(&self) -> bool {
        self.jobs.is_empty() && self.objects.values().all(Object::is_certain)
    }

    pub(crate) fn log(&mut self, event: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(event());
        }
    }
}
