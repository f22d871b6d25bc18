//! Stopping processes for a while, and knowing what state they are in.
#![allow(dead_code, reason = "each test program uses the part it needs")]

use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// Freezes a process, and returns once every thread of it stands still.
pub(crate) fn freeze(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    while !states(pid).iter().all(|state| ['T', 'Z', 'X'].contains(state)) {
        std::thread::yield_now();
    }
}

/// Lets a frozen process go on.
pub(crate) fn thaw(pid: Pid) {
    kill_process(pid, Signal::CONT).unwrap();
}

/// Waits until a process sleeps in all its threads: what it had to send is sent, or does not fit, and it waits for an answer.
pub(crate) fn await_asleep(pid: Pid) {
    await_steady(|| states(pid).iter().all(|state| *state == 'S'));
}

/// Waits until one thread of this process sleeps.
pub(crate) fn await_thread_asleep(thread: Pid) {
    let stat = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero());
    await_steady(|| state(stat.as_ref()) == Some('S'));
}

/// A thread also sleeps for a moment over a lock or a page; one that is found asleep many times in a row waits for the other side.
fn await_steady(mut asleep: impl FnMut() -> bool) {
    let start = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 20 {
        assert!(start.elapsed() < Duration::from_mins(1), "it does not come to rest");
        in_a_row = if asleep() { in_a_row + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The states of a process's threads, as the system abbreviates them.
fn states(pid: Pid) -> Vec<char> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    tasks
        .filter_map(|task| state(&task.unwrap().path().join("stat")))
        .collect()
}

/// One thread's state; nothing if it is gone by now. It follows the program's name, which may contain anything, in parentheses.
fn state(stat: &std::path::Path) -> Option<char> {
    let text = std::fs::read_to_string(stat).ok()?;
    text.rsplit(')').next()?.trim_start().chars().next()
}
