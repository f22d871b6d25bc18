//! Lists behave as Python's.

use crate::support::on_threads;
use byproxy::{Error, Value};
use std::collections::HashMap;
use std::ops::Bound;

/// The part of a list of `len` items that Python's `[start:stop]` means.
fn python_range(len: usize, start: i64, stop: Option<i64>) -> std::ops::Range<usize> {
    let len = len as i64;
    let clamp = |index: i64| {
        if index < 0 {
            (len + index).max(0)
        } else {
            index.min(len)
        }
    };
    let (start, stop) = (clamp(start), stop.map_or(len, clamp));
    start as usize..stop.max(start) as usize
}

on_every_backend! {
    fn items_go_where_python_puts_them(manager) {
        let list = manager.list_from::<i32>([1, 2, 3])?;
        list.append(4)?;
        list.extend([5, 6])?;
        list.extend(Vec::<i32>::new())?;
        assert_eq!(list.to_vec()?, [1, 2, 3, 4, 5, 6]);
        for (index, position) in [(0, 0), (2, 2), (100, 6), (-1, 5), (-100, 0), (i64::MIN, 0), (i64::MAX, 6)] {
            let mut model = vec![1, 2, 3, 4, 5, 6];
            model.insert(position, 0);
            let copy = list.copy()?;
            copy.insert(index, 0)?;
            assert_eq!(copy.to_vec()?, model, "insert({index})");
        }
    }

    fn negative_indices_count_from_the_end(manager) {
        let list = manager.list_from::<i32>([10, 20, 30])?;
        for (index, item) in [(0, 10), (2, 30), (-1, 30), (-3, 10)] {
            assert_eq!(list.get(index)?, item, "get({index})");
        }
        list.set(-2, 21)?;
        list.delete(-3)?;
        assert_eq!(list.to_vec()?, [21, 30]);
        assert_eq!(list.pop_at(-2)?, 21);
        assert_eq!(list.to_vec()?, [30]);
    }

    fn an_index_outside_the_list_is_an_error_and_changes_nothing(manager) {
        let list = manager.list_from::<i32>([10, 20])?;
        for index in [2, -3, i64::MAX, i64::MIN] {
            let outside = [
                list.get(index).map(|_| ()),
                list.set(index, 0),
                list.delete(index),
                list.pop_at(index).map(|_| ()),
                list.modify(index, |_| ()),
                list.fetch_add(index, 1).map(|_| ()),
                list.compare_and_set(index, 1, 2).map(|_| ()),
            ];
            for (call, outcome) in outside.into_iter().enumerate() {
                assert!(matches!(outcome, Err(Error::IndexOutOfRange(_))), "call {call} at {index}: {outcome:?}");
            }
        }
        assert_eq!(list.to_vec()?, [10, 20]);
        assert!(list.get(2).unwrap_err().to_string().contains('2'), "the message names the index");
    }

    fn popping_an_empty_list_gives_none(manager) {
        let list = manager.list::<Option<i32>>()?;
        list.extend([None, Some(1)])?;
        assert_eq!((list.pop()?, list.pop()?, list.pop()?), (Some(Some(1)), Some(None), None));
    }

    fn searching_finds_the_first_equal_item(manager) {
        let list = manager.list_from::<String>(["a", "b", "a", "票"])?;
        assert_eq!((list.index("a")?, list.index("票")?, list.index("z")?), (Some(0), Some(3), None));
        assert_eq!((list.index_in("a", 1..)?, list.index_in("a", -2..)?), (Some(2), Some(2)));
        assert_eq!((list.index_in("a", 1..2)?, list.index_in("a", ..=-2)?), (None, Some(0)));
        assert_eq!((list.count("a")?, list.count("z")?), (2, 0));
        assert!(list.contains("b")? && !list.contains("z")?);
        assert!(list.remove("a")? && !list.remove("z")?);
        assert_eq!(list.to_vec()?, ["b", "a", "票"]);
    }

    fn a_long_list_is_searched_as_a_short_one(manager) {
        let list = manager.list_from::<u32>(0..20_000)?;
        assert_eq!(list.index(19_999)?, Some(19_999));
        assert_eq!(list.count(5)?, 1);
        assert!(list.contains(12_345)? && !list.contains(20_000)?);
        assert!(list.remove(12_345)?);
        assert_eq!(list.len()?, 19_999);
        list.reverse()?;
        list.sort()?;
        assert_eq!(list.slice(12_344..12_346)?, [12_344, 12_346]);
        list.clear()?;
        assert!(list.is_empty()?);
    }

    fn slices_are_those_of_python(manager) {
        let items = [0, 1, 2, 3];
        let bounds = [i64::MIN, -6, -4, -3, -1, 0, 1, 2, 4, 6, i64::MAX];
        for start in bounds {
            for stop in bounds {
                let range = python_range(items.len(), start, Some(stop));
                let list = manager.list_from::<i32>(items)?;
                assert_eq!(list.slice(start..stop)?, items[range.clone()], "[{start}:{stop}]");

                let mut model = items.to_vec();
                model.splice(range.clone(), [7, 8, 9]);
                list.set_slice(start..stop, [7, 8, 9])?;
                assert_eq!(list.to_vec()?, model, "[{start}:{stop}] = …");

                let list = manager.list_from::<i32>(items)?;
                let mut model = items.to_vec();
                model.drain(range);
                list.delete_slice(start..stop)?;
                assert_eq!(list.to_vec()?, model, "del [{start}:{stop}]");
            }
            let list = manager.list_from::<i32>(items)?;
            assert_eq!(list.slice(start..)?, items[python_range(items.len(), start, None)], "[{start}:]");
        }
        let list = manager.list_from::<i32>(items)?;
        assert_eq!((list.slice(1..=2)?, list.slice(..=-1)?), (vec![1, 2], items.to_vec()));
        assert_eq!(list.slice((Bound::Excluded(-2), Bound::Unbounded))?, [3]);
        assert!(list.slice((Bound::Excluded(-1), Bound::Unbounded))?.is_empty(), "nothing is behind the last");
        assert_eq!((list.slice(..)?, list.slice((Bound::Included(1), Bound::Included(-2)))?), (items.to_vec(), vec![1, 2]));
    }

    fn sorting_is_stable_and_by_the_order_of_values(manager) {
        let list = manager.list_from::<(u32, String)>([(2, "b"), (1, "z"), (2, "a"), (1, "a")].map(|(n, s)| (n, s.to_owned())))?;
        list.sort()?;
        assert_eq!(list.to_vec()?, [(1, "a"), (1, "z"), (2, "a"), (2, "b")].map(|(n, s)| (n, s.to_owned())));
        let numbers = manager.list_from::<i64>([3, -1, 2, i64::MIN, i64::MAX, 0])?;
        numbers.sort_descending()?;
        assert_eq!(numbers.to_vec()?, [i64::MAX, 3, 2, 0, -1, i64::MIN]);
        numbers.reverse()?;
        assert_eq!(numbers.to_vec()?, [i64::MIN, -1, 0, 2, 3, i64::MAX]);
        let mixed = manager.list_from::<Value>([Value::from("a"), Value::from(2), Value::from(()), Value::from(1.5)])?;
        mixed.sort()?;
        let once = mixed.to_vec()?;
        mixed.sort()?;
        assert_eq!(mixed.to_vec()?, once, "values of all types have one order");
    }

    fn repeating_and_concatenating(manager) {
        let list = manager.list_from::<u8>([1, 2])?;
        assert_eq!(list.concat([3])?.to_vec()?, [1, 2, 3]);
        list.repeat(3)?;
        assert_eq!(list.to_vec()?, [1, 2, 1, 2, 1, 2]);
        list.repeat(1)?;
        assert_eq!(list.len()?, 6);
        list.repeat(-1)?;
        assert_eq!(list.len()?, 0);
        list.append(1)?;
        let pair = manager.list_from::<u32>([1, 2])?;
        let twice = pair.repeated(2)?;
        assert_eq!((twice.to_vec()?, pair.to_vec()?), (vec![1, 2, 1, 2], vec![1, 2]));
        assert!(pair.repeated(0)?.is_empty()? && pair.repeated(-1)?.is_empty()?);
        assert!(list.repeat(i64::MAX).is_err(), "no server has room for that");
        assert_eq!(list.to_vec()?, [1], "and nothing changed");
    }

    fn a_copy_is_another_list(manager) {
        let list = manager.list_from::<u8>([1])?;
        let copy = list.copy()?;
        assert_ne!(list, copy);
        assert_eq!(list, list.clone());
        copy.append(2)?;
        assert_eq!((list.to_vec()?, copy.to_vec()?), (vec![1], vec![1, 2]));
    }

    fn iterating_fetches_chunks(manager) {
        let list = manager.list_from::<u32>(0..10_000)?;
        assert_eq!(list.iter().collect::<Result<Vec<_>, _>>()?, (0..10_000).collect::<Vec<_>>());
        let mut seen = 0;
        for item in &list {
            // What is added meanwhile is seen, as in Python.
            if item? == 0 {
                list.append(10_000)?;
            }
            seen += 1;
        }
        assert_eq!(seen, 10_001);
        assert!(manager.list::<u32>()?.iter().next().is_none());
    }

    fn an_item_of_another_type_does_not_end_an_iteration(manager) {
        let list = manager.list_from::<Value>([Value::from(1), Value::from("two"), Value::from(3)])?;
        let numbers = list.cast::<u8>();
        let items: Vec<_> = numbers.iter().collect();
        assert!(matches!(items.as_slice(), [Ok(1), Err(Error::WrongType(_)), Ok(3)]), "{items:?}");
    }

    fn modify_loses_no_update(manager) {
        let list = manager.list_from::<u64>([0, 0])?;
        on_threads(4, |_| (0..50).for_each(|_| list.modify(1, |n| *n += 1).unwrap()));
        assert_eq!(list.to_vec()?, [0, 200]);
        assert_eq!(list.modify(0, |n| { *n = 7; "answer" })?, "answer");
        assert_eq!(list.get(0)?, 7);
    }

    fn modify_all_loses_no_update(manager) {
        let list = manager.list::<usize>()?;
        on_threads(3, |thread| (0..20).for_each(|_| list.modify_all(|items| items.push(thread)).unwrap()));
        let items = list.to_vec()?;
        assert_eq!([0, 1, 2].map(|thread| items.iter().filter(|&&item| item == thread).count()), [20, 20, 20]);
    }

    fn values_with_a_random_order_of_their_own_can_be_modified_and_compared(manager) {
        let map = |n: u32| (0..50).map(|i| (format!("key {i}"), i + n)).collect::<HashMap<_, _>>();
        let list = manager.list_from::<HashMap<String, u32>>([map(0)])?;
        for n in 1..5 {
            list.modify(0, |map| map.values_mut().for_each(|value| *value += 1))?;
            assert_eq!(list.get(0)?, map(n));
        }
        assert!(list.compare_and_set(0, map(4), map(10))?, "equal, whatever the order of its bytes");
        assert!(!list.compare_and_set(0, map(4), map(11))?);
        assert_eq!(list.get(0)?, map(10));
    }

    fn compare_and_set_has_one_winner(manager) {
        let list = manager.list_from::<String>(["free"])?;
        let won = on_threads(4, |thread| list.compare_and_set(0, "free", format!("thread {thread}")).unwrap());
        assert_eq!(won.iter().filter(|&&won| won).count(), 1);
        let winner = won.iter().position(|&won| won).unwrap();
        assert_eq!(list.get(0)?, format!("thread {winner}"));
    }

    fn fetch_add_keeps_to_the_bounds_of_its_type(manager) {
        let bytes = manager.list_from::<u8>([250])?;
        assert_eq!((bytes.fetch_add(0, 5)?, bytes.get(0)?), (250, 255));
        let outcome = bytes.fetch_add(0, 1);
        assert!(matches!(outcome, Err(Error::Overflow(_))), "{outcome:?}");
        assert_eq!(bytes.fetch_sub(0, 255)?, 255);
        assert!(matches!(bytes.fetch_sub(0, 1), Err(Error::Overflow(_))));
        assert_eq!(bytes.get(0)?, 0);
        let wide = manager.list_from::<i128>([i128::MAX - 1])?;
        assert_eq!(wide.fetch_add(0, 1)?, i128::MAX - 1);
        assert!(matches!(wide.fetch_add(0, 1), Err(Error::Overflow(_))));
        assert!(matches!(wide.fetch_sub(0, i128::MIN), Err(Error::Overflow(_))));
        let signed = manager.list_from::<i64>([i64::MIN])?;
        assert!(matches!(signed.fetch_add(0, -1), Err(Error::Overflow(_))));
        let counted = manager.list_from::<u64>([0])?;
        on_threads(4, |_| assert!((0..100).all(|_| counted.fetch_add(0, 1).is_ok())));
        assert_eq!(counted.get(0)?, 400);
    }

    fn calls_are_values(manager) {
        let list = manager.list::<u32>()?;
        let append = list.calls().append(7);
        let length = list.calls().len();
        assert_eq!(list.len()?, 0, "a call does nothing until it is made");
        manager.call(append)?;
        assert_eq!(length.send()?, 1);
        let slices = list.calls().slice(..);
        assert_eq!(manager.call(slices)?, [7]);
        let other = byproxy::Manager::embedded()?;
        assert!(matches!(other.call(list.calls().pop()), Err(Error::ForeignProxy(_))));
    }

    fn arguments_convert(manager) {
        let strings = manager.list::<String>()?;
        let owned = String::from("b");
        strings.append("a")?;
        strings.append(&owned)?;
        strings.append(owned)?;
        for word in &["c", "d"] {
            strings.append(word)?;
        }
        strings.extend(["e"].iter())?;
        assert_eq!(strings.to_vec()?, ["a", "b", "b", "c", "d", "e"]);
        let lists = manager.list::<Vec<u32>>()?;
        lists.append([1, 2])?;
        lists.append(&[3][..])?;
        lists.append(vec![4])?;
        let owned = vec![5];
        lists.append(&owned)?;
        assert_eq!(lists.to_vec()?, [vec![1, 2], vec![3], vec![4], vec![5]]);
        assert!(lists.contains([1, 2])?);
    }

    fn printing_shows_the_contents(manager) {
        let inner = manager.list_from::<u32>([1])?;
        let list = manager.list_from::<Value>([Value::from(1), Value::from("a'b"), Value::from(()), Value::from(true)])?;
        assert_eq!(list.to_string(), "[1, \"a'b\", None, True]");
        assert_eq!(manager.list::<u32>()?.to_string(), "[]");
        let debugged = format!("{inner:?}");
        assert!(debugged.starts_with("ListProxy(<list #"), "{debugged}");
    }
}
