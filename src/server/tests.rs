//! The driver without sockets: bytes in, bytes out, and the order of things under the test's control.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use byproxy_proto::fault::FaultCode;
use byproxy_proto::frame::{self, FrameError, PREFIX_BYTES, Reply, Request};
use byproxy_proto::handshake::{Hello, Purpose, Welcome};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Kind, Limits as ValueLimits, Raw, Value, to_vec};
use serde::Serialize;

use super::Limits;
use super::driver::{PANIC_RESULT, Scratch};
use super::memory::MemoryServer;
use crate::engine::{PANIC_AROUND, Settings};
use crate::transport::{Stream, memory};

/// How long a test waits before it fails.
const STUCK: Duration = Duration::from_secs(20);

/// A connection that is written and read frame by frame.
struct Wire {
    stream: Stream,
    received: Vec<u8>,
}

/// A session with one lane.
struct Client {
    control: Wire,
    lane: Wire,
    number: u64,
}

impl Wire {
    fn connect(server: &MemoryServer) -> Self {
        let stream = Stream::Memory(memory::Stream::connect(server.host()).unwrap());
        stream.set_timeout(Some(STUCK)).unwrap();
        Self {
            stream,
            received: Vec::new(),
        }
    }

    fn memory(&self) -> &memory::Stream {
        let Stream::Memory(stream) = &self.stream else {
            panic!("only in-process streams are used here")
        };
        stream
    }

    fn send(&self, bytes: &[u8]) {
        self.stream.send(bytes, &mut 0).unwrap();
    }

    /// The next frame's body; nothing at the end of the stream.
    fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(body) = frame::split(&self.received, usize::MAX).unwrap() {
                let body = body.to_vec();
                self.received.drain(..PREFIX_BYTES + body.len());
                return Some(body);
            }
            if self.stream.receive(&mut self.received, 1 << 20).unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Whether the server has closed it, without waiting.
    fn is_closed(&mut self) -> bool {
        self.stream.set_timeout(Some(Duration::from_millis(1))).unwrap();
        let closed = matches!(self.stream.receive(&mut self.received, 1 << 20), Ok(0));
        self.stream.set_timeout(Some(STUCK)).unwrap();
        closed
    }
}

impl Client {
    fn open(server: &MemoryServer) -> Self {
        let mut control = Wire::connect(server);
        control.send(&framed(|out| Hello::new(Purpose::Control, "test").write(out)));
        let body = control.receive().unwrap();
        let welcome = Welcome::read(&body).unwrap().unwrap();
        let lane = Self::join(server, welcome.session, welcome.secret);
        Self {
            control,
            lane,
            number: 0,
        }
    }

    fn join(server: &MemoryServer, session: u64, secret: u128) -> Wire {
        let mut lane = Wire::connect(server);
        lane.send(&framed(|out| {
            Hello::new(Purpose::Lane { session, secret }, "").write(out);
        }));
        assert!(Welcome::read(&lane.receive().unwrap()).unwrap().is_some());
        lane
    }

    fn frame(&mut self, operation: Operation, object: u64, arguments: impl Serialize) -> Vec<u8> {
        self.number += 1;
        let arguments = to_vec(&arguments, &ValueLimits::default()).unwrap();
        let call = frame::Call {
            number: self.number,
            operation,
            object,
            arguments: &arguments,
        };
        framed(|out| Request::Call(call).write(out))
    }

    fn call(&mut self, operation: Operation, object: u64, arguments: impl Serialize) -> (Value, Vec<u64>) {
        let frame = self.frame(operation, object, arguments);
        self.lane.send(&frame);
        self.reply()
    }

    fn reply(&mut self) -> (Value, Vec<u64>) {
        let body = self.lane.receive().expect("a reply");
        match Reply::read(&body, &ValueLimits::default()).unwrap() {
            Reply::Done { number, handed, result } => {
                assert_eq!(number, self.number);
                (
                    Raw::check(result, &ValueLimits::default()).unwrap().to_value().unwrap(),
                    handed,
                )
            }
            Reply::Fault { fault, .. } => panic!("{fault}"),
            Reply::Ring { .. } => panic!("a ring instead of a reply"),
        }
    }

    fn create(&mut self, kind: Kind, name: &str) -> u64 {
        let contents = if kind == Kind::QUEUE { Some((0u8, 0u64)) } else { None };
        self.call(Operation::Create, 0, (kind.0, Some(name), contents)).1[0]
    }

    fn open_named(&mut self, name: &str) -> u64 {
        self.call(Operation::Open, 0, (name,)).1[0]
    }
}

fn server() -> MemoryServer {
    MemoryServer::start(Settings::default(), Limits::default()).unwrap()
}

fn framed(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write::<FrameError>(&mut bytes, usize::MAX, |out| {
        body(out);
        Ok(())
    })
    .unwrap();
    bytes
}

const NOTHING: [u8; 0] = [];
const FOREVER: Option<u64> = None;

#[test]
fn frames_are_taken_however_they_are_cut() {
    let server = server();
    let mut client = Client::open(&server);
    let list = client.create(Kind::LIST, "list");
    let append = client.frame(Operation::ListAppend, list, ("x".repeat(300),));
    for bytes in append.chunks(7) {
        client.lane.send(bytes);
    }
    client.reply();
    assert_eq!(client.call(Operation::ListLen, list, NOTHING).0, Value::from(1));
}

#[test]
fn what_was_sent_before_the_end_is_taken_before_the_sweep() {
    let server = server();
    let mut other = Client::open(&server);
    let list = other.create(Kind::LIST, "list");
    let mut client = Client::open(&server);
    assert_eq!(client.open_named("list"), list);
    let append = client.frame(Operation::ListAppend, list, (1,));
    // The call lies in the lane unseen when the control connection ends.
    client.lane.memory().push(&append);
    client.control.memory().hang_up();
    client.control.memory().attend();
    assert!(client.lane.is_closed());
    assert_eq!(
        other.call(Operation::ListLen, list, NOTHING).0,
        Value::from(1),
        "a call that had arrived was lost"
    );
}

#[test]
fn a_confirm_that_was_sent_before_the_end_commits() {
    let server = server();
    let mut other = Client::open(&server);
    let queue = other.create(Kind::QUEUE, "queue");
    for (confirmed, left) in [(true, 0), (false, 1)] {
        other.call(Operation::QueuePut, queue, ("item", FOREVER));
        let mut client = Client::open(&server);
        client.open_named("queue");
        client.call(Operation::QueueGet, queue, (FOREVER,));
        assert_eq!(other.call(Operation::QueueQsize, queue, NOTHING).0, Value::from(0));
        if confirmed {
            client
                .lane
                .memory()
                .push(&framed(|out| Request::Confirm { number: client.number }.write(out)));
        }
        client.control.memory().hang_up();
        client.control.memory().attend();
        assert_eq!(
            other.call(Operation::QueueQsize, queue, NOTHING).0,
            Value::from(left),
            "confirmed: {confirmed}"
        );
    }
}

#[test]
fn a_confirm_after_the_end_is_not_taken() {
    let server = server();
    let mut other = Client::open(&server);
    let queue = other.create(Kind::QUEUE, "queue");
    other.call(Operation::QueuePut, queue, ("item", FOREVER));
    let mut client = Client::open(&server);
    client.open_named("queue");
    client.call(Operation::QueueGet, queue, (FOREVER,));
    client.control.memory().hang_up();
    client.control.memory().attend();
    let late = framed(|out| Request::Confirm { number: 2 }.write(out));
    assert!(
        client.lane.stream.send(&late, &mut 0).is_err(),
        "a client must learn that its confirm came too late"
    );
    assert_eq!(other.call(Operation::QueueQsize, queue, NOTHING).0, Value::from(1));
}

#[test]
fn a_waiting_call_is_answered_by_whoever_satisfies_it() {
    let server = server();
    let mut getter = Client::open(&server);
    let queue = getter.create(Kind::QUEUE, "queue");
    let get = getter.frame(Operation::QueueGet, queue, (FOREVER,));
    getter.lane.send(&get);
    let mut putter = Client::open(&server);
    putter.open_named("queue");
    putter.call(Operation::QueuePut, queue, (7, FOREVER));
    assert_eq!(getter.reply().0, Value::from(7));
}

#[test]
fn a_deadline_is_kept_without_anything_else_happening() {
    let server = server();
    let mut client = Client::open(&server);
    let queue = client.create(Kind::QUEUE, "queue");
    let start = Instant::now();
    let wait = Duration::from_millis(30);
    let get = client.frame(Operation::QueueGet, queue, (Some(30_000_000u64),));
    client.lane.send(&get);
    let body = client.lane.receive().unwrap();
    assert!(start.elapsed() >= wait, "answered after {:?}", start.elapsed());
    let Reply::Fault { fault, .. } = Reply::read(&body, &ValueLimits::default()).unwrap() else {
        panic!("no fault")
    };
    assert_eq!(fault.code, FaultCode::Timeout);
}

#[test]
fn a_second_call_on_a_waiting_lane_ends_the_session() {
    // One that waits as well, and one of an operation that there is not.
    let unknown = framed(|out| out.extend([1, 9, 0xff, 0xff, 0x03, 0, 5, 0]));
    for unknown in [None, Some(unknown)] {
        let server = server();
        let mut client = Client::open(&server);
        let queue = client.create(Kind::QUEUE, "queue");
        let get = client.frame(Operation::QueueGet, queue, (FOREVER,));
        client.lane.send(&get);
        let second = unknown.unwrap_or_else(|| client.frame(Operation::QueueGet, queue, (FOREVER,)));
        client.lane.send(&second);
        let body = client.lane.receive().unwrap();
        assert!(matches!(
            Reply::read(&body, &ValueLimits::default()).unwrap(),
            Reply::Fault { number: 0, .. }
        ));
        assert!(client.lane.is_closed() && client.control.is_closed());
    }
}

#[test]
fn a_goodbye_while_a_call_waits_is_no_goodbye() {
    let server = server();
    let mut client = Client::open(&server);
    let queue = client.create(Kind::QUEUE, "queue");
    let get = client.frame(Operation::QueueGet, queue, (FOREVER,));
    client.lane.send(&get);
    client.lane.send(&framed(|out| Request::Goodbye.write(out)));
    assert!(client.control.is_closed(), "a call that waits was left behind");
}

#[test]
fn replies_do_not_mix_when_the_reader_is_slow() {
    let server = server();
    let mut client = Client::open(&server);
    let list = client.create(Kind::LIST, "list");
    let queue = client.create(Kind::QUEUE, "queue");
    client.call(Operation::ListAppend, list, ("x".repeat(200 << 10),));
    // The first reply is three times what the pipe takes; while half of it waits, another client brings about the second.
    let first = client.frame(Operation::ListGet, list, (0,));
    let second = client.frame(Operation::QueueGet, queue, (FOREVER,));
    client.lane.send(&first);
    client.lane.send(&second);
    let mut some = Vec::new();
    client.lane.memory().take_some(&mut some, 4096);
    let mut other = Client::open(&server);
    other.open_named("queue");
    other.call(Operation::QueuePut, queue, (7, FOREVER));
    client.lane.received = some;
    let mut replies = (0..2).map(|_| client.lane.receive().expect("a reply"));
    let (long, short) = (replies.next().unwrap(), replies.next().unwrap());
    assert!(long.len() > 200 << 10 && long.split(|&byte| byte == b'x').count() == (200 << 10) + 1);
    let Reply::Done { number, result, .. } = Reply::read(&short, &ValueLimits::default()).unwrap() else {
        panic!("no item");
    };
    assert_eq!((number, result.len()), (client.number, 3));
}

#[test]
fn a_panic_in_a_job_costs_no_helper() {
    let server = server();
    let driver = server.driver();
    for _ in 0..20 {
        assert!(driver.helpers.submit(driver.engine.job_that_panics()).is_ok());
    }
    // A long call is a job like any other: somebody has to be left to run it.
    let mut client = Client::open(&server);
    let items: Vec<_> = (0..100_000u32).rev().collect();
    let contents = Some(&items);
    let (_, handed) = client.call(Operation::Create, 0, (Kind::LIST.0, Some("list"), contents));
    client.call(Operation::ListSort, handed[0], (false,));
    assert_eq!(client.call(Operation::ListGet, handed[0], (0,)).0, Value::from(0));
    // The last of them may still be caught while another helper sorts.
    let start = Instant::now();
    while driver.stats().panics < 20 && start.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    assert_eq!(driver.stats().panics, 20);
}

#[test]
fn a_panic_around_a_long_call_is_answered_and_costs_no_helper() {
    let server = server();
    let mut client = Client::open(&server);
    for round in 0..20 {
        let items: Vec<_> = (0..10_000u32).rev().collect();
        let name = format!("list {round}");
        let (_, handed) = client.call(Operation::Create, 0, (Kind::LIST.0, Some(&name), Some(&items)));
        let remove = client.frame(Operation::ListRemove, handed[0], (PANIC_AROUND,));
        client.lane.send(&remove);
        let body = client.lane.receive().expect("an answer");
        let Reply::Fault { number, fault } = Reply::read(&body, &ValueLimits::default()).unwrap() else {
            panic!("no fault")
        };
        assert_eq!((number, fault.code), (client.number, FaultCode::Poisoned));
    }
    client.call(Operation::Ping, 0, NOTHING);
}

#[test]
fn a_panic_in_a_visit_leaves_nothing_half_done() {
    let server = server();
    let driver = server.driver();
    let mut client = Client::open(&server);
    let session = driver
        .sessions
        .iter()
        .next()
        .map(|session| Arc::clone(&session))
        .unwrap();
    let mut scratch = Scratch::default();
    let mended = std::cell::Cell::new(false);
    driver.visit(
        &mut scratch,
        |scratch| {
            scratch.frame.push(7);
            driver.doom(&session);
            panic!("half way");
        },
        || mended.set(true),
    );
    assert!(mended.get());
    assert!(
        scratch.frame.is_empty(),
        "half a frame is left to be sent to somebody else"
    );
    assert!(client.control.is_closed(), "a session whose end was decided goes on");
    assert_eq!(driver.stats().panics, 1);
}

/// A client whose call waits for an item of the queue.
fn getter(server: &MemoryServer, queue: &str) -> Client {
    let mut getter = Client::open(server);
    let queue = getter.open_named(queue);
    let get = getter.frame(Operation::QueueGet, queue, (FOREVER,));
    getter.lane.send(&get);
    getter
}

/// Cause: the answers that one call brought about for others were lost with the first that could not be delivered. Symptom: the others waited
/// for ever, and the session that was ended was that of the call.
#[test]
fn a_panic_while_an_answer_is_delivered_ends_its_session_and_no_other() {
    let server = server();
    let mut putter = Client::open(&server);
    let queue = putter.create(Kind::QUEUE, "queue");
    let [mut bad, mut good] = [(); 2].map(|()| getter(&server, "queue"));
    let items = [PANIC_RESULT, "item"];
    assert_eq!(
        putter.call(Operation::QueuePutMany, queue, (items, FOREVER)).0,
        Value::from(2)
    );
    assert_eq!(good.reply().0, Value::from("item"));
    assert!(bad.lane.is_closed() && bad.control.is_closed());
    let left = putter.call(Operation::QueueQsize, queue, NOTHING).0;
    assert_eq!(left, Value::from(1), "the item that could not be delivered");
    assert_eq!(server.driver().stats().panics, 1);
}

/// The first call of a batch puts an item, and a panic comes around the second.
fn put_and_panic(client: &mut Client, queue: u64) -> Vec<u8> {
    let calls = ["item", PANIC_AROUND].map(|item| {
        let arguments = to_vec(&(item, 0), &ValueLimits::default()).unwrap();
        let operation = Value::from(Operation::QueuePut.code());
        [operation, Value::from(queue), Value::Bytes(arguments)]
    });
    client.frame(Operation::Batch, 0, (Value::List(calls.concat()),))
}

/// Cause: with the buffers of a visit that had panicked went what the engine had put out. Symptom: a call that the visit had satisfied, and
/// that the engine therefore knew as answered, was never answered.
#[test]
fn a_panic_in_a_call_keeps_no_answer_from_others() {
    let server = server();
    let mut putter = Client::open(&server);
    let queue = putter.create(Kind::QUEUE, "queue");
    let mut getter = getter(&server, "queue");
    let batch = put_and_panic(&mut putter, queue);
    putter.lane.send(&batch);
    assert_eq!(getter.reply().0, Value::from("item"));
    assert!(putter.lane.is_closed() && putter.control.is_closed());
}

/// Cause: what a client had written last was taken by the very steps that end its session. Symptom: with a panic over it these ended too,
/// and the locks of the dead were held for ever.
#[test]
fn a_panic_over_last_words_keeps_no_session_from_its_end() {
    let server = server();
    let mut other = Client::open(&server);
    let lock = other.create(Kind::LOCK, "lock");
    let queue = other.create(Kind::QUEUE, "queue");
    let mut client = Client::open(&server);
    client.open_named("lock");
    client.open_named("queue");
    client.call(Operation::LockAcquire, lock, (1, FOREVER));
    let batch = put_and_panic(&mut client, queue);
    client.lane.memory().push(&batch);
    client.control.memory().hang_up();
    client.control.memory().attend();
    let taken = other.call(Operation::LockAcquire, lock, (1, FOREVER)).0;
    assert!(taken.to_string().contains("True"), "told of the death: {taken}");
    assert!(client.lane.is_closed());
    assert_eq!(server.driver().stats().sessions, 1);
}

#[test]
fn a_call_is_answered_once_at_the_end_of_the_server() {
    let server = server();
    let driver = server.driver();
    let mut getter = Client::open(&server);
    let queue = getter.create(Kind::QUEUE, "queue");
    let get = getter.frame(Operation::QueueGet, queue, (FOREVER,));
    getter.lane.send(&get);
    let lane = driver.lanes.iter().next().map(|lane| Arc::clone(&lane)).unwrap();
    // The server's end has begun, and answers the call; a helper comes a little later with its own answer.
    assert_eq!(lane.answering.swap(0, Ordering::AcqRel), getter.number);
    let mut putter = Client::open(&server);
    putter.open_named("queue");
    putter.call(Operation::QueuePut, queue, (7, FOREVER));
    getter.lane.stream.set_timeout(Some(Duration::from_millis(1))).unwrap();
    let received = getter.lane.stream.receive(&mut getter.lane.received, 1 << 20);
    assert!(received.is_err(), "it was answered twice: {:?}", getter.lane.received);
}
