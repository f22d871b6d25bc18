//! References on their way back to the server.
//!
//! They are sent at once, on a free call lane and without waiting for anything; or, when every call lane is taken, with whatever is
//! sent next: the thread that returns a lane looks here. So none is lost, none waits for ever, and what a thread released is known
//! before what it calls next. Only a socket that is full leaves a rest, which a short-lived thread sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use byproxy_proto::frame::{RELEASES_MAX, Request};
use parking_lot::Mutex;

use super::Remote;
use super::lane::{Buffers, append};

/// What waits to be sent.
#[derive(Debug, Default)]
pub(super) struct Releases {
    waiting: Mutex<Vec<(u64, u64)>>,
    /// How many those are, to be looked at without a lock.
    count: AtomicUsize,
    /// A thread is at work that sends what did not fit.
    late: AtomicBool,
}

impl Releases {
    pub(super) fn push(&self, object: u64) {
        let mut waiting = self.waiting.lock();
        match waiting.last_mut() {
            Some((last, count)) if *last == object => *count += 1,
            _ => waiting.push((object, 1)),
        }
        self.count.store(waiting.len(), Ordering::Release);
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Appends frames with everything that waits.
    #[inline]
    pub(super) fn write_all(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            self.write_some(out);
        }
    }

    #[cold]
    fn write_some(&self, out: &mut Vec<u8>) {
        let releases = {
            let mut waiting = self.waiting.lock();
            self.count.store(0, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        for some in releases.chunks(RELEASES_MAX) {
            append(out, |out| Request::Release(some.to_vec()).write(out));
        }
    }
}

impl Remote {
    /// Sends what waits, unless every call lane is taken: then whoever returns one does it.
    #[inline]
    pub(super) fn flush_releases(&self) {
        if !self.releases.is_empty() {
            self.flush_some();
        }
    }

    #[cold]
    fn flush_some(&self) {
        while !self.releases.is_empty() {
            let Some(mut lane) = self.calls.take_now(self) else {
                return;
            };
            let mut buffers = Buffers::take();
            // What is left of an earlier frame comes first, and shows that the socket was full a moment ago.
            lane.begin(&mut buffers);
            self.releases.write_all(&mut buffers.output);
            let left = lane.send_now(&buffers);
            buffers.give_back();
            drop(lane);
            match left {
                Ok(false) => {}
                Ok(true) => return self.send_later(),
                Err(error) => return self.end(error.reason()),
            }
        }
    }

    /// Has a thread wait for room in the socket, so that the one which drops a reference need not.
    fn send_later(&self) {
        let Some(remote) = self.me.upgrade() else { return };
        if self.releases.late.swap(true, Ordering::AcqRel) {
            return;
        }
        let started = std::thread::Builder::new()
            .name("byproxy-release".to_owned())
            .spawn(move || remote.send_the_rest());
        if started.is_err() {
            // The next call on the lane takes it along.
            self.releases.late.store(false, Ordering::Release);
        }
    }

    fn send_the_rest(self: Arc<Self>) {
        loop {
            let Ok(mut lane) = self.calls.take(&self) else { break };
            let mut buffers = Buffers::take();
            lane.begin(&mut buffers);
            self.releases.write_all(&mut buffers.output);
            let sent = lane.send(&buffers);
            drop(lane);
            if let Err(error) = sent {
                self.end(error.reason());
                break;
            }
            if self.releases.is_empty() {
                break;
            }
        }
        self.releases.late.store(false, Ordering::Release);
    }
}
