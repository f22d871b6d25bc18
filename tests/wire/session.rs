//! Sessions end as a whole.

use crate::alone::spawn_alone;
use crate::support::{Client, NOTHING, STUCK, Served, call, framed, until};
use byproxy_proto::frame::Request;
use byproxy_proto::handshake::Hello;
use byproxy_proto::op::Operation;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

#[test]
fn a_lane_lost_without_goodbye_ends_the_session() {
    let served = Served::start();
    let mut client = served.client();
    let mut second = served.stranger();
    second.say_hello(client.welcomed.lane());
    client.ping();
    drop(second);
    client.control.expect_end();
    client.lane.expect_end();
    assert_eq!(served.handle.stats().sessions, 0);
}

#[test]
fn a_lane_that_says_goodbye_leaves_the_session_standing() {
    let served = Served::start();
    let mut client = served.client();
    let mut second = served.stranger();
    second.say_hello(client.welcomed.lane());
    second.send(&framed(|out| Request::Goodbye.write(out)));
    second.expect_end();
    client.ping();
    assert_eq!(served.handle.stats().sessions, 1);
}

#[test]
fn a_lane_that_gives_up_on_its_welcome_leaves_the_session_standing() {
    let served = Served::start();
    let mut client = served.client();
    for _ in 0..100 {
        let mut second = served.stranger();
        let mut bytes = framed(|out| Hello::new(client.welcomed.lane(), "").write(out));
        bytes.extend(framed(|out| Request::Goodbye.write(out)));
        second.send(&bytes);
        // It is closed before anything of it is read, or after.
        drop(second);
        client.ping();
    }
    until("every such lane is closed", || served.handle.stats().connections == 2);
    client.ping();
}

#[test]
fn the_end_of_the_control_connection_ends_the_session() {
    let served = Served::start();
    for goodbye in [false, true] {
        let mut client = served.client();
        if goodbye {
            client.control.send(&framed(|out| Request::Goodbye.write(out)));
        } else {
            client.control.0.shutdown(std::net::Shutdown::Write).unwrap();
        }
        client.lane.expect_end();
    }
    until("every connection is closed", || served.handle.stats().connections == 0);
}

#[test]
fn calls_on_the_control_connection_are_refused() {
    let served = Served::start();
    let mut client = served.client();
    client.control.send(&call(1, Operation::Ping, 0, NOTHING));
    assert!(client.control.expect_refusal().starts_with("Malformed:"));
    client.lane.expect_end();
}

#[test]
fn references_of_an_ended_session_are_given_back() {
    let served = Served::start();
    let mut other = served.client();
    let before = other.call(Operation::Stats, 0, NOTHING).unwrap().0;
    let mut client = served.client();
    client.new_list(None);
    drop(client);
    until("the session has ended", || served.handle.stats().sessions == 1);
    // Nobody finds the session any more, and a moment later what it held is given back.
    let start = Instant::now();
    while other.call(Operation::Stats, 0, NOTHING).unwrap().0 != before {
        assert!(start.elapsed() < STUCK, "something is still held");
    }
}

#[test]
fn the_end_of_the_server_closes_every_connection_and_removes_the_socket() {
    let mut served = Served::start();
    let mut client = served.client();
    client.ping();
    let mut stranger = served.stranger();
    served.stop();
    client.lane.expect_end();
    client.control.expect_end();
    stranger.expect_end();
    assert!(!served.path.exists(), "the socket is still there");
    assert_eq!(
        std::fs::read_dir(served.path.parent().unwrap()).unwrap().count(),
        0,
        "something was left behind"
    );
}

#[test]
fn a_client_may_end_the_server() {
    let mut served = Served::start();
    let mut client = served.client();
    client.call(Operation::Shutdown, 0, NOTHING).unwrap();
    client.lane.expect_end();
    served.stop();
    assert!(!served.path.exists());
}

#[test]
fn a_session_ends_with_its_process_though_a_child_holds_its_sockets() {
    let served = Served::start();
    let mut parent = spawn_alone("session::a_parent_whose_child_inherits_its_sockets")
        .env("BYPROXY_TEST_SOCKET", &served.path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let child = lines
        .find_map(|line| line.unwrap().split_once("child ")?.1.parse::<i32>().ok())
        .unwrap();
    assert_eq!(served.handle.stats().sessions, 1);
    parent.kill().unwrap();
    parent.wait().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until("the session has ended", || served.handle.stats().sessions == 0);
    }));
    assert!(
        rustix::process::test_kill_process(child).is_ok(),
        "the child was to outlive its parent"
    );
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    ended.unwrap();
}

/// The parent's own process.
#[test]
fn a_parent_whose_child_inherits_its_sockets() {
    let Ok(path) = std::env::var("BYPROXY_TEST_SOCKET") else {
        return;
    };
    let client = Client::open(Path::new(&path));
    for socket in [&client.control.0, &client.lane.0] {
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty()).unwrap();
    }
    let mut child = Command::new("sleep").arg("100").stdout(Stdio::null()).spawn().unwrap();
    println!("child {}", child.id());
    // Until it is killed.
    child.wait().unwrap();
}
