//! The protocol of byproxy.
//!
//! Everything two processes must agree on, and nothing else: values and their encoding, operations, calls, replies, faults, frames,
//! the handshake, limits and addresses. This crate does no input or output, reads no clock, starts no thread and holds no `unsafe`;
//! the server, the client and any other implementation meet only here. `proto/README.md` is the same in prose, for other languages.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod address;
pub mod fault;
pub mod frame;
pub mod handshake;
pub mod op;
pub mod value;
