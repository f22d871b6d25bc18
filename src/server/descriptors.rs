//! Descriptors that are kept for clients: what stands behind objects of shared memory.
//!
//! The server never maps them. One is taken only if it is a memfd that is sealed against shrinking, so that no client has to fear the memory
//! it gets by it, and the server seals it against growing, so that it occupies no more than it is charged for. It belongs to the engine's
//! object, and is closed with it, wherever that happens: after the last release, at the end of a session, in a collection. On the way in it
//! belongs to the connection it came on, and is closed with that.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::Share;
use byproxy_proto::value;
use rustix::fs::{SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate};
use rustix::param::page_size;
use rustix::process::{Resource as Limited, getrlimit};

use super::driver::{Driver, Verdict, encode};
use super::visit::Visit;
use crate::engine::{Outcome, ReplyRef, Resource, SessionId};

/// In what the system counts what a file occupies, in bytes.
const BLOCK_BYTES: u64 = 512;

/// A descriptor that counts as long as it is open.
#[derive(Debug)]
struct Kept {
    descriptor: OwnedFd,
    count: Arc<AtomicUsize>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Visit<'_> {
    /// Keeps a descriptor that came, as an object.
    pub(super) fn share(&mut self, session: SessionId, share: Share<'_>, came: Option<OwnedFd>) -> Verdict {
        let Share { number, name, note } = share;
        if number == 0 {
            return self.refuse(&numberless());
        }
        let driver = self.driver;
        let shared = driver.keep(came).and_then(|resource| {
            let now = driver.timer.now();
            driver
                .engine
                .handle_share(now, session, name, note, resource, &mut self.scratch.out)
        });
        driver.deliver(&mut self.scratch.out, &mut self.scratch.frame);
        let mut result = Vec::new();
        let handed = shared.map(|(token, made)| {
            value::write_list_header(&mut result, 2);
            value::write_token(&mut result, token);
            value::write_bool(&mut result, made);
            [token.object]
        });
        let outcome = match &handed {
            Ok(handed) => Outcome::Done {
                handed,
                result: &result,
            },
            Err(fault) => Outcome::Fault(fault),
        };
        encode(reply(number, outcome), driver.reply_limit(), &mut self.scratch.replies);
        Verdict::Open
    }

    /// Sends the descriptor of an object.
    pub(super) fn fetch(&mut self, session: SessionId, number: u64, object: u64) -> Verdict {
        if number == 0 {
            return self.refuse(&numberless());
        }
        let driver = self.driver;
        let fetched = driver
            .engine
            .handle_fetch(driver.timer.now(), session, object, &mut self.scratch.out);
        driver.deliver(&mut self.scratch.out, &mut self.scratch.frame);
        let (resource, note) = match fetched {
            Ok(fetched) => fetched,
            Err(fault) => {
                encode(
                    reply(number, Outcome::Fault(&fault)),
                    driver.reply_limit(),
                    &mut self.scratch.replies,
                );
                return Verdict::Open;
            }
        };
        // Nothing but what this file keeps is ever given to the engine.
        let Some(kept) = resource.get::<Kept>() else {
            return Verdict::Lost;
        };
        let outcome = Outcome::Done {
            handed: &[object],
            result: &note,
        };
        let mut frame = Vec::new();
        encode(reply(number, outcome), driver.reply_limit(), &mut frame);
        driver.write(self.connection, Some(session), &mut self.scratch.replies);
        match self.connection.write_with(&frame, kept.descriptor.as_fd()) {
            Ok(()) => Verdict::Open,
            // It does not read what it asked for, or is gone.
            Err(_) => Verdict::Lost,
        }
    }
}

impl Driver {
    /// Takes a descriptor that came into the server's keeping.
    fn keep(&self, came: Option<OwnedFd>) -> Result<Resource, Fault> {
        let descriptor = came.ok_or_else(|| {
            let message = "no descriptor came along with what is to be shared, or the server can open no more";
            Fault::new(FaultCode::BadArgument, message)
        })?;
        let bytes = sealed_bytes(descriptor.as_fd())?;
        let most = getrlimit(Limited::Nofile)
            .current
            .and_then(|most| usize::try_from(most / 2).ok())
            .map_or(self.limits.descriptors_max, |most| {
                most.min(self.limits.descriptors_max)
            });
        let place = |kept| (kept < most).then_some(kept + 1);
        self.kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, place)
            .map_err(|_| {
                let message = format!("{most} pieces of memory are shared already, as many as this server keeps");
                Fault::new(FaultCode::TooMany, message)
            })?;
        let kept = Kept {
            descriptor,
            count: Arc::clone(&self.kept),
        };
        Ok(Resource::new(kept, bytes))
    }
}

/// What ends a session that sends descriptors nobody asked for.
pub(super) fn unasked() -> Fault {
    Fault::new(
        FaultCode::Malformed,
        "one descriptor at a time, and only along with what is to be shared",
    )
}

/// What a memfd occupies, at most, that can't be made smaller any more. From here on it can't be made larger either: it would be charged for
/// less than it takes.
fn sealed_bytes(descriptor: BorrowedFd<'_>) -> Result<u64, Fault> {
    let refused = || {
        Fault::new(
            FaultCode::BadArgument,
            "what is shared must be a memfd that is sealed against shrinking, and that is sealed against growing or can be",
        )
    };
    let seals = fcntl_get_seals(descriptor).map_err(|_| refused())?;
    if !seals.contains(SealFlags::SHRINK) && !seeded!("keeps_unsealed") {
        return Err(refused());
    }
    if !seals.contains(SealFlags::GROW) && !seeded!("keeps_growing") {
        fcntl_add_seals(descriptor, SealFlags::GROW).map_err(|_| refused())?;
    }
    let stat = fstat(descriptor).map_err(|_| refused())?;
    let size = u64::try_from(stat.st_size).map_err(|_| refused())?;
    let occupied = size.next_multiple_of(page_size() as u64);
    // Pages may have been had beyond its end before that was sealed: to make it as large as it is drops them. Where they can't be dropped,
    // they come on top of what its holes will take.
    let beyond = match ftruncate(descriptor, size) {
        Ok(()) => 0,
        Err(_) => u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES),
    };
    Ok(occupied.saturating_add(beyond))
}

fn numberless() -> Fault {
    Fault::new(FaultCode::Malformed, "a request's number is not zero")
}

fn reply(number: u64, outcome: Outcome<'_>) -> ReplyRef<'_> {
    ReplyRef {
        number,
        outcome,
        delivers: false,
    }
}
