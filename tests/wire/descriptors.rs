//! No descriptors left to accept with: the server waits without spinning, and serves again when there are some.

use crate::alone::alone;
use crate::support::{Client, Served, framed, until};
use byproxy_proto::handshake::{Hello, Purpose};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

/// Descriptors that both ends of a session, which are in this process, can be opened with.
const FEW: usize = 32;

#[test]
fn a_server_without_descriptors_neither_spins_nor_gives_up() {
    alone(
        "descriptors::a_server_without_descriptors_neither_spins_nor_gives_up",
        || {
            let served = Served::start();
            let mut client = served.client();
            client.ping();
            // What is open stays open, wherever its numbers lie; a few more may be opened, and are.
            let used = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
            let highest = used
                .filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok())
                .max()
                .unwrap();
            let limit = Rlimit {
                current: Some(highest + 1 + FEW as u64),
                maximum: getrlimit(Resource::Nofile).maximum,
            };
            setrlimit(Resource::Nofile, limit).unwrap();
            let mut extra: Vec<_> = std::iter::repeat_with(|| std::fs::File::open("/dev/null"))
                .map_while(Result::ok)
                .collect();
            assert!(extra.len() >= FEW, "too few to serve two connections with");
            // This process's end of the next connection.
            extra.pop();

            let path = served.path.clone();
            let waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
            until("accepting has stopped", || served.handle.stats().starved > 0);
            let before = (processor_time(), served.handle.stats().starved);
            std::thread::sleep(Duration::from_secs(1));
            let after = (processor_time(), served.handle.stats().starved);
            let spent = after.0.saturating_sub(before.0);
            println!(
                "a second without descriptors: {spent:?} of processor time, {} attempts",
                after.1 - before.1
            );
            assert!(after.1 - before.1 <= 10, "{} attempts in a second", after.1 - before.1);
            assert!(
                spent < Duration::from_millis(200),
                "{spent:?} of processor time in a second of waiting"
            );
            client.ping();

            drop(extra);
            let start = Instant::now();
            Client::open(&path).ping();
            println!("served again after {:?}", start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(5));
            drop(waiting);
        },
    );
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}

#[test]
fn a_session_that_can_not_be_watched_yet_is_told_to_come_again() {
    alone(
        "descriptors::a_session_that_can_not_be_watched_yet_is_told_to_come_again",
        || {
            let served = Served::start();
            let mut taken = take_all();
            // Both ends of one connection, and nothing to watch the client's process with.
            taken.truncate(taken.len() - 2);
            let mut client = served.stranger();
            client.send(&framed(|out| Hello::new(Purpose::Control, "test").write(out)));
            let told = client.expect_refusal();
            assert!(told.starts_with("TooMany:"), "{told}");
            drop(taken);
            served.client().ping();
        },
    );
}

/// Takes every descriptor that this process may have.
fn take_all() -> Vec<std::fs::File> {
    let limit = Rlimit {
        current: Some(200),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    std::iter::repeat_with(|| std::fs::File::open("/dev/null"))
        .map_while(Result::ok)
        .collect()
}
