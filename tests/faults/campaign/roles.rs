//! What the victims of the campaign do until they are killed, and what they write down about it.

use crate::record::Record;
use crate::status::{Doing, Publisher};
use byproxy::{DictProxy, Error, ListProxy, LockProxy, Manager, QueueProxy};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An item: who put it, and its number among that producer's.
pub(super) type Item = [u64; 2];
/// One line of the ledger that the lock guards: its number, the holder's token, whether the holder was told of a death, the holder.
pub(super) const LINE: usize = 4;
/// The producer that lives.
pub(super) const FEEDER: u64 = 0;

/// The objects of one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stage {
    /// The server, for those who make objects.
    address: String,
    /// A queue that is mostly full.
    pub(super) plenty: QueueProxy<Item>,
    /// A queue that is mostly empty, so that its consumers wait.
    pub(super) scarce: QueueProxy<Item>,
    /// Guards the ledger, a plain file.
    pub(super) lock: LockProxy,
    pub(super) ledger: PathBuf,
    pub(super) counts: DictProxy<String, u64>,
    pub(super) list: ListProxy<Item>,
    /// Objects in objects.
    nest: DictProxy<u64, ListProxy<DictProxy<String, u64>>>,
}

/// What a victim does all its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// Puts into the full queue.
    Put,
    /// Gets from the full queue, and from the empty one.
    GetPlenty,
    GetScarce,
    /// Gets several at once.
    GetMany,
    /// Borrows items; acknowledges most and gives some back.
    Borrow,
    /// Reads and writes the ledger under the lock.
    Lock,
    /// Counts in the dict, in two ways.
    Count,
    /// Appends to the list and takes from its front.
    List,
    /// Makes objects, nests them, takes them out and drops them.
    Nest,
}

/// Every role; those on whose deaths most depends more than once.
pub(super) const ROLES: [Role; 14] = [
    Role::Put,
    Role::Put,
    Role::GetPlenty,
    Role::GetPlenty,
    Role::GetScarce,
    Role::GetScarce,
    Role::GetMany,
    Role::Borrow,
    Role::Lock,
    Role::Lock,
    Role::Lock,
    Role::Count,
    Role::List,
    Role::Nest,
];

impl Stage {
    pub(super) fn set(manager: &Manager, ledger: PathBuf) -> byproxy::Result<Self> {
        File::create(&ledger).unwrap();
        Ok(Self {
            address: manager.address().expect("the server is a process").to_string(),
            plenty: manager.queue(100)?,
            scarce: manager.queue(0)?,
            lock: manager.lock()?,
            ledger,
            counts: manager.dict_from([("all", 0)])?,
            list: manager.list()?,
            nest: manager.dict()?,
        })
    }
}

/// The producer that lives: an item into the empty queue now and then. Returns how many it put.
pub(super) fn feed(stage: &Stage, end: &AtomicBool) -> u64 {
    for number in 1.. {
        if end.load(Ordering::Relaxed) {
            return number - 1;
        }
        stage.scarce.put([FEEDER, number]).unwrap();
        std::thread::sleep(Duration::from_micros(500));
    }
    unreachable!("the numbers do not end");
}

/// A victim's life. It ends only by a kill.
pub(super) fn act(status: PathBuf, role: Role, number: u64, stage: Stage, record: PathBuf) -> byproxy::Result<()> {
    let actor = Actor {
        publisher: Publisher::open(&status),
        record: Record::open(&record),
        number,
        stage,
    };
    match role {
        Role::Put => actor.put(),
        Role::GetPlenty => actor.get(|stage| &stage.plenty),
        Role::GetScarce => actor.get(|stage| &stage.scarce),
        Role::GetMany => actor.get_many(),
        Role::Borrow => actor.borrow(),
        Role::Lock => actor.lock(),
        Role::Count => actor.count(),
        Role::List => actor.list(),
        Role::Nest => actor.nest(),
    }
}

struct Actor {
    publisher: Publisher,
    record: Record,
    number: u64,
    stage: Stage,
}

impl Actor {
    /// Publishes how many items went in.
    fn put(mut self) -> byproxy::Result<()> {
        loop {
            let item = [self.number, self.publisher.number(0) + 1];
            self.publisher.doing(Doing::Waiting);
            self.stage.plenty.put(item)?;
            self.publisher.done(0);
        }
    }

    /// Records every item it has got.
    fn get(mut self, queue: fn(&Stage) -> &QueueProxy<Item>) -> byproxy::Result<()> {
        loop {
            self.publisher.doing(Doing::Waiting);
            let item = queue(&self.stage).get()?;
            self.publisher.doing(Doing::Between);
            self.record.push(&item);
        }
    }

    fn get_many(mut self) -> byproxy::Result<()> {
        loop {
            self.publisher.doing(Doing::Waiting);
            let items = self.stage.plenty.get_many(super::judge::BATCH)?;
            self.publisher.doing(Doing::Between);
            self.record.push(items.as_flattened());
        }
    }

    /// Records every item it has acknowledged, and publishes how many it has given back.
    fn borrow(mut self) -> byproxy::Result<()> {
        for round in 0_u64.. {
            self.publisher.doing(Doing::Waiting);
            let delivery = self.stage.plenty.receive()?;
            self.publisher.doing(Doing::Holding);
            std::thread::yield_now();
            if round % 4 == 3 {
                delivery.nack()?;
                self.publisher.done(0);
            } else {
                let item = delivery.ack()?;
                self.publisher.doing(Doing::Between);
                self.record.push(&item);
            }
        }
        Ok(())
    }

    /// Reads the number of the ledger's last line and writes the next one, in two steps that only the lock makes one. Records the
    /// number it wrote.
    fn lock(mut self) -> byproxy::Result<()> {
        let ledger = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.stage.ledger)
            .unwrap();
        loop {
            self.publisher.doing(Doing::Waiting);
            let guard = self.stage.lock.acquire()?;
            self.publisher.doing_with(Doing::Holding, 0, guard.token());
            let last = last_line(&ledger);
            std::thread::yield_now();
            write_line(
                &ledger,
                [last + 1, guard.token(), u64::from(guard.abandoned()), self.number],
            );
            self.record.push(&[last + 1]);
            self.publisher.doing(Doing::Calling);
            drop(guard);
            self.publisher.doing(Doing::Between);
        }
    }

    /// Publishes how often it has counted in each way.
    fn count(mut self) -> byproxy::Result<()> {
        let own = self.number.to_string();
        loop {
            self.publisher.doing(Doing::Calling);
            self.stage.counts.modify("all", |count| *count += 1)?;
            self.publisher.done(0);
            self.publisher.doing(Doing::Calling);
            self.stage.counts.setdefault(&own, 0)?;
            self.stage.counts.fetch_add(&own, 1)?;
            self.publisher.done(1);
        }
    }

    /// Publishes how many items it has appended, and records what it took out.
    fn list(mut self) -> byproxy::Result<()> {
        loop {
            let item = [self.number, self.publisher.number(0) + 1];
            self.publisher.doing(Doing::Calling);
            self.stage.list.append(item)?;
            self.publisher.done(0);
            if item[1].is_multiple_of(8) {
                continue;
            }
            self.publisher.doing(Doing::Calling);
            match self.stage.list.pop_at(0) {
                Ok(taken) => {
                    self.record.push(&taken);
                    self.publisher.doing(Doing::Between);
                }
                Err(Error::IndexOutOfRange(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn nest(mut self) -> byproxy::Result<()> {
        let manager = Manager::connect(self.stage.address.as_str())?;
        let mut kept = Vec::new();
        for round in 0_u64.. {
            self.publisher.doing(Doing::Calling);
            let inner = manager.list()?;
            inner.append(manager.dict_from([("made by", self.number)])?)?;
            self.stage.nest.insert(round % 7, &inner)?;
            kept.push(inner);
            if let Some(list) = self.stage.nest.pop(round % 5)? {
                kept.extend(list.get(0).map(|_| list));
            }
            if kept.len() > 20 {
                kept.clear();
            }
            self.publisher.doing(Doing::Between);
        }
        Ok(())
    }
}

/// The number of the last line, zero if there is none. Two holders at once would read the same, and one's line would be lost.
fn last_line(ledger: &File) -> u64 {
    ledger.metadata().unwrap().len() / (LINE * size_of::<u64>()) as u64
}

fn write_line(ledger: &File, line: [u64; LINE]) {
    let bytes: Vec<u8> = line.into_iter().flat_map(u64::to_le_bytes).collect();
    ledger.write_all_at(&bytes, (line[0] - 1) * bytes.len() as u64).unwrap();
}

/// Writes the last line of a round, after all deaths; returns the ledger's numbers.
pub(super) fn close_ledger(stage: &Stage) -> Vec<u64> {
    let ledger = OpenOptions::new().read(true).write(true).open(&stage.ledger).unwrap();
    let guard = stage.lock.acquire().unwrap();
    write_line(
        &ledger,
        [
            last_line(&ledger) + 1,
            guard.token(),
            u64::from(guard.abandoned()),
            FEEDER,
        ],
    );
    drop(guard);
    crate::record::read(Path::new(&stage.ledger))
}
