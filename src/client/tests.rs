//! A client against a live server, over a socket and within the process.

use std::thread::JoinHandle;

use byproxy_proto::op::Wait;
use byproxy_proto::value::{Kind, Raw, Value, to_vec};
use serde::Serialize;

use super::*;
use crate::engine::Settings;
use crate::server::memory::MemoryServer;
use crate::server::{self, Handle, Server};

/// A server on a thread of this process.
struct Served {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        Self::with(server::Limits::default())
    }

    fn with(limits: server::Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::unix(directory.path().join("socket")).unwrap();
        let server = Server::builder().listen(address).limits(limits).build().unwrap();
        let handle = server.handle();
        let thread = Some(std::thread::spawn(move || server.serve().unwrap()));
        Self {
            handle,
            thread,
            _directory: directory,
        }
    }

    fn connect(&self) -> Arc<Remote> {
        Remote::connect(self.handle.address(), Options::default()).unwrap()
    }

    fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
        assert_eq!(self.handle.stats().panics, 0, "the server caught a panic of its own");
    }
}

fn memory() -> MemoryServer {
    MemoryServer::start(Settings::default(), server::Limits::default()).unwrap()
}

/// Runs a test on both transports.
fn on_both(test: impl Fn(&Arc<Remote>)) {
    let served = Served::start();
    test(&served.connect());
    let twin = memory();
    test(&Remote::connect_in_memory(twin.host(), Options::default()).unwrap());
}

/// Makes a call and returns what it hands over and its result.
fn call(remote: &Remote, operation: Operation, object: u64, arguments: impl Serialize) -> Result<(Vec<u64>, Value)> {
    call_waiting(remote, operation, object, arguments, Wait::TRY)
}

fn call_waiting(
    remote: &Remote,
    operation: Operation,
    object: u64,
    arguments: impl Serialize,
    wait: Wait,
) -> Result<(Vec<u64>, Value)> {
    let arguments = to_vec(&arguments, &Limits::default()).unwrap();
    let mut answer = None;
    remote.call(
        Request {
            operation,
            object,
            arguments: &arguments,
            wait,
        },
        &mut |seen| {
            let value = Raw::check(seen.result, &Limits::default()).unwrap().to_value().unwrap();
            answer = Some((seen.handed.to_vec(), value));
        },
    )?;
    Ok(answer.expect("a call that succeeds shows its answer"))
}

fn new_list(remote: &Remote) -> u64 {
    let (handed, _) = call(remote, Operation::Create, 0, (Kind::LIST.0, None::<&str>, None::<()>)).unwrap();
    handed[0]
}

const NOTHING: [u8; 0] = [];

#[test]
fn calls_are_answered_in_turn() {
    on_both(|remote| {
        let list = new_list(remote);
        for number in 0..100 {
            call(remote, Operation::ListAppend, list, (number,)).unwrap();
        }
        assert_eq!(
            call(remote, Operation::ListLen, list, NOTHING).unwrap().1,
            Value::from(100)
        );
        assert_eq!(
            call(remote, Operation::ListGet, list, (42,)).unwrap().1,
            Value::from(42)
        );
        assert!(matches!(
            call(remote, Operation::ListGet, list, (100,)),
            Err(Error::IndexOutOfRange(_))
        ));
    });
}
