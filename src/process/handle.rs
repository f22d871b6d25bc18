//! The handle of a child: [`Process`], and the [`Builder`] that starts one.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::children::{Child, active};
use super::entry::offset_of;
use super::error::{ChildFailed, SpawnError, StillRuns};
use super::launch::{Launched, Plan, start};
use super::role::Role;
use super::target::Target;

/// How long a child may be silent before it has adopted its arguments.
const PATIENCE: Duration = Duration::from_secs(10);

/// A child process that runs a function of this program.
///
/// A handle is cheap to clone; clones mean the same child, from any thread. Dropping the last handle leaves the child
/// running, and it is collected when it has ended (by the next `spawn` or [`active_children`](crate::active_children)).
/// Unlike Python, the end of `main` waits for no child: `join` those whose work matters.
///
/// The child is a new process: it shares no memory with this one, begins with the initial values of statics, has the
/// same environment, directory, arguments (and one more at the end), output and errors, and an empty standard input.
/// Only what is passed to it as an argument connects the two.
///
/// Python: `multiprocessing.Process` with the `spawn` start method.
///
/// # Examples
///
/// ```
/// use byproxy::Process;
///
/// fn count(name: String, to: u32) -> Result<(), String> {
///     if to > 100 {
///         return Err(format!("{name} cannot count to {to}"));
///     }
///     Ok(())
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     let able = Process::spawn(count, ("Ann", 10))?;
///     let unable = Process::spawn(count, ("Bob", 1000))?;
///     able.join()?;
///     assert_eq!(unable.join().unwrap_err().message(), Some("Bob cannot count to 1000"));
///     assert_eq!(unable.exit_code(), Some(1));
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Process {
    child: Arc<Child>,
}

/// How to start a process: see [`Process::builder`].
///
/// # Examples
///
/// ```
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     let clerk = byproxy::Process::builder().name("clerk").daemon(true);
///     let clerks = [clerk.spawn(|| (), ())?, clerk.spawn(|| (), ())?];
///     assert!(clerks.iter().all(|clerk| clerk.name() == "clerk"));
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing before `spawn`"]
pub struct Builder {
    plan: Plan,
}

impl Process {
    /// Starts a process that runs `function` with `arguments`, and returns once the child has taken them over.
    ///
    /// `function` is any `fn`, or a closure that captures nothing; `arguments` are a tuple with one element for each of
    /// its parameters, as [`Target`] describes. Takes about a millisecond.
    ///
    /// Python: `p = Process(target=function, args=arguments); p.start()`
    ///
    /// # Errors
    ///
    /// Those of [`SpawnError`]; no process is left running then.
    ///
    /// # Examples
    ///
    /// ```
    /// fn clerk(name: String, tickets: u32) {
    ///     println!("{name} has {tickets} tickets");
    /// }
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerks = [("Ann", 3), ("Bob", 5)];
    ///     let processes = clerks.map(|clerk_of| byproxy::Process::spawn(clerk, clerk_of));
    ///     for process in processes {
    ///         process?.join()?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "start")]
    pub fn spawn<F, A, S>(function: F, arguments: A) -> Result<Self, SpawnError>
    where
        F: Target<A, S>,
    {
        Self::builder().spawn(function, arguments)
    }

    /// Starts describing a process that needs a name, or is a daemon.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let process = byproxy::Process::builder().name("clerk").daemon(true).spawn(|| (), ())?;
    ///     assert_eq!(process.name(), "clerk");
    ///     assert!(process.daemon());
    ///     process.join()?;
    ///     Ok(())
    /// }
    /// ```
    pub fn builder() -> Builder {
        let plan = Plan {
            name: None,
            daemon: false,
            patience: PATIENCE,
            internal: false,
        };
        Builder { plan }
    }

    /// Waits until the child has ended, and says how it failed if it did.
    ///
    /// May be called more than once and from several threads; each gets the same answer.
    ///
    /// Python: `p.join()`, which hides a failure.
    ///
    /// # Errors
    ///
    /// [`ChildFailed`] if the child panicked, returned an error, ended by a signal or with an exit code other than zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Process;
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     Process::spawn(|| (), ())?.join()?;
    ///     let failed = Process::spawn(|| -> () { panic!("no such train") }, ())?.join().unwrap_err();
    ///     assert!(failed.to_string().ends_with("no such train"));
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "wait")]
    pub fn join(&self) -> Result<(), ChildFailed> {
        self.child.verdict(self.child.end())
    }

    /// Waits at most `timeout` until the child has ended: `true` if it has, `false` if it still runs.
    ///
    /// A timeout of zero only asks; `Duration::MAX` waits for ever. Python: `p.join(timeout)`
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let sleeper = byproxy::Process::spawn(|| std::thread::sleep(Duration::from_secs(60)), ())?;
    ///     if !sleeper.join_timeout(Duration::from_millis(10))? {
    ///         sleeper.terminate()?;
    ///     }
    ///     assert_eq!(sleeper.join().unwrap_err().exit_code(), Some(-15));
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "wait_timeout")]
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, ChildFailed> {
        match self.child.end_before(Instant::now().checked_add(timeout)) {
            Some(end) => self.child.verdict(end).map(|()| true),
            None => Ok(false),
        }
    }

    /// Asks the child to end (`SIGTERM`). One that has ended already is left alone. Python: `p.terminate()`
    ///
    /// # Errors
    ///
    /// When the operating system does not let this process signal the child, which has changed its user.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let sleeper = byproxy::Process::spawn(|| std::thread::park(), ())?;
    ///     sleeper.terminate()?;
    ///     assert!(sleeper.join().unwrap_err().to_string().contains("SIGTERM"));
    ///     sleeper.terminate()?;
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "SIGTERM")]
    pub fn terminate(&self) -> crate::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends the child at once (`SIGKILL`). One that has ended already is left alone. Python: `p.kill()`
    ///
    /// # Errors
    ///
    /// As [`terminate`](Self::terminate).
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let sleeper = byproxy::Process::spawn(|| std::thread::park(), ())?;
    ///     sleeper.kill()?;
    ///     assert_eq!(sleeper.join().unwrap_err().exit_code(), Some(-9));
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "SIGKILL")]
    pub fn kill(&self) -> crate::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Asks the child to end as Ctrl-C does (`SIGINT`). One that has ended already is left alone. Python: `p.interrupt()`
    ///
    /// Like every signal it also reaches a child that handles it in its own way, or not at all: a child ignores what its parent ignored when
    /// it was started, and a program that a script runs in the background (`program &`) ignores this one.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Self::terminate).
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let sleeper = byproxy::Process::spawn(|| std::thread::sleep(std::time::Duration::from_secs(20)), ())?;
    ///     sleeper.interrupt()?;
    ///     assert_eq!(sleeper.join().unwrap_err().exit_code(), Some(-2));
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "SIGINT")]
    pub fn interrupt(&self) -> crate::Result<()> {
        self.signal(Signal::INT)
    }

    /// Gives the handle up, once the child has ended: nothing of the child is left in the system then, and nobody has to wait for it.
    ///
    /// Other handles of the same child stay good. How the child ended is not asked here: that is [`join`](Self::join). Dropping a handle
    /// does the same without asking whether the child has ended, and never fails. Python: `p.close()`
    ///
    /// # Errors
    ///
    /// [`StillRuns`] if the child has not ended. It gives the handle back.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let sleeper = byproxy::Process::spawn(|| loop { std::thread::park() }, ())?;
    ///     let refused = sleeper.close().unwrap_err();
    ///     assert!(refused.to_string().contains("join it"), "the message says what to do");
    ///     let sleeper = refused.into_process();
    ///     sleeper.kill()?;
    ///     assert!(sleeper.join().is_err());
    ///     sleeper.close()?;
    ///     Ok(())
    /// }
    /// ```
    pub fn close(self) -> Result<(), StillRuns> {
        if self.is_alive() {
            return Err(StillRuns::new(self));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> crate::Result<()> {
        let context = "can't signal the process";
        self.child
            .signal(signal)
            .map_err(|source| crate::Error::Io { context, source })
    }

    /// Whether the child still runs. Python: `p.is_alive()`
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let sleeper = byproxy::Process::spawn(|| loop { std::thread::park() }, ())?;
    ///     assert!(sleeper.is_alive());
    ///     sleeper.kill()?;
    ///     assert!(sleeper.join().is_err() && !sleeper.is_alive());
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "poll")]
    pub fn is_alive(&self) -> bool {
        self.child.try_end().is_none()
    }

    /// The child's exit code once it has ended, −n if signal n ended it; `None` while it runs.
    ///
    /// 0 is success, 1 an error returned by the function, 101 a panic. Also `None` for a child that ended by other means
    /// than its function's return in a program that ignores `SIGCHLD`: nobody can tell then. Python: `p.exitcode`
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerk = byproxy::Process::spawn(|| (), ())?;
    ///     clerk.join()?;
    ///     assert_eq!(clerk.exit_code(), Some(0));
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "exitcode")]
    #[doc(alias = "returncode")]
    pub fn exit_code(&self) -> Option<i32> {
        self.child.try_end()?.exit_code
    }

    /// The child's process id, which may be another process's once the child has ended. Python: `p.pid`
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerk = byproxy::Process::spawn(|| (), ())?;
    ///     assert_ne!(clerk.pid(), std::process::id());
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The child's name. Python: `p.name`
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerks = [byproxy::Process::spawn(|| (), ())?, byproxy::Process::spawn(|| (), ())?];
    ///     assert_eq!(clerks.each_ref().map(|clerk| clerk.name()), ["Process-1", "Process-2"]);
    ///     Ok(())
    /// }
    /// ```
    pub fn name(&self) -> &str {
        self.child.name()
    }

    /// Whether the child ends with this process and may not start others. Python: `p.daemon`
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     assert!(!byproxy::Process::spawn(|| (), ())?.daemon());
    ///     assert!(byproxy::Process::builder().daemon(true).spawn(|| (), ())?.daemon());
    ///     Ok(())
    /// }
    /// ```
    pub fn daemon(&self) -> bool {
        self.child.daemon()
    }
}

impl PartialEq for Process {
    /// Whether two handles mean the same child.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.child, &other.child)
    }
}

impl Eq for Process {}

impl AsFd for Process {
    /// The child's pidfd, readable once the child has ended: for `poll` and its like. Python: `p.sentinel`
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = formatter.debug_struct("Process");
        fields
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("daemon", &self.daemon());
        match self.child.try_end() {
            None => fields.field("alive", &true),
            Some(end) => fields.field("exit_code", &end.exit_code),
        };
        fields.finish()
    }
}

impl Builder {
    /// The child's name, for messages and lists of processes; otherwise `Process-1`, `Process-2` and so on, and
    /// `Process-2:1` for the first child of the second.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerk = byproxy::Process::builder().name("clerk").spawn(|| 3_u8, ())?;
    ///     assert!(clerk.join().unwrap_err().to_string().starts_with("process clerk "));
    ///     Ok(())
    /// }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plan.name = Some(name.into());
        self
    }

    /// Whether the child ends when this process does, however it ends, `SIGKILL` included. Otherwise it goes on alone.
    ///
    /// A daemon is killed at its parent's end and has no time to clean up, and it may not start processes: they could be
    /// left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let waiter = byproxy::Process::builder().daemon(true).spawn(|| loop { std::thread::park() }, ())?;
    ///     assert!(waiter.is_alive());
    ///     Ok(()) // and here it ends
    /// }
    /// ```
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.plan.daemon = daemon;
        self
    }

    /// How long the child may be silent before it has taken over its arguments; 10 seconds unless told otherwise, and for ever with
    /// `Duration::MAX`. Zero is refused by [`spawn`](Self::spawn), because no child could be in time.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let patient = byproxy::Process::builder().start_timeout(Duration::from_secs(60));
    ///     patient.spawn(|| (), ())?.join()?;
    ///     Ok(())
    /// }
    /// ```
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.plan.patience = timeout;
        self
    }

    /// Starts the process: see [`Process::spawn`].
    ///
    /// # Errors
    ///
    /// Those of [`SpawnError`]; no process is left running then.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerk = byproxy::Process::builder().name("clerk").spawn(|seats: u32| assert_eq!(seats, 3), (3,))?;
    ///     clerk.join()?;
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "start")]
    pub fn spawn<F, A, S>(&self, function: F, arguments: A) -> Result<Process, SpawnError>
    where
        F: Target<A, S>,
    {
        if Role::is_daemon() {
            return Err(SpawnError::DaemonChild);
        }
        if self.plan.patience.is_zero() {
            return Err(SpawnError::NoTime);
        }
        let Launched { child, .. } = self.launch(function, arguments)?;
        Ok(Process { child })
    }

    /// Starts a process for the library itself: in a process group of its own, deaf to Ctrl-C, ending with this one, not
    /// among the active children. The stream leads to what [`inherited`](super::inherited) gives the function.
    pub(crate) fn spawn_linked<F, A, S>(
        mut self,
        function: F,
        arguments: A,
    ) -> Result<(Process, UnixStream), SpawnError>
    where
        F: Target<A, S>,
    {
        self.plan.internal = true;
        let Launched { child, link } = self.launch(function, arguments)?;
        let link = link.ok_or_else(|| SpawnError::Exec(io::Error::other("an internal child without its stream")))?;
        Ok((Process { child }, link))
    }

    fn launch<F, A, S>(&self, function: F, arguments: A) -> Result<Launched, SpawnError>
    where
        F: Target<A, S>,
    {
        let door = Role::door()?;
        let entry = offset_of(function, &arguments)?;
        let encoded = F::encode(&arguments).map_err(SpawnError::Encode)?;
        if seeded!("arguments_let_go") {
            drop(arguments);
            return start(&self.plan, door, entry, &encoded);
        }
        let launched = start(&self.plan, door, entry, &encoded);
        // Not before the child has its own: what they refer to must not go away on the way.
        drop(arguments);
        launched
    }
}

/// The children of this process that have not ended; collects those that have. Daemons are among them.
///
/// Python: `multiprocessing.active_children()`
///
/// # Examples
///
/// ```
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     for _ in 0..3 {
///         byproxy::Process::spawn(|| (), ())?;
///     }
///     for process in byproxy::active_children() {
///         process.join()?;
///     }
///     assert!(byproxy::active_children().is_empty());
///     Ok(())
/// }
/// ```
pub fn active_children() -> Vec<Process> {
    active().into_iter().map(|child| Process { child }).collect()
}
