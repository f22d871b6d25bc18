//! What this process is: the one the user started, or a child, and what it may therefore do.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::SpawnError;
use super::program::has_test_entry;
use super::report::Order;

static ROLE: OnceLock<Role> = OnceLock::new();
static CHILDREN_STARTED: AtomicU64 = AtomicU64::new(0);

/// Set once, by the first `init()`.
#[derive(Debug)]
pub(super) enum Role {
    /// Started by the user, and `init()` was called.
    Main,
    /// Started by `spawn`.
    Child {
        name: String,
        lineage: String,
        parent_pid: u32,
        daemon: bool,
        /// Its own children are entered the same way.
        door: Door,
    },
}

/// How a child of this program reaches `init()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The program's own `main` calls it.
    Main,
    /// The test harness runs the test that `test_support!` made.
    Test,
}

/// Information about the process that asks: see [`current`].
///
/// # Examples
///
/// ```
/// use byproxy::process::current;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     let me = current();
///     assert_eq!((me.name(), me.pid(), me.parent_pid()), ("MainProcess", std::process::id(), None));
///     let is_no_daemon = || assert!(!current().daemon());
///     byproxy::Process::spawn(is_no_daemon, ())?.join()?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    name: String,
    parent_pid: Option<u32>,
    daemon: bool,
}

impl Role {
    pub(super) fn is_known() -> bool {
        ROLE.get().is_some()
    }

    pub(super) fn set(role: Self) {
        // A second `init()` changes nothing.
        let _ = ROLE.set(role);
    }

    pub(super) fn child(order: Order, door: Door) -> Self {
        let Order {
            name,
            lineage,
            parent_pid,
            daemon,
            ..
        } = order;
        Self::Child {
            name,
            lineage,
            parent_pid,
            daemon,
            door,
        }
    }

    /// How children of this process come in; the error if they cannot.
    pub(super) fn door() -> Result<Door, SpawnError> {
        match ROLE.get() {
            Some(Self::Main) => Ok(Door::Main),
            Some(Self::Child { door, .. }) => Ok(*door),
            None if has_test_entry() => Ok(Door::Test),
            None => Err(SpawnError::InitMissing),
        }
    }

    /// Whether this is a daemon child.
    pub(super) fn is_daemon() -> bool {
        matches!(ROLE.get(), Some(Self::Child { daemon: true, .. }))
    }
}

/// The place in the family of the next child: `3`, or `2:3` in the second child of the first process.
pub(super) fn next_lineage() -> String {
    let number = CHILDREN_STARTED.fetch_add(1, Ordering::Relaxed) + 1;
    match ROLE.get() {
        Some(Role::Child { lineage, .. }) => format!("{lineage}:{number}"),
        _ => number.to_string(),
    }
}

/// The process that asks.
///
/// Python: `multiprocessing.current_process()`, and `parent_process()` for [`Current::parent_pid`].
///
/// # Examples
///
/// ```
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     byproxy::init();
///     assert_eq!(byproxy::process::current().name(), "MainProcess");
///     let child = byproxy::Process::builder().name("clerk").spawn(
///         |parent: u32| {
///             assert_eq!(byproxy::process::current().name(), "clerk");
///             assert_eq!(byproxy::process::current().parent_pid(), Some(parent));
///         },
///         (std::process::id(),),
///     )?;
///     child.join()?;
///     Ok(())
/// }
/// ```
#[doc(alias = "current_process")]
pub fn current() -> Current {
    match ROLE.get() {
        Some(Role::Child {
            name,
            parent_pid,
            daemon,
            ..
        }) => Current {
            name: name.clone(),
            parent_pid: Some(*parent_pid),
            daemon: *daemon,
        },
        _ => Current {
            name: "MainProcess".to_owned(),
            parent_pid: None,
            daemon: false,
        },
    }
}

impl Current {
    /// The name given to `builder().name(…)`, `Process-1` and so on otherwise, and `MainProcess` for the first process.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let greet = || assert_eq!(byproxy::process::current().name(), "clerk");
    ///     byproxy::Process::builder().name("clerk").spawn(greet, ())?.join()?;
    ///     Ok(())
    /// }
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(byproxy::process::current().pid(), std::process::id());
    /// ```
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// The process id of the process that started this one with `spawn`, which may have ended since; `None` in the
    /// first process.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::process::current;
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     assert_eq!(current().parent_pid(), None);
    ///     let child = |parent: u32| assert_eq!(current().parent_pid(), Some(parent));
    ///     byproxy::Process::spawn(child, (current().pid(),))?.join()?;
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "parent_process")]
    #[doc(alias = "getppid")]
    pub fn parent_pid(&self) -> Option<u32> {
        self.parent_pid
    }

    /// Whether this is a daemon, which ends with its parent and may not start processes.
    ///
    /// # Examples
    ///
    /// ```
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     byproxy::init();
    ///     let child = || assert!(byproxy::process::current().daemon());
    ///     byproxy::Process::builder().daemon(true).spawn(child, ())?.join()?;
    ///     Ok(())
    /// }
    /// ```
    pub fn daemon(&self) -> bool {
        self.daemon
    }
}
