//! Ctrl-C at a terminal: it reaches every process of the program, and the server outlives those that still need it.

use std::env;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use byproxy::{Address, ListProxy, Manager, Process, QueueProxy};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, ioctl_tiocsctty, pidfd_open, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

/// What a terminal sends for Ctrl-C.
const CTRL_C: &[u8] = &[3];

/// A program that puts its affairs in order, and its child, still find everything that the server holds.
pub(crate) fn ctrl_c_leaves_the_server_to_its_clients() {
    if is_inside() {
        let mut interrupts = Signals::new([SIGINT]).unwrap();
        let program = Program::begin();
        let child = Process::spawn(tidy_child, (&program.list, &program.ready)).unwrap();
        program.say_ready();
        interrupts.forever().next();
        child.join().unwrap();
        program.list.append("parent").unwrap();
        return say(&program.list.to_string());
    }
    let run = Run::until_interrupted("ctrl_c_leaves_the_server_to_its_clients");
    let (status, said) = run.end();
    assert!(status.success(), "{status}: {said:?}");
    assert_eq!(said, ["['child', 'parent']"]);
}

/// A program that does not care is killed, and nothing of it is left: no process, no folder, no word on the terminal.
pub(crate) fn ctrl_c_ends_a_program_and_its_server() {
    if is_inside() {
        let program = Program::begin();
        Process::spawn(careless_child, (&program.ready,)).unwrap();
        program.say_ready();
        loop {
            thread::park();
        }
    }
    let run = Run::until_interrupted("ctrl_c_ends_a_program_and_its_server");
    let (status, said) = run.end();
    assert_eq!(status.signal(), Some(SIGINT), "{status}: {said:?}");
    assert!(said.is_empty(), "{said:?}");
}

fn is_inside() -> bool {
    env::args_os().nth(3).is_some_and(|argument| argument == "inside")
}

/// A program with a server, whose child says that it is there.
struct Program {
    manager: Manager,
    list: ListProxy<String>,
    ready: QueueProxy<u32>,
}

impl Program {
    /// Makes the terminal that it was started at its own, and starts a server.
    fn begin() -> Self {
        setsid().unwrap();
        ioctl_tiocsctty(io::stdin()).unwrap();
        let manager = Manager::start().unwrap();
        let (list, ready) = (manager.list().unwrap(), manager.queue(0).unwrap());
        Self { manager, list, ready }
    }

    /// Says where the server and the child are, once both are there.
    fn say_ready(&self) {
        let Some(Address::Unix(path)) = self.manager.address() else {
            panic!("a server that was started has a socket")
        };
        let server = socket_peercred(UnixStream::connect(&path).unwrap()).unwrap().pid;
        let child = self.ready.get().unwrap();
        say(&format!("ready {} {child} {}", server.as_raw_nonzero(), path.display()));
    }
}

/// Goes on for a while after Ctrl-C, and still uses the server then.
fn tidy_child(list: ListProxy<String>, ready: QueueProxy<u32>) {
    let mut interrupts = Signals::new([SIGINT]).unwrap();
    ready.put(std::process::id()).unwrap();
    interrupts.forever().next();
    thread::sleep(Duration::from_millis(200));
    list.append("child").unwrap();
}

fn careless_child(ready: QueueProxy<u32>) {
    ready.put(std::process::id()).unwrap();
    loop {
        thread::park();
    }
}

fn say(line: &str) {
    println!("{line}");
}

/// A program at a terminal of its own.
struct Run {
    program: std::process::Child,
    terminal: File,
    /// The server and the child.
    others: [OwnedFd; 2],
    socket: PathBuf,
}

impl Run {
    /// Starts the inside of a case at a terminal, waits until all is there, and types Ctrl-C.
    fn until_interrupted(case: &str) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let open = || {
            open(
                name.as_c_str(),
                OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .unwrap()
        };
        // As a terminal's shell starts it, also where this one ignores Ctrl-C, as what a script runs in the background does.
        let program = Command::new("env")
            .arg("--default-signal=INT")
            .arg(std::env::current_exe().unwrap())
            .args(["run-case", case, "inside"])
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        let mut terminal = File::from(terminal);
        let first = line(&mut terminal);
        let words: Vec<&str> = first.split(' ').collect();
        let ["ready", server, child, socket] = words[..] else {
            panic!("it did not get ready: {first}")
        };
        let process =
            |pid: &str| pidfd_open(Pid::from_raw(pid.parse().unwrap()).unwrap(), PidfdFlags::empty()).unwrap();
        let (others, socket) = ([process(server), process(child)], PathBuf::from(socket));
        terminal.write_all(CTRL_C).unwrap();
        Self {
            program,
            terminal,
            others,
            socket,
        }
    }

    /// How the program ended, and what else stood on the terminal. Returns once its server and its child have ended as well.
    fn end(mut self) -> (ExitStatus, Vec<String>) {
        let mut said = Vec::new();
        // Once the last process has closed the terminal, or the first one of its session is gone, reading fails.
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = self.terminal.read(&mut part) {
            said.extend_from_slice(&part[..count]);
        }
        let status = self.program.wait().unwrap();
        for other in &self.others {
            poll(&mut [PollFd::new(other, PollFlags::IN)], None).unwrap();
        }
        assert!(
            !self.socket.parent().unwrap().exists(),
            "the server's folder goes with it"
        );
        // The terminal itself shows what was typed.
        let said = String::from_utf8_lossy(&said).replace("^C", "");
        let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        (status, lines.map(str::to_owned).collect())
    }
}

/// The next line on the terminal.
fn line(terminal: &mut File) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        terminal.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    String::from_utf8(line).unwrap().trim().to_owned()
}
