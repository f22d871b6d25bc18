//! Bytes that are no frame, or a frame of nonsense: an error and the end, for that session only.

use crate::alone::alone;
use crate::support::{Sent, Served, call, framed};
use byproxy_proto::op::Operation;
use std::time::Instant;

/// A small generator, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.next() % most;
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

#[test]
fn garbage_from_strangers_and_members_harms_nobody_else() {
    let served = Served::start();
    let mut other = served.client();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for round in 0..200 {
        let bytes = random.bytes(200);
        let mut stranger = served.stranger();
        stranger.send(&bytes);
        drop(stranger);
        if round % 4 == 0 {
            let mut member = served.client();
            // A sound length in front, so that the body is really looked at.
            member.lane.send(&framed(|out| out.extend_from_slice(&bytes)));
            member.lane.0.shutdown(std::net::Shutdown::Write).unwrap();
            while let Sent::Frame(_) = member.lane.receive() {}
        }
        other.ping();
    }
}

#[test]
fn a_malformed_body_ends_the_session_and_says_why() {
    let served = Served::start();
    for body in [
        &[0][..],
        &[77, 1, 2],
        &[1],
        &[2, 0x80],
        &[4, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[5, 5],
    ] {
        let mut client = served.client();
        client.lane.send(&framed(|out| out.extend_from_slice(body)));
        assert!(client.lane.expect_refusal().starts_with("Malformed:"), "{body:?}");
        client.control.expect_end();
    }
    assert_eq!(served.handle.stats().sessions, 0);
}

#[test]
fn an_unknown_operation_is_a_fault_and_the_lane_goes_on() {
    let served = Served::start();
    let mut client = served.client();
    client
        .lane
        .send(&framed(|out| out.extend_from_slice(&[1, 1, 0xff, 0xff, 0x03, 0, 5, 0])));
    let Sent::Frame(body) = client.lane.receive() else {
        panic!("closed")
    };
    assert!(crate::support::message(&body).starts_with("UnknownOperation:"));
    client.ping();
}

#[test]
fn arguments_that_promise_more_than_they_hold_are_refused_at_once() {
    let served = Served::start();
    let mut client = served.client();
    // A list of four thousand million items, of which none follow; a string likewise; then lists in lists in lists.
    let bombs: [Vec<u8>; 3] = [
        vec![7, 0xff, 0xff, 0xff, 0xff, 0x0f],
        vec![7, 1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f],
        [7u8, 1].repeat(10_000),
    ];
    for (number, bomb) in bombs.iter().enumerate() {
        let start = Instant::now();
        let number = 100 + number as u64;
        client.lane.send(&framed(|out| {
            byproxy_proto::frame::write_call_header(number, Operation::Ping, 0, out);
            out.extend_from_slice(bomb);
        }));
        let Sent::Frame(body) = client.lane.receive() else {
            panic!("closed")
        };
        let text = crate::support::message(&body);
        assert!(!text.is_empty() && start.elapsed().as_secs() < 5, "{text}");
        client.ping();
    }
}

#[test]
fn a_prefix_over_the_limit_is_refused_before_any_of_it_is_waited_for() {
    let served = Served::start();
    let mut stranger = served.stranger();
    stranger.send(&513u32.to_le_bytes());
    assert!(stranger.expect_refusal().starts_with("TooLarge:"));

    let mut client = served.client();
    client.lane.send(&u32::MAX.to_le_bytes());
    assert!(client.lane.expect_refusal().starts_with("TooLarge:"));
    client.control.expect_end();
}

#[test]
fn a_frame_of_64_mib_is_taken_and_one_byte_more_is_refused() {
    let served = Served::start();
    let mut client = served.client();
    let list = client.new_list(None);
    let frame = |length: usize| call(100, Operation::ListCount, list, ("x".repeat(length),));
    let (prefix, most) = (byproxy_proto::frame::PREFIX_BYTES, 64 << 20);
    // A text of half that size takes as many bytes to say how long it is.
    let around = frame(most / 2).len() - most / 2;
    let mut bytes = frame(most - (around - prefix));
    assert_eq!(bytes.len(), prefix + most);
    client.lane.send(&bytes);
    // The value in it is too large to be kept, which is the call's own affair.
    let Sent::Frame(body) = client.lane.receive() else {
        panic!("a frame as large as allowed ended the session")
    };
    println!("{:.200}", crate::support::message(&body));
    client.ping();

    bytes.push(b'x');
    let longer = u32::try_from(most + 1).unwrap();
    bytes[..prefix].copy_from_slice(&longer.to_le_bytes());
    // It may be refused, and the connection closed, before all of it is sent.
    let _ = std::io::Write::write_all(&mut client.lane.0, &bytes);
    assert!(client.lane.expect_refusal().starts_with("TooLarge:"));
    client.control.expect_end();
}

#[test]
fn a_long_prefix_costs_no_more_than_was_sent() {
    // Other tests send frames that are as large.
    alone("garbage::a_long_prefix_costs_no_more_than_was_sent", || {
        let served = Served::start();
        let mut clients: Vec<_> = (0..40).map(|_| served.client()).collect();
        let before = resident();
        for client in &mut clients {
            client.lane.send(&(60u32 << 20).to_le_bytes());
            client.lane.send(&[1; 100]);
        }
        let mut other = served.client();
        for _ in 0..100 {
            other.ping();
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 64 << 20, "40 promises of 60 MiB cost {grown} bytes");
    });
}

#[test]
fn half_a_frame_has_no_effect() {
    let served = Served::start();
    let mut other = served.client();
    let list = other.new_list(Some("kept"));
    let mut client = served.client();
    client.call(Operation::Open, 0, ("kept",)).unwrap();
    let append = call(9, Operation::ListAppend, list, (1,));
    client.lane.send(&append[..append.len() - 1]);
    drop(client);
    crate::support::until("the session has ended", || served.handle.stats().sessions == 1);
    assert_eq!(
        other.call(Operation::ListLen, list, crate::support::NOTHING).unwrap().0,
        [3, 0, 0]
    );
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
