//! Clients that die, or stop, in the middle of a frame: a request half sent, a reply half read.

use crate::baseline::Baseline;
use crate::processes::{await_asleep, freeze};
use crate::served::Served;
use crate::status::{Doing, Publisher};
use crate::victim::{Morgue, victim};
use crate::watchdog::Watchdog;
use byproxy::{Manager, QueueProxy};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// More than any socket buffer holds, and less than a frame may be.
const LARGE: usize = 40 << 20;

/// Puts a small item, so that all is there that a put needs, and on a word a large one.
fn large_producer(status: PathBuf, queue: QueueProxy<String>, word: PathBuf) -> byproxy::Result<()> {
    let mut publisher = Publisher::open(&status);
    let item = "x".repeat(LARGE);
    queue.put("small")?;
    publisher.doing(Doing::Between);
    while !word.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    publisher.doing(Doing::Calling);
    queue.put(item)?;
    unreachable!("it is killed before");
}

/// Gets a large item.
fn large_consumer(status: PathBuf, queue: QueueProxy<String>) -> byproxy::Result<()> {
    Publisher::open(&status).doing(Doing::Calling);
    queue.get()?;
    unreachable!("it is killed before");
}

/// The memory that is the server's own, in bytes.
fn memory(server: &Served) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Waits until the server has no more memory than this.
fn await_memory(server: &Served, most: usize, what: &str) {
    let start = Instant::now();
    while memory(server) > most {
        let now = memory(server);
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "more than {what} is left: {now} bytes, not {most}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

on_each_transport! {
    fn a_request_half_sent_has_no_effect(transport) {
        let _watchdog = Watchdog::new();
        let server = transport.serve(&[]);
        let manager = Manager::connect(server.address()).unwrap();
        let morgue = Morgue::new();
        let queue = manager.queue::<String>(0).unwrap();
        let baseline = Baseline::of(&manager);
        let word = morgue.file();
        let victim = victim!(morgue, large_producer, queue.clone(), word.clone());
        victim.await_doing(Doing::Between);
        assert_eq!(queue.get().unwrap(), "small");
        // A frozen server reads nothing: the victim is stuck with a full socket, or ring, in the middle of its frame.
        server.freeze();
        std::fs::write(&word, "").unwrap();
        victim.await_doing(Doing::Calling);
        await_asleep(victim.pid());
        assert_eq!(victim.kill().doing, Doing::Calling);
        server.thaw();
        baseline.await_return();
        assert_eq!((queue.qsize().unwrap(), queue.audit().unwrap().accepted), (0, 1));
    }
}

on_each_transport! {
    fn a_client_that_stops_reading_harms_nobody_and_its_reply_is_freed(transport) {
        let _watchdog = Watchdog::new();
        let server = transport.serve(&[]);
        let manager = Manager::connect(server.address()).unwrap();
        let morgue = Morgue::new();
        let queue = manager.queue::<String>(0).unwrap();
        let baseline = Baseline::of(&manager);
        let victim = victim!(morgue, large_consumer, queue.clone());
        crate::baseline::await_waiters(&manager, 1);
        freeze(victim.pid());
        let before = memory(&server);
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

        let grown = memory(&server).saturating_sub(before);
        assert!(grown > LARGE * 3 / 2, "the item and the reply lie there: {grown} bytes");
        assert_eq!(victim.kill().doing, Doing::Calling);
        await_memory(&server, before + LARGE * 5 / 4, "the item alone");
        assert_eq!(
            queue.get().unwrap().len(),
            LARGE,
            "half a reply is none: the item is back, and first"
        );
        assert_eq!(queue.get().unwrap(), "the next");
        baseline.await_return();
        await_memory(&server, before + LARGE / 4, "nothing of either");
    }
}
