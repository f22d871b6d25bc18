//! A forked copy of this process that does one thing, instruction by instruction, and is killed between two of them.
//!
//! The copy inherits the mappings, as a participant of its own. It stops before and after what it does by sending itself a signal; between
//! the two stops its parent makes it step. Written for one architecture: breakpoints and registers are not the same on others.

use std::cell::Cell;
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::time::Instant;
use std::{fs, io};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::support::until;

/// How many instructions a thing may take at most.
const STEPS_MAX: usize = 1_000_000;
/// The instruction that stops whoever comes to it.
const BREAKPOINT: u64 = 0xcc;
/// What running into a breakpoint costs, in steps.
const BREAKPOINT_STEPS: usize = 3;
/// How many steps are taken at most instead of running into a breakpoint more often.
const NEARBY: usize = 400;

/// Keeps the thread that steps victims, and them, on one processor: waking up another one takes longer than a step.
pub(crate) fn stay_on_one_processor() {
    let mut allowed = sched_getaffinity(None).expect("a thread of this process");
    let first = (0..CpuSet::MAX_CPU)
        .find(|number| allowed.is_set(*number))
        .expect("a processor");
    allowed.clear();
    allowed.set(first);
    sched_setaffinity(None, &allowed).expect("a processor it had before");
}

/// A stopped process, killed and collected when this is dropped.
pub(crate) struct Victim {
    pid: Pid,
    ended: bool,
}

/// How far a victim came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It is in the middle.
    Between,
    /// It did everything.
    Through,
}

impl Victim {
    /// Forks a process that does `prepare`, and is stopped before it does `act` with what that returned.
    pub(crate) fn new<T>(prepare: impl FnOnce() -> T, act: impl FnOnce(T)) -> Self {
        // SAFETY: the child runs only what the tests give it, in which no other thread's lock is needed, and never returns from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            let prepared = prepare();
            request_tracing();
            stop();
            act(prepared);
            stop();
            // SAFETY: ends the child without running what its parent registered for its own end.
            unsafe { libc::_exit(0) };
        }
        let victim = Self {
            pid: Pid::from_raw(pid).expect("a process id"),
            ended: false,
        };
        assert_eq!(victim.wait(), Signal::STOP.as_raw());
        victim
    }

    /// Lets it do so many instructions.
    pub(crate) fn step(&self, count: usize) -> Came {
        for _ in 0..count {
            request(libc::PTRACE_SINGLESTEP, self.pid, 0, 0);
            if self.wait() == Signal::STOP.as_raw() {
                return Came::Through;
            }
        }
        Came::Between
    }

    /// The places of all its instructions from here to its end.
    fn way(&self) -> Vec<u64> {
        let mut places = vec![self.registers().rip];
        while self.step(1) == Came::Between {
            places.push(self.registers().rip);
            assert!(places.len() < STEPS_MAX, "it has no end");
        }
        places
    }

    /// Lets it run until it is about to do the instruction at a place for the so-manieth time; `false` if it came to its end before.
    fn run_to(&self, place: u64, visits: usize) -> bool {
        let code = request(libc::PTRACE_PEEKTEXT, self.pid, place, 0);
        for visit in 1..=visits {
            if visit > 1 && self.step(1) == Came::Through {
                return false;
            }
            request(libc::PTRACE_POKETEXT, self.pid, place, code & !0xff | BREAKPOINT);
            request(libc::PTRACE_CONT, self.pid, 0, 0);
            if self.wait() != Signal::TRAP.as_raw() {
                return false;
            }
            request(libc::PTRACE_POKETEXT, self.pid, place, code);
            let registers = libc::user_regs_struct {
                rip: place,
                ..self.registers()
            };
            let at = (&raw const registers).expose_provenance() as u64;
            request(libc::PTRACE_SETREGS, self.pid, 0, at);
        }
        true
    }

    fn registers(&self) -> libc::user_regs_struct {
        let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
        let place = registers.as_mut_ptr().expose_provenance() as u64;
        request(libc::PTRACE_GETREGS, self.pid, 0, place);
        // SAFETY: zeroed, then filled by the kernel; every pattern of bytes is such a struct.
        unsafe { registers.assume_init() }
    }

    /// Lets it run until it sleeps on a futex; it stops when it has been woken.
    pub(crate) fn run_to_sleep(&self) {
        self.run_to_sleep_in(libc::SYS_futex);
    }

    /// Lets it run until it sleeps in this system call; it stops when it has been woken.
    pub(crate) fn run_to_sleep_in(&self, call: libc::c_long) {
        let mut entered = false;
        while !entered {
            request(libc::PTRACE_SYSCALL, self.pid, 0, 0);
            assert_eq!(self.wait(), Signal::TRAP.as_raw(), "it did not sleep");
            entered = self.told("syscall").starts_with(&format!("{call} "));
        }
        request(libc::PTRACE_SINGLESTEP, self.pid, 0, 0);
        until(|| self.told("stat").contains(") S ") || self.told("stat").contains(") t "));
    }

    /// Lets it run to its end.
    pub(crate) fn run(&self) {
        request(libc::PTRACE_CONT, self.pid, 0, 0);
        assert_eq!(self.wait(), Signal::STOP.as_raw());
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it has been woken.
    pub(crate) fn wait_for_wake(&self) {
        assert_eq!(self.wait(), Signal::TRAP.as_raw());
    }

    /// Kills it where it is. It is not collected yet.
    pub(crate) fn kill(&mut self) -> Instant {
        let now = Instant::now();
        kill_process(self.pid, Signal::KILL).unwrap();
        self.ended = true;
        now
    }

    /// What the system tells about it.
    fn told(&self, what: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{what}", self.pid)).expect("it is alive")
    }

    fn wait(&self) -> i32 {
        let status = self.wait_for_change();
        assert!(status.stopped(), "the victim ended: {status:?}");
        status.stopping_signal().expect("it is stopped")
    }

    fn wait_for_change(&self) -> WaitStatus {
        waitpid(Some(self.pid), WaitOptions::UNTRACED)
            .expect("our child")
            .expect("waited for")
            .1
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill_process(self.pid, Signal::KILL);
        }
        while self.wait_for_change().stopped() {}
    }
}

/// One request about a stopped process; the two numbers are addresses for some.
fn request(what: libc::c_uint, pid: Pid, address: u64, data: u64) -> u64 {
    Errno::clear();
    // SAFETY: the callers pass the address of registers where the request reads or writes them, which are alive during the call.
    let answer = unsafe { libc::ptrace(what, pid.as_raw_nonzero().get(), address, data) };
    assert!(
        answer != -1 || Errno::is_clear(),
        "ptrace: {}",
        io::Error::last_os_error()
    );
    answer.cast_unsigned()
}

fn request_tracing() {
    // SAFETY: it takes no address.
    let answer = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    assert_eq!(answer, 0, "ptrace: {}", io::Error::last_os_error());
}

/// A word of code is also an answer, so only the error number tells a failure.
struct Errno;

impl Errno {
    fn clear() {
        // SAFETY: the error number of this thread.
        unsafe { *libc::__errno_location() = 0 };
    }

    fn is_clear() -> bool {
        // SAFETY: the error number of this thread.
        unsafe { *libc::__errno_location() == 0 }
    }
}

fn stop() {
    kill_process(rustix::process::getpid(), Signal::STOP).expect("a signal to oneself");
}

/// One victim after the other, each stopped one instruction later than the one before, until all instructions had their turn; with
/// whatever else `prepare` made for it.
pub(crate) fn kill_points<T>(prepare: impl Fn() -> (Victim, T)) -> impl Iterator<Item = (Victim, T)> {
    let way = Way::of(&prepare);
    (0..way.len()).filter_map(move |count| way.victim_after(count, &prepare))
}

/// The instructions of what victims do.
///
/// The first victim is stepped through and shows the way. The others run to a place on that way, where a breakpoint waits for them, and are
/// stepped from there.
pub(crate) struct Way {
    places: Vec<u64>,
    /// Which visit of its place each step is.
    visits: Vec<usize>,
    astray: Cell<usize>,
}

impl Way {
    pub(crate) fn of<T>(prepare: impl Fn() -> (Victim, T)) -> Self {
        stay_on_one_processor();
        let (victim, other) = prepare();
        let places = victim.way();
        drop((victim, other));
        let mut so_far = HashMap::<u64, usize>::new();
        let visits = places.iter().map(|place| {
            let visit = so_far.entry(*place).or_default();
            *visit += 1;
            *visit
        });
        Self {
            visits: visits.collect(),
            places,
            astray: Cell::new(0),
        }
    }

    /// How many instructions it has.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// A victim stopped after so many of them; nothing if a clock or another process had it take another way, as few may.
    pub(crate) fn victim_after<T>(&self, count: usize, prepare: impl Fn() -> (Victim, T)) -> Option<(Victim, T)> {
        let nearby = count.saturating_sub(NEARBY)..=count;
        let from = nearby
            .min_by_key(|from| count - from + self.visits[*from] * BREAKPOINT_STEPS)
            .unwrap_or(0);
        let (victim, other) = prepare();
        let came = from == 0 || victim.run_to(self.places[from], self.visits[from]);
        if came && victim.step(count - from) == Came::Between {
            return Some((victim, other));
        }
        self.astray.set(self.astray.get() + 1);
        assert!(
            self.astray.get() * 10 <= self.len(),
            "{} of {count} did not come where they should",
            self.astray.get()
        );
        None
    }
}
