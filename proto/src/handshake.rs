//! The handshake: the first frame in each direction on every connection.
//!
//! A client says hello with the protocol's name and version and what the connection is for: the control connection of a new session,
//! or a lane of one it already has. The server welcomes it or refuses with a [`Fault`](crate::fault::Fault) whose call number is zero.
//! A slot for a key's proof is reserved in both; version 1 leaves it empty.

use crate::frame::FrameError;
use serde::{Deserialize, Serialize};

/// The first eight bytes of a hello.
pub const MAGIC: [u8; 8] = *b"byproxy\0";
/// The version of the protocol that this crate speaks.
pub const VERSION: u16 = 1;
/// The longest name a client may give itself, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// The longest proof of a key, in bytes.
pub const PROOF_BYTES_MAX: usize = 64;

/// What a connection is for.
///
/// ```
/// use byproxy_proto::handshake::{Hello, Purpose};
///
/// let lane = Hello::new(Purpose::Lane { session: 7, secret: 42 }, "");
/// assert_ne!(lane.purpose, Purpose::Control);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Opens a session; the session lives as long as this connection.
    Control,
    /// Adds a lane to a session of the same process.
    Lane {
        /// The session's number, from its welcome.
        session: u64,
        /// The session's secret, from its welcome.
        secret: u128,
    },
}

/// What a client says first.
///
/// ```
/// use byproxy_proto::handshake::{Hello, Purpose};
///
/// let hello = Hello::new(Purpose::Control, "clerk");
/// let mut body = Vec::new();
/// hello.write(&mut body);
/// assert_eq!(Hello::read(&body)?, hello);
/// # Ok::<(), byproxy_proto::frame::FrameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u16,
    /// What the connection is for.
    pub purpose: Purpose,
    /// A name for diagnostics, such as the program's.
    pub name: &'a str,
    /// The proof of a key; empty without one.
    pub proof: &'a [u8],
}

/// What a server answers when it lets the client in.
///
/// ```
/// use byproxy_proto::handshake::{VERSION, Welcome};
///
/// let welcome =
///     Welcome { version: VERSION, instance: 1, session: 2, secret: 3, frame_bytes_max: 1 << 20, ring_after: 16, proof: &[] };
/// let mut body = Vec::new();
/// welcome.write(&mut body);
/// assert_eq!(Welcome::read(&body)?, Some(welcome));
/// # Ok::<(), byproxy_proto::frame::FrameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome<'a> {
    /// [`VERSION`].
    pub version: u16,
    /// The server instance: a random number, new at each start.
    pub instance: u128,
    /// The session's number.
    pub session: u64,
    /// What a further lane must show to join the session.
    pub secret: u128,
    /// The largest frame the server takes, in bytes.
    pub frame_bytes_max: u64,
    /// From which call on a lane may ask to go on in shared memory; zero is never.
    pub ring_after: u64,
    /// The proof of the server's key; empty without one.
    pub proof: &'a [u8],
}

const WELCOME: u8 = 0;

impl<'a> Hello<'a> {
    /// A hello of this version.
    ///
    /// ```
    /// use byproxy_proto::handshake::{Hello, NAME_BYTES_MAX, Purpose, VERSION};
    ///
    /// let long = "clerk".repeat(100);
    /// let hello = Hello::new(Purpose::Control, &long);
    /// assert_eq!((hello.version, hello.name.len()), (VERSION, NAME_BYTES_MAX), "a longer name is cut");
    /// ```
    pub fn new(purpose: Purpose, name: &'a str) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            purpose,
            name: clip(name),
            proof: &[],
        }
    }

    /// Reads a body. The version is the reader's to judge; later versions keep the fields up to it.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] for anything that is not a hello.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy_proto::frame::FrameError;
    /// use byproxy_proto::handshake::Hello;
    ///
    /// assert_eq!(Hello::read(b"GET / HTTP/1.1"), Err(FrameError::Malformed));
    /// ```
    pub fn read(body: &'a [u8]) -> Result<Self, FrameError> {
        let (hello, rest) = postcard::take_from_bytes::<Self>(body).map_err(|_| FrameError::Malformed)?;
        let sound = hello.magic == MAGIC
            && rest.is_empty()
            && hello.name.len() <= NAME_BYTES_MAX
            && hello.proof.len() <= PROOF_BYTES_MAX;
        if sound { Ok(hello) } else { Err(FrameError::Malformed) }
    }

    /// The version in a body that may be another version's hello, if it is one at all.
    ///
    /// ```
    /// use byproxy_proto::handshake::Hello;
    ///
    /// assert_eq!(Hello::peek_version(b"byproxy\0\x02 and whatever version 2 says"), Some(2));
    /// assert_eq!(Hello::peek_version(b"GET / HTTP/1.1"), None);
    /// ```
    pub fn peek_version(body: &[u8]) -> Option<u16> {
        let rest = body.strip_prefix(&MAGIC)?;
        postcard::take_from_bytes(rest).ok().map(|(version, _)| version)
    }

    /// Appends the body.
    ///
    /// ```
    /// use byproxy_proto::handshake::{Hello, MAGIC, Purpose};
    ///
    /// let mut body = Vec::new();
    /// Hello::new(Purpose::Control, "clerk").write(&mut body);
    /// assert!(body.starts_with(&MAGIC));
    /// ```
    pub fn write(&self, out: &mut Vec<u8>) {
        append(self, out);
    }
}

impl<'a> Welcome<'a> {
    /// Reads a body; nothing if it is a refusal, which is a [`Reply`](crate::frame::Reply).
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy_proto::fault::{Fault, FaultCode};
    /// use byproxy_proto::{frame, handshake::Welcome};
    ///
    /// let mut refusal = Vec::new();
    /// frame::write_fault(0, &Fault::new(FaultCode::Version, "this server speaks version 1"), &mut refusal);
    /// assert_eq!(Welcome::read(&refusal), Ok(None));
    /// ```
    pub fn read(body: &'a [u8]) -> Result<Option<Self>, FrameError> {
        let Some(fields) = body.strip_prefix(&[WELCOME]) else {
            return Ok(None);
        };
        let (welcome, rest) = postcard::take_from_bytes::<Self>(fields).map_err(|_| FrameError::Malformed)?;
        if rest.is_empty() {
            Ok(Some(welcome))
        } else {
            Err(FrameError::Malformed)
        }
    }

    /// Appends the body.
    ///
    /// ```
    /// use byproxy_proto::handshake::{VERSION, Welcome};
    ///
    /// let mut body = Vec::new();
    /// Welcome { version: VERSION, instance: 1, session: 2, secret: 3, frame_bytes_max: 4, ring_after: 5, proof: &[] }.write(&mut body);
    /// assert_eq!(body, [0, 1, 1, 2, 3, 4, 5, 0]);
    /// ```
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(WELCOME);
        append(self, out);
    }
}

fn append<T: Serialize>(fields: &T, out: &mut Vec<u8>) {
    let bytes = postcard::to_allocvec(fields);
    debug_assert!(bytes.is_ok(), "plain protocol fields always serialise");
    out.extend_from_slice(&bytes.unwrap_or_default());
}

fn clip(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_round_trips_and_fits_the_limit_for_strangers() {
        let long = "票".repeat(100);
        let hello = Hello::new(
            Purpose::Lane {
                session: u64::MAX,
                secret: u128::MAX,
            },
            &long,
        );
        let mut body = Vec::new();
        hello.write(&mut body);
        assert!(body.len() <= crate::frame::HANDSHAKE_BYTES_MAX);
        assert_eq!(Hello::read(&body), Ok(hello));
        assert_eq!(Hello::peek_version(&body), Some(VERSION));
    }

    #[test]
    fn a_welcome_is_told_from_a_refusal() {
        let welcome = Welcome {
            version: VERSION,
            instance: 1,
            session: 2,
            secret: 3,
            frame_bytes_max: 4,
            ring_after: 5,
            proof: &[],
        };
        let mut body = Vec::new();
        welcome.write(&mut body);
        assert_eq!(Welcome::read(&body), Ok(Some(welcome)));
        assert_eq!(Welcome::read(&[2, 0, 1, 0, 0]), Ok(None));
        assert!(Welcome::read(&[0, 1]).is_err());
    }
}
