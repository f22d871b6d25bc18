//! Rings without threads: the test is the only worker, and time passes when it says so.

use std::os::fd::OwnedFd;

use byproxy_proto::frame::{DOORBELL, PREFIX_BYTES, Reply, Request};
use byproxy_proto::handshake::{Hello, Purpose, Welcome};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Kind, Limits as ValueLimits, to_vec};
use serde::Serialize;

use super::*;
use crate::engine::{Engine, Settings, Time};
use crate::server::Limits;
use crate::server::connection::Source;
use crate::transport::ring::Connected;
use crate::transport::unix::{Listener, Socket};
use crate::transport::{Stream, Wire};

/// How long a client waits before its test fails.
const STUCK: Duration = Duration::from_secs(20);
/// How often a ring is looked at before it counts as one that is never parked.
const SCANS_MAX: u32 = 1_000 * YIELDS;
const AN_HOUR: u64 = 3_600_000_000_000;
const NOTHING: [u8; 0] = [];
const FOREVER: Option<u64> = None;

/// A server that does nothing by itself.
struct Still {
    driver: Arc<Driver>,
    listener: Listener,
    scratch: Scratch,
    directory: tempfile::TempDir,
}

/// A session with one lane, and the server's ends of both.
struct Client {
    control: Stream,
    control_end: Arc<Connection>,
    stream: Stream,
    lane: Arc<Connection>,
    number: u64,
}

impl Still {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            driver: Driver::start(Engine::new(1, Settings::default()), Limits::default(), 1).unwrap(),
            listener: Listener::bind(&directory.path().join("socket")).unwrap(),
            scratch: Scratch::default(),
            directory,
        }
    }

    fn client(&mut self) -> Client {
        let (control, control_end, session, secret) = self.connect(Purpose::Control);
        let (stream, lane, ..) = self.connect(Purpose::Lane { session, secret });
        Client {
            control,
            control_end,
            stream,
            lane,
            number: 0,
        }
    }

    fn connect(&mut self, purpose: Purpose) -> (Stream, Arc<Connection>, u64, u128) {
        let socket = Socket::connect(&self.directory.path().join("socket"), STUCK).unwrap();
        let stream = Stream::Unix(Connected::new(socket));
        stream.set_timeout(Some(STUCK)).unwrap();
        let wire = Wire::Unix(Served::new(self.listener.accept().unwrap()));
        let end = self.driver.admit(wire, std::process::id()).unwrap();
        send(&stream, |out| Hello::new(purpose, "test").write(out));
        self.serve(&end);
        let body = receive(&stream);
        let welcome = Welcome::read(&body).unwrap().unwrap();
        (stream, end, welcome.session, welcome.secret)
    }

    /// What a worker does that is woken by this connection: reads its socket once, and then looks at its ring until it is parked.
    fn serve(&mut self, connection: &Arc<Connection>) {
        let driver = Arc::clone(&self.driver);
        driver.attend(connection, &mut self.scratch, |scratch| {
            driver.read(connection, Source::Socket, scratch);
        });
        let mut rings = Rings::new(1);
        rings.add(connection);
        for _ in 0..SCANS_MAX {
            if rings.is_empty() {
                return;
            }
            rings.scan(&driver, &mut self.scratch);
        }
        panic!("a worker that never sleeps again");
    }

    /// Ends a client's session, as its control connection does.
    fn end(&mut self, client: &Client) {
        client.control.close();
        self.serve(&client.control_end);
    }

    /// Has all looks at idle rings done that are on the timer's list; returns how many those are.
    fn an_hour_later(&mut self) -> usize {
        let mut looks = 0;
        let later = Time(self.driver.timer.now().0 + AN_HOUR);
        for chore in self.driver.timer.expire(later) {
            if let Chore::Rest(lane) = chore
                && let Some(lane) = lane.upgrade()
            {
                self.driver.rest(&lane, &mut self.scratch);
                looks += 1;
            }
        }
        looks
    }

    fn rings(&self) -> usize {
        self.driver.stats().rings
    }
}

impl Client {
    /// Asks for a ring and returns its memory, which is not used yet.
    fn ask(&self, server: &mut Still) -> OwnedFd {
        self.send_asking();
        server.serve(&self.lane);
        let mut frame = Vec::new();
        let (_, memory) = self.connected().receive_with_descriptor(&mut frame, 4096).unwrap();
        memory.expect("a new ring")
    }

    fn send_asking(&self) {
        send(&self.stream, |out| Request::Ring { number: 1 << 40 }.write(out));
    }

    /// Goes on in a ring.
    fn turn(&self, server: &mut Still) {
        let memory = self.ask(server);
        assert!(self.connected().go_on_in_ring(Some(memory)));
    }

    fn connected(&self) -> &Connected {
        self.stream.connected().unwrap()
    }

    fn send(&mut self, operation: Operation, object: u64, arguments: impl Serialize) {
        self.number += 1;
        let arguments = to_vec(&arguments, &ValueLimits::default()).unwrap();
        let call = frame::Call {
            number: self.number,
            operation,
            object,
            arguments: &arguments,
        };
        send(&self.stream, |out| Request::Call(call).write(out));
    }

    /// Returns the result of the call that was sent, and the first reference it hands over.
    fn receive(&self) -> (Vec<u8>, Option<u64>) {
        let body = receive(&self.stream);
        self.stream.consume();
        match Reply::read(&body, &ValueLimits::default()).unwrap() {
            Reply::Done { number, handed, result } => {
                assert_eq!(number, self.number);
                (result.to_vec(), handed.first().copied())
            }
            other => panic!("no result: {other:?}"),
        }
    }

    fn call(
        &mut self,
        server: &mut Still,
        operation: Operation,
        object: u64,
        arguments: impl Serialize,
    ) -> (Vec<u8>, Option<u64>) {
        self.send(operation, object, arguments);
        server.serve(&self.lane);
        self.receive()
    }

    /// Makes a queue with a place for one item, and puts one there.
    fn full_queue(&mut self, server: &mut Still) -> u64 {
        let described = (Kind::QUEUE.0, Some("queue"), Some((0u8, 1u64)));
        let queue = self.call(server, Operation::Create, 0, described).1.unwrap();
        self.call(server, Operation::QueuePut, queue, (1, FOREVER));
        queue
    }
}

fn send(stream: &Stream, body: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    frame::write::<FrameError>(&mut bytes, usize::MAX, |out| {
        body(out);
        Ok(())
    })
    .unwrap();
    stream.send(&bytes, &mut 0).unwrap();
}

/// The next frame's body.
fn receive(stream: &Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        while bytes.starts_with(&DOORBELL) {
            bytes.drain(..DOORBELL.len());
        }
        if let Some(body) = frame::split(&bytes, usize::MAX).unwrap() {
            assert_eq!(bytes.len(), PREFIX_BYTES + body.len());
            return body.to_vec();
        }
        assert_ne!(
            stream.receive(&mut bytes, 4096).unwrap(),
            0,
            "the end instead of a frame"
        );
    }
}

/// Cause: the session's end had closed the lane's ring, so asking for it again looked like asking for a first one and took a second
/// place, of which one was given back. Symptom: after enough such ends no lane got a ring any more.
#[test]
fn asking_for_a_ring_while_the_session_ends_costs_no_place() {
    let mut server = Still::start();
    let client = server.client();
    client.ask(&mut server);
    assert_eq!(server.rings(), 1);
    // The request lies unread when the session ends.
    client.send_asking();
    server.end(&client);
    assert_eq!(server.rings(), 0);
    assert_eq!(server.driver.stats().rings_opened, 1, "a ring for a session that ends");

    // The same when a worker takes the request between the two steps of the end.
    let client = server.client();
    client.ask(&mut server);
    client.send_asking();
    client.lane.wire.close_reading();
    server.serve(&client.lane);
    server.end(&client);
    assert_eq!(server.rings(), 0);
}

/// Cause: at its session's end a ring was drained only if an earlier call had been taken from it. Symptom: the first call in a ring was
/// lost if its client died before a worker looked.
#[test]
fn the_first_call_in_a_ring_is_taken_before_the_end_of_its_session() {
    let mut server = Still::start();
    let mut other = server.client();
    let list = (Kind::LIST.0, Some("list"), None::<()>);
    let list = other.call(&mut server, Operation::Create, 0, list).1.unwrap();
    let mut client = server.client();
    client.call(&mut server, Operation::Open, 0, ("list",));
    client.turn(&mut server);
    client.send(Operation::ListAppend, list, (1,));
    server.end(&client);
    let (length, _) = other.call(&mut server, Operation::ListLen, list, NOTHING);
    assert_eq!(length, to_vec(&1, &ValueLimits::default()).unwrap());
}

#[test]
fn a_ring_that_was_busy_at_one_look_is_retired_at_a_later_one() {
    let mut server = Still::start();
    let mut client = server.client();
    client.turn(&mut server);
    for _ in 0..3 {
        client.call(&mut server, Operation::Ping, 0, NOTHING);
        server.an_hour_later();
        assert_eq!(server.rings(), 1, "it was used since the last look");
    }
    server.an_hour_later();
    assert_eq!(server.rings(), 0, "nobody looks at it any more");
    client.call(&mut server, Operation::Ping, 0, NOTHING);
    assert!(!client.connected().is_on_ring());
}

#[test]
fn a_ring_is_kept_for_a_call_that_waits_and_retired_after_its_reply() {
    let mut server = Still::start();
    let mut client = server.client();
    let queue = client.full_queue(&mut server);
    client.turn(&mut server);
    client.send(Operation::QueuePut, queue, (2, FOREVER));
    server.serve(&client.lane);
    assert_eq!(server.an_hour_later(), 1);
    assert_eq!(server.rings(), 1, "its reply has no other way");
    assert_eq!(
        server.an_hour_later(),
        0,
        "it is looked at again and again while it waits"
    );
    let mut other = server.client();
    other.call(&mut server, Operation::Open, 0, ("queue",));
    other.call(&mut server, Operation::QueueGet, queue, (FOREVER,));
    // The client reads, and calls nobody: only the reply has had somebody look.
    client.receive();
    server.an_hour_later();
    assert_eq!(server.rings(), 0, "nobody looks at it any more");
}

/// Cause: only a reply that went through the ring had somebody look at it again. Symptom: a client that has a ring and does not use it kept its
/// place, once a call of its had waited for a second.
#[test]
fn a_ring_that_is_not_used_is_retired_after_a_long_wait_on_the_socket() {
    let mut server = Still::start();
    let mut client = server.client();
    let queue = client.full_queue(&mut server);
    drop(client.ask(&mut server));
    client.send(Operation::QueuePut, queue, (2, FOREVER));
    server.serve(&client.lane);
    server.an_hour_later();
    assert_eq!(server.rings(), 1, "its client may still turn to it");
    let mut other = server.client();
    other.call(&mut server, Operation::Open, 0, ("queue",));
    other.call(&mut server, Operation::QueueGet, queue, (FOREVER,));
    client.receive();
    server.an_hour_later();
    assert_eq!(server.rings(), 0, "nobody looks at it any more");
}

/// Cause: output that waited for the socket counted as output that waits for the ring, where there is room. Symptom: the worker burned a
/// processor until the client read.
#[test]
fn output_that_waits_for_the_socket_keeps_no_worker_awake() {
    let mut server = Still::start();
    let mut client = server.client();
    let list = (Kind::LIST.0, None::<&str>, None::<()>);
    let list = client.call(&mut server, Operation::Create, 0, list).1.unwrap();
    for _ in 0..40 {
        client.call(&mut server, Operation::ListAppend, list, ("x".repeat(50_000),));
    }
    client.ask(&mut server);
    client.send(Operation::ListSnapshot, list, NOTHING);
    server.serve(&client.lane);
    assert!(client.lane.has_unsent());
}

/// Cause: only a call had its answer sent to where it came from. Symptom: whoever began in a ring with something else found the answer on the
/// socket, where an answer means that the ring is closed.
#[test]
fn what_is_no_call_is_answered_in_the_ring_as_well() {
    for (begin, code) in [
        (&[1, 1, 0xff, 0xff, 0x03, 0, 5, 0][..], FaultCode::UnknownOperation),
        (&[0xff], FaultCode::Malformed),
    ] {
        let mut server = Still::start();
        let client = server.client();
        client.turn(&mut server);
        let read = client.lane.ring().unwrap().written();
        send(&client.stream, |out| out.extend(begin));
        server.serve(&client.lane);
        assert_ne!(client.lane.wire.served().unwrap().any_ring().unwrap().written(), read);
        let body = receive(&client.stream);
        let Reply::Fault { fault, .. } = Reply::read(&body, &ValueLimits::default()).unwrap() else {
            panic!("no fault")
        };
        assert_eq!(fault.code, code);
    }
}

/// Cause: a worker that parked its rings went to sleep without setting the timer. Symptom: on a quiet server idle rings were kept until
/// something else happened.
#[test]
fn the_timer_is_set_for_a_ring_that_was_parked() {
    let mut server = Still::start();
    let client = server.client();
    // Nothing comes behind this that would set it.
    client.turn(&mut server);
    let set = rustix::time::timerfd_gettime(server.driver.timer.descriptor()).unwrap();
    let left = Duration::try_from(set.it_value).unwrap();
    assert!(left > Duration::ZERO && left <= REST_AFTER, "{left:?}");
}

/// Cause: a worker without rings looked at them in vain all the same, with every event. Symptom: it gave its processor away before nearly
/// every call that came over a socket.
#[test]
fn who_has_no_rings_gives_nothing_away_for_them() {
    let mut server = Still::start();
    let mut rings = Rings::new(1);
    for _ in 0..SCANS_MAX {
        rings.scan(&server.driver, &mut server.scratch);
    }
    assert_eq!(
        rings.looks.again(&rings.eagerness, YIELDS),
        Looked::Spun,
        "it begins anew"
    );
}

#[test]
fn a_client_that_does_not_wait_for_its_replies_lets_others_have_their_turn() {
    const CALLS: u64 = 100;
    let mut server = Still::start();
    let mut client = server.client();
    client.turn(&mut server);
    for _ in 0..CALLS {
        client.send(Operation::Ping, 0, NOTHING);
    }
    let driver = Arc::clone(&server.driver);
    let mut rings = Rings::new(1);
    rings.add(&client.lane);
    for visits in 1..=CALLS.div_ceil(16) {
        let before = client.lane.ring().unwrap().written();
        rings.scan(&driver, &mut server.scratch);
        let replies = client.lane.ring().unwrap().written() - before;
        assert!(
            replies > 0,
            "after {visits} visits: what was left over is looked at though nothing came"
        );
        // The reply to a ping takes less than that.
        assert!(replies <= 16 * 24, "after {visits} visits: {replies} bytes of replies");
    }
    while !rings.is_empty() {
        rings.scan(&driver, &mut server.scratch);
    }
    let mut replies = Vec::new();
    while client.lane.ring().is_some_and(|ring| !ring.is_consumed()) {
        client.stream.receive(&mut replies, 1 << 20).unwrap();
        client.stream.consume();
    }
    let mut rest = replies.as_slice();
    for expected in 1..=CALLS {
        let body = frame::split(rest, usize::MAX).unwrap().expect("a reply for each call");
        rest = &rest[PREFIX_BYTES + body.len()..];
        let reply = Reply::read(body, &ValueLimits::default()).unwrap();
        assert!(
            matches!(reply, Reply::Done { number, .. } if number == expected),
            "{reply:?}"
        );
    }
    assert!(rest.is_empty());
}

/// What a worker does that finds something in a ring whenever it looks.
fn call_while_scanned(client: &mut Client, server: &mut Still, rings: &mut Rings) {
    client.send(Operation::Ping, 0, NOTHING);
    // More than once if the last scan was broken off behind this ring.
    while client.lane.is_ready(client.lane.ring().unwrap()) {
        rings.scan(&Arc::clone(&server.driver), &mut server.scratch);
    }
    client.receive();
}

#[test]
fn sockets_and_timers_have_their_turn_beside_a_ring_that_is_never_empty() {
    let mut server = Still::start();
    let mut client = server.client();
    client.turn(&mut server);
    let mut rings = Rings::new(1);
    rings.add(&client.lane);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_nanos(2 * LOOK_AFTER));
        let calls = (1..=PIECES).find(|_| {
            call_while_scanned(&mut client, &mut server, &mut rings);
            rings.is_time_to_look(&server.driver)
        });
        // The clock, too, is not looked at with every call.
        let most = PIECES / PIECES_OF_VISIT;
        assert!(calls.is_some_and(|calls| (2..=most).contains(&calls)), "{calls:?}");
    }
}

/// Cause: the clock was looked at between two scans of all rings. Symptom: with hundreds of rings and large batches in each, a timeout and the
/// end of a process waited for all of them.
#[test]
fn they_have_their_turn_amid_a_scan_of_many_rings() {
    const RINGS: usize = 40;
    let mut server = Still::start();
    let mut clients: Vec<_> = (0..RINGS).map(|_| server.client()).collect();
    let mut rings = Rings::new(1);
    for client in &mut clients {
        client.turn(&mut server);
        rings.add(&client.lane);
        client.send(Operation::Ping, 0, NOTHING);
    }
    let driver = Arc::clone(&server.driver);
    let ready = || {
        let lanes = clients.iter().map(|client| &client.lane);
        lanes.filter(|lane| lane.is_ready(lane.ring().unwrap())).count()
    };
    assert_eq!(ready(), RINGS);
    std::thread::sleep(Duration::from_nanos(2 * LOOK_AFTER));
    rings.scan(&driver, &mut server.scratch);
    assert_eq!(RINGS - ready(), (PIECES / PIECES_OF_VISIT) as usize);
    assert!(rings.is_time_to_look(&driver));
    // The others are next, and those that had their turn come after them.
    for before in (0..ready()).rev() {
        rings.scan(&driver, &mut server.scratch);
        assert!(ready() <= before);
        if ready() == 0 {
            break;
        }
    }
    for client in &mut clients {
        client.receive();
    }
}

#[test]
fn a_ring_without_calls_is_parked_alone_while_another_is_never_empty() {
    let mut server = Still::start();
    let [mut busy, mut idle] = [server.client(), server.client()];
    let mut rings = Rings::new(1);
    for client in [&busy, &idle] {
        client.turn(&mut server);
        rings.add(&client.lane);
    }
    idle.lane.ring().unwrap().runs_on(Some(1));
    let scans = (1..=2 * SCANS_IN_VAIN).find(|_| {
        call_while_scanned(&mut busy, &mut server, &mut rings);
        !idle.lane.scanned.load(Ordering::Relaxed)
    });
    // Some scans are broken off for sockets and timers before they come to it.
    assert!(scans.is_some_and(|scans| scans > SCANS_IN_VAIN / 2), "{scans:?}");
    assert!(busy.lane.scanned.load(Ordering::Relaxed));
    call_while_scanned(&mut busy, &mut server, &mut rings);
    assert_eq!(rings.scanned.len(), 1);
    assert_eq!(idle.connected().processor(), None, "it is not told any more");
    // The other's client calls by the socket from here on.
    idle.send(Operation::Ping, 0, NOTHING);
    let socket = idle.lane.wire.descriptor().unwrap();
    assert_eq!(rustix::io::ioctl_fionread(socket).unwrap(), DOORBELL.len() as u64);
    server.serve(&idle.lane);
    idle.receive();
}

/// Cause: a visit that left requests over for the next read one record more each time, however large. Symptom: a client of many small requests
/// made the server's memory grow, and each visit longer.
#[test]
fn what_is_left_over_does_not_pile_up() {
    let mut server = Still::start();
    let client = server.client();
    client.turn(&mut server);
    let release = {
        let mut bytes = Vec::new();
        frame::write::<FrameError>(&mut bytes, usize::MAX, |out| {
            Request::Release(Vec::new()).write(out);
            Ok(())
        })
        .unwrap();
        bytes
    };
    let many = release.repeat(5_000);
    let driver = Arc::clone(&server.driver);
    let mut rings = Rings::new(1);
    rings.add(&client.lane);
    let mut sent = many.len();
    for _ in 0..200 {
        // As much as there is room for, and never a part of a frame twice.
        if sent == many.len() {
            sent = 0;
        }
        sent += client.stream.send_now(&many[sent..]).unwrap_or(0);
        rings.scan(&driver, &mut server.scratch);
        let held = client.lane.inbound.lock().pending_in_ring.len();
        assert!(held <= 2 * (64 << 10), "{held} bytes");
    }
}

#[test]
fn a_worker_says_where_it_runs_while_it_has_few_rings() {
    let mut server = Still::start();
    let mut rings = Rings::new(1);
    rings.processors = 2;
    let clients: Vec<_> = (0..3).map(|_| server.client()).collect();
    for client in &clients {
        client.turn(&mut server);
    }
    let mut said_to = |server: &mut Still, clients: &[Client]| {
        for client in clients {
            rings.add(&client.lane);
        }
        while !rings.looks.has_yielded() {
            rings.scan(&server.driver, &mut server.scratch);
        }
        let said: Vec<_> = clients.iter().map(|client| client.connected().processor()).collect();
        let many = clients.len() > 2;
        for client in clients {
            assert_eq!(client.connected().is_one_of_many(), many);
        }
        while !rings.is_empty() {
            rings.scan(&server.driver, &mut server.scratch);
        }
        assert_eq!(rings.said, None, "nobody knows where it wakes");
        for client in clients {
            assert!(!client.connected().is_one_of_many(), "nobody looks");
        }
        said
    };
    let is_said = |said: Vec<Option<usize>>| said.iter().all(Option::is_some);
    assert!(is_said(said_to(&mut server, &clients[..2])));
    assert_eq!(
        said_to(&mut server, &clients),
        [None; 3],
        "they would only push each other around"
    );
    assert!(is_said(said_to(&mut server, &clients[..1])));
}
