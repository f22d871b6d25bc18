//! A client and a backlog that is full.

use super::*;
use rustix::net::{accept, bind, connect, listen, socket_with};
use rustix::thread::gettid;
use std::path::PathBuf;
use std::thread;

/// A socket that is listened on, and those that wait for a connection until there is no place for another.
struct Full {
    listener: OwnedFd,
    path: PathBuf,
    _waiting: Vec<OwnedFd>,
    _directory: tempfile::TempDir,
}

impl Full {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let address = SocketAddrUnix::new(&path).unwrap();
        let new = || {
            socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
                None,
            )
            .unwrap()
        };
        let listener = new();
        bind(&listener, &address).unwrap();
        listen(&listener, 3).unwrap();
        let waiting: Vec<_> = std::iter::repeat_with(new)
            .take_while(|socket| connect(socket, &address).is_ok())
            .collect();
        assert!(!waiting.is_empty());
        Self {
            listener,
            path,
            _waiting: waiting,
            _directory: directory,
        }
    }
}

/// Lets somebody connect, and waits until that thread sleeps. Returns how it ended, and how often it slept.
fn connect_on<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    path: &'scope Path,
    wait: Duration,
) -> thread::ScopedJoinHandle<'scope, (io::Result<Socket>, u64)> {
    let (say, said) = std::sync::mpsc::channel();
    let connecting = scope.spawn(move || {
        say.send(gettid()).unwrap();
        let before = sleeps();
        let connected = Socket::connect(path, wait);
        (connected, sleeps() - before)
    });
    let stat = format!("/proc/self/task/{}/stat", said.recv().unwrap().as_raw_nonzero());
    let sleeps = |stat: String| stat.contains(") S ");
    while !connecting.is_finished() && !std::fs::read_to_string(&stat).is_ok_and(sleeps) {
        thread::yield_now();
    }
    connecting
}

/// How often this thread has gone to sleep.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .unwrap();
    count.trim().parse().unwrap()
}

/// Cause: it asked again every two milliseconds. Symptom: hundreds of threads that all did kept the server from its processors, which then
/// answered no handshake for ten seconds.
#[test]
fn who_finds_the_backlog_full_sleeps_until_there_is_a_place() {
    let full = Full::new();
    thread::scope(|scope| {
        let connecting = connect_on(scope, &full.path, Duration::from_mins(1));
        thread::sleep(Duration::from_millis(400));
        assert!(!connecting.is_finished());
        accept(&full.listener).unwrap();
        let (connected, sleeps) = connecting.join().unwrap();
        connected.unwrap();
        assert!(sleeps < 6, "it slept {sleeps} times");
    });
}

#[test]
fn it_waits_as_long_as_it_is_told() {
    let full = Full::new();
    for wait in [Duration::ZERO, Duration::from_millis(50)] {
        let start = Instant::now();
        let error = Socket::connect(&full.path, wait).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        let waited = start.elapsed();
        assert!(waited >= wait && waited < wait + Duration::from_secs(5), "{waited:?}");
    }
}

#[test]
fn it_hears_of_the_end_of_who_listens() {
    let full = Full::new();
    let path = full.path.clone();
    thread::scope(|scope| {
        let connecting = connect_on(scope, &path, Duration::from_mins(1));
        drop(full.listener);
        let (connected, _) = connecting.join().unwrap();
        assert_eq!(connected.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn it_waits_for_ever_if_it_is_told_so() {
    let full = Full::new();
    thread::scope(|scope| {
        let connecting = connect_on(scope, &full.path, Duration::MAX);
        accept(&full.listener).unwrap();
        connecting.join().unwrap().0.unwrap();
    });
}
