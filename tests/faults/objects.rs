//! References held by processes that die: objects live as long as somebody can reach them, and not longer.
//!
//! In Python the creator of 50 lists leaves 50 objects for ever, a nested object is never freed, and a proxy whose sender drops its
//! own copy before the receiver loads it is a `KeyError`.

use crate::baseline::{Baseline, await_waiters};
use crate::processes::{freeze, thaw};
use crate::record::{self, Record};
use crate::status::{Doing, Publisher};
use crate::victim::{Morgue, victim};
use crate::watchdog::Watchdog;
use byproxy::process::SpawnError;
use byproxy::{DictProxy, ListProxy, Manager, Process, QueueProxy};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::time::Duration;

/// Creates 50 lists with contents, publishes how many objects there are now, and stays.
fn creator(status: PathBuf, address: String, stop: QueueProxy<u64>) -> byproxy::Result<()> {
    let mut publisher = Publisher::open(&status);
    let manager = Manager::connect(&address)?;
    let lists = (0..50)
        .map(|n| manager.list_from((0..n).collect::<Vec<u64>>()))
        .collect::<Result<Vec<_>, _>>()?;
    publisher.doing_with(Doing::Waiting, 0, manager.stats()?.objects);
    stop.get()?;
    drop(lists);
    Ok(())
}

/// Puts a list that only it knows into the queue, and drops its own copy.
fn sender(_status: PathBuf, address: String, queue: QueueProxy<ListProxy<String>>) -> byproxy::Result<()> {
    let list = Manager::connect(&address)?.list_from(["sent"])?;
    queue.put(list)?;
    Ok(())
}

/// Gets a list from the queue and appends to it.
fn receiver(status: PathBuf, queue: QueueProxy<ListProxy<String>>) -> byproxy::Result<()> {
    let mut publisher = Publisher::open(&status);
    publisher.doing(Doing::Waiting);
    let list = queue.get()?;
    list.append("received")?;
    publisher.doing(Doing::Holding);
    queue.get()?;
    Ok(())
}

/// Adds up the keys of a dict, pair by pair.
fn iterate(dict: DictProxy<u64, String>, sums: ListProxy<u64>) -> byproxy::Result<()> {
    let mut sum = 0;
    for pair in &dict {
        let (key, value) = pair?;
        assert_eq!(key.to_string(), value);
        sum += key;
    }
    sums.append(sum)
}

/// Puts a number into the queue that stands in a dict.
fn put_into_inner(_status: PathBuf, outer: DictProxy<String, QueueProxy<u64>>) -> byproxy::Result<()> {
    outer.get("inner")?.expect("it was stored there").put(7)?;
    Ok(())
}

fn address(manager: &Manager) -> String {
    manager.address().expect("it runs in a process").to_string()
}

on_each_transport! {
    fn the_objects_of_a_killed_creator_are_freed(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let stop = manager.queue::<u64>(0).unwrap();
        let baseline = Baseline::of(&manager);
        let before = manager.stats().unwrap().objects;
        let victim = victim!(morgue, creator, address(&manager), stop.clone());
        let status = victim.await_doing(Doing::Waiting);
        assert_eq!(status.numbers[0], before + 50);
        victim.kill();
        println!(
            "50 lists of a killed creator were freed after {:.1?}",
            baseline.await_return()
        );
    }
}

on_each_transport! {
    fn a_proxy_outlives_its_senders_copy(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<ListProxy<String>>(0).unwrap();
        let baseline = Baseline::of(&manager);

        // The sender has dropped its copy and is gone altogether before anybody loads it.
        victim!(morgue, sender, address(&manager), queue.clone()).join();
        assert_eq!(queue.get().unwrap().to_vec().unwrap(), ["sent"]);

        // The same when it is taken out in a third process.
        victim!(morgue, sender, address(&manager), queue.clone()).join();
        let receiver = victim!(morgue, receiver, queue.clone());
        receiver.await_doing(Doing::Holding);
        receiver.kill();
        baseline.await_return();
    }
}

on_each_transport! {
    fn a_proxy_on_its_way_to_a_process_that_dies_stays_in_the_queue(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let queue = manager.queue::<ListProxy<String>>(0).unwrap();
        let baseline = Baseline::of(&manager);
        let victim = victim!(morgue, receiver, queue.clone());
        await_waiters(&manager, 1);
        freeze(victim.pid());
        queue.put(manager.list_from(["precious"]).unwrap()).unwrap();
        // Handed over to the frozen process, which will never adopt it.
        assert_eq!(queue.audit().unwrap().in_flight, 1);
        victim.kill();
        assert_eq!(queue.get().unwrap().to_vec().unwrap(), ["precious"]);
        baseline.await_return();
    }
}

on_each_transport! {
    fn an_argument_lives_until_the_child_has_it_or_is_dead(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let baseline = Baseline::of(&manager);
        let check = |list: ListProxy<u64>| assert_eq!(list.to_vec().unwrap(), [1, 2, 3]);
        // The temporary in the parent is dropped as soon as `spawn` returns.
        let children: Vec<Process> = (0..4)
            .map(|_| Process::spawn(check, (manager.list_from([1u64, 2, 3]).unwrap(),)).unwrap())
            .collect();
        for child in children {
            child.join().unwrap();
        }
        baseline.await_return();
    }
}

on_each_transport! {
    fn an_argument_goes_with_a_child_that_dies_before_it_has_it(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let baseline = Baseline::of(&manager);
        let objects = manager.stats().unwrap().objects;
        let list = || manager.list_from([1u64, 2, 3]).unwrap();
        // The child gets as far as its own reference to the list, or not even there.
        let spawns: [&(dyn Fn(Endless) -> Result<Process, SpawnError> + Sync); 2] = [
            &|endless| Process::spawn(|_: ListProxy<u64>, _: Endless| (), (list(), endless)),
            &|endless| Process::spawn(|_: Endless, _: ListProxy<u64>| (), (endless, list())),
        ];
        for spawn in spawns {
            let file = morgue.file();
            std::thread::scope(|scope| {
                let spawning = scope.spawn(|| spawn(Endless(file.clone())));
                let child = loop {
                    if let [pid] = record::read(&file)[..] {
                        break Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                    }
                    std::thread::sleep(Duration::from_millis(1));
                };
                assert_eq!(manager.stats().unwrap().objects, objects + 1, "kept for the child");
                kill_process(child, Signal::KILL).unwrap();
                let failed = spawning.join().unwrap().unwrap_err();
                assert!(matches!(&failed, SpawnError::ChildFailed(end) if end.exit_code() == Some(-9)), "{failed}");
            });
            baseline.await_return();
        }
    }
}

/// An argument that nobody comes to the end of reading, after writing down which process it is that tries.
#[derive(serde::Serialize)]
#[serde(transparent)]
struct Endless(PathBuf);

impl<'de> serde::Deserialize<'de> for Endless {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Record::open(&PathBuf::deserialize(deserializer)?).push(&[std::process::id().into()]);
        loop {
            std::thread::park();
        }
    }
}

on_each_transport! {
    fn nested_objects_go_with_their_last_reference(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let baseline = Baseline::of(&manager);

        let root = manager.dict::<String, ListProxy<DictProxy<String, u64>>>().unwrap();
        for train in ["G101", "D302"] {
            let carriages = manager.list().unwrap();
            for seats in 0..10 {
                carriages
                    .append(manager.dict_from([("seats", seats)]).unwrap())
                    .unwrap();
            }
            root.insert(train, carriages).unwrap();
        }
        let kept = root.get("G101").unwrap().unwrap().get(3).unwrap();
        drop(root);
        assert_eq!(kept.get("seats").unwrap(), Some(3), "one of them is still held");
        drop(kept);
        baseline.await_return();
    }
}

on_each_transport! {
    fn a_chain_of_objects_is_freed_however_long(transport) {
        let watchdog = Watchdog::new();
        let manager = transport.start();
        let baseline = Baseline::of(&manager);
        // Freed one after another from a work list: a recursion this deep would end the server.
        let mut outermost = manager.list::<Chain>().unwrap();
        for depth in 0..20_000 {
            let next = manager.list::<Chain>().unwrap();
            next.append(Chain(outermost)).unwrap();
            outermost = next;
            if depth % 1_000 == 0 {
                watchdog.progress();
            }
        }
        watchdog.progress();
        drop(outermost);
        println!("20,000 nested lists were freed after {:.1?}", baseline.await_return());
    }
}

/// A list that holds lists that hold lists …
#[derive(serde::Serialize, serde::Deserialize)]
struct Chain(ListProxy<Chain>);

on_each_transport! {
    fn a_dict_is_iterated_over_in_a_child(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let dict = manager.dict::<u64, String>().unwrap();
        // Several chunks, and no key that a sum would not miss.
        dict.update((1..=10_000).map(|n| (n, n.to_string()))).unwrap();
        let sums = manager.list().unwrap();
        Process::spawn(iterate, (dict, sums.clone())).unwrap().join().unwrap();
        assert_eq!(sums.to_vec().unwrap(), [10_000 * 10_001 / 2]);
    }
}

on_each_transport! {
    fn a_proxy_in_a_proxy_is_opened_by_a_process_that_never_saw_it(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let outer = manager.dict::<String, QueueProxy<u64>>().unwrap();
        outer.insert("inner", manager.queue(0).unwrap()).unwrap();
        victim!(morgue, put_into_inner, outer.clone()).join();
        assert_eq!(outer.get("inner").unwrap().unwrap().get().unwrap(), 7);
    }
}

on_each_transport! {
    fn a_frozen_process_keeps_what_it_holds(transport) {
        let _watchdog = Watchdog::new();
        let manager = transport.start();
        let morgue = Morgue::new();
        let stop = manager.queue::<u64>(0).unwrap();
        let baseline = Baseline::of(&manager);
        let victim = victim!(morgue, creator, address(&manager), stop.clone());
        let objects = victim.await_doing(Doing::Waiting).numbers[0];
        freeze(victim.pid());
        assert_eq!(manager.stats().unwrap().objects, objects, "it is not dead");
        thaw(victim.pid());
        stop.put(1).unwrap();
        victim.join();
        baseline.await_return();
    }
}
