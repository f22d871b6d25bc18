//! Ends the test program when a test hangs: a hang must be a red test that says where it stands, not a build that runs out of time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

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
                        let standing = where_all_stand();
                        let _ = writeln!(std::io::stderr(), "{test} made no progress for {limit:?}\n{standing}");
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

/// What the threads of this process and of all its descendants wait for, a line each: their state, the place in the kernel, the system call.
fn where_all_stand() -> String {
    let mut children = HashMap::<u32, Vec<u32>>::new();
    for process in numbers_in("/proc") {
        if let Some(parent) = parent_of(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut standing = String::new();
    let mut left = vec![std::process::id()];
    while let Some(process) = left.pop() {
        left.extend(children.remove(&process).unwrap_or_default());
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
