//! Queues behave as Python's, and lose nothing.
#![allow(
    clippy::result_large_err,
    reason = "a thread that puts many hands its error over as it is, items included"
)]

use crate::support::{on_threads, until_waiting};
use byproxy::{
    Error, GetError, GetTimeoutError, Manager, PutError, PutManyError, PutTimeoutError, TryGetError, TryPutError, Value,
};
use std::thread;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(30);

on_every_backend! {
    fn items_come_out_in_the_order_of_the_queue(manager) {
        let fifo = manager.queue::<u32>(0)?;
        let lifo = manager.lifo_queue::<u32>(0)?;
        let priority = manager.priority_queue::<(u32, String)>(0)?;
        for n in [2, 3, 1] {
            fifo.put(n)?;
            lifo.put(n)?;
            priority.put((n % 2, format!("{n}")))?;
        }
        assert_eq!(fifo.get_many(10)?, [2, 3, 1]);
        assert_eq!(lifo.get_many(10)?, [1, 3, 2]);
        let names: Vec<_> = priority.get_many(10)?.into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["2", "1", "3"], "by the whole value");
        let equal = manager.priority_queue::<u32>(0)?;
        equal.put_many([1, 0, 1, 0])?;
        assert_eq!((0..4).map(|_| equal.get()).collect::<Result<Vec<_>, _>>()?, [0, 0, 1, 1]);
    }

    fn a_full_queue_gives_the_item_back(manager) {
        let queue = manager.queue::<String>(2)?;
        assert!(queue.is_empty()? && !queue.is_full()?);
        queue.put("a")?;
        queue.try_put("b")?;
        assert!(queue.is_full()? && queue.qsize()? == 2 && queue.maxsize()? == 2);
        let Err(TryPutError::Full(item)) = queue.try_put("c") else { panic!("there is no room") };
        assert_eq!(item, "c");
        let start = Instant::now();
        let Err(PutTimeoutError::Timeout(item)) = queue.put_timeout("d", SHORT) else { panic!("there is no room") };
        assert!(item == "d" && start.elapsed() >= SHORT);
        let outcome = queue.put_timeout("e", Duration::ZERO);
        assert!(matches!(&outcome, Err(PutTimeoutError::Timeout(item)) if item == "e"), "zero is a try: {outcome:?}");
        assert_eq!(queue.get_many(9)?, ["a", "b"]);
        assert!(!manager.queue::<u8>(0)?.is_full()?, "without a bound nothing is full");
    }

    fn an_empty_queue_says_so(manager) {
        let queue = manager.queue::<u8>(0)?;
        assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
        assert!(matches!(queue.try_get_many(5), Err(TryGetError::Empty)));
        assert!(matches!(queue.try_receive(), Err(TryGetError::Empty)));
        let start = Instant::now();
        assert!(matches!(queue.get_timeout(SHORT), Err(GetTimeoutError::Timeout)));
        assert!(matches!(queue.receive_timeout(SHORT), Err(GetTimeoutError::Timeout)));
        assert!(matches!(queue.get_many_timeout(5, SHORT), Err(GetTimeoutError::Timeout)));
        assert!(start.elapsed() >= 3 * SHORT);
        assert!(matches!(queue.get_timeout(Duration::ZERO), Err(GetTimeoutError::Timeout)));
        let as_umbrella: Error = queue.try_get().unwrap_err().into();
        assert!(matches!(as_umbrella, Error::Empty));
    }

    fn a_get_waits_for_a_put_and_a_put_for_room(manager) {
        let queue = manager.queue::<u32>(1)?;
        thread::scope(|scope| {
            let getter = scope.spawn(|| queue.get());
            until_waiting(manager, 1);
            queue.put(1)?;
            assert_eq!(getter.join().unwrap()?, 1);

            queue.put(2)?;
            let putter = scope.spawn(|| queue.put(3));
            until_waiting(manager, 1);
            assert_eq!(queue.get()?, 2);
            putter.join().unwrap()?;
            assert_eq!(queue.get()?, 3);
            Ok::<_, Error>(())
        })?;
    }

    fn who_has_waited_long_is_woken(manager) {
        let queue = manager.queue::<u32>(0)?;
        thread::scope(|scope| {
            let getter = scope.spawn(|| queue.get());
            until_waiting(manager, 1);
            // In a ring a client looks for a while before it sleeps, and is not woken before it does.
            thread::sleep(Duration::from_secs(1));
            queue.put(1)?;
            assert_eq!(getter.join().unwrap()?, 1);
            Ok::<_, Error>(())
        })?;
    }

    fn duration_max_is_for_ever(manager) {
        let queue = manager.queue::<u32>(1)?;
        thread::scope(|scope| {
            let getter = scope.spawn(|| queue.get_timeout(Duration::MAX));
            until_waiting(manager, 1);
            queue.put_timeout(1, Duration::MAX)?;
            assert_eq!(getter.join().unwrap()?, 1);
            Ok::<_, Error>(())
        })?;
    }

    fn those_who_wait_are_served_in_the_order_they_came(manager) {
        let queue = manager.queue::<usize>(0)?;
        thread::scope(|scope| {
            let getters: Vec<_> = (0..5)
                .map(|n| {
                    let getter = scope.spawn(|| queue.get());
                    until_waiting(manager, n + 1);
                    getter
                })
                .collect();
            queue.put_many(0..5)?;
            for (n, getter) in getters.into_iter().enumerate() {
                assert_eq!(getter.join().unwrap()?, n);
            }
            Ok::<_, Error>(())
        })?;
    }

    fn a_timeout_takes_no_item_and_leaves_no_waiter(manager) {
        let queue = manager.queue::<u32>(1)?;
        for _ in 0..3 {
            assert!(queue.get_timeout(Duration::from_millis(3)).is_err());
        }
        queue.put(1)?;
        for _ in 0..3 {
            assert!(queue.put_timeout(9, Duration::from_millis(3)).is_err());
        }
        assert_eq!(manager.stats()?.waiters, 0);
        assert_eq!((queue.get()?, queue.qsize()?), (1, 0));
    }

    fn deadlines_end_in_their_own_order(manager) {
        let queue = manager.queue::<u32>(0)?;
        let start = Instant::now();
        let elapsed = on_threads(4, |n| {
            let timeout = SHORT * (4 - n as u32);
            assert!(matches!(queue.get_timeout(timeout), Err(GetTimeoutError::Timeout)));
            (timeout, start.elapsed())
        });
        for (timeout, elapsed) in elapsed {
            assert!(elapsed >= timeout, "{elapsed:?} of {timeout:?}");
        }
    }

    fn every_item_reaches_one_consumer(manager) {
        let queue = manager.queue::<u32>(8)?;
        let taken = on_threads(6, |n| {
            if n < 3 {
                (0..100).for_each(|i| queue.put(n as u32 * 100 + i).unwrap());
                return Vec::new();
            }
            (0..100).map(|_| queue.get().unwrap()).collect()
        });
        let mut all: Vec<u32> = taken.iter().flatten().copied().collect();
        for items in &taken {
            for producer in 0..3 {
                let from_one: Vec<_> = items.iter().filter(|&&item| item / 100 == producer).collect();
                assert!(from_one.is_sorted(), "the items of one producer come in order");
            }
        }
        all.sort_unstable();
        assert_eq!(all, (0..300).collect::<Vec<_>>());
    }

    fn task_done_and_join(manager) {
        let queue = manager.queue::<u32>(0)?;
        queue.join()?;
        assert!(matches!(queue.task_done(), Err(Error::Misuse(_))), "there was no task");
        queue.put_many([1, 2])?;
        assert!(matches!(queue.join_timeout(SHORT), Err(Error::Timeout)));
        assert!(matches!(queue.join_timeout(Duration::ZERO), Err(Error::Timeout)));
        thread::scope(|scope| {
            let joiner = scope.spawn(|| queue.join());
            until_waiting(manager, 1);
            for _ in 0..2 {
                queue.get()?;
                assert!(!joiner.is_finished(), "an item got is not yet an item dealt with");
                queue.task_done()?;
            }
            joiner.join().unwrap()
        })?;
        assert!(matches!(queue.task_done(), Err(Error::Misuse(_))));
        queue.join_timeout(Duration::MAX)?;
    }

    fn shutdown_lets_what_is_there_out_and_nothing_in(manager) {
        let queue = manager.queue::<String>(0)?;
        queue.put_many(["a", "b"])?;
        queue.shutdown()?;
        queue.shutdown()?;
        let Err(PutError::ShutDown(item)) = queue.put("c") else { panic!("it is shut down") };
        assert_eq!(item, "c");
        assert!(matches!(queue.try_put("d"), Err(TryPutError::ShutDown(_))));
        assert!(matches!(queue.put_timeout("e", SHORT), Err(PutTimeoutError::ShutDown(_))));
        let Err(PutManyError::ShutDown(rest)) = queue.put_many(["f", "g"]) else { panic!("it is shut down") };
        assert_eq!(rest, ["f", "g"]);
        assert_eq!((queue.get()?, queue.get()?), ("a".to_owned(), "b".to_owned()));
        assert!(matches!(queue.get(), Err(GetError::ShutDown)));
        assert!(matches!(queue.try_get(), Err(TryGetError::ShutDown)));
        assert!(matches!(queue.get_timeout(SHORT), Err(GetTimeoutError::ShutDown)));
        assert!(matches!(queue.receive(), Err(GetError::ShutDown)));
    }

    fn what_can_not_be_put_comes_back(manager) {
        let queue = manager.queue::<Value>(0)?;
        let deep = (0..65).fold(Value::from(1), |inner, _| Value::List(vec![inner]));
        let Err(PutError::Refused(item, Error::Encode(_))) = queue.put(deep.clone()) else { panic!("it is too deep") };
        assert_eq!(item, deep);
        assert_eq!(queue.try_put(deep.clone()).unwrap_err().into_item(), Some(deep.clone()));
        assert_eq!(queue.put_timeout(deep.clone(), SHORT).unwrap_err().into_item(), Some(deep.clone()));
        let Err(PutManyError::Refused(rest, _)) = queue.put_many([Value::from(1), deep.clone()]) else { panic!("one is too deep") };
        assert_eq!(rest, [Value::from(1), deep]);
        let strings = queue.cast::<String>();
        let large = "x".repeat(65 << 20);
        let Err(PutError::Refused(item, Error::TooLarge(_))) = strings.put(large) else { panic!("it is too large") };
        assert_eq!(item.len(), 65 << 20);
        assert_eq!(queue.qsize()?, 0);
    }

    fn what_is_put_after_the_end_comes_back(manager) {
        let queue = manager.queue::<u64>(1)?;
        queue.put(1)?;
        manager.shutdown()?;
        let Err(PutError::Refused(2, Error::Gone(_))) = queue.put(2) else { panic!("the server is gone") };
        assert_eq!(queue.try_put(3).unwrap_err().into_item(), Some(3));
        assert_eq!(queue.put_timeout(4, SHORT).unwrap_err().into_item(), Some(4));
    }

    fn very_many_are_put_in_parts(manager) {
        let queue = manager.queue::<u64>(0)?;
        queue.put_many(0..10_000)?;
        queue.put_many(0..0)?;
        let mut all = Vec::new();
        while all.len() < 10_000 {
            all.extend(queue.get_many(10_000)?);
        }
        assert!(all.iter().copied().eq(0..10_000), "in order");

        let bounded = manager.queue::<u64>(5_000)?;
        thread::scope(|scope| {
            let putter = scope.spawn(|| bounded.put_many(0..10_000));
            until_waiting(manager, 1);
            bounded.shutdown()?;
            let Err(PutManyError::ShutDown(rest)) = putter.join().unwrap() else { panic!("it was shut down") };
            assert!(rest.into_iter().eq(5_000..10_000), "those that had not gone in");
            Ok::<(), Error>(())
        })?;
    }

    fn shutdown_wakes_those_who_wait(manager) {
        let empty = manager.queue::<u32>(0)?;
        let full = manager.queue::<u32>(1)?;
        full.put(0)?;
        thread::scope(|scope| {
            let getter = scope.spawn(|| empty.get());
            let putter = scope.spawn(|| full.put(7));
            until_waiting(manager, 2);
            empty.shutdown()?;
            full.shutdown()?;
            assert!(matches!(getter.join().unwrap(), Err(GetError::ShutDown)));
            assert!(matches!(putter.join().unwrap(), Err(PutError::ShutDown(7))));
            Ok::<_, Error>(())
        })?;
        assert_eq!(full.get()?, 0);
    }

    fn an_immediate_shutdown_throws_everything_away(manager) {
        let queue = manager.queue::<u32>(0)?;
        queue.put_many([1, 2])?;
        queue.shutdown_now()?;
        assert!(matches!(queue.get(), Err(GetError::ShutDown)));
        queue.join()?;
        assert_eq!(queue.audit()?.discarded, 2);
    }

    fn many_items_in_one_call(manager) {
        let queue = manager.queue::<u32>(3)?;
        queue.put_many(Vec::<u32>::new())?;
        thread::scope(|scope| {
            let putter = scope.spawn(|| queue.put_many(0..10));
            let mut got = Vec::new();
            while got.len() < 10 {
                let some = queue.get_many(4)?;
                assert!((1..=4).contains(&some.len()));
                got.extend(some);
            }
            assert_eq!(got, (0..10).collect::<Vec<_>>());
            Ok::<_, Error>(putter.join().unwrap()?)
        })?;
        assert_eq!(queue.qsize()?, 0);
    }

    fn what_put_many_could_not_put_comes_back(manager) {
        let queue = manager.queue::<u32>(2)?;
        thread::scope(|scope| {
            let putter = scope.spawn(|| queue.put_many([1, 2, 3, 4]));
            until_waiting(manager, 1);
            queue.shutdown()?;
            let Err(PutManyError::ShutDown(rest)) = putter.join().unwrap() else { panic!("it was shut down") };
            assert_eq!(rest, [3, 4]);
            Ok::<_, Error>(())
        })?;
        assert_eq!(queue.get_many(9)?, [1, 2]);
    }

    fn a_delivery_is_a_loan(manager) {
        let queue = manager.queue::<String>(0)?;
        queue.put_many(["a", "b", "c"])?;
        let first = queue.receive()?;
        let second = queue.try_receive()?;
        assert_eq!((first.item(), second.as_str(), first.count()), (&"a".to_owned(), "b", 0));
        assert_eq!(queue.qsize()?, 1, "what is lent is not in the queue");
        assert_eq!(queue.audit()?.in_flight, 2);
        second.nack()?;
        drop(first);
        let again = queue.receive_timeout(SHORT)?;
        assert_eq!((again.as_str(), again.count()), ("a", 1), "back at its old position, and it is known that it was lent");
        assert_eq!(again.ack()?, "a");
        assert_eq!(queue.get_many(9)?, ["b", "c"]);
        queue.task_done()?;
        queue.task_done()?;
        queue.join()?;
        let books = queue.audit()?;
        assert_eq!((books.accepted, books.committed, books.in_flight, books.waiting), (3, 3, 0, 0));
    }

    fn a_delivery_given_back_wakes_who_waits(manager) {
        let queue = manager.queue::<u32>(0)?;
        queue.put(1)?;
        thread::scope(|scope| {
            let delivery = queue.receive()?;
            let getter = scope.spawn(|| queue.get());
            until_waiting(manager, 1);
            delivery.nack()?;
            assert_eq!(getter.join().unwrap()?, 1);
            Ok::<_, Error>(())
        })?;
    }

    fn the_books_balance(manager) {
        let queue = manager.queue::<u32>(0)?;
        queue.put_many(0..10)?;
        queue.get_many(3)?;
        let lent = queue.receive()?;
        let books = queue.audit()?;
        assert_eq!((books.accepted, books.committed, books.in_flight, books.waiting, books.discarded), (10, 3, 1, 6, 0));
        let [consumer] = books.consumers.as_slice() else { panic!("one process takes items: {books:?}") };
        assert_eq!((consumer.pid, consumer.committed, consumer.in_flight), (std::process::id(), 3, 1));
        lent.nack()?;
        assert_eq!(queue.audit()?.waiting, 7);
    }

    fn calls_are_values(manager) {
        let queue = manager.queue::<u32>(3)?;
        let (size, bound) = (queue.calls().qsize(), queue.calls().maxsize());
        queue.put(1)?;
        assert_eq!((manager.call(size)?, manager.call(bound)?), (1, 3));
    }
}

#[test]
fn items_that_are_too_many_to_be_read_at_once_stay() {
    // A unit takes a byte on its way, and here what any value may take in memory: of these, two items could be read.
    let manager = Manager::embedded().unwrap();
    let queue = manager.queue::<Vec<()>>(0).unwrap();
    for _ in 0..3 {
        queue.put(vec![(); 8_000_000]).unwrap();
    }
    let refused = queue.get_many(3).unwrap_err();
    assert!(matches!(refused, GetError::Other(Error::TooLarge(_))), "{refused}");
    assert_eq!(queue.qsize().unwrap(), 3, "they are the queue's again");
    assert_eq!(queue.get().unwrap().len(), 8_000_000);
}
