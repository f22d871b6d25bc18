//! A server in a process of its own, run by the command, which a test may stop, continue and kill.
#![allow(dead_code, reason = "each test program uses the part it needs")]

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// A running `byproxy serve`. Dropping it kills the server.
pub(crate) struct Served {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
    directory: Option<tempfile::TempDir>,
}

/// The command as it was built for these tests.
pub(crate) fn byproxy() -> Command {
    Command::new(env!("CARGO_BIN_EXE_byproxy"))
}

impl Served {
    /// Starts a server in a new folder, and returns once it accepts.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut served = Self::at(&directory.path().join("test.sock"));
        served.directory = Some(directory);
        served
    }

    /// Starts a server at this path, and returns once it accepts.
    pub(crate) fn at(path: &Path) -> Self {
        Self::run(
            byproxy()
                .arg("serve")
                .arg("--listen")
                .arg(format!("unix:{}", path.display())),
        )
    }

    /// Runs a command that is a server, and returns once it says that it listens.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let Some(address) = line
            .strip_prefix("listening on ")
            .and_then(|rest| rest.strip_suffix('\n'))
        else {
            panic!("the server said {line:?} and ended with {:?}", child.wait());
        };
        let address = address.to_owned();
        Self {
            child,
            output,
            address,
            directory: None,
        }
    }

    /// Removes a folder once it has ended.
    pub(crate) fn with(mut self, directory: tempfile::TempDir) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Where it listens, as `Manager::connect` takes it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The socket's path.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(
            self.address
                .strip_prefix("unix:")
                .expect("these servers listen on unix sockets"),
        )
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Freezes it, and returns once it is frozen.
    pub(crate) fn freeze(&self) {
        super::processes::freeze(self.pid());
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it and returns once nothing is left of it.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.child.wait().unwrap()
    }

    /// Waits for its end, and returns how it ended and what else it printed.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
