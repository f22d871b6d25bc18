//! Rings under clients that ask for them at the wrong time, leave them, and write anything in them.

use crate::alone::alone;
use crate::ring::{
    ASKED, CAPACITY, Given, REPLIES_HEAD, REPLIES_TAIL, REQUESTS, REQUESTS_HEAD, REQUESTS_TAIL, RING_BYTES, Ring,
    SERVER_WAITS, ask, ask_in_vain, call_server, ring,
};
use crate::support::{Client, NOTHING, Raw, STUCK, Sent, Served, call, framed, message, until};
use byproxy::Manager;
use byproxy::server::Limits;
use byproxy_proto::frame::{DOORBELL, Reply, Request};
use byproxy_proto::op::Operation;
use byproxy_proto::value::Limits as ValueLimits;
use rustix::net::RecvFlags;
use std::time::{Duration, Instant};

/// A server with a place for so many rings.
fn with_places(places: usize) -> Served {
    Served::with(Limits {
        ring_bytes_max: places * RING_BYTES,
        ..Limits::default()
    })
}

#[test]
fn whoever_asks_again_has_the_ring_it_had_and_takes_no_second_place() {
    let served = with_places(2);
    let mut client = served.client();
    let mut ring = ring(&mut client);
    for _ in 0..100 {
        assert!(matches!(ask(&mut client), Given::Again));
    }
    assert_eq!(served.handle.stats().rings, 1);
    ring.send(&mut client, &call(1, Operation::Ping, 0, NOTHING));
    let reply = ring.receive();
    assert!(matches!(
        Reply::read(&reply[4..], &ValueLimits::default()).unwrap(),
        Reply::Done { number: 1, .. }
    ));
    client.ping();
}

/// Cause: a ring was there from the moment it was made, also when its descriptor had not been sent. Symptom: the next time the lane was told
/// to go on in the ring that it had, had none, and stayed on its socket for good, while its place was taken.
#[test]
fn a_ring_whose_descriptor_was_not_sent_is_sent_the_next_time() {
    let served = with_places(1);
    let mut client = served.client();
    let list = client.new_list(None);
    client
        .call(Operation::ListAppend, list, ("x".repeat(8 << 20),))
        .unwrap();
    let asking = framed(|out| Request::Ring { number: ASKED }.write(out));
    for _ in 0..2 {
        // The reply is more than the socket holds, so that there is no room for a descriptor behind it.
        let get = call(1, Operation::ListGet, list, (0,));
        client.lane.send(&[get, asking.clone()].concat());
        let before = std::cell::Cell::new(0);
        until("the socket is full", || {
            std::thread::sleep(Duration::from_millis(10));
            let now = rustix::io::ioctl_fionread(&client.lane.0).unwrap();
            now > 0 && now == before.replace(now)
        });
        let Sent::Frame(item) = client.lane.receive() else {
            panic!("closed")
        };
        assert!(item.len() > 8 << 20);
        let Sent::Frame(told) = client.lane.receive() else {
            panic!("closed")
        };
        assert!(message(&told).starts_with("TooMany:"), "{}", message(&told));
        assert_eq!(served.handle.stats().rings, 0, "it takes no place");
    }
    let mut ring = ring(&mut client);
    assert_eq!(served.handle.stats().rings, 1);
    ring.send(&mut client, &call(1, Operation::Ping, 0, NOTHING));
    let reply = ring.receive();
    assert!(matches!(
        Reply::read(&reply[4..], &ValueLimits::default()).unwrap(),
        Reply::Done { number: 1, .. }
    ));
    assert!(matches!(ask(&mut client), Given::Again));
}

#[test]
fn beyond_the_cap_there_is_none_until_somebody_leaves() {
    let served = with_places(1);
    let mut first = served.client();
    let mut second = served.client();
    let _ring = ring(&mut first);
    for _ in 0..3 {
        assert!(ask_in_vain(&mut second).starts_with("TooMany:"));
        second.ping();
    }
    assert_eq!(served.handle.stats().rings, 1);
    drop(first);
    until("its place is free", || served.handle.stats().rings == 0);
    ring(&mut second);
    second.ping();
}

#[test]
fn a_server_without_rings_says_so_and_the_lane_goes_on() {
    for limits in [
        Limits {
            ring_after: 0,
            ..Limits::default()
        },
        Limits {
            ring_bytes_max: 0,
            ..Limits::default()
        },
    ] {
        let served = Served::with(limits);
        let mut client = served.client();
        let told = ask_in_vain(&mut client);
        assert!(
            told.starts_with("Unsupported:") || told.starts_with("TooMany:"),
            "{told}"
        );
        client.ping();
        assert_eq!(served.handle.stats().rings, 0);
    }
}

#[test]
fn asking_at_the_wrong_time_or_place_ends_the_session() {
    let served = Served::start();
    let asking = framed(|out| Request::Ring { number: ASKED }.write(out));

    let mut waiting = served.client();
    let queue = (3u8, None::<&str>, Some((0u8, 0u64)));
    let (_, handed) = waiting.call(Operation::Create, 0, queue).unwrap();
    waiting.send_call(Operation::QueueGet, handed[0], (None::<u64>,));
    waiting.lane.send(&asking);
    assert!(waiting.lane.expect_refusal().starts_with("Malformed:"));
    waiting.control.expect_end();

    let mut unnumbered = served.client();
    let frame = framed(|out| Request::Ring { number: 0 }.write(out));
    unnumbered.lane.send(&frame);
    assert!(unnumbered.lane.expect_refusal().starts_with("Malformed:"));

    let mut misled = served.client();
    misled.control.send(&asking);
    assert!(misled.control.expect_refusal().starts_with("Malformed:"));

    let mut stranger = served.stranger();
    stranger.send(&asking);
    assert!(stranger.expect_refusal().starts_with("Malformed:"));

    let mut inside = served.client();
    let mut ring = ring(&mut inside);
    ring.send(&mut inside, &asking);
    inside.control.expect_end();
    until("nothing is left of them", || {
        let stats = served.handle.stats();
        (stats.sessions, stats.rings) == (0, 0)
    });
}

#[test]
fn doorbells_are_for_lanes_with_rings_and_change_nothing_there() {
    let served = Served::start();
    let mut client = served.client();
    let _ring = ring(&mut client);
    // Many, cut anywhere, and in front of a call.
    let mut bells = DOORBELL.repeat(50_000);
    bells.extend(&DOORBELL[..3]);
    client.lane.send(&bells);
    client.lane.send(&DOORBELL[3..]);
    client.ping();
    // Within a frame they are its contents.
    let list = client.new_list(None);
    let item = "\0".repeat(64);
    client.call(Operation::ListAppend, list, (&item,)).unwrap();
    let (result, _) = client.call(Operation::ListGet, list, (0,)).unwrap();
    assert!(result.windows(64).any(|window| window == item.as_bytes()));

    let mut without = served.client();
    without.lane.send(&DOORBELL);
    assert!(without.lane.expect_refusal().starts_with("Malformed:"));
    let mut stranger = served.stranger();
    stranger.send(&DOORBELL);
    assert!(stranger.expect_refusal().starts_with("Malformed:"));
    client.control.send(&DOORBELL);
    assert!(client.control.expect_refusal().starts_with("Malformed:"));
}

#[test]
fn a_ring_that_is_never_used_gives_its_place_back_and_comes_again() {
    let served = with_places(1);
    let mut idle = served.client();
    let mut ring = ring(&mut idle);
    let start = Instant::now();
    idle.ping();
    until("it is retired", || served.handle.stats().rings == 0);
    assert!(
        start.elapsed() >= Duration::from_millis(500),
        "it had no time to be used"
    );

    let mut other = served.client();
    assert!(matches!(ask(&mut other), Given::Ring(_)));
    assert!(ask_in_vain(&mut idle).starts_with("TooMany:"));
    drop(other);
    until("its place is free", || served.handle.stats().rings == 0);
    assert!(matches!(ask(&mut idle), Given::Again));
    ring.send(&mut idle, &call(7, Operation::Ping, 0, NOTHING));
    assert!(!ring.receive().is_empty());
}

#[test]
fn what_is_written_to_a_retired_ring_is_not_taken() {
    let served = Served::start();
    let mut client = served.client();
    let list = client.new_list(None);
    let mut ring = ring(&mut client);
    until("it is retired", || served.handle.stats().rings == 0);
    // No honest client gets past the mark in the index.
    ring.send(&mut client, &call(7, Operation::ListAppend, list, (1,)));
    client.ping();
    let (length, _) = client.call(Operation::ListLen, list, NOTHING).unwrap();
    assert_eq!(
        length,
        byproxy_proto::value::to_vec(&0, &ValueLimits::default()).unwrap()
    );
}

#[test]
fn nonsense_in_a_ring_ends_its_session_and_harms_nobody_else() {
    let served = Served::start();
    let mut other = served.client();
    let closed = 1 << 63;
    let nonsense: [&dyn Fn(&Ring); 6] = [
        &|ring| ring.set(REQUESTS_TAIL, CAPACITY + 8),
        &|ring| ring.set(REQUESTS_TAIL, u64::MAX),
        &|ring| ring.set(REQUESTS_TAIL, 3),
        // A record without a length, one that is longer than what was written, and one that is longer than anything.
        &|ring| ring.set(REQUESTS_TAIL, 16),
        &|ring| {
            ring.set(REQUESTS, 64);
            ring.set(REQUESTS_TAIL, closed | 16);
        },
        &|ring| {
            ring.set(REQUESTS, u64::MAX);
            ring.set(REQUESTS_TAIL, 16);
        },
    ];
    for nonsense in nonsense {
        let mut client = served.client();
        let ring = ring(&mut client);
        nonsense(&ring);
        call_server(&mut client);
        client.control.expect_end();
        other.ping();
    }
    // An index of what was read is looked at when the replies have filled the ring.
    let mut client = served.client();
    let mut ring = ring(&mut client);
    ring.set(REPLIES_HEAD, u64::MAX >> 2);
    let start = Instant::now();
    for number in 1.. {
        let before = ring.word(REPLIES_TAIL);
        ring.send(&mut client, &call(number, Operation::Ping, 0, NOTHING));
        while ring.word(REPLIES_TAIL) == before && !ended(&client) {
            assert!(start.elapsed() < STUCK, "neither a reply nor the end");
            std::thread::yield_now();
        }
        if ended(&client) {
            break;
        }
        assert!(before < CAPACITY, "it fills a ring that nobody empties");
    }
    other.ping();
    until("nothing is left of them", || {
        let stats = served.handle.stats();
        (stats.sessions, stats.rings) == (1, 0)
    });
}

/// Cause: with the lane of a client that was refused its last delivery was forgotten, before anybody had looked at the index that takes it.
/// Symptom: the item that the client had taken was given to the next one as well.
#[test]
fn what_was_taken_from_a_ring_before_a_refusal_is_not_given_again() {
    let served = Served::start();
    let manager = Manager::connect(format!("unix:{}", served.path.display())).unwrap();
    let queue = manager.queue_named::<String>("jobs", 0).unwrap();
    for taken in [true, false] {
        queue.put("item").unwrap();
        let before = queue.audit().unwrap();
        let mut client = served.client();
        let jobs = (3u8, Some("jobs"), Some((0u8, 0u64)));
        let (_, handed) = client.call(Operation::Create, 0, jobs).unwrap();
        let mut ring = ring(&mut client);
        ring.send(&mut client, &call(7, Operation::QueueGet, handed[0], (None::<u64>,)));
        // Nobody looks at the ring any more: what is taken now is found out by whoever deals with the refusal, or not at all.
        until("the server waits for the socket", || {
            ring.word(REPLIES_TAIL) != 0 && ring.word(SERVER_WAITS) != 0
        });
        if taken {
            ring.receive();
        }
        let mut nonsense = framed(|out| Request::Confirm { number: 100 }.write(out));
        nonsense[4..].fill(0xff);
        client.lane.send(&nonsense);
        client.control.expect_end();
        let after = || {
            let audit = queue.audit().unwrap();
            (
                audit.committed - before.committed,
                audit.waiting + 1 - before.waiting,
                audit.in_flight,
            )
        };
        let expected = if taken { (1, 0, 0) } else { (0, 1, 0) };
        until("the session has ended", || after().2 == 0);
        assert_eq!(after(), expected, "taken: {taken}");
    }
}

/// Whether the server has ended the session.
fn ended(client: &Client) -> bool {
    is_readable(&client.control)
}

/// Whether something has come that was not read, or the end.
fn is_readable(connection: &Raw) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    rustix::net::recv(&connection.0, &mut [0], flags).is_ok()
}

#[test]
fn scribbling_harms_the_scribbler_only() {
    let served = Served::start();
    let mut other = served.client();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..60 {
        let mut client = served.client();
        let mut ring = ring(&mut client);
        ring.send(&mut client, &call(1, Operation::Ping, 0, NOTHING));
        ring.receive();
        for _ in 0..50 {
            let words = [
                REQUESTS_TAIL,
                REQUESTS_HEAD,
                REPLIES_TAIL,
                REPLIES_HEAD,
                512,
                520,
                640,
                648,
            ];
            let at = match next() % 4 {
                0 => next() % (RING_BYTES as u64 / 8) * 8,
                // The length of the next request, which is believed only as far as the ring goes.
                1 => REQUESTS + ring.written % CAPACITY,
                _ => words[usize::try_from(next() % 8).unwrap()],
            };
            let word = match next() % 4 {
                0 => next(),
                1 => next() % 64 * 8,
                2 => next() % 3,
                _ => next() | 1 << (62 + next() % 2),
            };
            ring.set(at, word);
            call_server(&mut client);
        }
        other.ping();
    }
    until("nothing is left of them", || {
        let stats = served.handle.stats();
        (stats.sessions, stats.rings) == (1, 0)
    });
    other.ping();
}

/// A client with a ring, and a list with one item of so many bytes.
fn with_item(served: &Served, bytes: usize) -> (Client, Ring, u64) {
    let mut client = served.client();
    let list = client.new_list(None);
    client.call(Operation::ListAppend, list, ("x".repeat(bytes),)).unwrap();
    let ring = ring(&mut client);
    (client, ring, list)
}

impl Ring {
    /// Asks for an item that is larger than the ring, and waits until the ring is full.
    fn fill(&mut self, client: &mut Client, number: u64, list: u64) {
        self.send(client, &call(number, Operation::ListGet, list, (0,)));
        until("the ring is full", || self.word(REPLIES_TAIL) > CAPACITY - 16);
    }
}

/// Cause: while a client's output waited nothing was read from its socket, bells included. Symptom: the worker, which its socket woke
/// again and again, burned a processor.
#[test]
fn bells_that_come_while_the_ring_is_full_keep_nobody_awake() {
    let served = Served::with(Limits {
        unread_bytes_max: 100_000,
        ..Limits::default()
    });
    let (mut client, mut ring, list) = with_item(&served, 300_000);
    ring.fill(&mut client, 101, list);
    for _ in 0..20 {
        client.lane.send(&DOORBELL);
        std::thread::sleep(Duration::from_millis(1));
    }
    let before = served.handle.stats().sleeps;
    std::thread::sleep(Duration::from_millis(300));
    let sleeps = served.handle.stats().sleeps - before;
    assert!(sleeps < 30, "a worker woke {sleeps} times to do nothing");
    // What they are about is done all the same.
    let mut reply = Vec::new();
    while reply.len() < 300_000 {
        reply.extend(ring.receive());
        client.lane.send(&DOORBELL);
    }
    assert!(matches!(
        Reply::read(&reply[4..], &ValueLimits::default()).unwrap(),
        Reply::Done { number: 101, .. }
    ));
    ring.send(&mut client, &call(102, Operation::Ping, 0, NOTHING));
    assert!(!ring.receive().is_empty());
}

#[test]
fn what_is_no_bell_ends_the_session_while_the_ring_is_full() {
    let served = Served::with(Limits {
        unread_bytes_max: 100_000,
        stuck_wait: Duration::from_hours(1),
        ..Limits::default()
    });
    let mut other = served.client();
    let (mut client, mut ring, list) = with_item(&served, 300_000);
    ring.fill(&mut client, 101, list);
    client.lane.send(&DOORBELL);
    client
        .lane
        .send(&framed(|out| Request::Confirm { number: 100 }.write(out)));
    client.control.expect_end();

    let (mut client, mut ring, list) = with_item(&served, 300_000);
    ring.fill(&mut client, 101, list);
    client.lane.0.shutdown(std::net::Shutdown::Write).unwrap();
    client.control.expect_end();
    other.ping();
}

/// Cause: a call was taken from the socket while a part of a reply was still to go through the ring, or the other way round, and its way
/// became that of the rest. Symptom: half a reply in front of the next, on a way where its beginning was not.
#[test]
fn the_rest_of_a_reply_goes_no_other_way_than_its_beginning() {
    let served = Served::start();
    let (mut client, mut ring, list) = with_item(&served, 300_000);
    ring.fill(&mut client, 101, list);
    client.lane.send(&call(102, Operation::Ping, 0, NOTHING));
    assert_eq!(std::io::Read::read(&mut client.lane.0, &mut [0]).unwrap(), 0);
    client.control.expect_end();

    let (mut client, mut ring, list) = with_item(&served, 2 << 20);
    client.send_call(Operation::ListGet, list, (0,));
    until("some of the reply is in the socket", || is_readable(&client.lane));
    ring.send(&mut client, &call(102, Operation::Ping, 0, NOTHING));
    client.control.expect_end();
    assert_eq!(ring.word(REPLIES_TAIL), 0);
}

#[test]
fn nobody_can_make_a_ring_smaller() {
    let served = Served::start();
    let mut client = served.client();
    let mut ring = ring(&mut client);
    for size in [0, 4096, 1 << 30] {
        assert!(rustix::fs::ftruncate(&ring.memory, size).is_err());
    }
    ring.send(&mut client, &call(1, Operation::Ping, 0, NOTHING));
    assert!(!ring.receive().is_empty());
}

#[test]
fn two_hundred_rings_leave_nothing_behind() {
    alone("rings::two_hundred_rings_leave_nothing_behind", || {
        let served = Served::start();
        let mut client = served.client();
        client.ping();
        let before = leftovers();
        for round in 0..200 {
            let mut other = served.client();
            let mut ring = ring(&mut other);
            if round % 2 == 0 {
                ring.send(&mut other, &call(1, Operation::Ping, 0, NOTHING));
                ring.receive();
            }
            if round % 3 == 0 {
                other.lane.send(&framed(|out| Request::Goodbye.write(out)));
                other.lane.expect_end();
            }
        }
        until("all have left", || {
            let stats = served.handle.stats();
            (stats.sessions, stats.rings) == (1, 0)
        });
        until("their memory and descriptors are given back", || leftovers() == before);
        client.ping();
    });
}

/// The memory that this process, in which both sides are, shares with itself, and its descriptors.
fn leftovers() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter(|line| line.contains("memfd:byproxy")).count();
    (mapped, std::fs::read_dir("/proc/self/fd").unwrap().count())
}

#[test]
fn a_client_that_drops_its_descriptor_goes_on_over_the_socket() {
    let served = Served::start();
    let mut client = served.client();
    client
        .lane
        .send(&framed(|out| Request::Ring { number: ASKED }.write(out)));
    // A plain read throws the descriptor away.
    assert!(matches!(client.lane.receive(), Sent::Frame(_)));
    for _ in 0..100 {
        client.ping();
    }
    assert!(matches!(ask(&mut client), Given::Again), "it can't be had twice");
    client.ping();
}
