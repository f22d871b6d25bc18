//! A worker: a thread that waits for events and lets the driver handle them.
//!
//! The first worker also has the listener and the timer. Nothing here ever runs long or waits for anything but events, so one worker
//! serves thousands of connections; a call that has to wait is data in the engine.

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::epoll::{Event, EventFlags};

use super::admission::out_of_descriptors;
use super::connection::{Connection, Source};
use super::driver::{Driver, Scratch};
use super::poller::{Eagerness, LISTENER, Poller, STOP, Subject, TIMER};
use super::rings::Rings;
use super::timer::Chore;
use crate::transport::Wire;
use crate::transport::ring::Served;
use crate::transport::unix::Listener;

/// How many events one wait brings.
const EVENTS_MAX: usize = 256;
/// How many connections are accepted before others have their turn.
const ACCEPTS_MAX: usize = 64;
/// How long accepting pauses when there are no descriptors.
const STARVED_PAUSE: Duration = Duration::from_millis(250);
/// How long accepting pauses when too many connections have just come and said nothing yet.
const CROWDED_PAUSE: Duration = Duration::from_millis(5);

/// One worker's view of the server.
#[derive(Debug)]
pub(super) struct Worker {
    driver: Arc<Driver>,
    poller: Arc<Poller>,
    listener: Option<Arc<Listener>>,
}

impl Worker {
    /// The worker of one poller. The first one gets the listener and the timer.
    pub(super) fn new(driver: &Arc<Driver>, index: usize, listener: Option<&Arc<Listener>>) -> io::Result<Self> {
        let poller = driver
            .pollers
            .get(index)
            .map(Arc::clone)
            .ok_or(ErrorKind::InvalidInput)?;
        poller.add_own(driver.stop_descriptor(), STOP)?;
        if index == 0 {
            poller.add_own(driver.timer.descriptor(), TIMER)?;
        }
        let listener = listener.filter(|_| index == 0).map(Arc::clone);
        if let Some(listener) = &listener {
            poller.add_own(listener.descriptor(), LISTENER)?;
        }
        Ok(Self {
            driver: Arc::clone(driver),
            poller,
            listener,
        })
    }

    /// Works until the server is stopped. A worker that ends for another reason ends the server: its connections would wait for ever.
    pub(super) fn run(&self) -> io::Result<()> {
        let _others = StopOthers(&self.driver);
        let mut scratch = Scratch::default();
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut eagerness = Eagerness::default();
        let mut rings = Rings::new(self.driver.pollers.len());
        loop {
            if rings.is_empty() {
                self.driver.counters.sleeps.fetch_add(1, Ordering::Relaxed);
                self.poller.wait(&mut events, &mut eagerness)?;
            } else if rings.is_time_to_look(&self.driver) {
                self.poller.look(&mut events)?;
            } else {
                rings.scan(&self.driver, &mut scratch);
                continue;
            }
            for event in &events {
                match event.data.u64() {
                    STOP => return Ok(()),
                    token => self.handle(token, event, &mut scratch, &mut rings),
                }
            }
            rings.scan(&self.driver, &mut scratch);
        }
    }

    #[inline]
    fn handle(&self, token: u64, event: &Event, scratch: &mut Scratch, rings: &mut Rings) {
        let driver = &self.driver;
        match token {
            TIMER => {
                let work = |scratch: &mut Scratch| {
                    if driver.expire(scratch) {
                        self.accept_again();
                    }
                };
                // A chore that is lost must not leave the server deaf.
                driver.visit(scratch, work, || self.accept_again());
            }
            LISTENER => driver.visit(scratch, |scratch| self.accept(scratch), || ()),
            token => match self.poller.subject(token) {
                Subject::Connection(connection) => {
                    let flags = event.flags;
                    driver.attend(&connection, scratch, |scratch| {
                        if flags.contains(EventFlags::OUT) {
                            driver.write_on(&connection, scratch);
                        }
                        if flags.intersects(EventFlags::HUP | EventFlags::ERR) && connection.is_stalled() {
                            // Nothing is read from it while its output waits, but nobody will ever read that.
                            driver.lose(&connection);
                        } else if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                            driver.read(&connection, Source::Socket, scratch);
                        }
                    });
                    rings.add(&connection);
                }
                Subject::Process(session) => driver.visit(scratch, |_| driver.doom(&session), || ()),
                Subject::Nothing => {}
            },
        }
    }

    fn accept(&self, scratch: &mut Scratch) {
        let Some(listener) = &self.listener else { return };
        for _ in 0..ACCEPTS_MAX {
            if !self.driver.make_room(scratch) {
                return self.pause_accepting(listener.descriptor(), CROWDED_PAUSE);
            }
            match listener.accept() {
                Ok(socket) => {
                    // A connection of another user is dropped without a word.
                    let Ok(pid) = socket.check_user() else {
                        self.driver.counters.refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    // Whoever does not get in has been told and counted.
                    let _ = self.driver.admit(Wire::Unix(Served::new(socket)), pid);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if out_of_descriptors(&error) => {
                    self.driver.counters.starved.fetch_add(1, Ordering::Relaxed);
                    if seeded!("accept_spin") {
                        return;
                    }
                    return self.pause_accepting(listener.descriptor(), STARVED_PAUSE);
                }
                // The connection was gone before we took it; the next one may be fine.
                Err(_) => {}
            }
        }
    }

    /// Without descriptors or places the listener stays readable: it is left alone for a while, instead of asked again and again.
    fn pause_accepting(&self, listener: BorrowedFd<'_>, pause: Duration) {
        if self.poller.listen_to(listener, LISTENER, false).is_ok() {
            self.driver.timer.schedule(pause, Chore::Accept);
        }
    }

    fn accept_again(&self) {
        if let Some(listener) = &self.listener {
            let _ = self.poller.listen_to(listener.descriptor(), LISTENER, true);
        }
    }
}

/// Stops the server when a worker ends, by whatever way.
struct StopOthers<'a>(&'a Driver);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Driver {
    /// Does something with a connection, and settles. A panic ends the connection it happened on.
    #[inline]
    pub(super) fn attend(&self, connection: &Arc<Connection>, scratch: &mut Scratch, work: impl FnOnce(&mut Scratch)) {
        self.visit(scratch, work, || self.lose(connection));
    }

    /// Does something, and settles. A panic in it is a fault of ours that must not take the server down: after what is
    /// [saved](Self::save) comes what there is to mend, and then what it would have settled.
    #[inline]
    pub(super) fn visit(&self, scratch: &mut Scratch, work: impl FnOnce(&mut Scratch), mend: impl FnOnce()) {
        let sound = self.guarded(|| {
            work(scratch);
            self.settle(scratch);
        });
        if !sound {
            self.save(scratch);
            self.guarded(|| {
                mend();
                self.settle(scratch);
            });
        }
    }

    /// After a panic: what it left half done in the buffers goes, but not what the engine had put out by then. Those are the answers to calls
    /// of others, who would wait for ever, and jobs that have an object's contents with them. References that were on their way then, into an
    /// object or out of it, are lost: nobody knows any more where they had arrived, and an object that is kept harms less than one freed
    /// below its holder.
    #[cold]
    pub(super) fn save(&self, scratch: &mut Scratch) {
        let mut out = std::mem::take(scratch).out;
        self.guarded(|| self.deliver(&mut out, &mut scratch.frame));
    }

    /// Whether something ran without a panic.
    #[inline]
    pub(super) fn guarded(&self, visit: impl FnOnce()) -> bool {
        let sound = catch_unwind(AssertUnwindSafe(visit)).is_ok();
        if !sound {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
        }
        sound
    }
}
