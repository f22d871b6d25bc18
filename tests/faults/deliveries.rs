//! Consumers killed while an item is on its way to them, or lent to them: it returns to its place, unless it was theirs already.

use crate::baseline::await_waiters;
use crate::processes::{await_asleep, freeze, thaw};
use crate::record::{self, Record};
use crate::status::{Doing, Publisher};
use crate::victim::{Morgue, victim};
use crate::watchdog::Watchdog;
use byproxy::{Manager, QueueAudit, QueueProxy};
use std::path::{Path, PathBuf};

/// Gets items and records each once it has it, until the end marker 0.
pub(crate) fn recording_consumer(status: PathBuf, queue: QueueProxy<u64>, items: PathBuf) -> byproxy::Result<()> {
    let (mut publisher, mut items) = (Publisher::open(&status), Record::open(&items));
    loop {
        publisher.doing(Doing::Waiting);
        let item = queue.get()?;
        if item == 0 {
            publisher.doing(Doing::Finished);
            return Ok(());
        }
        items.push(&[item]);
    }
}

/// Waits for up to three items at once.
pub(crate) fn greedy_consumer(status: PathBuf, queue: QueueProxy<u64>) -> byproxy::Result<()> {
    let mut publisher = Publisher::open(&status);
    publisher.doing(Doing::Waiting);
    queue.get_many(3)?;
    unreachable!("it is killed before");
}

/// Borrows an item and keeps it.
pub(crate) fn borrower(status: PathBuf, queue: QueueProxy<u64>) -> byproxy::Result<()> {
    let mut publisher = Publisher::open(&status);
    publisher.doing(Doing::Waiting);
    let _delivery = queue.receive()?;
    publisher.doing(Doing::Holding);
    loop {
        std::thread::park();
    }
}

/// Waits until so many numbers are recorded.
fn await_records(record: &Path, count: usize) {
    while record::read(record).len() < count {
        std::thread::yield_now();
    }
}

/// The books once nothing is on its way: a confirmation travels by itself and may arrive after the next call, and a death is noticed a moment
/// after it.
pub(crate) fn settled(queue: &QueueProxy<u64>) -> QueueAudit {
    settled_after(queue, 0)
}

/// The same once so many consumers are entered as departed: one that had nothing on its way may be dead and not be noticed yet.
fn settled_after(queue: &QueueProxy<u64>, deaths: usize) -> QueueAudit {
    loop {
        let audit = queue.audit().unwrap();
        if audit.in_flight == 0 && audit.departed.len() >= deaths {
            return audit;
        }
        std::thread::yield_now();
    }
}

on_each_transport! {
    fn an_item_on_its_way_to_a_consumer_that_dies_returns_to_its_place(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<u64>(0).unwrap();

        let victim = victim!(morgue, recording_consumer, queue.clone(), morgue.file());
        await_waiters(&manager, 1);
        freeze(victim.pid());
        // The frozen consumer is granted the first item and cannot take it.
        for item in 1..=3 {
            queue.put(item).unwrap();
        }
        let audit = queue.audit().unwrap();
        assert_eq!(
            (audit.accepted, audit.committed, audit.in_flight, audit.waiting),
            (3, 0, 1, 2)
        );
        assert_eq!(queue.qsize().unwrap(), 2, "what is on its way does not count");
        assert_eq!(
            queue.get().unwrap(),
            2,
            "others go on, and what they take is not what is on its way"
        );

        victim.kill();
        settled(&queue);
        assert_eq!(
            (queue.get().unwrap(), queue.get().unwrap()),
            (1, 3),
            "not lost, not twice, not at the end"
        );
        let audit = settled(&queue);
        assert_eq!(
            (audit.committed, audit.in_flight, audit.waiting, audit.returned),
            (3, 0, 0, 1)
        );
    }
}

on_each_transport! {
    fn a_consumer_commits_its_own_items_and_no_others(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<u64>(0).unwrap();
        let (frozen_items, items) = (morgue.file(), morgue.file());
        let frozen = victim!(morgue, recording_consumer, queue.clone(), frozen_items.clone());
        await_waiters(&manager, 1);
        freeze(frozen.pid());
        queue.put(1).unwrap();

        // Ten more go to a consumer that came later, while the first is on its way to the frozen one.
        let survivor = victim!(morgue, recording_consumer, queue.clone(), items.clone());
        await_waiters(&manager, 1);
        queue.put_many(2..12).unwrap();
        await_records(&items, 10);
        await_waiters(&manager, 1);
        let audit = queue.audit().unwrap();
        assert_eq!((audit.committed, audit.in_flight), (10, 1));
        frozen.kill();
        await_records(&items, 11);
        queue.put(0).unwrap();
        survivor.join();
        assert_eq!(record::read(&frozen_items), []);
        assert_eq!(record::read(&items), (2..12).chain([1]).collect::<Vec<_>>());
    }
}

on_each_transport! {
    fn what_a_consumer_said_before_it_died_counts(transport) {
        let _watchdog = Watchdog::new();
        let server = transport.serve(&[]);
        let manager = Manager::connect(server.address()).unwrap();
        let morgue = Morgue::new();
        let queue = manager.queue::<u64>(0).unwrap();
        let items = morgue.file();
        let victim = victim!(morgue, recording_consumer, queue.clone(), items.clone());
        await_waiters(&manager, 1);

        // The server is frozen between its reply and the consumer's confirmation, and wakes when the consumer is dead: it then finds the
        // confirmation, one more call, and the death, all at once.
        freeze(victim.pid());
        queue.put_many([1, 2]).unwrap();
        server.freeze();
        thaw(victim.pid());
        await_records(&items, 1);
        await_asleep(victim.pid());
        victim.kill();
        server.thaw();

        assert_eq!(record::read(&items), [1]);
        assert_eq!(
            queue.get().unwrap(),
            2,
            "the first was the consumer's, and not this one"
        );
        let audit = settled_after(&queue, 1);
        assert_eq!((audit.accepted, audit.committed, audit.waiting), (2, 2, 0));
        let departed = &audit.departed[0];
        assert_eq!(
            (departed.pid, departed.committed),
            (victim.pid().as_raw_nonzero().get().unsigned_abs(), 1)
        );
    }
}

on_each_transport! {
    fn items_on_their_way_together_return_together(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<u64>(0).unwrap();

        let victim = victim!(morgue, greedy_consumer, queue.clone());
        await_waiters(&manager, 1);
        freeze(victim.pid());
        queue.put_many([1, 2, 3, 4, 5]).unwrap();
        let in_flight = queue.audit().unwrap().in_flight;
        assert!((1..=3).contains(&in_flight), "{in_flight}");
        victim.kill();
        settled(&queue);
        let got: Vec<u64> = (0..5).map(|_| queue.get().unwrap()).collect();
        assert_eq!(got, [1, 2, 3, 4, 5]);
        assert_eq!(settled(&queue).returned, in_flight);
    }
}

on_each_transport! {
    fn a_lent_item_returns_when_its_borrower_dies(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<u64>(0).unwrap();
        queue.put_many([1, 2, 3]).unwrap();

        for deaths in 1..=3 {
            let victim = victim!(morgue, borrower, queue.clone());
            victim.await_doing(Doing::Holding);
            assert_eq!(queue.qsize().unwrap(), 2);
            victim.kill();
            settled(&queue);
            let delivery = queue.receive().unwrap();
            assert_eq!(
                (*delivery.item(), delivery.count()),
                (1, deaths * 2 - 1),
                "the same item, and it says how often"
            );
            delivery.nack().unwrap();
        }
        let got: Vec<u64> = (0..3).map(|_| queue.get().unwrap()).collect();
        assert_eq!(got, [1, 2, 3]);
    }
}

on_each_transport! {
    fn a_full_queue_takes_back_what_was_on_its_way(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<u64>(1).unwrap();
        let victim = victim!(morgue, borrower, queue.clone());
        queue.put(1).unwrap();
        victim.await_doing(Doing::Holding);
        queue.put(2).unwrap();
        victim.kill();
        settled(&queue);
        assert_eq!(
            (queue.get().unwrap(), queue.get().unwrap()),
            (1, 2),
            "over its size for a while, and nothing lost"
        );
    }
}
