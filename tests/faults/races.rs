//! Replies that race with timeouts: whoever wins, no item is dropped and none is given twice.

use crate::baseline::await_waiters;
use crate::deliveries::settled;
use crate::dice::Dice;
use crate::watchdog::Watchdog;
use byproxy::{GetTimeoutError, Manager};
use std::time::Duration;

const ITEMS: u64 = 3_000;
const CONSUMERS: u32 = 4;

on_each_transport! {
    fn a_timeout_that_meets_its_item_drops_nothing(transport) {
        let _watchdog = Watchdog::new();
        for manager in [transport.start(), Manager::embedded().unwrap()] {
            let queue = manager.queue::<u64>(0).unwrap();
            let seed = Dice::seed("BYPROXY_FAULTS_SEED");
            let (mut got, timeouts) = std::thread::scope(|scope| {
                let consumers: Vec<_> = (0..CONSUMERS)
                    .map(|n| {
                        let (queue, mut dice) = (queue.clone(), Dice::from_seed(seed + u64::from(n)));
                        scope.spawn(move || {
                            let (mut got, mut timeouts) = (Vec::new(), 0);
                            loop {
                                // As long as the pauses of the producer: about every second one elapses just when an item comes.
                                match queue.get_timeout(dice.time_below(Duration::from_micros(200))) {
                                    Ok(0) => return (got, timeouts),
                                    Ok(item) => got.push(item),
                                    Err(GetTimeoutError::Timeout) => timeouts += 1,
                                    Err(error) => panic!("{error}"),
                                }
                            }
                        })
                    })
                    .collect();
                let mut dice = Dice::from_seed(seed);
                for item in (1..=ITEMS).chain((0..CONSUMERS).map(|_| 0)) {
                    queue.put(item).unwrap();
                    std::thread::sleep(dice.time_below(Duration::from_micros(60)));
                }
                let mut all = (Vec::new(), 0);
                for consumer in consumers {
                    let (got, timeouts) = consumer.join().unwrap();
                    assert!(
                        got.is_sorted(),
                        "seed {seed}: one consumer gets items in order: {got:?}"
                    );
                    all.0.extend(got);
                    all.1 += timeouts;
                }
                all
            });
            got.sort_unstable();
            assert_eq!(got, (1..=ITEMS).collect::<Vec<_>>(), "seed {seed}");
            assert!(timeouts > 0, "seed {seed}: nothing raced");
            println!("{ITEMS} items met {timeouts} timeouts");
            let audit = settled(&queue);
            assert_eq!((audit.accepted, audit.waiting), (audit.committed, 0));
            await_waiters(&manager, 0);
        }
    }
}

on_each_transport! {
    fn a_lock_granted_as_its_wait_elapses_is_not_lost(transport) {
        let _watchdog = Watchdog::new();
        for manager in [transport.start(), Manager::embedded().unwrap()] {
            let lock = manager.lock().unwrap();
            let seed = Dice::seed("BYPROXY_FAULTS_SEED");
            let granted: u32 = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..CONSUMERS)
                    .map(|n| {
                        let (lock, mut dice) = (lock.clone(), Dice::from_seed(seed + u64::from(n)));
                        scope.spawn(move || {
                            let mut granted = 0;
                            for _ in 0..500 {
                                let wait = dice.time_below(Duration::from_micros(300));
                                if let Some(guard) = lock.acquire_timeout(wait).unwrap() {
                                    assert!(!guard.abandoned());
                                    granted += 1;
                                    std::thread::sleep(dice.time_below(Duration::from_micros(200)));
                                    drop(guard);
                                }
                            }
                            granted
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert!(!lock.locked().unwrap(), "seed {seed}: a grant was lost");
            assert!(
                (1..CONSUMERS * 500).contains(&granted),
                "seed {seed}: nothing raced: {granted}"
            );
            println!("{granted} of {} short waits were granted", CONSUMERS * 500);
        }
    }
}
