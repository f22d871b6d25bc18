//! The engine's vocabulary: ids, time as a number, who calls, what may be set, what is counted.

use byproxy_proto::op::Operation;
use byproxy_proto::value::Limits;
use std::fmt;

/// A moment: nanoseconds since the driver's start, on its monotonic clock. The engine never reads a clock; it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The driver's start: a moment that has passed, where no other is wanted.
    pub const START: Self = Self(0);

    /// The moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment so many nanoseconds later; beyond the end of time it is [`Time::NEVER`].
    #[must_use]
    pub const fn after(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }
}

macro_rules! ids {
    ($( #[doc = $doc:literal] $name:ident ),*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

ids! {
    /// One client process's connection as a whole; never used twice.
    SessionId,
    /// One lane of a session: the driver's own number, unique within the session.
    LaneId,
    /// One shared object; never used twice. Zero is the server itself.
    ObjectId
}

/// Where a call comes from and where its reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller {
    /// The client process.
    pub session: SessionId,
    /// Its lane.
    pub lane: LaneId,
}

impl Caller {
    /// The call of it that has this number.
    #[inline]
    pub(super) fn ticket(self, number: u64) -> Ticket {
        Ticket { caller: self, number }
    }
}

/// One call, as a client sends it. Its arguments have not been checked.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The caller's number for it; the reply repeats it.
    pub number: u64,
    /// What to do.
    pub operation: Operation,
    /// The object to do it to; zero for the server itself.
    pub object: u64,
    /// One List value.
    pub arguments: &'a [u8],
}

/// One call of one caller: what a reply is addressed to, and the name of a delivery until it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Who called.
    pub caller: Caller,
    /// The call's number.
    pub number: u64,
}

/// Who is behind a session, for diagnostics and the books of queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The client's process id.
    pub pid: u32,
    /// What it calls itself.
    pub name: String,
}

/// The longest frame of the protocol, unless a server is told otherwise.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// What an engine allows. Every limit is checked before anything changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Limits on one value, and so on one call's arguments.
    pub limits: Limits,
    /// The longest result of one call, in bytes.
    pub reply_bytes_max: usize,
    /// What all contents together may occupy, in bytes.
    pub memory_bytes_max: u64,
    /// How many objects may exist.
    pub objects_max: usize,
    /// How many sessions may exist.
    pub sessions_max: usize,
    /// How many calls may wait, in objects and for objects.
    pub waiters_max: usize,
    /// How many bytes of items one chunk carries; at least one item is always sent.
    pub chunk_bytes: usize,
    /// How many elements one call may touch before it must leave the engine as a job; less than one counts as one.
    pub small_steps: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Whatever comes in fits a reply, with the headers around it.
            limits: Limits {
                bytes: FRAME_BYTES_MAX - (2 << 10),
                ..Limits::default()
            },
            reply_bytes_max: FRAME_BYTES_MAX - (1 << 10),
            memory_bytes_max: 8 << 30,
            objects_max: 16 << 20,
            sessions_max: 4096,
            waiters_max: 1 << 20,
            chunk_bytes: 64 << 10,
            small_steps: 4096,
        }
    }
}

/// What is there at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects that exist.
    pub objects: u64,
    /// References that sessions hold.
    pub references: u64,
    /// Sessions that have not ended.
    pub sessions: u64,
    /// Calls that wait in or for an object.
    pub waiters: u64,
    /// Bytes charged for contents.
    pub bytes: u64,
    /// Names given to objects.
    pub names: u64,
}
