//! References on their way back to the server.
//!
//! They are sent at once, on a free call lane and without waiting for anything; or, when every call lane is taken, with whatever is
//! sent next: the thread that returns a lane looks here. So none is lost, and none waits for ever. What a thread released is as a rule
//! known before what it calls next, but that is not promised: when the lanes were all taken, another one may carry it. Only when a flood has filled a socket does a short-lived thread send the rest, in its own time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use byproxy_proto::frame::{HEADER_BYTES_MAX, RELEASES_MAX, Request};
use parking_lot::Mutex;

use super::Remote;
use super::lane::{Lane, LaneError, append};
use super::pool::{Kept, Taken};
use crate::backend::Lent;

/// An object and a count of it take as many bytes at most.
const PAIR_BYTES_MAX: usize = 20;

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Releases {
    waiting: Mutex<Vec<(u64, u64)>>,
    /// How many objects one frame may name at this server.
    most: usize,
    /// How many those are, to be looked at without a lock.
    count: AtomicUsize,
}

impl Releases {
    /// Those to a server that takes frames of so many bytes.
    pub(super) fn within(frame_bytes_max: usize) -> Self {
        let frame_bytes_max = if seeded!("releases_of_any_size") {
            usize::MAX
        } else {
            frame_bytes_max
        };
        let pairs = frame_bytes_max.saturating_sub(HEADER_BYTES_MAX) / PAIR_BYTES_MAX;
        Self {
            waiting: Mutex::default(),
            count: AtomicUsize::new(0),
            most: pairs.clamp(1, RELEASES_MAX),
        }
    }

    pub(super) fn push(&self, object: u64) {
        let mut waiting = self.waiting.lock();
        match waiting.last_mut() {
            Some((last, count)) if *last == object => *count += 1,
            _ => waiting.push((object, 1)),
        }
        // In one order with the exchanges of the first lane (`seat.rs`): who has stored this finds a lane free, or whoever returns one finds
        // this.
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Sends a frame, with everything that waits before it.
    #[expect(
        clippy::inline_always,
        reason = "most calls are one straight line from their session to the ring"
    )]
    #[inline(always)]
    pub(super) fn send_before(&self, frame: &[u8], lane: &Lane, output: &mut Vec<u8>) -> Result<(), Box<LaneError>> {
        if self.is_empty() {
            lane.send(frame)
        } else {
            self.send_some_before(frame, lane, output)
        }
    }

    #[cold]
    fn send_some_before(&self, frame: &[u8], lane: &Lane, output: &mut Vec<u8>) -> Result<(), Box<LaneError>> {
        self.write_all(output);
        output.extend_from_slice(frame);
        lane.send(output)
    }

    /// Writes frames with everything that waits.
    fn write_all(&self, out: &mut Vec<u8>) {
        out.clear();
        let releases = {
            let mut waiting = self.waiting.lock();
            self.count.store(0, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        for some in releases.chunks(self.most) {
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
            let Some(lane) = self.calls.take_now(self) else {
                return;
            };
            let mut lent = Lent::take();
            let output = &mut lent.buffers().frames.output;
            self.releases.write_all(output);
            let sent = lane.send_now(output);
            let rest = sent.map(|sent| output.get(sent..).unwrap_or_default());
            match rest {
                Ok([]) => {}
                Ok(rest) => return self.send_later(lane, rest.to_vec()),
                Err(error) => {
                    drop(lane);
                    return self.end(error.reason());
                }
            }
        }
    }

    /// Has a thread wait for room in the socket, so that the one which drops a reference need not. The lane is that thread's meanwhile:
    /// others have others, and what they release is not held up.
    fn send_later(&self, lane: Taken<'_>, rest: Vec<u8>) {
        let kept = lane.keep();
        let Some(remote) = self.me.upgrade() else { return };
        // The thread takes its work from here, so that it is still there if no thread can be started.
        let work = Arc::new(Mutex::new(Some((kept, rest))));
        let theirs = Arc::clone(&work);
        let started = {
            let remote = Arc::clone(&remote);
            std::thread::Builder::new()
                .name("byproxy-release".to_owned())
                .spawn(move || remote.send_rest(&theirs))
        };
        if started.is_err() {
            remote.send_rest(&work);
        }
    }

    fn send_rest(&self, work: &Mutex<Option<(Kept, Vec<u8>)>>) {
        let taken = work.lock().take();
        let Some((kept, rest)) = taken else { return };
        let Some(lane) = self.calls.resume(self, kept) else {
            return;
        };
        if let Err(error) = lane.send(&rest) {
            self.end(error.reason());
        }
        drop(lane);
        // While it was away others may have found no lane.
        self.flush_releases();
    }
}

#[cfg(test)]
mod tests {
    use byproxy_proto::frame::PREFIX_BYTES;

    use super::*;

    /// Cause: frames were cut by how many objects they name only. Symptom: a server that takes small frames ended the session of a client
    /// that had dropped many proxies while its lanes were taken.
    #[test]
    fn frames_are_no_larger_than_the_server_takes() {
        for most in [100, 512, 4096, 1 << 20] {
            let releases = Releases::within(most);
            (0..10_000).for_each(|number| releases.push(u64::MAX - number));
            let mut out = Vec::new();
            releases.write_all(&mut out);
            let (mut rest, mut frames) = (&out[..], 0);
            while let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX_BYTES>() {
                let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap();
                assert!(length <= most, "{length} of {most}");
                (rest, frames) = (&behind[length..], frames + 1);
            }
            assert!(frames >= 10_000_usize.div_ceil(RELEASES_MAX));
        }
    }
}
