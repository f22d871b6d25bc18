//! Lists behave as Python's.

use super::*;
use Operation as Op;
use proptest::prelude::*;

fn list(items: &[i64]) -> (Driver, SessionId, u64) {
    let mut driver = Driver::new();
    let session = driver.session();
    let list = driver.list(session, &items);
    (driver, session, list)
}

#[test]
fn items_come_and_go_at_both_ends() {
    let (mut driver, session, list) = list(&[1, 2]);
    assert_eq!(driver.call(session, Op::ListAppend, list, &("three",)), Ok(Value::None));
    assert_eq!(
        driver.call(session, Op::ListExtend, list, &((4.5, Some(true)),)),
        Ok(Value::None)
    );
    assert_eq!(
        driver.call(session, Op::ListInsert, list, &(-100, [0])),
        Ok(Value::None)
    );
    assert_eq!(driver.call(session, Op::ListInsert, list, &(100, ())), Ok(Value::None));
    assert_eq!(driver.items(session, list), value(([0], 1, 2, "three", 4.5, true, ())));
    assert_eq!(driver.call(session, Op::ListLen, list, &NOTHING), Ok(value(7)));
    let pop = driver.call(session, Op::ListPop, list, &NOTHING);
    assert_eq!(
        pop,
        Ok(Value::Some(Box::new(Value::None))),
        "a popped None is not an absent item"
    );
    assert_eq!(driver.call(session, Op::ListPopAt, list, &(0,)), Ok(value([0])));
    assert_eq!(driver.call(session, Op::ListPopAt, list, &(-2,)), Ok(value(4.5)));
    assert_eq!(driver.call(session, Op::ListClear, list, &NOTHING), Ok(Value::None));
    assert_eq!(driver.call(session, Op::ListPop, list, &NOTHING), Ok(Value::None));
    driver.check();
}

#[test]
fn indices_count_from_either_end_and_must_be_inside() {
    let (mut driver, session, list) = list(&[10, 20, 30]);
    for (index, item) in [(0, 10), (2, 30), (-1, 30), (-3, 10)] {
        assert_eq!(driver.call(session, Op::ListGet, list, &(index,)), Ok(value(item)));
    }
    for index in [3, -4, i64::MAX, i64::MIN] {
        assert_eq!(
            driver.fault(session, Op::ListGet, list, &(index,)),
            FaultCode::IndexOutOfRange
        );
        assert_eq!(
            driver.fault(session, Op::ListSet, list, &(index, 0)),
            FaultCode::IndexOutOfRange
        );
        assert_eq!(
            driver.fault(session, Op::ListDelete, list, &(index,)),
            FaultCode::IndexOutOfRange
        );
        assert_eq!(
            driver.fault(session, Op::ListPopAt, list, &(index,)),
            FaultCode::IndexOutOfRange
        );
    }
    driver.call(session, Op::ListSet, list, &(-1, 33)).unwrap();
    driver.call(session, Op::ListDelete, list, &(-2,)).unwrap();
    assert_eq!(driver.items(session, list), value([10, 33]));
    driver.check();
}

#[test]
fn equal_items_are_found_whatever_the_order_of_their_dicts() {
    let (mut driver, session, list) = list(&[]);
    let one = value(BTreeMap::from([("a", 1), ("b", 2)]));
    let other = Value::Dict(vec![(value("b"), value(2)), (value("a"), value(1))]);
    driver
        .call(session, Op::ListExtend, list, &((0, &one, &one, f64::NAN, -0.0),))
        .unwrap();
    assert_eq!(driver.call(session, Op::ListCount, list, &(&other,)), Ok(value(2)));
    assert_eq!(
        driver.call(session, Op::ListIndex, list, &(&other, 0, ())),
        Ok(value(1))
    );
    assert_eq!(
        driver.call(session, Op::ListIndex, list, &(&other, 2, ())),
        Ok(value(2))
    );
    assert_eq!(
        driver.call(session, Op::ListIndex, list, &(&other, 0, 1)),
        Ok(Value::None)
    );
    assert_eq!(
        driver.call(session, Op::ListContains, list, &(f64::NAN,)),
        Ok(value(true))
    );
    assert_eq!(driver.call(session, Op::ListContains, list, &(0.0,)), Ok(value(true)));
    assert_eq!(
        driver.call(session, Op::ListContains, list, &(false,)),
        Ok(value(false))
    );
    assert_eq!(driver.call(session, Op::ListRemove, list, &(&other,)), Ok(value(true)));
    assert_eq!(driver.call(session, Op::ListCount, list, &(&one,)), Ok(value(1)));
    assert_eq!(driver.call(session, Op::ListRemove, list, &(99,)), Ok(value(false)));
    driver.check();
}

#[test]
fn sorting_is_stable_in_both_directions() {
    let (mut driver, session, list) = list(&[]);
    // Equal floats with different bytes show whether their order is kept.
    driver
        .call(session, Op::ListExtend, list, &((0.0, 2, -0.0, 1, 0.0),))
        .unwrap();
    driver.call(session, Op::ListSort, list, &(true,)).unwrap();
    assert_eq!(
        driver.items(session, list).to_string(),
        value((2, 1, 0.0, -0.0, 0.0)).to_string()
    );
    driver.call(session, Op::ListSort, list, &(false,)).unwrap();
    assert_eq!(
        driver.items(session, list).to_string(),
        value((0.0, -0.0, 0.0, 1, 2)).to_string()
    );
    driver.call(session, Op::ListReverse, list, &NOTHING).unwrap();
    assert_eq!(
        driver.items(session, list).to_string(),
        value((2, 1, 0.0, -0.0, 0.0)).to_string()
    );
    driver.check();
}

#[test]
fn arithmetic_stays_in_its_bounds() {
    let (mut driver, session, list) = list(&[250, -1]);
    let add = |driver: &mut Driver, index: i64, delta: i128| {
        driver.call(session, Op::ListFetchAdd, list, &(index, delta, 0_i128, 255_i128))
    };
    assert_eq!(add(&mut driver, 0, 5), Ok(value(250)));
    assert_eq!(add(&mut driver, 0, 1).unwrap_err().code, FaultCode::Overflow);
    assert_eq!(add(&mut driver, 0, i128::MAX).unwrap_err().code, FaultCode::Overflow);
    assert_eq!(add(&mut driver, -1, 1), Ok(value(-1)));
    assert_eq!(driver.items(session, list), value([255, 0]));
    driver.call(session, Op::ListSet, list, &(0, "x")).unwrap();
    assert_eq!(add(&mut driver, 0, 1).unwrap_err().code, FaultCode::WrongType);
    driver.check();
}

#[test]
fn compare_and_set_compares_bytes() {
    let (mut driver, session, list) = list(&[1]);
    assert_eq!(
        driver.call(session, Op::ListCompareAndSet, list, &(0, 2, 3)),
        Ok(value(false))
    );
    assert_eq!(
        driver.call(session, Op::ListCompareAndSet, list, &(0, 1.0, 3)),
        Ok(value(false))
    );
    assert_eq!(
        driver.call(session, Op::ListCompareAndSet, list, &(0, 1, "x")),
        Ok(value(true))
    );
    assert_eq!(driver.items(session, list), value(["x"]));
    driver.check();
}

#[test]
fn a_snapshot_is_replaced_only_while_nothing_changed() {
    let (mut driver, session, list) = list(&[1, 2]);
    let version = |driver: &mut Driver| {
        let snapshot = driver.call(session, Op::ListSnapshot, list, &NOTHING).unwrap();
        let Value::List(parts) = snapshot else {
            panic!("{snapshot}")
        };
        (parts[0].to::<u64>().unwrap(), parts[1].clone())
    };
    let (old, items) = version(&mut driver);
    assert_eq!(items, value([1, 2]));
    driver.call(session, Op::ListAppend, list, &(3,)).unwrap();
    assert_eq!(
        driver.call(session, Op::ListReplace, list, &(old, [9])),
        Ok(value(false))
    );
    let (new, _) = version(&mut driver);
    assert!(new > old);
    assert_eq!(
        driver.call(session, Op::ListReplace, list, &(new, [9])),
        Ok(value(true))
    );
    assert_eq!(driver.items(session, list), value([9]));
    driver.check();
}

#[test]
fn a_chunk_carries_what_fits_and_at_least_one_item() {
    let settings = Settings {
        chunk_bytes: 20,
        ..Settings::default()
    };
    let mut driver = Driver::with(settings);
    let session = driver.session();
    let list = driver.list(session, &["x".repeat(50).as_str(), "a", "b", "c", "d", "e", "f", "g"]);
    let chunk = |driver: &mut Driver, start: u64, items_max: u64| {
        driver.call(session, Op::ListChunk, list, &(start, items_max)).unwrap()
    };
    assert_eq!(chunk(&mut driver, 0, 10), value(["x".repeat(50)]));
    assert_eq!(chunk(&mut driver, 1, 100), value(["a", "b", "c", "d", "e", "f"]));
    assert_eq!(chunk(&mut driver, 1, 2), value(["a", "b"]));
    assert_eq!(chunk(&mut driver, 8, 10), value(NOTHING));
    assert_eq!(chunk(&mut driver, u64::MAX, 10), value(NOTHING));
}

#[test]
fn a_reply_over_the_limit_is_refused_before_anything_changes() {
    let settings = Settings {
        reply_bytes_max: 200,
        ..Settings::default()
    };
    let mut driver = Driver::with(settings);
    let session = driver.session();
    let list = driver.list(session, &["x".repeat(150), "y".repeat(150)]);
    assert_eq!(
        driver.fault(session, Op::ListSlice, list, &(0, ())),
        FaultCode::TooLarge
    );
    driver.call(session, Op::ListAppend, list, &("z".repeat(300),)).unwrap();
    assert_eq!(driver.fault(session, Op::ListPop, list, &NOTHING), FaultCode::TooLarge);
    assert_eq!(driver.fault(session, Op::ListPopAt, list, &(2,)), FaultCode::TooLarge);
    assert_eq!(driver.fault(session, Op::ListGet, list, &(2,)), FaultCode::TooLarge);
    assert_eq!(driver.call(session, Op::ListLen, list, &NOTHING), Ok(value(3)));
    assert_eq!(
        driver.call(session, Op::ListPopAt, list, &(1,)),
        Ok(value("y".repeat(150)))
    );
    driver.check();
}

#[derive(Clone, Debug)]
enum Step {
    Append(i64),
    Extend(Vec<i64>),
    Insert(i64, i64),
    PopAt(i64),
    Slice(i64, Option<i64>),
    SetSlice(i64, Option<i64>, Vec<i64>),
    DeleteSlice(i64, Option<i64>),
    Repeat(i64),
    Remove(i64),
    Sort(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = -12..12_i64;
    let item = 0..6_i64;
    let end = proptest::option::of(-12..12_i64);
    let items = proptest::collection::vec(0..6_i64, 0..5);
    let step = prop_oneof![
        item.clone().prop_map(Step::Append),
        items.clone().prop_map(Step::Extend),
        (index.clone(), item.clone()).prop_map(|(index, item)| Step::Insert(index, item)),
        index.clone().prop_map(Step::PopAt),
        (index.clone(), end.clone()).prop_map(|(start, stop)| Step::Slice(start, stop)),
        (index.clone(), end.clone(), items).prop_map(|(start, stop, items)| Step::SetSlice(start, stop, items)),
        (index, end).prop_map(|(start, stop)| Step::DeleteSlice(start, stop)),
        (-1..3_i64).prop_map(Step::Repeat),
        item.prop_map(Step::Remove),
        any::<bool>().prop_map(Step::Sort),
    ];
    proptest::collection::vec(step, 0..40)
}

/// Python's rule for one end of a slice, as its documentation words it.
fn end_of_slice(end: i64, len: usize) -> usize {
    let len = i64::try_from(len).unwrap();
    let end = if end < 0 { end + len } else { end };
    usize::try_from(end.clamp(0, len)).unwrap()
}

fn model_step(model: &mut Vec<i64>, next: &Step) -> Option<Value> {
    let slice = |start: i64, stop: Option<i64>, len: usize| {
        let start = end_of_slice(start, len);
        start..stop.map_or(len, |stop| end_of_slice(stop, len)).max(start)
    };
    match next.clone() {
        Step::Append(item) => model.push(item),
        Step::Extend(items) => model.extend(items),
        Step::Insert(index, item) => model.insert(end_of_slice(index, model.len()), item),
        Step::PopAt(index) => {
            let from_front = if index < 0 {
                index + i64::try_from(model.len()).unwrap()
            } else {
                index
            };
            let index = usize::try_from(from_front).ok().filter(|&index| index < model.len())?;
            return Some(value(model.remove(index)));
        }
        Step::Slice(start, stop) => return Some(value(&model[slice(start, stop, model.len())])),
        Step::SetSlice(start, stop, items) => {
            model.splice(slice(start, stop, model.len()), items);
        }
        Step::DeleteSlice(start, stop) => {
            model.drain(slice(start, stop, model.len()));
        }
        Step::Repeat(times) => *model = model.repeat(usize::try_from(times).unwrap_or(0)),
        Step::Remove(item) => {
            let found = model.iter().position(|&held| held == item);
            found.map(|index| model.remove(index));
            return Some(value(found.is_some()));
        }
        Step::Sort(descending) => {
            model.sort_unstable();
            if descending {
                model.reverse();
            }
        }
    }
    Some(Value::None)
}

proptest! {
    /// The same steps on Python's rules, with everything short and with everything beyond two elements a job.
    #[test]
    fn behaves_as_python(steps in steps(), small_steps in prop_oneof![Just(2_usize), Just(4096)]) {
        let mut driver = Driver::with_steps(small_steps);
        let session = driver.session();
        let list = driver.list(session, &NOTHING);
        let mut model = Vec::new();
        for step in &steps {
            if model.len() > 200 {
                break;
            }
            let expected = model_step(&mut model, step);
            let answer = match step {
                Step::Append(item) => driver.call(session, Op::ListAppend, list, &(item,)),
                Step::Extend(items) => driver.call(session, Op::ListExtend, list, &(items,)),
                Step::Insert(index, item) => driver.call(session, Op::ListInsert, list, &(index, item)),
                Step::PopAt(index) => driver.call(session, Op::ListPopAt, list, &(index,)),
                Step::Slice(start, stop) => driver.call(session, Op::ListSlice, list, &(start, stop)),
                Step::SetSlice(start, stop, items) => driver.call(session, Op::ListSetSlice, list, &(start, stop, items)),
                Step::DeleteSlice(start, stop) => driver.call(session, Op::ListDeleteSlice, list, &(start, stop)),
                Step::Repeat(times) => driver.call(session, Op::ListRepeat, list, &(times,)),
                Step::Remove(item) => driver.call(session, Op::ListRemove, list, &(item,)),
                Step::Sort(descending) => driver.call(session, Op::ListSort, list, &(descending,)),
            };
            prop_assert_eq!(answer.ok(), expected);
            prop_assert_eq!(driver.items(session, list), value(&model));
        }
        driver.check();
        driver.end(session);
        driver.check();
        prop_assert_eq!(driver.engine.stats().bytes, 0);
    }
}
