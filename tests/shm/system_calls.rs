//! What a call over a socket asks of the system, on either side: both are stopped at each system call and counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use byproxy::Manager;

use crate::alone::alone;
use crate::served::{Served, byproxy};
use crate::victim::{LOOK, Threads, Victim};
use crate::watchdog::Watchdog;

const CALLS: u64 = 500;

/// A server with one worker and no rings.
fn server() -> Served {
    Served::run(byproxy().args(["serve", "--workers", "1", "--no-ring"]))
}

/// How many system calls there may be besides, for all calls together.
const OTHERS: u64 = 10;
/// How often a worker looks for events before it sleeps, at most.
const LOOKS: u64 = 10;

#[test]
fn a_client_sends_and_receives_once_for_each_call() {
    alone(
        "system_calls::a_client_sends_and_receives_once_for_each_call",
        count_the_clients,
    );
}

fn count_the_clients() {
    let _watchdog = Watchdog::with_limit(Duration::from_mins(2));
    let server = server();
    let client = Victim::new(
        || {
            let manager = Manager::connect(server.address()).unwrap();
            let dict = manager.dict_named::<u64, u64>("counted").unwrap();
            dict.insert(1, 2).unwrap();
            dict.get(1).unwrap();
            (manager, dict)
        },
        |(manager, dict)| {
            for _ in 0..CALLS {
                assert_eq!(dict.get(1).unwrap(), Some(2));
            }
            std::mem::forget((manager, dict));
        },
    );
    let counted = client.system_calls();
    println!("the client's for {CALLS} calls: {counted:?}");
    assert_eq!(counted.get(&libc::SYS_sendto), Some(&CALLS));
    assert_eq!(counted.get(&libc::SYS_recvfrom), Some(&CALLS));
    assert!(counted.values().sum::<u64>() <= 2 * CALLS + OTHERS, "{counted:?}");
}

#[test]
fn a_server_waits_receives_and_sends_once_for_each_call() {
    let _watchdog = Watchdog::with_limit(Duration::from_mins(2));
    let server = server();
    let manager = Manager::connect(server.address()).unwrap();
    let dict = manager.dict_named::<u64, u64>("counted").unwrap();
    dict.insert(1, 2).unwrap();
    let done = AtomicBool::new(false);
    let counted = thread::scope(|scope| {
        let (started, starts) = mpsc::channel();
        // A thread of its own: its end lets go of the server's threads.
        let (pid, done) = (server.pid(), &done);
        let counting = scope.spawn(move || {
            let threads = Threads::seize(pid);
            started.send(()).unwrap();
            threads.system_calls(|| done.load(Ordering::Relaxed))
        });
        starts.recv().unwrap();
        for _ in 0..CALLS {
            assert_eq!(dict.get(1).unwrap(), Some(2));
        }
        done.store(true, Ordering::Relaxed);
        counting.join().unwrap()
    });
    println!("the server's for {CALLS} calls: {counted:?}");
    let count = |call| counted.get(&call).copied().unwrap_or_default();
    assert_eq!(count(libc::SYS_sendto), CALLS);
    let (received, slept, looked) = (count(libc::SYS_recvfrom), count(libc::SYS_epoll_pwait), count(LOOK));
    assert!((CALLS..=CALLS + OTHERS).contains(&received), "{counted:?}");
    // A client that comes while it looks lets it look before the next sleep too: how often that happens is up to the machine.
    assert!(
        slept <= CALLS + OTHERS && looked <= LOOKS * (CALLS + OTHERS),
        "{counted:?}"
    );
    assert!(slept + looked >= CALLS, "{counted:?}");
    assert!(
        counted.values().sum::<u64>() <= 2 * CALLS + slept + looked + 2 * OTHERS,
        "{counted:?}"
    );
}
