//! The backends, the watchdog, and the check that nothing is left behind.

use byproxy::server::{Limits, Server};
use byproxy::{Manager, Stats};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What a test returns: any error fails it.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error>>;

/// How long a test may take before it counts as stuck, as one is on purpose where bugs are seeded.
const PATIENCE: Duration = Duration::from_secs(if cfg!(canary = "any") { 15 } else { 60 });

/// Runs each test once for every backend.
macro_rules! on_every_backend {
    ($( $(#[$meta:meta])* fn $name:ident($manager:ident) $body:block )*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "not every test uses everything that its file does")]
            use super::*;

            fn run($manager: &byproxy::Manager) -> $crate::support::Outcome {
                $body
                Ok(())
            }

            $(#[$meta])*
            #[test]
            fn embedded() {
                $crate::support::check($crate::support::embedded, run);
            }

            $(#[$meta])*
            #[test]
            fn memory() {
                $crate::support::check($crate::support::memory, run);
            }

            $(#[$meta])*
            #[test]
            fn unix() {
                $crate::support::check($crate::support::unix, run);
            }

            $(#[$meta])*
            #[test]
            fn ring() {
                $crate::support::check($crate::support::ring, run);
            }

            $(#[$meta])*
            #[test]
            fn process() {
                $crate::support::check($crate::support::process, run);
            }
        }
    )*};
}

/// A manager, and what has to be kept while it is used.
pub(crate) struct Fixture {
    pub(crate) manager: Manager,
    _keep: Box<dyn std::any::Any>,
}

pub(crate) fn embedded() -> Fixture {
    Fixture {
        manager: Manager::embedded().expect("an engine in this process"),
        _keep: Box::new(()),
    }
}

/// The whole server over pipes of memory instead of sockets.
pub(crate) fn memory() -> Fixture {
    let manager = Manager::builder().in_memory().expect("a server in this process");
    Fixture {
        manager,
        _keep: Box::new(()),
    }
}

/// A server on a socket, served by a thread of this process.
pub(crate) fn unix() -> Fixture {
    serve(Limits {
        ring_after: 0,
        ..Limits::default()
    })
}

/// The same, with every lane in shared memory from its first call on.
pub(crate) fn ring() -> Fixture {
    serve(Limits {
        ring_after: 1,
        ..Limits::default()
    })
}

fn serve(limits: Limits) -> Fixture {
    let rings = limits.ring_after > 0;
    let server = Server::builder().limits(limits).build();
    let server = server.expect("a server in a private directory");
    let (handle, address) = (server.handle(), server.address().clone());
    let thread = Some(thread::spawn(move || server.serve().expect("the server ends well")));
    let running = Running { handle, thread, rings };
    Fixture {
        manager: Manager::connect(&address).expect("a session"),
        _keep: Box::new(running),
    }
}

/// A server process.
pub(crate) fn process() -> Fixture {
    let manager = Manager::start().expect("a server process");
    Fixture {
        manager,
        _keep: Box::new(()),
    }
}

struct Running {
    handle: byproxy::server::Handle,
    thread: Option<thread::JoinHandle<()>>,
    /// Whether lanes go on in rings.
    rings: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic");
        }
        if !thread::panicking() {
            let stats = self.handle.stats();
            assert_eq!(stats.overlooked, 0, "somebody slept beside a ring with something to do");
            assert_eq!(stats.rings_opened > 0, self.rings, "calls went another way: {stats:?}");
        }
    }
}

/// Runs a test under the watchdog and compares the server's counters before and after.
pub(crate) fn check(backend: fn() -> Fixture, test: fn(&Manager) -> Outcome) {
    let (done, waiting) = mpsc::channel();
    let runner = thread::spawn(move || {
        let fixture = backend();
        let before = fixture.manager.stats().expect("stats before the test");
        let outcome = test(&fixture.manager).map_err(|error| error.to_string());
        // A shut down server has nothing left to count.
        let after = fixture
            .manager
            .stats()
            .is_ok()
            .then(|| settled(&fixture.manager, before));
        let _ = done.send(());
        if let Err(error) = outcome {
            panic!("{error}");
        }
        assert!(
            after.is_none_or(|after| after == before),
            "left behind: {after:?}, before: {before:?}"
        );
    });
    assert!(
        waiting.recv_timeout(PATIENCE) != Err(mpsc::RecvTimeoutError::Timeout),
        "stuck for {PATIENCE:?}"
    );
    if let Err(panic) = runner.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The counters once they are what they were before: a release is sent without waiting, so it may be a moment on its way.
fn settled(manager: &Manager, before: Stats) -> Stats {
    let start = Instant::now();
    loop {
        let now = manager.stats().expect("stats after the test");
        if now == before || start.elapsed() > Duration::from_secs(5) {
            return now;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a function on so many threads at once and returns what each returned.
pub(crate) fn on_threads<R: Send>(count: usize, run: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let (run, barrier) = (&run, &std::sync::Barrier::new(count));
    thread::scope(|scope| {
        let start = |index| {
            scope.spawn(move || {
                barrier.wait();
                run(index)
            })
        };
        let threads: Vec<_> = (0..count).map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the thread does not panic"))
            .collect()
    })
}

/// Waits until so many calls wait at the server.
pub(crate) fn until_waiting(manager: &Manager, waiters: u64) {
    let start = Instant::now();
    while manager.stats().expect("stats").waiters != waiters {
        assert!(start.elapsed() < PATIENCE, "nobody waits");
        thread::yield_now();
    }
}
