//! Starts that only the library itself makes: processes with a link, descriptors that travel, another program's orders.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, getpid, kill_process, pidfd_open};

use super::children::{Child, reap};
use super::program::Program;
use super::report::{Cause, Farewell, Report};
use super::wire::Wire;
use super::{Process, entry, inherited};

/// Greets over the link, and then echoes until the other side hangs up.
fn serve(greeting: String) {
    let mut link = inherited().unwrap();
    assert!(inherited().is_none(), "the link is taken once");
    assert_eq!(getpgid(None).unwrap(), getpid(), "it leads a group of its own");
    // Ctrl-C does not end it.
    kill_process(getpid(), Signal::INT).unwrap();
    link.write_all(greeting.as_bytes()).unwrap();
    let mut echo = [0];
    while link.read(&mut echo).unwrap() == 1 {
        link.write_all(&echo).unwrap();
    }
}

#[test]
fn a_linked_process_talks_to_its_starter() {
    let (server, mut link) = Process::builder()
        .name("server")
        .spawn_linked(serve, ("hello",))
        .unwrap();
    let mut greeting = [0; 5];
    link.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hello");
    link.write_all(b"x").unwrap();
    link.read_exact(&mut greeting[..1]).unwrap();
    assert_eq!(greeting[0], b'x');
    assert!(!super::active_children().contains(&server), "it is nobody's business");
    drop(link);
    server.join().unwrap();
}

#[test]
fn a_linked_process_ends_with_its_starter() {
    // The starter passes its server's link on to us by staying alive exactly as long as we want it to.
    let start = || {
        let mut ours = inherited().unwrap();
        let (_server, mut link) = Process::builder().spawn_linked(serve, ("hello",)).unwrap();
        link.read_exact(&mut [0; 5]).unwrap();
        let link = link.as_fd();
        Wire::new(ours.try_clone().unwrap(), None)
            .unwrap()
            .send_descriptors(&[link])
            .unwrap();
        let _ = ours.read(&mut [0]);
        std::thread::park();
    };
    let (starter, ours) = Process::builder().spawn_linked(start, ()).unwrap();
    let wire = Wire::new(ours, None).unwrap();
    let mut link = UnixStream::from(wire.receive_descriptors(1).unwrap().pop().unwrap());
    starter.kill().unwrap();
    starter.join().unwrap_err();
    // We hold the link's near end, so only its own end can have closed the far one.
    assert_eq!(link.read(&mut [0]).unwrap(), 0);
}

/// While one thread starts a child, another collects what has ended, as every start does. If the child ends at once, that thread came
/// first, and the child's last words were lost.
#[test]
#[expect(clippy::zombie_processes, reason = "the record of the child collects it")]
fn a_child_that_ends_during_its_start_is_heard() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let program = Command::new("false").spawn().unwrap();
    let pidfd = pidfd_open(Pid::from_child(&program), PidfdFlags::empty()).unwrap();
    let child = Child::new("clerk".to_owned(), program.id(), pidfd, false, false);
    let farewell = Farewell {
        code: 1,
        cause: Some(Cause::error("sold out")),
    };
    Report::Farewell(farewell)
        .send(&Wire::new(theirs, None).unwrap())
        .unwrap();
    poll(&mut [PollFd::new(&child, PollFlags::IN)], None).unwrap();
    reap();
    child.enlist(Wire::new(ours, None).unwrap());
    let failed = child.verdict(child.end()).unwrap_err();
    assert_eq!((failed.exit_code(), failed.message()), (Some(1), Some("sold out")));
}

#[test]
fn descriptors_travel_in_any_number_and_order() {
    let (near, far) = UnixStream::pair().unwrap();
    let (near, far) = (Wire::new(near, None).unwrap(), Wire::new(far, None).unwrap());
    let files: Vec<_> = (0..600).map(|_| UnixStream::pair().unwrap().0).collect();
    let inode = |file: &dyn AsFd| rustix::fs::fstat(file.as_fd()).unwrap().st_ino;
    for count in [0, 1, 249, 250, 251, 600] {
        let sent: Vec<_> = files[..count].iter().map(AsFd::as_fd).collect();
        near.send_descriptors(&sent).unwrap();
        let received = far.receive_descriptors(count).unwrap();
        assert_eq!(received.len(), count);
        for (sent, received) in sent.iter().zip(&received) {
            assert_eq!(inode(sent), inode(received));
            let flags = rustix::io::fcntl_getfd(received).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }
}

#[test]
fn an_order_for_another_program_is_not_obeyed() {
    let place = entry::offset_of::<_, _, fn(String)>(serve, &("hello",)).unwrap();
    let this = Program::current().unwrap();
    assert!(entry::trampoline_at(place, &this).is_some());
    assert!(entry::trampoline_at(i64::MAX, &this).is_none());
    assert!(entry::trampoline_at(place, &Program::of("/bin/sh").unwrap()).is_none());
}
