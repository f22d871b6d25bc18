//! A thread as a client and as a driver of the engine it shares with others.

use crate::model::{encode, int};
use crate::random::Random;
use byproxy::engine::{
    Call, Caller, Engine, Job, LaneId, Outcome, Output, Outputs, Peer, ReplyRef, Resource, SessionId, Settings, Time,
};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Kind, Limits, Raw, Token, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// How often a member looks for its reply, and helps meanwhile, until it gives up its life.
const PATIENCE: usize = 2_000;
/// The server's name in the proxies of these tests.
const INSTANCE: u128 = 0xc20d;

/// An engine and what its drivers share.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) engine: Engine,
    clock: AtomicU64,
    mailboxes: Mutex<HashMap<u64, Arc<Mailbox>>>,
    jobs: Mutex<Vec<Job>>,
    /// How many sessions ended while their thread was at what.
    ends: [AtomicU64; 4],
}

/// What a member's session is at: what its end would tear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Doing {
    Nothing = 0,
    Waiting = 1,
    HoldingALock = 2,
    HavingItemsInFlight = 3,
}

#[derive(Debug, Default)]
struct Mailbox {
    replies: Mutex<Vec<Letter>>,
    /// Set before the session is ended.
    doomed: AtomicBool,
    doing: AtomicU8,
}

#[derive(Debug)]
struct Letter {
    number: u64,
    answer: Result<Value, FaultCode>,
    handed: Vec<u64>,
}

/// One thread's session. Calls answer nothing when the session has ended.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) random: Random,
    /// It never gives up.
    pub(crate) patient: bool,
    crowd: Arc<Crowd>,
    session: SessionId,
    mailbox: Arc<Mailbox>,
    calls: u64,
    out: Outputs,
    /// The proxies of named objects.
    named: BTreeMap<&'static str, Value>,
}

/// Runs a test, and ends the program if it takes longer: a hang must not look like a slow machine.
pub(crate) fn within(seconds: u64, test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _told = done.send(());
    });
    let hangs = is_done.recv_timeout(Duration::from_secs(seconds)) == Err(mpsc::RecvTimeoutError::Timeout);
    assert!(!hangs, "the threads hang: nothing has come of them in {seconds} s");
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

impl Crowd {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            engine: Engine::new(INSTANCE, settings),
            clock: AtomicU64::new(0),
            mailboxes: Mutex::default(),
            jobs: Mutex::default(),
            ends: Default::default(),
        })
    }

    /// How many sessions ended while doing nothing, waiting, holding a lock, having items in flight.
    pub(crate) fn ends(&self) -> [u64; 4] {
        self.ends.each_ref().map(|ends| ends.load(Ordering::Relaxed))
    }

    /// Runs all jobs that are out.
    pub(crate) fn run_jobs(&self) {
        let mut out = Outputs::default();
        while self.run_job(&mut out) {}
    }

    fn run_job(&self, out: &mut Outputs) -> bool {
        let Some(job) = self.jobs.lock().expect("no member panicked").pop() else {
            return false;
        };
        let done = job.run();
        self.engine.handle_job_done(self.tick(), done, out);
        self.route(out);
        true
    }

    /// The time, which moves whenever someone looks.
    fn tick(&self) -> Time {
        Time(self.clock.fetch_add(1, Ordering::Relaxed))
    }

    fn mailbox(&self, session: u64) -> Option<Arc<Mailbox>> {
        self.mailboxes
            .lock()
            .expect("no member panicked")
            .get(&session)
            .cloned()
    }

    fn route(&self, out: &mut Outputs) {
        for output in out.drain() {
            match output {
                Output::Reply { to, reply } => {
                    if let Some(mailbox) = self.mailbox(to.session.0) {
                        mailbox
                            .replies
                            .lock()
                            .expect("no member panicked")
                            .push(read(reply.as_ref()));
                    }
                }
                Output::Job(job) => self.jobs.lock().expect("no member panicked").push(job),
                Output::Shutdown => panic!("nobody asked for a shutdown"),
            }
        }
    }

    fn end(&self, session: u64, out: &mut Outputs) {
        if let Some(mailbox) = self.mailbox(session)
            && !mailbox.doomed.swap(true, Ordering::SeqCst)
        {
            let doing = usize::from(mailbox.doing.load(Ordering::Relaxed));
            self.ends[doing].fetch_add(1, Ordering::Relaxed);
        }
        self.engine.handle_session_end(self.tick(), SessionId(session), out);
        self.route(out);
    }
}

impl Member {
    pub(crate) fn join(crowd: &Arc<Crowd>, seed: u64) -> Self {
        let (session, mailbox) = start(crowd);
        Self {
            random: Random::new(seed),
            patient: false,
            crowd: Arc::clone(crowd),
            session,
            mailbox,
            calls: 0,
            out: Outputs::default(),
            named: BTreeMap::new(),
        }
    }

    /// A new life after death.
    pub(crate) fn join_again(&mut self) {
        (self.session, self.mailbox) = start(&self.crowd);
        self.named.clear();
    }

    pub(crate) fn die(&mut self) {
        self.crowd.end(self.session.0, &mut self.out);
        let mut mailboxes = self.crowd.mailboxes.lock().expect("no member panicked");
        // The doomed stay on record, for those who look whether a holder is dead.
        mailboxes
            .entry(self.session.0)
            .and_modify(|mailbox| *mailbox = Arc::default());
        if let Some(mailbox) = mailboxes.get(&self.session.0) {
            mailbox.doomed.store(true, Ordering::SeqCst);
        }
    }

    /// Ends another session while its thread goes on calling.
    pub(crate) fn kill_someone(&mut self) -> bool {
        let victims: Vec<u64> = {
            let mailboxes = self.crowd.mailboxes.lock().expect("no member panicked");
            let alive = |(_, mailbox): &(&u64, &Arc<Mailbox>)| !mailbox.doomed.load(Ordering::SeqCst);
            mailboxes.iter().filter(alive).map(|(session, _)| *session).collect()
        };
        // The first session is the keeper's.
        let victims: Vec<u64> = victims.into_iter().filter(|&session| session > 1).collect();
        if !victims.is_empty() {
            let victim = *self.random.pick(&victims);
            self.crowd.end(victim, &mut self.out);
        }
        !self.is_doomed(self.session.0)
    }

    /// Says what the session is at from now on.
    pub(crate) fn is_at(&self, doing: Doing) -> Doing {
        let before = self.mailbox.doing.swap(doing as u8, Ordering::Relaxed);
        match before {
            1 => Doing::Waiting,
            2 => Doing::HoldingALock,
            3 => Doing::HavingItemsInFlight,
            _ => Doing::Nothing,
        }
    }

    pub(crate) fn session(&self) -> u64 {
        self.session.0
    }

    pub(crate) fn is_doomed(&self, session: u64) -> bool {
        self.crowd
            .mailbox(session)
            .is_none_or(|mailbox| mailbox.doomed.load(Ordering::SeqCst))
    }

    /// The number of the last call.
    pub(crate) fn number(&self) -> u64 {
        self.calls
    }

    /// For ever, a while, or not at all.
    pub(crate) fn wait(&mut self) -> Value {
        match self.random.below(4) {
            0 => Value::None,
            1 => int(0),
            _ => int(self.random.of(1..200)),
        }
    }

    /// The proxy of a named object; none once the session has ended.
    pub(crate) fn proxy(&mut self, name: &'static str) -> Value {
        if let Some(proxy) = self.named.get(name) {
            return proxy.clone();
        }
        match self.send(Operation::Open, 0, vec![Value::from(name)]) {
            Some(Letter { answer: Ok(proxy), .. }) => {
                self.named.insert(name, proxy.clone());
                proxy
            }
            _ => Value::None,
        }
    }

    pub(crate) fn call_named(
        &mut self,
        name: &'static str,
        operation: Operation,
        arguments: Vec<Value>,
    ) -> Option<Result<Value, FaultCode>> {
        let Value::Proxy(token) = self.proxy(name) else {
            return None;
        };
        self.call(operation, token.object, arguments)
    }

    /// Makes an object and keeps it.
    pub(crate) fn create(&mut self, kind: Kind, contents: Value) -> Option<u64> {
        let letter = self.send(Operation::Create, 0, vec![int(kind.0), Value::None, contents])?;
        letter.handed.first().copied()
    }

    /// Calls, and lets go of whatever proxies come with the reply.
    pub(crate) fn call(
        &mut self,
        operation: Operation,
        object: u64,
        arguments: Vec<Value>,
    ) -> Option<Result<Value, FaultCode>> {
        let letter = self.send(operation, object, arguments)?;
        let releases: Vec<(u64, u64)> = letter.handed.into_iter().map(|object| (object, 1)).collect();
        if !releases.is_empty() {
            self.release(&releases);
        }
        Some(letter.answer)
    }

    /// Lets go of so many references to each object.
    pub(crate) fn release(&mut self, releases: &[(u64, u64)]) {
        let now = self.crowd.tick();
        self.crowd
            .engine
            .handle_release(now, self.session, releases, &mut self.out);
        self.crowd.route(&mut self.out);
    }

    /// Gives something into the server's keeping; tells whether it is a new object that stands for it. A reference to that is the member's.
    pub(crate) fn share(&mut self, name: Option<&str>, resource: Resource, note: &Value) -> Option<(Token, bool)> {
        let now = self.crowd.tick();
        let engine = &self.crowd.engine;
        let shared = engine.handle_share(now, self.session, name, &encode(note), resource, &mut self.out);
        self.crowd.route(&mut self.out);
        unless_gone(shared).map(|shared| shared.expect("what is shared is small and well-formed"))
    }

    /// Fetches what an object of the member's stands for, with its note. Another reference is the member's.
    pub(crate) fn fetch(&mut self, object: u64) -> Option<(Resource, Value)> {
        let now = self.crowd.tick();
        let fetched = self.crowd.engine.handle_fetch(now, self.session, object, &mut self.out);
        self.crowd.route(&mut self.out);
        if self.is_doomed(self.session.0) {
            // Its end may have taken the object along.
            return None;
        }
        let (resource, note) = unless_gone(fetched)?.expect("who lives has what it holds");
        let note = Raw::check(&note, &Limits::default()).and_then(Raw::to_value);
        Some((resource, note.expect("notes are kept as they are")))
    }

    /// Confirms a delivery; false if the session had ended by the time it did.
    pub(crate) fn confirm(&mut self, number: u64) -> bool {
        let now = self.crowd.tick();
        self.crowd
            .engine
            .handle_confirm(now, self.caller(), number, &mut self.out);
        self.crowd.route(&mut self.out);
        !self.is_doomed(self.session.0)
    }

    pub(crate) fn decline(&mut self, number: u64) -> bool {
        let now = self.crowd.tick();
        self.crowd
            .engine
            .handle_decline(now, self.caller(), number, &mut self.out);
        self.crowd.route(&mut self.out);
        !self.is_doomed(self.session.0)
    }

    fn send(&mut self, operation: Operation, object: u64, arguments: Vec<Value>) -> Option<Letter> {
        self.calls += 1;
        let arguments = encode(&Value::List(arguments));
        let call = Call {
            number: self.calls,
            operation,
            object,
            arguments: &arguments,
        };
        self.crowd
            .engine
            .handle_call(self.crowd.tick(), self.caller(), call, &mut self.out);
        let letter = self.out.immediate().map(read);
        self.crowd.route(&mut self.out);
        let letter = if let Some(letter) = letter {
            letter
        } else {
            let before = self.is_at(Doing::Waiting);
            let letter = self.await_reply()?;
            self.is_at(before);
            letter
        };
        assert_eq!(letter.number, self.calls, "an answer to another call");
        (letter.answer != Err(FaultCode::Gone)).then_some(letter)
    }

    /// Waits for the reply, and does what a driver does meanwhile: jobs and timeouts.
    fn await_reply(&mut self) -> Option<Letter> {
        let mut looks = 0;
        loop {
            if let Some(letter) = self.mailbox.replies.lock().expect("no member panicked").pop() {
                return Some(letter);
            }
            looks += 1;
            if self.mailbox.doomed.load(Ordering::SeqCst) || (looks > PATIENCE && !self.patient) {
                return None;
            }
            let crowd = Arc::clone(&self.crowd);
            crowd.run_job(&mut self.out);
            let now = crowd.tick();
            if crowd.engine.poll_timeout().is_some_and(|due| due <= now) {
                crowd.engine.handle_timeout(now, &mut self.out);
                crowd.route(&mut self.out);
            }
            std::thread::yield_now();
        }
    }

    fn caller(&self) -> Caller {
        Caller {
            session: self.session,
            lane: LaneId(0),
        }
    }
}

/// Nothing if the session had ended.
fn unless_gone<T>(outcome: Result<T, Fault>) -> Option<Result<T, Fault>> {
    let gone = matches!(&outcome, Err(fault) if fault.code == FaultCode::Gone);
    (!gone).then_some(outcome)
}

fn start(crowd: &Crowd) -> (SessionId, Arc<Mailbox>) {
    let session = crowd
        .engine
        .handle_session_start(crowd.tick(), Peer::default())
        .expect("there is room");
    let mailbox = Arc::new(Mailbox::default());
    crowd
        .mailboxes
        .lock()
        .expect("no member panicked")
        .insert(session.0, Arc::clone(&mailbox));
    (session, mailbox)
}

fn read(reply: ReplyRef<'_>) -> Letter {
    let (answer, handed) = match reply.outcome {
        Outcome::Fault(fault) => (Err(fault.code), Vec::new()),
        Outcome::Done { handed, result } => {
            let value = Raw::check(result, &Limits::default()).and_then(Raw::to_value);
            (Ok(value.expect("replies are well-formed")), handed.to_vec())
        }
    };
    Letter {
        number: reply.number,
        answer,
        handed,
    }
}
