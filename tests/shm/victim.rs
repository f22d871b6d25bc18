//! A forked copy of this process that does one thing, instruction by instruction, and is killed between two of them.
//!
//! The copy inherits the mappings, as a participant of its own. It stops before and after what it does by sending itself a signal; between
//! the two stops its parent makes it step. Written for one architecture: breakpoints and registers are not the same on others.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use std::{fs, io};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::support::until;

/// How many instructions a thing may take at most.
const STEPS_MAX: usize = 1_000_000;
/// The instruction that stops whoever comes to it.
const BREAKPOINT: u64 = 0xcc;
/// The instruction that enters the system.
const SYSTEM_CALL: u64 = 0x050f;

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
    /// Killed, or collected after it ended by itself: its id may be another's by now.
    ended: Cell<bool>,
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
        // SAFETY: the child runs only what the tests give it, and never returns from here. It needs no lock that another thread of theirs can hold, for
        // tests of children that need one run alone.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork");
        if pid == 0 {
            let all = catch_unwind(AssertUnwindSafe(|| {
                let prepared = prepare();
                request_tracing();
                stop();
                act(prepared);
                stop();
            }));
            // SAFETY: ends the child without running what its parent registered for its own end.
            unsafe { libc::_exit(i32::from(all.is_err())) };
        }
        let victim = Self {
            pid: Pid::from_raw(pid).expect("a process id"),
            ended: Cell::new(false),
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

    /// The places of all its instructions from here to its end, or until `is_end`.
    pub(crate) fn way(&self, is_end: impl Fn(&Self) -> bool) -> Vec<u64> {
        let mut places = vec![self.registers().rip];
        while !is_end(self) && self.step(1) == Came::Between {
            places.push(self.registers().rip);
            assert!(places.len() < STEPS_MAX, "it has no end");
        }
        places
    }

    /// Lets it run until it is about to do the instruction at a place for the so-manieth time; `false` if it came to its end before.
    pub(crate) fn run_to(&self, place: u64, visits: usize) -> bool {
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

    /// Whether its next instruction is this system call.
    pub(crate) fn is_at_call(&self, call: libc::c_long) -> bool {
        let registers = self.registers();
        let code = request(libc::PTRACE_PEEKTEXT, self.pid, registers.rip, 0);
        code & 0xffff == SYSTEM_CALL && registers.rax == call.cast_unsigned()
    }

    fn registers(&self) -> libc::user_regs_struct {
        registers(self.pid)
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

    /// Lets it run to its end, and counts its system calls.
    pub(crate) fn system_calls(&self) -> BTreeMap<i64, u64> {
        let mut counted = BTreeMap::new();
        loop {
            request(libc::PTRACE_SYSCALL, self.pid, 0, 0);
            if self.wait() == Signal::STOP.as_raw() {
                return counted;
            }
            count_entry(&self.registers(), &mut counted);
        }
    }

    /// Lets it run to its end, or to where it stops itself.
    pub(crate) fn run(&self) {
        request(libc::PTRACE_CONT, self.pid, 0, 0);
        assert_eq!(self.wait(), Signal::STOP.as_raw());
    }

    /// Lets it run, and returns at once.
    pub(crate) fn go_on(&self) {
        request(libc::PTRACE_CONT, self.pid, 0, 0);
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
        self.ended.set(true);
        now
    }

    /// What the system tells about it.
    fn told(&self, what: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{what}", self.pid)).expect("it is alive")
    }

    fn wait(&self) -> i32 {
        let status = self.wait_for_change().expect("our child");
        self.ended.set(!status.stopped());
        assert!(status.stopped(), "the victim ended: {status:?}");
        status.stopping_signal().expect("it is stopped")
    }

    /// Nothing once it has been collected.
    fn wait_for_change(&self) -> Option<WaitStatus> {
        let (_, status) = waitpid(Some(self.pid), WaitOptions::UNTRACED).ok()??;
        Some(status)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if !self.ended.get() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
        // One that ended by itself has been collected.
        while self.wait_for_change().is_some_and(WaitStatus::stopped) {}
    }
}

/// The threads of another process, watched by the thread that has seized them for as long as it lives.
pub(crate) struct Threads(Vec<Pid>);

impl Threads {
    /// Returns once each of them stops at its system calls.
    pub(crate) fn seize(process: Pid) -> Self {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it is alive");
        let threads = tasks.map(|task| {
            let name = task.expect("a thread").file_name();
            Pid::from_raw(name.to_str().and_then(|id| id.parse().ok()).expect("a number")).expect("a thread's id")
        });
        let threads = Self(threads.collect());
        for thread in &threads.0 {
            request(libc::PTRACE_SEIZE, *thread, 0, 0);
            request(libc::PTRACE_INTERRUPT, *thread, 0, 0);
            while !has_stopped(*thread) {}
            request(libc::PTRACE_SYSCALL, *thread, 0, 0);
        }
        threads
    }

    /// Counts their system calls until something is so.
    pub(crate) fn system_calls(&self, until: impl Fn() -> bool) -> BTreeMap<i64, u64> {
        let mut counted = BTreeMap::new();
        while !until() {
            for thread in &self.0 {
                if has_stopped(*thread) {
                    count_entry(&registers(*thread), &mut counted);
                    request(libc::PTRACE_SYSCALL, *thread, 0, 0);
                }
            }
            std::thread::yield_now();
        }
        counted
    }
}

/// Whether a thread that was seized has stopped since it last went on.
fn has_stopped(thread: Pid) -> bool {
    let mut status = 0;
    // SAFETY: the status is a live integer.
    let found = unsafe {
        libc::waitpid(
            thread.as_raw_nonzero().get(),
            &raw mut status,
            libc::__WALL | libc::WNOHANG,
        )
    };
    assert!(found >= 0, "waitpid: {}", io::Error::last_os_error());
    assert!(found == 0 || libc::WIFSTOPPED(status), "it ended: {status}");
    found > 0
}

/// What a wait for events is counted as that does not wait.
pub(crate) const LOOK: i64 = -1;

/// Counts the system call that a process stands before; it also stops behind each.
fn count_entry(registers: &libc::user_regs_struct, counted: &mut BTreeMap<i64, u64>) {
    if registers.rax.cast_signed() == -i64::from(libc::ENOSYS) {
        let call = registers.orig_rax.cast_signed();
        let timeout = registers.r10;
        let looks = call == libc::SYS_epoll_pwait && timeout == 0;
        *counted.entry(if looks { LOOK } else { call }).or_default() += 1;
    }
}

fn registers(pid: Pid) -> libc::user_regs_struct {
    let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
    let place = registers.as_mut_ptr().expose_provenance() as u64;
    request(libc::PTRACE_GETREGS, pid, 0, place);
    // SAFETY: zeroed, then filled by the kernel; every pattern of bytes is such a struct.
    unsafe { registers.assume_init() }
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

/// Stops this process, until whoever traces it has it go on.
pub(crate) fn stop() {
    kill_process(rustix::process::getpid(), Signal::STOP).expect("a signal to oneself");
}
