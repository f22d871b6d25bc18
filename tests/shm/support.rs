//! What the tests share: a watchdog, a wait for something to become true, and the late ones among survivors.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{process, thread};

/// Ends the whole test program when the test that holds it takes too long.
pub(crate) struct Watchdog {
    _stop: mpsc::Sender<()>,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self::of(Duration::from_secs(30))
    }

    pub(crate) fn of(limit: Duration) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if stopped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let _ = writeln!(std::io::stderr(), "{test} took longer than {limit:?}");
                process::abort();
            }
        });
        Self { _stop: stop }
    }
}

/// Waits until something that another thread or process does has happened.
pub(crate) fn until(mut happened: impl FnMut() -> bool) {
    while !happened() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// How long survivors took, and in which state their peers were killed.
#[derive(Default)]
pub(crate) struct Survivors {
    times: Vec<Duration>,
    holding: usize,
}

impl Survivors {
    /// What a survivor may take, on a machine that does nothing else.
    const PROMISE: Duration = Duration::from_millis(150);

    pub(crate) fn record(&mut self, killed: Instant, while_holding: bool) {
        self.times.push(killed.elapsed());
        self.holding += usize::from(while_holding);
    }

    /// Prints what happened and fails if survivors were late; a busy machine may delay a few of them.
    pub(crate) fn judge(mut self, what: &str) {
        self.times.sort_unstable();
        let kills = self.times.len();
        let at = |percent: usize| self.times[(kills - 1) * percent / 100];
        let (half, most, last) = (at(50), at(90), at(100));
        println!(
            "{what}: {kills} kills, {} while holding; survivors went on after {half:?} (half), {most:?} (90 %), {last:?} (all)",
            self.holding
        );
        assert!(most <= Self::PROMISE, "{what}: survivors were late: {most:?}");
        assert!(self.holding * 10 >= kills, "{what}: too few kills hit a holder");
    }
}
