//! What answers is no server of ours, or one that has gone wrong.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use byproxy_proto::fault::Fault;
use byproxy_proto::frame::{self, FrameError, write_done_header, write_ring};
use byproxy_proto::handshake::{VERSION, Welcome};

use super::*;
use crate::transport::unix::Listener;
use crate::transport::{Wire, ring};

/// A server that lets everybody in and then does with a connection whatever it is told.
pub(super) struct Odd {
    pub(super) address: Address,
    _directory: tempfile::TempDir,
}

impl Odd {
    /// One that does so with a lane's first call.
    fn answering(answer: impl Fn(&mut UnixStream) + Send + Sync + 'static) -> Self {
        Self::welcoming(move |number, stream| {
            if read_frame(stream) && number > 0 {
                answer(stream);
            }
        })
    }

    /// One that does so with every connection; the first is the control connection.
    fn welcoming(conduct: impl Fn(usize, &mut UnixStream) + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("odd");
        let listener = UnixListener::bind(&path).unwrap();
        let conduct = Arc::new(conduct);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let conduct = Arc::clone(&conduct);
                std::thread::spawn(move || {
                    read_frame(&mut stream);
                    stream.write_all(&welcome(0)).unwrap();
                    conduct(number, &mut stream);
                });
            }
        });
        Self {
            address: Address::unix(path).unwrap(),
            _directory: directory,
        }
    }

    /// One whose only lane goes on in a ring, and that does what it is told once a call lies there.
    pub(super) fn with_ring(conduct: impl FnOnce(&ring::Served) + Send + 'static) -> Self {
        Self::asked_for_ring(|lane, number| {
            let served = lane.served().unwrap();
            assert!(served.open_ring().unwrap());
            let given = framed(|out| write_ring(number, true, out));
            lane.send_with(&given, served.ring().unwrap().descriptor()).unwrap();
            until("a call lies in the ring", || served.any_ring().unwrap().has_requests());
            conduct(served);
        })
    }

    /// One that does what it is told when its only lane asks for a ring, under this number.
    pub(super) fn asked_for_ring(conduct: impl FnOnce(&Wire, u64) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("odd");
        let listener = Listener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let _control = admit(&listener);
            let lane = admit(&listener);
            let asked = next_frame(&lane);
            let Ok(frame::Request::Ring { number }) = frame::Request::read(&asked) else {
                panic!("it asks for no ring")
            };
            conduct(&lane, number);
        });
        Self {
            address: Address::unix(path).unwrap(),
            _directory: directory,
        }
    }

    pub(super) fn connect(&self) -> Arc<Remote> {
        Remote::connect(&self.address, Options::default()).unwrap()
    }
}

/// The frame that lets a client in.
fn welcome(ring_after: u64) -> Vec<u8> {
    let welcome = Welcome {
        version: VERSION,
        instance: 1,
        session: 1,
        secret: 1,
        frame_bytes_max: 1 << 20,
        ring_after,
        proof: &[],
    };
    framed(|out| welcome.write(out))
}

/// Lets the next connection in.
fn admit(listener: &Listener) -> Wire {
    let wire = loop {
        match listener.accept() {
            Ok(socket) => break Wire::Unix(ring::Served::new(socket)),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    next_frame(&wire);
    assert!(wire.send(&welcome(1)).is_ok());
    wire
}

/// The body of the next frame; nothing comes behind it.
pub(super) fn next_frame(wire: &Wire) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        if let Some(body) = frame::split(&bytes, usize::MAX).unwrap() {
            return body.to_vec();
        }
        if wire.receive(&mut bytes, 4096).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn read_frame(stream: &mut UnixStream) -> bool {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).is_ok()
        && stream
            .read_exact(&mut vec![0; u32::from_le_bytes(prefix) as usize])
            .is_ok()
}

pub(super) fn framed(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write::<FrameError>(&mut bytes, usize::MAX, |out| {
        body(out);
        Ok(())
    })
    .unwrap();
    bytes
}

#[test]
fn a_connection_lost_before_the_reply_leaves_a_changing_call_unknown() {
    let odd = Odd::answering(|_| ());
    let remote = odd.connect();
    let error = call(&remote, Operation::ListAppend, 5, (1,)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OutcomeUnknown {
                operation: "list.append",
                ..
            }
        ),
        "{error}"
    );
    assert!(
        matches!(call(&remote, Operation::ListAppend, 5, (1,)), Err(Error::Gone(_))),
        "it must not be tried again"
    );

    let remote = odd.connect();
    assert!(matches!(
        call(&remote, Operation::ListLen, 5, NOTHING),
        Err(Error::Gone(_))
    ));
}

#[test]
fn a_call_in_a_ring_was_not_made_if_the_server_ends_before_it_reads_it() {
    let append = |odd: &Odd| call(&odd.connect(), Operation::ListAppend, 5, (1,)).unwrap_err();
    let error = append(&Odd::with_ring(ring::Served::close));
    assert!(matches!(error, Error::Gone(_)), "{error}");

    let error = append(&Odd::with_ring(|served| {
        served.receive_from_ring(&mut Vec::new(), 4096).unwrap();
        served.close();
    }));
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
}

/// Cause: whether the server had read the call was looked up at once, and it may still do so. Symptom: `Gone`, for a call that was made.
#[test]
fn a_call_in_a_ring_is_unknown_if_its_own_process_ends_the_session() {
    let (tell, told) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let odd = Odd::with_ring(move |_| {
        tell.send(()).unwrap();
        // It reads nothing, and stays.
        let _ = released.recv();
    });
    let remote = odd.connect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| call(&remote, Operation::ListAppend, 5, (1,)).unwrap_err());
        told.recv_timeout(Duration::from_secs(20)).unwrap();
        remote.close();
        let error = waiting.join().unwrap();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    });
    drop(release);
}

#[test]
fn the_answer_to_another_call_ends_the_session() {
    let odd = Odd::answering(|stream| {
        let reply = framed(|out| {
            write_done_header(77, &[], out);
            out.push(0);
        });
        let _ = stream.write_all(&reply);
        let _ = stream.read(&mut [0]);
    });
    let remote = odd.connect();
    let error = call(&remote, Operation::ListLen, 5, NOTHING).unwrap_err();
    assert!(
        matches!(&error, Error::Gone(reason) if reason.contains("another call")),
        "{error}"
    );
    assert!(!remote.is_open());
}

#[test]
fn replies_of_nonsense_end_the_session() {
    for nonsense in [
        &[0xff, 0xff, 0xff, 0xff][..],
        &[1, 0, 0, 0, 0],
        &[3, 0, 0, 0, 9, 9, 9],
        &[2, 0, 0, 0, 1, 0x80],
    ] {
        let odd = Odd::answering(move |stream| {
            let _ = stream.write_all(nonsense);
            let _ = stream.read(&mut [0]);
        });
        let remote = odd.connect();
        let error = call(&remote, Operation::ListLen, 5, NOTHING).unwrap_err();
        assert!(matches!(error, Error::Gone(_)), "{error}");
        assert!(!remote.is_open());
    }
}

#[test]
fn a_frozen_server_ends_the_session_after_the_time_allowed() {
    let odd = Odd::answering(|stream| {
        let _ = stream.read(&mut [0]);
    });
    let patience = Duration::from_secs(1);
    let options = Options {
        call_timeout: Some(patience),
        ..Options::default()
    };
    for (wait, least) in [(Wait::TRY, patience), (Wait::at_most(patience), patience * 2)] {
        let remote = Remote::connect(&odd.address, options.clone()).unwrap();
        let start = Instant::now();
        let error = call_waiting(&remote, Operation::QueuePut, 5, (1, wait), wait).unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
        assert!(start.elapsed() >= least, "{:?}", start.elapsed());
        assert!(!remote.is_open());
    }
}

#[test]
fn a_request_that_a_frozen_server_does_not_take_says_so() {
    let odd = Odd::welcoming(|_, stream| {
        // It reads nothing, and the connection stays.
        while stream.peer_addr().is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let options = Options {
        call_timeout: Some(Duration::from_millis(100)),
        ..Options::default()
    };
    let remote = Remote::connect(&odd.address, options).unwrap();
    let error = call(&remote, Operation::ListAppend, 5, ("x".repeat(900_000),)).unwrap_err();
    assert!(
        matches!(&error, Error::Gone(reason) if reason.contains("did not answer in time")),
        "{error}"
    );
}

/// Cause: who looked for the last words took a bell in front of them for all there was. Symptom: a session that a server ended over a lane
/// in a ring was lost "because the connection was", and not for the reason the server gave.
#[test]
fn last_words_are_found_behind_bells() {
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let (gone, has_gone) = std::sync::mpsc::channel();
    let (may_go, gone) = (Mutex::new(may_go), Mutex::new(gone));
    let odd = Odd::answering(move |stream| {
        let reply = framed(|out| {
            write_done_header(1, &[], out);
            out.push(0);
        });
        stream.write_all(&reply).unwrap();
        may_go.lock().recv().unwrap();
        let fault = Fault::new(FaultCode::TooMany, "there is another reason");
        let words = framed(|out| frame::write_fault(0, &fault, out));
        stream.write_all(&[frame::DOORBELL.repeat(3), words].concat()).unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        gone.lock().send(()).unwrap();
    });
    let remote = odd.connect();
    call(&remote, Operation::ListLen, 5, NOTHING).unwrap();
    go.send(()).unwrap();
    has_gone.recv().unwrap();
    let error = call(&remote, Operation::ListLen, 5, NOTHING).unwrap_err();
    assert!(error.to_string().contains("another reason"), "{error}");
}

#[test]
fn another_kind_of_server_is_recognised() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redis");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"-ERR unknown command\r\n");
        }
    });
    let error = Remote::connect(&Address::unix(&path).unwrap(), Options::default()).unwrap_err();
    assert!(
        matches!(&error, Error::Connect { source, .. } if source.to_string().contains("protocol")),
        "{error}"
    );
}
