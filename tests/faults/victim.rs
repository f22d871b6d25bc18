//! Processes that are started in order to be killed.

use crate::status::{Doing, Status};
use byproxy::Process;
use rustix::process::Pid;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// A folder for the files of one test's victims.
#[derive(Debug)]
pub(crate) struct Morgue {
    folder: TempDir,
    files: AtomicU64,
}

/// A process that publishes what it does. It is a daemon, so that it ends with the test program, and it is killed when dropped.
#[derive(Debug)]
pub(crate) struct Victim {
    process: Process,
    status: PathBuf,
}

/// Starts a victim: a function whose first argument is the file it publishes its steps in; its other arguments follow.
macro_rules! victim {
    ($morgue:expr, $role:expr $(, $argument:expr)* $(,)?) => {{
        let status: std::path::PathBuf = $morgue.file();
        let process = byproxy::Process::builder().daemon(true).spawn($role, (status.clone() $(, $argument)*)).unwrap();
        crate::victim::Victim::new(process, status)
    }};
}
pub(crate) use victim;

impl Morgue {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            files: AtomicU64::new(0),
        }
    }

    /// A path that nothing stands at yet.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder
            .path()
            .join(self.files.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Victim {
    pub(crate) fn new(process: Process, status: PathBuf) -> Self {
        Self { process, status }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.pid()).unwrap()).unwrap()
    }

    /// What it published last.
    pub(crate) fn status(&self) -> Status {
        Status::read(&self.status)
    }

    /// Waits until it says that it is at this step.
    pub(crate) fn await_doing(&self, doing: Doing) -> Status {
        while self.process.is_alive() {
            if let Some(status) = Status::seen(&self.status, doing) {
                return status;
            }
        }
        panic!(
            "the victim ended by itself, {:?}: {:?}",
            self.status(),
            self.process.join()
        );
    }

    /// Kills it, and says during which step. Nothing of it runs any more when this returns.
    pub(crate) fn kill(&self) -> Status {
        self.strike();
        let ended = self.process.join();
        let status = self.status();
        if status.doing != Doing::Finished {
            let failed = ended.expect_err("a victim does not end by itself");
            assert_eq!(self.process.exit_code(), Some(-9), "killed, and not {failed}");
        }
        status
    }

    /// Sends `SIGKILL` and does not wait.
    pub(crate) fn strike(&self) {
        self.process.kill().unwrap();
    }

    /// Waits until it ends by itself, well.
    pub(crate) fn join(&self) {
        self.process.join().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.join();
    }
}
