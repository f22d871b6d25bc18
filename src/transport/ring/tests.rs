//! Both ends of a connection in one process.

use super::*;
use crate::transport::looks::MOVE_EVERY;
use crate::transport::unix::Listener;

/// Both ends of a connection that goes on in a ring.
fn connection() -> (Served, Connected) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::bind(&path).unwrap();
    let client = Connected::new(Socket::connect(&path, Duration::from_secs(10)).unwrap());
    let server = Served::new(listener.accept().unwrap());
    assert!(server.open_ring().unwrap());
    let memory = server.ring().unwrap().descriptor().try_clone_to_owned().unwrap();
    assert!(client.go_on_in_ring(Some(memory)));
    (server, client)
}

/// Cause: a frame that had begun in a ring went on over the socket when its session ended. Symptom: the end of the session could read
/// what the frame carried as frames of their own.
#[test]
fn what_began_in_a_ring_does_not_go_on_over_the_socket() {
    let (server, client) = connection();
    let frame = vec![7; 100_000];
    let mut sent = client.send_now(&frame).unwrap();
    assert!(sent > 0 && sent < frame.len());
    // There is room for more, so that it is not that which it waits for.
    server.receive_from_ring(&mut Vec::new(), 1).unwrap();
    server.ring().unwrap().close();
    let error = client.send(&frame, &mut sent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let nothing = server.socket.receive_now(&mut Vec::new(), 64).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
}

/// Cause: the client looked whether the server waits for room only when it had found another record. Symptom: of a reply larger than
/// the ring the first part was read, and then both sides slept.
#[test]
fn a_server_that_waits_for_room_is_called_though_there_is_nothing_to_read() {
    let (server, client) = connection();
    client.set_timeout(Some(Duration::from_millis(20))).unwrap();
    let reply = vec![7; 100_000];
    let sent = server.send_to_ring(&reply).unwrap();
    let is_full = || server.send_to_ring(&reply[sent..]).unwrap_err().kind() == ErrorKind::WouldBlock;
    assert!(is_full());
    let mut received = Vec::new();
    assert_eq!(client.receive(&mut received, 1).unwrap(), sent);
    // It is read, but not taken before the client asks for more.
    assert!(is_full());
    let bells = || {
        let mut bells = Vec::new();
        server.socket.receive_now(&mut bells, 64).map_or(0, |_| bells.len())
    };
    bells();
    assert_eq!(
        client.receive(&mut received, 1).unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "the server sends nothing here"
    );
    assert_eq!(
        bells(),
        DOORBELL.len(),
        "the server sleeps on beside the room it waits for"
    );
    assert!(server.send_to_ring(&reply[sent..]).is_ok());
}

/// Cause: whoever closed its own session, and found its call unread at that moment, took it for certain that it never would be read.
/// Symptom: a call that the server still took while it drained the ring was reported as never made.
#[test]
fn a_request_is_certainly_unread_only_if_the_server_ended_the_connection() {
    let end = |is_read: bool, is_ours: bool| {
        let (server, client) = connection();
        client.send(b"call", &mut 0).unwrap();
        if is_read {
            server.receive_from_ring(&mut Vec::new(), 64).unwrap();
        }
        if is_ours {
            client.close();
        } else {
            server.close();
        }
        client.receive(&mut Vec::new(), 64).map_err(|error| error.kind())
    };
    assert_eq!(end(false, false), Err(ErrorKind::ConnectionAborted));
    assert_eq!(end(true, false), Ok(0));
    assert_eq!(end(false, true), Ok(0));
    assert_eq!(end(true, true), Ok(0));
}

/// Cause: each bell began the wait anew. Symptom: a server that calls and says nothing kept a call for ever, whatever time it had.
#[test]
fn a_server_that_only_rings_keeps_nobody_longer_than_allowed() {
    let (server, client) = connection();
    client.set_timeout(Some(Duration::from_millis(100))).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                server.ring_bell();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let begun = Instant::now();
        let unanswered = client.receive(&mut Vec::new(), 1).unwrap_err();
        let unsent = client.send(&vec![7; 100_000], &mut 0).unwrap_err();
        done.store(true, Ordering::Relaxed);
        assert_eq!(unanswered.kind(), ErrorKind::WouldBlock);
        assert_eq!(unsent.kind(), ErrorKind::WouldBlock);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    });
}

/// Each reply comes when the client has looked in vain for so long that it yields.
#[test]
fn a_client_leaves_the_processor_of_its_worker_to_it() {
    const WAITS: u32 = 8 * MOVE_EVERY;
    let (server, client) = connection();
    let mut moves = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut request = Vec::new();
            for _ in 0..WAITS {
                while server.receive_from_ring(&mut request, 64).is_err() {
                    std::hint::spin_loop();
                }
                let until = Instant::now() + Duration::from_micros(50);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                server.send_to_ring(b"reply").unwrap();
            }
        });
        let mut reply = Vec::new();
        for _ in 0..WAITS {
            let here = processor::current();
            server.ring().unwrap().runs_on(Some(here));
            client.send(b"call", &mut 0).unwrap();
            client.receive(&mut reply, 64).unwrap();
            client.consume();
            moves += u32::from(processor::current() != here);
        }
    });
    if crate::sys::processors() > 1 {
        // The system moves it as well where others want the processors too, and may move it back at once.
        assert!(moves >= WAITS / MOVE_EVERY / 2, "{moves} moves");
    }
}

/// Cause: who waited for room in the ring took whatever came over the socket for a call, and waited on until the connection ended. Symptom: a
/// server that said why it ends the session had said it in vain.
#[test]
fn what_is_said_to_one_who_waits_for_room_is_heard() {
    let (server, client) = connection();
    let frame = vec![7; 100_000];
    let mut sent = client.send_now(&frame).unwrap();
    server
        .socket
        .send_now(&[&DOORBELL, b"words".as_slice()].concat())
        .unwrap();
    server.close();
    let error = client.send(&frame, &mut sent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let mut words = Vec::new();
    client.receive(&mut words, 64).unwrap();
    assert_eq!(words, b"words");
    assert_eq!(client.receive(&mut words, 64).unwrap_or(0), 0, "once");
}

/// Cause: a client that found its ring closed went over to the socket, where it looked for the reason as well. Symptom: what the server had
/// written in the ring before it ended the session was never read.
#[test]
fn what_lies_in_a_closed_ring_is_still_read() {
    let (server, client) = connection();
    server.send_to_ring(b"words").unwrap();
    server.close();
    assert!(client.send(b"call", &mut 0).is_err());
    let mut words = Vec::new();
    client.receive(&mut words, 64).unwrap();
    assert_eq!(words, b"words");
}
