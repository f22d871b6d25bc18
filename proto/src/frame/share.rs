//! What a client sends along with a descriptor.

use super::{Fields, FrameError, Reader, varint};

/// What goes with a descriptor that the server is to keep.
///
/// ```
/// use byproxy_proto::frame::{FrameError, Request, Share};
///
/// let mut body = Vec::new();
/// Request::Share(Share { number: 1, name: Some("hits"), note: &[0] }).write(&mut body);
/// assert!(matches!(Request::read(&body)?, Request::Share(share) if share.name == Some("hits") && share.note == [0]));
/// # Ok::<(), FrameError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// The client's number for it; the reply repeats it.
    pub number: u64,
    /// What the object is to be called, if anything.
    pub name: Option<&'a str>,
    /// One value, unchecked: whoever fetches the descriptor gets it too.
    pub note: &'a [u8],
}

impl<'a> Share<'a> {
    /// Reads the fields behind the kind.
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, FrameError> {
        let mut fields = Reader::new(rest);
        let number = fields.varint()?;
        let name = Some(fields.string()?).filter(|name| !name.is_empty());
        let note = fields.rest;
        Ok(Self { number, name, note })
    }

    /// Appends the body.
    pub(super) fn write(&self, kind: u8, out: &mut Vec<u8>) {
        let name = self.name.unwrap_or_default();
        Fields::of(kind).number(self.number).append(out);
        varint(out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(self.note);
    }
}
