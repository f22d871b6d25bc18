//! Consumers killed while they wait: no item goes with them, and nothing of them stays.
//!
//! In Python a consumer killed in `get()` takes the next item with it.

use crate::baseline::{Baseline, await_stats, await_waiters};
use crate::deliveries::{borrower, greedy_consumer, recording_consumer};
use crate::record;
use crate::status::{Doing, Publisher};
use crate::victim::{Morgue, victim};
use crate::watchdog::Watchdog;
use byproxy::{Error, Manager, QueueProxy};
use std::path::PathBuf;
use std::time::Duration;

/// Gets two items and never says `task_done`.
fn lazy_consumer(status: PathBuf, queue: QueueProxy<u64>) -> byproxy::Result<()> {
    let mut publisher = Publisher::open(&status);
    queue.get()?;
    queue.get()?;
    publisher.doing(Doing::Between);
    loop {
        std::thread::park();
    }
}

/// Waits for a queue to be dealt with.
fn joiner(status: PathBuf, queue: QueueProxy<u64>) -> byproxy::Result<()> {
    Publisher::open(&status).doing(Doing::Waiting);
    queue.join()?;
    unreachable!("it is killed before");
}

/// Waits for room.
fn producer(status: PathBuf, queue: QueueProxy<u64>) -> byproxy::Result<()> {
    Publisher::open(&status).doing(Doing::Waiting);
    queue.put(99)?;
    unreachable!("it is killed before");
}

/// Waits in every one of the queues.
fn waits_everywhere(status: PathBuf, queues: Vec<QueueProxy<u64>>) {
    Publisher::open(&status).doing(Doing::Waiting);
    std::thread::scope(|scope| {
        for queue in &queues {
            std::thread::Builder::new()
                .stack_size(128 << 10)
                .spawn_scoped(scope, || queue.get())
                .unwrap();
        }
    });
}

on_each_transport! {
    fn a_consumer_killed_in_get_takes_nothing_with_it(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<u64>(0).unwrap();
        let items = morgue.file();

        // Ten that wait are killed, in all orders of arrival around the one that lives; items follow once they are gone.
        let others = manager.stats().unwrap().sessions;
        let early: Vec<_> = (0..5)
            .map(|_| victim!(morgue, recording_consumer, queue.clone(), morgue.file()))
            .collect();
        await_waiters(&manager, 5);
        let survivor = victim!(morgue, recording_consumer, queue.clone(), items.clone());
        await_waiters(&manager, 6);
        let late: Vec<_> = (0..5)
            .map(|_| victim!(morgue, recording_consumer, queue.clone(), morgue.file()))
            .collect();
        await_waiters(&manager, 11);
        for victim in early.iter().chain(&late) {
            victim.kill();
        }
        // What is granted to one that is dead and not noticed yet comes back late, which is another test's business.
        await_stats(&manager, "left with the survivor", |counts| {
            counts.sessions == others + 1
        });
        for item in (1..=100).chain([0]) {
            queue.put(item).unwrap();
        }
        survivor.join();
        assert_eq!(
            record::read(&items),
            (1..=100).collect::<Vec<_>>(),
            "every item reaches a live consumer, in order"
        );
    }
}

on_each_transport! {
    fn what_a_dead_consumer_owes_is_reported_by_join(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<u64>(0).unwrap();
        queue.put_many([1, 2]).unwrap();
        let victim = victim!(morgue, lazy_consumer, queue.clone());
        victim.await_doing(Doing::Between);
        assert!(
            matches!(queue.join_timeout(Duration::from_millis(10)), Err(Error::Timeout)),
            "it may still say task_done"
        );
        victim.strike();
        assert!(
            matches!(queue.join(), Err(Error::WorkerDied(2))),
            "two were taken, and nobody will say task_done"
        );
    }
}

on_each_transport! {
    fn killed_waiters_leave_no_trace(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let empty = manager.queue::<u64>(0).unwrap();
        let full = manager.queue::<u64>(1).unwrap();
        full.put(1).unwrap();
        let baseline = Baseline::of(&manager);

        let victims = [
            victim!(morgue, recording_consumer, empty.clone(), morgue.file()),
            victim!(morgue, greedy_consumer, empty.clone()),
            victim!(morgue, borrower, empty.clone()),
            victim!(morgue, joiner, full.clone()),
            victim!(morgue, producer, full.clone()),
        ];
        await_waiters(&manager, 5);
        for victim in &victims {
            assert_eq!(victim.kill().doing, Doing::Waiting);
        }
        println!("back to the baseline after {:.1?}", baseline.await_return());
        assert_eq!(full.get().unwrap(), 1);
        assert!(full.is_empty().unwrap(), "a dead producer's item does not go in");
    }
}

on_each_transport! {
    fn an_item_that_meets_a_dying_waiter_reaches_the_next_one(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<u64>(0).unwrap();
        for item in 1..=30 {
            let victim = victim!(morgue, recording_consumer, queue.clone(), morgue.file());
            await_waiters(&manager, 1);
            // The kill and the item race: whoever the server hears of first, the item survives.
            victim.strike();
            queue.put(item).unwrap();
            assert_eq!(queue.get().unwrap(), item);
            assert!(queue.is_empty().unwrap());
        }
    }
}

on_each_transport! {
    fn items_that_meet_the_sweep_of_a_dead_session_are_not_granted_to_it(transport) {
        let _watchdog = Watchdog::new();
        // With two workers, one sweeps the dead session while the other takes the items in.
        let server = transport.serve(&["--workers", "2"]);
        let manager = Manager::connect(server.address()).unwrap();
        let morgue = Morgue::new();
        let baseline = Baseline::of(&manager);
        for _ in 0..5 {
            let queues: Vec<QueueProxy<u64>> = (0..200).map(|_| manager.queue(0).unwrap()).collect();
            let victim = victim!(morgue, waits_everywhere, queues.clone());
            await_waiters(&manager, 200);
            victim.strike();
            // The sweep goes through the objects in the order of their making, so these meet what it has not reached.
            for (item, queue) in queues.iter().enumerate().rev() {
                queue.put(item as u64).unwrap();
            }
            for (item, queue) in queues.iter().enumerate() {
                assert_eq!(queue.get().unwrap(), item as u64);
                assert!(queue.is_empty().unwrap());
            }
            drop(queues);
            baseline.await_return();
        }
    }
}
