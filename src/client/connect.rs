//! Getting in: connecting, saying hello, and understanding what comes back.

use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use byproxy_proto::address::Address;
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::{self, FrameError, HANDSHAKE_BYTES_MAX, PREFIX_BYTES, Reply};
use byproxy_proto::handshake::{Hello, Purpose, Welcome};
use byproxy_proto::value::Limits;

use super::lane::goodbye;
use crate::error::{Error, Result};
use crate::sys;
use crate::transport::{Stream, memory, ring, unix};

/// How long a client that found no place waits before it asks again: the first time, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How a session behaves.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// What the server calls this process.
    pub(crate) name: String,
    /// How long connecting and the handshake may take.
    pub(crate) connect_wait: Duration,
    /// How long a reply may take beyond what the call itself waits; then the server counts as frozen and the session ends.
    pub(crate) call_timeout: Option<Duration>,
    /// How many call lanes are opened without hesitation.
    pub(crate) call_lanes: usize,
    /// How many call lanes there may be.
    pub(crate) call_lanes_max: usize,
    /// How many calls may wait at once.
    pub(crate) wait_lanes_max: usize,
    /// Whether lanes go on in shared memory where the server allows it.
    pub(crate) ring: bool,
}

impl Default for Options {
    fn default() -> Self {
        let program = std::env::args_os().next().map(PathBuf::from);
        let name = program
            .as_deref()
            .and_then(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned());
        Self {
            name: name.unwrap_or_default(),
            connect_wait: Duration::from_secs(10),
            call_timeout: None,
            call_lanes: sys::processors(),
            call_lanes_max: 64,
            wait_lanes_max: 1024,
            ring: true,
        }
    }
}

/// How long opening a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long the server may take to let us in.
    pub(super) answer: Duration,
    /// How long a server that has no place for it is asked again; zero is once.
    pub(super) place: Duration,
}

/// Where the server is.
#[derive(Clone, Debug)]
pub(super) enum Connector {
    Unix { address: Address, path: PathBuf },
    Memory(Arc<dyn memory::Host>),
}

/// What the server said when it let us in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Welcomed {
    pub(super) instance: u128,
    pub(super) session: u64,
    pub(super) secret: u128,
    pub(super) frame_bytes_max: usize,
    /// From which call on a lane may ask for a ring; zero is never.
    pub(super) ring_after: u64,
}

impl Connector {
    /// The way to an address.
    pub(super) fn to(address: &Address) -> Result<Self> {
        match address {
            Address::Unix(path) => Ok(Self::Unix {
                address: address.clone(),
                path: path.clone(),
            }),
            Address::Tcp { .. } => {
                let message = format!("can't connect to {address} yet: only unix:PATH has a transport");
                Err(Error::Fault(Fault::new(FaultCode::Unsupported, message).into()))
            }
        }
    }

    /// Where the server listens, if it is another process.
    pub(super) fn address(&self) -> Option<Address> {
        match self {
            Self::Unix { address, .. } => Some(address.clone()),
            Self::Memory(_) => None,
        }
    }

    /// Opens a session.
    pub(super) fn open_control(&self, options: &Options) -> Result<(Stream, Welcomed)> {
        let patience = Patience {
            answer: options.connect_wait,
            place: options.connect_wait,
        };
        self.open(&options.name, Purpose::Control, patience)
    }

    /// Opens a lane of a session.
    pub(super) fn open_lane(&self, name: &str, welcomed: &Welcomed, patience: Patience) -> Result<Stream> {
        let purpose = Purpose::Lane {
            session: welcomed.session,
            secret: welcomed.secret,
        };
        let (stream, lane) = self.open(name, purpose, patience)?;
        if lane.instance != welcomed.instance || lane.session != welcomed.session {
            return Err(Error::Gone("another server has taken the address over".to_owned()));
        }
        Ok(stream)
    }

    /// Opens a connection. A server that has no place for it is asked again for a while: a crowd that comes at once has its turns.
    fn open(&self, name: &str, purpose: Purpose, patience: Patience) -> Result<(Stream, Welcomed)> {
        let start = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            match self.try_open(name, purpose, patience.answer) {
                Err(Error::Fault(fault))
                    if fault.code == FaultCode::TooMany && start.elapsed() + pause < patience.place =>
                {
                    std::thread::sleep(pause);
                    pause = PAUSE_MAX.min(pause * 2);
                }
                outcome => return outcome,
            }
        }
    }

    fn try_open(&self, name: &str, purpose: Purpose, wait: Duration) -> Result<(Stream, Welcomed)> {
        let stream = match self {
            Self::Unix { path, .. } => {
                unix::Socket::connect(path, wait).map(|socket| Stream::Unix(ring::Connected::new(socket)))
            }
            Self::Memory(host) => memory::Stream::connect(Arc::clone(host)).map(Stream::Memory),
        };
        let stream = stream.map_err(|error| self.error(error))?;
        match shake_hands(&stream, &Hello::new(purpose, name), wait) {
            Ok(welcomed) => Ok((stream, welcomed?)),
            Err(error) => {
                // The server may read our hello yet, and a lane that is lost without a word ends its session.
                let _ = stream.send_now(&goodbye());
                Err(self.error(error))
            }
        }
    }

    fn error(&self, source: io::Error) -> Error {
        match self {
            Self::Unix { address, path } => Error::Connect {
                address: address.clone(),
                source: no_socket(path).unwrap_or(source),
            },
            Self::Memory(_) => Error::Io {
                context: "can't connect within the process",
                source,
            },
        }
    }
}

/// What is wrong with a path that leads to something else than a socket: the system says the same of it as of a socket whose server is gone.
fn no_socket(path: &Path) -> Option<io::Error> {
    let kind = path.metadata().ok()?.file_type();
    let message = "what is there is no socket: give the path that a server listens on";
    (!kind.is_socket()).then(|| io::Error::new(ErrorKind::InvalidInput, message))
}

/// Says hello and waits for the welcome, or for the reason why not.
fn shake_hands(stream: &Stream, hello: &Hello<'_>, wait: Duration) -> io::Result<Result<Welcomed>> {
    let mut bytes = Vec::with_capacity(HANDSHAKE_BYTES_MAX);
    let written = frame::write::<FrameError>(&mut bytes, HANDSHAKE_BYTES_MAX, |out| {
        hello.write(out);
        Ok(())
    });
    written.map_err(io::Error::other)?;
    // A server that turns us away may close before our hello is out: its reason can still be read.
    let sent = stream.send(&bytes, &mut 0);
    stream.set_timeout(Some(wait.max(Duration::from_millis(1))))?;
    bytes.clear();
    loop {
        // A refusal can be longer than a hello may be.
        if let Some(body) = frame::split(&bytes, HANDSHAKE_BYTES_MAX * 8).map_err(stranger)? {
            let welcomed = read_welcome(body);
            let exact = bytes.len() == PREFIX_BYTES + body.len();
            stream.set_timeout(None)?;
            return if exact || matches!(welcomed, Ok(Err(_))) {
                welcomed
            } else {
                Err(stranger(FrameError::Malformed))
            };
        }
        match stream.receive(&mut bytes, HANDSHAKE_BYTES_MAX) {
            Ok(0) => {
                sent?;
                return Err(io::Error::new(
                    ErrorKind::ConnectionAborted,
                    "it closed the connection without a word",
                ));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "it did not answer the handshake in time",
                ));
            }
            Err(error) => return Err(error),
        }
    }
}

fn read_welcome(body: &[u8]) -> io::Result<Result<Welcomed>> {
    if let Some(welcome) = Welcome::read(body).map_err(stranger)? {
        let frame_bytes_max = usize::try_from(welcome.frame_bytes_max).unwrap_or(usize::MAX);
        return Ok(Ok(Welcomed {
            instance: welcome.instance,
            session: welcome.session,
            secret: welcome.secret,
            frame_bytes_max,
            ring_after: welcome.ring_after,
        }));
    }
    match Reply::read(body, &Limits::default()).map_err(stranger)? {
        Reply::Fault { fault, .. } => Ok(Err(Error::from_fault(fault))),
        Reply::Done { .. } | Reply::Ring { .. } => Err(stranger(FrameError::Malformed)),
    }
}

fn stranger(error: FrameError) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("what answers there does not speak byproxy's protocol ({error}): give the address of a byproxy server"),
    )
}
