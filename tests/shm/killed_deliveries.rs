//! A consumer killed, or cut off while it lives, between any two instructions of taking a reply from a ring: the item is its own or is back in
//! the queue, and the server's books say which.
//!
//! The reply lies in the ring before the first of these instructions, so that all victims go the same way: a small one in front, a larger one
//! in the stream. Of the thousands on it those around the commit all have their turn, of the others some; `BYPROXY_KILL_POINTS=all` has them
//! all. A reply that is larger than the ring comes while it is read: there its consumer is killed after some time.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use byproxy::shm::Value;
use byproxy::{Manager, QueueAudit, QueueProxy};

use crate::alone::alone;
use crate::served::{Served, byproxy};
use crate::support::until;
use crate::victim::Victim;
use crate::watchdog::Watchdog;
use crate::way::{Way, all_are_wanted};

/// Instructions on either side of the commit that all have their turn.
const AROUND: usize = 40;
/// How many others have theirs.
const SAMPLED: usize = 150;
/// How many consumers may show the way.
const GUIDES: usize = 5;
/// How many may go another way than theirs, one after the other. On a busy machine some do, for whom a processor came late.
const STRAYS: usize = 4;

/// What a consumer knows of its call.
const UNKNOWN: u64 = 0;
const GOT: u64 = 1;
const FAILED: u64 = 2;

/// A server, and what its books say.
struct Stage {
    /// Hears of each victim.
    watchdog: Watchdog,
    server: Served,
    manager: Manager,
    queue: QueueProxy<String>,
    outcome: Value<u64>,
    sessions: u64,
    /// What is put and taken.
    item: String,
}

/// Where an item was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The consumer's books have it.
    Committed,
    /// It was in the queue again.
    Returned,
}

impl Stage {
    /// One on which items of so many bytes are taken.
    fn set(bytes: usize) -> Self {
        let watchdog = Watchdog::new();
        let server = Served::run(byproxy().args(["serve", "--ring-after", "1"]));
        let manager = Manager::connect(server.address()).unwrap();
        let queue = manager.queue_named("jobs", 0).unwrap();
        let outcome = Value::new(UNKNOWN).unwrap();
        let sessions = manager.stats().unwrap().sessions;
        Self {
            watchdog,
            server,
            manager,
            queue,
            outcome,
            sessions,
            item: "x".repeat(bytes),
        }
    }

    /// Waits until whoever was here is gone.
    fn await_end(&self) {
        until(|| self.manager.stats().unwrap().sessions == self.sessions);
    }

    /// A consumer that has been woken by its reply, and has not looked at it.
    fn consumer(&self) -> (Victim, ()) {
        self.watchdog.progress();
        self.await_end();
        assert!(self.queue.try_get().is_err(), "doubled");
        self.outcome.set(UNKNOWN);
        let victim = Victim::new(
            || {
                let before = shares();
                let manager = Manager::connect(self.server.address()).unwrap();
                let queue = manager.queue_named::<String>("jobs", 0).unwrap();
                // Whatever is done once only is done by now, and the lane is in its ring.
                queue.put(&self.item).unwrap();
                queue.get().unwrap();
                assert_eq!(
                    shares() - before,
                    2,
                    "a ring for its calls, and one for those that wait"
                );
                (manager, queue)
            },
            |(manager, queue)| {
                let got = queue.get().is_ok_and(|item| item == self.item);
                self.outcome.set(if got { GOT } else { FAILED });
                // It says nothing at its end: what is dropped here would be a goodbye.
                std::mem::forget((manager, queue));
            },
        );
        victim.run_to_sleep_in(libc::SYS_recvfrom);
        self.queue.put(&self.item).unwrap();
        victim.wait_for_wake();
        (victim, ())
    }

    /// Where the item is, now that the consumer's session has ended.
    fn find(&self, before: &QueueAudit) -> Found {
        self.await_end();
        let audit = self.queue.audit().unwrap();
        assert_eq!(audit.in_flight, 0);
        // The consumer's warming up committed one.
        let committed = audit.committed - before.committed - 1;
        assert_eq!(committed + audit.waiting, 1, "lost or doubled: {audit:?}");
        if committed == 1 {
            return Found::Committed;
        }
        assert!(self.queue.try_get().unwrap() == self.item);
        Found::Returned
    }

    /// Brings a consumer to an instruction, does something to it, and tells where the item was. Nothing if it went another way.
    fn at(&self, way: &Way, count: usize, strike: impl FnOnce(&mut Victim)) -> Option<Found> {
        self.await_end();
        let before = self.queue.audit().unwrap();
        let Some((mut victim, ())) = way.victim_after(count, || self.consumer()) else {
            self.await_end();
            while self.queue.try_get().is_ok() {}
            return None;
        };
        strike(&mut victim);
        let found = self.find(&before);
        victim.kill();
        Some(found)
    }

    /// What consumers do, and the first instruction of it after which the item is theirs. If the one that showed the way went another than
    /// others do, another one shows it.
    fn way(&self) -> (Way, usize) {
        for _ in 0..GUIDES {
            let way = Way::of(|| self.consumer());
            if let Some(commit) = self.commit(&way) {
                return (way, commit);
            }
        }
        panic!("the way to the commit is not the same each time")
    }

    /// The first instruction after which the item is the consumer's; nothing if several on end went another way.
    fn commit(&self, way: &Way) -> Option<usize> {
        let (mut returned, mut committed) = (0, way.len() - 1);
        while committed - returned > 1 {
            let middle = returned.midpoint(committed);
            let found = (0..STRAYS).find_map(|_| self.at(way, middle, |victim| _ = victim.kill()));
            match found? {
                Found::Returned => returned = middle,
                Found::Committed => committed = middle,
            }
        }
        Some(committed)
    }
}

/// Which instructions have their turn.
fn chosen(way: &Way, commit: usize) -> BTreeSet<usize> {
    if all_are_wanted() {
        return (0..way.len()).collect();
    }
    let step = (way.len() / SAMPLED).max(1);
    let around = commit.saturating_sub(AROUND)..(commit + AROUND).min(way.len());
    (0..way.len()).step_by(step).chain(around).collect()
}

/// How much memory this process shares with others; a child does not have its parent's rings.
fn shares() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:byproxy")).count()
}

/// Fits the front of a ring.
const SMALL: usize = 1;
/// Goes through the stream in one record.
const LARGER: usize = 100;
/// Goes through it in several.
const HUGE: usize = 100_000;

#[test]
fn killed_anywhere_the_item_is_the_consumers_or_back() {
    alone(
        "killed_deliveries::killed_anywhere_the_item_is_the_consumers_or_back",
        || killed_anywhere(SMALL),
    );
}

#[test]
fn killed_anywhere_a_larger_item_is_the_consumers_or_back() {
    alone(
        "killed_deliveries::killed_anywhere_a_larger_item_is_the_consumers_or_back",
        || killed_anywhere(LARGER),
    );
}

fn killed_anywhere(bytes: usize) {
    let stage = Stage::set(bytes);
    let (way, commit) = stage.way();
    let (mut returned, mut committed) = (0, 0);
    for count in chosen(&way, commit) {
        match stage.at(&way, count, |victim| _ = victim.kill()) {
            Some(Found::Returned) => {
                assert!(count < commit, "instruction {count} came after the commit at {commit}");
                returned += 1;
            }
            Some(Found::Committed) => {
                assert!(
                    count >= commit,
                    "instruction {count} came before the commit at {commit}"
                );
                committed += 1;
            }
            None => {}
        }
    }
    println!(
        "the reply path has {} instructions and commits at {commit}: {returned} kills before it, {committed} after it",
        way.len()
    );
    assert!(returned > 0 && committed > 0);
}

#[test]
fn killed_at_any_time_a_huge_item_is_the_consumers_or_back() {
    alone(
        "killed_deliveries::killed_at_any_time_a_huge_item_is_the_consumers_or_back",
        killed_at_any_time,
    );
}

fn killed_at_any_time() {
    const KILLS: u32 = 100;
    let stage = Stage::set(HUGE);
    let whole = {
        let (victim, ()) = stage.consumer();
        let start = Instant::now();
        victim.run();
        start.elapsed()
    };
    let (mut returned, mut committed) = (0, 0);
    for kill in 0..KILLS {
        stage.await_end();
        let before = stage.queue.audit().unwrap();
        let (mut victim, ()) = stage.consumer();
        if kill + 1 == KILLS {
            victim.run();
        } else {
            victim.go_on();
            std::thread::sleep(whole * kill / KILLS);
        }
        victim.kill();
        match (stage.find(&before), stage.outcome.get()) {
            (Found::Returned, UNKNOWN) => returned += 1,
            (Found::Committed, UNKNOWN | GOT) => committed += 1,
            disagreement => panic!("after kill {kill}: {disagreement:?}"),
        }
    }
    println!("{HUGE} bytes were taken within {whole:?}: {returned} kills before the commit, {committed} after it");
    assert!(returned > 0 && committed > 0);
}

#[test]
fn cut_off_anywhere_the_consumer_and_the_books_agree() {
    alone(
        "killed_deliveries::cut_off_anywhere_the_consumer_and_the_books_agree",
        cut_off_anywhere,
    );
}

fn cut_off_anywhere() {
    let stage = Stage::set(SMALL);
    let (way, commit) = stage.way();
    let (mut got, mut failed) = (0, 0);
    for count in chosen(&way, commit) {
        let found = stage.at(&way, count, |victim| {
            // The server ends the session of a consumer that lives, and stands still.
            cut_off(victim);
            stage.await_end();
            victim.run();
        });
        match (found, stage.outcome.get()) {
            (Some(Found::Committed), GOT) => got += 1,
            (Some(Found::Returned), FAILED) => failed += 1,
            (None, _) => {}
            disagreement => panic!("at instruction {count}: {disagreement:?}"),
        }
    }
    println!("cut off while alive: {got} had their item, {failed} were told that they had not");
    assert!(got > 0 && failed > 0);
}

/// Shuts the sockets of a process that it does not share with this one.
fn cut_off(victim: &Victim) {
    let pid = victim.pid();
    let sockets = |of: &str| -> BTreeSet<(String, i32)> {
        let entries = fs::read_dir(format!("/proc/{of}/fd")).unwrap().filter_map(Result::ok);
        entries
            .filter_map(|entry| {
                let target = fs::read_link(entry.path()).ok()?.to_str()?.to_owned();
                Some((target, entry.file_name().to_str()?.parse().ok()?))
            })
            .filter(|(target, _)| target.starts_with("socket:"))
            .collect()
    };
    let ours: BTreeSet<String> = sockets("self").into_iter().map(|(target, _)| target).collect();
    let theirs = sockets(&pid.as_raw_nonzero().get().to_string());
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let mut cut = 0;
    for (_, number) in theirs.into_iter().filter(|(target, _)| !ours.contains(target)) {
        let socket = rustix::process::pidfd_getfd(&pidfd, number, rustix::process::PidfdGetfdFlags::empty()).unwrap();
        let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both);
        cut += 1;
    }
    assert!(cut > 0, "it has sockets of its own");
}
