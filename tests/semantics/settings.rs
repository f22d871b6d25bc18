//! Settings of builders: what makes no sense is refused before anything is started, with a message that says what to do.

use byproxy::server::Limits;
use byproxy::{Error, Manager, Process, Server};
use std::time::Duration;

#[track_caller]
fn refused<T>(outcome: Result<T, Error>, words: &[&str]) {
    let Err(Error::Setting(message)) = outcome else {
        panic!("{words:?} is not refused")
    };
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
}

#[test]
fn a_manager_without_time_or_memory_is_refused_in_every_way() {
    for (builder, name) in [
        (Manager::builder().connect_timeout(Duration::ZERO), "connect_timeout"),
        (Manager::builder().call_timeout(Duration::ZERO), "call_timeout"),
        (Manager::builder().memory_bytes_max(0), "memory_bytes_max"),
    ] {
        refused(builder.clone().embedded(), &[name, "leave it out"]);
        refused(builder.clone().start(), &[name, "leave it out"]);
        refused(builder.connect("unix:/nowhere/app.sock"), &[name, "leave it out"]);
    }
}

#[test]
fn a_server_that_could_serve_nobody_is_refused() {
    let limits = [
        (
            Limits {
                frame_bytes_max: 511,
                ..Limits::default()
            },
            "frame_bytes_max is 511: give at least 512",
        ),
        (
            Limits {
                connections_max: 1,
                ..Limits::default()
            },
            "connections_max is 1: give at least 2",
        ),
        (
            Limits {
                strangers_max: 0,
                ..Limits::default()
            },
            "strangers_max is 0: give at least 1",
        ),
        (
            Limits {
                lanes_max: 0,
                ..Limits::default()
            },
            "lanes_max is 0: give at least 1",
        ),
        (
            Limits {
                hello_wait: Duration::ZERO,
                ..Limits::default()
            },
            "hello_wait is zero",
        ),
        (
            Limits {
                stuck_wait: Duration::ZERO,
                ..Limits::default()
            },
            "stuck_wait is zero",
        ),
    ];
    for (limits, words) in limits {
        refused(Server::builder().limits(limits).build(), &[words]);
    }
    refused(Server::builder().workers(0).build(), &["workers is 0", "at least 1"]);
    refused(Server::builder().memory_bytes_max(0).build(), &["memory_bytes_max"]);
}

/// What is documented as a meaning of zero, and the least of what may not be zero: all of it together still serves a client.
#[test]
fn the_least_of_every_setting_serves() {
    let least = Limits {
        frame_bytes_max: 512,
        connections_max: 2,
        strangers_max: 1,
        lanes_max: 1,
        unread_bytes_max: 0,
        ring_after: 0,
        ring_bytes_max: 0,
        descriptors_max: 0,
        ..Limits::default()
    };
    let server = Server::builder().workers(1).limits(least).build().unwrap();
    let handle = server.handle();
    let serving = std::thread::spawn(move || server.serve());
    let manager = Manager::builder()
        .connect_timeout(Duration::MAX)
        .call_timeout(Duration::MAX)
        .connect(handle.address())
        .unwrap();
    let list = manager.list_named::<String>("names").unwrap();
    for n in 0..100 {
        list.append(format!("{n}").as_str()).unwrap();
    }
    assert_eq!(list.get(-1).unwrap(), "99");
    assert!(matches!(list.append("x".repeat(600)), Err(Error::TooLarge(_))));
    assert_eq!(list.slice(..3).unwrap(), ["0", "1", "2"]);
    assert!(manager.value_named("hits", 0_u64).is_err(), "no shared memory is kept");
    manager.ping().unwrap();
    handle.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn the_longest_times_start_a_manager_and_a_process() {
    let manager = Manager::builder()
        .connect_timeout(Duration::MAX)
        .call_timeout(Duration::MAX);
    manager.start().unwrap().ping().unwrap();
    let patient = Process::builder().start_timeout(Duration::MAX);
    patient.spawn(|| (), ()).unwrap().join().unwrap();
}
