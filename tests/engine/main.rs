//! The engine under a simulator in virtual time, and under a crowd of threads.
//!
//! `BYPROXY_SEED=17 cargo test --test engine simulator` runs one seed again and prints every event before the failure.

mod calls;
mod counts;
mod crowd;
mod events;
mod judge;
mod member;
mod model;
mod random;
mod simulator;

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
    let mut deaths = simulator::Deaths::default();
    for seed in 0..SEEDS {
        match simulator::run(seed, EVENTS, false) {
            Ok(more) => {
                deaths.idle += more.idle;
                deaths.torn += more.torn;
            }
            Err(error) => panic!("seed {seed}: {error}\nBYPROXY_SEED={seed} prints every event before it"),
        }
    }
    assert!(deaths.torn * 2 > deaths.idle, "most deaths tore nothing: {deaths:?}");
}
