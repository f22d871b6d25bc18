//! A wire between client and server that a test can cut at the worst moment.
//!
//! It hands bytes through in both directions and understands none of them. Client, wire and server see the same process and the same
//! user at the other end, because the wire runs inside the client's process.

use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What happens to the next bytes that the client sends, or that the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub(crate) enum Cut {
    /// Nothing; they pass.
    Never,
    /// The client's bytes are swallowed and all connections end.
    BeforeTheRequest,
    /// The client's bytes reach the server; its answer is swallowed and all connections end.
    BeforeTheReply,
}

/// The wire: a client connects to its [`address`](Self::address).
#[derive(Debug)]
pub(crate) struct Relay {
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Shared {
    cut: AtomicU8,
    accepted: AtomicU64,
    streams: std::sync::Mutex<Vec<UnixStream>>,
}

impl Relay {
    /// A wire to the server that listens at this path.
    pub(crate) fn to(server: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("wire.sock")).unwrap();
        let shared = Arc::new(Shared {
            cut: AtomicU8::new(Cut::Never as u8),
            accepted: AtomicU64::new(0),
            streams: std::sync::Mutex::default(),
        });
        let relay = Self {
            shared: Arc::clone(&shared),
            folder,
        };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                connect(&shared, client, &server);
            }
        });
        relay
    }

    /// Where a client connects to it.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.folder.path().join("wire.sock").display())
    }

    pub(crate) fn cut(&self, cut: Cut) {
        self.shared.cut.store(cut as u8, Ordering::SeqCst);
    }

    /// How many connections the client has made.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

/// Joins a client to the server, with a thread for each direction. Both threads end with their connection.
fn connect(shared: &Arc<Shared>, client: UnixStream, server: &Path) {
    let Ok(server) = UnixStream::connect(server) else {
        return;
    };
    shared
        .streams
        .lock()
        .unwrap()
        .extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
    let directions = [
        (
            client.try_clone().unwrap(),
            server.try_clone().unwrap(),
            Cut::BeforeTheRequest,
        ),
        (server, client, Cut::BeforeTheReply),
    ];
    for (from, to, cut) in directions {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || pump(&shared, from, to, cut));
    }
}

fn pump(shared: &Shared, mut from: UnixStream, mut to: UnixStream, cut: Cut) {
    let mut bytes = [0; 8 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if shared.cut.load(Ordering::SeqCst) == cut as u8 {
            for stream in shared.streams.lock().unwrap().iter() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            return;
        }
        if to.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
