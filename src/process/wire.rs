//! The inherited stream socket between a parent and its child: exact reads and writes, with descriptors and a patience.
//!
//! Never blocks without `poll`: `patience` bounds how long the *other side may be silent*, not the whole transfer, so
//! large arguments take the time they take.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// The kernel takes 253 descriptors at once; a round number below that.
const DESCRIPTORS_PER_BYTE: usize = 250;

/// One end of the socket.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    /// How long the other side may be silent; `None` waits for ever.
    patience: Option<Duration>,
}

impl Wire {
    /// Takes over one end of a socket pair.
    pub(super) fn new(stream: UnixStream, patience: Option<Duration>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, patience })
    }

    /// The same socket, from now on with another patience.
    pub(super) fn with_patience(self, patience: Option<Duration>) -> Self {
        Self { patience, ..self }
    }

    /// Sends all of `bytes`.
    pub(super) fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.send_some(bytes, &mut SendAncillaryBuffer::default())?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends descriptors, each group of them on a byte of its own.
    pub(super) fn send_descriptors(&self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        for group in descriptors.chunks(DESCRIPTORS_PER_BYTE) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_BYTE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(group)) {
                return Err(io::Error::other("no room for a group of descriptors"));
            }
            self.send_some(&[0], &mut control)?;
        }
        Ok(())
    }

    /// Fills all of `bytes`; an early end is `UnexpectedEof`.
    pub(super) fn receive(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += self.receive_some(rest, &mut RecvAncillaryBuffer::default())?;
        }
        Ok(())
    }

    /// Receives `count` descriptors sent by [`Wire::send_descriptors`]; all are close-on-exec.
    pub(super) fn receive_descriptors(&self, count: usize) -> io::Result<Vec<OwnedFd>> {
        let mut descriptors = Vec::new();
        for _ in 0..count.div_ceil(DESCRIPTORS_PER_BYTE) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_BYTE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            self.receive_some(&mut [0], &mut control)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    descriptors.extend(received);
                }
            }
        }
        if descriptors.len() == count {
            Ok(descriptors)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "descriptors were lost on the way",
            ))
        }
    }

    fn send_some(&self, bytes: &[u8], control: &mut SendAncillaryBuffer<'_, '_, '_>) -> io::Result<usize> {
        loop {
            match retry_on_intr(|| sendmsg(&self.stream, &[IoSlice::new(bytes)], control, SendFlags::NOSIGNAL)) {
                Ok(sent) => return Ok(sent),
                Err(Errno::AGAIN) => self.wait_for(PollFlags::OUT)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive_some(&self, bytes: &mut [u8], control: &mut RecvAncillaryBuffer<'_>) -> io::Result<usize> {
        loop {
            let received = retry_on_intr(|| {
                recvmsg(
                    &self.stream,
                    &mut [IoSliceMut::new(bytes)],
                    control,
                    RecvFlags::CMSG_CLOEXEC,
                )
            });
            match received {
                Ok(message) if message.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(message) if message.flags.contains(ReturnFlags::CTRUNC) => {
                    return Err(io::Error::other(
                        "descriptors did not fit: is the limit of open files reached?",
                    ));
                }
                Ok(message) => return Ok(message.bytes),
                Err(Errno::AGAIN) => self.wait_for(PollFlags::IN)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the socket is ready; `TimedOut` once the other side was silent for the whole patience.
    fn wait_for(&self, readiness: PollFlags) -> io::Result<()> {
        let deadline = self.patience.and_then(|patience| Instant::now().checked_add(patience));
        loop {
            // Counted anew after each signal, so that many of them don't make the wait longer.
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut descriptors = [PollFd::new(&self.stream, readiness)];
            match poll(&mut descriptors, timeout.as_ref()) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
