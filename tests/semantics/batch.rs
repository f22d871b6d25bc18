//! Batches: many calls in one round trip, each as if it had been made alone.

use crate::support::{on_threads, until_waiting};
use byproxy::{DictProxy, Error, ListProxy, Manager, Result, Value};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

on_every_backend! {
    fn each_call_has_its_own_outcome_in_order(manager) {
        let list = manager.list_from::<u32>([3, 1, 2])?;
        let dict = manager.dict::<String, u32>()?;
        let queue = manager.queue::<u32>(1)?;
        let lock = manager.lock()?;
        let (sorted, first, missing, before, after, put, full, locked) = manager.batch((
            list.calls().sort(),
            list.calls().get(0),
            list.calls().get(9),
            dict.calls().insert("k", 2),
            dict.calls().get("k"),
            queue.calls().try_put(3),
            queue.calls().try_put(4),
            lock.calls().locked(),
        ));
        sorted?;
        assert_eq!((first?, before?, after?, locked?), (1, None, Some(2), false));
        assert!(matches!(missing, Err(Error::IndexOutOfRange(_))), "and what comes after is done all the same");
        put?;
        assert!(matches!(full, Err(Error::Full)));
        assert_eq!((queue.get()?, queue.qsize()?), (3, 0));
    }

    fn a_batch_counts(manager) {
        let hits = manager.dict_from::<String, u8>([("home", 254), ("news", 0)])?;
        let tickets = manager.list_from::<u8>([7])?;
        let (home, news, over, missing, new, ticket, beyond) = manager.batch((
            hits.calls().fetch_add("home", 1),
            hits.calls().fetch_add("news", 2),
            hits.calls().fetch_add("home", 1),
            hits.calls().fetch_add("none", 1),
            hits.calls().fetch_add_from("new", 5, 1),
            tickets.calls().fetch_add(-1, 1),
            tickets.calls().fetch_add(1, 1),
        ));
        assert_eq!((home?, news?, new?, ticket?), (254, 0, 5, 7));
        assert!(matches!(over, Err(Error::Overflow(_))));
        assert!(matches!(missing, Err(Error::KeyMissing(_))));
        assert!(matches!(beyond, Err(Error::IndexOutOfRange(_))));
        assert_eq!(
            (hits.get("home")?, hits.get("news")?, hits.get("new")?, tickets.to_vec()?),
            (Some(255), Some(2), Some(6), vec![8])
        );
        let texts = hits.cast::<String, String>();
        texts.insert("text", "x")?;
        assert!(matches!(hits.calls().fetch_add("text", 1).send(), Err(Error::Fault(_))));
        assert_eq!(texts.get("text")?.as_deref(), Some("x"));
    }

    fn a_batch_compares_and_subtracts(manager) {
        let owners = manager.dict_from::<u32, String>([(1, "free"), (2, "Grace"), (3, "free")])?;
        let seats = manager.list_from::<i128>([5, 6])?;
        let left = manager.dict_from::<String, u8>([("G1", 1)])?;
        let (taken, refused, absent, deleted, kept, set, beyond, sold, below) = manager.batch((
            owners.calls().compare_and_set(1, "free", "Ada"),
            owners.calls().compare_and_set(2, "free", "Ada"),
            owners.calls().compare_and_set(9, "free", "Ada"),
            owners.calls().compare_and_delete(3, "free"),
            owners.calls().compare_and_delete(2, "free"),
            seats.calls().compare_and_set(-1, 6, 7),
            seats.calls().compare_and_set(2, 6, 7),
            left.calls().fetch_sub("G1", 1),
            left.calls().fetch_sub("G1", 1),
        ));
        assert_eq!((taken?, refused?, absent?, deleted?, kept?, set?, sold?), (true, false, false, true, false, true, 1));
        assert!(matches!(beyond, Err(Error::IndexOutOfRange(_))));
        assert!(matches!(below, Err(Error::Overflow(_))));
        let pair = |key: u32, name: &str| (key, name.to_owned());
        assert_eq!(owners.items()?, [pair(1, "Ada"), pair(2, "Grace")]);
        let (less, least, same) = manager.batch((
            seats.calls().fetch_sub(0, 5),
            seats.calls().fetch_sub(0, i128::MIN),
            seats.calls().compare_and_set(0, 0, 0),
        ));
        assert_eq!((less?, same?), (5, true));
        assert!(matches!(least, Err(Error::Overflow(_))), "it has no opposite, and is refused by itself: {least:?}");
    }

    fn a_batch_reads_whole_containers(manager) {
        let dict = manager.dict_from::<u32, String>([(2, "b"), (1, "a")])?;
        let list = manager.list_from::<u32>([3, 1])?;
        let nothing = manager.dict::<u32, u32>()?;
        let (keys, values, items, all, full, empty, none) = manager.batch((
            dict.calls().keys(),
            dict.calls().values(),
            dict.calls().items(),
            list.calls().to_vec(),
            list.calls().is_empty(),
            nothing.calls().is_empty(),
            nothing.calls().items(),
        ));
        assert_eq!((keys?, all?, full?, empty?, none?), (dict.keys()?, vec![3, 1], false, true, vec![]));
        assert_eq!((values?, items?), (dict.values()?, dict.items()?));
    }

    fn a_container_larger_than_a_reply_is_no_single_call(manager) {
        let dict = manager.dict::<u32, String>()?;
        let list = manager.list::<String>()?;
        for n in 0..66 {
            dict.insert(n, "x".repeat(1 << 20))?;
            list.append("x".repeat(1 << 20))?;
        }
        let (keys, values, items, all, len) = manager.batch((
            dict.calls().keys(),
            dict.calls().values(),
            dict.calls().items(),
            list.calls().to_vec(),
            list.calls().len(),
        ));
        assert_eq!((keys?.len(), len?), (66, 66));
        assert!(matches!((values, items, all), (Err(Error::TooLarge(_)), Err(Error::TooLarge(_)), Err(Error::TooLarge(_)))));
    }

    /// Equal values may have different bytes, and only a method that makes more than one call can know.
    fn a_comparison_that_is_one_call_compares_bytes(manager) {
        let set: HashSet<u32> = (0..64).collect();
        let sets = manager.list_from::<HashSet<u32>>([&set])?;
        // Two sets of their own have the same order once in a great while.
        let other = loop {
            let other: HashSet<u32> = (0..64).collect();
            if other.iter().ne(set.iter()) {
                break other;
            }
        };
        assert!(!sets.calls().compare_and_set(0, &other, HashSet::from([1])).send()?);
        assert!(sets.compare_and_set(0, &other, HashSet::from([1]))?, "they are equal");
    }

    fn tuples_have_up_to_sixteen_calls(manager) {
        let list = manager.list::<u32>()?;
        let append = |n| list.calls().append(n);
        let (one,) = manager.batch((append(0),));
        one?;
        let a = append;
        let all = manager.batch((
            a(1), a(2), a(3), a(4), a(5), a(6), a(7), a(8), a(9), a(10), a(11), a(12), a(13), a(14), a(15),
            list.calls().len(),
        ));
        assert_eq!(all.15?, 16);
        assert_eq!(list.to_vec()?, (0..16).collect::<Vec<_>>());
    }

    fn many_calls_of_one_kind_take_as_many_frames_as_they_need(manager) {
        let list = manager.list::<u32>()?;
        let appended = manager.batch((0..2_500).map(|n| list.calls().append(n)).collect::<Vec<_>>());
        assert!(appended.len() == 2_500 && appended.iter().all(Result::is_ok));
        assert_eq!(list.to_vec()?, (0..2_500).collect::<Vec<_>>(), "in order");
        let read: Vec<u32> = manager.batch((0..2_500).map(|n| list.calls().get(n)).collect::<Vec<_>>())
            .into_iter()
            .collect::<Result<_>>()?;
        assert_eq!(read, list.to_vec()?);
        let [newest, oldest] = manager.batch([-1, 0].map(|index| list.calls().get(index)));
        assert_eq!((oldest?, newest?), (0, 2_499));
        assert!(manager.batch(Vec::<byproxy::Call<u32>>::new()).is_empty());
    }

    fn proxies_come_and_go_with_every_call(manager) {
        let lists = manager.list::<ListProxy<u32>>()?;
        let inner = manager.list_from::<u32>([7])?;
        let stored = lists.calls().append(&inner);
        let replaced = lists.calls().append(manager.list::<u32>()?);
        drop(inner);
        let (stored, replaced, read, copied, popped) = manager.batch((
            stored,
            replaced,
            lists.calls().get(0),
            lists.calls().copy(),
            lists.calls().pop(),
        ));
        stored?;
        replaced?;
        assert_eq!(read?.to_vec()?, [7]);
        assert_eq!(copied?.len()?, 2);
        assert_eq!(popped?.map(|list| list.to_vec()).transpose()?, Some(vec![]));
        assert_eq!(lists.len()?, 1);
    }

    fn what_can_not_be_read_comes_back_and_spoils_nothing(manager) {
        let names = manager.list_from::<String>(["Ada", "Grace"])?;
        let numbers = names.cast::<u32>();
        let (wrong, right) = manager.batch((numbers.calls().pop(), names.calls().pop()));
        let Err(Error::WrongType(wrong)) = wrong else { panic!("a name is no number") };
        assert_eq!(wrong.into_returned().decode::<String>()?, "Grace");
        assert_eq!(right?.as_deref(), Some("Ada"));
    }

    fn what_can_not_be_sent_is_refused_by_itself(manager) {
        let other = Manager::embedded()?;
        let (here, there) = (manager.list::<ListProxy<u32>>()?, other.list::<u32>()?);
        let foreign = there.calls().append(1);
        let outcomes = manager.batch((
            here.calls().append(&there),
            there.calls().len(),
            here.calls().append(manager.list::<u32>()?),
            foreign,
            here.calls().len(),
        ));
        assert!(matches!(outcomes.0, Err(Error::ForeignProxy(_))), "{:?}", outcomes.0);
        assert!(matches!(outcomes.1, Err(Error::ForeignProxy(_))), "{:?}", outcomes.1);
        outcomes.2?;
        assert!(matches!(outcomes.3, Err(Error::ForeignProxy(_))), "{:?}", outcomes.3);
        assert_eq!((outcomes.4?, there.len()?), (1, 0));
        let [refused] = manager.batch([there.calls().append(2)]);
        assert!(matches!(refused, Err(Error::ForeignProxy(_))));
        let deep = (0..70).fold(Value::from(1), |inner, _| Value::List(vec![inner]));
        let values = manager.list::<Value>()?;
        let (too_deep, appended) = manager.batch((values.calls().append(deep), values.calls().append(Value::from(1))));
        assert!(matches!(too_deep, Err(Error::Encode(_))));
        appended?;
    }

    fn results_larger_than_a_reply_come_in_several(manager) {
        let dict = manager.dict::<u32, String>()?;
        let big = |n: u32| n.to_string().repeat((12 << 20) / n.to_string().len());
        for n in 10..17 {
            dict.insert(n, big(n))?;
        }
        let popped = manager.batch((9..18).map(|n| dict.calls().pop(n)).collect::<Vec<_>>());
        for (n, popped) in (9..18).zip(popped) {
            assert!(popped? == (10..17).contains(&n).then(|| big(n)), "{n}");
        }
        assert!(dict.is_empty()?);
    }

    fn a_result_that_fits_no_reply_is_its_own_fault(manager) {
        let list = manager.list::<String>()?;
        for _ in 0..66 {
            list.append("x".repeat(1 << 20))?;
        }
        let (before, all, after) = manager.batch((list.calls().len(), list.calls().slice(..), list.calls().pop()));
        assert_eq!(before?, 66);
        assert!(matches!(all, Err(Error::TooLarge(_))));
        assert_eq!(after?.map(|item| item.len()), Some(1 << 20));
    }

    fn long_calls_have_their_turn_in_the_order_of_the_batch(manager) {
        let list = manager.list_from::<u32>((0..20_000).rev())?;
        let (reversed, first, sorted, least, copy, appended, count) = manager.batch((
            list.calls().reverse(),
            list.calls().get(0),
            list.calls().sort_descending(),
            list.calls().get(-1),
            list.calls().copy(),
            list.calls().append(7),
            list.calls().count(7),
        ));
        reversed?;
        sorted?;
        appended?;
        assert_eq!((first?, least?, count?), (0, 0, 2));
        assert_eq!(copy?.len()?, 20_000);
        // More than a worker does at once, each a small one.
        let small = manager.list_from::<u32>([1, 2, 3])?;
        let found = manager.batch((0..100).map(|n| small.calls().contains(n)).collect::<Vec<_>>());
        let found: Vec<bool> = found.into_iter().collect::<Result<_>>()?;
        assert_eq!(found.iter().filter(|&&found| found).count(), 3);
    }

    fn batches_that_meet_a_long_call_wait_for_it(manager) {
        let list = manager.list_from::<u32>(0..50_000)?;
        let dict = manager.dict::<u32, u32>()?;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sorting = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    list.sort_descending()?;
                    list.sort()?;
                }
                Ok::<_, Error>(())
            });
            for n in 0..50 {
                let (_, length, _, read, old) = manager.batch((
                    dict.calls().insert(n, n),
                    list.calls().len(),
                    list.calls().append(50_000 + n),
                    dict.calls().get(n),
                    dict.calls().insert(n, n + 1),
                ));
                assert_eq!((length?, read?, old?), (50_000 + u64::from(n), Some(n), Some(n)));
            }
            over.store(true, Ordering::Relaxed);
            sorting.join().expect("the thread does not panic")
        })?;
        assert_eq!((list.len()?, dict.len()?), (50_050, 50));
    }

    fn calls_of_many_batches_are_each_atomic(manager) {
        let dict = manager.dict::<u32, u32>()?;
        on_threads(4, |_| {
            for _ in 0..20 {
                let set = manager.batch((0..64).map(|key| dict.calls().setdefault(key, key)).collect::<Vec<_>>());
                assert!(set.into_iter().zip(0..).all(|(set, key)| set.unwrap() == key));
            }
        });
        assert_eq!(dict.items()?, (0..64).map(|key| (key, key)).collect::<Vec<_>>());
    }

    fn a_put_in_a_batch_wakes_who_waits(manager) {
        let queue = manager.queue::<u32>(0)?;
        let got = std::thread::scope(|scope| {
            let getter = scope.spawn(|| queue.get());
            until_waiting(manager, 1);
            let (one, two, left) = manager.batch((queue.calls().try_put(1), queue.calls().try_put(2), queue.calls().qsize()));
            one?;
            two?;
            assert_eq!(left?, 1);
            getter.join().expect("the thread does not panic").map_err(Error::from)
        })?;
        assert_eq!((got, queue.get()?), (1, 2));
    }

    fn a_manager_that_was_shut_down_answers_gone_to_each(manager) {
        let dict: DictProxy<u32, u32> = manager.dict()?;
        let (insert, get) = (dict.calls().insert(1, 1), dict.calls().get(1));
        let many: Vec<_> = (0..1_500).map(|key| dict.calls().get(key)).collect();
        manager.shutdown()?;
        let (inserted, got) = manager.batch((insert, get));
        assert!(matches!((inserted, got), (Err(Error::Gone(_)), Err(Error::Gone(_)))));
        let outcomes = manager.batch(many);
        assert!(outcomes.len() == 1_500 && outcomes.iter().all(|outcome| matches!(outcome, Err(Error::Gone(_)))));
    }
}
