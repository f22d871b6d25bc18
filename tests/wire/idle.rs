//! What costs nothing: a server with nothing to do, and connections that say nothing.

use crate::alone::{alone, spawn_alone};
use crate::support::{Client, Raw, Served, switches, switches_at_rest, unhurried};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const SESSIONS: usize = 20;
/// As many as a server allows, of which the test itself has two.
const CONNECTIONS: usize = 10_000 - 2;
/// What else a process needs descriptors for.
const OTHER_DESCRIPTORS: usize = 200;

#[test]
fn an_idle_server_never_wakes() {
    alone("idle::an_idle_server_never_wakes", || {
        let served = Served::with(unhurried());
        let mut clients: Vec<_> = (0..50).map(|_| served.client()).collect();
        for client in &mut clients {
            client.ping();
        }
        let before = switches_at_rest();
        std::thread::sleep(Duration::from_secs(5));
        let after = switches();
        println!("context switches of the server's threads in 5 s: {before:?} -> {after:?}");
        assert!(!before.is_empty());
        assert_eq!(before, after, "an idle server woke");
    });
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_disturb_nobody() {
    alone(
        "idle::ten_thousand_idle_connections_cost_little_and_disturb_nobody",
        || {
            let connections = raise_descriptors();
            if connections < CONNECTIONS {
                let test = "ten_thousand_idle_connections_cost_little_and_disturb_nobody";
                println!("SKIPPED (too few descriptors are allowed): {test}: only {connections} are held");
            }
            if connections < 4 * SESSIONS {
                return;
            }
            let served = Served::start();
            let mut active = served.client();
            active.ping();
            let before = resident();
            let mut crowd = spawn_alone("idle::crowd")
                .env("BYPROXY_TEST_SOCKET", &served.path)
                .env("BYPROXY_TEST_CONNECTIONS", connections.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(crowd.stdout.take().unwrap()).lines();
            assert!(
                lines.any(|line| line.unwrap().contains("the crowd is here")),
                "the crowd did not get in"
            );
            assert_eq!(served.handle.stats().connections, connections + 2);
            let grown = resident().saturating_sub(before);
            println!(
                "{connections} idle connections: {} bytes of memory each",
                grown / connections
            );
            assert!(grown / connections <= 16 << 10);
            let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
            assert!(threads < 20, "{threads} threads: none belongs to a connection");
            for _ in 0..1000 {
                active.ping();
            }
            drop(crowd.stdin.take());
            crowd.wait().unwrap();
            crate::support::until("the crowd has left", || served.handle.stats().connections == 2);
        },
    );
}

/// The crowd's own process: it connects, and stays until its input ends.
#[test]
fn crowd() {
    let Ok(path) = std::env::var("BYPROXY_TEST_SOCKET") else {
        return;
    };
    raise_descriptors();
    let connections: usize = std::env::var("BYPROXY_TEST_CONNECTIONS").unwrap().parse().unwrap();
    let path = Path::new(&path);
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| Client::open(path)).collect();
    let mut lanes = Vec::new();
    for number in 0..connections - 2 * SESSIONS {
        let mut lane = Raw::connect(path);
        lane.say_hello(clients[number % SESSIONS].welcomed.lane());
        lanes.push(lane);
    }
    // Each has said something once: what that took must have been given back.
    clients.iter_mut().for_each(Client::ping);
    println!("the crowd is here");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop((clients, lanes));
}

/// Raises the limit on descriptors as far as it goes; returns how many connections that allows.
fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .unwrap();
    let most = limit
        .maximum
        .map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    CONNECTIONS.min(most.saturating_sub(OTHER_DESCRIPTORS))
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
