#![doc = include_str!("../README.md")]
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(not(target_os = "linux"))]
compile_error!("byproxy runs on Linux only: it rests on memfd, pidfd, epoll and futexes");

// Its macro is for all the others.
#[macro_use]
mod seeded;

mod backend;
mod client;
mod codec;
mod descriptors;
mod embedded;
#[doc(hidden)]
pub mod engine;
mod error;
mod fork;
mod handle;
mod manager;
pub mod process;
mod proxy;
mod ram;
mod references;
mod registry;
pub mod server;
pub mod shm;
mod sys;
mod transport;

pub use byproxy_proto::address::{Address, AddressError};
pub use byproxy_proto::value::{Kind, Value};
pub use codec::Returned;
pub use error::{Error, Result, WrongType};
pub use manager::{Manager, ManagerBuilder, Stats, ToAddress};
pub use process::{Process, active_children, cpu_count, init};
pub use proxy::{
    Batch, Call, Consumer, Delivery, Departed, DictCalls, DictIter, DictProxy, Element, GetError, GetTimeoutError,
    Integer, IntoElement, ListCalls, ListIter, ListProxy, LockCalls, LockGuard, LockProxy, PutError, PutManyError,
    PutTimeoutError, QueueAudit, QueueCalls, QueueProxy, TryGetError, TryPutError,
};

pub use server::Server;

// Where children of unit tests come in.
#[cfg(test)]
crate::test_support!();
