//! What a server counts, before and after: whoever dies leaves nothing behind.

use byproxy::{Manager, Stats};
use std::time::{Duration, Instant};

/// How long a server may take to notice and sweep in these tests. What it takes is printed; this only turns a leak into a red test.
const PATIENCE: Duration = Duration::from_secs(10);

/// The counts of a server at a quiet moment.
#[derive(Debug)]
pub(crate) struct Baseline<'a> {
    manager: &'a Manager,
    counts: Stats,
}

impl<'a> Baseline<'a> {
    pub(crate) fn of(manager: &'a Manager) -> Self {
        Self {
            manager,
            counts: manager.stats().unwrap(),
        }
    }

    /// Waits until every count is exactly what it was, and returns how long that took.
    pub(crate) fn await_return(&self) -> Duration {
        await_stats(self.manager, &format!("back to {:?}", self.counts), |counts| {
            *counts == self.counts
        })
    }
}

/// Waits until the server's counts are as wanted, and returns how long that took.
pub(crate) fn await_stats(manager: &Manager, wanted: &str, is_so: impl Fn(&Stats) -> bool) -> Duration {
    let start = Instant::now();
    loop {
        let counts = manager.stats().unwrap();
        if is_so(&counts) {
            return start.elapsed();
        }
        assert!(
            start.elapsed() < PATIENCE,
            "not {wanted} after {PATIENCE:?}: {counts:?}"
        );
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Waits until so many calls wait in the server: then they do, and not only mean to.
pub(crate) fn await_waiters(manager: &Manager, waiters: u64) {
    await_stats(manager, &format!("at {waiters} waiters"), |counts| {
        counts.waiters == waiters
    });
}
