//! A backend without a server: an engine in this process, driven by the threads that call it.
//!
//! No socket, no thread of its own, no timer. A call runs in its caller's thread, and so does a long operation that the engine hands
//! out as a job. A caller that must wait parks until another thread's call posts its reply, or until its own deadline, when it tells
//! the engine the time itself. A call answered at once allocates nothing here: outputs are a thread's own and keep their buffers.

use crate::backend::{Answer, Backend, Frames, Reader, Request, Shared, thread_number};
use crate::engine::{
    Call, Caller, Engine, LaneId, Outcome, Output, Outputs, Peer, Reply, ReplyRef, Resource, SessionId, Settings, Time,
};
use crate::error::{Error, Result};
use crate::registry;
use byproxy_proto::address::Address;
use parking_lot::Mutex;
use rustix::fs::fstat;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

thread_local! {
    static OUTPUTS: Cell<Option<Box<Outputs>>> = const { Cell::new(None) };
    /// For a call within a call, such as the confirm of what is being read.
    static MORE_OUTPUTS: Cell<Option<Box<Outputs>>> = const { Cell::new(None) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// An engine in this process and this process's one session with it.
pub(crate) struct Embedded {
    engine: Engine,
    session: SessionId,
    start: Instant,
    open: AtomicBool,
    /// Calls that were not answered at once, by lane and number.
    waiting: Mutex<HashMap<(LaneId, u64), Slot>>,
}

/// Where a caller and its reply meet, whichever is first.
enum Slot {
    Waiting(Thread),
    Arrived(Reply),
}

impl Embedded {
    /// A new engine, without objects.
    pub(crate) fn new(instance: u128, settings: Settings) -> Result<Arc<Self>> {
        let engine = Engine::new(instance, settings);
        let peer = Peer {
            pid: std::process::id(),
            name: program_name(),
        };
        let session = engine.handle_session_start(Time(0), peer)?;
        let (start, open, waiting) = (Instant::now(), AtomicBool::new(true), Mutex::default());
        Ok(Arc::new(Self {
            engine,
            session,
            start,
            open,
            waiting,
        }))
    }

    #[inline]
    fn now(&self) -> Time {
        // 584 years fit.
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Gives a reply to its reader, and confirms what it delivers.
    #[inline]
    fn finish(&self, caller: Caller, reply: ReplyRef<'_>, visit: &mut Reader<'_>) -> Result<()> {
        match reply.outcome {
            Outcome::Fault(fault) => Err(Error::from_fault(fault.clone())),
            Outcome::Done { handed, result } if reply.delivers => {
                let delivery = Delivery {
                    embedded: self,
                    caller,
                    number: reply.number,
                };
                if visit(Answer { handed, result }) {
                    delivery.confirm();
                }
                Ok(())
            }
            Outcome::Done { handed, result } => {
                visit(Answer { handed, result });
                Ok(())
            }
        }
    }

    /// Waits for a reply, and gives it to its reader.
    #[cold]
    fn finish_later(&self, caller: Caller, number: u64, deadline: Option<Time>, visit: &mut Reader<'_>) -> Result<()> {
        let reply = self.wait(caller, number, deadline)?;
        self.finish(caller, reply.as_ref(), visit)
    }

    /// Does what the engine asks for besides the reply to the call at hand: posts replies, runs jobs.
    #[inline]
    fn settle(&self, outputs: &mut Outputs) {
        if outputs.asks_more() {
            self.settle_all(outputs.drain().collect());
        }
    }

    #[cold]
    fn settle_all(&self, mut left: VecDeque<Output>) {
        while let Some(output) = left.pop_front() {
            match output {
                Output::Reply { to, reply } => self.post(to, reply),
                Output::Job(job) => {
                    let done = job.run();
                    let mut outputs = Scratch::take();
                    self.engine.handle_job_done(self.now(), done, outputs.get());
                    left.extend(outputs.get().drain());
                }
                Output::Shutdown => left.extend(self.end()),
            }
        }
    }

    fn post(&self, to: Caller, reply: Reply) {
        let slot = (to.lane, reply.number);
        let reader = self.waiting.lock().insert(slot, Slot::Arrived(reply));
        if let Some(Slot::Waiting(thread)) = reader {
            thread.unpark();
        }
    }

    /// Parks until the reply is there. At its deadline the caller tells the engine the time, which answers the call.
    #[cold]
    fn wait(&self, caller: Caller, number: u64, mut deadline: Option<Time>) -> Result<Reply> {
        let key = (caller.lane, number);
        loop {
            {
                let mut waiting = self.waiting.lock();
                if let Some(Slot::Arrived(reply)) = waiting.insert(key, Slot::Waiting(thread::current())) {
                    waiting.remove(&key);
                    return Ok(reply);
                }
                // Whoever ends the session stores this before it looks for threads to wake.
                if !self.is_open() {
                    waiting.remove(&key);
                    return Err(gone());
                }
            }
            let now = self.now();
            match deadline {
                None => thread::park(),
                Some(due) if now < due => thread::park_timeout(Duration::from_nanos(due.0 - now.0)),
                Some(_) => {
                    let mut outputs = Scratch::take();
                    self.engine.handle_timeout(now, outputs.get());
                    self.settle(outputs.get());
                    deadline = None;
                }
            }
        }
    }

    /// Ends the session, if it has not ended, and returns what is left to do.
    fn end(&self) -> Vec<Output> {
        if !self.open.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        let mut outputs = Scratch::take();
        self.engine.handle_session_end(self.now(), self.session, outputs.get());
        for slot in self.waiting.lock().values() {
            if let Slot::Waiting(thread) = slot {
                thread.unpark();
            }
        }
        outputs.get().drain().collect()
    }
}

impl Backend for Embedded {
    #[inline]
    fn instance(&self) -> u128 {
        self.engine.instance()
    }

    fn address(&self) -> Option<Address> {
        None
    }

    #[inline]
    fn call(&self, request: Request<'_>, _: &mut Frames, visit: &mut Reader<'_>) -> Result<()> {
        if !self.is_open() {
            return Err(gone());
        }
        let caller = Caller {
            session: self.session,
            lane: LaneId(thread_number()),
        };
        let number = CALLS.get().wrapping_add(1);
        CALLS.set(number);
        let Request {
            operation,
            object,
            arguments,
            wait,
        } = request;
        let mut scratch = Scratch::take();
        let outputs = scratch.get();
        // Only a wait that ends by itself needs to know when it began: a look at the clock takes a tenth of a call.
        let now = match wait.nanoseconds() {
            None | Some(0) => Time::START,
            Some(_) => self.now(),
        };
        self.engine.handle_call(
            now,
            caller,
            Call {
                number,
                operation,
                object,
                arguments: arguments.value(),
            },
            outputs,
        );
        self.settle(outputs);
        if let Some(reply) = outputs.immediate() {
            return self.finish(caller, reply, visit);
        }
        drop(scratch);
        let deadline = wait.nanoseconds().map(|nanoseconds| now.after(nanoseconds));
        let deadline = deadline.filter(|_| operation.properties().may_block);
        self.finish_later(caller, number, deadline, visit)
    }

    fn release(&self, object: u64) {
        if self.is_open() {
            let mut outputs = Scratch::take();
            self.engine
                .handle_release(Time::START, self.session, &[(object, 1)], outputs.get());
            self.settle(outputs.get());
        }
    }

    fn share(&self, name: Option<&str>, note: &[u8], descriptor: BorrowedFd<'_>) -> Result<Shared> {
        self.carries_descriptors()?;
        let descriptor = descriptor.try_clone_to_owned().map_err(no_copy)?;
        let bytes = fstat(&descriptor).map_err(|error| no_copy(error.into()))?.st_size;
        let resource = Resource::new(descriptor, u64::try_from(bytes).unwrap_or(0));
        let mut outputs = Scratch::take();
        let shared = self
            .engine
            .handle_share(self.now(), self.session, name, note, resource, outputs.get());
        self.settle(outputs.get());
        let (token, made) = shared?;
        let object = token.object;
        Ok(Shared { object, made })
    }

    fn fetch(&self, object: u64) -> Result<(OwnedFd, Vec<u8>)> {
        self.carries_descriptors()?;
        let mut outputs = Scratch::take();
        let fetched = self
            .engine
            .handle_fetch(self.now(), self.session, object, outputs.get());
        self.settle(outputs.get());
        let (resource, note) = fetched?;
        let copy = resource.get::<OwnedFd>().map(OwnedFd::try_clone);
        match copy {
            Some(Ok(descriptor)) => Ok((descriptor, note.into())),
            failed => {
                // What was handed over with it is nobody's.
                self.release(object);
                Err(no_copy(
                    failed
                        .and_then(std::result::Result::err)
                        .unwrap_or_else(|| ErrorKind::NotFound.into()),
                ))
            }
        }
    }

    fn carries_descriptors(&self) -> Result<()> {
        if self.is_open() { Ok(()) } else { Err(gone()) }
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    fn close(&self) {
        self.settle_all(self.end().into());
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        registry::forget(self.engine.instance());
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// Items that are the engine's until their reader has returned; if it panics they go back to where they were.
struct Delivery<'a> {
    embedded: &'a Embedded,
    caller: Caller,
    number: u64,
}

impl Delivery<'_> {
    fn confirm(self) {
        let Self {
            embedded,
            caller,
            number,
        } = self;
        std::mem::forget(self);
        let mut outputs = Scratch::take();
        embedded
            .engine
            .handle_confirm(Time::START, caller, number, outputs.get());
        embedded.settle(outputs.get());
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        let mut outputs = Scratch::take();
        if seeded!("panic_keeps_item") {
            return self
                .embedded
                .engine
                .handle_confirm(Time::START, self.caller, self.number, outputs.get());
        }
        self.embedded
            .engine
            .handle_decline(Time::START, self.caller, self.number, outputs.get());
        self.embedded.settle(outputs.get());
    }
}

/// This thread's outputs while a call uses them; a call made meanwhile gets others.
struct Scratch(Option<Box<Outputs>>);

impl Scratch {
    #[inline]
    fn take() -> Self {
        let outputs = OUTPUTS.try_with(Cell::take).ok().flatten();
        Self(outputs.or_else(|| MORE_OUTPUTS.try_with(Cell::take).ok().flatten()))
    }

    #[inline]
    fn get(&mut self) -> &mut Outputs {
        self.0.get_or_insert_default()
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut outputs) = self.0.take() {
            outputs.clear();
            // The outermost call's outputs are put back last and stay: theirs have grown to what calls need.
            if let Ok(Some(inner)) = OUTPUTS.try_with(|kept| kept.replace(Some(outputs))) {
                let _ = MORE_OUTPUTS.try_with(|kept| kept.set(Some(inner)));
            }
        }
    }
}

fn no_copy(source: io::Error) -> Error {
    Error::Io {
        context: "can't open shared memory once more",
        source,
    }
}

#[cold]
fn gone() -> Error {
    Error::Gone("this manager was shut down".to_owned())
}

/// What this program calls itself in a server's books.
fn program_name() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&program).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
