//! Lanes in shared memory: what cannot be told from the outside, and when they come and go.

use crate::sleepers::await_thread_asleep;
use crate::support::on_threads;
use byproxy::server::{Handle, Limits};
use byproxy::{GetTimeoutError, Manager, QueueProxy, Server};
use rustix::process::Pid;
use rustix::thread::gettid;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A server whose counters a test looks at.
struct Watched {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    fn start(limits: Limits) -> Self {
        let server = Server::builder().limits(limits).build().unwrap();
        let handle = server.handle();
        let thread = Some(thread::spawn(move || server.serve().unwrap()));
        Self { handle, thread }
    }

    fn connect(&self) -> Manager {
        Manager::connect(self.handle.address()).unwrap()
    }

    /// How often one side had to wake the other by a system call.
    fn wakings(&self) -> u64 {
        let stats = self.handle.stats();
        stats.bells + stats.sleeps
    }

    /// How often its worker has gone to sleep, once it does not any more.
    fn sleeps_at_rest(&self) -> u64 {
        let mut last = self.handle.stats().sleeps;
        self.until("it has come to rest", |_| {
            thread::sleep(Duration::from_millis(300));
            let now = self.handle.stats().sleeps;
            std::mem::replace(&mut last, now) == now
        });
        last
    }

    fn until(&self, what: &str, mut holds: impl FnMut(byproxy::server::Stats) -> bool) {
        let start = Instant::now();
        while !holds(self.handle.stats()) {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "{what}: {:?}",
                self.handle.stats()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn early() -> Limits {
    Limits {
        ring_after: 1,
        ..Limits::default()
    }
}

#[test]
fn a_busy_lane_goes_on_in_a_ring_and_others_stay() {
    let server = Watched::start(Limits::default());
    let manager = server.connect();
    manager.ping().unwrap();
    assert_eq!(server.handle.stats().rings, 0, "one call is not many");
    for _ in 0..100 {
        manager.ping().unwrap();
    }
    assert_eq!(server.handle.stats().rings, 1);

    let server = Watched::start(Limits::default());
    let manager = Manager::builder().ring(false).connect(server.handle.address()).unwrap();
    for _ in 0..100 {
        manager.ping().unwrap();
    }
    assert_eq!(server.handle.stats().rings_opened, 0, "it did not want one");
}

/// Neither side sleeps, so neither wakes the other. On a machine that does other things some do: the median of many rounds counts, and a machine
/// that is busy for a while has more time.
#[test]
fn hot_calls_wake_nobody() {
    const CALLS: u64 = 1000;
    const ROUNDS: usize = 49;
    let server = Watched::start(early());
    let manager = server.connect();
    let dict = manager.dict::<String, u64>().unwrap();
    let queue = manager.queue::<u64>(0).unwrap();
    let list = manager.list::<u64>().unwrap();
    dict.insert("a", 1).unwrap();
    let round = |_| {
        let before = server.wakings();
        for number in 0..CALLS / 5 {
            dict.get("a").unwrap();
            dict.insert("a", number).unwrap();
            list.append(number).unwrap();
            queue.put(number).unwrap();
            queue.get().unwrap();
        }
        server.wakings() - before
    };
    let start = Instant::now();
    loop {
        let mut rounds: Vec<u64> = (0..ROUNDS).map(round).collect();
        rounds.sort_unstable();
        // One for the end of the round before, and one for a clock's tick.
        if rounds[ROUNDS / 2] <= 2 {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_mins(1),
            "{CALLS} calls woke somebody so often in each round: {rounds:?}"
        );
    }
}

/// Says at its end that something is no longer so, however it ends.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Cause: a side that waits gave its processor away before it slept, and forgot what that had cost. Symptom: where other programs kept all
/// processors busy, each call took a turn of theirs, 4 ms.
#[test]
fn where_others_want_all_processors_a_call_does_not_take_a_turn_of_theirs() {
    const CALLS: u32 = 200;
    const ROUNDS: usize = 11;
    const ATTEMPTS: usize = 3;
    let server = Watched::start(early());
    let manager = server.connect();
    let dict = manager.dict::<u64, u64>().unwrap();
    dict.insert(1, 2).unwrap();
    let busy = AtomicBool::new(true);
    let attempts: Vec<Vec<Duration>> = thread::scope(|scope| {
        let _end = EndOf(&busy);
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let round = |_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                assert_eq!(dict.get(1).unwrap(), Some(2));
            }
            start.elapsed() / CALLS
        };
        let attempt = || {
            let mut rounds: Vec<Duration> = (0..ROUNDS).map(round).collect();
            rounds.sort_unstable();
            rounds
        };
        std::iter::repeat_with(attempt).take(ATTEMPTS).collect()
    });
    assert!(server.handle.stats().rings_opened > 0, "it is about a ring");
    println!("a call took {attempts:?}");
    // Both sides may happen to have their turns at once, and then a round takes no time; and who tries anew now and then still takes a turn. Other
    // tests want the processors too, for a while.
    let half = attempts.iter().map(|rounds| rounds[ROUNDS / 2]).min().unwrap();
    assert!(half < Duration::from_millis(1), "a call took {attempts:?}");
}

/// What many items cost is said by the round trip that brings them, not by their number.
#[test]
fn many_items_wake_whoever_sleeps_once() {
    const ITEMS: usize = 1000;
    let server = Watched::start(early());
    let manager = server.connect();
    let queue = manager.queue::<usize>(0).unwrap();
    // How often somebody was rung for, once whoever takes an item sleeps.
    let rested = |taking: Option<Pid>| {
        taking.into_iter().for_each(await_thread_asleep);
        // Both sides give up looking long before.
        thread::sleep(Duration::from_millis(100));
        server.handle.stats().bells
    };
    for take in [
        (|queue| queue.get_many(ITEMS).unwrap().len()) as fn(&QueueProxy<usize>) -> usize,
        |queue| queue.get().map(|_| 1).unwrap(),
    ] {
        thread::scope(|scope| {
            let (say, said) = mpsc::channel();
            let taking = scope.spawn({
                let queue = &queue;
                move || {
                    say.send(gettid()).unwrap();
                    take(queue)
                }
            });
            crate::support::until_waiting(&manager, 1);
            let before = rested(Some(said.recv().unwrap()));
            queue.put_many(0..ITEMS).unwrap();
            let taken = taking.join().unwrap();
            let bells = server.handle.stats().bells - before;
            // The one that waited; and the one that put, if it slept until its reply came.
            assert!((1..=2).contains(&bells), "{ITEMS} items rang {bells} bells");
            let before = rested(None);
            let rest = queue.try_get_many(ITEMS).unwrap_or_default().len();
            assert_eq!(taken + rest, ITEMS);
            let bells = server.handle.stats().bells - before;
            assert!(bells <= 1, "{rest} items rang {bells} bells");
        });
    }
}

#[test]
fn going_through_a_container_wakes_its_server_once_for_each_chunk() {
    const CHUNKS: u64 = 3;
    /// What one chunk brings when its items are small.
    const ITEMS: u64 = 4096;
    let server = Watched::start(early());
    let manager = server.connect();
    let list = manager.list_from(0..CHUNKS * ITEMS).unwrap();
    let dict = manager.dict_from((0..CHUNKS * ITEMS).map(|key| (key, key))).unwrap();
    let wakings_of = |items: &mut dyn Iterator<Item = u64>| {
        let rest = || thread::sleep(Duration::from_millis(50));
        rest();
        let before = server.handle.stats().sleeps;
        for chunk in 0..CHUNKS {
            assert_eq!(items.next(), Some(chunk * ITEMS));
            rest();
            assert_eq!(items.take(4095).count(), 4095);
            rest();
        }
        server.handle.stats().sleeps - before
    };
    let of_each = || {
        [
            wakings_of(&mut list.iter().map(Result::unwrap)),
            wakings_of(&mut dict.iter().map(|pair| pair.unwrap().0)),
        ]
    };
    // And perhaps one for a look at whether the ring is idle. A worker that is held up is still awake when the next chunk is wanted.
    let as_promised = |wakings: &[u64; 2]| wakings.iter().all(|wakings| (CHUNKS..=CHUNKS + 1).contains(wakings));
    let mut rounds = Vec::new();
    while !rounds.last().is_some_and(as_promised) {
        assert!(
            rounds.len() < 5,
            "{CHUNKS} chunks of each woke the server so often: {rounds:?}"
        );
        rounds.push(of_each());
    }
}

#[test]
fn an_idle_ring_is_given_back_and_comes_again() {
    let server = Watched::start(early());
    let manager = server.connect();
    let list = manager.list_from([1]).unwrap();
    server.until("a ring is open", |stats| stats.rings == 1);
    server.until("it was idle for a second", |stats| stats.rings == 0);
    let sleeps = server.sleeps_at_rest();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(server.handle.stats().sleeps, sleeps, "an idle server does nothing");
    for _ in 0..3 {
        list.append(2).unwrap();
    }
    assert_eq!(server.handle.stats().rings, 1);
    assert_eq!(list.to_vec().unwrap(), [1, 2, 2, 2]);
}

#[test]
fn a_consumer_that_waits_long_keeps_its_place() {
    let server = Watched::start(early());
    let manager = server.connect();
    let queue = manager.queue::<u64>(0).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.get().unwrap());
        crate::support::until_waiting(&manager, 1);
        // Its lane is not idle, however long nothing happens there; the others are.
        thread::sleep(Duration::from_millis(2500));
        queue.put(7).unwrap();
        assert_eq!(waiting.join().unwrap(), 7);
    });
    let audit = queue.audit().unwrap();
    assert_eq!((audit.committed, audit.in_flight), (1, 0));
}

/// Cause: a fault in place of an item was read, and never said to be. Symptom: its ring was never idle, and never given back.
#[test]
fn a_ring_is_given_back_after_a_get_that_timed_out() {
    let server = Watched::start(early());
    let manager = server.connect();
    let queue = manager.queue::<u64>(0).unwrap();
    let got = queue.get_timeout(Duration::from_millis(10));
    assert!(matches!(got, Err(GetTimeoutError::Timeout)), "{got:?}");
    assert_eq!(server.handle.stats().rings, 2, "one for each kind of lane");
    server.until("both are idle", |stats| stats.rings == 0);
}

#[test]
fn what_is_larger_than_a_ring_goes_through_it_in_pieces() {
    let server = Watched::start(early());
    let manager = server.connect();
    let queue = manager.queue::<Vec<u64>>(0).unwrap();
    let list = manager.list::<String>().unwrap();
    for size in [1000, 10_000, 100_000, 1_000_000] {
        let item: Vec<u64> = (0..size).collect();
        queue.put(&item).unwrap();
        assert!(queue.get().unwrap() == item);
        let text = "x".repeat(usize::try_from(size).unwrap());
        list.append(&text).unwrap();
        assert!(list.get(-1).unwrap() == text);
    }
    let audit = queue.audit().unwrap();
    assert_eq!((audit.committed, audit.in_flight, audit.waiting), (4, 0, 0));
}

#[test]
fn beyond_the_cap_lanes_stay_on_their_sockets() {
    let limits = Limits {
        ring_bytes_max: 140_000,
        ..early()
    };
    let server = Watched::start(limits);
    let manager = server.connect();
    let list = manager.list::<usize>().unwrap();
    on_threads(8, |thread| (0..200).for_each(|_| list.append(thread).unwrap()));
    assert_eq!(list.len().unwrap(), 1600);
    assert!(server.handle.stats().rings <= 1, "{:?}", server.handle.stats());
}

#[test]
fn many_threads_share_and_nothing_is_mixed_up() {
    let server = Watched::start(early());
    let manager = server.connect();
    let dict = manager.dict::<usize, u64>().unwrap();
    let queue = manager.queue::<usize>(16).unwrap();
    on_threads(16, |thread| {
        for number in 0..200 {
            assert_eq!(dict.insert(thread, number).unwrap(), number.checked_sub(1));
            assert_eq!(dict.get(thread).unwrap(), Some(number));
            if thread % 2 == 0 {
                queue.put(thread).unwrap();
            } else {
                assert_eq!(queue.get().unwrap() % 2, 0);
            }
        }
    });
    let audit = queue.audit().unwrap();
    assert_eq!((audit.committed, audit.in_flight, audit.waiting), (1600, 0, 0));
}
