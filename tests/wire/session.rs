//! Sessions end as a whole.

use crate::support::{NOTHING, Served, call, framed, until};
use byproxy_proto::frame::Request;
use byproxy_proto::op::Operation;

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
    assert_eq!(other.call(Operation::Stats, 0, NOTHING).unwrap().0, before);
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
