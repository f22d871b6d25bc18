//! Servers whose rings are none, or hold anything at any time.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;

use byproxy_proto::frame::{self, write_done_header, write_ring};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::pwrite;

use super::odd_servers::{Odd, framed, next_frame};
use super::*;
use crate::client::lane::FROZEN;
use crate::shm::ring::SEGMENT_BYTES;
use crate::transport::Wire;

/// Where the words of a ring lie, its fronts' marks, and the first words of its streams.
const PLACES: [u64; 12] = [0, 8, 128, 256, 264, 384, 512, 520, 640, 648, 4096, 69_632];
/// The index of replies, and where the first of them lies if not in front.
const REPLIES_TAIL: u64 = 256;
const FIRST_REPLY: u64 = 69_632;

/// The frame that answers a call with nothing.
fn done(number: u64) -> Vec<u8> {
    framed(|out| {
        write_done_header(number, &[], out);
        out.push(0);
    })
}

/// Answers the next call that comes over the socket.
fn answer(lane: &Wire) {
    let body = next_frame(lane);
    let Ok(frame::Request::Call(call)) = frame::Request::read(&body) else {
        panic!("no call: {body:?}")
    };
    assert!(lane.send(&done(call.number)).is_ok());
}

/// Memory that is sealed, or is not.
fn memory(bytes: usize, sealed: bool) -> OwnedFd {
    let memory = memfd_create("odd", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&memory, bytes as u64).unwrap();
    if sealed {
        fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW).unwrap();
    }
    memory
}

#[test]
fn a_lane_whose_ring_can_not_be_mapped_goes_on_over_its_socket() {
    let odd: [fn() -> Option<OwnedFd>; 5] = [
        || Some(memory(SEGMENT_BYTES - 4096, true)),
        || Some(memory(0, true)),
        || Some(memory(SEGMENT_BYTES, false)),
        || Some(std::io::pipe().unwrap().0.into()),
        || None,
    ];
    for odd in odd {
        let odd = Odd::asked_for_ring(move |lane, number| {
            let given = framed(|out| write_ring(number, true, out));
            match odd() {
                Some(memory) => lane.send_with(&given, memory.as_fd()).unwrap(),
                None => assert!(lane.send(&given).is_ok()),
            }
            // Nor does it ask again.
            for _ in 0..20 {
                answer(lane);
            }
        });
        let remote = odd.connect();
        for _ in 0..20 {
            call(&remote, Operation::ListLen, 5, NOTHING).unwrap();
        }
    }
}

#[test]
fn a_server_that_claims_a_ring_that_it_never_gave_is_answered_over_the_socket() {
    let odd = Odd::asked_for_ring(|lane, number| {
        assert!(lane.send(&framed(|out| write_ring(number, false, out))).is_ok());
        answer(lane);
    });
    call(&odd.connect(), Operation::ListLen, 5, NOTHING).unwrap();
}

/// A call to a server that writes these words into its ring, answers as if nothing had happened, wakes its client, and stays.
fn call_scribbler(words: Vec<(u64, u64)>) -> Result<()> {
    let (release, released) = mpsc::channel::<()>();
    let odd = Odd::with_ring(move |served| {
        let ring = served.any_ring().unwrap();
        served.receive_from_ring(&mut Vec::new(), 4096).unwrap();
        let scribble = || {
            for (at, word) in &words {
                pwrite(ring.descriptor(), &word.to_ne_bytes(), *at).unwrap();
            }
        };
        scribble();
        let _ = served.send_to_ring(&done(2));
        scribble();
        served.ring_bell();
        let _ = released.recv();
    });
    let options = Options {
        call_timeout: Some(Duration::from_millis(200)),
        ..Options::default()
    };
    let remote = Remote::connect(&odd.address, options).unwrap();
    let outcome = call(&remote, Operation::ListAppend, 5, (1,));
    if outcome.is_err() {
        assert!(!remote.is_open(), "a session goes on after {outcome:?}");
    }
    drop(release);
    outcome.map(drop)
}

#[test]
fn a_server_that_scribbles_in_its_ring_is_an_error_or_an_answer() {
    let values = [0, 1, 3, 8, 16, 64, (64 << 10) + 8, 1 << 62, 1 << 63, u64::MAX, 9 << 59];
    let mut scribbles: Vec<Vec<(u64, u64)>> = Vec::new();
    for at in PLACES {
        scribbles.extend(values.map(|value| vec![(at, value)]));
    }
    // A record that is not in front, and is longer than what was written, or than anything, or empty.
    for length in values {
        scribbles.push(vec![(264, 0), (FIRST_REPLY, length), (REPLIES_TAIL, 24)]);
    }
    let (mut answered, mut failed) = (0, 0);
    for some in scribbles.chunks(16) {
        std::thread::scope(|scope| {
            let calls: Vec<_> = some
                .iter()
                .map(|words| {
                    // A server that is held up while it is asked for a ring has not scribbled yet.
                    let in_time =
                        |outcome: &Result<()>| !matches!(outcome, Err(Error::Gone(reason)) if reason == FROZEN);
                    let call = move || {
                        std::iter::repeat_with(|| call_scribbler(words.clone()))
                            .take(10)
                            .find(in_time)
                    };
                    (words, scope.spawn(move || call().unwrap()))
                })
                .collect();
            for (words, call) in calls {
                match call.join().unwrap() {
                    Ok(()) => answered += 1,
                    Err(Error::OutcomeUnknown { .. }) => failed += 1,
                    Err(error) => panic!("after {words:?}: {error:?}"),
                }
            }
        });
    }
    assert!(
        answered > 0 && failed > 0,
        "{answered} calls were answered, {failed} were not"
    );
}
