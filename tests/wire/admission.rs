//! Connections that never say hello, and too many of them.

use crate::support::{Served, until};
use byproxy::server::Limits;
use std::io::Read as _;
use std::time::{Duration, Instant};

#[test]
fn a_client_gets_in_while_strangers_hold_every_place() {
    let served = Served::start();
    let strangers: Vec<_> = (0..300).map(|_| served.stranger()).collect();
    let start = Instant::now();
    served.client().ping();
    assert!(start.elapsed() < Duration::from_secs(5));
    // The oldest were told to go; no more than the limit are there.
    until("strangers beyond the limit are closed", || {
        served.handle.stats().connections <= 128 + 2
    });
    let mut first = strangers.into_iter().next().unwrap();
    assert!(first.expect_refusal().starts_with("TooMany:"));
}

#[test]
fn a_hello_has_an_absolute_deadline() {
    let hello_wait = Duration::from_millis(300);
    let served = Served::with(Limits {
        hello_wait,
        ..Limits::default()
    });
    let start = Instant::now();
    let mut silent = served.stranger();
    let mut dripping = served.stranger();
    // Bytes that arrive buy no time.
    let mut drip = dripping.0.try_clone().unwrap();
    let dripper = std::thread::spawn(move || {
        use std::io::Write as _;
        while drip.write_all(&[0]).is_ok() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert!(silent.expect_refusal().starts_with("Refused:"));
    assert!(start.elapsed() >= hello_wait);
    let mut rest = Vec::new();
    let _ = dripping.0.read_to_end(&mut rest);
    dripper.join().unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "the dripping connection outlived its deadline"
    );
}

#[test]
fn too_many_connections_are_told_so() {
    let served = Served::with(Limits {
        connections_max: 4,
        ..Limits::default()
    });
    let mut first = served.client();
    let _second = served.client();
    let mut third = served.stranger();
    assert!(third.expect_refusal().starts_with("TooMany:"));
    first.ping();
    assert_eq!(served.handle.stats().refused, 1, "one was refused, once");
}

#[test]
fn too_many_lanes_are_told_so() {
    let served = Served::with(Limits {
        lanes_max: 2,
        ..Limits::default()
    });
    let mut client = served.client();
    let mut second = served.stranger();
    second.say_hello(client.welcomed.lane());
    let mut third = served.stranger();
    let lane = client.welcomed.lane();
    third.send(&crate::support::framed(|out| {
        byproxy_proto::handshake::Hello::new(lane, "").write(out);
    }));
    assert!(third.expect_refusal().starts_with("TooMany:"));
    client.ping();
}

#[test]
fn a_server_allows_what_is_documented() {
    let limits = Limits::default();
    assert_eq!(limits.frame_bytes_max, 64 << 20);
    assert_eq!(byproxy_proto::frame::HANDSHAKE_BYTES_MAX, 512);
    assert_eq!(limits.hello_wait, Duration::from_secs(10));
    assert_eq!(limits.stuck_wait, Duration::from_secs(30));
    assert_eq!(limits.unread_bytes_max, 8 << 20);
    assert_eq!((limits.connections_max, limits.strangers_max), (10_000, 128));
    assert_eq!(
        limits.lanes_max,
        1024 + 64,
        "so many calls may wait, beside those that do not"
    );
}
