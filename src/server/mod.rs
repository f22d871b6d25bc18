//! The server: drives an [engine](crate::engine) with connections, the clock and helper threads.
//!
//! [`Server`] is the entry: it claims an address, then serves until it is told to stop. Inside, the `driver` is what everything
//! passes through: a `visit` turns frames into calls of the engine, and what comes out is delivered, without a thread of its own. A few
//! workers bring it the events of connections; `helpers` run the engine's jobs; `admission` decides who is let
//! in; a `session` binds a client process's connections together and ends them together; one `timer` holds every deadline. The server
//! knows nothing of proxies and clients, which it meets only in the protocol.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod admission;
mod builder;
mod connection;
mod descriptors;
mod driver;
mod helpers;
pub(crate) mod memory;
mod poller;
pub(crate) mod private;
mod rings;
mod session;
#[cfg(test)]
mod tests;
mod timer;
mod visit;
mod worker;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use byproxy_proto::address::Address;
use byproxy_proto::fault::{Fault, FaultCode};
use dashmap::DashMap;
use parking_lot::Mutex;

pub use self::builder::{Builder, Limits};
pub(crate) use self::builder::{check_memory, settled};
use self::connection::{Connection, Role};
use self::driver::{Counters, Driver, encode};
use self::helpers::Helpers;
use self::poller::Poller;
use self::private::PrivateDirectory;
use self::timer::Timer;
use self::worker::Worker;
use crate::engine::{Engine, Outcome, ReplyRef};
use crate::error::{Error, Result};
use crate::transport::unix::Listener;

/// Buffers of large frames go back to the system at once, so that a server which once took one does not stay large.
const LARGE_BLOCK_BYTES: usize = 1 << 20;
/// Jobs run side by side even on a small machine: a short one must not stand behind a long one.
const HELPERS_MIN: usize = 2;

/// A server that has claimed its address: clients can connect, and are answered once [`Server::serve`] runs.
///
/// Dropping it without serving gives the address up.
///
/// # Examples
///
/// ```
/// use byproxy::{Manager, Server};
///
/// let server = Server::builder().build()?;
/// let (address, handle) = (server.address().clone(), server.handle());
/// let serving = std::thread::spawn(move || server.serve());
///
/// let manager = Manager::connect(address)?;
/// manager.list_named::<u32>("sold")?.append(7)?;
/// assert_eq!(manager.show("sold")?, "[7]");
///
/// handle.stop();
/// serving.join().unwrap()?;
/// # Ok::<(), byproxy::Error>(())
/// ```
pub struct Server {
    driver: Arc<Driver>,
    listener: Arc<Listener>,
    address: Address,
    workers: Vec<Worker>,
    /// Goes when the server ends, after the socket in it.
    directory: Option<PrivateDirectory>,
}

/// Looks at a server and stops it, from any thread.
///
/// # Examples
///
/// ```
/// let server = byproxy::Server::builder().build()?;
/// let handle = server.handle();
/// let watcher = std::thread::spawn(move || handle.stats().sessions);
/// assert_eq!(watcher.join().unwrap(), 0);
/// # Ok::<(), byproxy::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    driver: Arc<Driver>,
    address: Address,
}

/// What happened at a server so far.
///
/// # Examples
///
/// ```
/// let server = byproxy::Server::builder().build()?;
/// assert_eq!(server.handle().stats(), byproxy::server::Stats::default(), "nothing yet");
/// # Ok::<(), byproxy::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that are open.
    pub connections: usize,
    /// Sessions that are open.
    pub sessions: usize,
    /// Connections that came.
    pub accepted: u64,
    /// Connections that were refused or broke the protocol.
    pub refused: u64,
    /// Times that accepting paused because the process had no descriptors left.
    pub starved: u64,
    /// Panics that were caught. Anything but zero is a fault in byproxy.
    pub panics: u64,
    /// Lanes whose calls go through shared memory now.
    pub rings: usize,
    /// Descriptors of shared memory that are kept for clients now.
    pub descriptors: usize,
    /// Times that a lane went on in shared memory.
    pub rings_opened: u64,
    /// Times that a client which slept until its reply came was woken by a system call.
    pub bells: u64,
    /// Times that a worker had nothing to do and slept.
    pub sleeps: u64,
    /// Times that something was found in a ring whose worker slept. Anything but zero is a fault in byproxy.
    pub overlooked: u64,
}

impl Server {
    /// Starts to describe a server.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().build()?;
    /// assert!(server.address().to_string().starts_with("unix:"), "in a private directory");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Where it listens.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().build()?;
    /// assert_eq!(server.address().to_string().parse().as_ref(), Ok(server.address()));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A handle to stop it with.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().build()?;
    /// let handle = server.handle();
    /// assert_eq!(handle.stats().connections, 0);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn handle(&self) -> Handle {
        Handle {
            driver: Arc::clone(&self.driver),
            address: self.address.clone(),
        }
    }

    /// Serves until [`Handle::stop`] is called or a client asks for the end, on this thread and a few more.
    ///
    /// At the end calls that wait are answered that the server is ending, and the socket is removed.
    ///
    /// A process that is forked from this one without a new program has copies of its connections: if this one is killed, clients that wait
    /// notice it when the other has ended too. Programs that are started (`std::process::Command`, [`Process`](crate::Process)) have none.
    ///
    /// # Errors
    /// If a thread can't be started or the system refuses to tell of events. The address is given up in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Manager, Server};
    ///
    /// let server = Server::builder().build()?;
    /// let address = server.address().clone();
    /// let serving = std::thread::spawn(move || server.serve());
    /// // A client may ask for the end.
    /// Manager::connect(&address)?.shutdown()?;
    /// serving.join().unwrap()?;
    /// assert!(Manager::connect(&address).is_err());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn serve(self) -> Result<()> {
        crate::sys::return_freed_blocks_of(LARGE_BLOCK_BYTES);
        let Self {
            driver,
            listener,
            address: _,
            workers,
            directory,
        } = self;
        let served = std::thread::scope(|scope| {
            let mut workers = workers.into_iter();
            let first = workers.next();
            let mut threads = Vec::new();
            for (index, worker) in workers.enumerate() {
                let name = format!("byproxy-worker-{}", index + 1);
                let started = std::thread::Builder::new()
                    .name(name)
                    .spawn_scoped(scope, move || worker.run());
                match started {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        driver.stop();
                        return Err(error);
                    }
                }
            }
            let served = first.map_or(Ok(()), |first| first.run());
            threads
                .into_iter()
                .fold(served, |served, thread| served.and(thread.join().unwrap_or(Ok(()))))
        });
        // The socket goes first: nobody must find a server that no longer answers.
        drop(listener);
        drop(directory);
        let connections: Vec<_> = driver.pollers.iter().flat_map(|poller| poller.connections()).collect();
        driver.finish(&connections);
        served.map_err(|source| Error::Io {
            context: "the server can't go on",
            source,
        })
    }
}

impl Handle {
    /// Ends the server; [`Server::serve`] then returns. Safe to call at any time and more than once.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().build()?;
    /// let handle = server.handle();
    /// let serving = std::thread::spawn(move || server.serve());
    /// handle.stop();
    /// handle.stop();
    /// serving.join().unwrap()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn stop(&self) {
        self.driver.stop();
    }

    /// Where it listens.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().build()?;
    /// assert_eq!(server.handle().address(), server.address());
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What happened so far.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().build()?;
    /// let handle = server.handle();
    /// let serving = std::thread::spawn(move || server.serve());
    /// let manager = byproxy::Manager::connect(handle.address())?;
    /// let stats = handle.stats();
    /// assert_eq!((stats.sessions, stats.refused, stats.panics), (1, 0, 0));
    /// handle.stop();
    /// serving.join().unwrap()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.driver.stats()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}

impl Driver {
    /// A driver with so many pollers, one for each worker.
    fn start(engine: Engine, limits: Limits, workers: usize) -> io::Result<Arc<Self>> {
        let pollers = (0..workers)
            .map(|_| Poller::new().map(Arc::new))
            .collect::<io::Result<_>>()?;
        let timer = Timer::new()?;
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let stop = rustix::event::eventfd(0, flags)?;
        Ok(Arc::new_cyclic(|driver| Self {
            engine,
            timer,
            limits,
            pollers,
            sessions: DashMap::new(),
            lanes: DashMap::new(),
            strangers: Mutex::new(BTreeMap::new()),
            hellos_due: AtomicBool::new(false),
            doomed: Mutex::default(),
            doomed_count: AtomicUsize::new(0),
            helpers: Helpers::new(std::sync::Weak::clone(driver), workers.max(HELPERS_MIN)),
            counters: Counters::default(),
            next_connection: AtomicU64::new(1),
            rings: AtomicUsize::new(0),
            kept: Arc::default(),
            ending: AtomicBool::new(false),
            stop,
        }))
    }

    /// Wakes every worker for the last time: nobody reads the eventfd, so it stays readable.
    fn stop(&self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }

    fn stop_descriptor(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// Answers the calls that wait and closes these connections, when no worker runs any more.
    fn finish(&self, connections: &[Arc<Connection>]) {
        self.helpers.stop();
        let ending = Fault::new(FaultCode::ShuttingDown, "the server is ending");
        for connection in connections {
            let mut inbound = connection.inbound.lock();
            let number = connection.answering.swap(0, Ordering::AcqRel);
            if number != 0 && matches!(inbound.role, Role::Lane(_)) {
                let mut frame = Vec::new();
                let reply = ReplyRef {
                    number,
                    outcome: Outcome::Fault(&ending),
                    delivers: false,
                };
                encode(reply, self.limits.frame_bytes_max, &mut frame);
                let _ = connection.write(&mut frame, || 0, usize::MAX);
            }
            self.retire(connection, &mut inbound);
        }
        self.sessions.clear();
    }

    fn stats(&self) -> Stats {
        let counters = &self.counters;
        Stats {
            connections: counters.connections.load(Ordering::Relaxed),
            sessions: self.sessions.len(),
            accepted: counters.accepted.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            starved: counters.starved.load(Ordering::Relaxed),
            panics: counters.panics.load(Ordering::Relaxed),
            rings: self.rings.load(Ordering::Relaxed),
            descriptors: self.kept.load(Ordering::Relaxed),
            rings_opened: counters.rings.load(Ordering::Relaxed),
            bells: self.bells(),
            sleeps: counters.sleeps.load(Ordering::Relaxed),
            overlooked: counters.overlooked.load(Ordering::Relaxed),
        }
    }
}

/// A number that nobody can guess and that no other server has had.
fn random_number() -> io::Result<u128> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u128::from_ne_bytes(bytes))
}
