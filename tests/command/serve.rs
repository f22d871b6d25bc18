//! `byproxy serve`: one line when it accepts, a clean end on a signal, and one server to a path.

use crate::served::{Served, byproxy};
use crate::watchdog::Watchdog;
use crate::{Ended, end, run};
use byproxy::{Address, Manager, Process};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, Signal};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn it_says_when_it_accepts_and_ends_clean_on_a_signal() {
    let _watchdog = Watchdog::new();
    for signal in [Signal::TERM, Signal::INT] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let mut server = Served::at(&path);
        assert_eq!(server.address(), format!("unix:{}", path.display()));
        assert!(path.metadata().unwrap().file_type().is_socket());
        assert_eq!(mode(&path), 0o600, "for this user only");
        // No waiting: the line is the promise.
        let manager = Manager::connect(server.address()).unwrap();
        manager.list_named::<u64>("kept").unwrap().append(1).unwrap();

        server.signal(signal);
        let (status, rest) = server.wait();
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert_eq!(rest, "", "one line and no more");
        assert!(!path.exists(), "{signal:?}: the socket is gone");
        assert!(manager.ping().is_err());
    }
}

#[test]
fn a_second_one_says_who_has_the_path() {
    let _watchdog = Watchdog::new();
    let server = Served::start();
    let Ended { code, out, err } = run(&["serve", "--listen", server.address()]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("byproxy: "), "{err}");
    assert!(
        err.contains(&server.pid().as_raw_nonzero().to_string()),
        "it names the process that has it: {err}"
    );
    assert!(err.contains(&*server.path().to_string_lossy()), "{err}");
    Manager::connect(server.address()).unwrap().ping().unwrap();
}

#[test]
fn memory_and_connections_have_a_limit_that_can_be_set() {
    let _watchdog = Watchdog::new();
    let mut command = byproxy();
    command.args(["serve", "--memory-max", "1MiB"]);
    let server = Served::run(&mut command);
    let manager = Manager::connect(server.address()).unwrap();
    let list = manager.list::<String>().unwrap();
    list.append("x".repeat(500_000)).unwrap();
    let refused = list.append("x".repeat(600_000)).unwrap_err();
    assert!(matches!(refused, byproxy::Error::TooLarge(_)), "{refused}");

    // A session takes two connections: its own, and a lane.
    for (most, fits) in [("3", false), ("4", true)] {
        let mut command = byproxy();
        command.args(["serve", "--connections-max", most]);
        let server = Served::run(&mut command);
        let _first = Manager::connect(server.address()).unwrap();
        // A moment to be refused in, or as long as it takes.
        let patience = Duration::from_millis(if fits { 20_000 } else { 500 });
        let second = Process::spawn(connects, (server.address(), patience)).unwrap();
        assert_eq!(second.join().is_ok(), fits, "{most}");
    }

    let Ended { code, err, .. } = run(&["serve", "--memory-max", "much"]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("--memory-max") && err.contains("much") && err.contains("such as 512MiB"),
        "{err}"
    );
}

/// In a process that has no session yet.
fn connects(address: String, patience: Duration) -> byproxy::Result<()> {
    let builder = Manager::builder().connect_timeout(patience);
    builder.connect(address)?.ping()
}

/// Nothing is claimed, and the one line says what to do.
#[test]
fn limits_with_which_nobody_could_be_served_are_refused() {
    let _watchdog = Watchdog::new();
    for (arguments, words) in [
        (["--workers", "0"], "at least 1"),
        (["--connections-max", "1"], "at least 2"),
        (["--memory-max", "0"], "leave it out"),
    ] {
        let Ended { code, out, err } = run(&["serve", arguments[0], arguments[1]]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(
            err.starts_with("byproxy: ") && err.contains(words) && err.lines().count() == 1,
            "{err}"
        );
    }
}

#[test]
fn a_stale_socket_is_taken_over() {
    let _watchdog = Watchdog::new();
    let mut killed = Served::start();
    let path = killed.path();
    killed.kill();
    assert!(path.exists());
    let next = Served::at(&path);
    Manager::connect(next.address()).unwrap().ping().unwrap();
}

#[test]
fn what_is_not_a_stale_socket_of_ours_is_left_alone() {
    let _watchdog = Watchdog::new();
    let directory = tempfile::tempdir().unwrap();

    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let listening = directory.path().join("listening");
    let listener = UnixListener::bind(&listening).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();

    for path in [&file, &listening, &link] {
        let Ended { code, out, err } = run(&["serve", "--listen", &format!("unix:{}", path.display())]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{path:?}");
        assert!(
            err.starts_with("byproxy: ") && err.contains(&*path.to_string_lossy()),
            "{err}"
        );
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(link.is_symlink());
    drop(listener);
}

#[test]
fn without_a_path_it_makes_a_private_folder() {
    let _watchdog = Watchdog::new();
    let mut server = Served::run(byproxy().arg("serve").env_remove("BYPROXY_LISTEN"));
    let path = server.path();
    let folder = path.parent().unwrap().to_owned();
    assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
    Manager::connect(server.address()).unwrap().ping().unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
    assert!(!folder.exists(), "the folder was made for it and goes with it");
}

#[test]
fn the_environment_may_say_where_to_listen() {
    let _watchdog = Watchdog::new();
    let directory = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", directory.path().join("env.sock").display());
    let server = Served::run(byproxy().arg("serve").env("BYPROXY_LISTEN", &address));
    assert_eq!(server.address(), address);
}

#[test]
fn addresses_that_cannot_be_served_are_refused() {
    let _watchdog = Watchdog::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let below_a_file = format!("unix:{}/app.sock", file.path().display());
    let long = format!("unix:/tmp/{}", "x".repeat(200));
    for (address, code_wanted) in [
        (below_a_file.as_str(), 1),
        ("tcp:127.0.0.1:1", 1),
        (&long, 2),
        ("nonsense", 2),
    ] {
        let Ended { code, out, err } = run(&["serve", "--listen", address]);
        assert_eq!((code, out.as_str()), (Some(code_wanted), ""), "{address}: {err}");
        assert!(err.contains(address.strip_prefix("unix:").unwrap_or(address)), "{err}");
    }
}

#[test]
fn it_takes_more_connections_than_a_shell_allows_descriptors() {
    let _watchdog = Watchdog::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roomy.sock");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -S -n 64 && exec \"$0\" serve --listen \"unix:$1\""]);
    let server = Served::run(shell.arg(env!("CARGO_BIN_EXE_byproxy")).arg(&path));
    let _others: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect();
    Manager::connect(server.address()).unwrap().ping().unwrap();
}

/// How many rings a server has made for its clients.
fn rings_of(server: Pid) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.as_raw_nonzero())).unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("/memfd:byproxy"))
        .count()
}

#[test]
fn busy_clients_go_on_in_shared_memory_unless_it_is_told_to_keep_them_out() {
    let _watchdog = Watchdog::new();
    for (words, rings) in [(&[][..], 1), (&["--no-ring"], 0)] {
        let server = Served::run(byproxy().arg("serve").args(words).env_remove("BYPROXY_LISTEN"));
        let manager = Manager::connect(server.address()).unwrap();
        for _ in 0..100 {
            manager.ping().unwrap();
        }
        assert_eq!(rings_of(server.pid()), rings, "{words:?}");
    }
}

#[test]
fn a_manager_that_wants_no_rings_starts_a_server_without_them() {
    let _watchdog = Watchdog::new();
    for (wanted, rings) in [(true, 2), (false, 0)] {
        let manager = Manager::builder().ring(wanted).start().unwrap();
        let Some(Address::Unix(path)) = manager.address() else {
            panic!("it has no socket")
        };
        let stream = UnixStream::connect(&path).unwrap();
        let server = socket_peercred(&stream).unwrap().pid;
        for _ in 0..100 {
            manager.ping().unwrap();
        }
        // Another process has no such wish.
        let address = manager.address().unwrap().to_string();
        let other = Process::spawn(find_rings, (address, server.as_raw_nonzero().get(), rings)).unwrap();
        other.join().unwrap();
    }
}

/// Makes a server busy, and looks how many rings it has then.
fn find_rings(address: String, server: i32, rings: usize) -> byproxy::Result<()> {
    let manager = Manager::connect(address)?;
    for _ in 0..100 {
        manager.ping()?;
    }
    assert_eq!(rings_of(Pid::from_raw(server).unwrap()), rings);
    Ok(())
}

#[test]
fn it_serves_on_when_nobody_reads_its_output() {
    let _watchdog = Watchdog::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("quiet.sock");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = byproxy();
    command
        .arg("serve")
        .arg("--listen")
        .arg(format!("unix:{}", path.display()))
        .stdout(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let manager = loop {
        assert_eq!(child.try_wait().unwrap(), None, "it did not survive");
        match Manager::connect(format!("unix:{}", path.display()).as_str()) {
            Ok(manager) => break manager,
            Err(_) => std::thread::yield_now(),
        }
    };
    manager.ping().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let _watchdog = Watchdog::new();
    for arguments in [&["serve", "--what"][..], &["dance"], &["show", "unix:/tmp/x"]] {
        let Ended { code, out, err } = run(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.contains("Usage"), "{err}");
    }
    let help = end(byproxy().arg("--help"));
    assert_eq!(help.code, Some(0));
    for verb in ["serve", "ping", "ls", "show"] {
        assert!(help.out.contains(verb), "{}", help.out);
    }
}
