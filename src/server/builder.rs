//! How a server is set up, and what it allows its clients.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use byproxy_proto::address::Address;
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::{FRAME_BYTES_MAX, HANDSHAKE_BYTES_MAX};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::driver::Driver;
use super::private::PrivateDirectory;
use super::worker::Worker;
use super::{Server, random_number};
use crate::engine::{Engine, Settings};
use crate::error::{Error, Result};
use crate::transport::unix::Listener;
use crate::{ram, sys};

/// Descriptors for other things than connections: the listener, pollers, timers, files of the program around it.
const DESCRIPTORS_SPARE: u64 = 256;

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

/// What a server allows its clients.
///
/// A value that makes no sense is refused with [`Error::Setting`] by [`Builder::build`]; zero is one unless its meaning is said below.
///
/// Two limits are not among them, because they are the same everywhere. A value nests at most 64 levels deep: whoever reads values goes as
/// deep as they do, so a client must know what it may meet whichever server it asks, and what one server has accepted must be good for every
/// other. And the hello of a client has at most 512 bytes: that is room for the longest there is, and all that a stranger can make a server
/// keep; client and server must agree on it before they have spoken.
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
    /// The largest frame, in bytes: one call's arguments or one reply. At least 512, what a handshake may take; values have at most 64 MiB
    /// however large it is.
    pub frame_bytes_max: usize,
    /// How many connections may be open. At least two: a client process has one, and one more for each call it makes at the same time.
    pub connections_max: usize,
    /// How many connections may be open that have not said hello; beyond that the oldest is closed.
    pub strangers_max: usize,
    /// How long a connection may take to say hello.
    pub hello_wait: Duration,
    /// How many lanes one session may have, which is how many of its calls may wait.
    pub lanes_max: usize,
    /// How many bytes of replies a lane may leave unread before its requests are no longer taken. With zero each reply is to be read before
    /// the next request is taken.
    pub unread_bytes_max: usize,
    /// How long a client may leave a reply unread without taking a single byte of it, before its session ends.
    pub stuck_wait: Duration,
    /// From which call on a lane may go on in shared memory, where calls are tens of times faster than through its socket; zero is never.
    pub ring_after: u64,
    /// How many bytes all rings that are in use may take; lanes beyond that stay on their sockets. One takes a little over 128 KiB, so with
    /// less, such as zero, there is none.
    pub ring_bytes_max: usize,
    /// How many descriptors of shared memory are kept for clients; never more than half of those that the process may open. With zero no
    /// shared memory can be put in containers or given a name.
    pub descriptors_max: usize,
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
            ring_after: 16,
            ring_bytes_max: 64 << 20,
            descriptors_max: 4096,
        }
    }
}

impl Limits {
    /// Refuses what makes no sense.
    fn check(&self) -> Result<()> {
        let least = [
            (
                "frame_bytes_max",
                self.frame_bytes_max,
                HANDSHAKE_BYTES_MAX,
                "a handshake takes as much",
            ),
            (
                "connections_max",
                self.connections_max,
                2,
                "a client has one, and one more for each call it makes at the same time",
            ),
            (
                "strangers_max",
                self.strangers_max,
                1,
                "every client is a stranger until it has said hello",
            ),
            ("lanes_max", self.lanes_max, 1, "a session's calls take lanes"),
        ];
        for (name, value, least, reason) in least {
            if value < least {
                return Err(Error::Setting(format!(
                    "{name} is {value}: give at least {least}, because {reason}"
                )));
            }
        }
        let times = [("hello_wait", self.hello_wait), ("stuck_wait", self.stuck_wait)];
        for (name, time) in times {
            if time.is_zero() {
                let message =
                    format!("{name} is zero, so no client could be in time: give clients some, such as ten seconds");
                return Err(Error::Setting(message));
            }
        }
        Ok(())
    }
}

/// Refuses a memory limit with which there could be no object at all.
pub(crate) fn check_memory(bytes_max: Option<u64>) -> Result<()> {
    if bytes_max == Some(0) {
        let message = "memory_bytes_max is zero, so there could be no object: leave it out for half of the machine's memory, or give some";
        return Err(Error::Setting(message.to_owned()));
    }
    Ok(())
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            address: None,
            workers: workers_default(),
            limits: Limits::default(),
            memory_bytes_max: None,
        }
    }

    /// Where to listen. Unless it is given, the server listens in a new directory that only this user can enter, and removes it at its end.
    ///
    /// The last directory of the path is made, for this user only, if it is not there; one that is there must be this user's own, and
    /// nobody else may write to it. A server that is killed leaves its socket and the `.lock` file beside it, which the next one takes over.
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

    /// How many threads serve connections. Half the cores unless said otherwise; zero is refused by [`build`](Self::build).
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().workers(4).build()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
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

    /// From which call on a client's lane may go on in memory shared with the server, where calls are tens of times faster than through
    /// the socket; zero is never. After a few calls unless said otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// let server = byproxy::Server::builder().ring_after(0).build()?;
    /// let handle = server.handle();
    /// let serving = std::thread::spawn(move || server.serve());
    /// let manager = byproxy::Manager::connect(handle.address())?;
    /// for _ in 0..100 {
    ///     manager.ping()?;
    /// }
    /// assert_eq!(handle.stats().rings, 0);
    /// handle.stop();
    /// serving.join().unwrap()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[must_use]
    pub fn ring_after(mut self, calls: u64) -> Self {
        self.limits.ring_after = calls;
        self
    }

    /// How many bytes all objects together may occupy, with the shared memory that is kept in containers or under names. Unless it is said,
    /// half of this machine's memory, or of what its control group allows this process. Zero is refused by [`build`](Self::build).
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
    /// says which and what to do. [`Error::Setting`] if a limit makes no sense; then nothing was claimed.
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
        self.limits.check()?;
        check_memory(self.memory_bytes_max)?;
        if self.workers == 0 {
            let message = "workers is 0, so nobody would serve: give at least 1, or leave it out for half the cores";
            return Err(Error::Setting(message.to_owned()));
        }
        let (address, directory) = if let Some(address) = self.address {
            (settled(address), None)
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
        let defaults = Settings::default();
        let settings = Settings {
            memory_bytes_max: self.memory_bytes_max.unwrap_or_else(ram::half),
            reply_bytes_max: defaults.reply_bytes_max.min(self.limits.frame_bytes_max),
            ..defaults
        };
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

/// The same place wherever this process goes: later connections and children are made in other directories. A path that would be too long
/// this way stays what it is.
pub(crate) fn settled(address: Address) -> Address {
    let absolute = match &address {
        Address::Unix(path) if path.is_relative() => std::path::absolute(path).ok(),
        _ => None,
    };
    absolute.and_then(|path| Address::unix(path).ok()).unwrap_or(address)
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

fn workers_default() -> usize {
    (sys::processors() / 2).max(1)
}

fn unsupported(message: impl fmt::Display) -> Error {
    Error::Fault(Fault::new(FaultCode::Unsupported, message).into())
}
