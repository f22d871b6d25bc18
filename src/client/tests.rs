//! A client against a live server, over a socket and within the process.

mod forks;
mod odd_rings;
mod odd_servers;
mod turns;

use std::thread::JoinHandle;

use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::Wait;
use byproxy_proto::value::{Kind, Raw, Value, to_vec};
use serde::Serialize;

use super::*;
use crate::backend::Arguments;
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
        let server = Server::builder()
            .listen(address)
            .limits(limits)
            .workers(3)
            .build()
            .unwrap();
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

fn encoded(arguments: &impl Serialize) -> Arguments {
    Arguments::of(&to_vec(arguments, &Limits::default()).unwrap())
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
    let mut arguments = encoded(&arguments);
    let mut answer = None;
    remote.call(
        Request {
            operation,
            object,
            arguments: &mut arguments,
            wait,
        },
        &mut Frames::default(),
        &mut |seen| {
            let value = Raw::check(seen.result, &Limits::default()).unwrap().to_value().unwrap();
            answer = Some((seen.handed.to_vec(), value));
            true
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

#[test]
fn a_visitor_that_unwinds_gives_the_item_back_and_leaves_the_lane_usable() {
    on_both(|remote| {
        let queue = new_queue(remote);
        call_waiting(remote, Operation::QueuePut, queue, ("item", FOREVER), Wait::FOREVER).unwrap();
        let mut arguments = encoded(&(FOREVER,));
        let get = Request {
            operation: Operation::QueueGet,
            object: queue,
            arguments: &mut arguments,
            wait: Wait::FOREVER,
        };
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            remote.call(get, &mut Frames::default(), &mut |_| {
                std::panic::resume_unwind(Box::new("unreadable"))
            })
        }));
        assert!(unwound.is_err());
        // It goes back on the lane it came on, and the next call may overtake it on another.
        until("the item is back", || {
            call(remote, Operation::QueueQsize, queue, NOTHING).unwrap().1 == Value::from(1)
        });
        let again = call_waiting(remote, Operation::QueueGet, queue, (FOREVER,), Wait::FOREVER).unwrap();
        assert_eq!(again.1, Value::from("item"));
        assert_eq!(
            call(remote, Operation::QueueQsize, queue, NOTHING).unwrap().1,
            Value::from(0)
        );
    });
}

#[test]
fn an_item_that_nobody_could_read_goes_back() {
    on_both(|remote| {
        let queue = new_queue(remote);
        call_waiting(remote, Operation::QueuePut, queue, ("item", FOREVER), Wait::FOREVER).unwrap();
        let mut arguments = encoded(&(FOREVER,));
        for (reads, left) in [(false, 1), (true, 0)] {
            let get = Request {
                operation: Operation::QueueGet,
                object: queue,
                arguments: &mut arguments,
                wait: Wait::FOREVER,
            };
            remote.call(get, &mut Frames::default(), &mut |_| reads).unwrap();
            let size = call(remote, Operation::QueueQsize, queue, NOTHING).unwrap().1;
            assert_eq!(size, Value::from(left));
        }
    });
}

#[test]
fn a_visitor_may_make_calls_and_give_back_references() {
    on_both(|remote| {
        let list = new_list(remote);
        let other = new_list(remote);
        let mut arguments = encoded(&NOTHING);
        let length = Request {
            operation: Operation::ListLen,
            object: list,
            arguments: &mut arguments,
            wait: Wait::TRY,
        };
        remote
            .call(length, &mut Frames::default(), &mut |_| {
                call(remote, Operation::ListAppend, list, (1,)).unwrap();
                remote.release(other);
                true
            })
            .unwrap();
        assert_eq!(
            call(remote, Operation::ListLen, list, NOTHING).unwrap().1,
            Value::from(1)
        );
        assert!(matches!(
            call(remote, Operation::ListLen, other, NOTHING),
            Err(Error::NoSuchObject(_))
        ));
    });
}

#[test]
fn references_are_given_back_before_what_the_thread_calls_next() {
    on_both(|remote| {
        for _ in 0..100 {
            let list = new_list(remote);
            remote.release(list);
            assert!(matches!(
                call(remote, Operation::ListLen, list, NOTHING),
                Err(Error::NoSuchObject(_))
            ));
        }
    });
}

#[test]
fn a_flood_of_references_reaches_the_server_whole() {
    on_both(|remote| {
        let lists: Vec<_> = (0..20_000).map(|_| new_list(remote)).collect();
        std::thread::scope(|scope| {
            for part in lists.chunks(5_000) {
                scope.spawn(move || part.iter().for_each(|&list| remote.release(list)));
            }
        });
        let objects = || match call(remote, Operation::Stats, 0, NOTHING).unwrap().1 {
            Value::Dict(stats) => stats
                .iter()
                .find(|(key, _)| *key == Value::from("objects"))
                .map(|(_, count)| count.clone()),
            other => panic!("{other:?}"),
        };
        until("every reference is back", || objects() == Some(Value::from(0)));
    });
}

#[test]
fn what_is_over_the_limit_is_not_sent() {
    let served = Served::with(server::Limits {
        frame_bytes_max: 1000,
        ..server::Limits::default()
    });
    let remote = served.connect();
    let list = new_list(&remote);
    let error = call(&remote, Operation::ListAppend, list, ("x".repeat(1000),)).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
    assert_eq!(
        call(&remote, Operation::ListLen, list, NOTHING).unwrap().1,
        Value::from(0)
    );
}

#[test]
fn many_threads_share_few_lanes_and_get_their_own_answers() {
    on_both(|remote| {
        let list = new_list(remote);
        for number in 0..64 {
            call(remote, Operation::ListAppend, list, (number,)).unwrap();
        }
        std::thread::scope(|scope| {
            for number in 0..64 {
                scope.spawn(move || {
                    for _ in 0..50 {
                        assert_eq!(
                            call(remote, Operation::ListGet, list, (number,)).unwrap().1,
                            Value::from(number)
                        );
                    }
                });
            }
        });
    });
}

#[test]
fn threads_make_do_with_the_lanes_they_can_get() {
    // The control connection and two lanes: a third is refused.
    let served = Served::with(server::Limits {
        lanes_max: 2,
        ..server::Limits::default()
    });
    let options = Options {
        call_lanes: 8,
        ..Options::default()
    };
    let remote = Remote::connect(served.handle.address(), options).unwrap();
    let list = new_list(&remote);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for number in 0..100 {
                    call(&remote, Operation::ListAppend, list, (number,)).unwrap();
                }
            });
        }
    });
    assert_eq!(
        call(&remote, Operation::ListLen, list, NOTHING).unwrap().1,
        Value::from(1600)
    );
}

/// One sleeper is woken at a time. Were that forgotten after the first, or a sleeper woken for a lane that others have taken by then, this
/// would never end.
#[test]
fn many_threads_take_turns_on_few_lanes() {
    let served = Served::start();
    for call_lanes_max in [1, 2, 5] {
        let options = Options {
            call_lanes_max,
            ..Options::default()
        };
        let remote = Remote::connect(served.handle.address(), options).unwrap();
        let list = new_list(&remote);
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    for number in 0..50 {
                        call(&remote, Operation::ListAppend, list, (number,)).unwrap();
                    }
                });
            }
        });
        assert_eq!(
            call(&remote, Operation::ListLen, list, NOTHING).unwrap().1,
            Value::from(2000)
        );
    }
}

/// Options with which a client that can't get in would try for as long as a test may take.
fn patient() -> Options {
    Options {
        connect_wait: Duration::from_hours(1),
        call_lanes: 8,
        ..Options::default()
    }
}

/// Has sixteen threads make calls at once, until something holds.
fn crowd_until(remote: &Remote, list: u64, what: &str, holds: impl Fn() -> bool) {
    let done = AtomicBool::new(false);
    let made = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    call(remote, Operation::ListLen, list, NOTHING).unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let start = std::time::Instant::now();
        while !holds() && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(2));
        }
        done.store(true, Ordering::Relaxed);
        // Threads that still try to get in would keep the test from ending, and from saying why.
        if !holds() {
            remote.end("the test has failed");
        }
        assert!(holds(), "stuck after {made:?} calls: {what}");
    });
}

#[test]
fn a_full_server_holds_up_no_call_that_can_share_a_lane() {
    let served = Served::with(server::Limits {
        connections_max: 2,
        ..server::Limits::default()
    });
    let remote = Remote::connect(served.handle.address(), patient()).unwrap();
    let list = new_list(&remote);
    std::thread::scope(|scope| {
        let (done, all) = std::sync::mpsc::channel();
        for _ in 0..16 {
            let (remote, done) = (&remote, done.clone());
            scope.spawn(move || {
                for number in 0..200 {
                    if call(remote, Operation::ListAppend, list, (number,)).is_err() {
                        return;
                    }
                }
                done.send(()).unwrap();
            });
        }
        drop(done);
        let finished = (0..16)
            .take_while(|_| all.recv_timeout(Duration::from_secs(20)).is_ok())
            .count();
        if finished < 16 {
            remote.end("the test has failed");
        }
        assert_eq!(finished, 16, "the others still ask a full server for lanes");
    });
    assert_eq!(
        call(&remote, Operation::ListLen, list, NOTHING).unwrap().1,
        Value::from(3200)
    );
}

#[test]
fn lanes_are_asked_for_again_after_a_refusal() {
    let served = Served::with(server::Limits {
        connections_max: 4,
        ..server::Limits::default()
    });
    let remote = Remote::connect(served.handle.address(), patient()).unwrap();
    let list = new_list(&remote);
    let other = served.connect();
    let refused = || served.handle.stats().refused > 0;
    crowd_until(&remote, list, "a lane is refused", refused);
    drop(other);
    until("the other one has left", || served.handle.stats().connections == 2);
    let more = || served.handle.stats().connections > 2;
    crowd_until(&remote, list, "there are more lanes again", more);
}

#[test]
fn a_full_server_refuses_a_wait_that_is_over() {
    let served = Served::with(server::Limits {
        connections_max: 2,
        ..server::Limits::default()
    });
    let remote = Remote::connect(served.handle.address(), patient()).unwrap();
    let queue = new_queue(&remote);
    for wait in [Wait::TRY, Wait::at_most(Duration::from_millis(50))] {
        let (done, outcome) = std::sync::mpsc::channel();
        let remote = Arc::clone(&remote);
        std::thread::spawn(move || done.send(call_waiting(&remote, Operation::QueueGet, queue, (wait,), wait)));
        let outcome = outcome.recv_timeout(Duration::from_secs(20));
        let error = outcome.expect("it still asks the server").unwrap_err();
        assert!(
            matches!(&error, Error::Fault(fault) if fault.code == FaultCode::TooMany),
            "{error}"
        );
    }
}

#[test]
fn calls_that_wait_hold_up_nobody() {
    on_both(|remote| {
        let queue = new_queue(remote);
        let waiting = 100;
        std::thread::scope(|scope| {
            for _ in 0..waiting {
                scope.spawn(|| call_waiting(remote, Operation::QueueGet, queue, (FOREVER,), Wait::FOREVER).unwrap());
            }
            for number in 0..waiting {
                call_waiting(remote, Operation::QueuePut, queue, (number, FOREVER), Wait::FOREVER).unwrap();
            }
        });
        assert_eq!(
            call(remote, Operation::QueueQsize, queue, NOTHING).unwrap().1,
            Value::from(0)
        );
    });
}

#[test]
fn more_waiting_calls_than_allowed_are_refused() {
    let served = Served::start();
    let options = Options {
        wait_lanes_max: 2,
        ..Options::default()
    };
    let remote = Remote::connect(served.handle.address(), options).unwrap();
    let queue = new_queue(&remote);
    let get = |remote: &Remote| call_waiting(remote, Operation::QueueGet, queue, (FOREVER,), Wait::FOREVER);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..2).map(|_| scope.spawn(|| get(&remote).is_ok())).collect();
        until("both wait", || served.handle.stats().connections == 4);
        let error = get(&remote).unwrap_err();
        assert!(error.to_string().contains("2 calls that wait"), "{error}");
        for _ in &waiting {
            call(&remote, Operation::QueuePut, queue, (1, Some(0))).unwrap();
        }
    });
}

#[test]
fn the_end_of_the_server_wakes_every_waiting_call() {
    let mut served = Served::start();
    let remote = served.connect();
    let queue = new_queue(&remote);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| call_waiting(&remote, Operation::QueueGet, queue, (FOREVER,), Wait::FOREVER)))
            .collect();
        until("all wait", || served.handle.stats().connections == 12);
        std::thread::sleep(Duration::from_millis(20));
        served.stop();
        for call in waiting {
            let error = call.join().unwrap().unwrap_err();
            assert!(matches!(error, Error::Gone(_)), "{error}");
        }
    });
    assert!(matches!(
        call(&remote, Operation::Ping, 0, NOTHING),
        Err(Error::Gone(_) | Error::OutcomeUnknown { .. })
    ));
    assert!(!remote.is_open());
    assert!(matches!(
        call(&remote, Operation::Ping, 0, NOTHING),
        Err(Error::Gone(_))
    ));
}

#[test]
fn a_closed_session_answers_gone_and_wakes_who_waits() {
    on_both(|remote| {
        let queue = new_queue(remote);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| call_waiting(remote, Operation::QueueGet, queue, (FOREVER,), Wait::FOREVER));
            std::thread::sleep(Duration::from_millis(20));
            remote.close();
            remote.close();
            // The get was on its way, but whatever it was given was not confirmed.
            assert!(matches!(waiting.join().unwrap(), Err(Error::Gone(_))));
        });
        assert!(matches!(call(remote, Operation::Ping, 0, NOTHING), Err(Error::Gone(_))));
        remote.release(queue);
    });
}

#[test]
fn a_session_allows_what_is_documented() {
    let options = Options::default();
    assert_eq!((options.call_lanes_max, options.wait_lanes_max), (64, 1024));
    assert_eq!(options.connect_wait, Duration::from_secs(10));
    assert_eq!(
        options.call_timeout, None,
        "a server may take its time unless somebody says otherwise"
    );
    let lanes_max = server::Limits::default().lanes_max;
    assert_eq!(
        lanes_max,
        options.call_lanes_max + options.wait_lanes_max,
        "both sides allow the same"
    );
}

#[test]
fn nobody_at_the_address_is_an_error_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::unix(directory.path().join("nobody")).unwrap();
    let error = Remote::connect(&address, Options::default()).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(error.to_string().contains("byproxy serve"), "{error}");
}

fn new_queue(remote: &Remote) -> u64 {
    let (handed, _) = call(
        remote,
        Operation::Create,
        0,
        (Kind::QUEUE.0, None::<&str>, Some((0u8, 0u64))),
    )
    .unwrap();
    handed[0]
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "stuck: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const FOREVER: Option<u64> = None;
