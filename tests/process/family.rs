//! Parents, children and daemons.

use std::io::Read;
use std::path::PathBuf;

use byproxy::Process;
use byproxy::process::{SpawnError, current};

use crate::support::{Desk, stay, visit};
use crate::watchdog::Watchdog;

/// Starts a child that stays at the desk, tells the child's name and stays itself.
fn middle(desk: PathBuf, daemon: bool) {
    let child = Process::builder().daemon(daemon).spawn(stay, (&desk,)).unwrap();
    let mut stream = visit(&desk, &format!("{} {}", current().name(), child.name()));
    let _ = stream.read_to_end(&mut Vec::new());
}

/// The visits of the middle child and of its child, in this order.
fn two_visits(desk: &Desk) -> (String, [std::os::unix::net::UnixStream; 2]) {
    let mut visits: Vec<_> = (0..2)
        .map(|_| {
            let mut visitor = desk.visitor();
            let mut words = [0; 256];
            let size = visitor.read(&mut words).unwrap();
            (String::from_utf8_lossy(&words[..size]).into_owned(), visitor)
        })
        .collect();
    visits.sort_by_key(|(words, _)| words == "!");
    let [(words, parent), (mark, child)] = visits.try_into().unwrap();
    assert_eq!(mark, "!");
    (words, [parent, child])
}

#[test]
fn a_daemon_dies_with_its_killed_parent() {
    let _watchdog = Watchdog::new();
    let desk = Desk::new();
    let parent = Process::spawn(middle, (desk.path(), true)).unwrap();
    let (_, [_parent_visit, mut grandchild]) = two_visits(&desk);
    parent.kill().unwrap();
    assert_eq!(parent.join().unwrap_err().exit_code(), Some(-9));
    // Its connection ends because it ends: it would have stayed as long as we do.
    assert_eq!(grandchild.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_daemon_does_not_die_with_the_thread_that_started_it() {
    let _watchdog = Watchdog::new();
    let desk = Desk::new();
    let start = || Process::builder().daemon(true).spawn(stay, (desk.path(),)).unwrap();
    let daemon = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
    let visitor = desk.visitor();
    assert!(!daemon.join_timeout(std::time::Duration::from_millis(50)).unwrap());
    drop(visitor);
    daemon.join().unwrap();
}

#[test]
fn a_child_that_is_no_daemon_outlives_its_parent() {
    let _watchdog = Watchdog::new();
    let desk = Desk::new();
    let parent = Process::spawn(middle, (desk.path(), false)).unwrap();
    let (_, [_parent_visit, mut grandchild]) = two_visits(&desk);
    parent.kill().unwrap();
    parent.join().unwrap_err();
    grandchild
        .set_read_timeout(Some(std::time::Duration::from_millis(100)))
        .unwrap();
    let error = grandchild.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "it is still there");
}

#[test]
fn children_of_children_are_numbered_under_their_parents() {
    let _watchdog = Watchdog::new();
    let desk = Desk::new();
    let parent = Process::spawn(middle, (desk.path(), false)).unwrap();
    let (words, visits) = two_visits(&desk);
    assert_eq!(words, format!("{0} {0}:1", parent.name()));
    drop(visits);
    parent.join().unwrap();
}

#[test]
fn a_daemon_may_not_start_processes() {
    let _watchdog = Watchdog::new();
    let try_it = || match Process::spawn(|| (), ()) {
        Err(SpawnError::DaemonChild) => 33_u8,
        _ => 0,
    };
    let daemon = Process::builder().daemon(true).spawn(try_it, ()).unwrap();
    assert_eq!(daemon.join().unwrap_err().exit_code(), Some(33));
}

#[test]
fn handles_of_one_child_are_equal() {
    let _watchdog = Watchdog::new();
    let one = Process::spawn(|| (), ()).unwrap();
    let other = Process::spawn(|| (), ()).unwrap();
    assert_eq!(one.clone(), one);
    assert_ne!(one, other);
    one.join().unwrap();
    other.join().unwrap();
}
