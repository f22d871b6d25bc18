//! The server itself: names, contents at creation, limits, printing.

use super::*;
use crate::engine::registry::OBJECT_BYTES;
use Operation as Op;

#[test]
fn a_name_finds_the_same_object_and_keeps_it_alive() {
    let mut driver = Driver::new();
    let (first, second) = (driver.session(), driver.session());
    let list = driver.create(first, Kind::LIST, Some("sold"), &[1]);
    assert_eq!(
        driver.create(second, Kind::LIST, Some("sold"), &[2]),
        list,
        "the contents of the second are not used"
    );
    let wrong = driver.fault(second, Op::Create, 0, &(Kind::DICT.0, "sold", ()));
    assert_eq!(wrong, FaultCode::NameTaken);
    driver.check();
    driver.end(first);
    driver.end(second);
    driver.check();
    let third = driver.session();
    assert_eq!(driver.call(third, Op::Open, 0, &("sold",)), Ok(value(list_token(list))));
    assert_eq!(driver.items(third, list), value([1]));
    assert_eq!(driver.call(third, Op::Open, 0, &("unknown",)), Ok(Value::None));
    driver.create(third, Kind::DICT, Some("a dict"), &());
    assert_eq!(
        driver.call(third, Op::Names, 0, &NOTHING),
        Ok(value([["a dict", "dict"], ["sold", "list"]]))
    );
    assert_eq!(driver.call(third, Op::Remove, 0, &("sold",)), Ok(value(true)));
    assert_eq!(driver.call(third, Op::Remove, 0, &("sold",)), Ok(value(false)));
    assert_eq!(driver.items(third, list), value([1]), "the third still holds it");
    driver.end(third);
    driver.check();
    assert_eq!((driver.objects(), driver.engine.stats().names), (1, 1));
}

#[test]
fn contents_must_fit_their_kind() {
    let mut driver = Driver::new();
    let session = driver.session();
    assert_eq!(
        driver.fault(session, Op::Create, 0, &(Kind::LIST.0, (), 5)),
        FaultCode::BadArgument
    );
    assert_eq!(
        driver.fault(session, Op::Create, 0, &(Kind::DICT.0, (), [5])),
        FaultCode::BadArgument
    );
    assert_eq!(
        driver.fault(session, Op::Create, 0, &(200, (), ())),
        FaultCode::BadArgument
    );
    assert_eq!(
        driver.fault(session, Op::Create, 0, &(Kind::LIST.0, "", ())),
        FaultCode::BadArgument
    );
    assert_eq!(
        driver.fault(session, Op::Create, 0, &(Kind::LIST.0, "n".repeat(256), ())),
        FaultCode::BadArgument
    );
    assert_eq!(driver.fault(session, Op::Adopt, 0, &([5],)), FaultCode::BadArgument);
    driver.check();
    assert_eq!(driver.objects(), 0);
}

#[test]
fn limits_are_held_before_anything_changes() {
    let mut driver = Driver::with(Settings {
        objects_max: 2,
        sessions_max: 1,
        memory_bytes_max: 2 * OBJECT_BYTES + 1000,
        ..Settings::default()
    });
    let session = driver.session();
    let many = driver.engine.handle_session_start(Time(0), Peer::default());
    assert_eq!(many.unwrap_err().code, FaultCode::TooMany);
    let list = driver.list(session, &[1, 2, 3]);
    let dict = driver.dict(session, &());
    assert_eq!(
        driver.fault(session, Op::Create, 0, &(Kind::LIST.0, (), [1])),
        FaultCode::TooMany
    );
    assert_eq!(
        driver.fault(session, Op::Create, 0, &(Kind::LIST.0, "named", [1])),
        FaultCode::TooMany
    );
    assert_eq!(driver.fault(session, Op::ListCopy, list, &NOTHING), FaultCode::TooMany);
    driver.check();
    let large = "x".repeat(900);
    let token = list_token(list);
    assert_eq!(
        driver.fault(session, Op::ListAppend, list, &((&large, token),)),
        FaultCode::TooLarge
    );
    assert_eq!(
        driver.fault(session, Op::ListExtend, list, &((token, &large),)),
        FaultCode::TooLarge
    );
    assert_eq!(
        driver.fault(session, Op::ListRepeat, list, &(i64::MAX,)),
        FaultCode::TooLarge
    );
    assert_eq!(
        driver.fault(session, Op::DictInsert, dict, &(1, &large)),
        FaultCode::TooLarge
    );
    assert_eq!(
        driver.fault(session, Op::DictInsert, dict, &(&large, token)),
        FaultCode::TooLarge
    );
    assert_eq!(
        driver.fault(session, Op::DictUpdate, dict, &(BTreeMap::from([(&large, token)]),)),
        FaultCode::TooLarge
    );
    assert_eq!(driver.items(session, list), value([1, 2, 3]));
    assert_eq!(driver.call(session, Op::DictLen, dict, &NOTHING), Ok(value(0)));
    driver.check();
    assert_eq!(driver.engine.stats().bytes, 2 * OBJECT_BYTES + 48);
}

#[test]
fn what_takes_the_place_of_a_value_is_charged_for_the_difference() {
    let mut driver = Driver::with(Settings {
        memory_bytes_max: 2 * OBJECT_BYTES + 2000,
        ..Settings::default()
    });
    let session = driver.session();
    let list = driver.list(session, &[1]);
    let dict = driver.dict(session, &());
    let (one, other, longer) = ("x".repeat(1500), "y".repeat(1500), "z".repeat(1900));
    driver.call(session, Op::DictInsert, dict, &(1, &one)).unwrap();
    let bytes = driver.engine.stats().bytes;
    assert_eq!(
        driver.call(session, Op::DictInsert, dict, &(1, &other)),
        Ok(value(&one)),
        "there is no room for both at once, and none is needed"
    );
    assert_eq!(driver.engine.stats().bytes, bytes);
    for (operation, arguments) in [
        (Op::DictInsert, value((1, (&longer, list_token(list))))),
        (Op::DictCompareAndSet, value((1, &other, (&longer, list_token(list))))),
    ] {
        assert_eq!(driver.fault(session, operation, dict, &arguments), FaultCode::TooLarge);
        driver.check();
    }
    assert_eq!(
        driver.call(session, Op::DictInsert, dict, &(1, list_token(list))),
        Ok(value(&other))
    );
    assert!(driver.engine.stats().bytes < bytes - 1400);
    assert_eq!(driver.call(session, Op::ListSet, list, &(0, &one)), Ok(Value::None));
    assert_eq!(
        driver.fault(session, Op::ListSet, list, &(0, "z".repeat(3000))),
        FaultCode::TooLarge
    );
    assert_eq!(driver.call(session, Op::ListSet, list, &(0, 7)), Ok(Value::None));
    assert_eq!(driver.call(session, Op::DictInsert, dict, &(1, 1)).map(drop), Ok(()));
    assert_eq!(
        driver.call(session, Op::DictFetchAdd, dict, &(1, 1, 0, i128::MAX, ())),
        Ok(value(1))
    );
    driver.check();
    assert_eq!(driver.engine.stats().bytes, 2 * OBJECT_BYTES + 3 * 16);
}

#[test]
fn stats_ping_show_and_shutdown() {
    let mut driver = Driver::new();
    let session = driver.session();
    let list = driver.list(session, &(1, "two", [3.5]));
    let dict = driver.dict(session, &Value::Dict(vec![(value("k"), value(list_token(list)))]));
    assert_eq!(driver.call(session, Op::Ping, 0, &NOTHING), Ok(Value::None));
    let stats = driver.call(session, Op::Stats, 0, &NOTHING).unwrap();
    for (name, number) in [
        ("objects", 2),
        ("references", 2),
        ("sessions", 1),
        ("waiters", 0),
        ("names", 0),
    ] {
        assert_eq!(stats.get(name), Some(&value(number)), "{name}");
    }
    assert_eq!(
        driver.call(session, Op::Show, list, &(100,)),
        Ok(value("[1, 'two', [3.5]]"))
    );
    assert_eq!(driver.call(session, Op::Show, list, &(10,)), Ok(value("[1, 'tw…")));
    assert_eq!(
        driver.call(session, Op::Show, dict, &(100,)),
        Ok(value(format!("{{'k': <list #{list}>}}")))
    );
    assert_eq!(driver.fault(session, Op::Show, 0, &(100,)), FaultCode::NoSuchObject);
    assert!(!driver.shutdown);
    assert_eq!(driver.call(session, Op::Shutdown, 0, &NOTHING), Ok(Value::None));
    assert!(driver.shutdown);
}

#[test]
fn very_many_names_are_listed_as_a_job() {
    let mut driver = Driver::with_steps(10);
    let session = driver.session();
    let names: Vec<String> = (0..35).map(|number| format!("list {number:02}")).collect();
    for name in &names {
        driver.create(session, Kind::LIST, Some(name), &NOTHING);
    }
    let asked = driver.send(session, Operation::Names, 0, &NOTHING);
    assert_eq!(driver.jobs.len(), 1, "more than a call may touch");
    // What comes and goes before the job has begun is seen by it.
    driver.call(session, Operation::Remove, 0, &("list 07",)).unwrap();
    driver.run_jobs();
    let (listed, handed) = driver.answers.remove(&asked).unwrap().unwrap();
    let expected: Vec<Value> = names
        .iter()
        .filter(|name| *name != "list 07")
        .map(|name| Value::List(vec![value(name.as_str()), value("list")]))
        .collect();
    assert_eq!((listed, handed), (Value::List(expected), Vec::new()));
    driver.check();
}

#[test]
fn a_list_of_names_that_is_over_the_limit_of_a_reply_is_refused() {
    let mut driver = Driver::with(Settings {
        small_steps: 10,
        reply_bytes_max: 400,
        ..Settings::default()
    });
    let session = driver.session();
    for number in 0..30 {
        driver.create(session, Kind::LIST, Some(&format!("list {number:02}")), &NOTHING);
    }
    let asked = driver.send(session, Operation::Names, 0, &NOTHING);
    driver.run_jobs();
    let refused = driver.answers.remove(&asked).unwrap().unwrap_err();
    assert_eq!(refused.code, FaultCode::TooLarge);
    driver.check();
}
