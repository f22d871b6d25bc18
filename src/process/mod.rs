//! Processes: run a function of this program in a process of its own.
//!
//! [`Process::spawn`] starts this program again; [`init()`], the first line of `main`, makes the child run the function it
//! was started for. A child shares nothing with its parent but what it is given as arguments.
//!
//! | Python | here |
//! |---|---|
//! | `Process(target=f, args=(a, b)); p.start()` | [`Process::spawn(f, (a, b))`](Process::spawn) |
//! | `Process(…, name="x", daemon=True)` | [`Process::builder().name("x").daemon(true)`](Process::builder) |
//! | `p.join()`, `p.join(timeout)` | [`join`](Process::join) says how a child failed; [`join_timeout`](Process::join_timeout) |
//! | `p.exitcode`, `p.is_alive()`, `p.pid`, `p.name` | [`exit_code`](Process::exit_code) and so on |
//! | `p.terminate()`, `p.kill()`, `p.interrupt()` | [`terminate`](Process::terminate), [`kill`](Process::kill), [`interrupt`](Process::interrupt) |
//! | `p.close()` | [`close`](Process::close), or drop the handle |
//! | `p.sentinel` | `Process` is [`AsFd`](std::os::fd::AsFd): a descriptor that is readable once the child has ended |
//! | `current_process().name`, `parent_process()` | [`current()`] |
//! | `active_children()`, `cpu_count()` | [`active_children`], [`cpu_count`] |
//!
//! # Differences from Python
//!
//! - The end of `main` does not wait for children. A child that is no daemon goes on alone, a daemon is killed.
//! - A daemon also ends when its parent is killed; Python's is then left behind.
//! - `join` of a child that failed is an error.
//! - A child's exit code after a panic is 101, Python's after an exception is 1.
//! - `fork` and `forkserver` do not exist: a forked copy of a program with threads is not sound.
//!
//! A program with special rights (set-user-id, file capabilities) cannot start processes this way: its children do not
//! obey, because their arguments could come from anybody.

mod arguments;
mod children;
mod entry;
mod error;
mod handle;
pub(crate) mod identity;
mod init;
mod launch;
mod program;
mod report;
mod role;
mod target;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

pub use error::{ChildFailed, SpawnError, StillRuns};
pub use handle::{Builder, Process, active_children};
#[doc(hidden)]
pub use init::enter_test;
pub(crate) use init::inherited;
pub use init::init;
pub use role::{Current, current};
pub use target::{Argument, Outcome, Target};

/// How many processors this process may use, at least one. Python: `multiprocessing.cpu_count()`
///
/// ```
/// assert!(byproxy::cpu_count() >= 1);
/// ```
#[doc(alias = "available_parallelism")]
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
