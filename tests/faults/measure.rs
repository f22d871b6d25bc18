//! Times that are promised: measured, printed, and held against a limit that leaves room for a busy machine.

use std::time::Duration;

/// What a promise is multiplied by before a test fails over it: a loaded machine with two cores runs a dozen processes at once, and a
/// test that is red for no reason is read by nobody. The figure itself is printed.
const SLACK: u32 = 20;
/// Of a hundred times, so many may be longer than that: a virtual machine now and then stands still as a whole.
const HICCUPS: usize = 5;
/// So many times that, and no longer.
const HICCUP_MAX: u32 = 10;

/// Durations of one thing that happened many times.
#[derive(Debug, Default)]
pub(crate) struct Times {
    times: Vec<Duration>,
}

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// Prints the distribution, and fails if more than a few are far over the promise.
    pub(crate) fn hold(mut self, what: &str, promised: Duration) {
        self.times.sort_unstable();
        let at = |percent: usize| self.times[(self.times.len() * percent).div_ceil(100) - 1];
        let (p50, p99, max) = (at(50), at(99), at(100));
        println!(
            "{what}: p50 {p50:.2?}, p99 {p99:.2?}, max {max:.2?} of {} (promised {promised:?})",
            self.times.len()
        );
        let late = self.times.iter().filter(|time| **time > promised * SLACK).count();
        assert!(
            late <= self.times.len() * HICCUPS / 100 && max <= promised * SLACK * HICCUP_MAX,
            "{what}: {late} took more than {SLACK} times what is promised, up to {max:?}"
        );
    }
}

/// Now, on the clock that all processes of a machine share: nanoseconds.
pub(crate) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}
