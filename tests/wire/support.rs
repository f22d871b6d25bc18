//! A server on a thread, and connections to it that write and read bytes.

use byproxy::Address;
use byproxy::server::{Handle, Limits, Server};
use byproxy_proto::frame::{self, FrameError, PREFIX_BYTES, Request};
use byproxy_proto::handshake::{Hello, Purpose, Welcome};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Limits as ValueLimits, to_vec};
use serde::Serialize;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take before a test is called stuck. Where bugs are seeded some are stuck on purpose.
pub(crate) const STUCK: Duration = Duration::from_secs(if cfg!(canary = "any") { 10 } else { 30 });

/// A server that serves until this is dropped.
pub(crate) struct Served {
    pub(crate) handle: Handle,
    pub(crate) path: PathBuf,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Served {
    pub(crate) fn start() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        Self::with_workers(limits, 3)
    }

    pub(crate) fn with_workers(limits: Limits, workers: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let server = Server::builder()
            .listen(Address::unix(&path).unwrap())
            .limits(limits)
            .workers(workers)
            .build()
            .unwrap();
        let handle = server.handle();
        let serve = move || server.serve().unwrap();
        let thread = std::thread::Builder::new()
            .name("byproxy-serve".to_owned())
            .spawn(serve)
            .unwrap();
        Self {
            handle,
            path,
            thread: Some(thread),
            _directory: directory,
        }
    }

    pub(crate) fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// A connection that has not said anything.
    pub(crate) fn stranger(&self) -> Raw {
        Raw::connect(&self.path)
    }

    /// Opens a session with one lane.
    pub(crate) fn client(&self) -> Client {
        Client::open(&self.path)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            assert_eq!(self.handle.stats().panics, 0, "the server caught a panic of its own");
        }
    }
}

/// A connection as bytes.
pub(crate) struct Raw(pub(crate) UnixStream);

/// What a server sent.
#[derive(Debug)]
pub(crate) enum Sent {
    Frame(Vec<u8>),
    End,
}

impl Raw {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(STUCK)).unwrap();
        stream.set_write_timeout(Some(STUCK)).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn say_hello(&mut self, purpose: Purpose) -> Welcomed {
        self.send(&framed(|out| Hello::new(purpose, "test").write(out)));
        match self.receive() {
            Sent::Frame(body) => {
                let welcome = Welcome::read(&body)
                    .unwrap()
                    .unwrap_or_else(|| panic!("refused: {}", message(&body)));
                Welcomed {
                    session: welcome.session,
                    secret: welcome.secret,
                }
            }
            Sent::End => panic!("the server closed the connection instead of a welcome"),
        }
    }

    /// The next frame's body, or the end.
    pub(crate) fn receive(&mut self) -> Sent {
        let mut prefix = [0; PREFIX_BYTES];
        if let Err(error) = self.0.read_exact(&mut prefix) {
            assert_ne!(
                error.kind(),
                std::io::ErrorKind::WouldBlock,
                "stuck: neither an answer nor the end"
            );
            return Sent::End;
        }
        let mut body = vec![0; u32::from_le_bytes(prefix) as usize];
        self.0.read_exact(&mut body).unwrap();
        Sent::Frame(body)
    }

    /// The message of the fault that must come next, followed by the end.
    pub(crate) fn expect_refusal(&mut self) -> String {
        let Sent::Frame(body) = self.receive() else {
            panic!("closed without a reason")
        };
        let text = message(&body);
        self.expect_end();
        text
    }

    pub(crate) fn expect_end(&mut self) {
        if let Sent::Frame(body) = self.receive() {
            panic!("expected the end, not {body:?}");
        }
    }
}

/// What the welcome said.
#[derive(Clone, Copy)]
pub(crate) struct Welcomed {
    pub(crate) session: u64,
    pub(crate) secret: u128,
}

impl Welcomed {
    pub(crate) fn lane(&self) -> Purpose {
        Purpose::Lane {
            session: self.session,
            secret: self.secret,
        }
    }
}

/// A session with one lane.
pub(crate) struct Client {
    pub(crate) control: Raw,
    pub(crate) lane: Raw,
    pub(crate) welcomed: Welcomed,
    number: u64,
}

impl Client {
    pub(crate) fn open(path: &Path) -> Self {
        let mut control = Raw::connect(path);
        let welcomed = control.say_hello(Purpose::Control);
        let mut lane = Raw::connect(path);
        lane.say_hello(welcomed.lane());
        Self {
            control,
            lane,
            welcomed,
            number: 0,
        }
    }

    pub(crate) fn send_call(&mut self, operation: Operation, object: u64, arguments: impl Serialize) {
        self.number += 1;
        self.lane.send(&call(self.number, operation, object, arguments));
    }

    /// The result's bytes and the ids handed over, or the fault's message.
    pub(crate) fn call(
        &mut self,
        operation: Operation,
        object: u64,
        arguments: impl Serialize,
    ) -> Result<(Vec<u8>, Vec<u64>), String> {
        self.send_call(operation, object, arguments);
        let Sent::Frame(body) = self.lane.receive() else {
            return Err("closed".to_owned());
        };
        match frame::Reply::read(&body, &ValueLimits::default()).unwrap() {
            frame::Reply::Done { handed, result, number } => {
                assert_eq!(number, self.number);
                Ok((result.to_vec(), handed))
            }
            frame::Reply::Fault { fault, .. } => Err(fault.message),
            frame::Reply::Ring { .. } => panic!("a ring instead of a reply"),
        }
    }

    pub(crate) fn ping(&mut self) {
        self.call(Operation::Ping, 0, NOTHING).unwrap();
    }

    pub(crate) fn new_list(&mut self, name: Option<&str>) -> u64 {
        let (_, handed) = self.call(Operation::Create, 0, (1u8, name, None::<()>)).unwrap();
        handed[0]
    }
}

pub(crate) const NOTHING: [u8; 0] = [];

/// One call's frame.
pub(crate) fn call(number: u64, operation: Operation, object: u64, arguments: impl Serialize) -> Vec<u8> {
    let arguments = to_vec(&arguments, &ValueLimits::default()).unwrap();
    let call = frame::Call {
        number,
        operation,
        object,
        arguments: &arguments,
    };
    framed(|out| Request::Call(call).write(out))
}

/// One frame.
pub(crate) fn framed(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write::<FrameError>(&mut bytes, usize::MAX, |out| {
        body(out);
        Ok(())
    })
    .unwrap();
    bytes
}

/// A fault's message.
pub(crate) fn message(body: &[u8]) -> String {
    match frame::Reply::read(body, &ValueLimits::default()) {
        Ok(frame::Reply::Fault { fault, .. }) => format!("{:?}: {}", fault.code, fault.message),
        other => panic!("expected a fault, not {other:?}"),
    }
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < STUCK, "stuck: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The context switches of every thread of the server.
pub(crate) fn switches() -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap().trim().to_owned();
        if name.starts_with("byproxy-") {
            let status = std::fs::read_to_string(path.join("status")).unwrap();
            let count = |line: &str| {
                line.split_whitespace()
                    .nth(1)
                    .and_then(|count| count.parse::<u64>().ok())
            };
            found.push((
                name,
                status
                    .lines()
                    .filter(|line| line.contains("ctxt_switches"))
                    .filter_map(count)
                    .sum(),
            ));
        }
    }
    found.sort();
    found
}

/// The same, once nobody is on the way to its next sleep any more.
pub(crate) fn switches_at_rest() -> Vec<(String, u64)> {
    let mut last = switches();
    until("the server comes to rest", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = switches();
        std::mem::replace(&mut last, now.clone()) == now
    });
    last
}

/// With no deadline of a hello while a test looks on: the look at the first of them comes even if all have been said.
pub(crate) fn unhurried() -> Limits {
    Limits {
        hello_wait: Duration::from_hours(1),
        ..Limits::default()
    }
}
