//! A queue as a heap of numbered items and a line of blocked calls: after every event, the first blocked call that can go on does,
//! until none can.

mod line;

use super::{Answer, Expected, Ticket, as_int, done, int, items};
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
    /// How many items one call puts at most.
    many_max: usize,
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
    /// What each living session got for good, and how much of that it owes a `task_done` for; below zero if it has called that for items
    /// whose confirm has yet to come.
    accounts: BTreeMap<u64, (u64, i64)>,
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
    pub(crate) fn new(order: Order, maxsize: i64, many_max: usize) -> Self {
        Self {
            order,
            maxsize: usize::try_from(maxsize).unwrap_or(0),
            many_max,
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
                        rest: items(new).into_iter().take(self.many_max).collect(),
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
            self.settle_account(ticket.0);
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
        self.settle_account(session);
        self.take_back(
            flown
                .into_iter()
                .flat_map(|(_, items)| items)
                .chain(lent.into_iter().map(|lease| lease.item))
                .collect(),
        );
        if let Some((_, owed)) = self.accounts.remove(&session) {
            let owed = owed.unsigned_abs();
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
            if (committed, owed) != (account.0, account.1.max(0).unsigned_abs())
                || flying != in_flight(Some(session)) as u64
            {
                return Err(format!("session {session} should have {account:?}: {audit}"));
            }
        }
        Ok(())
    }
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
