//! Python's `multiprocessing.Manager` reborn in Rust.
#[cfg(not(target_os = "linux"))]
compile_error!("byproxy runs on Linux only: it rests on memfd, pidfd, epoll and futexes");

pub mod process;
mod sys;

pub use process::{Process, active_children, cpu_count, init};

// Where children of unit tests come in.
#[cfg(test)]
crate::test_support!();
