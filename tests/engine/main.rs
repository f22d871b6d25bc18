//! The engine under a simulator in virtual time, and under a crowd of threads.
//!
//! `BYPROXY_SEED=17 cargo test --test engine simulator` runs one seed again and prints every event before the failure.

mod calls;
mod judge;
mod model;
mod random;
mod simulator;

/// How many seeds a test run tries.
const SEEDS: u64 = 10_000;
/// How many events a world lives.
const EVENTS: usize = 120;

#[test]
fn the_simulator_finds_nothing() {
    if let Some(seed) = std::env::var("BYPROXY_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return simulator::run(seed, EVENTS, true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    for seed in 0..SEEDS {
        if let Err(error) = simulator::run(seed, EVENTS, false) {
            panic!("seed {seed}: {error}\nBYPROXY_SEED={seed} prints every event before it");
        }
    }
}
