//! Ends the test program when a test hangs: a hang must be a red test, not a build that runs out of time.

use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How long one test, or one round of a long one, may take. Where bugs are seeded some are stuck on purpose.
pub(crate) const LIMIT: Duration = Duration::from_secs(if cfg!(canary = "any") { 15 } else { 30 });

/// Ends the program unless it is dropped, or told that there is progress, within [`LIMIT`].
pub(crate) struct Watchdog {
    alive: mpsc::Sender<()>,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    /// For the few tests whose work is long by its nature.
    pub(crate) fn with_limit(limit: Duration) -> Self {
        let (alive, heard) = mpsc::channel::<()>();
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        std::thread::spawn(move || {
            loop {
                match heard.recv_timeout(limit) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        let _ = writeln!(std::io::stderr(), "{test} made no progress for {limit:?}");
                        std::process::abort();
                    }
                }
            }
        });
        Self { alive }
    }

    /// Says that a round is over and the time starts anew.
    #[allow(dead_code, reason = "each test program uses the part it needs")]
    pub(crate) fn progress(&self) {
        let _ = self.alive.send(());
    }
}
