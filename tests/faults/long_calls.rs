//! Calls that touch millions of items: they are worked off on the side, and other clients do not notice.
//!
//! `BYPROXY_FAULTS_ITEMS=10000000` is the long form.

use crate::baseline::await_stats;
use crate::watchdog::Watchdog;
use byproxy::{ListProxy, Manager};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ITEMS: u64 = 1_000_000;
/// How many runs they make that ascend: sorting those takes long enough, also where nothing is optimized.
const RUNS: u64 = 4;

/// What a call of another client may take meanwhile: a scheduler's turns on a busy machine, but never a job.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// How often something long is done until no call was late: a machine that stands still for a moment makes one of them late, a fault all.
const ATTEMPTS: usize = 5;

/// Another client, which makes one call after the other on an object of its own.
#[derive(Default)]
struct Bystander {
    calls: AtomicU64,
    worst_nanoseconds: AtomicU64,
    enough: AtomicBool,
}

impl Bystander {
    fn call_on_and_on(&self, own: &ListProxy<u64>) {
        while !self.enough.load(Ordering::Acquire) {
            let start = Instant::now();
            assert_eq!(own.get(0).unwrap(), 7);
            let took = u64::try_from(start.elapsed().as_nanos()).unwrap();
            self.worst_nanoseconds.fetch_max(took, Ordering::AcqRel);
            self.calls.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Has something long done, and holds that calls were answered during all of it. What is prepared each time is not part of it.
    fn beside<T, R>(&self, what: &str, mut prepare: impl FnMut() -> T, mut long: impl FnMut(T) -> R) -> R {
        let mut late = Vec::new();
        while late.len() < ATTEMPTS {
            let prepared = prepare();
            let (result, took, worst) = self.watch(what, || long(prepared));
            if worst < ANSWERED_WITHIN && worst < took / 2 + ANSWERED_WITHIN / 5 {
                return result;
            }
            late.push((took, worst));
        }
        panic!("a call of another client was late each time: {what} and the longest call took {late:?}");
    }

    /// Has something done, and says how long it took, and the longest call meanwhile.
    fn watch<R>(&self, what: &str, long: impl FnOnce() -> R) -> (R, Duration, Duration) {
        self.await_call();
        self.worst_nanoseconds.store(0, Ordering::Release);
        let calls = self.calls.load(Ordering::Acquire);
        let start = Instant::now();
        let result = long();
        let took = start.elapsed();
        let calls = self.calls.load(Ordering::Acquire) - calls;
        // The call that is under way may be the one that waited for all of it.
        self.await_call();
        let worst = Duration::from_nanos(self.worst_nanoseconds.load(Ordering::Acquire));
        println!("{what} took {took:.1?}; {calls} calls of another client meanwhile, the longest {worst:.1?}");
        (result, took, worst)
    }

    /// Lets it go when the test ends, well or not.
    fn until_dropped(&self) -> Enough<'_> {
        Enough(self)
    }

    fn await_call(&self) {
        let calls = self.calls.load(Ordering::Acquire);
        while self.calls.load(Ordering::Acquire) < calls + 2 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

struct Enough<'a>(&'a Bystander);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.enough.store(true, Ordering::Release);
    }
}

/// Puts this many items into a list, one run after the other, in place of what it holds.
fn fill(list: &ListProxy<u64>, items: u64, watchdog: &Watchdog) {
    list.clear().unwrap();
    for run in 0..RUNS {
        list.extend((0..items / RUNS).map(|n| n * RUNS + run)).unwrap();
        watchdog.progress();
    }
}

on_each_transport! {
    fn a_sort_a_copy_and_the_end_of_millions_leave_others_alone(transport) {
        let watchdog = Watchdog::with_limit(Duration::from_mins(5));
        let items = std::env::var("BYPROXY_FAULTS_ITEMS")
            .ok()
            .map_or(ITEMS, |items| items.parse().unwrap());
        let items = items / RUNS * RUNS;
        // With one worker, whatever holds it up holds up everybody.
        let server = transport.serve(&["--workers", "1"]);
        let manager = Manager::connect(server.address()).unwrap();
        let other = Manager::connect(server.address()).unwrap();
        let own = other.list_from([7u64]).unwrap();
        let list = manager.list::<u64>().unwrap();

        let bystander = Bystander::default();
        std::thread::scope(|scope| {
            scope.spawn(|| bystander.call_on_and_on(&own));
            let _enough = bystander.until_dropped();
            bystander.beside("sort", || fill(&list, items, &watchdog), |()| list.sort().unwrap());
            watchdog.progress();
            let before = manager.stats().unwrap();
            let without_the_copy = || {
                await_stats(&manager, "without the copy", |counts| *counts == before);
            };
            let copy = bystander.beside("copy", without_the_copy, |()| list.copy().unwrap());
            watchdog.progress();
            assert_eq!(copy.len().unwrap(), items);
            drop(copy);
            let new_copy = || {
                without_the_copy();
                list.copy().unwrap()
            };
            bystander.beside("drop", new_copy, |copy| {
                drop(copy);
                without_the_copy();
            });
        });
        let ends = (list.get(0).unwrap(), list.get(-1).unwrap());
        assert_eq!((list.len().unwrap(), ends), (items, (0, items - 1)));
    }
}
