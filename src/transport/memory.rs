//! The transport inside one process: two bounded pipes of bytes.
//!
//! It exists for tests. The server's end is driven by whichever thread acts on the client's end, through [`Host`]: so a client's call
//! runs the very code that a worker runs for a socket, frames and back pressure included, without a socket or a wake-up in between.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How many bytes a pipe holds before its writer has to wait; less than a large frame, so that partial writes happen.
const PIPE_BYTES_MAX: usize = 64 << 10;

/// A server as its in-process clients see it.
pub(crate) trait Host: Send + Sync + fmt::Debug {
    /// Takes the server's end of a new connection and gives it a number.
    fn accept(&self, end: End) -> io::Result<u64>;

    /// Something may have changed at a connection: bytes to read, room to write, or its end.
    fn attend(&self, connection: u64);
}

/// One end of a connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct End {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

/// The client's end, which attends to the server's after whatever it did.
#[derive(Debug)]
pub(crate) struct Stream {
    end: End,
    host: Arc<dyn Host>,
    connection: u64,
    timeout: Mutex<Option<Duration>>,
}

#[derive(Debug, Default)]
struct Pipe {
    state: Mutex<PipeState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PipeState {
    bytes: VecDeque<u8>,
    /// No more bytes will be written.
    ended: bool,
    /// A writer found no room and has not been told of any since.
    starved: bool,
}

impl Stream {
    /// Connects to a server in this process.
    pub(crate) fn connect(host: Arc<dyn Host>) -> io::Result<Self> {
        let (requests, replies) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
        let server = End {
            incoming: Arc::clone(&requests),
            outgoing: Arc::clone(&replies),
        };
        let end = End {
            incoming: replies,
            outgoing: requests,
        };
        let connection = host.accept(server)?;
        Ok(Self {
            end,
            host,
            connection,
            timeout: Mutex::new(None),
        })
    }

    pub(super) fn send(&self, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            match self.send_now(rest) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.end.outgoing.wait_for_room(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.end.send_now(bytes);
        self.host.attend(self.connection);
        sent
    }

    pub(super) fn receive(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let deadline = (*self.timeout.lock()).and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            match self.end.receive_now(into, most) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.end.incoming.wait_for_bytes(deadline)?,
                received => {
                    // The reader made room: the server may have more to write.
                    self.host.attend(self.connection);
                    return received;
                }
            }
        }
    }

    pub(super) fn set_timeout(&self, timeout: Option<Duration>) {
        *self.timeout.lock() = timeout;
    }

    pub(super) fn has_ended(&self, patience: Duration) -> bool {
        let _ = self.end.incoming.wait_for_bytes(Instant::now().checked_add(patience));
        let state = self.end.incoming.state.lock();
        state.ended && state.bytes.is_empty()
    }

    pub(super) fn close(&self) {
        self.end.close();
        self.host.attend(self.connection);
    }
}

#[cfg(test)]
impl Stream {
    /// Writes without the server looking at it.
    pub(crate) fn push(&self, bytes: &[u8]) {
        assert_eq!(self.end.send_now(bytes).unwrap(), bytes.len(), "the pipe is full");
    }

    /// Reads a little without the server knowing that there is room again.
    pub(crate) fn take_some(&self, into: &mut Vec<u8>, most: usize) {
        assert_eq!(self.end.receive_now(into, most).unwrap(), most, "too little was there");
    }

    /// Closes this end for writing without the server looking at it.
    pub(crate) fn hang_up(&self) {
        self.end.outgoing.end();
    }

    /// Has the server look.
    pub(crate) fn attend(&self) {
        self.host.attend(self.connection);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}

impl End {
    pub(super) fn receive_now(&self, into: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let mut state = self.incoming.state.lock();
        let count = state.bytes.len().min(most);
        if count == 0 {
            return if state.ended {
                Ok(0)
            } else {
                Err(ErrorKind::WouldBlock.into())
            };
        }
        into.extend(state.bytes.drain(..count));
        if state.bytes.is_empty() {
            state.bytes.shrink_to(PIPE_BYTES_MAX / 16);
        }
        if std::mem::take(&mut state.starved) {
            self.incoming.changed.notify_all();
        }
        Ok(count)
    }

    pub(super) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.outgoing.state.lock();
        if state.ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let room = PIPE_BYTES_MAX.saturating_sub(state.bytes.len());
        let Some(fitting) = bytes.get(..bytes.len().min(room)).filter(|fitting| !fitting.is_empty()) else {
            state.starved = true;
            return Err(ErrorKind::WouldBlock.into());
        };
        state.bytes.extend(fitting);
        self.outgoing.changed.notify_all();
        Ok(fitting.len())
    }

    pub(super) fn close_reading(&self) {
        self.incoming.end();
    }

    pub(super) fn close(&self) {
        self.incoming.end();
        self.outgoing.end();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close();
    }
}

impl Pipe {
    fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    fn wait_for_room(&self) {
        let mut state = self.state.lock();
        while state.starved && !state.ended {
            self.changed.wait(&mut state);
        }
    }

    fn wait_for_bytes(&self, deadline: Option<Instant>) -> io::Result<()> {
        let mut state = self.state.lock();
        while state.bytes.is_empty() && !state.ended {
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) if self.changed.wait_until(&mut state, deadline).timed_out() => {
                    return Err(ErrorKind::WouldBlock.into());
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
