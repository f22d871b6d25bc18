//! The engine driven by hand: virtual time, jobs run when the test says so.

mod batch;
mod dict;
mod jobs;
mod list;
mod lock;
mod manager;
mod memory;
mod queue;
mod references;
mod waiting;

use super::{Call, Caller, Engine, Job, LaneId, ObjectId, Outcome, Output, Outputs, Peer, SessionId, Settings, Time};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Kind, Limits, Raw, Token, Value, to_vec};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

const INSTANCE: u128 = 0x00c0_ffee;

/// An argument list of nothing.
const NOTHING: [u8; 0] = [];

/// What a call is answered with: the value, and the ids it hands over.
type Answered = Result<(Value, Vec<u64>), Fault>;

/// An engine with its driver.
struct Driver {
    engine: Engine,
    now: u64,
    out: Outputs,
    calls: u64,
    jobs: VecDeque<Job>,
    jobs_seen: usize,
    /// Answers by call number.
    answers: BTreeMap<u64, Answered>,
    shutdown: bool,
}

impl Driver {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    /// A driver of an engine in which everything beyond a few steps is long.
    fn with_steps(small_steps: usize) -> Self {
        Self::with(Settings {
            small_steps,
            ..Settings::default()
        })
    }

    fn with(settings: Settings) -> Self {
        Self {
            engine: Engine::new(INSTANCE, settings),
            now: 0,
            out: Outputs::default(),
            calls: 0,
            jobs: VecDeque::new(),
            jobs_seen: 0,
            answers: BTreeMap::new(),
            shutdown: false,
        }
    }

    fn session(&mut self) -> SessionId {
        self.engine
            .handle_session_start(Time(self.now), Peer::default())
            .unwrap()
    }

    /// Sends a call and returns its number; its answer, if there is one yet, is kept.
    fn send(&mut self, session: SessionId, operation: Operation, object: u64, arguments: &impl Serialize) -> u64 {
        let arguments = to_vec(arguments, &Limits::default()).unwrap();
        self.send_bytes(session, operation, object, &arguments)
    }

    fn send_bytes(&mut self, session: SessionId, operation: Operation, object: u64, arguments: &[u8]) -> u64 {
        self.calls += 1;
        let number = self.calls;
        let caller = Caller {
            session,
            lane: LaneId(1),
        };
        let call = Call {
            number,
            operation,
            object,
            arguments,
        };
        self.engine.handle_call(Time(self.now), caller, call, &mut self.out);
        let immediate = self.out.immediate().map(|reply| (reply.number, own(reply.outcome)));
        if let Some((of, answer)) = immediate {
            assert_eq!(of, number);
            self.answers.insert(number, answer);
        }
        self.take_outputs();
        number
    }

    fn take_outputs(&mut self) {
        for output in self.out.drain() {
            match output {
                Output::Reply { reply, .. } => {
                    let answer = own(reply.as_ref().outcome);
                    assert!(
                        self.answers.insert(reply.number, answer).is_none(),
                        "a call is answered once"
                    );
                }
                Output::Job(job) => {
                    self.jobs_seen += 1;
                    self.jobs.push_back(job);
                }
                Output::Shutdown => self.shutdown = true,
            }
        }
    }

    /// What a call was answered, if it was.
    fn reply(&mut self, number: u64) -> Option<Result<Value, Fault>> {
        self.answers
            .remove(&number)
            .map(|answered| answered.map(|(value, _)| value))
    }

    /// What a call was granted, if it was answered.
    fn answer(&mut self, number: u64) -> Option<Value> {
        self.reply(number).map(|answered| answered.expect("a grant"))
    }

    /// Moves time on.
    fn pass_to(&mut self, now: u64) {
        self.now = now;
        self.engine.handle_timeout(Time(now), &mut self.out);
        self.take_outputs();
    }

    /// Runs the oldest job, if there is one.
    fn run_job(&mut self) -> bool {
        let Some(job) = self.jobs.pop_front() else { return false };
        self.engine.handle_job_done(Time(self.now), job.run(), &mut self.out);
        self.take_outputs();
        true
    }

    fn run_jobs(&mut self) {
        while self.run_job() {}
    }

    /// Sends a call, runs all jobs and returns the answer.
    fn call(
        &mut self,
        session: SessionId,
        operation: Operation,
        object: u64,
        arguments: &impl Serialize,
    ) -> Result<Value, Fault> {
        let number = self.send(session, operation, object, arguments);
        self.run_jobs();
        self.answers
            .remove(&number)
            .expect("a call that can't wait is answered")
            .map(|(value, _)| value)
    }

    fn fault(
        &mut self,
        session: SessionId,
        operation: Operation,
        object: u64,
        arguments: &impl Serialize,
    ) -> FaultCode {
        self.call(session, operation, object, arguments).unwrap_err().code
    }

    /// Makes an object and returns its id.
    fn create(&mut self, session: SessionId, kind: Kind, name: Option<&str>, contents: &impl Serialize) -> u64 {
        let made = self
            .call(session, Operation::Create, 0, &(kind.0, name, contents))
            .unwrap();
        let Value::Proxy(token) = made else {
            panic!("{made} is no proxy")
        };
        assert_eq!((token.instance, token.kind), (INSTANCE, kind));
        token.object
    }

    fn list(&mut self, session: SessionId, items: &impl Serialize) -> u64 {
        self.create(session, Kind::LIST, None, items)
    }

    fn dict(&mut self, session: SessionId, pairs: &impl Serialize) -> u64 {
        self.create(session, Kind::DICT, None, pairs)
    }

    /// All items of a list.
    fn items(&mut self, session: SessionId, list: u64) -> Value {
        self.call(session, Operation::ListSlice, list, &(0, ())).unwrap()
    }

    fn release(&mut self, session: SessionId, object: u64, times: u64) {
        self.engine
            .handle_release(Time(self.now), session, &[(object, times)], &mut self.out);
        self.take_outputs();
    }

    /// Moves time on and lets what is due be done.
    fn advance_to(&mut self, now: u64) {
        self.now = now;
        self.engine.handle_timeout(Time(now), &mut self.out);
        self.take_outputs();
    }

    fn end(&mut self, session: SessionId) {
        self.engine.handle_session_end(Time(self.now), session, &mut self.out);
        self.take_outputs();
    }

    /// Runs all jobs and checks the invariants.
    fn check(&mut self) {
        self.run_jobs();
        self.engine.check().unwrap();
    }

    fn objects(&self) -> u64 {
        self.engine.stats().objects
    }
}

/// The value of a list object of this engine.
fn list_token(object: u64) -> Token {
    Token {
        instance: INSTANCE,
        object,
        kind: Kind::LIST,
    }
}

fn own(outcome: Outcome<'_>) -> Answered {
    match outcome {
        Outcome::Done { handed, result } => {
            let raw = Raw::check(result, &Limits::default()).expect("an answer is a value");
            Ok((raw.to_value().unwrap(), handed.to_vec()))
        }
        Outcome::Fault(fault) => Err(fault.clone()),
    }
}

fn value(value: impl Serialize) -> Value {
    Value::of(&value).unwrap()
}

#[test]
fn ids_are_never_used_twice() {
    let mut driver = Driver::new();
    let session = driver.session();
    let first = driver.list(session, &NOTHING);
    driver.release(session, first, 1);
    let second = driver.list(session, &NOTHING);
    assert!(second > first);
    assert_eq!(
        driver.fault(session, Operation::ListLen, first, &NOTHING),
        FaultCode::NoSuchObject
    );
    driver.end(session);
    assert!(driver.session() > session);
    assert_ne!(ObjectId(second), ObjectId(0));
}

#[test]
fn what_is_no_call_is_refused_and_changes_nothing() {
    let mut driver = Driver::new();
    let session = driver.session();
    let list = driver.list(session, &[1, 2]);
    let dict = driver.dict(session, &());
    assert_eq!(
        driver.fault(session, Operation::ListLen, 99, &NOTHING),
        FaultCode::NoSuchObject
    );
    assert_eq!(
        driver.fault(session, Operation::ListLen, dict, &NOTHING),
        FaultCode::UnknownOperation
    );
    assert_eq!(
        driver.fault(session, Operation::ListAppend, list, &(1, 2)),
        FaultCode::BadArgument
    );
    assert_eq!(
        driver.fault(session, Operation::ListPopAt, list, &("x",)),
        FaultCode::BadArgument
    );
    assert_eq!(
        driver.fault(session, Operation::ListAppend, list, &7),
        FaultCode::BadArgument
    );
    for (bytes, code) in [
        ([].as_slice(), FaultCode::Malformed),
        (&[7, 1], FaultCode::Malformed),
        (&[7, 1, 99], FaultCode::Malformed),
        (&[7, 1, 0, 0], FaultCode::Malformed),
    ] {
        let number = driver.send_bytes(session, Operation::ListAppend, list, bytes);
        assert_eq!(
            driver.answers.remove(&number).unwrap().unwrap_err().code,
            code,
            "{bytes:?}"
        );
    }
    let deep = [[7, 1].repeat(65), vec![0]].concat();
    let number = driver.send_bytes(session, Operation::ListAppend, list, &deep);
    assert_eq!(
        driver.answers.remove(&number).unwrap().unwrap_err().code,
        FaultCode::TooLarge
    );
    assert_eq!(driver.items(session, list), value([1, 2]));
    driver.check();
}
