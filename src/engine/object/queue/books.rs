//! A queue's books: what became of every item, and who owes what.
//!
//! **Invariant (Q1):** accepted = committed + in flight + waiting + discarded.
//! **Invariant (Q2):** unfinished + credit = waiting + in flight + owed by live consumers + orphaned, and credit and orphaned are not
//! both above zero.
//!
//! A `task_done` pays for one item its session got. Python lets anyone call it, so does this: a session that owes nothing pays for an
//! item of a dead consumer (an *orphan*) if there is one, else ahead for whichever consumer dies first (a *credit*). A session with
//! deliveries on their way pays for those first: a confirm and the `task_done` that follows it travel on two lanes, and may change
//! places; what it owes is below zero until the confirm is here. When everything
//! that is unfinished is orphaned, nobody is left who would call `task_done`: `join` then reports how many items that concerns, and goes
//! on reporting it to every caller until someone settles them with as many `task_done`s. They are never forgotten silently.

use crate::engine::types::SessionId;
use std::collections::{BTreeMap, VecDeque};

/// How many departed consumers the books remember.
const DEPARTED_MAX: usize = 256;

/// What a queue knows about its items beyond the items themselves.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Items ever put.
    accepted: u64,
    /// Items that became a consumer's for good.
    committed: u64,
    /// Items being delivered or lent now.
    in_flight: u64,
    /// How often an item came back.
    returned: u64,
    /// Items thrown away by an immediate shutdown.
    discarded: u64,
    /// Items put and not yet done.
    unfinished: u64,
    /// `task_done`s paid ahead by sessions that owed nothing.
    credit: u64,
    /// Items committed to consumers that died without `task_done`.
    orphaned: u64,
    consumers: BTreeMap<SessionId, Consumer>,
    departed: VecDeque<(SessionId, Consumer)>,
}

/// The account of one session that ever got an item.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Consumer {
    /// Its process, for people.
    pub(super) pid: u32,
    /// Items that became its own.
    pub(super) committed: u64,
    /// Items being delivered or lent to it now.
    pub(super) in_flight: u64,
    /// Items that came back from it.
    pub(super) returned: u64,
    /// Committed items it has not called `task_done` for, less the items on their way that it has called it for already.
    owed: i64,
}

/// Whether a `join` may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Someone is still expected to call `task_done`.
    Working,
    /// Every item was dealt with.
    Finished,
    /// All that is unfinished are so many items of dead consumers.
    WorkerDied(u64),
}

/// A `task_done` with nothing unfinished.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyDone;

impl Consumer {
    /// Committed items it has not called `task_done` for.
    pub(super) fn owed(&self) -> u64 {
        u64::try_from(self.owed).unwrap_or(0)
    }

    /// How many more `task_done`s may be its own, when so many of its items are lent: those are paid for by acknowledging them.
    fn payable(&self, lent: u64) -> i64 {
        signed(self.in_flight.saturating_sub(lent)) + self.owed
    }
}

impl Books {
    /// So many items were put.
    pub(super) fn accept(&mut self, count: u64) {
        self.accepted += count;
        self.unfinished += count;
    }

    /// So many items went out to a consumer, but are not its own yet. True when that opened the session's account.
    pub(super) fn deliver(&mut self, session: SessionId, pid: impl FnOnce() -> u32, count: u64) -> bool {
        self.in_flight += count;
        let known = self.consumers.len();
        let account = self.consumers.entry(session);
        account
            .or_insert_with(|| Consumer {
                pid: pid(),
                ..Consumer::default()
            })
            .in_flight += count;
        self.consumers.len() > known
    }

    /// So many items in flight became the consumer's own; it owes a `task_done` for each.
    pub(super) fn commit(&mut self, session: SessionId, count: u64) {
        let Some(consumer) = self.consumers.get_mut(&session) else {
            return;
        };
        consumer.in_flight -= count;
        consumer.committed += count;
        consumer.owed += signed(count);
        self.in_flight -= count;
        self.committed += count;
    }

    /// So many items in flight came back; so many are still lent to the session.
    pub(super) fn give_back(&mut self, session: SessionId, count: u64, lent: impl FnOnce() -> u64) {
        let Some(consumer) = self.consumers.get_mut(&session) else {
            return;
        };
        consumer.in_flight -= count;
        consumer.returned += count;
        // It has said `task_done` for what it then gave back.
        let too_many = if consumer.owed < 0 {
            -consumer.payable(lent())
        } else {
            0
        };
        consumer.owed += too_many.max(0);
        self.in_flight -= count;
        self.returned += count;
        (0..too_many).for_each(|_| self.pay_for_another());
    }

    /// So many waiting items were thrown away; nobody needs to deal with them any more.
    pub(super) fn discard(&mut self, count: u64) {
        self.discarded += count;
        let unpaid = count.min(self.unfinished);
        self.unfinished -= unpaid;
        self.credit -= count - unpaid;
    }

    /// A session, to which so many items are lent, has dealt with an item.
    pub(super) fn task_done(&mut self, session: SessionId, lent: impl FnOnce() -> u64) -> Result<(), TooManyDone> {
        if self.unfinished == 0 {
            return Err(TooManyDone);
        }
        self.unfinished -= 1;
        match self.consumers.get_mut(&session) {
            Some(consumer) if consumer.owed > 0 || consumer.payable(lent()) > 0 => consumer.owed -= 1,
            _ => self.pay_for_another(),
        }
        Ok(())
    }

    fn pay_for_another(&mut self) {
        if self.orphaned > 0 {
            self.orphaned -= 1;
        } else {
            self.credit += 1;
        }
    }

    /// An item lent to a consumer was dealt with: committed and done at once.
    pub(super) fn acknowledge(&mut self, session: SessionId) {
        self.commit(session, 1);
        if let Some(consumer) = self.consumers.get_mut(&session) {
            consumer.owed -= 1;
        }
        if self.unfinished == 0 {
            self.credit -= 1;
        } else {
            self.unfinished -= 1;
        }
    }

    /// A session has ended, after what it had in flight was given back: what it owes is owed by nobody now. True when that closed an
    /// account.
    pub(super) fn depart(&mut self, session: SessionId) -> bool {
        let Some(consumer) = self.consumers.remove(&session) else {
            return false;
        };
        let paid = consumer.owed().min(self.credit);
        self.credit -= paid;
        self.orphaned += consumer.owed() - paid;
        if self.departed.len() == DEPARTED_MAX {
            self.departed.pop_front();
        }
        self.departed.push_back((session, consumer));
        true
    }

    /// What a `join` would answer now.
    pub(super) fn progress(&self) -> Progress {
        match self.unfinished {
            0 => Progress::Finished,
            unfinished if unfinished == self.orphaned && !seeded!("join_ignores_dead") => {
                Progress::WorkerDied(unfinished)
            }
            _ => Progress::Working,
        }
    }

    /// The numbers of items by what became of them, but for those that wait.
    pub(super) fn totals(&self) -> [(&'static str, u64); 5] {
        [
            ("accepted", self.accepted),
            ("committed", self.committed),
            ("in_flight", self.in_flight),
            ("returned", self.returned),
            ("discarded", self.discarded),
        ]
    }

    /// Items being delivered or lent now.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The sessions that got items and are still there.
    pub(super) fn consumers(&self) -> impl ExactSizeIterator<Item = (SessionId, &Consumer)> {
        self.consumers.iter().map(|(&session, consumer)| (session, consumer))
    }

    /// The last sessions that got items and are gone, oldest first.
    pub(super) fn departed(&self) -> impl ExactSizeIterator<Item = (SessionId, &Consumer)> {
        self.departed.iter().map(|(session, consumer)| (*session, consumer))
    }

    /// Checks the invariants against the number of items that wait.
    pub(super) fn check(&self, waiting: u64) -> Result<(), String> {
        if self.accepted != self.committed + self.in_flight + waiting + self.discarded {
            return Err(format!("Q1: the books don't add up with {waiting} waiting: {self:?}"));
        }
        let owed: i64 = self.consumers.values().map(|consumer| consumer.owed).sum();
        if signed(self.unfinished + self.credit) != signed(waiting + self.in_flight + self.orphaned) + owed {
            return Err(format!(
                "Q2: what is owed does not add up with {waiting} waiting: {self:?}"
            ));
        }
        if self.credit > 0 && self.orphaned > 0 {
            return Err(format!("Q2: a credit was not used for an orphan: {self:?}"));
        }
        let in_flight: u64 = self.consumers.values().map(|consumer| consumer.in_flight).sum();
        if in_flight != self.in_flight {
            return Err(format!("Q1: the consumers' items in flight don't add up: {self:?}"));
        }
        Ok(())
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: SessionId = SessionId(1);
    const BORIS: SessionId = SessionId(2);

    fn books_with_one_committed_to_anna() -> Books {
        let mut books = Books::default();
        books.accept(1);
        books.deliver(ANNA, || 10, 1);
        books.commit(ANNA, 1);
        books
    }

    #[test]
    fn one_task_done_too_many_is_refused() {
        let mut books = books_with_one_committed_to_anna();
        assert_eq!(books.task_done(ANNA, || 0), Ok(()));
        assert_eq!(books.progress(), Progress::Finished);
        assert_eq!(books.task_done(ANNA, || 0), Err(TooManyDone));
        books.check(0).unwrap();
    }

    #[test]
    fn what_a_dead_consumer_owes_is_reported_until_someone_settles_it() {
        let mut books = books_with_one_committed_to_anna();
        books.depart(ANNA);
        assert_eq!(books.progress(), Progress::WorkerDied(1));
        assert_eq!(books.progress(), Progress::WorkerDied(1), "asking does not clear it");
        books.accept(1);
        assert_eq!(
            books.progress(),
            Progress::Working,
            "a new item may still be dealt with"
        );
        books.deliver(BORIS, || 11, 1);
        books.commit(BORIS, 1);
        assert_eq!(books.task_done(BORIS, || 0), Ok(()), "pays for his own first");
        assert_eq!(books.progress(), Progress::WorkerDied(1));
        assert_eq!(books.task_done(BORIS, || 0), Ok(()), "then for hers");
        assert_eq!(books.progress(), Progress::Finished);
        books.check(0).unwrap();
    }

    #[test]
    fn a_task_done_by_another_session_counts_for_a_consumer_that_dies_later() {
        let mut books = books_with_one_committed_to_anna();
        assert_eq!(books.task_done(BORIS, || 0), Ok(()));
        assert_eq!(books.progress(), Progress::Finished);
        books.depart(ANNA);
        books.accept(1);
        assert_eq!(books.progress(), Progress::Working, "she left nothing behind");
        books.check(1).unwrap();
    }

    #[test]
    fn an_item_paid_ahead_may_still_be_acknowledged_or_discarded() {
        let mut books = Books::default();
        books.accept(2);
        assert_eq!(
            (books.task_done(BORIS, || 0), books.task_done(BORIS, || 0)),
            (Ok(()), Ok(()))
        );
        books.deliver(ANNA, || 10, 1);
        books.acknowledge(ANNA);
        books.check(1).unwrap();
        books.discard(1);
        books.check(0).unwrap();
        assert_eq!(books.progress(), Progress::Finished);
    }

    #[test]
    fn the_departed_are_bounded() {
        let mut books = Books::default();
        for session in 0..DEPARTED_MAX as u64 + 5 {
            books.deliver(SessionId(session), || 1, 1);
            books.give_back(SessionId(session), 1, || 0);
            books.depart(SessionId(session));
        }
        assert_eq!(books.departed().len(), DEPARTED_MAX);
        assert_eq!(books.departed().next().map(|(session, _)| session), Some(SessionId(5)));
    }
}
