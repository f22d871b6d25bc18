//! Dicts behave as Python's: in the order of insertion, and found by equal keys.

use super::*;
use Operation as Op;

fn dict(pairs: &[(&str, i64)]) -> (Driver, SessionId, u64) {
    let mut driver = Driver::new();
    let session = driver.session();
    let pairs = Value::Dict(pairs.iter().map(|&(key, number)| (value(key), value(number))).collect());
    let dict = driver.dict(session, &pairs);
    (driver, session, dict)
}

fn keys(driver: &mut Driver, session: SessionId, dict: u64) -> Value {
    driver.call(session, Op::DictKeys, dict, &NOTHING).unwrap()
}

#[test]
fn pairs_keep_the_order_of_their_keys_first_insertion() {
    let (mut driver, session, dict) = dict(&[("b", 1), ("a", 2)]);
    assert_eq!(driver.call(session, Op::DictInsert, dict, &("c", ())), Ok(Value::None));
    let old = driver.call(session, Op::DictInsert, dict, &("c", 3));
    assert_eq!(
        old,
        Ok(Value::Some(Box::new(Value::None))),
        "an old None is not an absent one"
    );
    assert_eq!(driver.call(session, Op::DictInsert, dict, &("b", 9)), Ok(value(1)));
    assert_eq!(keys(&mut driver, session, dict), value(["b", "a", "c"]));
    assert_eq!(
        driver.call(session, Op::DictValues, dict, &NOTHING),
        Ok(value([9, 2, 3]))
    );
    assert_eq!(driver.call(session, Op::DictPop, dict, &("b",)), Ok(value(9)));
    assert_eq!(driver.call(session, Op::DictPop, dict, &("b",)), Ok(Value::None));
    driver.call(session, Op::DictInsert, dict, &("b", 0)).unwrap();
    assert_eq!(keys(&mut driver, session, dict), value(["a", "c", "b"]));
    assert_eq!(
        driver.call(session, Op::DictPopitem, dict, &NOTHING),
        Ok(value(("b", 0)))
    );
    assert_eq!(
        driver.call(session, Op::DictItems, dict, &NOTHING),
        Ok(value(BTreeMap::from([("a", 2), ("c", 3)])))
    );
    assert_eq!(driver.call(session, Op::DictDelete, dict, &("a",)), Ok(value(true)));
    assert_eq!(driver.call(session, Op::DictDelete, dict, &("a",)), Ok(value(false)));
    assert_eq!(driver.call(session, Op::DictLen, dict, &NOTHING), Ok(value(1)));
    assert_eq!(driver.call(session, Op::DictContains, dict, &("c",)), Ok(value(true)));
    driver.call(session, Op::DictClear, dict, &NOTHING).unwrap();
    assert_eq!(driver.call(session, Op::DictPopitem, dict, &NOTHING), Ok(Value::None));
    assert_eq!(
        driver.call(session, Op::DictItems, dict, &NOTHING),
        Ok(Value::Dict(Vec::new()))
    );
    driver.check();
}

#[test]
fn equal_keys_are_one_key() {
    let (mut driver, session, dict) = dict(&[]);
    let one = Value::Dict(vec![(value("x"), value(1)), (value("y"), value(2))]);
    let other = Value::Dict(vec![(value("y"), value(2)), (value("x"), value(1))]);
    driver.call(session, Op::DictInsert, dict, &(&one, "first")).unwrap();
    assert_eq!(driver.call(session, Op::DictGet, dict, &(&other,)), Ok(value("first")));
    assert_eq!(driver.call(session, Op::DictInsert, dict, &(-0.0, 1)), Ok(Value::None));
    assert_eq!(driver.call(session, Op::DictInsert, dict, &(0.0, 2)), Ok(value(1)));
    assert_eq!(
        driver.call(session, Op::DictInsert, dict, &(f64::NAN, 3)),
        Ok(Value::None)
    );
    assert_eq!(driver.call(session, Op::DictGet, dict, &(f64::NAN,)), Ok(value(3)));
    assert_eq!(
        driver.call(session, Op::DictGet, dict, &(0,)),
        Ok(Value::None),
        "0 and 0.0 are two keys"
    );
    assert_eq!(driver.call(session, Op::DictLen, dict, &NOTHING), Ok(value(3)));
    let twice = Value::Dict(vec![(value(1), value(1)), (value(1), value(2))]);
    assert_eq!(
        driver.fault(session, Op::DictInsert, dict, &(&twice, 0)),
        FaultCode::BadArgument
    );
    driver.check();
}

#[test]
fn setdefault_update_and_copy() {
    let (mut driver, session, dict) = dict(&[("a", 1)]);
    assert_eq!(driver.call(session, Op::DictSetdefault, dict, &("a", 5)), Ok(value(1)));
    assert_eq!(driver.call(session, Op::DictSetdefault, dict, &("b", 5)), Ok(value(5)));
    let more = Value::Dict(vec![
        (value("a"), value(7)),
        (value("c"), value(8)),
        (value("c"), value(9)),
    ]);
    driver.call(session, Op::DictUpdate, dict, &(&more,)).unwrap();
    let copied = driver.call(session, Op::DictCopy, dict, &NOTHING).unwrap();
    let Value::Proxy(copy) = copied else { panic!("{copied}") };
    driver.call(session, Op::DictClear, dict, &NOTHING).unwrap();
    let expected = BTreeMap::from([("a", 7), ("b", 5), ("c", 9)]);
    assert_eq!(
        driver.call(session, Op::DictItems, copy.object, &NOTHING),
        Ok(value(expected))
    );
    driver.check();
}

#[test]
fn arithmetic_starts_from_an_initial_value_if_given() {
    let (mut driver, session, dict) = dict(&[("a", 1)]);
    let add = |driver: &mut Driver, key: &str, delta: i128, initial: Option<i128>| {
        driver.call(
            session,
            Op::DictFetchAdd,
            dict,
            &(key, delta, -10_i128, 10_i128, initial),
        )
    };
    assert_eq!(add(&mut driver, "a", 9, None), Ok(value(1)));
    assert_eq!(add(&mut driver, "a", 1, None).unwrap_err().code, FaultCode::Overflow);
    assert_eq!(add(&mut driver, "b", 1, None).unwrap_err().code, FaultCode::KeyMissing);
    assert_eq!(
        add(&mut driver, "b", 20, Some(0)).unwrap_err().code,
        FaultCode::Overflow
    );
    assert_eq!(driver.call(session, Op::DictLen, dict, &NOTHING), Ok(value(1)));
    assert_eq!(add(&mut driver, "b", 2, Some(3)), Ok(value(3)));
    assert_eq!(driver.call(session, Op::DictGet, dict, &("b",)), Ok(value(5)));
    driver.check();
}

#[test]
fn compare_and_set_knows_absence() {
    let (mut driver, session, dict) = dict(&[("a", 1)]);
    let mut set = |key: &str, expected: Option<i64>, new: Option<i64>| {
        driver
            .call(session, Op::DictCompareAndSet, dict, &(key, expected, new))
            .unwrap()
            == value(true)
    };
    assert!(!set("a", None, Some(2)));
    assert!(!set("a", Some(2), Some(2)));
    assert!(set("a", Some(1), Some(2)));
    assert!(set("b", None, Some(3)));
    assert!(!set("c", Some(1), Some(3)));
    assert!(set("a", Some(2), None));
    assert!(set("a", None, None));
    assert_eq!(keys(&mut driver, session, dict), value(["b"]));
    driver.check();
}

/// Walks a dict in chunks and returns the keys in the order they came, and the versions seen.
fn walk(driver: &mut Driver, session: SessionId, dict: u64, backwards: bool) -> (Vec<i64>, Vec<u64>) {
    let (mut keys, mut versions) = (Vec::new(), Vec::new());
    let mut cursor: Option<u64> = None;
    loop {
        let chunk = driver
            .call(session, Op::DictChunk, dict, &(cursor, 7, backwards))
            .unwrap();
        let Value::List(parts) = &chunk else { panic!("{chunk}") };
        let Value::Dict(pairs) = &parts[2] else {
            panic!("{chunk}")
        };
        assert!(pairs.len() <= 7);
        versions.push(parts[0].to().unwrap());
        keys.extend(pairs.iter().map(|(key, _)| key.to::<i64>().unwrap()));
        cursor = parts[1].to().unwrap();
        if cursor.is_none() {
            return (keys, versions);
        }
    }
}

#[test]
fn chunks_cover_a_dict_in_both_directions() {
    let mut driver = Driver::new();
    let session = driver.session();
    let dict = driver.dict(session, &());
    for key in 0..50 {
        driver.call(session, Op::DictInsert, dict, &(key, key)).unwrap();
    }
    for key in (0..50).filter(|key| key % 3 == 0) {
        driver.call(session, Op::DictDelete, dict, &(key,)).unwrap();
    }
    let expected: Vec<i64> = (0..50).filter(|key| key % 3 != 0).collect();
    let (keys, versions) = walk(&mut driver, session, dict, false);
    assert_eq!(keys, expected);
    assert!(
        versions.windows(2).all(|pair| pair[0] == pair[1]),
        "nothing came or went"
    );
    let (keys, _) = walk(&mut driver, session, dict, true);
    assert_eq!(keys, expected.into_iter().rev().collect::<Vec<_>>());
    driver
        .call(session, Op::DictInsert, dict, &(1, "another value"))
        .unwrap();
    assert_eq!(
        walk(&mut driver, session, dict, false).1[0],
        versions[0],
        "a new value is no new key"
    );
    driver.call(session, Op::DictInsert, dict, &(100, 0)).unwrap();
    assert!(walk(&mut driver, session, dict, false).1[0] > versions[0]);
    driver.check();
}

#[test]
fn a_reply_over_the_limit_is_refused_before_anything_changes() {
    let mut driver = Driver::with(Settings {
        reply_bytes_max: 100,
        ..Settings::default()
    });
    let session = driver.session();
    let dict = driver.dict(session, &());
    driver
        .call(session, Op::DictInsert, dict, &("k", "x".repeat(120)))
        .unwrap();
    assert_eq!(driver.fault(session, Op::DictGet, dict, &("k",)), FaultCode::TooLarge);
    assert_eq!(driver.fault(session, Op::DictPop, dict, &("k",)), FaultCode::TooLarge);
    assert_eq!(
        driver.fault(session, Op::DictPopitem, dict, &NOTHING),
        FaultCode::TooLarge
    );
    assert_eq!(
        driver.fault(session, Op::DictInsert, dict, &("k", 1)),
        FaultCode::TooLarge
    );
    assert_eq!(
        driver.fault(session, Op::DictSetdefault, dict, &("n", "x".repeat(120))),
        FaultCode::TooLarge
    );
    assert_eq!(
        driver.fault(session, Op::DictItems, dict, &NOTHING),
        FaultCode::TooLarge
    );
    assert_eq!(driver.call(session, Op::DictLen, dict, &NOTHING), Ok(value(1)));
    driver.check();
}

#[test]
fn removing_most_of_a_large_dict_closes_its_gaps_as_a_job() {
    let mut driver = Driver::with_steps(64);
    let session = driver.session();
    let dict = driver.dict(session, &());
    for key in 0..1000 {
        driver.call(session, Op::DictInsert, dict, &(key, key)).unwrap();
    }
    let before = driver.jobs_seen;
    for key in 1..999 {
        assert_eq!(driver.call(session, Op::DictPop, dict, &(key,)), Ok(value(key)));
    }
    assert!(driver.jobs_seen > before, "closing many gaps is long");
    assert!(driver.jobs_seen < before + 20, "and rare");
    assert_eq!(keys(&mut driver, session, dict), value([0, 999]));
    driver.check();
}
