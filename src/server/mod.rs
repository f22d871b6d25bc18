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
mod connection;
mod driver;
mod helpers;
pub(crate) mod memory;
mod poller;
pub(crate) mod private;
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
use std::time::Duration;

use byproxy_proto::address::Address;
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::FRAME_BYTES_MAX;
use dashmap::DashMap;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::connection::{Connection, Role};
use self::driver::{Counters, Driver, encode};
use self::helpers::Helpers;
use self::poller::Poller;
use self::private::PrivateDirectory;
use self::timer::Timer;
use self::worker::Worker;
use crate::engine::{Engine, Outcome, ReplyRef, Settings};
use crate::error::{Error, Result};
use crate::transport::unix::Listener;

/// Buffers of large frames go back to the system at once, so that a server which once took one does not stay large.
const LARGE_BLOCK_BYTES: usize = 1 << 20;
/// Descriptors for other things than connections: the listener, pollers, timers, files of the program around it.
const DESCRIPTORS_SPARE: u64 = 256;

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

/// How a server is set up before it claims its address.
///
/// # Examples
///
/// ```
/// let server = byproxy::Server::builder().workers(2).memory_bytes_max(1 << 30).build()?;
/// assert!(server.address().to_string().starts_with("unix:"));
/// # Ok::<(), byproxy::Error>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    address: Option<Address>,
    workers: usize,
    limits: Limits,
    memory_bytes_max: Option<u64>,
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

/// What a server allows its clients.
///
/// # Examples
///
/// ```
/// let limits = byproxy::server::Limits { connections_max: 100, ..Default::default() };
/// let server = byproxy::Server::builder().limits(limits).build()?;
/// # Ok::<(), byproxy::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame, in bytes: one call's arguments or one reply.
    pub frame_bytes_max: usize,
    /// How many connections may be open.
    pub connections_max: usize,
    /// How many connections may be open that have not said hello; beyond that the oldest is closed.
    pub strangers_max: usize,
    /// How long a connection may take to say hello.
    pub hello_wait: Duration,
    /// How many lanes one session may have, which is how many of its calls may wait.
    pub lanes_max: usize,
    /// How many bytes of replies a lane may leave unread before its requests are no longer taken.
    pub unread_bytes_max: usize,
    /// How long a client may leave a reply unread without taking a single byte of it, before its session ends.
    pub stuck_wait: Duration,
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
            connections_max: 10_000,
            strangers_max: 128,
            hello_wait: Duration::from_secs(10),
            lanes_max: 1024 + 64,
            unread_bytes_max: 8 << 20,
            stuck_wait: Duration::from_secs(30),
        }
    }
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
        Builder {
            address: None,
            workers: workers_default(),
            limits: Limits::default(),
            memory_bytes_max: None,
        }
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

impl Builder {
    /// Where to listen. Unless it is given, the server listens in a new directory that only this user can enter, and removes it at its end.
    ///
    /// # Examples
    ///
    /// ```
    /// let directory = tempfile::tempdir()?;
    /// let address = byproxy::Address::unix(directory.path().join("app.sock"))?;
    /// let server = byproxy::Server::builder().listen(address.clone()).build()?;
    /// assert_eq!(server.address(), &address);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn listen(self, address: Address) -> Self {
        Self {
            address: Some(address),
            ..self
        }
    }

    /// How many threads serve connections; at least one. Half the cores unless said otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().workers(4).build()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self {
            workers: workers.max(1),
            ..self
        }
    }

    /// What to allow clients.
    ///
    /// # Examples
    ///
    /// ```
    /// let limits = byproxy::server::Limits { frame_bytes_max: 1 << 16, ..Default::default() };
    /// let server = byproxy::Server::builder().limits(limits).build()?;
    /// let handle = server.handle();
    /// let serving = std::thread::spawn(move || server.serve());
    /// let texts = byproxy::Manager::connect(handle.address())?.list::<String>()?;
    /// assert!(texts.append("x".repeat(1 << 17)).is_err());
    /// handle.stop();
    /// serving.join().unwrap()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// How many bytes all objects together may occupy.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().memory_bytes_max(1 << 16).build()?;
    /// let handle = server.handle();
    /// let serving = std::thread::spawn(move || server.serve());
    /// let texts = byproxy::Manager::connect(handle.address())?.list::<String>()?;
    /// assert!(texts.append("x".repeat(1 << 17)).is_err());
    /// handle.stop();
    /// serving.join().unwrap()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[must_use]
    pub fn memory_bytes_max(self, bytes: u64) -> Self {
        Self {
            memory_bytes_max: Some(bytes),
            ..self
        }
    }

    /// Claims the address. Raises this process's soft limit of descriptors, since every connection needs one.
    ///
    /// # Errors
    /// If the address has no transport, or can't be claimed: another server has it, or the path is not safe to listen at. The message
    /// says which and what to do.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().build()?;
    /// let taken = byproxy::Server::builder().listen(server.address().clone()).build();
    /// assert!(taken.is_err(), "one server has it");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn build(self) -> Result<Server> {
        let (address, directory) = if let Some(address) = self.address {
            (address, None)
        } else {
            let context = "can't make a private directory for the socket";
            let directory = PrivateDirectory::create().map_err(|source| Error::Io { context, source })?;
            (Address::unix(directory.socket())?, Some(directory))
        };
        let Address::Unix(path) = &address else {
            return Err(unsupported(format!(
                "can't listen at {address} yet: only unix:PATH has a transport"
            )));
        };
        let listener = Listener::bind(path).map_err(|error| Error::Io {
            context: "can't listen",
            source: io::Error::other(error),
        })?;
        let listener = Arc::new(listener);
        let context = "can't set up the server";
        let io = |source| Error::Io { context, source };
        let mut settings = Settings::default();
        if let Some(bytes) = self.memory_bytes_max {
            settings.memory_bytes_max = bytes;
        }
        let engine = Engine::new(random_number().map_err(io)?, settings);
        allow_descriptors(self.limits.connections_max);
        let driver = Driver::start(engine, self.limits, self.workers).map_err(io)?;
        let workers = (0..self.workers)
            .map(|index| Worker::new(&driver, index, Some(&listener)))
            .collect::<io::Result<_>>();
        Ok(Server {
            driver,
            listener,
            address,
            workers: workers.map_err(io)?,
            directory,
        })
    }
}

/// Lets this process have a descriptor for each of so many connections, and some for itself, as far as the system allows. Without it
/// many systems give a process a thousand.
fn allow_descriptors(connections: usize) {
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(DESCRIPTORS_SPARE);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // If it is refused, the server takes as many connections as it can, and lets the rest wait.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
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
        }
    }
}

fn workers_default() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

fn unsupported(message: impl fmt::Display) -> Error {
    Error::Fault(Fault::new(FaultCode::Unsupported, message))
}

/// A number that nobody can guess and that no other server has had.
fn random_number() -> io::Result<u128> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u128::from_ne_bytes(bytes))
}
