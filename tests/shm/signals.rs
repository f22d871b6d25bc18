//! A process that handles signals while it waits for a lock.

use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{io, mem, ptr, thread};

use byproxy::shm::{Lock, RawValue, Value};
use byproxy::{Error, Manager, Process};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, connect, listen, socket_with};

use crate::alone::alone;
use crate::fork::{fork, went_well};
use crate::served::{Served, byproxy};
use crate::support::until;
use crate::watchdog::Watchdog;

/// How often the handler ran in this process.
static HANDLED: OnceLock<RawValue<u32>> = OnceLock::new();

extern "C" fn handle(_: libc::c_int) {
    if let Some(handled) = HANDLED.get() {
        handled.set(handled.get() + 1);
    }
}

/// Has this process handle a signal again and again, as a profiler does.
fn handle_signals_every(pause: Duration) {
    // SAFETY: all fields may be zero: no flags, and no other signal blocked meanwhile.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handle as *const () as libc::sighandler_t;
    // SAFETY: the handler reads and writes atomics, which any thread may do at any moment.
    let set = unsafe { libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut()) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
    let pause = libc::timeval {
        tv_sec: 0,
        tv_usec: pause.as_micros().try_into().unwrap(),
    };
    let timer = libc::itimerval {
        it_interval: pause,
        it_value: pause,
    };
    // SAFETY: the timer is read during the call.
    let started = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) };
    assert_eq!(started, 0, "{}", io::Error::last_os_error());
}

#[test]
fn a_death_is_found_though_signals_cut_every_sleep_short() {
    // Once a sleep that a signal ended counted as a call, after which a holder is not looked at, so that a process with a timer waited for a
    // dead holder for ever. Now it counts as a slice in which nothing happened.
    let _watchdog = Watchdog::new();
    let keep = |lock: Lock, taken: RawValue<bool>| {
        let _guard = lock.acquire();
        taken.set(true);
        thread::sleep(Duration::MAX);
    };
    let (lock, taken) = (Lock::new().unwrap(), RawValue::new(false).unwrap());
    let holder = Process::spawn(keep, (&lock, &taken)).unwrap();
    until(|| taken.get());
    let handled = HANDLED.get_or_init(|| RawValue::new(0).unwrap());
    let waiter = fork(|| {
        handle_signals_every(Duration::from_millis(10));
        lock.acquire_timeout(Duration::from_secs(10))
            .is_some_and(|guard| guard.abandoned())
    });
    // By then its sleeps would be longer than the timer's pauses.
    until(|| handled.get() > 30);
    holder.kill().unwrap();
    let killed = Instant::now();
    assert!(went_well(waiter));
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    holder.join().unwrap_err();
}

#[test]
fn a_call_ends_in_time_though_signals_cut_every_wait_short() {
    alone(
        "signals::a_call_ends_in_time_though_signals_cut_every_wait_short",
        call_frozen_servers,
    );
}

fn call_frozen_servers() {
    // Once each wait that a signal ended began anew, so that a process with a timer waited for a frozen server for ever.
    let _watchdog = Watchdog::new();
    // A call, whichever way it goes; and memory that is shared, whose descriptor is asked for and sent on another connection.
    for (ring_after, shares) in [("0", false), ("1", false), ("0", true)] {
        let server = Served::run(byproxy().args(["serve", "--ring-after", ring_after]));
        let connected = RawValue::new(false).unwrap();
        let client = fork(|| {
            let manager = Manager::builder()
                .call_timeout(Duration::from_secs(1))
                .connect(server.address())
                .unwrap();
            let list = manager.list_from([7]).unwrap();
            (0..3).for_each(|_| assert_eq!(list.get(0).unwrap(), 7));
            let values = manager.list::<Value<i32>>().unwrap();
            handle_signals_every(Duration::from_millis(10));
            connected.set(true);
            // Until it is frozen.
            let ask = || {
                if shares {
                    values.append(manager.value(7)?)
                } else {
                    list.get(0).map(|_| ())
                }
            };
            let gone = std::iter::repeat_with(ask).find_map(Result::err);
            matches!(gone, Some(Error::Gone(_) | Error::OutcomeUnknown { .. }))
        });
        until(|| connected.get());
        server.freeze();
        let frozen = Instant::now();
        assert!(went_well(client));
        assert!(frozen.elapsed() < Duration::from_secs(10), "{:?}", frozen.elapsed());
        server.thaw();
    }
}

#[test]
fn who_connects_waits_as_long_as_it_is_told_though_signals_cut_every_wait_short() {
    alone(
        "signals::who_connects_waits_as_long_as_it_is_told_though_signals_cut_every_wait_short",
        connect_where_there_is_no_place,
    );
}

fn connect_where_there_is_no_place() {
    const PATIENCE: Duration = Duration::from_secs(1);
    const NO_PLACE: &str = "does not accept connections";
    let _watchdog = Watchdog::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let address = SocketAddrUnix::new(&path).unwrap();
    let new = || socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let listener = new();
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    let waiting: Vec<_> = std::iter::repeat_with(new)
        .take_while(|socket| connect(socket, &address).is_ok())
        .collect();
    assert!(!waiting.is_empty());

    let handled = HANDLED.get_or_init(|| RawValue::new(0).unwrap());
    let attempt = || {
        handle_signals_every(Duration::from_millis(10));
        let start = Instant::now();
        let builder = Manager::builder().connect_timeout(PATIENCE);
        let error = builder.connect(format!("unix:{}", path.display())).unwrap_err();
        (error.to_string(), start.elapsed())
    };
    let gave_up = fork(|| {
        let (error, took) = attempt();
        error.contains(NO_PLACE) && took >= PATIENCE && took < 10 * PATIENCE
    });
    assert!(went_well(gave_up));
    // One who is let in after many signals finds nobody who talks to it.
    let seen = handled.get();
    let let_in = fork(|| !attempt().0.contains(NO_PLACE));
    until(|| handled.get() > seen + 10);
    drop(accept(&listener).unwrap());
    assert!(went_well(let_in));
}
