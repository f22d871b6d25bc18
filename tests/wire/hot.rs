//! Rings that are busy, or were a moment ago: what they leave to others.

use crate::alone::alone;
use crate::ring::{
    CAPACITY, CLIENT_WAITS, Given, REPLIES_HEAD, REPLIES_TAIL, REQUESTS_HEAD, REQUESTS_TAIL, Ring, SERVER_WAITS, ask,
    ring,
};
use crate::support::{Client, NOTHING, STUCK, Served, call, switches, switches_at_rest, unhurried, until};
use byproxy::server::Limits;
use byproxy_proto::frame::{DOORBELL, Reply};
use byproxy_proto::op::Operation;
use byproxy_proto::value::Limits as ValueLimits;
use rustix::net::RecvFlags;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a ring is kept full at most: a starved test fails then.
const HOT_MAX: Duration = Duration::from_secs(20);
/// A multiple of what half of the others wait beside it, because a busy machine is no bug.
const LATE: Duration = Duration::from_secs(1);

/// What an honest client does after it has written something.
fn call_if_parked(client: &mut Client, ring: &Ring) {
    if ring.word(SERVER_WAITS) != 0 {
        ring.set(SERVER_WAITS, 0);
        client.lane.send(&DOORBELL);
    }
}

/// Keeps a ring full of calls until it is told to stop, or gives up; returns how many of the calls were taken.
fn keep_full(path: &Path, stop: &AtomicBool) -> u64 {
    let mut client = Client::open(path);
    let mut ring = ring(&mut client);
    let many: Vec<u8> = (1..=100)
        .flat_map(|number| call(number, Operation::Ping, 0, NOTHING))
        .collect();
    let record = 8 + (many.len() as u64).next_multiple_of(8);
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) && start.elapsed() < HOT_MAX {
        if ring.written - ring.word(REQUESTS_HEAD) + record <= CAPACITY {
            ring.put(&many);
        }
        ring.set(REPLIES_HEAD, ring.word(REPLIES_TAIL));
        call_if_parked(&mut client, &ring);
    }
    ring.word(REQUESTS_HEAD) / record * 100
}

#[test]
fn everybody_has_a_turn_beside_a_ring_that_is_never_empty() {
    const ROUNDS: usize = 20;
    const PATIENCE: Duration = Duration::from_millis(20);
    let served = Served::with_workers(Limits::default(), 1);
    let mut client = served.client();
    let queue = (3u8, None::<&str>, Some((0u8, 0u64)));
    let (_, handed) = client.call(Operation::Create, 0, queue).unwrap();
    let wait = u64::try_from(PATIENCE.as_nanos()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let hot = scope.spawn(|| keep_full(&served.path, &stop));
        until("its ring is used", || served.handle.stats().rings == 1);
        let mut other = served.client();
        let mut ring = ring(&mut other);
        let mut rounds = Vec::new();
        while rounds.len() < ROUNDS && !hot.is_finished() {
            if ring.word(REQUESTS_TAIL) >> 63 != 0 {
                // On a machine that is slow enough it was idle for a second.
                assert!(matches!(ask(&mut other), Given::Again));
            }
            let start = Instant::now();
            client.ping();
            let told = client.call(Operation::QueueGet, handed[0], (wait,)).unwrap_err();
            assert!(told.contains("in time"), "{told}");
            ring.put(&call(1, Operation::Ping, 0, NOTHING));
            call_if_parked(&mut other, &ring);
            assert!(!next_reply(&mut ring).is_empty());
            rounds.push(start.elapsed());
        }
        // Who comes only when the other gives up has waited for as long as that was there.
        assert!(!hot.is_finished(), "so long each round took: {rounds:?}");
        stop.store(true, Ordering::Relaxed);
        let busy = hot.join().unwrap();
        rounds.sort_unstable();
        let (half, last) = (rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
        println!(
            "a call over a socket, a wait of {PATIENCE:?} and a call in a ring beside {busy} calls: {half:?} (half), {last:?} (all)"
        );
        assert!(busy > 1_000, "the ring was not busy: {busy} calls");
        assert!(half >= PATIENCE && half < LATE, "{rounds:?}");
    });
}

/// Waits for a reply without sleeping, so that the server finds its client as awake as it says it is.
fn next_reply(ring: &mut Ring) -> Vec<u8> {
    let start = Instant::now();
    while ring.word(REPLIES_TAIL) == ring.read {
        assert!(start.elapsed() < STUCK, "no reply");
        std::thread::yield_now();
    }
    ring.receive()
}

#[test]
fn bells_that_find_no_room_are_lost_without_harm() {
    const CALLS: u32 = 2_000;
    let served = Served::start();
    let mut client = served.client();
    let mut ring = ring(&mut client);
    for number in 1..=u64::from(CALLS) {
        // The reply is there before the bell: it may still be about to ring for the call before.
        until("the last bell", || ring.word(CLIENT_WAITS) == 0);
        ring.set(CLIENT_WAITS, 1);
        ring.send(&mut client, &call(number, Operation::Ping, 0, NOTHING));
        let reply = next_reply(&mut ring);
        let reply = Reply::read(&reply[4..], &ValueLimits::default()).unwrap();
        assert!(
            matches!(reply, Reply::Done { number: answered, .. } if answered == number),
            "{reply:?}"
        );
    }
    until("a bell for each", || served.handle.stats().bells >= u64::from(CALLS));
    let mut bells = DOORBELL.repeat(CALLS.try_into().unwrap());
    let (read, _) = rustix::net::recv(&client.lane.0, bells.as_mut_slice(), RecvFlags::DONTWAIT).unwrap();
    assert!(read < bells.len(), "there was room for all of them");
    assert!(bells.iter().all(|byte| *byte == 0));
    client.ping();
}

#[test]
fn a_server_whose_clients_were_busy_in_rings_comes_to_rest() {
    alone("hot::a_server_whose_clients_were_busy_in_rings_comes_to_rest", || {
        let served = Served::with(unhurried());
        let mut clients: Vec<_> = (0..50)
            .map(|_| {
                let mut client = served.client();
                let ring = ring(&mut client);
                (client, ring)
            })
            .collect();
        for number in 1..=20 {
            for (client, ring) in &mut clients {
                ring.send(client, &call(number, Operation::Ping, 0, NOTHING));
                assert!(!next_reply(ring).is_empty());
            }
        }
        until("their rings are given back", || served.handle.stats().rings == 0);
        let stats = served.handle.stats();
        assert_eq!((stats.sessions, stats.rings_opened), (50, 50));
        let before = switches_at_rest();
        std::thread::sleep(Duration::from_secs(5));
        assert!(!before.is_empty());
        assert_eq!(before, switches(), "an idle server woke");
    });
}
