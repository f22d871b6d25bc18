//! A lock as an owner and a line; deadlocks by following every wait to the end.

use super::{Expected, Ticket, done, fault, int};
use byproxy_proto::fault::FaultCode;
use byproxy_proto::value::Value;

/// A thread of a session.
pub(crate) type Thread = (u64, u64);

#[derive(Clone, Debug, Default)]
pub(crate) struct LockModel {
    held: bool,
    owner: Option<Thread>,
    pub(crate) token: u64,
    abandoned: bool,
    line: Vec<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: Ticket,
    thread: Thread,
    deadline: Option<u64>,
}

impl LockModel {
    /// An acquire; `deadlock` says whether waiting for ever would never end.
    pub(crate) fn acquire(
        &mut self,
        now: u64,
        ticket: Ticket,
        thread: u64,
        wait: Option<u64>,
        deadlock: bool,
    ) -> Vec<(Ticket, Expected)> {
        let waiting = Waiting {
            ticket,
            thread: (ticket.0, thread),
            deadline: wait.map(|wait| now + wait),
        };
        let refuse = |code| vec![(ticket, Expected::Answer(fault(code)))];
        match (self.held, wait) {
            (true, Some(0)) => return refuse(FaultCode::Timeout),
            (true, None) if deadlock => return refuse(FaultCode::Deadlock),
            _ => self.line.push(waiting),
        }
        self.grant()
    }

    pub(crate) fn release(&mut self, ticket: Ticket, token: Option<u64>) -> Vec<(Ticket, Expected)> {
        if !self.held || token.is_some_and(|token| token != self.token) {
            return vec![(ticket, Expected::Answer(fault(FaultCode::Misuse)))];
        }
        self.held = false;
        self.owner = None;
        let mut replies = self.grant();
        replies.push((ticket, Expected::Answer(done(Value::None))));
        replies
    }

    pub(crate) fn leak(&mut self, ticket: Ticket, token: u64) -> Vec<(Ticket, Expected)> {
        if !self.held || token != self.token {
            return vec![(ticket, Expected::Answer(fault(FaultCode::Misuse)))];
        }
        self.owner = None;
        vec![(ticket, Expected::Answer(done(Value::None)))]
    }

    pub(crate) fn locked(&self, ticket: Ticket) -> Vec<(Ticket, Expected)> {
        vec![(ticket, Expected::Answer(done(Value::from(self.held))))]
    }

    pub(crate) fn expire(&mut self, now: u64) -> Vec<(Ticket, Expected)> {
        let (late, line) = self
            .line
            .iter()
            .partition(|waiting| waiting.deadline.is_some_and(|deadline| deadline <= now));
        self.line = line;
        let late: Vec<Waiting> = late;
        late.iter()
            .map(|waiting| (waiting.ticket, Expected::Answer(fault(FaultCode::Timeout))))
            .collect()
    }

    pub(crate) fn session_end(&mut self, session: u64) -> Vec<(Ticket, Expected)> {
        self.line.retain(|waiting| waiting.ticket.0 != session);
        if self.owner.is_some_and(|owner| owner.0 == session) {
            self.held = false;
            self.owner = None;
            self.abandoned = true;
        }
        self.grant()
    }

    pub(crate) fn is_owned_by(&self, session: u64) -> bool {
        self.owner.is_some_and(|owner| owner.0 == session)
    }

    pub(crate) fn deadlines(&self) -> impl Iterator<Item = u64> {
        self.line.iter().filter_map(|waiting| waiting.deadline)
    }

    pub(crate) fn waiters(&self) -> usize {
        self.line.len()
    }

    fn grant(&mut self) -> Vec<(Ticket, Expected)> {
        if self.held || self.line.is_empty() {
            return Vec::new();
        }
        let next = self.line.remove(0);
        self.held = true;
        self.owner = Some(next.thread);
        self.token += 1;
        let told = std::mem::take(&mut self.abandoned);
        let granted = Value::List(vec![int(self.token), Value::from(told)]);
        vec![(next.ticket, Expected::Answer(done(granted)))]
    }
}

/// The oracle: would this thread, if it waited for this lock for ever, wait for itself? Every thread is marked that waits for a marked
/// one, until nothing changes.
pub(crate) fn deadlocks<'a>(
    locks: impl Iterator<Item = &'a LockModel> + Clone,
    thread: Thread,
    wanted: &LockModel,
) -> bool {
    let mut marked = vec![thread];
    loop {
        let blocked = locks
            .clone()
            .filter(|lock| lock.owner.is_some_and(|owner| marked.contains(&owner)));
        let waiting = blocked
            .flat_map(|lock| &lock.line)
            .filter(|waiting| waiting.deadline.is_none());
        let new: Vec<Thread> = waiting
            .map(|waiting| waiting.thread)
            .filter(|thread| !marked.contains(thread))
            .collect();
        if new.is_empty() {
            return wanted.owner.is_some_and(|owner| marked.contains(&owner));
        }
        marked.extend(new);
    }
}
