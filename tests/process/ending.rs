//! How children end, and what their parents learn of it.

use std::io;
use std::panic::resume_unwind;
use std::process::{abort, exit};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use byproxy::Process;
use rustix::process::{Signal, getpid, kill_process};

use crate::support::{Desk, stay};
use crate::watchdog::Watchdog;

#[test]
fn a_function_that_returns_is_a_success() {
    let _watchdog = Watchdog::new();
    let child = Process::spawn(|| (), ()).unwrap();
    child.join().unwrap();
    child.join().unwrap();
    assert_eq!(child.exit_code(), Some(0));
    assert!(!child.is_alive());
    assert!(child.join_timeout(Duration::ZERO).unwrap());
}

#[test]
fn an_exit_code_comes_home() {
    let _watchdog = Watchdog::new();
    let returned = Process::spawn(|| 7_u8, ()).unwrap();
    assert_eq!(returned.join().unwrap_err().exit_code(), Some(7));
    let exited = Process::builder().name("leaver").spawn(|| exit(42), ()).joined_badly();
    assert_eq!(exited.exit_code(), Some(42));
    assert_eq!(
        exited.to_string(),
        format!("process leaver (pid {}) ended with exit code 42", exited.pid())
    );
}

#[test]
fn an_error_comes_home_with_its_message() {
    let _watchdog = Watchdog::new();
    let fails = |file: String| -> io::Result<()> { std::fs::read(file).map(drop) };
    let failed = Process::builder()
        .name("reader")
        .spawn(fails, ("/nowhere",))
        .joined_badly();
    assert_eq!((failed.exit_code(), failed.name()), (Some(1), "reader"));
    assert_eq!(failed.message(), Some("No such file or directory (os error 2)"));
    let message = format!(
        "process reader (pid {}) failed: No such file or directory (os error 2)",
        failed.pid()
    );
    assert_eq!((failed.to_string(), format!("{failed:?}")), (message.clone(), message));

    let nested = Process::spawn(|| -> Result<Result<u8, String>, String> { Ok(Ok(3)) }, ()).unwrap();
    assert_eq!(nested.join().unwrap_err().exit_code(), Some(3));
}

#[test]
fn a_panic_comes_home_with_its_message_and_place() {
    let _watchdog = Watchdog::new();
    let failed = Process::spawn(|seat: u8| assert_eq!(seat, 9, "seat {seat} is taken"), (4,)).joined_badly();
    assert_eq!(failed.exit_code(), Some(101));
    let message = failed.message().unwrap();
    assert!(
        message.contains("seat 4 is taken") && message.contains("tests/process/ending.rs"),
        "{message}"
    );
    assert!(failed.to_string().contains("panicked: "), "{failed}");
}

#[test]
fn a_panic_with_a_huge_message_ends_the_child_all_the_same() {
    let _watchdog = Watchdog::new();
    // Resumed, not begun here: that prints nothing.
    let failed = Process::spawn(|| resume_unwind(Box::new("ü".repeat(1 << 20))), ()).joined_badly();
    assert_eq!(failed.exit_code(), Some(101));
    let message = failed.message().unwrap();
    assert!(message.starts_with("üü") && message.len() <= 4096);
}

#[test]
fn another_threads_panic_is_not_the_functions() {
    let _watchdog = Watchdog::new();
    let run = || -> u8 {
        assert!(thread::spawn(|| panic!("only a thread")).join().is_err());
        5
    };
    let failed = Process::spawn(run, ()).joined_badly();
    assert_eq!((failed.exit_code(), failed.message()), (Some(5), None));
}

#[test]
fn a_signal_is_a_negative_exit_code() {
    let _watchdog = Watchdog::new();
    let killed = Process::spawn(|| kill_process(getpid(), Signal::KILL).unwrap(), ()).joined_badly();
    assert_eq!(killed.exit_code(), Some(-9));
    assert!(
        killed.to_string().ends_with("was ended by SIGKILL (signal 9)"),
        "{killed}"
    );
    let aborted = Process::spawn(|| abort(), ()).joined_badly();
    assert_eq!(aborted.exit_code(), Some(-6));
}

#[test]
fn a_running_child_is_alive_until_it_is_ended() {
    let _watchdog = Watchdog::new();
    let desk = Desk::new();
    for (end, code) in [
        (Process::terminate as fn(&Process) -> byproxy::Result<()>, -15),
        (Process::interrupt, -2),
        (Process::kill, -9),
    ] {
        let child = Process::spawn(stay, (desk.path(),)).unwrap();
        let _visitor = desk.visitor();
        assert!(child.is_alive());
        assert_eq!(child.exit_code(), None);
        let begin = Instant::now();
        assert!(!child.join_timeout(Duration::from_millis(20)).unwrap());
        assert!(begin.elapsed() >= Duration::from_millis(20));
        assert!(!child.join_timeout(Duration::ZERO).unwrap());

        end(&child).unwrap();
        assert_eq!(child.join().unwrap_err().exit_code(), Some(code));
        assert!(!child.is_alive());
        // Ending it again touches nobody.
        end(&child).unwrap();
        assert_eq!(child.join_timeout(Duration::MAX).unwrap_err().exit_code(), Some(code));
    }
}

#[test]
fn a_running_child_can_not_be_closed() {
    let _watchdog = Watchdog::new();
    let desk = Desk::new();
    let child = Process::builder().name("clerk").spawn(stay, (desk.path(),)).unwrap();
    let (other, pid, visitor) = (child.clone(), child.pid(), desk.visitor());
    let refused = child.close().unwrap_err();
    assert_eq!(refused.process(), &other);
    let message = refused.to_string();
    assert!(
        message.starts_with(&format!("process clerk (pid {pid}) still runs: ")),
        "{message}"
    );
    assert!(matches!(byproxy::Error::from(refused.clone()), byproxy::Error::Misuse(text) if text == message));

    let child = refused.into_process();
    assert!(child.is_alive());
    drop(visitor);
    child.join().unwrap();
    child.close().unwrap();
    assert_eq!(other.exit_code(), Some(0), "other handles stay good");
    other.close().unwrap();
}

/// How it ended is for `join` to say.
#[test]
fn a_child_that_failed_can_be_closed() {
    let _watchdog = Watchdog::new();
    let child = Process::spawn(|| 3_u8, ()).unwrap();
    while child.is_alive() {
        thread::yield_now();
    }
    child.close().unwrap();
}

#[test]
fn a_child_without_time_to_start_is_refused() {
    let refused = Process::builder()
        .start_timeout(Duration::ZERO)
        .spawn(|| (), ())
        .unwrap_err();
    assert!(matches!(refused, byproxy::process::SpawnError::NoTime));
    assert!(refused.to_string().contains("leave it out"), "{refused}");
}

#[test]
fn many_threads_may_wait_for_one_child() {
    let _watchdog = Watchdog::new();
    let desk = Desk::new();
    let child = Process::spawn(stay, (desk.path(),)).unwrap();
    let visitor = desk.visitor();
    let all_here = Barrier::new(9);
    thread::scope(|scope| {
        for number in 0..8 {
            let (child, all_here) = (child.clone(), &all_here);
            scope.spawn(move || {
                all_here.wait();
                if number % 2 == 0 {
                    child.join().unwrap();
                } else {
                    while !child.join_timeout(Duration::from_millis(1)).unwrap() {}
                }
                assert_eq!(child.exit_code(), Some(0));
            });
        }
        all_here.wait();
        drop(visitor);
    });
}

#[test]
fn the_descriptor_of_a_child_tells_its_end() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let _watchdog = Watchdog::new();
    let desk = Desk::new();
    let child = Process::spawn(stay, (desk.path(),)).unwrap();
    let visitor = desk.visitor();
    assert_eq!(
        poll(&mut [PollFd::new(&child, PollFlags::IN)], Some(&Timespec::default())).unwrap(),
        0
    );
    drop(visitor);
    assert_eq!(poll(&mut [PollFd::new(&child, PollFlags::IN)], None).unwrap(), 1);
    child.join().unwrap();
}

/// Most tests here look at the error of a child that was started well.
trait JoinedBadly {
    fn joined_badly(self) -> byproxy::process::ChildFailed;
}

impl JoinedBadly for Result<Process, byproxy::process::SpawnError> {
    fn joined_badly(self) -> byproxy::process::ChildFailed {
        self.unwrap().join().unwrap_err()
    }
}
