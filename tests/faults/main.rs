//! What byproxy promises when processes are killed: real processes, `SIGKILL`, a real server.
//!
//! Each test holds one promise, and each has seeded bugs in the library (`cfg(canary = "…")`, `tests/canaries`) that turn it red.
//! Measured times are printed (`--nocapture`); tests assert a multiple of the promised ones only, because a busy machine is no bug.
//!
//! | variable | meaning |
//! |---|---|
//! | `BYPROXY_FAULTS_KILLS=2000` | the long form of the campaign |
//! | `BYPROXY_FAULTS_OBJECTS=1000000` | the long form of the churn of objects |
//! | `BYPROXY_FAULTS_ITEMS=10000000` | the long form of the calls on millions of items |
//! | `BYPROXY_FAULTS_SEED=…` | the seed that a test printed |
#![expect(clippy::print_stdout, reason = "measured times and skipped tests are printed")]

byproxy::test_support!();

#[macro_use]
mod transport;

mod answers;
mod baseline;
mod campaign;
mod churn;
mod consumers;
mod crowd;
mod deliveries;
mod frames;
mod kill_points;
mod locks;
mod long_calls;
mod measure;
mod memory;
mod objects;
mod races;
mod record;
mod relay;
mod server_death;
mod status;
mod victim;

#[path = "../support/dice.rs"]
mod dice;
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/served.rs"]
mod served;
#[path = "../support/watchdog.rs"]
mod watchdog;
