//! Clients that do not read: they hold up nobody but themselves, and not for ever.

use crate::support::{Client, NOTHING, Sent, Served, call, until};
use byproxy::server::Limits;
use byproxy_proto::op::Operation;
use std::time::{Duration, Instant};

/// Makes a named list whose snapshot is about so many mebibytes long.
fn big_list(client: &mut Client, mebibytes: usize) -> u64 {
    let list = client.new_list(Some("big"));
    let item = "x".repeat(1 << 20);
    for _ in 0..mebibytes {
        client.call(Operation::ListAppend, list, (&item,)).unwrap();
    }
    list
}

#[test]
fn a_client_that_leaves_sixty_mebibytes_unread_harms_no_other() {
    let served = Served::start();
    let mut other = served.client();
    let list = big_list(&mut other, 60);
    let mut lazy: Vec<_> = (0..3).map(|_| served.client()).collect();
    for client in &mut lazy {
        client.call(Operation::Open, 0, ("big",)).unwrap();
        client.send_call(Operation::ListSnapshot, list, NOTHING);
    }
    let start = Instant::now();
    for _ in 0..200 {
        other.call(Operation::ListLen, list, NOTHING).unwrap();
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "others waited {:?}",
        start.elapsed()
    );
    // One of them reads after all, and has it whole; another dies half way.
    let Sent::Frame(body) = lazy[0].lane.receive() else {
        panic!("closed")
    };
    assert!(body.len() > 60 << 20);
    drop(lazy);
    until("the sessions have ended", || served.handle.stats().sessions == 1);
    other.ping();
}

#[test]
fn requests_behind_unread_replies_are_left_until_those_are_read() {
    let served = Served::start();
    let mut other = served.client();
    let calls = 40u64;
    let list = big_list(&mut other, 40);
    let mut client = served.client();
    client.call(Operation::Open, 0, ("big",)).unwrap();
    // They are few bytes, so the server has them all at once. Each takes a mebibyte out of the list, and so tells that it was taken.
    let requests: Vec<u8> = (0..calls)
        .flat_map(|number| call(1000 + number, Operation::ListPop, list, NOTHING))
        .collect();
    client.lane.send(&requests);
    // A reply is begun while at most 8 MiB lie unread; what the socket itself holds is not counted.
    let mut taken = || calls - length(&mut other, list);
    until("as many are taken as may be", || taken() >= 9);
    std::thread::sleep(Duration::from_millis(300));
    let now = taken();
    assert!((9..=12).contains(&now), "{now} of {calls} calls were taken");

    // Nothing is lost by it.
    for number in 0..calls {
        let Sent::Frame(body) = client.lane.receive() else {
            panic!("closed before reply {number}")
        };
        let reply = byproxy_proto::frame::Reply::read(&body, &byproxy_proto::value::Limits::default()).unwrap();
        let byproxy_proto::frame::Reply::Done {
            number: answered,
            result,
            ..
        } = reply
        else {
            panic!("{reply:?}")
        };
        assert_eq!(answered, 1000 + number);
        assert!(result.len() > 1 << 20);
    }
    assert_eq!(taken(), calls);
}

/// How long a list is.
fn length(client: &mut Client, list: u64) -> u64 {
    let (result, _) = client.call(Operation::ListLen, list, NOTHING).unwrap();
    byproxy_proto::value::from_slice(&result, &byproxy_proto::value::Limits::default()).unwrap()
}

#[test]
fn a_client_that_never_reads_on_is_ended() {
    let stuck_wait = Duration::from_millis(400);
    let served = Served::with(Limits {
        stuck_wait,
        ..Limits::default()
    });
    let mut other = served.client();
    let list = big_list(&mut other, 8);
    let mut lazy = served.client();
    lazy.call(Operation::Open, 0, ("big",)).unwrap();
    let start = Instant::now();
    lazy.send_call(Operation::ListSnapshot, list, NOTHING);
    lazy.control.expect_end();
    assert!(start.elapsed() >= stuck_wait);
    assert_eq!(served.handle.stats().sessions, 1);
    other.ping();
}

#[test]
fn a_client_that_reads_slowly_is_not_ended() {
    let stuck_wait = Duration::from_secs(2);
    let served = Served::with(Limits {
        stuck_wait,
        ..Limits::default()
    });
    let mut client = served.client();
    let list = big_list(&mut client, 4);
    client.send_call(Operation::ListSnapshot, list, NOTHING);
    let start = Instant::now();
    let mut received = 0;
    let mut part = vec![0; 128 << 10];
    while received < 4 << 20 {
        received += std::io::Read::read(&mut client.lane.0, &mut part).unwrap();
        std::thread::sleep(Duration::from_millis(70));
    }
    assert!(start.elapsed() > stuck_wait, "too fast to show anything");
}
