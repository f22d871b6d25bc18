//! What can go wrong when a process is started, and how one that ended badly is described.
//!
//! [`SpawnError`] lists the outcomes of `spawn`; [`ChildFailed`] is the one bad outcome of `join`, [`StillRuns`] that of `close`.

use std::fmt;
use std::io;
use std::time::Duration;

use super::handle::Process;
use super::report::Cause;

/// Why a process could not be started. Whatever had been started by then is gone again.
///
/// # Examples
///
/// ```
/// use byproxy::Process;
/// use byproxy::process::SpawnError;
///
/// fn daemon() {
///     let refused = Process::spawn(|| (), ()).unwrap_err();
///     assert!(matches!(refused, SpawnError::DaemonChild));
///     assert!(refused.to_string().contains("daemon(false)"), "the message says what to do");
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     Process::builder().daemon(true).spawn(daemon, ())?.join()?;
///     Ok(())
/// }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// This program never called [`byproxy::init()`](crate::init()), so a child could not find its way; nothing was started.
    #[error(
        "a child process of this program could not find its way: call byproxy::init() as the first line of main \
         (in tests: put `byproxy::test_support!();` once into the test crate)"
    )]
    InitMissing,

    /// This is a daemon process, which may not start others: they could outlive it. Nothing was started.
    #[error("a daemon process may not start processes: start it with daemon(false), or start them from its parent")]
    DaemonChild,

    /// The function is not part of the program file (it lives in a shared library), so a child could not find it.
    #[error(
        "the function is not part of the program file: functions of shared libraries cannot be started as processes"
    )]
    ForeignFunction,

    /// The arguments cannot be turned into bytes. Nothing was started.
    #[error("the arguments cannot be sent to another process: {0}")]
    Encode(String),

    /// The child was given no time to start in. Nothing was started.
    #[error(
        "start_timeout is zero, so no child could be in time: leave it out for 10 seconds, or give the child some time"
    )]
    NoTime,

    /// The arguments carry more descriptors than a process may be given. Nothing was started.
    #[error("the arguments carry {count} descriptors, more than {count_max}")]
    TooManyDescriptors {
        /// How many descriptors the arguments carry.
        count: usize,
        /// How many are accepted.
        count_max: usize,
    },

    /// The operating system refused to start the program again, or to talk to it.
    #[error("the program could not be started again: {0}")]
    Exec(#[source] io::Error),

    /// The child said nothing for too long and was killed.
    #[error(
        "process {name} (pid {pid}) was silent for {timeout:?} and has been killed: \
         is byproxy::init() the first line of main, and do its arguments load quickly?"
    )]
    Silent {
        /// The child's name.
        name: String,
        /// The child's process id.
        pid: u32,
        /// How long it had been waited for.
        timeout: Duration,
    },

    /// The child runs another program file than this process, so functions stand elsewhere in it.
    #[error("process {name} runs another build of this program: restart the program")]
    BuildMismatch {
        /// The child's name.
        name: String,
    },

    /// The child could not read its arguments.
    #[error("process {name} could not read its arguments: {message}")]
    Refused {
        /// The child's name.
        name: String,
        /// What it objected to.
        message: String,
    },

    /// The child ended before it had read its arguments.
    #[error("{0}, before it had reached byproxy::init(): is that the first line of main?")]
    ChildFailed(#[source] ChildFailed),
}

impl fmt::Debug for SpawnError {
    /// Prints the message, so that a `main` that returns this error tells its user what to do.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A child process that ended badly: by a signal, with an exit code other than zero, by a panic.
///
/// # Examples
///
/// ```
/// fn sell(left: u32) -> Result<(), String> {
///     left.checked_sub(1).map(drop).ok_or("sold out".to_owned())
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     let failed = byproxy::Process::spawn(sell, (0,))?.join().unwrap_err();
///     assert!(failed.to_string().ends_with("failed: sold out"));
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ChildFailed {
    name: String,
    pid: u32,
    exit_code: Option<i32>,
    cause: Option<Cause>,
}

impl ChildFailed {
    pub(super) fn new(name: &str, pid: u32, exit_code: Option<i32>, cause: Option<Cause>) -> Self {
        Self {
            name: name.to_owned(),
            pid,
            exit_code,
            cause,
        }
    }

    /// The child's name.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerk = byproxy::Process::builder().name("clerk").spawn(|| 3_u8, ())?;
    ///     assert_eq!(clerk.join().unwrap_err().name(), "clerk");
    ///     Ok(())
    /// }
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The child's process id.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerk = byproxy::Process::spawn(|| 3_u8, ())?;
    ///     assert_eq!(clerk.join().unwrap_err().pid(), clerk.pid());
    ///     Ok(())
    /// }
    /// ```
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The child's exit code; −n when signal n ended it; `None` when somebody else collected the child, so that nobody can tell.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::Process;
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let returned = Process::spawn(|| 3_u8, ())?;
    ///     assert_eq!(returned.join().unwrap_err().exit_code(), Some(3));
    ///     let killed = Process::spawn(|| std::thread::park(), ())?;
    ///     killed.kill()?;
    ///     assert_eq!(killed.join().unwrap_err().exit_code(), Some(-9));
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "exitcode")]
    pub fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }

    /// The panic's or the error's own message, when the child lived long enough to report it.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerk = byproxy::Process::spawn(|train: String| -> () { panic!("no train {train}") }, ("G1",))?;
    ///     let failed = clerk.join().unwrap_err();
    ///     assert!(failed.message().unwrap().ends_with("no train G1"), "after the place where it panicked");
    ///     Ok(())
    /// }
    /// ```
    pub fn message(&self) -> Option<&str> {
        match self.cause.as_ref()? {
            Cause::Panic(message) | Cause::Error(message) => Some(message),
        }
    }
}

impl fmt::Display for ChildFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {} (pid {}) ", self.name, self.pid)?;
        match (&self.cause, self.exit_code) {
            (Some(Cause::Panic(message)), _) => write!(formatter, "panicked: {message}"),
            (Some(Cause::Error(message)), _) => write!(formatter, "failed: {message}"),
            (None, Some(code)) if code < 0 => match signal_name(-code) {
                Some(name) => write!(formatter, "was ended by {name} (signal {})", -code),
                None => write!(formatter, "was ended by signal {}", -code),
            },
            (None, Some(code)) => write!(formatter, "ended with exit code {code}"),
            (None, None) => write!(formatter, "ended, and its exit code was collected by somebody else"),
        }
    }
}

impl fmt::Debug for ChildFailed {
    /// Prints the message, so that a `main` that returns this error reads well.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for ChildFailed {}

/// A child process that can't be closed, because it still runs: see [`Process::close`].
///
/// # Examples
///
/// ```
/// use byproxy::Process;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     let clerk = Process::spawn(|| loop { std::thread::park() }, ())?;
///     if let Err(refused) = clerk.close() {
///         refused.process().terminate()?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct StillRuns(Process);

impl StillRuns {
    pub(super) fn new(process: Process) -> Self {
        Self(process)
    }

    /// The child.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerk = byproxy::Process::builder().name("clerk").daemon(true).spawn(|| loop { std::thread::park() }, ())?;
    ///     assert_eq!(clerk.close().unwrap_err().process().name(), "clerk");
    ///     Ok(())
    /// }
    /// ```
    pub fn process(&self) -> &Process {
        &self.0
    }

    /// The handle that was to be given up.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let clerk = byproxy::Process::spawn(|| loop { std::thread::park() }, ())?;
    ///     let clerk = clerk.close().unwrap_err().into_process();
    ///     clerk.kill()?;
    ///     Ok(())
    /// }
    /// ```
    pub fn into_process(self) -> Process {
        self.0
    }
}

impl fmt::Display for StillRuns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, pid) = (self.0.name(), self.0.pid());
        write!(
            formatter,
            "process {name} (pid {pid}) still runs: join it before you close it, or drop its handle to let it go on alone"
        )
    }
}

impl fmt::Debug for StillRuns {
    /// Prints the message, so that a `main` that returns this error reads well.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for StillRuns {}

/// The name of a signal that commonly ends a process.
fn signal_name(signal: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    let name = match Signal::from_named_raw(signal)? {
        Signal::HUP => "SIGHUP",
        Signal::INT => "SIGINT",
        Signal::QUIT => "SIGQUIT",
        Signal::ILL => "SIGILL",
        Signal::TRAP => "SIGTRAP",
        Signal::ABORT => "SIGABRT",
        Signal::BUS => "SIGBUS",
        Signal::FPE => "SIGFPE",
        Signal::KILL => "SIGKILL",
        Signal::USR1 => "SIGUSR1",
        Signal::SEGV => "SIGSEGV",
        Signal::USR2 => "SIGUSR2",
        Signal::PIPE => "SIGPIPE",
        Signal::ALARM => "SIGALRM",
        Signal::TERM => "SIGTERM",
        Signal::XCPU => "SIGXCPU",
        Signal::SYS => "SIGSYS",
        _ => return None,
    };
    Some(name)
}
