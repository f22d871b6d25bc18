//! Clients that die, or stop, in the middle of a frame: a request half sent, a reply half read.

use crate::baseline::Baseline;
use crate::processes::{await_asleep, freeze};
use crate::served::Served;
use crate::status::{Doing, Publisher};
use crate::victim::{Morgue, victim};
use crate::watchdog::Watchdog;
use byproxy::{Manager, QueueProxy};
use std::path::PathBuf;
use std::time::Instant;

/// More than any socket buffer holds, and less than a frame may be.
const LARGE: usize = 40 << 20;

/// Puts a large item.
fn large_producer(status: PathBuf, queue: QueueProxy<String>) -> byproxy::Result<()> {
    let item = "x".repeat(LARGE);
    Publisher::open(&status).doing(Doing::Calling);
    queue.put(item)?;
    unreachable!("it is killed before");
}

/// Gets a large item.
fn large_consumer(status: PathBuf, queue: QueueProxy<String>) -> byproxy::Result<()> {
    Publisher::open(&status).doing(Doing::Calling);
    queue.get()?;
    unreachable!("it is killed before");
}

#[test]
fn a_request_half_sent_has_no_effect() {
    let _watchdog = Watchdog::new();
    let server = Served::start();
    let manager = Manager::connect(server.address()).unwrap();
    let morgue = Morgue::new();
    let queue = manager.queue::<String>(0).unwrap();
    let baseline = Baseline::of(&manager);
    // A frozen server reads nothing: the victim is stuck with a full socket in the middle of its frame.
    let victim = victim!(morgue, large_producer, queue.clone());
    server.freeze();
    victim.await_doing(Doing::Calling);
    await_asleep(victim.pid());
    assert_eq!(victim.kill().doing, Doing::Calling);
    server.thaw();
    baseline.await_return();
    assert_eq!((queue.qsize().unwrap(), queue.audit().unwrap().accepted), (0, 0));
}

#[test]
fn a_client_that_stops_reading_harms_nobody_and_its_reply_is_freed() {
    let _watchdog = Watchdog::new();
    let server = Served::start();
    let manager = Manager::connect(server.address()).unwrap();
    let morgue = Morgue::new();
    let queue = manager.queue::<String>(0).unwrap();
    let baseline = Baseline::of(&manager);

    let victim = victim!(morgue, large_consumer, queue.clone());
    crate::baseline::await_waiters(&manager, 1);
    freeze(victim.pid());
    queue.put("y".repeat(LARGE)).unwrap();
    queue.put("the next").unwrap();
    assert_eq!(queue.audit().unwrap().in_flight, 1);

    // The server has a reply that nobody reads, and goes on serving others.
    let start = Instant::now();
    for n in 0..200 {
        manager.list_from([n]).unwrap();
    }
    println!(
        "200 objects made and freed in {:.1?} beside a client that does not read",
        start.elapsed()
    );

    assert_eq!(victim.kill().doing, Doing::Calling);
    assert_eq!(
        queue.get().unwrap().len(),
        LARGE,
        "half a reply is none: the item is back, and first"
    );
    assert_eq!(queue.get().unwrap(), "the next");
    baseline.await_return();
}
