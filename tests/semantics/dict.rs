//! Dicts behave as Python's.

use crate::support::on_threads;
use byproxy::{DictProxy, Error, Value};
use std::collections::{BTreeMap, HashMap};

on_every_backend! {
    fn keys_keep_the_order_they_came_in(manager) {
        let dict = manager.dict::<String, u32>()?;
        for (key, value) in [("b", 1), ("a", 2), ("c", 3)] {
            assert_eq!(dict.insert(key, value)?, None);
        }
        assert_eq!(dict.insert("b", 9)?, Some(1), "an old key stays where it is");
        assert_eq!(dict.keys()?, ["b", "a", "c"]);
        assert_eq!(dict.values()?, [9, 2, 3]);
        assert!(dict.delete("b")?);
        dict.insert("b", 4)?;
        let pair = |key: &str, value| (key.to_owned(), value);
        assert_eq!(dict.items()?, [pair("a", 2), pair("c", 3), pair("b", 4)], "a new one goes to the end");
        assert_eq!(dict.iter().collect::<Result<Vec<_>, _>>()?, dict.items()?);
        let mut reversed = dict.items()?;
        reversed.reverse();
        assert_eq!(dict.iter_reversed().collect::<Result<Vec<_>, _>>()?, reversed);
    }

    fn popitem_takes_the_newest(manager) {
        let dict = manager.dict_from::<u32, u32>([(1, 10), (2, 20), (3, 30)])?;
        dict.insert(1, 11)?;
        assert_eq!(dict.popitem()?, Some((3, 30)));
        assert_eq!(dict.popitem()?, Some((2, 20)));
        assert_eq!(dict.popitem()?, Some((1, 11)));
        assert_eq!(dict.popitem()?, None);
    }

    fn what_is_not_there_is_none(manager) {
        let dict = manager.dict::<String, u32>()?;
        assert_eq!((dict.get("a")?, dict.pop("a")?), (None, None));
        assert!(!dict.contains("a")? && !dict.delete("a")? && dict.is_empty()?);
        assert!(dict.iter().next().is_none() && dict.iter_reversed().next().is_none());
        assert_eq!((dict.keys()?, dict.values()?, dict.items()?), (vec![], vec![], vec![]));
    }

    fn none_is_a_value_of_its_own(manager) {
        let dict = manager.dict::<u8, Option<Option<u8>>>()?;
        for (key, value) in [(0, None), (1, Some(None)), (2, Some(Some(5)))] {
            assert_eq!(dict.insert(key, value)?, None);
            assert_eq!(dict.get(key)?, Some(value));
            assert_eq!(dict.setdefault(key, Some(Some(9)))?, value);
            assert!(dict.compare_and_set(key, value, value)?);
            assert_eq!(dict.insert(key, value)?, Some(value));
        }
        assert_eq!(dict.values()?, [None, Some(None), Some(Some(5))]);
        let units = manager.dict::<Option<u8>, ()>()?;
        assert!(units.try_insert(None, ())? && !units.try_insert(None, ())?);
        assert_eq!((units.get(None)?, units.get(Some(1))?), (Some(()), None));
        assert_eq!(units.popitem()?, Some((None, ())));
    }

    fn setdefault_update_and_clear(manager) {
        let dict = manager.dict_from::<String, u32>([("a", 1)])?;
        assert_eq!((dict.setdefault("a", 5)?, dict.setdefault("b", 5)?), (1, 5));
        dict.update([("b", 6), ("c", 7), ("c", 8)])?;
        assert_eq!(dict.items()?, [("a", 1), ("b", 6), ("c", 8)].map(|(key, value)| (key.to_owned(), value)));
        dict.update(HashMap::<String, u32>::new())?;
        dict.update(BTreeMap::from([("d".to_owned(), 9)]))?;
        assert_eq!(dict.len()?, 4);
        dict.clear()?;
        assert!(dict.is_empty()?);
    }

    fn a_copy_is_another_dict(manager) {
        let dict = manager.dict_from::<String, u32>([("a", 1)])?;
        let copy = dict.copy()?;
        assert_ne!(dict, copy);
        copy.insert("b", 2)?;
        assert_eq!((dict.keys()?.len(), copy.keys()?), (1, vec!["a".to_owned(), "b".to_owned()]));
        let union = dict.union([("c", 3), ("a", 4)])?;
        assert_eq!(union.items()?, [("a".to_owned(), 4), ("c".to_owned(), 3)], "an old key stays where it is");
        assert_eq!(dict.items()?, [("a".to_owned(), 1)]);
    }

    fn any_type_is_a_key_and_types_are_told_apart(manager) {
        let dict = manager.dict::<Value, String>()?;
        let keys = [Value::from(1), Value::from(1.0), Value::from(true), Value::from("1"), Value::from(())];
        for key in &keys {
            dict.insert(key, format!("{key:?}"))?;
        }
        assert_eq!(dict.len()?, keys.len() as u64);
        for key in &keys {
            assert_eq!(dict.get(key)?, Some(format!("{key:?}")));
        }
        let floats = manager.dict::<f64, u8>()?;
        floats.insert(0.0, 1)?;
        floats.insert(f64::NAN, 2)?;
        assert_eq!((floats.get(-0.0)?, floats.get(-f64::NAN)?), (Some(1), Some(2)), "as keys these are the same");
        let pairs = manager.dict_from::<(String, u8), u8>([(("a".to_owned(), 1), 2)])?;
        assert_eq!(pairs.get(("a".to_owned(), 1))?, Some(2));
        let maps = manager.dict::<HashMap<String, u8>, u8>()?;
        let map = || (0..20).map(|i| (format!("{i}"), i)).collect::<HashMap<_, _>>();
        maps.insert(map(), 1)?;
        assert_eq!(maps.get(map())?, Some(1), "whatever order the map has today");
    }

    fn iterating_fetches_chunks_both_ways(manager) {
        let dict = manager.dict_from::<u32, u32>((0..10_000).map(|n| (n, n * 2)))?;
        let pairs: Vec<_> = dict.iter().collect::<Result<_, _>>()?;
        assert_eq!(pairs, (0..10_000).map(|n| (n, n * 2)).collect::<Vec<_>>());
        let reversed: Vec<_> = dict.iter_reversed().collect::<Result<_, _>>()?;
        assert!(reversed.iter().eq(pairs.iter().rev()));
    }

    fn an_iteration_tells_when_keys_came_or_went(manager) {
        let dict = manager.dict_from::<u32, u32>((0..10_000).map(|n| (n, 0)))?;
        let mut iter = dict.iter();
        assert_eq!(iter.next().transpose()?, Some((0, 0)));
        dict.insert(0, 5)?;
        dict.insert(9_999, 5)?;
        let rest: Vec<_> = iter.by_ref().collect::<Result<_, _>>()?;
        assert_eq!(rest.last(), Some(&(9_999, 5)), "a changed value is no reason to stop");

        let mut iter = dict.iter();
        iter.next();
        dict.insert(20_000, 0)?;
        let changed = iter.by_ref().find_map(Result::err);
        assert!(matches!(changed, Some(Error::Changed("dict"))), "{changed:?}");
        assert!(iter.next().is_none());
    }

    fn modify_loses_no_update(manager) {
        let seats = manager.dict_from::<String, u32>([("G101", 100), ("G102", 0)])?;
        let book = |free: &mut u32| {
            let sold = *free > 0;
            *free -= u32::from(sold);
            sold
        };
        let sold = on_threads(4, |_| (0..50).filter(|_| seats.modify("G101", book).unwrap()).count());
        assert_eq!(sold.iter().sum::<usize>(), 100, "every seat once and none twice");
        assert_eq!(seats.get("G101")?, Some(0));
        assert!(!seats.modify("G102", book)?);
    }

    fn modify_needs_the_key(manager) {
        let dict = manager.dict::<String, u32>()?;
        let outcome = dict.modify("G101", |_| ());
        assert!(matches!(&outcome, Err(Error::KeyMissing(message)) if message.contains("G101")), "{outcome:?}");
        let outcome = dict.fetch_add("G101", 1);
        assert!(matches!(outcome, Err(Error::KeyMissing(_))), "{outcome:?}");
        assert!(dict.is_empty()?);
    }

    fn a_key_that_goes_while_it_is_modified_is_missing(manager) {
        let dict = manager.dict_from::<u8, u32>([(1, 0)])?;
        let outcome = dict.modify(1, |_| drop(dict.delete(1)));
        assert!(matches!(outcome, Err(Error::KeyMissing(_))), "{outcome:?}");
    }

    fn comparing_and_setting(manager) {
        let dict = manager.dict_from::<u8, String>([(1, "a")])?;
        assert!(!dict.compare_and_set(1, "z", "b")? && dict.compare_and_set(1, "a", "b")?);
        assert!(!dict.compare_and_set(2, "a", "b")?, "what is not there equals nothing");
        assert!(!dict.try_insert(1, "c")? && dict.try_insert(2, "c")?);
        assert!(!dict.compare_and_delete(1, "a")? && dict.compare_and_delete(1, "b")?);
        assert_eq!(dict.items()?, [(2, "c".to_owned())]);
        let maps = manager.dict::<u8, HashMap<u32, u32>>()?;
        let map = |n| (0..30).map(|i| (i, i + n)).collect::<HashMap<_, _>>();
        maps.insert(1, map(0))?;
        assert!(maps.compare_and_set(1, map(0), map(1))?, "equal, whatever the order of its bytes");
        assert!(!maps.compare_and_set(1, map(0), map(2))?);
        maps.modify(1, HashMap::clear)?;
        assert_eq!(maps.get(1)?, Some(HashMap::new()));
        let winners = on_threads(4, |thread| dict.try_insert(9, format!("{thread}")).unwrap());
        assert_eq!(winners.iter().filter(|&&won| won).count(), 1);
    }

    fn fetch_add_keeps_to_the_bounds_of_its_type(manager) {
        let dict = manager.dict_from::<String, i8>([("a", 120)])?;
        assert_eq!((dict.fetch_add("a", 7)?, dict.get("a")?), (120, Some(127)));
        assert!(matches!(dict.fetch_add("a", 1), Err(Error::Overflow(_))));
        assert_eq!(dict.fetch_sub("a", 100)?, 127);
        assert_eq!(dict.fetch_add_from("b", 5, -6)?, 5);
        assert_eq!(dict.get("b")?, Some(-1));
        assert!(matches!(dict.fetch_add_from("c", 127, 1), Err(Error::Overflow(_))));
        assert!(!dict.contains("c")?, "and nothing was inserted");
        let outcome = dict.fetch_sub("a", i8::MIN);
        assert!(matches!(outcome, Err(Error::Overflow(_))), "27 + 128: {outcome:?}");
        let words: DictProxy<String, u64> = manager.dict()?;
        on_threads(4, |_| assert!((0..50).all(|_| words.fetch_add_from("word", 0, 1).is_ok())));
        assert_eq!(words.get("word")?, Some(200));
    }

    fn calls_are_values(manager) {
        let dict = manager.dict::<String, u32>()?;
        let calls = [dict.calls().insert("a", 1), dict.calls().insert("a", 2), dict.calls().get("a")];
        let answers: Vec<_> = calls.into_iter().map(|call| manager.call(call)).collect::<Result<_, _>>()?;
        assert_eq!(answers, [None, Some(1), Some(2)]);
    }

    fn printing_shows_the_contents(manager) {
        let dict = manager.dict_from::<String, Vec<u8>>([("a", vec![1, 2]), ("票", vec![])])?;
        assert_eq!(dict.to_string(), "{'a': [1, 2], '票': []}");
        assert!(format!("{dict:?}").starts_with("DictProxy(<dict #"));
    }
}
