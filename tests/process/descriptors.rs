//! Descriptors: nothing of a parent leaks into its children, and nothing stays behind in the parent.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use byproxy::Process;
use byproxy::process::SpawnError;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::watchdog::Watchdog;

/// What the open descriptors of this process are: `socket`, `anon_inode` and so on, or a path.
fn open_descriptors() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    entries
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .collect()
}

#[test]
fn a_child_has_its_socket_and_nothing_of_its_siblings() {
    let _watchdog = Watchdog::new();
    // Whatever this test program was started with may be inherited; sockets and pidfds of ours may not.
    let count = |inherited: usize| {
        let descriptors = open_descriptors();
        let sockets = descriptors
            .iter()
            .filter(|target| target.starts_with("socket:"))
            .count();
        let pidfds = descriptors.iter().filter(|target| target.contains("pidfd")).count();
        assert!(sockets <= 1 + inherited, "{descriptors:?}");
        assert_eq!(pidfds, 0, "{descriptors:?}");
    };
    let inherited = (0..=2)
        .filter_map(|number| fs::read_link(format!("/proc/self/fd/{number}")).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..6 {
                    Process::spawn(count, (inherited,)).unwrap().join().unwrap();
                }
            });
        }
    });
}

#[test]
fn an_open_file_of_the_parent_is_not_the_childs() {
    let _watchdog = Watchdog::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let check = |path: String, number: i32| {
        assert!(number > 2);
        assert!(!open_descriptors().contains(&path));
    };
    Process::spawn(check, (path, file.as_file().as_raw_fd()))
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_daemon_holds_its_socket_and_its_parents_pidfd() {
    let _watchdog = Watchdog::new();
    let count = || {
        open_descriptors()
            .iter()
            .filter(|target| target.contains("pidfd"))
            .count()
            == 1
    };
    let check = move || assert!(count());
    Process::builder()
        .daemon(true)
        .spawn(check, ())
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn an_ended_child_leaves_only_its_handles_pidfd() {
    let _watchdog = Watchdog::new();
    // In a child, because other tests of this program open descriptors at the same time.
    let run = || {
        let before = open_descriptors().len();
        let children: Vec<Process> = (0..5).map(|_| Process::spawn(|| (), ()).unwrap()).collect();
        for child in &children {
            child.join().unwrap();
        }
        assert_eq!(open_descriptors().len(), before + 5);
        drop(children);
        assert_eq!(open_descriptors().len(), before);
    };
    Process::spawn(run, ()).unwrap().join().unwrap();
}

#[test]
fn a_child_that_prints_prints_here() {
    let _watchdog = Watchdog::new();
    // The harness's own announcements went elsewhere, the child's output is this program's again.
    let here = fs::read_link("/proc/self/fd/1").unwrap().to_string_lossy().into_owned();
    let check = |here: String| assert_eq!(fs::read_link("/proc/self/fd/1").unwrap().to_string_lossy(), here);
    Process::spawn(check, (here,)).unwrap().join().unwrap();
}

#[test]
fn programs_that_a_child_runs_inherit_nothing_of_ours() {
    let _watchdog = Watchdog::new();
    let run = || {
        let listing = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
        let listing = String::from_utf8(listing.stdout).unwrap();
        assert!(listing.contains("/dev/null"), "standard input: {listing}");
        assert!(!listing.contains("socket:") && !listing.contains("pidfd"), "{listing}");
    };
    Process::builder().daemon(true).spawn(run, ()).unwrap().join().unwrap();
}

#[test]
fn a_start_without_descriptors_left_fails_and_leaves_nothing() {
    let _watchdog = Watchdog::new();
    let run = || {
        let few = Rlimit {
            current: Some(24),
            maximum: Some(24),
        };
        setrlimit(Resource::Nofile, few).unwrap();
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        let mut started = 0;
        while !taken.is_empty() {
            match Process::spawn(|| (), ()) {
                Ok(child) => {
                    started += 1;
                    child.join().unwrap();
                }
                Err(error) => assert!(matches!(error, SpawnError::Exec(_)), "{error}"),
            }
            taken.pop();
        }
        assert!(started > 0, "with enough descriptors it works again");
        assert!(byproxy::active_children().is_empty());
    };
    Process::spawn(run, ()).unwrap().join().unwrap();
}
