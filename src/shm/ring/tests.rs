//! Both ends in one process.

use std::io::ErrorKind;

use super::*;

fn pair() -> (ServerEnd, ClientEnd) {
    let server = ServerEnd::create().unwrap();
    let client = ClientEnd::open(server.descriptor()).unwrap();
    (server, client)
}

fn kind<T: std::fmt::Debug>(outcome: io::Result<T>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

/// Bytes that tell their place.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn bytes_arrive_in_both_directions_whatever_their_number() {
    let (server, client) = pair();
    let mut bytes = Vec::new();
    for count in (1..100).chain([4096, 5000, 9999]) {
        let sent = pattern(count);
        assert_eq!(client.send(&sent).unwrap(), count);
        bytes.clear();
        assert_eq!(server.receive(&mut bytes, 1 << 20).unwrap(), count);
        assert_eq!(bytes, sent);
        assert_eq!(kind(server.receive(&mut bytes, 1 << 20)), ErrorKind::WouldBlock);
        assert_eq!(server.send(&sent).unwrap(), count);
        bytes.clear();
        assert_eq!(client.receive(&mut bytes).unwrap(), count);
        assert_eq!(bytes, sent);
        assert!(client.take());
        assert_eq!(kind(client.receive(&mut bytes)), ErrorKind::WouldBlock);
    }
}

/// How many bytes lie in the streams' own places.
fn laid_out(bytes: &[AtomicU64; WORDS]) -> usize {
    bytes.iter().filter(|word| word.load(Relaxed) != 0).count()
}

#[test]
fn what_answers_something_and_is_small_lies_beside_its_index() {
    let (server, client) = pair();
    let mut bytes = Vec::new();
    for round in 0..5_000 {
        // Positions go around the ring; once in a while there is no telling whether there is room.
        let call = pattern(1 + round % FRONT_BYTES);
        client.send(&call).unwrap();
        server.receive(&mut bytes, 64).unwrap();
        assert_eq!(bytes, call);
        bytes.clear();
        server.send(&call).unwrap();
        while bytes.len() < call.len() {
            client.receive(&mut bytes).unwrap();
        }
        assert_eq!(bytes, call);
        assert!(client.take());
        bytes.clear();
    }
    let layout = server.memory.layout();
    assert!(laid_out(&layout.request_bytes) < 100 && laid_out(&layout.reply_bytes) < 100);
}

#[test]
fn a_small_request_alone_is_taken_from_the_front() {
    let (server, client) = pair();
    let (mut bytes, mut record) = (Vec::new(), [0; FRONT_BYTES]);
    assert_eq!(server.receive_front(&mut record), None);
    for length in 1..=FRONT_BYTES {
        let call = pattern(length);
        client.send(&call).unwrap();
        assert!(client.is_unread());
        assert_eq!(server.receive_front(&mut record), Some(call.as_slice()));
        assert!(!client.is_unread());
        assert_eq!(server.receive_front(&mut record), None);
        server.send(b"reply").unwrap();
        client.receive(&mut bytes).unwrap();
        assert!(client.take());
    }
}

#[test]
fn a_request_that_is_long_or_not_alone_is_taken_from_the_stream() {
    let (server, client) = pair();
    let (mut bytes, mut record) = (Vec::new(), [0; FRONT_BYTES]);
    let long = pattern(FRONT_BYTES + 1);
    for calls in [[b"first".as_slice(), b"second"], [&long, b"third"]] {
        for call in calls {
            client.send(call).unwrap();
        }
        assert_eq!(server.receive_front(&mut record), None);
        server.receive(&mut bytes, 1 << 20).unwrap();
        assert_eq!(bytes, calls.concat());
        assert_eq!(server.receive_front(&mut record), None);
        server.send(b"reply").unwrap();
        client.receive(&mut Vec::new()).unwrap();
        assert!(client.take());
        bytes.clear();
    }
}

/// Whoever takes a request from the front calls nobody: a client that waits for room is called for what lies behind it.
#[test]
fn a_client_that_waits_for_room_behind_a_front_is_called() {
    let (server, client) = pair();
    client.send(b"small").unwrap();
    assert!(server.receive_front(&mut [0; FRONT_BYTES]).is_some());
    let long = pattern(1 << 20);
    let sent = client.send(&long).unwrap();
    assert_eq!(kind(client.send(&long[sent..])), ErrorKind::WouldBlock);
    assert!(client.park_writer());
    assert_eq!(server.receive_front(&mut [0; FRONT_BYTES]), None);
    server.receive(&mut Vec::new(), 1 << 20).unwrap();
    assert!(server.calls_writer());
}

#[test]
fn what_comes_before_an_answer_leaves_the_front_alone() {
    let (server, client) = pair();
    for bytes in [b"first".as_slice(), b"second", b"third"] {
        client.send(bytes).unwrap();
    }
    let mut bytes = Vec::new();
    server.receive(&mut bytes, 64).unwrap();
    assert_eq!(bytes, b"firstsecondthird");
    for bytes in [b"a reply".as_slice(), b" and last words"] {
        server.send(bytes).unwrap();
    }
    bytes.clear();
    while client.receive(&mut bytes).is_ok() {}
    assert_eq!(bytes, b"a reply and last words");
}

/// Cause: what a client wrote into a ring that was closed stayed in front, at the place where its next record went. Symptom: the server read
/// the one that was never sent.
#[test]
fn what_was_never_sent_is_never_read() {
    let (server, client) = pair();
    assert!(server.retire());
    assert_eq!(kind(client.send(b"never sent")), ErrorKind::BrokenPipe);
    server.reopen();
    let long = pattern(100);
    client.send(&long).unwrap();
    let mut bytes = Vec::new();
    server.receive(&mut bytes, 1 << 20).unwrap();
    assert_eq!(bytes, long);
}

/// Cause: a record that could not be sent any more took the one before it along, which lay in front, unread. Symptom: the end of a session
/// read in its place what had been there a lap ago.
#[test]
fn what_was_sent_is_read_though_the_next_was_not() {
    let (server, client) = pair();
    client.send(b"sent").unwrap();
    server.close();
    assert_eq!(kind(client.send(b"not sent")), ErrorKind::BrokenPipe);
    let mut bytes = Vec::new();
    server.receive(&mut bytes, 64).unwrap();
    assert_eq!(bytes, b"sent");
}

#[test]
fn more_than_fits_goes_in_pieces() {
    let (server, client) = pair();
    let long = pattern(1 << 20);
    let (mut sent, mut received) = (0, Vec::new());
    while received.len() < long.len() {
        match server.send(&long[sent..]) {
            Ok(count) => sent += count,
            Err(error) => assert!(error.kind() == ErrorKind::WouldBlock && sent < long.len()),
        }
        while client.receive(&mut received).is_ok() {
            assert!(client.take());
        }
    }
    assert_eq!(received, long);
    let (mut sent, mut received) = (0, Vec::new());
    while received.len() < long.len() {
        while let Ok(count @ 1..) = client.send(&long[sent..]) {
            sent += count;
        }
        server.receive(&mut received, 1000).unwrap();
    }
    assert_eq!(received, long);
}

#[test]
fn a_full_ring_wakes_its_writer_when_there_is_room() {
    let (server, client) = pair();
    let some = pattern(1 << 10);
    while server.send(&some).is_ok() {}
    assert_eq!(kind(server.send(&some)), ErrorKind::WouldBlock);
    client.receive(&mut Vec::new()).unwrap();
    assert!(client.take());
    assert!(client.calls_writer(), "the server waits for room");
    assert!(!client.calls_writer(), "it is called once");
    assert!(server.send(&some).is_ok());

    while client.send(&some).is_ok() {}
    assert!(client.park_writer());
    server.receive(&mut Vec::new(), 1).unwrap();
    assert!(server.calls_writer());
    assert!(!client.park_writer(), "there is room");
}

#[test]
fn a_sleeper_is_called_and_one_who_finds_something_does_not_sleep() {
    let (server, client) = pair();
    assert!(server.park(|| server.has_requests()));
    client.send(b"call").unwrap();
    assert!(client.calls_reader());
    assert!(!server.park(|| server.has_requests()), "there is a request");
    assert!(!client.calls_reader());
    assert!(client.park_reader());
    server.send(b"reply").unwrap();
    assert!(server.calls_reader());
    assert!(!client.park_reader());
}

#[test]
fn a_reply_is_taken_given_back_or_neither() {
    let (server, client) = pair();
    server.send(b"first").unwrap();
    let first = server.written();
    assert_eq!(server.fate(first), None);
    client.receive(&mut Vec::new()).unwrap();
    assert_eq!(server.fate(first), None, "it was only read");
    assert!(client.take());
    assert_eq!(server.fate(first), Some(Fate::Taken));
    server.send(b"second").unwrap();
    let second = server.written();
    assert_eq!(server.fate(second), None);
    client.receive(&mut Vec::new()).unwrap();
    assert!(client.decline());
    assert_eq!(server.fate(second), Some(Fate::Declined));
    server.send(b"third").unwrap();
    client.receive(&mut Vec::new()).unwrap();
    server.close();
    assert!(!client.take(), "the server has decided");
    assert_eq!(server.fate(server.written()), None);
    assert_eq!(kind(client.send(b"call")), ErrorKind::BrokenPipe);
}

#[test]
fn what_is_left_behind_makes_room_and_large_replies_are_not() {
    let (server, client) = pair();
    for round in 0..100 {
        let reply = pattern(1000 * (1 + round % 32));
        assert_eq!(server.send(&reply).unwrap(), reply.len());
        assert!(!server.is_consumed());
        while client.receive(&mut Vec::new()).is_ok() {}
        assert!(client.pass(), "{round}");
        assert!(server.is_consumed());
    }
    server.send(&pattern(40_000)).unwrap();
    while client.receive(&mut Vec::new()).is_ok() {}
    assert!(!client.pass(), "the server may wait for room");
    assert!(!server.is_consumed());
    assert!(client.take());
    // An index that says what was given back says so no more.
    server.send(b"given back").unwrap();
    client.receive(&mut Vec::new()).unwrap();
    assert!(client.decline());
    // Nothing came since: what was said stands, for the server may not have looked.
    assert!(client.pass());
    assert_eq!(server.fate(server.written()), Some(Fate::Declined));
    server.send(b"left behind").unwrap();
    client.receive(&mut Vec::new()).unwrap();
    assert!(client.pass());
    assert_eq!(server.fate(server.written()), Some(Fate::Taken));
}

#[test]
fn bytes_are_the_same_as_words_and_back() {
    for count in 0..200 {
        let bytes: Vec<u8> = pattern(count).iter().map(|byte| byte ^ 0xff).collect();
        let words: Vec<AtomicU64> = (0..30).map(|_| AtomicU64::new(u64::MAX)).collect();
        store(&words, &bytes);
        let filled = count.next_multiple_of(8);
        let mut read = vec![1; filled];
        load(&words, &mut read);
        assert_eq!(read[..count], bytes);
        assert!(read[count..].iter().all(|&byte| byte == 0), "filled up with zeros");
        assert!(words[filled / 8..].iter().all(|word| word.load(Relaxed) == u64::MAX));
    }
}

#[test]
fn what_was_published_before_the_end_can_be_read_after_it() {
    let (server, client) = pair();
    client.send(b"last words").unwrap();
    server.close();
    let mut bytes = Vec::new();
    server.receive(&mut bytes, 64).unwrap();
    assert_eq!(bytes, b"last words");
}

/// Cause: a closed ring was read as far as the client's index said, which a client that breaks the rules moves on all the same. Symptom: whoever
/// went on writing kept the worker that ended its session, and drained its ring, for as long as it liked.
#[test]
fn what_a_scribbler_writes_after_the_end_is_not_read() {
    let (server, client) = pair();
    client.send(b"before").unwrap();
    server.close();
    let scribble = |bytes: &[u8]| {
        let tail = &server.memory.layout().requests.tail.0.index;
        let at = tail.load(Relaxed) & !words::CLOSED;
        let (_, end) = server.memory.requests().write(at, at + CAPACITY, bytes).unwrap();
        tail.store(end, Relaxed);
    };
    scribble(b"after");
    server.close();
    let mut received = Vec::new();
    assert_eq!(server.receive(&mut received, 100).unwrap(), 6);
    assert_eq!(received, b"before");
    for _ in 0..3 {
        scribble(b"after");
        server.close();
        assert_eq!(kind(server.receive(&mut received, 100)), ErrorKind::WouldBlock);
    }
}

#[test]
fn an_idle_ring_gives_its_pages_back_and_can_be_used_again() {
    let (server, client) = pair();
    client.send(&pattern(30_000)).unwrap();
    assert!(!server.retire(), "there is a request");
    server.receive(&mut Vec::new(), 1 << 20).unwrap();
    server.send(&pattern(30_000)).unwrap();
    client.receive(&mut Vec::new()).unwrap();
    assert!(!server.retire(), "the reply is not consumed");
    client.take();
    let pages = |server: &ServerEnd| rustix::fs::fstat(server.descriptor()).unwrap().st_blocks * 512 / 4096;
    assert!(pages(&server) >= 15, "{}", pages(&server));
    assert!(server.retire());
    assert_eq!(pages(&server), 1);
    // Once what went through the stream was written before it was found out, and its pages were back, counted by nobody.
    for call in [&b"call"[..], &pattern(30_000)] {
        assert_eq!(kind(client.send(call)), ErrorKind::BrokenPipe);
        assert_eq!(pages(&server), 1, "{} bytes", call.len());
    }
    server.reopen();
    client.send(b"call").unwrap();
    let mut bytes = Vec::new();
    server.receive(&mut bytes, 64).unwrap();
    assert_eq!(bytes, b"call");
    server.send(b"reply").unwrap();
    bytes.clear();
    client.receive(&mut bytes).unwrap();
    assert_eq!(bytes, b"reply");
}

#[test]
fn nonsense_in_any_word_is_an_error_or_nothing() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..2000 {
        let (server, client) = pair();
        let length = [100, 40][round % 2];
        client.send(&pattern(length)).unwrap();
        if round % 3 == 0 {
            server.receive(&mut Vec::new(), 1).unwrap();
        }
        server.send(&pattern(length)).unwrap();
        let layout = server.memory.layout();
        let words = [
            &layout.requests.tail.0.index,
            &layout.requests.head.0,
            &layout.replies.tail.0.index,
            &layout.replies.head.0,
            &layout.requests.tail.0.front.mark,
            &layout.replies.tail.0.front.mark,
            &layout.request_bytes[0],
            &layout.reply_bytes[0],
            &layout.server.0.reader,
            &layout.server.0.writer,
            &layout.client.0.reader,
            &layout.client.0.writer,
        ];
        let values = [next(), next() & 0xffff, next() & 0xff, u64::MAX, 1, next() >> 2, 120];
        words[round % words.len()].store(values[round / words.len() % values.len()], Relaxed);
        let (mut bytes, mut record) = (Vec::new(), [0; FRONT_BYTES]);
        let _ = server.receive_front(&mut record);
        let _ = server.receive(&mut bytes, 1 << 20);
        assert!(bytes.len() as u64 <= CAPACITY, "more than the ring can hold");
        let _ = server.fate(server.written());
        for _ in 0..3 {
            let _ = server.send(&pattern(40_000));
            let _ = client.send(&pattern(40_000));
            let _ = client.receive(&mut bytes);
        }
        server.retire();
        server.close();
    }
}

/// Whether something is mapped at any of these addresses.
fn is_mapped(range: std::ops::Range<usize>) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let mut ends = line.split([' ', '-']).map(|end| usize::from_str_radix(end, 16));
        matches!((ends.next(), ends.next()), (Some(Ok(start)), Some(Ok(end))) if start < range.end && range.start < end)
    })
}

#[test]
fn a_forked_child_does_not_have_the_ring() {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

    let (server, client) = pair();
    let place = server.memory.layout.cast::<AtomicU64>();
    let start = place.addr().get();
    let range = start..start + SEGMENT_BYTES;
    assert!(is_mapped(range.clone()));
    let held = crate::fork::holds_in_fork(move || {
        assert!(!is_mapped(range), "the child has its parent's ring");
        // Memory of the child's own may lie where the ring was: dropping the ends must not take it away.
        let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
        // SAFETY: nothing is mapped there, and the flag has the kernel refuse if there is.
        let own = unsafe {
            mmap_anonymous(
                place.as_ptr().cast(),
                PAGE_SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
            )
        };
        let own = NonNull::new(own.unwrap().cast::<AtomicU64>()).unwrap();
        assert_eq!(own, place);
        // SAFETY: the page is mapped, all zero and aligned; whoever unmaps it ends this process, which is what is looked for.
        let word = unsafe { own.as_ref() };
        word.store(7, Relaxed);
        drop((server, client));
        word.load(Relaxed) == 7
    });
    assert!(held);
}

#[test]
fn a_client_learns_where_the_worker_runs() {
    let (server, client) = pair();
    assert_eq!(client.processor(), None);
    for processor in [Some(0), Some(7), None] {
        server.runs_on(processor);
        assert_eq!(client.processor(), processor);
    }
}
