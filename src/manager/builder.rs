//! How a manager is set up.

use super::started::Started;
use super::{Manager, OwnServer, ToAddress};
use crate::client::{Options, Remote};
use crate::embedded::Embedded;
use crate::engine::Settings;
use crate::error::{Error, Result};
use crate::ram;
use crate::registry;
use crate::server::memory::MemoryServer;
use crate::server::{Limits, check_memory, settled};
use std::time::Duration;

/// How a manager is set up; see [`Manager::builder`].
///
/// # Examples
///
/// ```
/// use byproxy::Manager;
///
/// let manager = Manager::builder().memory_bytes_max(10_000).embedded()?;
/// let list = manager.list::<String>()?;
/// assert!(list.append("x".repeat(20_000)).is_err());
/// # Ok::<(), byproxy::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects, starts or embeds"]
pub struct ManagerBuilder {
    options: Options,
    memory_bytes_max: Option<u64>,
    ring_after: Option<u64>,
}

impl ManagerBuilder {
    pub(super) fn new() -> Self {
        Self {
            options: Options::default(),
            memory_bytes_max: None,
            ring_after: None,
        }
    }

    /// Whether calls that are made often go through memory shared with the server, where they are tens of times faster than through its
    /// socket. They do unless said otherwise, if the server allows it; there is nothing to be done for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// fn main() -> byproxy::Result<()> {
    ///     byproxy::init();
    ///     let manager = Manager::builder().ring(false).start()?;
    ///     manager.ping()
    /// }
    /// ```
    pub fn ring(mut self, allowed: bool) -> Self {
        self.options.ring = allowed;
        self
    }

    /// From which call on a lane of a server that is started goes on in shared memory. For tests, which do not make many calls.
    #[doc(hidden)]
    pub fn ring_after(mut self, calls: u64) -> Self {
        self.ring_after = Some(calls);
        self
    }

    /// What the server calls this process in its books. The program's name unless said otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// let manager = Manager::builder().name("booking office").embedded()?;
    /// manager.ping()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// How long connecting may take. Ten seconds unless said otherwise; `Duration::MAX` is for ever, and zero is refused with
    /// [`Error::Setting`](crate::Error::Setting), because nobody could be in time.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    /// use std::time::Duration;
    ///
    /// let impatient = Manager::builder().connect_timeout(Duration::from_millis(100));
    /// assert!(impatient.connect("unix:/nowhere/app.sock").is_err());
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_wait = timeout;
        self
    }

    /// How long the server may take to answer, beyond what a call itself waits, before it counts as frozen: then this process's session
    /// ends, and the call returns [`Error::Gone`](crate::Error::Gone) or [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown).
    ///
    /// Without bound unless said otherwise, as with `Duration::MAX`: a server that has died is noticed at once in any case. Zero is refused
    /// with [`Error::Setting`](crate::Error::Setting), because every call would end the session.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    /// use std::time::Duration;
    ///
    /// let impatient = Manager::builder().call_timeout(Duration::from_secs(5));
    /// assert!(impatient.connect("unix:/nowhere/app.sock").is_err());
    /// ```
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.options.call_timeout = Some(timeout);
        self
    }

    /// How many bytes all objects together may occupy, in a server that is started or embedded, with the shared memory that is kept in
    /// containers or under names. Unless it is said, half of this machine's memory, or of what its control group allows. A server that is
    /// connected to has its own limit. Zero is refused with [`Error::Setting`](crate::Error::Setting), because there could be no object.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Error, Manager};
    ///
    /// let manager = Manager::builder().memory_bytes_max(10_000).embedded()?;
    /// let outcome = manager.list::<String>()?.append("x".repeat(20_000));
    /// assert!(matches!(outcome, Err(Error::TooLarge(_))));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn memory_bytes_max(mut self, bytes: u64) -> Self {
        self.memory_bytes_max = Some(bytes);
        self
    }

    /// Connects as [`Manager::connect`] does.
    ///
    /// A process has one session with a server, which all its managers and proxies share. If it has one already, this manager joins that,
    /// and the name, the call timeout and the wish for rings of whoever connected first hold for all: those given here are not used. A
    /// process that wants its own does this before anything else brings it there, such as another manager or a proxy that it is given.
    ///
    /// # Errors
    /// Those of [`Manager::connect`], and [`Error::Setting`](crate::Error::Setting).
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Error, Manager};
    ///
    /// let outcome = Manager::builder().name("clerk").connect("unix:/nowhere/app.sock");
    /// assert!(matches!(outcome, Err(Error::Connect { .. })));
    /// ```
    pub fn connect(self, address: impl ToAddress) -> Result<Manager> {
        self.check()?;
        let address = settled(address.to_address()?);
        Ok(Manager::over(
            registry::enter(Remote::connect(&address, self.options)?),
            None,
        ))
    }

    /// Starts a server as [`Manager::start`] does.
    ///
    /// # Errors
    /// Those of [`Manager::start`], and [`Error::Setting`](crate::Error::Setting).
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// fn main() -> byproxy::Result<()> {
    ///     byproxy::init();
    ///     let manager = Manager::builder().memory_bytes_max(1 << 30).start()?;
    ///     manager.ping()
    /// }
    /// ```
    pub fn start(self) -> Result<Manager> {
        self.check()?;
        let server = Started::start(self.memory_bytes_max, self.server_ring_after())?;
        // An error from here on ends the server again.
        let session = registry::enter(Remote::connect(server.address(), self.options)?);
        Ok(Manager::over(session, Some(OwnServer::Process(server))))
    }

    /// Runs a server in this process and speaks to it over pipes of memory: what a socket would carry, without one. For tests.
    ///
    /// # Errors
    /// If a thread can't be started.
    #[doc(hidden)]
    pub fn in_memory(self) -> Result<Manager> {
        self.check()?;
        let server = MemoryServer::start(self.settings(), Limits::default());
        let server = server.map_err(|source| Error::Io {
            context: "can't start a server in this process",
            source,
        })?;
        let session = Remote::connect_in_memory(server.host(), self.options)?;
        Ok(Manager::over(registry::enter(session), Some(OwnServer::Memory(server))))
    }

    /// Hosts objects in this process as [`Manager::embedded`] does.
    ///
    /// # Errors
    /// Those of [`Manager::embedded`], and [`Error::Setting`](crate::Error::Setting).
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// let manager = Manager::builder().embedded()?;
    /// manager.ping()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn embedded(self) -> Result<Manager> {
        self.check()?;
        let session = Embedded::new(super::random_number()?, self.settings())?;
        Ok(Manager::over(registry::enter(session), None))
    }

    /// Refuses what makes no sense.
    fn check(&self) -> Result<()> {
        if self.options.connect_wait.is_zero() {
            let message = "connect_timeout is zero, so no server could answer in time: leave it out for ten seconds, or give it some time";
            return Err(Error::Setting(message.to_owned()));
        }
        if self.options.call_timeout == Some(Duration::ZERO) {
            let message = "call_timeout is zero, so every call would end the session: leave it out to wait as long as the server lives";
            return Err(Error::Setting(message.to_owned()));
        }
        check_memory(self.memory_bytes_max)
    }

    /// A server of our own has no rings if we want none.
    fn server_ring_after(&self) -> Option<u64> {
        if self.options.ring { self.ring_after } else { Some(0) }
    }

    fn settings(&self) -> Settings {
        Settings {
            memory_bytes_max: self.memory_bytes_max.unwrap_or_else(ram::half),
            ..Settings::default()
        }
    }
}
