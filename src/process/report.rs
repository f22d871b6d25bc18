//! The two messages of a start: the parent's [`Order`] and the child's [`Report`]s.
//!
//! Both ends run the same program file (the order carries its [`Program`] identity, checked before anything else is
//! used), so these are plain postcard structs and nothing here is kept stable between builds.
//!
//! ```text
//! parent → child   magic 8 | order length u32 | arguments length u64 | descriptor count u32
//!                  one byte per 250 descriptors, which ride on it
//!                  order | arguments
//! child → parent   report length u32 | report            (Adopted or a refusal, later one Farewell)
//! ```

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::program::Program;
use super::wire::Wire;

/// The most bytes of arguments a process can be given.
pub(super) const ARGUMENTS_SIZE_MAX: usize = 1 << 30;
/// The most descriptors a process can be given.
pub(super) const DESCRIPTORS_MAX: usize = 1024;

const MAGIC: [u8; 8] = *b"byproxy\x01";
const HEADER_SIZE: usize = 8 + 4 + 8 + 4;
const ORDER_SIZE_MAX: usize = 64 << 10;
const REPORT_SIZE_MAX: usize = 16 << 10;
const MESSAGE_SIZE_MAX: usize = 4 << 10;

/// What a child is to do, sent to it before its arguments.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent answers, not states")]
pub(super) struct Order {
    /// The program file the parent runs; `entry` means nothing in another.
    pub(super) program: Program,
    /// Where the function's trampoline stands, counted from the program's entry point.
    pub(super) entry: i64,
    /// The child's name.
    pub(super) name: String,
    /// The child's place in the family: `2:1` is the first child of the second child.
    pub(super) lineage: String,
    /// The parent's process id.
    pub(super) parent_pid: u32,
    /// The child may not start processes.
    pub(super) daemon: bool,
    /// The child ends when its parent does.
    pub(super) dies_with_parent: bool,
    /// The child takes no notice of Ctrl-C.
    pub(super) ignores_interrupt: bool,
    /// A connected stream for the function follows the parent's pidfd.
    pub(super) link: bool,
    /// The standard output to use follows; the test harness's own chatter went elsewhere.
    pub(super) standard_output: bool,
}

/// An order with what came with it.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) order: Order,
    pub(super) arguments: Vec<u8>,
    /// The parent's pidfd, then what `order` announces, then the arguments' own.
    pub(super) descriptors: Vec<OwnedFd>,
}

/// What a child tells its parent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The arguments are the child's own now; the function runs.
    Adopted,
    /// The child runs another program file.
    OtherProgram,
    /// The arguments could not be read.
    Refused(String),
    /// The function has ended.
    Farewell(Farewell),
}

/// How the function ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    /// The exit code that follows.
    pub(super) code: u8,
    /// Why it is not zero.
    pub(super) cause: Option<Cause>,
}

/// Why a function failed, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cause {
    /// It panicked.
    Panic(String),
    /// It returned an error.
    Error(String),
}

impl Cause {
    pub(super) fn panic(message: &str) -> Self {
        Self::Panic(shortened(message))
    }

    pub(super) fn error(message: &str) -> Self {
        Self::Error(shortened(message))
    }
}

impl Report {
    pub(super) fn refused(message: &str) -> Self {
        Self::Refused(shortened(message))
    }

    /// Sends this report.
    pub(super) fn send(&self, wire: &Wire) -> io::Result<()> {
        let mut frame = vec![0; 4];
        frame.extend(postcard::to_allocvec(self).map_err(io::Error::other)?);
        let size = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
        frame[..4].copy_from_slice(&size.to_le_bytes());
        wire.send(&frame)
    }

    /// Receives the next report.
    pub(super) fn receive(wire: &Wire) -> io::Result<Self> {
        let mut size = [0; 4];
        wire.receive(&mut size)?;
        let body = receive_sized(wire, u64::from(u32::from_le_bytes(size)), REPORT_SIZE_MAX)?;
        decode(&body)
    }
}

/// Sends a whole order; `descriptors` begin with the parent's pidfd.
pub(super) fn send_order(
    wire: &Wire,
    order: &Order,
    arguments: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let order = postcard::to_allocvec(order).map_err(io::Error::other)?;
    let mut header = Vec::with_capacity(HEADER_SIZE);
    header.extend(MAGIC);
    header.extend(u32::try_from(order.len()).map_err(io::Error::other)?.to_le_bytes());
    header.extend((arguments.len() as u64).to_le_bytes());
    header.extend(
        u32::try_from(descriptors.len())
            .map_err(io::Error::other)?
            .to_le_bytes(),
    );
    wire.send(&header)?;
    wire.send_descriptors(descriptors)?;
    wire.send(&order)?;
    wire.send(arguments)
}

/// Receives a whole order.
pub(super) fn receive_order(wire: &Wire) -> io::Result<Delivery> {
    let magic: [u8; 8] = receive_array(wire)?;
    if magic != MAGIC {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "standard input does not carry an order",
        ));
    }
    let order_size = u32::from_le_bytes(receive_array(wire)?);
    let arguments_size = u64::from_le_bytes(receive_array(wire)?);
    let descriptor_count = u32::from_le_bytes(receive_array(wire)?) as usize;
    if descriptor_count > DESCRIPTORS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "an order with too many descriptors",
        ));
    }
    let descriptors = wire.receive_descriptors(descriptor_count)?;
    let order = decode(&receive_sized(wire, u64::from(order_size), ORDER_SIZE_MAX)?)?;
    let arguments = receive_sized(wire, arguments_size, ARGUMENTS_SIZE_MAX)?;
    Ok(Delivery {
        order,
        arguments,
        descriptors,
    })
}

fn receive_array<const N: usize>(wire: &Wire) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    wire.receive(&mut bytes)?;
    Ok(bytes)
}

/// Receives `size` bytes, or refuses a size beyond `size_max` before anything is allocated for it.
fn receive_sized(wire: &Wire, size: u64, size_max: usize) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size).ok().filter(|size| *size <= size_max);
    let Some(size) = size else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message larger than its limit",
        ));
    };
    let mut bytes = vec![0; size];
    wire.receive(&mut bytes)?;
    Ok(bytes)
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "bytes after the end of a message",
        )),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

/// The beginning of a message, short enough to be sent without waiting for a reader.
fn shortened(message: &str) -> String {
    let end = message.floor_char_boundary(MESSAGE_SIZE_MAX);
    message.get(..end).unwrap_or_default().to_owned()
}
