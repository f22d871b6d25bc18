//! The engine under a simulator in virtual time, and under a crowd of threads.
//!
//! `BYPROXY_SEED=17 cargo test --test engine simulator` runs one seed again and prints every event before the failure.

mod batches;
mod calls;
mod counts;
mod crowd;
mod events;
mod judge;
mod member;
mod memory;
mod model;
mod random;
mod simulator;

use std::sync::atomic::{AtomicU64, Ordering};

/// How many seeds a test run tries.
const SEEDS: u64 = 10_000;
/// How many events a world lives.
const EVENTS: usize = 120;

#[test]
fn the_simulator_finds_nothing() {
    let one = std::env::var("BYPROXY_SEED").ok().and_then(|seed| seed.parse().ok());
    if let Some(seed) = one {
        simulator::run(seed, EVENTS, true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        return;
    }
    // Each world has one thread; worlds know nothing of each other.
    let next = AtomicU64::new(0);
    let live_and_die = || {
        let mut deaths = simulator::Deaths::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return Ok(deaths);
            }
            deaths += simulator::run(seed, EVENTS, false).map_err(|error| {
                next.store(SEEDS, Ordering::Relaxed);
                format!("seed {seed}: {error}\nBYPROXY_SEED={seed} prints every event before it")
            })?;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut deaths = simulator::Deaths::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(live_and_die)).collect();
        for thread in threads {
            let lived: Result<_, String> = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            deaths += lived.unwrap_or_else(|error| panic!("{error}"));
        }
    });
    assert!(deaths.torn * 2 > deaths.idle, "most deaths tore nothing: {deaths:?}");
}
