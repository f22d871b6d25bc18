//! Shared memory in managed containers: its maker is killed, and whoever shares or fetches is killed in the middle of it.
//!
//! In Python a manager's `Value` is the manager's own and every look at it a round trip; a `multiprocessing.Value` can't be put in a container
//! of a manager at all.

use crate::baseline::Baseline;
use crate::dice::Dice;
use crate::status::{Doing, Publisher};
use crate::victim::{Morgue, victim};
use crate::watchdog::Watchdog;
use byproxy::shm::{Array, Lock, Value};
use byproxy::{DictProxy, ListProxy, Manager, QueueProxy};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// How many processes are killed while they share and fetch.
const KILLS: u64 = 30;

#[derive(Clone, Serialize, Deserialize)]
struct Office {
    seats: Value<u64>,
    trains: Array<f64>,
    lock: Lock,
}

/// Puts an office in a dict and in a queue, takes its lock, and stays.
fn maker(status: PathBuf, dict: DictProxy<String, Office>, queue: QueueProxy<Office>) -> byproxy::Result<()> {
    let mut publisher = Publisher::open(&status);
    let office = Office {
        seats: Value::new(7)?,
        trains: Array::new(&[0.5; 1000])?,
        lock: Lock::new()?,
    };
    dict.insert("north", &office)?;
    queue.put(&office)?;
    let _guard = office.lock.acquire();
    publisher.doing(Doing::Holding);
    loop {
        std::thread::park();
    }
}

/// Makes memory, shares it and fetches what others shared, without an end.
fn dealer(status: PathBuf, address: String, pile: ListProxy<Array<u64>>) -> byproxy::Result<()> {
    let mut publisher = Publisher::open(&status);
    let manager = Manager::connect(&address)?;
    publisher.doing(Doing::Calling);
    for round in 0.. {
        pile.append(manager.array(&[round; 1000])?)?;
        let found = manager.array_named("named", &[round; 1000])?;
        assert_eq!(found.len(), 1000);
        manager.remove("named")?;
        if let Some(array) = pile.pop()? {
            assert_eq!(array.get(0)?, array.get(999)?);
        }
    }
    Ok(())
}

/// The descriptors of shared memory that a process has open.
fn descriptors_of(pid: rustix::process::Pid) -> usize {
    let listed = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
    listed
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().contains("memfd:byproxy"))
        .count()
}

on_each_transport! {
    fn what_a_killed_maker_shared_still_works(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let baseline = Baseline::of(&manager);
        {
            let dict = manager.dict::<String, Office>().unwrap();
            let queue = manager.queue::<Office>(0).unwrap();
            let victim = victim!(morgue, maker, dict.clone(), queue.clone());
            victim.await_doing(Doing::Holding);
            victim.kill();
            let taken = queue.get().unwrap();
            assert_eq!((taken.seats.get(), taken.trains.get(-1).unwrap()), (7, 0.5));
            assert!(taken.lock.acquire().abandoned(), "the next holder is told");
            taken.seats.fetch_add(1).unwrap();
            taken.trains.set(3, 1.5).unwrap();
            let stored = dict.get("north").unwrap().unwrap();
            assert_eq!((stored.seats.get(), stored.trains.get(3).unwrap()), (8, 1.5), "it is the same memory");
            assert!(!stored.lock.acquire().abandoned());
        }
        println!("what was kept went after {:.1?}", baseline.await_return());
    }

    fn who_is_killed_while_sharing_leaves_nothing(transport) {
        let _watchdog = Watchdog::new();
        let served = transport.serve(&[]);
        let manager = Manager::connect(served.address()).unwrap();
        let morgue = Morgue::new();
        let baseline = Baseline::of(&manager);
        // Rings are memory too, and come and go with lanes.
        let rings = descriptors_of(served.pid());
        let mut dice = Dice::from_seed(1);
        {
            let pile = manager.list::<Array<u64>>().unwrap();
            for _ in 0..KILLS {
                let victim = victim!(morgue, dealer, served.address().to_owned(), pile.clone());
                victim.await_doing(Doing::Calling);
                std::thread::sleep(Duration::from_micros(dice.below(5_000)));
                victim.kill();
            }
            let _ = manager.remove("named").unwrap();
            for array in pile.to_vec().unwrap() {
                assert_eq!(array.get(0).unwrap(), array.get(999).unwrap(), "what is there is whole");
            }
        }
        println!("{KILLS} kills, swept after {:.1?}", baseline.await_return());
        let start = std::time::Instant::now();
        while descriptors_of(served.pid()) > rings + 2 {
            assert!(start.elapsed() < Duration::from_secs(10), "descriptors stay open in the server");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Works with what a container gave it, whatever its server does.
fn counts_on(office: &Office) {
    let seats = office.seats.get();
    office.seats.fetch_add(1).unwrap();
    office.seats.modify(|seats| *seats += 1);
    assert_eq!(office.seats.get(), seats + 2);
    let guard = office.lock.acquire();
    office.trains.set(-1, 2.5).unwrap();
    assert_eq!(office.trains.to_vec().last(), Some(&2.5));
    drop(guard);
}

on_each_transport! {
    fn what_was_fetched_needs_no_server(transport) {
        let _watchdog = Watchdog::new();
        let mut server = transport.serve(&[]);
        let manager = Manager::connect(server.address()).unwrap();
        let dict = manager.dict::<String, Office>().unwrap();
        let made = Office {
            seats: Value::new(7).unwrap(),
            trains: Array::new(&[0.5; 1000]).unwrap(),
            lock: Lock::new().unwrap(),
        };
        dict.insert("north", &made).unwrap();
        let fetched = dict.get("north").unwrap().unwrap();
        let named = manager.value_named("named", 1_u64).unwrap();
        // Any call of these that went to the server would wait here for ever.
        server.freeze();
        counts_on(&fetched);
        server.kill();
        counts_on(&fetched);
        counts_on(&made);
        assert_eq!(fetched.seats.get(), 13, "it is one and the same memory");
        assert_eq!(named.fetch_add(1).unwrap(), 1);
        assert!(manager.ping().is_err());
    }
}
