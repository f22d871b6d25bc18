//! What values and arrays do within one process.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use byproxy::Error;
use byproxy::shm::{Array, Number, RawArray, RawValue, Value};

use crate::watchdog::Watchdog;

byproxy::shm_struct! {
    #[derive(Debug, PartialEq)]
    pub(crate) struct Train {
        pub(crate) kilometre: f64,
        pub(crate) number: u32,
        pub(crate) running: bool,
        pub(crate) letter: [u8; 3],
    }
}

const TRAIN: Train = Train {
    kilometre: 12.5,
    number: 101,
    running: true,
    letter: *b"G  ",
};

#[test]
fn a_value_is_what_was_set() {
    let small = Value::new(-1_i8).unwrap();
    small.set(7);
    assert_eq!(small.get(), 7);
    let large = Value::new(TRAIN).unwrap();
    large.set(Train { number: 7, ..TRAIN });
    assert_eq!(large.get().number, 7);
    assert_eq!(format!("{small:?}"), "Value(7)");
    let flag = RawValue::new('x').unwrap();
    flag.set('ß');
    assert_eq!(flag.clone().get(), 'ß');
}

#[test]
fn slices_are_those_of_python() {
    let (array, raw) = (
        Array::new(&[1_u8, 2, 3, 4]).unwrap(),
        RawArray::new(&[1_u8, 2, 3, 4]).unwrap(),
    );
    for range in [1..3, -3..-1, 2..100, -100..1, 3..3, 100..200] {
        let all = [1, 2, 3, 4];
        let cut = |index: i64| {
            let from_start = if index < 0 { index + 4 } else { index };
            usize::try_from(from_start.clamp(0, 4)).unwrap()
        };
        let wanted = all.get(cut(range.start)..cut(range.end)).unwrap_or_default();
        assert_eq!(array.slice(range.clone()), wanted, "{range:?}");
        assert_eq!(array.lock().slice(range.clone()), wanted, "{range:?}");
        assert_eq!(raw.slice(range.clone()), wanted, "{range:?}");
    }
    array.set_slice(-2.., &[7, 8]).unwrap();
    raw.set_slice(..=1, &[7, 8]).unwrap();
    array.set_slice(9.., &[]).unwrap();
    assert_eq!((array.to_vec(), raw.to_vec()), (vec![1, 2, 7, 8], vec![7, 8, 3, 4]));
    assert!(matches!(array.set_slice(1..3, &[0; 3]), Err(Error::Misuse(_))));
    assert!(matches!(raw.set_slice(1..3, &[0]), Err(Error::Misuse(_))));
    assert_eq!(array.to_vec(), [1, 2, 7, 8]);
}

#[test]
fn all_ways_of_adding_add_up() {
    let _watchdog = Watchdog::new();
    let small = Value::new(0_u32).unwrap();
    let large = Value::new(0_u128).unwrap();
    let array = Array::filled(0_i64, 3).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    small.fetch_add(1).unwrap();
                    small.modify(|value| *value += 1);
                    *small.lock() += 1;
                    large.fetch_add(1).unwrap();
                    *large.lock() += 1;
                    array.fetch_add(-1, 2).unwrap();
                    array.modify(2, |element| *element += 1).unwrap();
                    array.fetch_sub(0, 1).unwrap();
                }
            });
        }
    });
    assert_eq!((small.get(), large.get()), (12_000, 8_000));
    assert_eq!(array.to_vec(), [-4_000, 0, 12_000]);
}

#[test]
fn adding_waits_for_a_guard() {
    fn add<T: Number + PartialEq + Debug>(first: T, delta: T, set: T, sum: T) {
        let value = Value::new(first).unwrap();
        let mut guard = value.lock();
        thread::scope(|scope| {
            let adder = scope.spawn(|| value.fetch_add(delta).unwrap());
            thread::sleep(Duration::from_millis(20));
            assert!(!adder.is_finished() && value.get() == first);
            *guard = set;
            drop(guard);
            assert_eq!(adder.join().unwrap(), set);
        });
        assert_eq!(value.fetch_sub(delta).unwrap(), sum);
        assert_eq!((value.get(), value.try_lock().unwrap().abandoned()), (set, false));
    }

    let _watchdog = Watchdog::new();
    add(1_u8, 200, 55, 255);
    add(-1_i16, -300, 7, -293);
    add(1_u32, 2, u32::MAX - 2, u32::MAX);
    add(i64::MIN, i64::MAX, i64::MIN, -1);
    add(1.5_f32, 2.0, 8.0, 10.0);
    add(1.5_f64, 2.0, 8.0, 10.0);
    add(1_u128, 2, 8, 10);
}

#[test]
fn a_number_does_not_leave_its_bounds() {
    let value = Value::new(250_u8).unwrap();
    assert!(matches!(value.fetch_add(6), Err(Error::Overflow(_))));
    assert_eq!(value.fetch_sub(250).unwrap(), 250);
    assert!(matches!(value.fetch_sub(1), Err(Error::Overflow(_))));
    assert_eq!(value.get(), 0);
    assert!(value.try_lock().is_some(), "a failure frees the lock");
}

#[test]
fn a_guard_commits_at_its_end() {
    let value = Value::new([1_u64, 2, 3]).unwrap();
    let mut guard = value.lock();
    guard[0] = 10;
    assert_eq!(value.get(), [1, 2, 3]);
    assert!(value.try_lock().is_none());
    assert!(value.lock_timeout(Duration::from_millis(5)).is_none());
    drop(guard);
    assert_eq!(value.get(), [10, 2, 3]);
    let mut guard = value.lock();
    guard[0] = 20;
    guard.discard();
    assert_eq!(value.get(), [10, 2, 3]);
    assert!(!value.try_lock().unwrap().abandoned());
}

#[test]
fn a_panic_changes_nothing() {
    let value = Value::new(5).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        value.modify(|value| {
            *value = 6;
            panic!("on purpose");
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(value.get(), 5);
    assert!(value.try_lock().is_some());
}

#[test]
fn a_set_during_a_guard_comes_after_it() {
    let value = Value::new(1).unwrap();
    let mut guard = value.lock();
    *guard += 1;
    value.set(100);
    drop(guard);
    assert_eq!(value.get(), 100);
}

#[test]
fn readers_never_see_half_a_value() {
    let _watchdog = Watchdog::new();
    let value = Value::new([0_u64; 8]).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 1..=100_000 {
                value.set([number; 8]);
            }
        });
        let mut last = 0;
        while !writer.is_finished() {
            let seen = value.get();
            assert!(seen.iter().all(|part| *part == seen[0]), "{seen:?}");
            assert!(seen[0] >= last, "time goes forward");
            last = seen[0];
        }
    });
    assert_eq!(value.get(), [100_000; 8]);
}

#[test]
fn an_array_has_ends_and_no_more() {
    let array = Array::new(&[1_u16, 2, 3]).unwrap();
    assert_eq!((array.len(), array.is_empty()), (3, false));
    assert_eq!(
        (array.get(0).unwrap(), array.get(-1).unwrap(), array.get(-3).unwrap()),
        (1, 3, 1)
    );
    for outside in [3, -4, i64::MAX, i64::MIN] {
        assert!(matches!(array.get(outside), Err(Error::IndexOutOfRange(_))));
        assert!(matches!(array.set(outside, 1), Err(Error::IndexOutOfRange(_))));
        assert!(matches!(array.modify(outside, |_| ()), Err(Error::IndexOutOfRange(_))));
        assert!(matches!(array.lock().set(outside, 1), Err(Error::IndexOutOfRange(_))));
    }
    assert!(matches!(array.copy_from_slice(&[1]), Err(Error::Misuse(_))));
    array.copy_from_slice(&[7, 8, 9]).unwrap();
    array.set(1, 80).unwrap();
    assert_eq!(array.to_vec(), [7, 80, 9]);
    let empty = Array::<u8>::new(&[]).unwrap();
    assert!(empty.is_empty() && empty.get(0).is_err() && empty.lock().is_empty());
    let empty = RawArray::<u8>::new(&[]).unwrap();
    assert!(empty.is_empty() && empty.get(0).is_err() && empty.to_vec().is_empty());
    assert_eq!(format!("{array:?}"), "Array([7, 80, 9])");
}

#[test]
fn an_array_of_large_elements_keeps_them_apart() {
    let array = Array::filled(TRAIN, 100).unwrap();
    for (index, number) in (0..100).zip(0..) {
        array.set(index, Train { number, ..TRAIN }).unwrap();
    }
    let numbers: Vec<u32> = array.lock().to_vec().iter().map(|train| train.number).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    let guard = array.try_lock().unwrap();
    guard.set(-1, TRAIN).unwrap();
    assert_eq!(
        (guard.get(99).unwrap(), guard.len(), guard.abandoned()),
        (TRAIN, 100, false)
    );
    assert!(array.lock_timeout(Duration::from_millis(1)).is_none());
}

#[test]
fn a_raw_array_is_its_elements() {
    let array = RawArray::new(&[1.5_f32; 1000]).unwrap();
    array.set(-1, -2.0).unwrap();
    assert_eq!(
        (array.get(999).unwrap(), array.len(), array.is_empty()),
        (-2.0, 1000, false)
    );
    assert!(array.get(1000).is_err() && array.set(-1001, 0.0).is_err());
    assert_eq!(array.clone().to_vec()[..999], [1.5; 999]);
}

#[test]
fn too_much_memory_is_an_error() {
    let too_much = Array::filled(0_u64, usize::MAX / 8);
    assert!(matches!(too_much, Err(Error::Io { .. })));
    assert!(Array::filled([0_u64; 2], usize::MAX / 2).is_err());
}
