//! `Manager`: where shared objects are made and found.

mod address;
mod builder;
mod create;
mod memory;
mod started;
mod stats;

pub use address::ToAddress;
pub use builder::ManagerBuilder;
pub use stats::Stats;

use crate::backend::Backend;
use crate::codec;
use crate::error::{Error, Result};
use crate::proxy::{Batch, Call, Courier, list};
use crate::server::memory::MemoryServer;
use byproxy_proto::address::Address;
use byproxy_proto::op::{Operation, Wait};
use byproxy_proto::value::Value;
use serde::Serialize;
use started::Started;
use std::fmt;
use std::sync::Arc;

/// How much of an object [`Manager::show`] prints, in bytes: as much as a server prints at most.
const SHOWN_BYTES_MAX: u64 = 64 << 10;

/// A connection to a server of shared objects, from which proxies are made.
///
/// [`Manager::start`] starts a server process for this program and the processes it spawns, [`Manager::connect`] connects to one that runs,
/// and [`Manager::embedded`] hosts the objects in this process, for its threads. A clone is another handle to the same server; dropping
/// the last one ends a server that was started, and leaves any other alone.
///
/// Objects without a name live as long as something refers to them: a proxy in any process, or another object. Named ones live until
/// their name is [removed](Manager::remove).
///
/// When the server ends or dies, every call returns [`Error::Gone`] at once, also one that waits, and [`Error::OutcomeUnknown`] if something was
/// on its way that may have happened. What would take more memory than the server allows is refused with [`Error::TooLarge`].
///
/// Python: `multiprocessing.Manager`
///
/// # Examples
///
/// ```
/// use byproxy::Manager;
///
/// let manager = Manager::embedded()?;
/// let seats = manager.dict_from::<String, u32>([("G101", 2)])?;
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         scope.spawn(|| seats.modify("G101", |free| *free -= 1));
///     }
/// });
/// assert_eq!(seats.get("G101")?, Some(0));
/// # Ok::<(), byproxy::Error>(())
/// ```
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    server: Option<OwnServer>,
}

/// A server that ends with its manager.
enum OwnServer {
    Process(Started),
    #[expect(dead_code, reason = "it is kept to be dropped")]
    Memory(MemoryServer),
}

impl Manager {
    /// Hosts objects in this process, for its threads: no server, no socket, no thread.
    ///
    /// A call runs in its caller's thread, long ones such as sorting included. Proxies can't be sent to other processes.
    ///
    /// Local. Python: none; a manager without a process
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = byproxy::Manager::embedded()?;
    /// assert_eq!(manager.address(), None);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn embedded() -> Result<Self> {
        Self::builder().embedded()
    }

    /// Starts a server process that ends with this one, and connects to it.
    ///
    /// The server listens on a socket in a private directory that only this user can enter, and takes no notice of Ctrl-C. It ends with
    /// [`shutdown`](Self::shutdown), when the last clone of the manager is dropped, and when this process dies.
    ///
    /// Takes a few milliseconds. Python: `Manager()`
    ///
    /// # Errors
    /// [`Error::InitMissing`] if this program never called [`byproxy::init()`](crate::init()); [`Error::Spawn`] if the process can't be
    /// started.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{ListProxy, Manager, Process};
    ///
    /// fn child(names: ListProxy<String>) -> byproxy::Result<()> {
    ///     names.append("Ada")
    /// }
    ///
    /// fn main() -> byproxy::Result<()> {
    ///     byproxy::init();
    ///     let manager = Manager::start()?;
    ///     let names = manager.list()?;
    ///     Process::spawn(child, (names.clone(),))?.join()?;
    ///     assert_eq!(names.to_vec()?, ["Ada"]);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// A program that has not called `init` is told so, and nothing is started:
    ///
    /// ```
    /// use byproxy::{Error, Manager};
    ///
    /// assert!(matches!(Manager::start(), Err(Error::InitMissing)));
    /// ```
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Connects to a server that runs, such as one started by `byproxy serve`.
    ///
    /// A process has one session with a server, however often it connects: it is as whoever connected first
    /// [described](ManagerBuilder::connect) it.
    ///
    /// The first takes two round trips, on two connections. Python: `BaseManager(address).connect()`
    ///
    /// # Errors
    /// [`Error::Address`] if the text is no address; [`Error::Connect`] if no server listens there, or it does not answer in ten seconds
    /// ([`connect_timeout`](ManagerBuilder::connect_timeout) changes that); [`Error::Fault`] if it has as many connections as it allows.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Error, Manager};
    ///
    /// assert!(matches!(Manager::connect("/run/app.sock"), Err(Error::Address(_))));
    /// assert!(matches!(Manager::connect("unix:/nowhere/app.sock"), Err(Error::Connect { .. })));
    /// ```
    ///
    /// Here the server is a thread; mostly it is another program, and the address such as `unix:/run/app/app.sock`:
    ///
    /// ```
    /// # let server = byproxy::Server::builder().build()?;
    /// # let (address, handle) = (server.address().to_string(), server.handle());
    /// # let serving = std::thread::spawn(move || server.serve());
    /// let manager = byproxy::Manager::connect(address)?;
    /// let scores = manager.dict_named::<String, u32>("scores")?;
    /// scores.insert("Ann", 7)?;
    /// assert_eq!(manager.show("scores")?, "{'Ann': 7}");
    /// # handle.stop();
    /// # serving.join().unwrap()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn connect(address: impl ToAddress) -> Result<Self> {
        Self::builder().connect(address)
    }

    /// Starts to describe a manager that needs a name, a timeout or limits.
    ///
    /// Local.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// let manager = Manager::builder().name("booking office").memory_bytes_max(1 << 30).embedded()?;
    /// manager.ping()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::new()
    }

    fn over(backend: Arc<dyn Backend>, server: Option<OwnServer>) -> Self {
        let inner = Inner { backend, server };
        Self { inner: Arc::new(inner) }
    }

    /// Where the server listens; `None` if it is this process.
    ///
    /// Local. Python: `manager.address`
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// fn main() -> byproxy::Result<()> {
    ///     byproxy::init();
    ///     let manager = Manager::start()?;
    ///     let address = manager.address().expect("a server process listens somewhere");
    ///     // Any other process of this user may connect to it.
    ///     assert_eq!(Manager::connect(&address)?.names()?, []);
    ///     Ok(())
    /// }
    /// ```
    pub fn address(&self) -> Option<Address> {
        self.inner.backend.address()
    }

    /// Returns when the server has answered.
    ///
    /// One round trip. Python: none
    ///
    /// # Errors
    /// [`Error::Gone`] if it has ended. One that is frozen does not answer: see [`call_timeout`](ManagerBuilder::call_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = byproxy::Manager::embedded()?;
    /// manager.ping()?;
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn ping(&self) -> Result<()> {
        self.ask(Operation::Ping, &list!(), codec::nothing)
    }

    /// Returns the names of objects, sorted, each with what the object is: `list`, `dict`, `queue`, `lock`, `memory`.
    ///
    /// One round trip.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// manager.list_named::<u32>("sold")?;
    /// assert_eq!(manager.names()?, [("sold".to_owned(), "list".to_owned())]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "ls")]
    #[doc(alias = "keys")]
    pub fn names(&self) -> Result<Vec<(String, String)>> {
        self.ask(Operation::Names, &list!(), codec::value)
    }

    /// Takes a name away, and tells whether there was an object of this name. The object lives on while something refers to it.
    ///
    /// One round trip.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let sold = manager.list_named::<u32>("sold")?;
    /// assert!(manager.remove("sold")?);
    /// sold.append(1)?;
    /// assert!(manager.list_named::<u32>("sold")?.is_empty()?, "another list");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "unlink")]
    pub fn remove(&self, name: &str) -> Result<bool> {
        self.ask(Operation::Remove, &(name,), codec::value)
    }

    /// Prints the contents of a named object as a proxy's `Display` does: as Python would, shortened to 64 KiB with `…` at the end.
    ///
    /// Two round trips. Python: `str(proxy)`
    ///
    /// # Errors
    /// [`Error::NoSuchObject`] if there is no object of this name.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// manager.list_named::<u32>("sold")?.extend([1, 2])?;
    /// assert_eq!(manager.show("sold")?, "[1, 2]");
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "__str__")]
    #[doc(alias = "print")]
    pub fn show(&self, name: &str) -> Result<String> {
        // The answer holds a reference until the object has been printed.
        let opened = self.ask(Operation::Open, &(name,), codec::any)?;
        let Value::Proxy(token) = *opened else {
            return Err(Error::NoSuchObject(format!(
                "none has the name `{name}`; names() lists those that there are"
            )));
        };
        let sent = &(SHOWN_BYTES_MAX,);
        codec::call_object(
            &self.inner.backend,
            Operation::Show,
            token.object,
            Wait::TRY,
            sent,
            codec::value,
        )
    }

    /// Returns how much there is at the server: objects, references, sessions, waiting calls, bytes.
    ///
    /// One round trip. Python: `manager._number_of_objects()`, `manager._debug_info()`
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list::<u32>()?;
    /// assert_eq!(manager.stats()?.objects, 1);
    /// drop(list);
    /// assert_eq!(manager.stats()?.objects, 0);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "number_of_objects")]
    #[doc(alias = "debug_info")]
    pub fn stats(&self) -> Result<Stats> {
        self.ask(Operation::Stats, &list!(), codec::value)
    }

    /// Frees the objects that only refer to each other, such as a list that contains itself, and returns how many those were.
    ///
    /// One round trip. Python: `gc.collect()`
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{ListProxy, Manager};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Node {
    ///     next: Option<ListProxy<Node>>,
    /// }
    ///
    /// let manager = Manager::embedded()?;
    /// let ring = manager.list::<Node>()?;
    /// ring.append(Node { next: Some(ring.clone()) })?;
    /// drop(ring);
    /// assert_eq!(manager.stats()?.objects, 1);
    /// assert_eq!(manager.collect()?, 1);
    /// assert_eq!(manager.stats()?.objects, 0);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "gc")]
    pub fn collect(&self) -> Result<u64> {
        self.ask(Operation::Collect, &list!(), codec::value)
    }

    /// Makes a call that was described before.
    ///
    /// One round trip, as the method of the same name.
    ///
    /// # Errors
    /// [`Error::ForeignProxy`] if the call is to an object of another server; otherwise those of the method.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let list = manager.list::<u32>()?;
    /// let calls = [list.calls().append(1), list.calls().append(2)];
    /// for call in calls {
    ///     manager.call(call)?;
    /// }
    /// assert_eq!(list.to_vec()?, [1, 2]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn call<R>(&self, call: Call<'_, R>) -> Result<R> {
        call.addressed_to(self.inner.backend.instance()).send()
    }

    /// Makes many calls in one round trip, and returns what came of each.
    ///
    /// The calls are a tuple of up to sixteen of any kind, or a `Vec` or an array of one kind. Each is its own: they are done in order, one
    /// that fails keeps none of the others from being done, and calls of others may come between. For several changes in one step see
    /// [`ListProxy::modify_all`](crate::ListProxy::modify_all) and the like. There is no call as a value for what waits, brings items of a
    /// queue or takes a lock, so none of that can be in a batch: [`Call`] says why, and what there is instead.
    ///
    /// One round trip for up to 1,024 calls, and more only if they or their results are large. When the server dies meanwhile, the calls
    /// not answered return [`Error::Gone`], and those that change something [`Error::OutcomeUnknown`] if they may have been done.
    ///
    /// Python: none
    ///
    /// # Errors
    /// None but each call's own: that of the method of the same name, and [`Error::ForeignProxy`] if it is to an object of another server.
    ///
    /// # Examples
    ///
    /// ```
    /// # let manager = byproxy::Manager::embedded()?;
    /// let seats = manager.dict_from::<String, u32>([("G101", 7), ("G102", 9)])?;
    /// let log = manager.list::<String>()?;
    /// let queue = manager.queue::<u32>(1)?;
    /// let (free, logged, put) = manager.batch((
    ///     seats.calls().insert("G101", 6),
    ///     log.calls().append("sold one"),
    ///     queue.calls().try_put(1),
    /// ));
    /// assert_eq!(free?, Some(7));
    /// logged?;
    /// put?;
    ///
    /// // Many of one kind.
    /// let all: byproxy::Result<Vec<_>> = manager
    ///     .batch(["G101", "G102", "G103"].map(|train| seats.calls().get(train)))
    ///     .into_iter()
    ///     .collect();
    /// assert_eq!(all?, [Some(6), Some(9), None]);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    #[doc(alias = "pipeline")]
    #[doc(alias = "mget")]
    #[doc(alias = "multi")]
    pub fn batch<B: Batch>(&self, calls: B) -> B::Outcomes {
        calls.make(&Courier::new(&self.inner.backend))
    }

    /// Ends the server and all objects with it; every proxy answers [`Error::Gone`] from now on. Once more does nothing.
    ///
    /// A server that was started has ended when this returns: one that does not within five seconds is killed. One that was connected to has
    /// been told to. Calls that wait, of any process, return [`Error::Gone`].
    ///
    /// One round trip. Python: `manager.shutdown()`
    ///
    /// # Errors
    /// If the server refuses to end. One that has ended already is no error.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Error, Manager};
    ///
    /// let manager = Manager::embedded()?;
    /// let list = manager.list::<u32>()?;
    /// manager.shutdown()?;
    /// manager.shutdown()?;
    /// assert!(matches!(list.append(1), Err(Error::Gone(_))));
    /// assert_eq!(list.to_string(), "<gone>");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn shutdown(&self) -> Result<()> {
        let ended = match self.ask(Operation::Shutdown, &list!(), codec::nothing) {
            Err(Error::Gone(_) | Error::OutcomeUnknown { .. }) => Ok(()),
            outcome => outcome,
        };
        if ended.is_ok() {
            self.inner.backend.close();
        }
        if let Some(OwnServer::Process(server)) = &self.inner.server {
            server.end();
        }
        ended
    }

    /// Waits until the server process that this manager started has ended, because somebody shut it down or killed it. It asks nobody to end:
    /// that is [`shutdown`](Self::shutdown), which waits as well. Returns at once where this manager started none.
    ///
    /// Local. Python: `manager.join()`
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Manager;
    ///
    /// fn main() -> byproxy::Result<()> {
    ///     byproxy::init();
    ///     let manager = Manager::start()?;
    ///     let other = manager.clone();
    ///     let ending = std::thread::spawn(move || other.shutdown());
    ///     manager.join();
    ///     assert!(manager.ping().is_err());
    ///     ending.join().expect("it does not panic")
    /// }
    /// ```
    pub fn join(&self) {
        if let Some(OwnServer::Process(server)) = &self.inner.server {
            server.join();
        }
    }

    fn ask<A: Serialize, R>(
        &self,
        operation: Operation,
        sent: &A,
        read: impl Fn(&[u8]) -> codec::Reading<R>,
    ) -> Result<R> {
        codec::call_object(&self.inner.backend, operation, 0, Wait::TRY, sent, read)
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "Manager({address})"),
            None => f.write_str("Manager(embedded)"),
        }
    }
}

/// The random number that tells this server from all others.
fn random_number() -> Result<u128> {
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(16) => Ok(u128::from_ne_bytes(bytes)),
        Ok(_) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        Err(error) => Err(error.into()),
    }
    .map_err(|source| Error::Io {
        context: "can't draw a random number",
        source,
    })
}
