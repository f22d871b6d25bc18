//! Both ends belong to one user: whoever else gets as far as the socket is refused.
//!
//! A user is a thread's own as far as the system is concerned, so a thread of this program plays the stranger. Only root may start one.

use crate::support::Served;
use byproxy::{Error, Manager};
use rustix::fs::Uid;
use rustix::process::geteuid;
use rustix::thread::set_thread_res_uid;
use std::fs::{Permissions, set_permissions};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

const NOBODY: u32 = 65534;

/// Does something in a thread of another user, and returns what came of it; nothing where this is not allowed.
fn as_nobody<T: Send>(test: &str, work: impl FnOnce() -> T + Send) -> Option<T> {
    if !geteuid().is_root() {
        println!("SKIPPED (only root can be another user): {test}");
        return None;
    }
    let outcome = std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let nobody = Uid::from_raw(NOBODY);
            set_thread_res_uid(nobody, nobody, nobody).unwrap();
            assert_eq!(geteuid(), nobody);
            work()
        });
        stranger.join().unwrap()
    });
    assert!(geteuid().is_root(), "it was that thread alone");
    Some(outcome)
}

/// Opens the way to a socket for everybody, as a careless owner may.
fn open_to_all(socket: &Path) {
    set_permissions(socket.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    set_permissions(socket, Permissions::from_mode(0o666)).unwrap();
}

#[test]
fn a_client_of_another_user_is_dropped_by_the_server() {
    let served = Served::start();
    let path = served.path.as_path();
    let connect = || UnixStream::connect(path).map_err(|error| error.kind());
    let test = "a_client_of_another_user_is_dropped_by_the_server";
    let Some(shut) = as_nobody(test, connect) else { return };
    assert!(shut.is_err(), "the socket and its folder are its owner's alone");

    open_to_all(path);
    let refused = served.handle.stats().refused;
    let mut stranger = as_nobody(test, connect).unwrap().unwrap();
    stranger.set_read_timeout(Some(crate::support::STUCK)).unwrap();
    // The connection is closed before a word is said on either side.
    assert_eq!(stranger.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(served.handle.stats().refused, refused + 1);
    assert_eq!(served.handle.stats().connections, 0);
    served.client().ping();
}

#[test]
fn a_server_of_another_user_is_refused_by_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    if geteuid().is_root() {
        chown(directory.path(), Some(NOBODY), None).unwrap();
    }
    let listen = || UnixListener::bind(&path).unwrap();
    let Some(listener) = as_nobody("a_server_of_another_user_is_refused_by_the_client", listen) else {
        return;
    };
    let error = Manager::connect(format!("unix:{}", path.display())).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&format!("user {NOBODY}")) && text.contains("must be the same"),
        "{text}"
    );
    // It said nothing there: not even who it is.
    let (mut heard, mut bytes) = (listener.accept().unwrap().0, Vec::new());
    heard.read_to_end(&mut bytes).unwrap();
    assert!(bytes.is_empty(), "{bytes:?}");
}
