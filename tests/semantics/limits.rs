//! What is too large or too deep is refused, and changes nothing.

use byproxy::{Error, Value};

/// The largest value, in bytes.
const VALUE_BYTES_MAX: usize = 64 << 20;

fn nested(depth: usize) -> Value {
    (1..depth).fold(Value::from(1), |inner, _| Value::List(vec![inner]))
}

on_every_backend! {
    fn a_value_over_the_limit_is_refused_before_it_is_sent(manager) {
        let list = manager.list_from::<String>(["a"])?;
        let dict = manager.dict_from::<u8, String>([(1, "a")])?;
        let big = "x".repeat(VALUE_BYTES_MAX + 1);
        let outcome = list.append(big.as_str());
        assert!(matches!(outcome, Err(Error::TooLarge(_))), "{outcome:?}");
        assert!(matches!(list.set(0, big.as_str()), Err(Error::TooLarge(_))));
        assert!(matches!(dict.insert(1, big.as_str()), Err(Error::TooLarge(_))));
        assert!(matches!(dict.modify(1, |value| value.clone_from(&big)), Err(Error::TooLarge(_))));
        let half = &big[..VALUE_BYTES_MAX / 2];
        assert!(matches!(list.extend([half, half]), Err(Error::TooLarge(_))), "together they are");
        assert_eq!((list.to_vec()?, dict.get(1)?.as_deref()), (vec!["a".to_owned()], Some("a")));
    }

    fn depth_64_is_a_value_and_depth_65_is_none(manager) {
        let list = manager.list::<Value>()?;
        let dict = manager.dict::<u8, Value>()?;
        let queue = manager.queue::<Value>(0)?;
        let deep = nested(64);
        list.append(&deep)?;
        list.extend([&deep])?;
        dict.insert(1, &deep)?;
        dict.update([(2, &deep)])?;
        queue.put(&deep)?;
        queue.put_many([&deep])?;
        assert_eq!((list.get(0)?, list.to_vec()?.len(), queue.get_many(9)?.len()), (deep.clone(), 2, 2));
        assert_eq!((dict.items()?.len(), dict.iter().count(), list.iter().count()), (2, 2, 2));
        assert_eq!((dict.popitem()?, dict.setdefault(2, &deep)?), (Some((2, deep.clone())), deep.clone()));
        queue.put(&deep)?;
        assert_eq!(queue.receive()?.ack()?, deep);
        list.modify_all(|items| items.reverse())?;
        dict.modify(1, |value| assert_eq!(*value, deep))?;
        let too_deep = nested(65);
        assert!(list.append(&too_deep).is_err());
        assert!(list.set(0, &too_deep).is_err());
        assert!(dict.insert(1, &too_deep).is_err());
        assert!(queue.put(&too_deep).is_err());
        assert!(queue.put_many([&too_deep]).is_err() && list.extend([&too_deep]).is_err());
        assert!(dict.update([(3, &too_deep)]).is_err() && manager.list_from::<Value>([&too_deep]).is_err());
        let error = list.append(nested(1_000)).unwrap_err();
        assert!(error.to_string().contains("deep"), "{error}");
        assert_eq!((list.len()?, dict.len()?, queue.qsize()?), (2, 2, 0));
    }

    fn a_message_about_something_large_is_short(manager) {
        let big = "\u{1}".repeat(1 << 20);
        let dict = manager.dict::<String, u32>()?;
        let list = manager.list_from::<String>([&big])?;
        let errors = [
            dict.fetch_add(&big, 1).unwrap_err(),
            dict.modify(&big, |_| ()).unwrap_err(),
            list.cast::<u32>().get(0).unwrap_err(),
        ];
        for error in errors {
            let message = error.to_string();
            assert!((20..400).contains(&message.len()), "{} bytes: {message:.400}", message.len());
        }
        let nested = manager.list_from::<Vec<String>>([vec![big.clone(), big]])?;
        assert!(nested.to_string().len() <= 64 << 10);
    }

    fn a_list_larger_than_a_reply_is_read_in_chunks(manager) {
        let list = manager.list::<String>()?;
        let item = |n: u32| format!("{n}{}", "x".repeat(1 << 20));
        for n in 0..66 {
            list.append(item(n))?;
        }
        assert!(matches!(list.slice(..), Err(Error::TooLarge(_))));
        let all = list.to_vec()?;
        assert!(all.len() == 66 && all.iter().enumerate().all(|(n, text)| *text == item(n as u32)));
        assert!(matches!(list.modify_all(Vec::clear), Err(Error::TooLarge(_))));
        assert_eq!(list.len()?, 66);
    }

    fn a_dict_larger_than_a_reply_is_read_in_chunks(manager) {
        let dict = manager.dict::<u32, String>()?;
        for n in 0..66 {
            dict.insert(n, "x".repeat(1 << 20))?;
        }
        assert_eq!(dict.keys()?.len(), 66);
        assert_eq!(dict.values()?.len(), 66);
        assert!(dict.items()?.into_iter().enumerate().all(|(n, (key, value))| n as u32 == key && value.len() == 1 << 20));
    }

    fn a_get_many_takes_what_fits_a_reply(manager) {
        let queue = manager.queue::<String>(0)?;
        for _ in 0..66 {
            queue.put("x".repeat(1 << 20))?;
        }
        let mut got = queue.get_many(100)?.len();
        assert!((1..66).contains(&got), "{got}");
        while got < 66 {
            got += queue.get_many(100)?.len();
        }
        assert_eq!((got, queue.qsize()?), (66, 0));
    }
}
