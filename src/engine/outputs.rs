//! What the engine asks its driver to do: deliver replies, run jobs, end.
//!
//! The driver owns one [`Outputs`] per thread and passes it to every `handle_*`; buffers keep their capacity, so that a small call
//! answered at once allocates nothing. Outputs are delivered after the `handle_*` has returned, when no lock of the engine is held.

use super::batch::Tally;
use super::job::Job;
use super::recent::Recent;
use super::types::{Caller, ObjectId, Ticket};
use byproxy_proto::fault::Fault;

/// The outputs of one `handle_*`, and its scratch space.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Whether an event was handled since they were cleared.
    used: bool,
    pub(super) immediate: Immediate,
    pub(super) answer: Answer,
    /// How far the batch is that is being done, if the answer is one's.
    pub(super) tally: Tally,
    pub(super) queue: Vec<Output>,
    /// References to give up once no object is locked any more.
    pub(super) dropped: Vec<ObjectId>,
    /// References taken for the arguments of the call being handled.
    pub(super) taken: Vec<ObjectId>,
    pub(super) recent: Recent,
}

/// Something to do for the driver.
#[derive(Debug)]
pub enum Output {
    /// Answer a call that could not be answered at once.
    Reply {
        /// Where the call came from.
        to: Caller,
        /// The answer.
        reply: Reply,
    },
    /// Run this on a helper thread and bring back what it returns.
    Job(Job),
    /// End the server, after delivering everything before.
    Shutdown,
}

/// A successful answer: the result's bytes and the references that it hands over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The objects to each of which the receiver gets one reference, repeated where it gets several.
    pub handed: Vec<u64>,
    /// One value.
    pub result: Vec<u8>,
    /// Where the result of the call begins that is being done: behind what came of the calls of its batch before it, if those are here.
    pub(super) start: usize,
    /// How many bytes of its reply are taken already, by the calls of a batch before this one.
    pub(super) taken: usize,
}

/// An answer that outlives the call that caused it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The number of the call it answers.
    pub number: u64,
    /// Whether the items in it stay the server's until the client has confirmed them.
    pub delivers: bool,
    /// What came of the call.
    pub outcome: Result<Answer, Fault>,
}

/// A reply, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplyRef<'a> {
    /// The number of the call it answers.
    pub number: u64,
    /// What came of the call.
    pub outcome: Outcome<'a>,
    /// Whether the items in it stay the server's until the client has confirmed them.
    pub delivers: bool,
}

/// What came of a call, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// It was done.
    Done {
        /// The objects to each of which the receiver gets one reference.
        handed: &'a [u64],
        /// One value.
        result: &'a [u8],
    },
    /// It was refused.
    Fault(&'a Fault),
}

/// The reply to the very call being handled.
#[derive(Debug, Default)]
pub(super) enum Immediate {
    #[default]
    Nothing,
    Done {
        number: u64,
        delivers: bool,
    },
    Fault {
        number: u64,
        fault: Box<Fault>,
    },
}

impl Outputs {
    /// The reply to the very call being handled, if it was answered at once.
    #[inline]
    pub fn immediate(&self) -> Option<ReplyRef<'_>> {
        match &self.immediate {
            Immediate::Nothing => None,
            &Immediate::Done { number, delivers } => {
                let outcome = Outcome::Done {
                    handed: &self.answer.handed,
                    result: &self.answer.result,
                };
                Some(ReplyRef {
                    number,
                    outcome,
                    delivers,
                })
            }
            Immediate::Fault { number, fault } => Some(ReplyRef {
                number: *number,
                outcome: Outcome::Fault(fault),
                delivers: false,
            }),
        }
    }

    /// Everything else to do, in order.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = Output> + '_ {
        self.queue.drain(..)
    }

    /// Whether there is anything to [drain](Self::drain): a look is cheaper than a drain of nothing, and mostly there is nothing.
    #[inline]
    pub fn asks_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether there is neither a reply nor anything else to do.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && matches!(self.immediate, Immediate::Nothing)
    }

    /// Clears them for an event of this engine.
    #[inline]
    pub(super) fn begin(&mut self, engine: u64) {
        if self.used {
            self.clear();
        }
        self.used = true;
        self.recent.belong_to(engine);
    }

    /// Forgets the reply and whatever was not drained; buffers keep their capacity unless it is large.
    #[inline]
    pub fn clear(&mut self) {
        self.used = false;
        if matches!(self.immediate, Immediate::Fault { .. }) || self.asks_more() {
            self.clear_more();
        }
        self.immediate = Immediate::Nothing;
        self.answer.clear();
    }

    #[cold]
    fn clear_more(&mut self) {
        self.immediate = Immediate::Nothing;
        self.queue.clear();
    }

    /// Gives up the references that were taken for a call's arguments.
    #[inline]
    pub(super) fn drop_taken(&mut self) {
        if !self.taken.is_empty() {
            self.dropped.append(&mut self.taken);
        }
    }
}

impl Answer {
    /// Capacity above which a buffer is given back rather than kept for the next call.
    pub(super) const KEPT_BYTES_MAX: usize = 1 << 20;

    #[inline]
    pub(super) fn clear(&mut self) {
        if self.result.capacity() > Self::KEPT_BYTES_MAX {
            self.give_back();
        }
        self.result.clear();
        self.handed.clear();
        (self.start, self.taken) = (0, 0);
    }

    #[cold]
    fn give_back(&mut self) {
        self.result = Vec::new();
    }
}

impl Reply {
    /// The same, borrowed: one form for the driver to write.
    #[inline]
    pub fn as_ref(&self) -> ReplyRef<'_> {
        let outcome = match &self.outcome {
            Ok(answer) => Outcome::Done {
                handed: &answer.handed,
                result: &answer.result,
            },
            Err(fault) => Outcome::Fault(fault),
        };
        ReplyRef {
            number: self.number,
            outcome,
            delivers: self.delivers,
        }
    }
}

impl Output {
    /// Whether it is the answer to this call.
    pub(super) fn answers(&self, ticket: Ticket) -> bool {
        matches!(self, Self::Reply { to, reply } if *to == ticket.caller && reply.number == ticket.number)
    }

    /// Whether this call is answered by it, now or by what comes of a job.
    pub(super) fn settles(&self, ticket: Ticket) -> bool {
        match self {
            Self::Job(job) => job.answers(ticket),
            _ => self.answers(ticket),
        }
    }

    /// The answer to a call that waited.
    pub(super) fn reply(ticket: Ticket, outcome: Result<Answer, Fault>, delivers: bool) -> Self {
        Self::Reply {
            to: ticket.caller,
            reply: Reply {
                number: ticket.number,
                delivers,
                outcome,
            },
        }
    }
}
