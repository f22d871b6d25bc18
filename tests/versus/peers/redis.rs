//! Redis over its Unix socket, driven like byproxy: blocking calls, one connection per thread, the same processes.

use crate::Result;
use crate::client::{ENTRIES, Step, Task, Work, key};
use crate::hosts::Host;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Its version, if server and benchmark are installed.
pub(crate) fn version() -> Option<String> {
    Command::new("redis-benchmark").arg("--version").output().ok()?;
    let output = Command::new("redis-server").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split("v=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .map(|version| format!("Redis {version}"))
}

/// Starts a server that keeps everything in memory and listens nowhere else.
pub(crate) fn start(folder: &Path) -> Result<Host> {
    let path = folder.join("redis");
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket"]).arg(&path).args([
        "--save",
        "",
        "--appendonly",
        "no",
        "--daemonize",
        "no",
    ]);
    command
        .args(["--maxclients", "16000", "--dir"])
        .arg(folder)
        .stderr(Stdio::null());
    let host = Host::at_socket(&mut command, &path)?;
    let mut connection = Connection::open(&host.address)?;
    for entry in 0..ENTRIES {
        connection.call(&["HSET", "dict", key(entry), &entry.to_string()])?;
        connection.call(&["RPUSH", "list", &entry.to_string()])?;
    }
    Ok(host)
}

/// Calls in batches of 64, per second, by Redis' own benchmark, which takes about this long.
pub(crate) fn batch(address: &str, time: Duration) -> Result<f64> {
    let calls = time.as_micros().max(100_000);
    let mut command = Command::new("redis-benchmark");
    command
        .args(["-s", address, "-P", "64", "-t", "get", "--csv", "-n"])
        .arg(calls.to_string())
        .stderr(Stdio::null());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("\"GET\",\"")?.split('"').next()?.parse().ok());
    rate.ok_or_else(|| format!("redis-benchmark said {text:?}").into())
}

pub(crate) fn step(task: &Task) -> Result<Step> {
    let mut connection = Connection::open(&task.address)?;
    let own = format!("own-{}", std::process::id());
    Ok(match task.work {
        Work::Get => Box::new(move |i| connection.call(&["HGET", "dict", key(i)])),
        Work::Insert => Box::new(move |i| connection.call(&["HSET", "dict", key(i), &i.to_string()])),
        Work::Index => Box::new(move |i| connection.call(&["LINDEX", "list", &(i % ENTRIES).to_string()])),
        Work::Append => {
            connection.call(&["DEL", &own])?;
            Box::new(move |i| connection.call(&["RPUSH", &own, &i.to_string()]))
        }
        other => return Err(format!("Redis has no {}", other.name()).into()),
    })
}

pub(crate) fn hold(task: &Task) -> Result<Box<dyn std::any::Any>> {
    if task.work == Work::HoldConnections {
        let connections: Vec<_> = (0..task.size)
            .map(|_| Connection::open(&task.address))
            .collect::<Result<_>>()?;
        return Ok(Box::new(connections));
    }
    let mut connection = Connection::open(&task.address)?;
    let items: Vec<_> = (0..task.size).map(|i| i.to_string()).collect();
    for chunk in items.chunks(1000) {
        let command: Vec<_> = ["RPUSH", "held"]
            .into_iter()
            .chain(chunk.iter().map(String::as_str))
            .collect();
        connection.call(&command)?;
    }
    Ok(Box::new(connection))
}

/// A blocking connection that speaks RESP.
struct Connection {
    stream: BufReader<UnixStream>,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> Result<Self> {
        Ok(Self {
            stream: BufReader::new(UnixStream::connect(address)?),
            request: Vec::new(),
            reply: Vec::new(),
        })
    }

    /// Sends a command and reads its one reply, which must be no error and not absent.
    fn call(&mut self, words: &[&str]) -> Result<()> {
        self.request.clear();
        write!(self.request, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.request, "${}\r\n{word}\r\n", word.len())?;
        }
        self.stream.get_mut().write_all(&self.request)?;
        self.line()?;
        match self.reply.split_first() {
            Some((b':' | b'+', _)) => Ok(()),
            Some((b'$', length)) if length.first() != Some(&b'-') => self.line(),
            _ => Err(format!("Redis said {:?} to {words:?}", String::from_utf8_lossy(&self.reply)).into()),
        }
    }

    fn line(&mut self) -> Result<()> {
        self.reply.clear();
        self.stream.read_until(b'\n', &mut self.reply)?;
        if self.reply.ends_with(b"\n") {
            Ok(())
        } else {
            Err("Redis hung up".into())
        }
    }
}
