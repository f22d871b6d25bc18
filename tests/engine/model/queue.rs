//! A queue as a heap of numbered items and a line of blocked calls: after every event, the first blocked call that can go on does,
//! until none can.

use super::{Answer, Expected, Ticket, as_int, done, fault, int, items};
use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::Operation;
use byproxy_proto::value::Value;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Fifo,
    Lifo,
    Priority,
}

#[derive(Clone, Debug)]
pub(crate) struct QueueModel {
    order: Order,
    maxsize: usize,
    waiting: Vec<Item>,
    flights: Vec<(Ticket, Vec<Item>)>,
    leases: Vec<Lease>,
    blocked: Vec<Blocked>,
    shut: bool,
    ended: bool,
    /// Every item ever accepted, and what became of it in the end.
    history: Vec<Fate>,
    returned: u64,
    unfinished: u64,
    /// What each living session got for good, and how much of that it owes a `task_done` for.
    accounts: BTreeMap<u64, (u64, u64)>,
    orphans: u64,
    credit: u64,
}

#[derive(Clone, Debug)]
struct Item {
    number: usize,
    times: u64,
    value: Value,
}

#[derive(Clone, Debug)]
struct Lease {
    session: u64,
    delivery: Option<u64>,
    item: Item,
}

#[derive(Clone, Debug)]
struct Blocked {
    ticket: Ticket,
    deadline: Option<u64>,
    want: Want,
}

#[derive(Clone, Debug)]
enum Want {
    Put {
        rest: Vec<Value>,
        accepted: usize,
        many: bool,
    },
    Get {
        most: usize,
        many: bool,
    },
    Lease,
    Join,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Held,
    Committed,
    Discarded,
}

type Replies = Vec<(Ticket, Expected)>;

impl QueueModel {
    pub(crate) fn new(order: Order, maxsize: i64) -> Self {
        Self {
            order,
            maxsize: usize::try_from(maxsize).unwrap_or(0),
            waiting: Vec::new(),
            flights: Vec::new(),
            leases: Vec::new(),
            blocked: Vec::new(),
            shut: false,
            ended: false,
            history: Vec::new(),
            returned: 0,
            unfinished: 0,
            accounts: BTreeMap::new(),
            orphans: 0,
            credit: 0,
        }
    }

    pub(crate) fn call(&mut self, now: u64, ticket: Ticket, operation: Operation, arguments: &[Value]) -> Replies {
        use Operation as O;
        let answer = match (operation, arguments) {
            (O::QueuePut, [item, wait]) => {
                return self.block(
                    now,
                    ticket,
                    wait,
                    Want::Put {
                        rest: vec![item.clone()],
                        accepted: 0,
                        many: false,
                    },
                );
            }
            (O::QueuePutMany, [new, wait]) => {
                return self.block(
                    now,
                    ticket,
                    wait,
                    Want::Put {
                        rest: items(new),
                        accepted: 0,
                        many: true,
                    },
                );
            }
            (O::QueueGet, [wait]) => return self.block(now, ticket, wait, Want::Get { most: 1, many: false }),
            (O::QueueGetMany, [most, wait]) => {
                let most = usize::try_from(as_int(most).unwrap_or(0)).unwrap_or(0);
                if most == 0 {
                    return vec![(ticket, Expected::Answer(done(Value::List(Vec::new()))))];
                }
                return self.block(now, ticket, wait, Want::Get { most, many: true });
            }
            (O::QueueReceive, [wait]) => return self.block(now, ticket, wait, Want::Lease),
            (O::QueueJoin, [wait]) => return self.block(now, ticket, wait, Want::Join),
            (O::QueueAck, [delivery]) => self.end_lease(ticket.0, delivery, true),
            (O::QueueNack, [delivery]) => self.end_lease(ticket.0, delivery, false),
            (O::QueueQsize, []) => done(int(self.waiting.len())),
            (O::QueueMaxsize, []) => done(int(self.maxsize)),
            (O::QueueTaskDone, []) => self.task_done(ticket.0),
            (O::QueueShutdown, [immediate]) => {
                self.shut = true;
                self.ended |= *immediate == Value::from(true);
                let discarded = if self.ended {
                    std::mem::take(&mut self.waiting)
                } else {
                    Vec::new()
                };
                self.discard(discarded);
                done(Value::None)
            }
            _ => panic!("the model of queues does not know {operation:?} with {arguments:?}"),
        };
        let mut replies = self.settle();
        replies.push((ticket, Expected::Answer(answer)));
        replies
    }

    /// The client has got what a delivery carried, or does not want it.
    pub(crate) fn end_flight(&mut self, ticket: Ticket, confirmed: bool) -> Replies {
        let Some(index) = self.flights.iter().position(|(of, _)| *of == ticket) else {
            return Vec::new();
        };
        let (_, items) = self.flights.remove(index);
        if confirmed {
            for item in items {
                self.commit(ticket.0, &item);
                self.accounts.entry(ticket.0).or_default().1 += 1;
            }
        } else {
            self.take_back(items);
        }
        self.settle()
    }

    /// A lease's reply has told its delivery number; numbers are never used twice.
    pub(crate) fn leased(&mut self, session: u64, delivery: u64) -> bool {
        let fresh = self
            .leases
            .iter()
            .all(|lease| lease.delivery.is_none_or(|before| before < delivery));
        let unnamed = self
            .leases
            .iter_mut()
            .find(|lease| lease.session == session && lease.delivery.is_none());
        unnamed.map(|lease| lease.delivery = Some(delivery)).is_some() && fresh
    }

    pub(crate) fn expire(&mut self, now: u64) -> Replies {
        let late = |blocked: &Blocked| blocked.deadline.is_some_and(|deadline| deadline <= now);
        let expired: Vec<Blocked> = self.blocked.iter().filter(|blocked| late(blocked)).cloned().collect();
        self.blocked.retain(|blocked| !late(blocked));
        let mut replies: Replies = expired
            .into_iter()
            .map(|blocked| (blocked.ticket, refusal(&blocked.want, FaultCode::Timeout)))
            .collect();
        replies.extend(self.settle());
        replies
    }

    pub(crate) fn session_end(&mut self, session: u64) -> Replies {
        self.blocked.retain(|blocked| blocked.ticket.0 != session);
        let (theirs, flights) = std::mem::take(&mut self.flights)
            .into_iter()
            .partition(|(ticket, _)| ticket.0 == session);
        self.flights = flights;
        let (lent, leases) = std::mem::take(&mut self.leases)
            .into_iter()
            .partition(|lease| lease.session == session);
        self.leases = leases;
        let flown: Vec<(Ticket, Vec<Item>)> = theirs;
        let lent: Vec<Lease> = lent;
        self.take_back(
            flown
                .into_iter()
                .flat_map(|(_, items)| items)
                .chain(lent.into_iter().map(|lease| lease.item))
                .collect(),
        );
        if let Some((_, owed)) = self.accounts.remove(&session) {
            let paid = owed.min(self.credit);
            self.credit -= paid;
            self.orphans += owed - paid;
        }
        self.settle()
    }

    pub(crate) fn deadlines(&self) -> impl Iterator<Item = u64> {
        self.blocked.iter().filter_map(|blocked| blocked.deadline)
    }

    pub(crate) fn waiters(&self) -> usize {
        self.blocked.len()
    }

    /// Every value the queue holds on to.
    pub(crate) fn values(&self) -> Vec<&Value> {
        let offered = self.blocked.iter().flat_map(|blocked| match &blocked.want {
            Want::Put { rest, .. } => rest.as_slice(),
            _ => &[],
        });
        let flown = self.flights.iter().flat_map(|(_, items)| items).map(|item| &item.value);
        let lent = self.leases.iter().map(|lease| &lease.item.value);
        self.waiting
            .iter()
            .map(|item| &item.value)
            .chain(flown)
            .chain(lent)
            .chain(offered)
            .collect()
    }

    /// Checks an audit's answer: every item ever accepted is in exactly one place, and each account is right.
    pub(crate) fn check_audit(&self, audit: &Value) -> Result<(), String> {
        let in_flight = |session: Option<u64>| {
            let of = |owner: u64| session.is_none_or(|session| session == owner);
            let flown = self
                .flights
                .iter()
                .filter(|(ticket, _)| of(ticket.0))
                .map(|(_, items)| items.len())
                .sum::<usize>();
            flown + self.leases.iter().filter(|lease| of(lease.session)).count()
        };
        let ended = |fate: Fate| self.history.iter().filter(|&&ended| ended == fate).count();
        let expected = [
            ("accepted", self.history.len()),
            ("committed", ended(Fate::Committed)),
            ("in_flight", in_flight(None)),
            ("returned", usize::try_from(self.returned).expect("few")),
            ("waiting", self.waiting.len()),
            ("discarded", ended(Fate::Discarded)),
        ];
        for (name, number) in expected {
            if audit.get(name) != Some(&int(number)) {
                return Err(format!("the audit should say {name} {number}: {audit}"));
            }
        }
        let held = self.waiting.len() + in_flight(None);
        if held != ended(Fate::Held) {
            return Err(format!("the model itself lost items: {held} of {}", ended(Fate::Held)));
        }
        for line in items(audit.get("consumers").unwrap_or(&Value::None)) {
            let line: Vec<u64> = items(&line).iter().filter_map(as_int).map(i64::unsigned_abs).collect();
            let [_pid, session, committed, flying, owed] = line[..] else {
                return Err(format!("a bad line in {audit}"));
            };
            let account = self.accounts.get(&session).copied().unwrap_or_default();
            if (committed, owed) != account || flying != in_flight(Some(session)) as u64 {
                return Err(format!("session {session} should have {account:?}: {audit}"));
            }
        }
        Ok(())
    }

    fn block(&mut self, now: u64, ticket: Ticket, wait: &Value, call: Want) -> Replies {
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

    fn settle(&mut self) -> Replies {
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

    fn can_proceed(&self, want: &Want) -> bool {
        match want {
            Want::Put { rest, .. } => self.shut || self.room() > 0 || rest.is_empty(),
            Want::Get { .. } | Want::Lease => self.shut || !self.waiting.is_empty(),
            Want::Join => self.unfinished == self.orphans,
        }
    }

    /// Does what a call can do now; nothing if it has to go on waiting.
    fn proceed(&mut self, ticket: Ticket, want: &mut Want) -> Option<Expected> {
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

    fn pop(&mut self) -> Item {
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

    fn end_lease(&mut self, session: u64, delivery: &Value, done_with: bool) -> Answer {
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

    fn task_done(&mut self, session: u64) -> Answer {
        if self.unfinished == 0 {
            return fault(FaultCode::Misuse);
        }
        self.unfinished -= 1;
        match self.accounts.get_mut(&session) {
            Some((_, owed)) if *owed > 0 => *owed -= 1,
            _ if self.orphans > 0 => self.orphans -= 1,
            _ => self.credit += 1,
        }
        done(Value::None)
    }

    fn commit(&mut self, session: u64, item: &Item) {
        let fate = std::mem::replace(&mut self.history[item.number], Fate::Committed);
        assert_eq!(fate, Fate::Held, "the model committed an item twice");
        self.accounts.entry(session).or_default().0 += 1;
    }

    fn take_back(&mut self, items: Vec<Item>) {
        self.returned += items.len() as u64;
        if self.ended {
            return self.discard(items);
        }
        self.waiting.extend(items.into_iter().map(|item| Item {
            times: item.times + 1,
            ..item
        }));
    }

    fn discard(&mut self, items: Vec<Item>) {
        for item in items {
            self.history[item.number] = Fate::Discarded;
            self.pay_unfinished();
        }
    }

    /// One item less to be done; if it was paid for already, one payment less.
    fn pay_unfinished(&mut self) {
        match self.unfinished.checked_sub(1) {
            Some(fewer) => self.unfinished = fewer,
            None => self.credit -= 1,
        }
    }

    fn room(&self) -> usize {
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

fn refusal(want: &Want, code: FaultCode) -> Expected {
    let detail = match want {
        Want::Put {
            accepted, many: true, ..
        } => int(*accepted),
        _ => Value::None,
    };
    Expected::Answer(Answer::Fault(code, detail))
}
