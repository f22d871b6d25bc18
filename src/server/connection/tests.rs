//! What a connection remembers of its ring and of its output.

use std::os::fd::AsFd as _;
use std::time::Duration;

use byproxy_proto::frame::DOORBELL;

use super::*;
use crate::shm::ring::ClientEnd;
use crate::transport::Stream;
use crate::transport::ring::{Connected, Served};
use crate::transport::unix::{Listener, Socket};

/// Both ends of a lane that goes on in a ring.
fn lane() -> (Connection, Stream) {
    let (lane, client, _) = lane_with_stranger();
    (lane, client)
}

/// The same, and somebody else who has its client's memory.
fn lane_with_stranger() -> (Connection, Stream, ClientEnd) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::bind(&path).unwrap();
    let client = Connected::new(Socket::connect(&path, Duration::from_secs(10)).unwrap());
    let served = Served::new(listener.accept().unwrap());
    assert!(served.open_ring().unwrap());
    let memory = served.ring().unwrap().descriptor().try_clone_to_owned().unwrap();
    let stranger = ClientEnd::open(memory.as_fd()).unwrap();
    assert!(client.go_on_in_ring(Some(memory)));
    let lane = Connection::new(1, std::process::id(), Wire::Unix(served), None);
    lane.came_from(Source::Ring);
    (lane, Stream::Unix(client), stranger)
}

/// How many bytes of bells have come since the last look.
fn bells(lane: &Connection) -> usize {
    let mut bells = Vec::new();
    lane.receive(Source::Socket, &mut bells, READ_BYTES).unwrap_or(0)
}

/// Cause: a client called for room that it had not made yet, and the worker, which found none, slept on without asking for another
/// call. Symptom: a reply larger than the ring stopped in the middle.
#[test]
fn room_is_called_for_once_it_is_there() {
    let (lane, client) = lane();
    let mut reply = vec![7; 100_000];
    assert_eq!(lane.write(&mut reply, || 0, usize::MAX), Written::Blocked);
    let mut received = Vec::new();
    client.receive(&mut received, 1).unwrap();
    assert_eq!(bells(&lane), 0, "what was read still takes its room");
    client.set_timeout(Some(Duration::from_millis(20))).unwrap();
    assert!(client.receive(&mut received, 1).is_err());
    assert_eq!(bells(&lane), DOORBELL.len());
    assert_eq!(lane.flush(0, usize::MAX), Flushed::Fine);
    assert!(!lane.has_unsent());
}

/// The same with a client that goes on calling for room that is not there.
#[test]
fn a_call_for_room_that_is_not_there_is_not_the_last() {
    let (lane, client, stranger) = lane_with_stranger();
    let ring = lane.ring().unwrap();
    assert_eq!(lane.write(&mut vec![7; 100_000], || 0, usize::MAX), Written::Blocked);
    assert!(stranger.calls_writer());
    assert!(!lane.is_ready(ring));
    assert!(lane.park(ring), "there is nothing to do");
    client.receive(&mut Vec::new(), 1).unwrap();
    client.consume();
    assert_eq!(
        bells(&lane),
        DOORBELL.len(),
        "the worker sleeps on beside the room it waits for"
    );
    assert!(!lane.park(ring));
}

/// Cause: a reply of many megabytes takes long to encode, and meanwhile its call counts as answered. Symptom: a look for idle rings
/// closed the ring under it, the rest of the reply was never sent, and the session was given up.
#[test]
fn a_ring_is_not_idle_while_a_reply_to_it_is_being_written() {
    let (lane, _client) = lane();
    lane.replying.fetch_add(1, Ordering::AcqRel);
    assert!(!lane.retire_ring(&lane.inbound.lock(), lane.ring().unwrap()));
    lane.replying.fetch_sub(1, Ordering::Release);
    assert!(lane.retire_ring(&lane.inbound.lock(), lane.ring().unwrap()));
}

/// Cause: the end of a reply was noted after its client could read it. Symptom: a client that took an item and died in between was
/// judged without the note, and the item was in the queue again.
#[test]
fn a_delivery_is_open_before_its_reply_can_be_seen() {
    let (lane, client) = lane();
    lane.delivers(7);
    assert!(lane.has_delivery());
    lane.settle(|_, _| panic!("nothing is written"));
    assert_eq!(lane.write(&mut b"an item".to_vec(), || 0, usize::MAX), Written::Fine);
    lane.settle(|_, _| panic!("nothing is taken"));
    assert!(lane.has_delivery());
    client.receive(&mut Vec::new(), 64).unwrap();
    assert_eq!(client.settle(false), Some(true));
    let mut told = Vec::new();
    lane.settle(|number, fate| told.push((number, fate)));
    lane.settle(|_, _| panic!("it is told once"));
    assert_eq!(told, [(7, Fate::Taken)]);
}

#[test]
fn a_small_reply_lies_in_front_at_once() {
    let (lane, client) = lane();
    let ring = lane.ring().unwrap();
    assert!(!lane.answer_in_front(ring, 7, &[2, 1]), "nothing was asked");
    let mut received = Vec::new();
    for (number, result) in [(1, vec![0]), (300, vec![9; 37]), (u64::MAX, vec![])] {
        client.send(b"a call", &mut 0).unwrap();
        assert!(ring.receive_front(&mut [0; FRONT_BYTES]).is_some());
        assert!(
            !lane.answer_in_front(ring, number, &[9; FRONT_BYTES]),
            "it does not fit"
        );
        assert!(lane.answer_in_front(ring, number, &result));
        received.clear();
        client.receive(&mut received, READ_BYTES).unwrap();
        client.consume();
        let mut expected = Vec::new();
        frame::write_done(&mut expected, usize::MAX, number, &[], &result).unwrap();
        assert_eq!(received, expected);
    }
    assert_eq!(bells(&lane), 0, "nobody sleeps");
}

/// Else a reply would lie before the rest of another, or before what tells the fate of a delivery.
#[test]
fn a_small_reply_does_not_overtake_what_is_unsent_or_delivered() {
    let (lane, client) = lane();
    let ring = lane.ring().unwrap();
    client.send(b"a call", &mut 0).unwrap();
    assert!(ring.receive_front(&mut [0; FRONT_BYTES]).is_some());
    lane.unsent.store(true, Ordering::Relaxed);
    assert!(!lane.answer_in_front(ring, 7, &[]));
    lane.unsent.store(false, Ordering::Relaxed);
    lane.delivers(6);
    assert!(!lane.answer_in_front(ring, 7, &[]));
    lane.delivers.store(false, Ordering::Relaxed);
    assert!(lane.answer_in_front(ring, 7, &[]));
}

/// Cause: only what was unread counted. Symptom: a peer that always left a little unread made the server's output grow without bound.
#[test]
fn output_that_was_sent_is_forgotten_though_some_is_left() {
    let mut outbox = Outbox {
        queue: vec![0; 1 << 20],
        sent: (1 << 20) - 10,
        ..Outbox::default()
    };
    outbox.compact();
    assert_eq!((outbox.queue.len(), outbox.unread()), (10, 10));
    outbox.compact();
    assert_eq!(outbox.unread(), 10, "a few bytes are not worth moving");
}
