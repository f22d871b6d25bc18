//! The same proxies from threads and from processes: a counter that loses updates, and three that do not.
//!
//! `cargo run --example threads_and_processes`

use byproxy::{DictProxy, LockProxy, Manager, Process};

const WORKERS: u32 = 4;
const ROUNDS: u32 = 250;

/// Counts `ROUNDS` times in each way.
fn count(counters: DictProxy<String, u32>, lock: LockProxy) -> byproxy::Result<()> {
    for _ in 0..ROUNDS {
        // Two calls, and another may come between them: Python's `d[k] += 1`.
        let seen = counters.get("get, then insert")?.unwrap_or(0);
        counters.insert("get, then insert", seen + 1)?;

        let guard = lock.acquire()?;
        let seen = counters.get("under the lock")?.unwrap_or(0);
        counters.insert("under the lock", seen + 1)?;
        drop(guard);

        counters.modify("modify", |n| *n += 1)?;
        counters.fetch_add("fetch_add", 1)?;
    }
    Ok(())
}

fn main() -> byproxy::Result<()> {
    byproxy::init();
    let manager = Manager::start()?;
    let lock = manager.lock()?;
    let ways = ["get, then insert", "under the lock", "modify", "fetch_add"];

    let counters = manager.dict_from(ways.map(|way| (way, 0u32)))?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WORKERS)
            .map(|_| scope.spawn(|| count(counters.clone(), lock.clone())))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("a worker does not panic"))
    })?;
    println!("{WORKERS} threads × {ROUNDS}:   {counters}");

    let counters = manager.dict_from(ways.map(|way| (way, 0u32)))?;
    let workers: Vec<Process> = (0..WORKERS)
        .map(|_| Process::spawn(count, (counters.clone(), lock.clone())))
        .collect::<Result<_, _>>()?;
    workers.into_iter().try_for_each(|worker| worker.join())?;
    println!("{WORKERS} processes × {ROUNDS}: {counters}");
    for way in &ways[1..] {
        assert_eq!(counters.get(*way)?, Some(WORKERS * ROUNDS), "{way} is exact");
    }
    Ok(())
}
