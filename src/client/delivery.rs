//! The moment at which items change hands.

use byproxy_proto::frame;
use byproxy_proto::op::{Operation, Wait};

use super::Remote;
use super::lane::{Lane, LaneError, append};
use crate::backend::{Arguments, Frames, Request};
use crate::error::{Error, Result};

/// No arguments: an empty List value.
const NOTHING: [u8; 2] = [7, 0];

/// Items that were received and belong to the server until they are confirmed. Dropped open, as when reading them unwinds, it
/// declines them: they go back to where they were.
pub(super) struct Delivery<'a> {
    pub(super) remote: &'a Remote,
    pub(super) lane: &'a Lane,
    pub(super) frames: &'a mut Frames,
    pub(super) number: u64,
    pub(super) open: bool,
}

impl Delivery<'_> {
    pub(super) fn confirm(&mut self) -> Result<()> {
        self.open = false;
        // Through a ring the client's index says it all.
        let confirmed = self.lane.settle(false).unwrap_or_else(|| {
            let number = self.number;
            self.tell(&frame::Request::Confirm { number })
        });
        confirmed.map_err(|error| {
            self.remote.end(error.reason());
            Error::Gone(format!(
                "the connection ended before the items were ours; they are still the server's: {}",
                error.reason()
            ))
        })
    }
}

impl Delivery<'_> {
    fn tell(&mut self, fate: &frame::Request<'_>) -> std::result::Result<(), Box<LaneError>> {
        let output = &mut self.frames.output;
        output.clear();
        append(output, |out| fate.write(out));
        self.lane.send(output)
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        if self.open {
            let declined = self.lane.settle(true).unwrap_or_else(|| {
                let number = self.number;
                self.tell(&frame::Request::Decline { number })
            });
            if let Err(error) = declined {
                return self.remote.end(error.reason());
            }
            // Nobody answers a decline, and the next call may take another lane: the items are back where they were once this one has
            // made a round trip. It fails only with the session, which says so to whoever calls next.
            let mut ping = Request {
                operation: Operation::Ping,
                object: 0,
                arguments: &mut Arguments::of(&NOTHING),
                wait: Wait::TRY,
            };
            if self.remote.exchange_apart(self.lane, &mut ping, self.frames).is_ok() {
                self.lane.consume();
            }
        }
    }
}
