//! One connection: what has arrived and is no whole frame yet, and what could not be written yet.
//!
//! Reading and writing are locked apart. `inbound` belongs to whoever takes frames from the connection: its worker, or the thread that
//! drains it when its session ends. `outbox` belongs to whoever has a frame for it: any worker and any helper. Frames enter the outbox
//! whole, so they never interleave. An idle connection owns no buffer.
//!
//! Order of locks: `inbound`, then engine or `outbox`; never two `inbound`, and never `inbound` under `outbox`.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::poller::{Interest, Poller};
use super::session::Session;
use crate::transport::Wire;

/// How much one look at a connection reads.
pub(super) const READ_BYTES: usize = 64 << 10;
/// What is left of a reply above this size is kept in the buffer it was written to, instead of being copied.
const COPIED_BYTES_MAX: usize = 64 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Its number, never used again; also the number of its lane.
    pub(super) id: u64,
    /// The process at the other end.
    pub(super) pid: u32,
    pub(super) wire: Wire,
    pub(super) inbound: Mutex<Inbound>,
    /// Where its events come from; a connection inside this process has no events.
    poller: Option<Arc<Poller>>,
    outbox: Mutex<Outbox>,
    /// The number of the call that is being answered; zero is none. A lane carries one call at a time.
    pub(super) answering: AtomicU64,
    /// A look at its progress is on the timer's list.
    pub(super) on_the_clock: AtomicBool,
    /// So much output is unread that no more requests are taken.
    stalled: AtomicBool,
}

/// The reading side.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) role: Role,
    /// Bytes that have arrived and were not handled yet: a part of a frame, or whole ones behind too much unread output.
    pub(super) pending: Vec<u8>,
}

/// What a connection is for.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// It has not said hello.
    Stranger,
    /// A session lives as long as it does.
    Control(Arc<Session>),
    /// It carries calls.
    Lane(Arc<Session>),
    /// Nothing more is read from it.
    Closed,
}

/// The writing side.
#[derive(Debug, Default)]
struct Outbox {
    /// Whole frames, of which the first `sent` bytes have been written.
    queue: Vec<u8>,
    sent: usize,
    /// When the peer last made room, by the driver's clock. Meaningful while the queue is not empty.
    progress: u64,
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Everything is on its way, or waits in order behind what was waiting already.
    Fine,
    /// The peer has stopped reading: from now on it is on the clock.
    Blocked,
    /// The peer is gone.
    Lost,
}

/// What a look at a waiting outbox found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing more to do.
    Fine,
    /// Requests that were held back may be taken again.
    Resume,
    /// The peer is gone.
    Lost,
}

impl Connection {
    pub(super) fn new(id: u64, pid: u32, wire: Wire, poller: Option<Arc<Poller>>) -> Self {
        Self {
            id,
            pid,
            wire,
            inbound: Mutex::new(Inbound {
                role: Role::Stranger,
                pending: Vec::new(),
            }),
            poller,
            outbox: Mutex::default(),
            answering: AtomicU64::new(0),
            on_the_clock: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
        }
    }

    /// Where its events come from.
    pub(super) fn poller(&self) -> Option<&Arc<Poller>> {
        self.poller.as_ref()
    }

    /// Whether requests are held back until the peer reads.
    #[inline]
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Writes whole frames, or keeps them in order for when there is room. Takes the buffer over if much of it is left. The clock is
    /// read only if there is no room: that costs as much as a small call's work.
    #[inline]
    pub(super) fn write(&self, frames: &mut Vec<u8>, now: impl FnOnce() -> u64, unread_bytes_max: usize) -> Written {
        let mut outbox = self.outbox.lock();
        if !outbox.queue.is_empty() && !cfg!(canary = "write_interleaves") {
            outbox.queue.extend_from_slice(frames);
            self.hold_back(&outbox, unread_bytes_max);
            return Written::Fine;
        }
        let mut sent = 0;
        while let Some(rest) = frames.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.wire.send(rest) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    outbox.keep(frames, sent, now());
                    self.hold_back(&outbox, unread_bytes_max);
                    return Written::Blocked;
                }
                Err(_) => return Written::Lost,
            }
        }
        Written::Fine
    }

    /// Writes on, now that there may be room.
    pub(super) fn flush(&self, now: u64, unread_bytes_max: usize) -> Flushed {
        let mut outbox = self.outbox.lock();
        if outbox.queue.is_empty() {
            return Flushed::Fine;
        }
        loop {
            let sent = outbox.sent;
            let Some(rest) = outbox.queue.get(sent..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            match self.wire.send(rest) {
                Ok(count) => {
                    outbox.sent += count;
                    outbox.progress = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Flushed::Lost,
            }
        }
        if outbox.unread() == 0 {
            *outbox = Outbox::default();
        }
        let resume = self.is_stalled() && outbox.unread() <= unread_bytes_max / 2;
        if resume {
            self.stalled.store(false, Ordering::Relaxed);
        }
        self.show_interest(&outbox);
        if resume { Flushed::Resume } else { Flushed::Fine }
    }

    /// When the peer last made room, if it is being waited for.
    pub(super) fn blocked_since(&self) -> Option<u64> {
        let outbox = self.outbox.lock();
        (!outbox.queue.is_empty()).then_some(outbox.progress)
    }

    /// Forgets what was not written, and ends both directions.
    pub(super) fn close(&self) {
        if let Some(poller) = &self.poller {
            poller.remove(self);
        }
        *self.outbox.lock() = Outbox::default();
        self.wire.close();
    }

    /// Reads what has arrived behind the pending bytes; the next frame is as long as `needed`, if that is known.
    pub(super) fn read_more(&self, pending: &mut Vec<u8>, needed: Option<usize>) -> io::Result<usize> {
        // A prefix may promise much: room is made as bytes really arrive, at most doubling what is there.
        let most = match needed {
            Some(needed) => needed
                .saturating_sub(pending.len())
                .clamp(1, pending.len().max(READ_BYTES)),
            None => READ_BYTES,
        };
        self.wire.receive(pending, most)
    }

    fn hold_back(&self, outbox: &Outbox, unread_bytes_max: usize) {
        if outbox.unread() > unread_bytes_max {
            self.stalled.store(true, Ordering::Relaxed);
        }
        self.show_interest(outbox);
    }

    /// Tells the poller what to wait for. Called under the outbox's lock, so that the last word is right.
    fn show_interest(&self, outbox: &Outbox) {
        if let Some(poller) = &self.poller {
            poller.change(
                self,
                Interest {
                    read: !self.is_stalled(),
                    write: !outbox.queue.is_empty(),
                },
            );
        }
    }
}

impl Outbox {
    fn unread(&self) -> usize {
        self.queue.len() - self.sent
    }

    /// Keeps what is left of these frames, of which some bytes have been written.
    fn keep(&mut self, frames: &mut Vec<u8>, sent: usize, now: u64) {
        self.progress = now;
        if frames.len() - sent > COPIED_BYTES_MAX && self.queue.is_empty() {
            self.queue = std::mem::take(frames);
            self.sent = sent;
        } else {
            self.queue.extend_from_slice(frames.get(sent..).unwrap_or_default());
        }
    }
}
