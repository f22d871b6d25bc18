//! What can be wrong with a frame.

use crate::fault::{Fault, FaultCode};
use crate::value::Malformed;

/// The bytes can't be a frame of this protocol.
///
/// ```
/// use byproxy_proto::fault::{Fault, FaultCode};
/// use byproxy_proto::frame::{FrameError, split};
///
/// let error = split(&[255, 255, 0, 0], 512).unwrap_err();
/// assert_eq!(error, FrameError::TooLarge { bytes: 65_535, limit: 512 });
/// assert_eq!(Fault::from(error).code, FaultCode::TooLarge, "what the peer is told");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length prefix is over the limit.
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// What the prefix says.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The body does not begin with a known kind, or its fields do not parse.
    #[error("the frame's body is malformed")]
    Malformed,
    /// The operation's code is not in the table.
    #[error("no operation has code {code}")]
    UnknownOperation {
        /// The call it came with, to answer to.
        call: u64,
        /// The code.
        code: u16,
    },
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::TooLarge { .. } => FaultCode::TooLarge,
            FrameError::Malformed => FaultCode::Malformed,
            FrameError::UnknownOperation { .. } => FaultCode::UnknownOperation,
        };
        Self::new(code, error)
    }
}

impl From<Malformed> for FrameError {
    #[cold]
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
