//! What the tests share: waits for something to become true, and the late ones among survivors.

use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Waits until something that another thread or process does has happened.
pub(crate) fn until(mut happened: impl FnMut() -> bool) {
    while !happened() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// A thread that waits for something, asleep.
pub(crate) struct Sleeper<R>(Option<thread::JoinHandle<R>>);

impl<R: Send + 'static> Sleeper<R> {
    /// Starts it, and returns once it sleeps.
    pub(crate) fn start(wait: impl FnOnce() -> R + Send + 'static) -> Self {
        let (say, said) = mpsc::channel();
        let thread = thread::spawn(move || {
            say.send(rustix::thread::gettid()).unwrap();
            wait()
        });
        let status = format!("/proc/self/task/{}/stat", said.recv().unwrap());
        until(|| fs::read_to_string(&status).is_ok_and(|status| status.contains(") S ")) || thread.is_finished());
        Self(Some(thread))
    }

    /// What it came back with.
    pub(crate) fn wait(mut self) -> R {
        self.0.take().unwrap().join().unwrap()
    }
}

impl<R> Drop for Sleeper<R> {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

/// Whether each number is higher than the one before.
#[derive(Default)]
pub(crate) struct Growing(u64);

impl Growing {
    pub(crate) fn assert(&mut self, next: u64) {
        assert!(next > self.0, "after {} came {next}", self.0);
        self.0 = next;
    }
}

/// What survivors may take, on a machine that does nothing else.
pub(crate) const PROMISE: Duration = Duration::from_millis(150);
/// What nobody may take, however busy the machine is; it may stand still once.
const PATIENCE: Duration = Duration::from_secs(2);

/// A survivor of one kill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survivor {
    after: Duration,
    holding: bool,
}

impl Survivor {
    /// It goes on now.
    pub(crate) fn since(killed: Instant, while_holding: bool) -> Self {
        Self {
            after: killed.elapsed(),
            holding: while_holding,
        }
    }

    pub(crate) fn is_late(self) -> bool {
        self.after > PROMISE
    }
}

/// How long survivors took, and in which state their peers were killed.
#[derive(Default)]
pub(crate) struct Survivors(Vec<Survivor>);

impl Survivors {
    pub(crate) fn record(&mut self, survivor: Survivor) {
        self.0.push(survivor);
    }

    /// Prints what happened, and says how many kills hit a holder. Fails if survivors had to be very patient.
    pub(crate) fn judge(self, what: &str) -> Holders {
        let mut times: Vec<Duration> = self.0.iter().map(|survivor| survivor.after).collect();
        times.sort_unstable();
        let (kills, holding) = (times.len(), self.0.iter().filter(|survivor| survivor.holding).count());
        let at = |percent: usize| times[(kills - 1) * percent / 100];
        println!(
            "{what}: {kills} kills, {holding} while holding; survivors went on after {:?} (half), {:?} (90 %), {:?} (all)",
            at(50),
            at(90),
            at(100)
        );
        let impatient = times.iter().filter(|time| **time > PATIENCE).count();
        assert!(
            impatient <= 1,
            "{what}: {impatient} survivors went on after more than {PATIENCE:?}"
        );
        Holders { kills, holding }
    }
}

/// How many kills hit a holder.
#[must_use]
pub(crate) struct Holders {
    kills: usize,
    holding: usize,
}

impl Holders {
    pub(crate) fn assert_some(self) {
        assert!(self.holding * 10 >= self.kills, "too few kills hit a holder");
    }

    pub(crate) fn assert_none(self) {
        assert_eq!(self.holding, 0);
    }
}
