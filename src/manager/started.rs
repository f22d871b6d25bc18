//! The server process that [`Manager::start`](super::Manager::start) starts, seen from both sides.
//!
//! The child listens in a private directory and says where over the stream that it inherited: one line, the address or what went wrong.
//! From then on nothing travels on the stream; its end tells the child that its starter is gone.

use crate::error::{Error, Result};
use crate::process::{Process, inherited};
use crate::server::private::remove_leftovers;
use crate::server::{Server, settled};
use byproxy_proto::address::Address;
use parking_lot::Mutex;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the child may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to end once it was asked to, before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How the line begins that says what went wrong.
const FAILED: &str = "failed: ";
/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// A server process of ours. Dropping it ends the server.
#[derive(Debug)]
pub(super) struct Started {
    process: Process,
    address: Address,
    /// Closing it asks the server to end.
    link: Mutex<Option<UnixStream>>,
    /// The process that started it: a forked copy of that must not end it.
    owner: u32,
}

impl Started {
    /// Starts a server process and waits until it listens.
    pub(super) fn start(memory_bytes_max: Option<u64>, ring_after: Option<u64>) -> Result<Self> {
        let builder = Process::builder().name("byproxy-server");
        let (process, link) = builder.spawn_linked(serve, (memory_bytes_max, ring_after))?;
        match read_address(&link) {
            Ok(address) => Ok(Self {
                process,
                address,
                link: Mutex::new(Some(link)),
                owner: std::process::id(),
            }),
            Err(error) => {
                let _ = process.kill();
                let _ = process.join();
                Err(error)
            }
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Waits until the server has ended, however it ends. A forked copy of its starter has nothing to wait for.
    pub(super) fn join(&self) {
        if self.owner == std::process::id() {
            // How it ended is for whoever ended it to know.
            let _ = self.process.join();
        }
    }

    /// Ends the server and waits until it has ended. Once more does nothing.
    pub(super) fn end(&self) {
        if self.owner != std::process::id() {
            return;
        }
        // Held until it has ended: whoever wants the same meanwhile waits too.
        let mut link = self.link.lock();
        let Some(stream) = link.take() else { return };
        // Not only our descriptor goes: a forked copy of this process may have another.
        let _ = stream.shutdown(Shutdown::Both);
        // How it ended is no business of whoever wanted it to end.
        if !matches!(self.process.join_timeout(END_PATIENCE), Ok(true)) {
            let _ = self.process.kill();
            let _ = self.process.join();
        }
        if let Address::Unix(path) = &self.address {
            remove_leftovers(path);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.end();
    }
}

/// The child: serves until its starter lets go of the link or a client asks for the end.
fn serve(memory_bytes_max: Option<u64>, ring_after: Option<u64>) -> Result<(), String> {
    let mut link = inherited().ok_or("started without a link to its starter")?;
    let mut builder = Server::builder();
    if let Some(bytes) = memory_bytes_max {
        builder = builder.memory_bytes_max(bytes);
    }
    if let Some(calls) = ring_after {
        builder = builder.ring_after(calls);
    }
    let server = match builder.build() {
        Ok(server) => server,
        Err(error) => {
            // The starter tells its user; this process has nobody to tell.
            let _ = writeln!(link, "{FAILED}{}", error.to_string().replace('\n', " "));
            return Err(error.to_string());
        }
    };
    let handle = server.handle();
    writeln!(link, "{}", server.address()).map_err(|error| error.to_string())?;
    let watch = std::thread::Builder::new().name("byproxy-link".to_owned());
    let watch = watch.spawn(move || {
        // Nothing is ever sent: whatever comes is the end.
        let _ = link.read(&mut [0]);
        handle.stop();
    });
    watch.map_err(|error| error.to_string())?;
    server.serve().map_err(|error| error.to_string())
}

fn read_address(link: &UnixStream) -> Result<Address> {
    let context = "the server process did not say where it listens";
    let io = |source| Error::Io { context, source };
    link.set_read_timeout(Some(START_PATIENCE)).map_err(io)?;
    let mut text = String::new();
    BufReader::new(link.take(LINE_BYTES_MAX))
        .read_line(&mut text)
        .map_err(io)?;
    let Some(said) = text.strip_suffix('\n') else {
        return Err(io(ErrorKind::UnexpectedEof.into()));
    };
    match said.strip_prefix(FAILED) {
        Some(reason) => Err(Error::Io {
            context: "the server process could not start",
            source: io::Error::other(reason),
        }),
        None => Ok(settled(said.parse::<Address>()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process};
    use std::time::Instant;

    #[test]
    fn a_copy_of_the_link_in_a_forked_process_keeps_nothing_alive() {
        let started = Started::start(None, None).unwrap();
        let copy = started.link.lock().as_ref().unwrap().try_clone().unwrap();
        let begin = Instant::now();
        drop(started);
        assert!(
            begin.elapsed() < END_PATIENCE,
            "the server was not told to end, but killed"
        );
        drop(copy);
    }

    #[test]
    fn whoever_ends_a_server_at_the_same_time_waits_for_its_end_too() {
        let started = Started::start(None, None).unwrap();
        let pid = Pid::from_raw(started.process.pid().cast_signed()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let has_begun = || started.link.try_lock().is_none_or(|link| link.is_none());
        std::thread::scope(|scope| {
            scope.spawn(|| started.end());
            while !has_begun() {
                std::thread::yield_now();
            }
            let second = scope.spawn(|| {
                started.end();
                started.process.is_alive()
            });
            // Long enough for one that does not wait.
            std::thread::sleep(Duration::from_millis(50));
            kill_process(pid, Signal::CONT).unwrap();
            assert!(!second.join().unwrap(), "it came back before the server had ended");
        });
    }
}
