//! What shared objects promise, held against every backend.
//!
//! One file per noun; each test runs once for every way to reach an engine (see [`support`]), and after each the server's counters must
//! be back to what they were: nothing leaks, nothing is freed twice.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers here are small"
)]

#[macro_use]
mod support;
#[path = "../support/processes.rs"]
mod sleepers;

mod advice;
mod batch;
mod dict;
mod limits;
mod list;
mod lock;
mod manager;
mod memory;
mod processes;
mod queue;
mod references;
mod rings;
mod settings;
mod timeouts;
mod wrong_type;

byproxy::test_support!();
