//! Ten thousand waiting calls of ten processes: one item wakes one of them, and the end of the queue releases all.

use crate::baseline::{Baseline, await_waiters};
use crate::measure::{Times, monotonic};
use crate::processes::await_asleep;
use crate::record::{self, Record};
use crate::status::{Doing, Publisher};
use crate::victim::{Morgue, victim};
use crate::watchdog::Watchdog;
use byproxy::server::{Limits, Server};
use byproxy::{Address, GetError, Manager, QueueProxy};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const SESSIONS: u64 = 10;
const WAITERS_EACH: u64 = 1_000;
/// Descriptors that the server needs for all of them, and some for itself.
const DESCRIPTORS: usize = 12_000;
/// What the server may take to release them all.
const RELEASED_WITHIN: Duration = Duration::from_secs(1);
static ALONE: Mutex<()> = Mutex::new(());

/// A server for so many connections. Says when it can be connected to.
fn server_for(status: PathBuf, path: PathBuf, connections_max: usize, ring_after: u64) -> byproxy::Result<()> {
    let limits = Limits {
        connections_max,
        ring_after,
        ..Limits::default()
    };
    let server = Server::builder().listen(Address::unix(path)?).limits(limits).build()?;
    Publisher::open(&status).doing(Doing::Waiting);
    server.serve()
}

/// A thousand threads that each wait for an item. Records when each was released, and what it got.
fn crowd(status: PathBuf, queue: QueueProxy<u64>, released: PathBuf) {
    let mut publisher = Publisher::open(&status);
    publisher.doing(Doing::Waiting);
    std::thread::scope(|scope| {
        for _ in 0..WAITERS_EACH {
            let (queue, released) = (&queue, &released);
            let wait = move || {
                let got = match queue.get() {
                    Ok(item) => item,
                    Err(GetError::ShutDown) => 0,
                    Err(error) => panic!("{error}"),
                };
                Record::open(released).push(&[monotonic(), got]);
            };
            std::thread::Builder::new()
                .stack_size(128 << 10)
                .spawn_scoped(scope, wait)
                .unwrap();
        }
    });
    publisher.doing(Doing::Finished);
}

on_each_transport! {
    // There are not rings for all of them: in a ring and on a socket the same holds.
    fn ten_thousand_waiters_are_woken_one_by_one_and_all_at_once(transport) {
        let limits = getrlimit(Resource::Nofile);
        if limits.maximum.is_some_and(|maximum| maximum < DESCRIPTORS as u64) {
            println!(
                "SKIPPED (too few descriptors are allowed): ten_thousand_waiters_are_woken_one_by_one_and_all_at_once: {limits:?}"
            );
            return;
        }
        // For the children: they inherit it.
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limits.maximum,
                ..limits
            },
        )
        .unwrap();
        // One crowd is as much as a machine may allow.
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let watchdog = Watchdog::with_limit(Duration::from_mins(1));
        let morgue = Morgue::new();
        let path = morgue.file();
        let server = victim!(morgue, server_for, path.clone(), DESCRIPTORS, transport.ring_after());
        server.await_doing(Doing::Waiting);
        let manager = Manager::connect(format!("unix:{}", path.display())).unwrap();
        let baseline = Baseline::of(&manager);
        let queue = manager.queue::<u64>(0).unwrap();
        let released = morgue.file();
        let victims: Vec<_> = (0..SESSIONS)
            .map(|_| victim!(morgue, crowd, queue.clone(), released.clone()))
            .collect();
        let everyone = SESSIONS * WAITERS_EACH;
        await_waiters(&manager, everyone);
        watchdog.progress();

        queue.put(7).unwrap();
        await_waiters(&manager, everyone - 1);
        // A round trip to each process's session lies between: nobody else was woken.
        while queue.audit().unwrap().committed == 0 {
            std::thread::yield_now();
        }
        let audit = queue.audit().unwrap();
        assert_eq!(
            (audit.committed, audit.in_flight, audit.returned),
            (1, 0, 0),
            "one item wakes one"
        );
        assert_eq!(manager.stats().unwrap().waiters, everyone - 1);

        let ended = monotonic();
        queue.shutdown().unwrap();
        for victim in &victims {
            victim.join();
        }
        let records = record::read(&released);
        assert_eq!(records.len() as u64, everyone * 2, "everyone was released");
        let woken: Vec<u64> = records
            .chunks(2)
            .filter(|record| record[1] != 0)
            .map(|record| record[1])
            .collect();
        assert_eq!(woken, [7]);
        let last = records.chunks(2).map(|record| record[0]).max().unwrap();
        let mut times = Times::default();
        times.add(Duration::from_nanos(last - ended));
        times.hold(
            &format!("from shutdown to the last of {} waiters", everyone - 1),
            RELEASED_WITHIN,
        );
        drop((victims, queue));
        baseline.await_return();
    }

    fn a_crowd_that_is_killed_leaves_no_trace(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<u64>(0).unwrap();
        let baseline = Baseline::of(&manager);
        let victims: Vec<_> = (0..2)
            .map(|_| victim!(morgue, crowd, queue.clone(), morgue.file()))
            .collect();
        await_waiters(&manager, 2 * WAITERS_EACH);
        for victim in &victims {
            victim.kill();
        }
        println!(
            "{} waiters of killed processes were gone after {:.1?}",
            2 * WAITERS_EACH,
            baseline.await_return()
        );
        queue.put(1).unwrap();
        assert_eq!(queue.get().unwrap(), 1);
    }
}

#[test]
fn a_client_that_finds_no_place_waits_for_one() {
    let _watchdog = Watchdog::new();
    let morgue = Morgue::new();
    let path = morgue.file();
    let server = victim!(morgue, server_for, path.clone(), 4, 16);
    server.await_doing(Doing::Waiting);
    let others: Vec<_> = (0..4).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let late = std::thread::spawn({
        let address = format!("unix:{}", path.display());
        move || Manager::connect(address).and_then(|manager| manager.ping())
    });
    // The server has no fifth place, and says so.
    await_asleep(server.pid());
    assert!(!late.is_finished());
    drop(others);
    late.join().unwrap().unwrap();
}
