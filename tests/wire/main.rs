//! Raw bytes against a live server: what a peer can send, leave out, leave unread and break.

mod admission;
mod batch;
mod descriptors;
mod garbage;
mod hello;
mod hot;
mod idle;
mod listener;
mod memory;
mod pressure;
mod ring;
mod rings;
mod session;
mod support;
mod users;

#[path = "../support/alone.rs"]
mod alone;
