//! The line of blocked calls, and what lets them go on.

use super::{Blocked, Fate, Item, Lease, Order, QueueModel, Replies, Want, refusal};
use crate::model::{Answer, Expected, Ticket, as_int, done, fault, int};
use byproxy_proto::fault::FaultCode;
use byproxy_proto::value::Value;

impl QueueModel {
    pub(super) fn block(&mut self, now: u64, ticket: Ticket, wait: &Value, call: Want) -> Replies {
        let nanoseconds = as_int(wait).map(i64::unsigned_abs);
        self.blocked.push(Blocked {
            ticket,
            deadline: nanoseconds.map(|nanoseconds| now + nanoseconds),
            want: call,
        });
        let mut replies = self.settle();
        if nanoseconds == Some(0)
            && let Some(index) = self.blocked.iter().position(|blocked| blocked.ticket == ticket)
        {
            let blocked = self.blocked.remove(index);
            let code = match blocked.want {
                Want::Put { .. } => FaultCode::Full,
                Want::Get { .. } | Want::Lease => FaultCode::Empty,
                Want::Join => FaultCode::Timeout,
            };
            replies.push((ticket, refusal(&blocked.want, code)));
        }
        replies
    }

    pub(super) fn settle(&mut self) -> Replies {
        let mut replies = Vec::new();
        while let Some(index) = (0..self.blocked.len()).find(|&index| self.can_proceed(&self.blocked[index].want)) {
            let mut blocked = self.blocked.remove(index);
            match self.proceed(blocked.ticket, &mut blocked.want) {
                Some(expected) => replies.push((blocked.ticket, expected)),
                None => self.blocked.insert(index, blocked),
            }
        }
        replies
    }

    pub(super) fn can_proceed(&self, want: &Want) -> bool {
        match want {
            Want::Put { rest, .. } => self.shut || self.room() > 0 || rest.is_empty(),
            Want::Get { .. } | Want::Lease => self.shut || !self.waiting.is_empty(),
            Want::Join => self.unfinished == self.orphans,
        }
    }

    /// Does what a call can do now; nothing if it has to go on waiting.
    pub(super) fn proceed(&mut self, ticket: Ticket, want: &mut Want) -> Option<Expected> {
        match want {
            Want::Put { .. } if self.shut => Some(refusal(want, FaultCode::ShutDown)),
            Want::Put { rest, accepted, many } => {
                for value in rest.drain(..rest.len().min(self.room())) {
                    *accepted += 1;
                    self.unfinished += 1;
                    self.waiting.push(Item {
                        number: self.history.len(),
                        times: 0,
                        value,
                    });
                    self.history.push(Fate::Held);
                }
                let answer = if *many { int(*accepted) } else { Value::None };
                rest.is_empty().then_some(Expected::Answer(done(answer)))
            }
            Want::Get { .. } | Want::Lease if self.waiting.is_empty() => {
                Some(Expected::Answer(fault(FaultCode::ShutDown)))
            }
            Want::Get { most, many } => {
                let mut items = Vec::new();
                while items.len() < *most && !self.waiting.is_empty() {
                    items.push(self.pop());
                }
                self.accounts.entry(ticket.0).or_default();
                let values: Vec<Value> = items.iter().map(|item| item.value.clone()).collect();
                let answer = if *many {
                    Value::List(values)
                } else {
                    values.into_iter().next().expect("one was there")
                };
                self.flights.push((ticket, items));
                Some(Expected::Delivery(answer))
            }
            Want::Lease => {
                let item = self.pop();
                self.accounts.entry(ticket.0).or_default();
                let expected = Expected::Lease(item.times, item.value.clone());
                self.leases.push(Lease {
                    session: ticket.0,
                    delivery: None,
                    item,
                });
                Some(expected)
            }
            Want::Join if self.unfinished == 0 => Some(Expected::Answer(done(Value::None))),
            Want::Join => Some(Expected::Answer(Answer::Fault(
                FaultCode::WorkerDied,
                int(self.orphans),
            ))),
        }
    }

    pub(super) fn pop(&mut self) -> Item {
        let numbers = self.waiting.iter().map(|item| item.number);
        let next = match self.order {
            Order::Fifo => numbers.min(),
            Order::Lifo => numbers.max(),
            Order::Priority => {
                let rank = |item: &&Item| (priority(&item.value), item.number);
                self.waiting.iter().min_by_key(rank).map(|item| item.number)
            }
        };
        let index = self
            .waiting
            .iter()
            .position(|item| Some(item.number) == next)
            .expect("asked only when one waits");
        self.waiting.remove(index)
    }

    pub(super) fn end_lease(&mut self, session: u64, delivery: &Value, done_with: bool) -> Answer {
        let delivery = as_int(delivery).map(i64::unsigned_abs);
        let found = self
            .leases
            .iter()
            .position(|lease| lease.session == session && lease.delivery == delivery);
        let Some(index) = found else {
            return fault(FaultCode::Misuse);
        };
        let Lease { item, .. } = self.leases.remove(index);
        if done_with {
            self.commit(session, &item);
            self.pay_unfinished();
        } else {
            self.take_back(vec![item]);
        }
        done(Value::None)
    }

    pub(super) fn task_done(&mut self, session: u64) -> Answer {
        if self.unfinished == 0 {
            return fault(FaultCode::Misuse);
        }
        self.unfinished -= 1;
        let unpaid = self.unpaid(session);
        match self.accounts.get_mut(&session) {
            Some((_, owed)) if unpaid > 0 => *owed -= 1,
            _ if self.orphans > 0 => self.orphans -= 1,
            _ => self.credit += 1,
        }
        done(Value::None)
    }

    /// Items that a session got for good or has on their way, and has not called `task_done` for.
    fn unpaid(&self, session: u64) -> i64 {
        let theirs = self.flights.iter().filter(|(ticket, _)| ticket.0 == session);
        let flying: i64 = theirs
            .map(|(_, items)| i64::try_from(items.len()).unwrap_or(i64::MAX))
            .sum();
        self.accounts.get(&session).map_or(0, |(_, owed)| owed + flying)
    }

    /// What a session paid for and then gave back was paid for somebody else.
    pub(super) fn settle_account(&mut self, session: u64) {
        while self.unpaid(session) < 0 {
            self.accounts.entry(session).or_default().1 += 1;
            if self.orphans > 0 {
                self.orphans -= 1;
            } else {
                self.credit += 1;
            }
        }
    }

    pub(super) fn commit(&mut self, session: u64, item: &Item) {
        let fate = std::mem::replace(&mut self.history[item.number], Fate::Committed);
        assert_eq!(fate, Fate::Held, "the model committed an item twice");
        self.accounts.entry(session).or_default().0 += 1;
    }

    pub(super) fn take_back(&mut self, items: Vec<Item>) {
        self.returned += items.len() as u64;
        if self.ended {
            return self.discard(items);
        }
        self.waiting.extend(items.into_iter().map(|item| Item {
            times: item.times + 1,
            ..item
        }));
    }

    pub(super) fn discard(&mut self, items: Vec<Item>) {
        for item in items {
            self.history[item.number] = Fate::Discarded;
            self.pay_unfinished();
        }
    }

    /// One item less to be done; if it was paid for already, one payment less.
    pub(super) fn pay_unfinished(&mut self) {
        match self.unfinished.checked_sub(1) {
            Some(fewer) => self.unfinished = fewer,
            None => self.credit -= 1,
        }
    }

    pub(super) fn room(&self) -> usize {
        if self.maxsize == 0 {
            usize::MAX
        } else {
            self.maxsize.saturating_sub(self.waiting.len())
        }
    }
}

/// Items of priority queues are ints here.
fn priority(value: &Value) -> i64 {
    as_int(value).expect("the simulator puts nothing else")
}
