//! A ring as a client has it that keeps to nothing.
//!
//! What a client maps it can also write through its descriptor: so this one does, and needs no mapping.

use crate::support::{Client, framed, message, until};
use byproxy_proto::frame::{DOORBELL, Reply, Request};
use byproxy_proto::value::Limits as ValueLimits;
use rustix::io::{pread, pwrite};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

/// The number under which these clients ask for a ring; others count up from one.
pub(crate) const ASKED: u64 = 1 << 40;
/// What one ring takes, in bytes: a page of words and two streams.
pub(crate) const RING_BYTES: usize = 4096 + 2 * (64 << 10);
/// What one of its streams takes.
pub(crate) const CAPACITY: u64 = 64 << 10;

/// Where the words of a ring lie.
pub(crate) const REQUESTS_TAIL: u64 = 0;
pub(crate) const REQUESTS_HEAD: u64 = 128;
pub(crate) const REPLIES_TAIL: u64 = 256;
pub(crate) const REPLIES_HEAD: u64 = 384;
pub(crate) const SERVER_WAITS: u64 = 512;
pub(crate) const CLIENT_WAITS: u64 = 640;
pub(crate) const REQUESTS: u64 = 4096;
pub(crate) const REPLIES: u64 = REQUESTS + CAPACITY;

/// A ring as its client has it.
pub(crate) struct Ring {
    pub(crate) memory: OwnedFd,
    pub(crate) written: u64,
    pub(crate) read: u64,
}

/// What a server answered to asking.
pub(crate) enum Given {
    Ring(Ring),
    Again,
    Fault(String),
}

impl Ring {
    pub(crate) fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        assert_eq!(pread(&self.memory, &mut bytes, at).unwrap(), 8);
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn set(&self, at: u64, word: u64) {
        assert_eq!(pwrite(&self.memory, &word.to_le_bytes(), at).unwrap(), 8);
    }

    /// Writes one record and calls the server.
    pub(crate) fn send(&mut self, client: &mut Client, bytes: &[u8]) {
        self.put(bytes);
        call_server(client);
    }

    /// Writes one record.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.set(REQUESTS + self.written % CAPACITY, bytes.len() as u64);
        self.written += 8;
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.set(REQUESTS + self.written % CAPACITY, u64::from_le_bytes(padded));
            self.written += 8;
        }
        self.set(REQUESTS_TAIL, self.written);
    }

    /// The next record of the server's.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        until("a reply is in the ring", || self.word(REPLIES_TAIL) != self.read);
        let in_front = self.word(REPLIES_TAIL + 8).wrapping_sub(8 * self.read);
        let is_in_front = (1..=48).contains(&in_front);
        let count = if is_in_front {
            in_front
        } else {
            self.word(REPLIES + self.read % CAPACITY)
        };
        let mut bytes = Vec::new();
        for word in 0..count.div_ceil(8) {
            let at = if is_in_front {
                REPLIES_TAIL + 16 + word * 8
            } else {
                REPLIES + (self.read + 8 + word * 8) % CAPACITY
            };
            bytes.extend(self.word(at).to_le_bytes());
        }
        bytes.truncate(usize::try_from(count).unwrap());
        self.read += 8 + count.next_multiple_of(8);
        self.set(REPLIES_HEAD, self.read);
        bytes
    }
}

/// Has the server look into the ring. It may have looked by itself, and ended the session for what it found.
pub(crate) fn call_server(client: &mut Client) {
    let _ = std::io::Write::write_all(&mut client.lane.0, &DOORBELL);
}

/// Asks for a ring and takes its descriptor.
pub(crate) fn ask(client: &mut Client) -> Given {
    client
        .lane
        .send(&framed(|out| Request::Ring { number: ASKED }.write(out)));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let received = recvmsg(
        &client.lane.0,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    );
    let received = received.unwrap().bytes;
    let memory = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let body = &bytes[4..received];
    match Reply::read(body, &ValueLimits::default()).unwrap() {
        Reply::Ring { number, fresh } => {
            assert_eq!((number, fresh), (ASKED, memory.is_some()));
            memory.map_or(Given::Again, |memory| {
                Given::Ring(Ring {
                    memory,
                    written: 0,
                    read: 0,
                })
            })
        }
        Reply::Fault { .. } => Given::Fault(message(body)),
        Reply::Done { .. } => panic!("an answer to no call"),
    }
}

pub(crate) fn ask_in_vain(client: &mut Client) -> String {
    match ask(client) {
        Given::Fault(text) => text,
        Given::Ring(_) | Given::Again => panic!("there was a ring"),
    }
}

pub(crate) fn ring(client: &mut Client) -> Ring {
    match ask(client) {
        Given::Ring(ring) => ring,
        Given::Again => panic!("there was one before"),
        Given::Fault(text) => panic!("{text}"),
    }
}
