//! The processes that the harness starts, and their end: none outlives it.

use crate::Result;
use crate::client::{Side, Task};
use crate::peers;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(15);
/// How much longer than its task a client may take.
const FINISH_MAX: Duration = Duration::from_mins(2);

/// A server process; it ends with this.
#[derive(Debug)]
pub(crate) struct Host {
    child: Child,
    /// What a client connects to.
    pub(crate) address: String,
}

/// Keeps this thread, and processes that it starts meanwhile, on one processor.
#[derive(Debug)]
pub(crate) struct OneProcessor(CpuSet);

impl OneProcessor {
    pub(crate) fn enter() -> Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut one = CpuSet::new();
        let first = (0..CpuSet::MAX_CPU).find(|number| before.is_set(*number));
        one.set(first.ok_or("no processor")?);
        sched_setaffinity(None, &one)?;
        Ok(Self(before))
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.0);
    }
}

/// What one client process reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) count: u64,
    pub(crate) nanoseconds: u64,
}

impl Outcome {
    /// How often per second.
    pub(crate) fn rate(self) -> f64 {
        self.count as f64 / self.nanoseconds as f64 * 1e9
    }

    /// How often in so much time, at this rate.
    pub(crate) fn count_within(self, time: Duration) -> usize {
        let count = u128::from(self.count) * time.as_nanos() / u128::from(self.nanoseconds.max(1));
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}

/// A client process that has said it is ready. It ends with this.
#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    time: Duration,
}

impl Host {
    /// Starts a server that accepts connections at this path of a socket.
    pub(crate) fn at_socket(command: &mut Command, path: &Path) -> Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut host = Self {
            child,
            address: path.display().to_string(),
        };
        let start = Instant::now();
        while UnixStream::connect(path).is_err() {
            if let Some(status) = host.child.try_wait()? {
                return Err(format!("{command:?} ended: {status}").into());
            }
            if start.elapsed() > START_MAX {
                return Err(format!("{command:?} does not answer").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(host)
    }

    /// Starts this program as the server of a limit, which prints its address.
    pub(crate) fn limit(side: Side, folder: &Path) -> Result<Self> {
        let path = folder.join(side.name());
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["@server", side.name()])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let mut host = Self {
            child,
            address: String::new(),
        };
        BufReader::new(output).read_line(&mut host.address)?;
        host.address.truncate(host.address.trim_end().len());
        if host.address.is_empty() {
            Err(format!("{} did not start", side.name()).into())
        } else {
            Ok(host)
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the process occupies in memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<f64> {
        self.memory("VmRSS:")
    }

    /// What of it is shared with other processes.
    pub(crate) fn shared_bytes(&self) -> Result<f64> {
        self.memory("RssShmem:")
    }

    fn memory(&self, name: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .ok_or("no such line")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0)
    }

    /// How often all of its threads were switched to another, so far.
    pub(crate) fn context_switches(&self) -> Result<f64> {
        let mut sum = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let status = std::fs::read_to_string(task?.path().join("status"))?;
            let switches = status.lines().filter(|line| line.contains("ctxt_switches:"));
            sum += switches
                .filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok())
                .sum::<f64>();
        }
        Ok(sum)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Client {
    /// Starts a client process and waits until it is ready.
    pub(crate) fn start(task: &Task) -> Result<Self> {
        let mut client = Self::spawn(task)?;
        client.await_ready(task)?;
        Ok(client)
    }

    fn spawn(task: &Task) -> Result<Self> {
        let mut command = match task.side {
            Side::Python => peers::python::client(),
            side => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["@client", side.name()]);
                command
            }
        };
        command.args([
            &task.address,
            task.work.name(),
            &task.size.to_string(),
            &task.time.as_secs_f64().to_string(),
        ]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (
            child.stdin.take().ok_or("no input")?,
            child.stdout.take().ok_or("no output")?,
        );
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
            time: task.time,
        })
    }

    fn await_ready(&mut self, task: &Task) -> Result<()> {
        match self.line()?.as_str() {
            "ready" => Ok(()),
            first => Err(format!("{} {}: {first}", task.side.name(), task.work.name()).into()),
        }
    }

    fn go(&mut self) -> Result<()> {
        Ok(self.input.write_all(b"go\n")?)
    }

    fn outcome(&mut self) -> Result<Outcome> {
        let line = self.line()?;
        let (count, nanoseconds) = line.split_once(' ').ok_or_else(|| format!("a client said {line:?}"))?;
        Ok(Outcome {
            count: count.parse()?,
            nanoseconds: nanoseconds.parse()?,
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts these clients, all at once, and waits until they are ready.
pub(crate) fn start(tasks: &[Task]) -> Result<Vec<Client>> {
    let mut clients = tasks.iter().map(Client::spawn).collect::<Result<Vec<_>>>()?;
    for (client, task) in clients.iter_mut().zip(tasks) {
        client.await_ready(task)?;
    }
    Ok(clients)
}

/// Starts these clients and runs them at once: all are ready before any begins.
pub(crate) fn race(tasks: &[Task]) -> Result<Vec<Outcome>> {
    turn(&mut start(tasks)?)
}

/// Has these clients work at once.
pub(crate) fn turn(clients: &mut [Client]) -> Result<Vec<Outcome>> {
    let time = clients.iter().map(|client| client.time).max().unwrap_or_default();
    let pids: Vec<_> = clients.iter().map(|client| client.child.id()).collect();
    let (done, over) = mpsc::channel::<()>();
    // A client that hangs is ended, so that reading from it ends too.
    let watchdog = std::thread::spawn(move || {
        if over.recv_timeout(time + FINISH_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            for pid in pids {
                end(pid);
            }
        }
    });
    let outcomes = clients
        .iter_mut()
        .try_for_each(Client::go)
        .and_then(|()| clients.iter_mut().map(Client::outcome).collect());
    drop(done);
    watchdog.join().map_err(|_| "the watchdog panicked")?;
    outcomes
}

fn end(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}
