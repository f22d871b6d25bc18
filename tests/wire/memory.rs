//! Descriptors on the control connection: what is taken, what is refused, and that nothing of it stays open.

use crate::alone::alone;
use crate::support::{Client, NOTHING, Raw, STUCK, Sent, Served, framed, message, until};
use byproxy::server::Limits;
use byproxy_proto::frame::{Reply, Request, Share};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Limits as ValueLimits, Token, from_slice, to_vec};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The note of nothing.
const NO_NOTE: &[u8] = &[0];

/// A memfd, sealed or not.
fn memfd(seals: SealFlags) -> OwnedFd {
    let memfd = memfd_create("byproxy-test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&memfd, 4096).unwrap();
    fcntl_add_seals(&memfd, seals).unwrap();
    memfd
}

fn sealed() -> OwnedFd {
    memfd(SealFlags::SHRINK)
}

/// Sends bytes with descriptors.
fn send_with(raw: &Raw, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
    let sent = sendmsg(&raw.0, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
    assert_eq!(sent, bytes.len());
}

fn share_frame(number: u64, name: Option<&str>, note: &[u8]) -> Vec<u8> {
    framed(|out| Request::Share(Share { number, name, note }).write(out))
}

fn fetch_frame(number: u64, object: u64) -> Vec<u8> {
    framed(|out| Request::Fetch { number, object }.write(out))
}

/// Shares a descriptor; returns the object and whether it was made, or the fault's message.
fn share(client: &mut Client, name: Option<&str>, descriptors: &[BorrowedFd<'_>]) -> Result<(u64, bool), String> {
    send_with(&client.control, &share_frame(7, name, NO_NOTE), descriptors);
    answer(&mut client.control)
}

fn answer(control: &mut Raw) -> Result<(u64, bool), String> {
    let Sent::Frame(body) = control.receive() else {
        return Err("closed".to_owned());
    };
    match Reply::read(&body, &ValueLimits::default()).unwrap() {
        Reply::Done { number, handed, result } => {
            let (token, made): (Token, bool) = from_slice(result, &ValueLimits::default()).unwrap();
            assert_eq!((number, handed), (7, vec![token.object]));
            Ok((token.object, made))
        }
        _ => Err(message(&body)),
    }
}

/// Fetches the descriptor of an object.
fn fetch(client: &mut Client, object: u64) -> OwnedFd {
    client.control.send(&fetch_frame(8, object));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 512];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(
        &client.control.0,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        flags,
    )
    .unwrap();
    let body = &bytes[4..received.bytes];
    assert!(matches!(
        Reply::read(body, &ValueLimits::default()),
        Ok(Reply::Done { number: 8, handed, result: NO_NOTE }) if handed == [object]
    ));
    let descriptors = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors.collect::<Vec<_>>()),
        _ => None,
    });
    let mut descriptors = descriptors.expect("a descriptor comes along");
    assert_eq!(descriptors.len(), 1);
    descriptors.remove(0)
}

/// How many descriptors this process, which the server is a part of, has open.
fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn what_is_kept_is_handed_out_and_closed_with_its_last_reference() {
    let served = Served::start();
    let (mut maker, mut reader) = (served.client(), served.client());
    let memory = sealed();
    let (object, made) = share(&mut maker, Some("memory"), &[memory.as_fd()]).unwrap();
    assert!(made && served.handle.stats().descriptors == 1);
    drop(maker);
    until("the maker's session has ended", || served.handle.stats().sessions == 1);

    let found = share(&mut reader, Some("memory"), &[sealed().as_fd()]).unwrap();
    assert_eq!(found, (object, false), "the name has it");
    let fetched = fetch(&mut reader, object);
    assert_eq!(fstat(&fetched).unwrap().st_ino, fstat(&memory).unwrap().st_ino);
    assert_eq!(served.handle.stats().descriptors, 1, "what came to find it is closed");

    reader.call(Operation::Remove, 0, ("memory",)).unwrap();
    assert_eq!(served.handle.stats().descriptors, 1, "the reader holds two references");
    reader
        .lane
        .send(&framed(|out| Request::Release(vec![(object, 2)]).write(out)));
    // The worker that sent it may still have it in hand.
    until("it is closed", || served.handle.stats().descriptors == 0);
    reader.control.send(&fetch_frame(9, object));
    let Sent::Frame(body) = reader.control.receive() else {
        panic!("closed")
    };
    assert!(message(&body).starts_with("NoSuchObject"));
}

#[test]
fn what_is_no_sealed_memory_is_refused_and_closed() {
    alone("memory::what_is_no_sealed_memory_is_refused_and_closed", || {
        let served = Served::start();
        let mut client = served.client();
        client.ping();
        let before = open();
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..10 {
            let unsealed = memfd(SealFlags::GROW);
            let refused = share(&mut client, None, &[unsealed.as_fd()]).unwrap_err();
            assert!(
                refused.starts_with("BadArgument") && refused.contains("sealed"),
                "{refused}"
            );
            let file = std::fs::File::create(directory.path().join("file")).unwrap();
            assert!(share(&mut client, None, &[file.as_fd()]).is_err());
            let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
            assert!(share(&mut client, None, &[one.as_fd()]).is_err());
            assert!(share(&mut client, None, &[other.as_fd()]).is_err());
            let refused = share(&mut client, None, &[]).unwrap_err();
            assert!(refused.starts_with("BadArgument"), "{refused}");
        }
        client.ping();
        assert_eq!((open(), served.handle.stats().descriptors), (before, 0));
    });
}

#[test]
fn descriptors_that_nobody_asked_for_end_the_session_and_are_closed() {
    alone(
        "memory::descriptors_that_nobody_asked_for_end_the_session_and_are_closed",
        || {
            let served = Served::start();
            let mut other = served.client();
            other.ping();
            let before = open();
            let memories: Vec<_> = (0..10).map(|_| sealed()).collect();
            let with: Vec<_> = memories.iter().map(AsFd::as_fd).collect();
            let share = share_frame(7, None, NO_NOTE);
            let release = framed(|out| Request::Release(vec![(1, 1)]).write(out));
            for (bytes, descriptors) in [
                (&share, &with[..10]),
                (&share, &with[..2]),
                (&release, &with[..1]),
                (&fetch_frame(7, 1), &with[..1]),
                (&[share.clone(), share.clone()].concat(), &with[..2]),
            ] {
                let mut client = served.client();
                send_with(&client.control, bytes, descriptors);
                let told = loop {
                    match client.control.receive() {
                        Sent::Frame(body) if !message(&body).starts_with("Malformed") => {}
                        Sent::Frame(body) => break message(&body),
                        Sent::End => panic!("closed without a reason"),
                    }
                };
                assert!(told.contains("one descriptor"), "{told}");
                client.lane.expect_end();
            }
            drop(memories);
            until("every descriptor is closed", || open() == before);
            other.ping();
        },
    );
}

#[test]
fn descriptors_on_a_lane_are_closed_unseen_and_requests_for_them_refused() {
    alone(
        "memory::descriptors_on_a_lane_are_closed_unseen_and_requests_for_them_refused",
        || {
            let served = Served::start();
            let mut client = served.client();
            client.ping();
            let before = open();
            let memory = sealed();
            let release = framed(|out| Request::Release(vec![(1, 1)]).write(out));
            for _ in 0..10 {
                send_with(&client.lane, &release, &[memory.as_fd(), memory.as_fd()]);
                client.ping();
            }
            assert_eq!(open(), before + 1, "the test's own");
            send_with(&client.lane, &share_frame(1, None, NO_NOTE), &[memory.as_fd()]);
            assert!(client.lane.expect_refusal().starts_with("Malformed"));
            client.control.expect_end();
            let mut client = served.client();
            client.lane.send(&fetch_frame(1, 1));
            assert!(client.lane.expect_refusal().starts_with("Malformed"));
            drop((client, memory));
            until("every descriptor is closed", || open() < before);
        },
    );
}

#[test]
fn a_client_that_goes_in_the_middle_leaves_nothing_open() {
    alone("memory::a_client_that_goes_in_the_middle_leaves_nothing_open", || {
        let served = Served::start();
        served.client().ping();
        until("it has gone", || served.handle.stats().connections == 0);
        let before = open();
        for cut in 1..10 {
            let client = served.client();
            let memory = sealed();
            let frame = share_frame(7, None, NO_NOTE);
            send_with(&client.control, &frame[..cut.min(frame.len())], &[memory.as_fd()]);
            // Long enough for the server to have read it, mostly.
            std::thread::sleep(Duration::from_millis(2));
        }
        until("every descriptor is closed", || {
            // Fewer if something of the first client's was still open when they were counted.
            open() <= before && served.handle.stats().descriptors == 0
        });
    });
}

#[test]
fn who_asks_and_does_not_read_is_let_go() {
    let served = Served::start();
    let mut client = served.client();
    let (object, _) = share(&mut client, None, &[sealed().as_fd()]).unwrap();
    let many: Vec<u8> = (1..=5000).flat_map(|number| fetch_frame(number, object)).collect();
    // The session may end before all of it is sent.
    let _ = std::io::Write::write_all(&mut client.control.0, &many);
    client.lane.expect_end();
    until("what was kept is closed", || served.handle.stats().descriptors == 0);
}

#[test]
fn there_is_a_limit() {
    let served = Served::with(Limits {
        descriptors_max: 3,
        ..Limits::default()
    });
    let mut client = served.client();
    let objects: Vec<_> = (0..3)
        .map(|_| share(&mut client, None, &[sealed().as_fd()]).unwrap().0)
        .collect();
    let refused = share(&mut client, None, &[sealed().as_fd()]).unwrap_err();
    assert!(refused.starts_with("TooMany"), "{refused}");
    client
        .lane
        .send(&framed(|out| Request::Release(vec![(objects[1], 1)]).write(out)));
    client.ping();
    share(&mut client, None, &[sealed().as_fd()]).unwrap();
    assert_eq!(served.handle.stats().descriptors, 3);
}

/// The bytes that all objects occupy.
fn charged(client: &mut Client) -> u64 {
    let (stats, _) = client.call(Operation::Stats, 0, NOTHING).unwrap();
    let stats: BTreeMap<String, u64> = from_slice(&stats, &ValueLimits::default()).unwrap();
    stats["bytes"]
}

/// Cause: memory was limited in number only. Symptom: a client had the server keep all the memory of a machine, and its statistics showed
/// a few hundred bytes.
#[test]
fn what_is_kept_is_charged_with_its_size_and_cant_grow() {
    const SIZE: u64 = 1 << 20;
    let served = Served::start();
    let mut client = served.client();
    let before = charged(&mut client);
    let charges = |client: &mut Client, bytes: u64| {
        let now = charged(client);
        (before + bytes..before + bytes + 2048).contains(&now)
    };
    let memory = sealed();
    // The last byte's page is there as a whole.
    ftruncate(&memory, SIZE - 1).unwrap();
    let (object, _) = share(&mut client, Some("memory"), &[memory.as_fd()]).unwrap();
    assert!(charges(&mut client, SIZE));
    assert!(
        ftruncate(&memory, 2 * SIZE).is_err(),
        "what was charged is less than what it has become"
    );
    let beyond = fallocate(&memory, FallocateFlags::KEEP_SIZE, SIZE, SIZE);
    assert!(beyond.is_err(), "so is what it takes beyond its end");

    // What is larger than all that a server may keep, though there is nothing in it yet.
    let huge = sealed();
    ftruncate(&huge, 1 << 50).unwrap();
    let refused = share(&mut client, None, &[huge.as_fd()]).unwrap_err();
    assert!(
        refused.starts_with("TooLarge") && refused.contains("memory"),
        "{refused}"
    );
    let found = share(&mut client, Some("memory"), &[huge.as_fd()]).unwrap();
    assert_eq!(found, (object, false), "it is not kept, so it needs no room");
    assert!(charges(&mut client, SIZE));

    // What can't be kept from growing.
    let growing = memfd(SealFlags::SHRINK | SealFlags::SEAL);
    let refused = share(&mut client, None, &[growing.as_fd()]).unwrap_err();
    assert!(
        refused.starts_with("BadArgument") && refused.contains("sealed"),
        "{refused}"
    );
    // What takes more than its length says: only what lies beyond its end, so that its length can be filled later.
    let long = sealed();
    ftruncate(&long, SIZE).unwrap();
    fallocate(&long, FallocateFlags::KEEP_SIZE, SIZE, SIZE).unwrap();
    let (longer, _) = share(&mut client, None, &[long.as_fd()]).unwrap();
    assert!(charges(&mut client, 2 * SIZE));
    assert_eq!(
        fstat(&long).unwrap().st_blocks,
        0,
        "it takes what it is not charged for"
    );

    client.call(Operation::Remove, 0, ("memory",)).unwrap();
    client.lane.send(&framed(|out| {
        Request::Release(vec![(object, 2), (longer, 1)]).write(out);
    }));
    // Large memory is let go of by a helper.
    let late = Instant::now() + STUCK;
    while charged(&mut client) != before {
        assert!(Instant::now() < late, "what was let go of is still charged");
    }
    assert_eq!(served.handle.stats().descriptors, 0);
}

#[test]
fn notes_and_names_are_checked() {
    let served = Served::start();
    let mut client = served.client();
    let list = client.new_list(Some("list"));
    let refused = share(&mut client, Some("list"), &[sealed().as_fd()]).unwrap_err();
    assert!(refused.starts_with("NameTaken"), "{refused}");
    let (token, _) = client.call(Operation::Open, 0, ("list",)).unwrap();
    let long = to_vec("x".repeat(1100).as_str(), &ValueLimits::default()).unwrap();
    for (note, code) in [
        (token, "BadArgument"),
        (long, "TooLarge"),
        (vec![0, 0], "BadArgument"),
        (vec![63], "Malformed"),
    ] {
        send_with(&client.control, &share_frame(7, None, &note), &[sealed().as_fd()]);
        let refused = answer(&mut client.control).unwrap_err();
        assert!(refused.starts_with(code), "{refused}, not {code}");
    }
    client.control.send(&fetch_frame(7, list));
    assert!(answer(&mut client.control).unwrap_err().starts_with("WrongType"));
    assert!(
        client
            .call(Operation::Create, 0, (5_u8, None::<&str>, None::<()>))
            .is_err()
    );
    let (memory, _) = share(&mut client, None, &[sealed().as_fd()]).unwrap();
    assert!(client.call(Operation::ListLen, memory, NOTHING).is_err());
    client.control.0.set_read_timeout(Some(STUCK)).unwrap();
    assert_eq!(served.handle.stats().descriptors, 1);
}
