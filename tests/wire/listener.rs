//! Whose path it is: what a server takes over, and what it leaves alone.

use crate::alone::alone;
use crate::support::{STUCK, Served};
use byproxy::Address;
use byproxy::server::Server;
use byproxy_proto::fault::FaultCode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

fn listen(path: &Path) -> Result<Server, String> {
    Server::builder()
        .listen(Address::unix(path).unwrap())
        .build()
        .map_err(|error| error.to_string())
}

fn refusal(path: &Path) -> String {
    listen(path).expect_err("the server took the path")
}

#[test]
fn the_socket_is_ours_alone_and_so_is_a_directory_made_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/socket");
    let server = listen(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_path_of_which_more_than_a_directory_is_missing_is_refused_and_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("mistyped");
    let text = refusal(&missing.join("deep/socket"));
    assert!(text.contains(&format!("no directory {},", missing.display())), "{text}");
    assert!(!missing.exists());
}

#[test]
fn a_second_server_learns_who_has_the_path() {
    let served = Served::start();
    let text = refusal(&served.path);
    assert!(
        text.contains("already running") && text.contains(&format!("pid {}", std::process::id())),
        "{text}"
    );
    served.client().ping();
}

#[test]
fn a_dead_servers_socket_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // A killed server leaves its socket and its lock file, and the lock with its process.
    drop(UnixListener::bind(&path).unwrap());
    fs::write(directory.path().join("socket.lock"), "12345\n").unwrap();
    assert!(path.exists());
    let server = listen(&path).unwrap();
    assert_eq!(
        fs::read_to_string(directory.path().join("socket.lock")).unwrap().trim(),
        std::process::id().to_string()
    );
    drop(server);
    assert!(!path.exists());
}

#[test]
fn what_is_not_a_dead_socket_of_ours_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(refusal(&file).contains("no socket"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let target = directory.path().join("target");
    drop(UnixListener::bind(&target).unwrap());
    let link = directory.path().join("link");
    symlink(&target, &link).unwrap();
    assert!(refusal(&link).contains("symbolic link"));
    assert!(target.exists() && link.exists());

    let alive = directory.path().join("alive");
    let _listener = UnixListener::bind(&alive).unwrap();
    assert!(refusal(&alive).contains("another program"));
    assert!(fs::metadata(&alive).unwrap().file_type().is_socket());
}

#[test]
fn a_lock_that_is_a_symbolic_link_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "precious").unwrap();
    symlink(&target, directory.path().join("socket.lock")).unwrap();
    refusal(&directory.path().join("socket"));
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = directory.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let text = refusal(&open.join("socket"));
    assert!(text.contains("others may write") && text.contains("777"), "{text}");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
}

#[test]
fn the_directory_of_another_user_is_refused() {
    // Only root can make one; everybody else has the system's.
    let directory = tempfile::tempdir().unwrap();
    let foreign = if rustix::process::geteuid().is_root() {
        let foreign = directory.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        std::os::unix::fs::chown(&foreign, Some(12345), None).unwrap();
        foreign
    } else {
        "/usr".into()
    };
    assert!(refusal(&foreign.join("socket")).contains("belongs to user"));
}

#[test]
fn the_socket_of_another_user_is_left_alone() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED (only root can make a foreign socket): the_socket_of_another_user_is_left_alone");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    assert!(refusal(&path).contains("a socket of user 12345"));
    assert!(path.exists());
}

#[test]
fn a_socket_that_was_replaced_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = listen(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(path.exists(), "another program's socket was removed");
}

#[test]
fn an_address_without_a_transport_says_so() {
    let error = Server::builder()
        .listen("tcp:127.0.0.1:7000".parse().unwrap())
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("only unix:PATH"), "{error}");
    assert!(
        matches!(&error, byproxy::Error::Fault(fault) if fault.code == FaultCode::Unsupported),
        "{error:?}"
    );
}

#[test]
fn a_refused_path_is_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    refusal(&file);
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "a lock file was left behind"
    );
}

#[test]
fn the_lock_file_of_another_server_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let lock = directory.path().join("socket.lock");
    let first = listen(&path).unwrap();
    // Somebody tidies up under its hands, and starts another one.
    fs::remove_file(&path).unwrap();
    fs::remove_file(&lock).unwrap();
    let second = listen(&path).unwrap();
    drop(first);
    assert!(lock.exists() && path.exists(), "it removed what was not its own");
    assert!(refusal(&path).contains("already running"));
    drop(second);
    assert!(!lock.exists() && !path.exists());
}

#[test]
fn a_program_that_does_not_accept_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let address = SocketAddrUnix::new(&path).unwrap();
    let new = || socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let listener = new();
    bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    // Its backlog is full, so whoever connects waits for it.
    let waiting: Vec<_> = std::iter::repeat_with(new)
        .take_while(|socket| connect(socket, &address).is_ok())
        .collect();
    assert!(!waiting.is_empty());
    let (here, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || here.send(refusal(&path)));
    let text = told
        .recv_timeout(STUCK)
        .expect("the server waits for a stopped program");
    assert!(text.contains("another program"), "{text}");
}

#[test]
fn a_relative_path_means_one_place_for_good() {
    alone("listener::a_relative_path_means_one_place_for_good", || {
        let directory = tempfile::tempdir().unwrap();
        let (here, there) = (directory.path().join("here"), directory.path().join("there"));
        fs::create_dir(&here).unwrap();
        fs::create_dir(&there).unwrap();
        std::env::set_current_dir(&here).unwrap();
        let server = listen(Path::new("socket")).unwrap();
        let address = Address::unix(here.join("socket")).unwrap();
        assert_eq!(server.address(), &address);
        assert_eq!(server.handle().address(), &address);
        std::env::set_current_dir(&there).unwrap();
        drop(server);
        assert_eq!(fs::read_dir(&here).unwrap().count(), 0, "something was left behind");
    });
}
