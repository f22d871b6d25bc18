//! Ends the test program when a test hangs: a hang must be a red test that says where it stands, not a build that runs out of time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long one test, or one round of a long one, may take. Where bugs are seeded some are stuck on purpose.
pub(crate) const LIMIT: Duration = Duration::from_secs(if cfg!(canary = "any") { 15 } else { 30 });

/// Ends the program unless it is dropped, or told that there is progress, within [`LIMIT`].
pub(crate) struct Watchdog {
    alive: mpsc::Sender<()>,
}

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    /// For the few tests whose work is long by its nature.
    pub(crate) fn with_limit(limit: Duration) -> Self {
        let (alive, heard) = mpsc::channel::<()>();
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        std::thread::spawn(move || {
            loop {
                match heard.recv_timeout(limit) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        let family = family();
                        let standing = where_all_stand(&family);
                        let _ = writeln!(
                            std::io::stderr(),
                            "{standing}{test} made no progress for {limit:?}, and stands as above"
                        );
                        end_children(&family);
                        std::process::abort();
                    }
                }
            }
        });
        Self { alive }
    }

    /// Says that a round is over and the time starts anew.
    #[allow(dead_code, reason = "each test program uses the part it needs")]
    pub(crate) fn progress(&self) {
        let _ = self.alive.send(());
    }
}

/// This process, and all its descendants.
fn family() -> Vec<u32> {
    let mut children = HashMap::<u32, Vec<u32>>::new();
    for process in numbers_in("/proc") {
        if let Some(parent) = parent_of(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut family = vec![std::process::id()];
    let mut next = 0;
    while let Some(process) = family.get(next) {
        family.extend(children.remove(process).unwrap_or_default());
        next += 1;
    }
    family
}

/// What the threads of processes wait for, a line each: their state, the place in the kernel, the system call.
fn where_all_stand(family: &[u32]) -> String {
    let mut standing = String::new();
    for process in family {
        for thread in numbers_in(&format!("/proc/{process}/task")) {
            let told = |what| fs::read_to_string(format!("/proc/{process}/task/{thread}/{what}")).unwrap_or_default();
            let (name, state) = (told("comm"), told("status"));
            let state = state.lines().find_map(|line| line.strip_prefix("State:"));
            let (place, call) = (told("wchan"), told("syscall"));
            let told = [&name, state.unwrap_or_default(), &place, &call]
                .map(str::trim)
                .join(" | ");
            let _ = writeln!(standing, "  {process}/{thread} {told}");
        }
    }
    standing
}

/// Nothing is dropped when the program aborts; whoever reads what it prints would wait for the end of children that have its outputs too.
fn end_children(family: &[u32]) {
    for process in &family[1..] {
        if let Some(pid) = i32::try_from(*process).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The entries of a folder that are numbers.
fn numbers_in(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn parent_of(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
}
