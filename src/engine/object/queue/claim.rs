//! What calls want of a queue, how they are answered, and how they are refused.

use super::delivery::Flight;
use crate::engine::cell::Cell;
use crate::engine::object::{Context, Effects, Tie};
use crate::engine::waiter::Waiter;
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::value::{Value, write_list_header, write_uint};
use std::collections::VecDeque;

/// What a call still wants to put.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) rest: VecDeque<Cell>,
    /// How many went in already.
    pub(super) accepted: u64,
    /// The call is a `put_many`: it is answered with a number, and so are its refusals.
    pub(super) many: bool,
}

/// What a call wants to get.
#[derive(Clone, Copy, Debug)]
pub(super) enum Demand {
    One,
    Many { items_max: u64 },
    Lease,
}

impl Offer {
    /// A refusal that says how many went in before.
    pub(super) fn fault(&self, fault: Fault) -> Fault {
        if self.many {
            fault.with_detail(count(self.accepted))
        } else {
            fault
        }
    }
}

impl Demand {
    /// What its answer leaves in the session's books.
    pub(super) fn tie(self) -> Tie {
        match self {
            Self::One | Self::Many { .. } => Tie::Delivery,
            Self::Lease => Tie::Holding,
        }
    }

    /// Writes its answer. The items stay the queue's; the receiver gets references of its own.
    pub(super) fn write(self, flight: &Flight, lease: u64, effects: &mut Effects<'_>) {
        match self {
            Self::One => {}
            Self::Many { .. } => write_list_header(effects.result(), flight.iter().count()),
            Self::Lease => {
                write_list_header(effects.result(), 3);
                write_uint(effects.result(), lease);
                write_uint(effects.result(), flight.iter().map(|item| item.times).sum());
            }
        }
        flight.iter().for_each(|item| effects.copy_out(&item.cell));
    }
}

/// Refuses a waiting put, and drops what it did not put in.
pub(super) fn refuse_offer(context: &mut Context<'_>, waiter: Waiter<Offer>, fault: Fault) {
    let fault = waiter.data.fault(fault);
    context.refuse(&waiter.pass, fault);
    waiter
        .data
        .rest
        .into_iter()
        .for_each(|cell| context.effects.discard(cell));
}

pub(super) fn shut_down() -> Fault {
    Fault::new(FaultCode::ShutDown, "the queue was shut down")
}

pub(super) fn too_late(message: &str) -> Fault {
    Fault::new(FaultCode::Timeout, message)
}

pub(super) fn misuse(message: &str) -> Fault {
    Fault::new(FaultCode::Misuse, message)
}

pub(super) fn not_lent() -> Fault {
    misuse("this delivery is not (or no longer) lent to this process: each is acknowledged or given back once")
}

pub(super) fn worker_died(orphans: u64) -> Fault {
    let message = format!(
        "consumers died before they called task_done for {orphans} items; put those again if need be, and call task_done for each of them"
    );
    Fault::new(FaultCode::WorkerDied, message).with_detail(count(orphans))
}

fn count(count: u64) -> Value {
    Value::from(count)
}
