//! The client: this process's session with one server.
//!
//! [`Remote`] is the entry: a [`Backend`] over one control connection and some [lanes](lane). A call takes a lane from one of two
//! [pools](pool) — few that are shared by calls which are answered soon, and one for each call that may wait — writes one frame and
//! reads one frame, without allocating. The session is lost as a whole: whichever connection fails first, every later call answers
//! `Gone` and every waiting one wakes. Nothing here reconnects, and nothing is sent twice.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod connect;
mod delivery;
mod descriptors;
mod lane;
mod pool;
mod releases;
mod seat;

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use byproxy_proto::address::Address;
use byproxy_proto::frame::{HEADER_BYTES_MAX, Reply, read_done};
use byproxy_proto::op::{Operation, Properties, Wait};
use byproxy_proto::value::Limits;
use hashbrown::HashMap;
use parking_lot::Mutex;

pub(crate) use self::connect::Options;
use self::connect::{Connector, Patience, Welcomed};
use self::delivery::Delivery;
use self::lane::{Lane, LaneError};
use self::pool::{Pool, Sharing, Taken};
use self::releases::Releases;
use crate::backend::{Answer, Backend, Frames, Reader, Request, Shared};
use crate::error::{Error, Result};
use crate::fork::Birth;
use crate::registry;
use crate::transport::Stream;

/// How long a server may take to let in a lane where there are others to share.
const SHARED_WAIT: Duration = Duration::from_millis(100);
/// How long after its address a server that ends may close its connections.
const ENDING_WAIT: Duration = Duration::from_millis(100);

/// A session with a server in another process, shared by all threads of this one.
///
/// Dropping it says goodbye, and the server gives back everything the session held.
pub(crate) struct Remote {
    connector: Connector,
    options: Options,
    welcomed: Welcomed,
    control: Stream,
    /// How many requests went over the control connection. Held from a request to its reply.
    errands: Mutex<u64>,
    calls: Pool,
    waits: Pool,
    releases: Releases,
    limits: Limits,
    birth: Birth,
    gone: AtomicBool,
    end: Mutex<End>,
    me: Weak<Self>,
}

/// The reply to a call.
enum Answered<'a> {
    Done { handed: Vec<u64>, result: &'a [u8] },
    Fault(byproxy_proto::fault::Fault),
}

/// How the session ended, and what has to be woken when it does.
#[derive(Debug, Default)]
struct End {
    reason: Option<String>,
    streams: HashMap<u64, Weak<Stream>>,
    next_stream: u64,
}

impl Remote {
    /// Opens a session.
    ///
    /// # Errors
    /// [`Error::Connect`] if nothing listens there or it is no server of ours; the server's fault if it refuses.
    pub(crate) fn connect(address: &Address, options: Options) -> Result<Arc<Self>> {
        Self::open(Connector::to(address)?, options)
    }

    /// Opens a session with a server inside this process.
    pub(crate) fn connect_in_memory(
        host: Arc<dyn crate::transport::memory::Host>,
        options: Options,
    ) -> Result<Arc<Self>> {
        Self::open(Connector::Memory(host), options)
    }

    fn open(connector: Connector, options: Options) -> Result<Arc<Self>> {
        let birth = Birth::of_this_process();
        let (control, welcomed) = connector.open_control(&options)?;
        let remote = Arc::new_cyclic(|me| Self {
            calls: Pool::new(
                Sharing::Shared {
                    few: options.call_lanes,
                },
                options.call_lanes_max,
            ),
            waits: Pool::new(Sharing::Exclusive, options.wait_lanes_max),
            connector,
            options,
            releases: Releases::within(welcomed.frame_bytes_max),
            welcomed,
            control,
            errands: Mutex::default(),
            limits: Limits::default(),
            birth,
            gone: AtomicBool::new(false),
            end: Mutex::default(),
            me: Weak::clone(me),
        });
        // One lane is there from the start, so that giving back a reference never has to open one.
        drop(remote.calls.take(&remote, Wait::FOREVER)?);
        Ok(remote)
    }

    /// Opens one more lane for a call that waits so long. With others to `share` it is better had soon or not at all.
    fn open_lane(&self, wait: Wait, share: bool) -> Result<Lane> {
        let limit = self.patience(wait);
        let own = wait.nanoseconds().map_or(Duration::MAX, Duration::from_nanos);
        let connect_wait = self.options.connect_wait;
        let patience = Patience {
            answer: connect_wait.min(limit.unwrap_or(Duration::MAX)).min(if share {
                SHARED_WAIT
            } else {
                Duration::MAX
            }),
            place: if share { Duration::ZERO } else { connect_wait.min(own) },
        };
        let opened = self.connector.open_lane(&self.options.name, &self.welcomed, patience);
        let stream = opened.map_err(|error| {
            let frozen = is_late(&error) && limit.is_some_and(|limit| limit <= patience.answer);
            self.why_no_lane(error, frozen)
        })?;
        let stream = Arc::new(stream);
        let mut end = self.end.lock();
        if self.gone.load(Ordering::Acquire) {
            return Err(end.error());
        }
        end.next_stream += 1;
        let id = end.next_stream;
        end.streams.insert(id, Arc::downgrade(&stream));
        let ring_after = if self.options.ring { self.welcomed.ring_after } else { 0 };
        Ok(Lane::new(id, stream, ring_after))
    }

    /// What it means that a lane can't be opened: the end of the session, if its server is gone or counts as frozen.
    fn why_no_lane(&self, error: Error, frozen: bool) -> Error {
        // A server that ends gives up its address first, and a moment later its connections.
        let patience = match &error {
            Error::Connect { source, .. } if is_nobody(source) => ENDING_WAIT,
            Error::Refused(_) | Error::Gone(_) => ENDING_WAIT,
            _ => Duration::ZERO,
        };
        if self.control.has_ended(patience) {
            self.end(&lane::closed("nothing more can be opened in this session"));
        } else if frozen {
            self.end(lane::FROZEN);
        } else {
            return error;
        }
        self.why_gone()
    }

    /// Forgets a lane that is closed on purpose.
    fn forget_lane(&self, lane: &Lane) {
        self.end.lock().streams.remove(&lane.id);
    }

    /// Whether calls can be made at all: the session has not ended, and this is the process that opened it.
    #[inline]
    fn check_alive(&self) -> Result<()> {
        if !self.birth.is_here() && !seeded!("child_calls_for_its_parent") {
            return Err(Error::Gone(
                "this process was forked from the one that connected, and a connection can't be shared".to_owned(),
            ));
        }
        if self.gone.load(Ordering::Acquire) {
            Err(self.why_gone())
        } else {
            Ok(())
        }
    }

    fn why_gone(&self) -> Error {
        self.end.lock().error()
    }

    /// Ends the session, once: whoever waits in it wakes, and the server sees its control connection end.
    fn end(&self, reason: &str) {
        let streams = {
            let mut end = self.end.lock();
            if self.gone.swap(true, Ordering::AcqRel) {
                return;
            }
            end.reason = Some(reason.to_owned());
            std::mem::take(&mut end.streams)
        };
        self.control.close();
        for stream in streams.into_values().filter_map(|stream| stream.upgrade()) {
            stream.close();
        }
        self.calls.close();
        self.waits.close();
    }

    /// Ends the session because a lane failed; returns what the call that was on it answers.
    #[cold]
    fn lose(&self, operation: Operation, error: impl Into<Box<LaneError>>) -> Error {
        let (reason, sent) = match *error.into() {
            LaneError::Unsent(reason) => (reason, false),
            LaneError::Lost(reason) => (reason, true),
            LaneError::Ended(fault) => {
                self.end(&fault.message);
                return Error::from_fault(fault);
            }
        };
        if !seeded!("frozen_goes_on") {
            self.end(&reason);
        }
        if sent && operation.outlives_session() && !seeded!("lost_is_gone") {
            return Error::OutcomeUnknown {
                operation: operation.name(),
                reason,
            };
        }
        self.why_gone()
    }

    /// How long to wait for a reply; nothing is for ever.
    fn patience(&self, wait: Wait) -> Option<Duration> {
        let own = Duration::from_nanos(wait.nanoseconds()?);
        self.options.call_timeout?.checked_add(own)
    }

    /// Makes a call on a lane that nobody else has; the reply's frame is left in `frames`.
    #[expect(
        clippy::inline_always,
        reason = "most calls are one straight line from here to the ring"
    )]
    #[inline(always)]
    fn exchange(&self, lane: &Lane, request: &mut Request<'_>, frames: &mut Frames) -> Result<u64> {
        let Frames { output, input } = frames;
        input.clear();
        if let Err(error) = lane.set_patience(self.patience(request.wait)) {
            return Err(self.lose(request.operation, error));
        }
        if let Err(error) = lane.prepare() {
            return Err(self.lose(request.operation, error));
        }
        let number = lane.next_number();
        if let Err(error) = self.releases.send_before(request.frame(number), lane, output) {
            return Err(self.lose(request.operation, error));
        }
        if let Err(error) = lane.receive(input, self.reply_bytes_max()) {
            return Err(self.lose(request.operation, error));
        }
        Ok(number)
    }

    /// The same for calls that take another way anyway.
    #[inline(never)]
    fn exchange_apart(&self, lane: &Lane, request: &mut Request<'_>, frames: &mut Frames) -> Result<u64> {
        self.exchange(lane, request, frames)
    }

    /// The same when the first lane is not free.
    #[inline(never)]
    fn exchange_on_other(&self, pool: &Pool, request: &mut Request<'_>, frames: &mut Frames) -> Result<u64> {
        let lane = pool.take(self, request.wait)?;
        let number = self.exchange_apart(&lane, request, frames)?;
        lane.consume();
        Ok(number)
    }

    /// Reads the reply that was received and shows it.
    #[inline]
    fn answer(&self, operation: Operation, number: u64, frame: &[u8], visit: &mut Reader<'_>) -> Result<()> {
        let body = frame.get(byproxy_proto::frame::PREFIX_BYTES..).unwrap_or_default();
        match read_done(body) {
            Some(done) if done.number == number => {
                visit(Answer {
                    handed: &done.handed,
                    result: done.result,
                });
                Ok(())
            }
            _ => self.answer_other(operation, number, frame, visit),
        }
    }

    /// The same for a reply that is not simply the one that was expected.
    #[cold]
    fn answer_other(&self, operation: Operation, number: u64, frame: &[u8], visit: &mut Reader<'_>) -> Result<()> {
        match self.read_reply(operation, number, frame)? {
            Answered::Done { handed, result } => {
                visit(Answer {
                    handed: &handed,
                    result,
                });
                Ok(())
            }
            Answered::Fault(fault) => Err(Error::from_fault(fault)),
        }
    }

    fn read_reply<'a>(&self, operation: Operation, expected: u64, frame: &'a [u8]) -> Result<Answered<'a>> {
        let body = frame.get(byproxy_proto::frame::PREFIX_BYTES..).unwrap_or_default();
        let reply = Reply::read(body, &self.limits);
        match reply {
            Ok(Reply::Fault { number: 0, fault }) => Err(self.lose(operation, LaneError::Ended(fault))),
            Ok(Reply::Done { number, handed, result }) if number == expected || seeded!("answer_of_another_call") => {
                Ok(Answered::Done { handed, result })
            }
            Ok(Reply::Fault { number, fault }) if number == expected => Ok(Answered::Fault(fault)),
            Ok(_) => Err(self.lose(
                operation,
                LaneError::Lost("the server answered another call than was made".to_owned()),
            )),
            Err(error) => Err(self.lose(
                operation,
                LaneError::Lost(format!("the server's reply can't be read: {error}")),
            )),
        }
    }

    #[cold]
    fn too_large(&self, request: &Request<'_>) -> Error {
        Error::TooLarge(format!(
            "the arguments of {} take {} bytes and the server takes at most {}: send less at once",
            request.operation.name(),
            request.arguments.value().len(),
            self.welcomed.frame_bytes_max.saturating_sub(HEADER_BYTES_MAX)
        ))
    }

    fn reply_bytes_max(&self) -> usize {
        self.welcomed.frame_bytes_max.saturating_add(HEADER_BYTES_MAX)
    }

    /// A call whose reply carries items: they are ours only once the confirm is written, after they were read.
    fn call_delivering(
        &self,
        lane: Taken<'_>,
        request: &mut Request<'_>,
        frames: &mut Frames,
        visit: &mut Reader<'_>,
    ) -> Result<()> {
        let number = self.exchange_apart(&lane, request, frames)?;
        let input = std::mem::take(&mut frames.input);
        let mut delivery = Delivery {
            remote: self,
            lane: &lane,
            frames,
            number,
            open: false,
        };
        let outcome = match self.read_reply(request.operation, number, &input)? {
            Answered::Fault(fault) => {
                delivery.lane.consume();
                Err(Error::from_fault(fault))
            }
            Answered::Done { handed, result } => {
                delivery.open = true;
                if seeded!("confirm_before_decode") {
                    delivery.confirm()?;
                }
                let is_read = visit(Answer {
                    handed: &handed,
                    result,
                });
                if !is_read || seeded!("confirm_before_decode") {
                    Ok(())
                } else {
                    delivery.confirm()
                }
            }
        };
        drop(delivery);
        frames.input = input;
        outcome
    }
}

impl Backend for Remote {
    fn instance(&self) -> u128 {
        self.welcomed.instance
    }

    fn address(&self) -> Option<Address> {
        self.connector.address()
    }

    fn call(&self, mut request: Request<'_>, frames: &mut Frames, visit: &mut Reader<'_>) -> Result<()> {
        self.check_alive()?;
        if request.arguments.value().len().saturating_add(HEADER_BYTES_MAX) > self.welcomed.frame_bytes_max {
            return Err(self.too_large(&request));
        }
        let Properties {
            may_block, delivers, ..
        } = request.operation.properties();
        if delivers {
            return self.call_delivering(self.waits.take(self, request.wait)?, &mut request, frames, visit);
        }
        let waits = may_block && !request.wait.is_try();
        let pool = if waits { &self.waits } else { &self.calls };
        // The lane is free for others while the reply is read, and for calls that reading it makes.
        let number = match pool.first(self) {
            Some(lane) => {
                let number = self.exchange(&lane, &mut request, frames)?;
                lane.consume();
                number
            }
            None => self.exchange_on_other(pool, &mut request, frames)?,
        };
        self.flush_releases();
        self.answer(request.operation, number, &frames.input, visit)
    }

    fn release(&self, object: u64) {
        if self.check_alive().is_ok() {
            self.releases.push(object);
            self.flush_releases();
        }
    }

    fn share(&self, name: Option<&str>, note: &[u8], descriptor: BorrowedFd<'_>) -> Result<Shared> {
        self.send_descriptor(name, note, descriptor)
    }

    fn fetch(&self, object: u64) -> Result<(OwnedFd, Vec<u8>)> {
        self.ask_for_descriptor(object)
    }

    fn carries_descriptors(&self) -> Result<()> {
        self.check_alive()?;
        self.post().map(|_| ())
    }

    fn is_open(&self) -> bool {
        self.check_alive().is_ok()
    }

    fn close(&self) {
        if self.birth.is_here() {
            self.say_goodbye();
            self.end("the session was closed by this process");
        }
    }
}

impl Remote {
    fn say_goodbye(&self) {
        if !self.gone.load(Ordering::Acquire) {
            // Without a wait: a server that does not even take this will see the connection end.
            let _ = self.control.send_now(&lane::goodbye());
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // A forked child holds the same sockets: its parent's session is none of its business.
        if self.birth.is_here() {
            self.say_goodbye();
        }
        registry::forget(self.welcomed.instance);
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("connector", &self.connector)
            .field("session", &self.welcomed.session)
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}

/// Whether it took too long to get in.
fn is_late(error: &Error) -> bool {
    let (Error::Connect { source, .. } | Error::Io { source, .. }) = error else {
        return false;
    };
    source.kind() == ErrorKind::TimedOut
}

/// Whether nobody listens.
fn is_nobody(source: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, NotFound};
    matches!(
        source.kind(),
        NotFound | ConnectionRefused | ConnectionReset | ConnectionAborted
    )
}

impl End {
    fn error(&self) -> Error {
        Error::Gone(
            self.reason
                .clone()
                .unwrap_or_else(|| "the session has ended".to_owned()),
        )
    }
}

#[cfg(test)]
mod tests;
