//! A process killed between any two instructions of changing a value: it is the old one or the new one, and others go on.

use std::fmt::Debug;
use std::time::Duration;

use byproxy::shm::{Array, Element, Value};

use crate::support::{Sleeper, Survivor};
use crate::victim::{Came, Victim, stop};
use crate::watchdog::Watchdog;
use crate::way::{kill_everywhere, kill_points};

const LIMIT: Duration = Duration::from_mins(5);
const OLD: [u64; 2] = [1, 2];
const NEW: [u64; 2] = [11, 12];

/// Kills a process at every instruction of `change`, which makes OLD into NEW.
fn change_and_die<T: Element + PartialEq + Debug>(what: &str, old: T, new: T, change: impl Fn(&Value<T>, T)) {
    let _watchdog = Watchdog::with_limit(LIMIT);
    let value = Value::new(old).unwrap();
    let (mut before, mut after) = (0, 0);
    let prepare = || {
        value.set(old);
        // Once to begin with, so that what happens only once does not count.
        (Victim::new(|| change(&value, old), |()| change(&value, new)), ())
    };
    let survivors = kill_everywhere(what, prepare, |mut victim, ()| {
        let held = value.try_lock().is_none();
        let killed = victim.kill();
        // Read without the lock first.
        let seen = value.get();
        assert!(seen == old || seen == new, "torn: {seen:?}");
        let guard = value.lock();
        let survivor = Survivor::since(killed, held);
        assert_eq!(guard.abandoned(), held);
        assert_eq!(*guard, seen, "nobody changed it since");
        *(if seen == old { &mut before } else { &mut after }) += 1;
        drop(guard);
        value.modify(|value| *value = new);
        assert_eq!(value.get(), new);
        survivor
    });
    assert!(
        before > 20 && after > 20,
        "killed {before} times before the commit and {after} times after it"
    );
    survivors.judge(what).assert_some();
}

#[test]
fn killed_while_modifying_a_large_value() {
    change_and_die("a large value modified", OLD, NEW, |value, new| {
        value.modify(|value| *value = new);
    });
}

#[test]
fn killed_while_holding_a_large_values_guard() {
    change_and_die("a large value locked", OLD, NEW, |value, new| {
        let mut guard = value.lock();
        for (part, new) in guard.iter_mut().zip(new) {
            *part = new;
        }
    });
}

#[test]
fn killed_while_modifying_a_small_value() {
    change_and_die("a small value modified", 1_u32, 9, |value, new| {
        value.modify(|value| *value = new);
    });
}

#[test]
fn killed_while_holding_a_small_values_guard() {
    change_and_die("a small value locked", 1_u32, 9, |value, new| *value.lock() = new);
}

/// Kills a process at every instruction of giving a value's lock back while another sleeps on it. `change` makes OLD into NEW, and stops
/// while it holds the lock, or does not hold it yet.
fn give_back_and_die<T: Element + PartialEq + Debug>(what: &str, old: T, new: T, change: impl Fn(&Value<T>, T)) {
    let _watchdog = Watchdog::with_limit(LIMIT);
    let (value, other) = (Value::new(old).unwrap(), Value::new(0_u8).unwrap());
    let (mut told_so_far, mut before, mut after) = (true, 0, 0);
    let prepare = || {
        value.set(old);
        let victim = Victim::new(|| drop(other.lock()), |()| change(&value, new));
        victim.run();
        while value.try_lock().is_some() {
            assert_eq!(victim.step(1), Came::Between, "it never has the lock");
        }
        let sleepers_value = value.clone();
        let sleeper = Sleeper::start(move || {
            let guard = sleepers_value.lock();
            (guard.abandoned(), *guard)
        });
        (victim, sleeper)
    };
    let survivors = kill_everywhere(what, prepare, |mut victim, sleeper| {
        let killed = victim.kill();
        let (told, seen) = sleeper.wait();
        let survivor = Survivor::since(killed, told);
        assert!(told_so_far || !told, "it was given back before");
        told_so_far &= told;
        assert!(seen == new || (told && seen == old), "torn or lost: {seen:?}");
        *(if told { &mut before } else { &mut after }) += 1;
        drop(victim);
        assert!(!value.try_lock().unwrap().abandoned());
        survivor
    });
    assert!(
        before > 5 && after > 5,
        "killed {before} times before it was given back and {after} times after"
    );
    survivors.judge(what).assert_some();
}

#[test]
fn killed_while_modifying_a_value_a_sleeper_goes_on() {
    give_back_and_die("a small value modified beside a sleeper", 1_u32, 9, |value, new| {
        value.modify(|value| {
            stop();
            *value = new;
        });
    });
    give_back_and_die("a large value modified beside a sleeper", OLD, NEW, |value, new| {
        value.modify(|value| {
            stop();
            *value = new;
        });
    });
}

#[test]
fn killed_while_dropping_a_guard_a_sleeper_goes_on() {
    give_back_and_die(
        "a small value's guard dropped beside a sleeper",
        1_u32,
        9,
        |value, new| {
            let mut guard = value.lock();
            stop();
            *guard = new;
        },
    );
    give_back_and_die(
        "a large value's guard dropped beside a sleeper",
        OLD,
        NEW,
        |value, new| {
            let mut guard = value.lock();
            stop();
            *guard = new;
        },
    );
}

#[test]
fn killed_while_setting_a_value_a_sleeper_goes_on() {
    give_back_and_die("a large value set beside a sleeper", OLD, NEW, |value, new| {
        stop();
        value.set(new);
    });
}

#[test]
fn killed_while_adding_nothing_is_held() {
    let _watchdog = Watchdog::with_limit(LIMIT);
    let value = Value::new(0_u64).unwrap();
    let (mut before, mut after) = (0, 0);
    let victims = kill_points(|| {
        value.set(5);
        let victim = Victim::new(
            || value.fetch_add(0).unwrap(),
            |_| assert_eq!(value.fetch_add(7).unwrap(), 5),
        );
        (victim, ())
    });
    for (mut victim, ()) in victims {
        assert!(
            !value.try_lock().unwrap().abandoned(),
            "it is one instruction, which needs no lock"
        );
        victim.kill();
        match value.get() {
            5 => before += 1,
            12 => after += 1,
            torn => panic!("torn: {torn}"),
        }
        assert!(!value.try_lock().unwrap().abandoned());
    }
    println!("a small value added to: killed {before} times before it, {after} times after it");
    assert!(before > 20 && after > 20);
}

#[test]
fn killed_while_adding_to_a_large_value() {
    change_and_die("a large value added to", 5_u128, 12, |value, new| {
        value.fetch_add(new - 5).unwrap();
    });
}

#[test]
fn killed_while_adding_to_an_element() {
    const WHAT: &str = "an element added to";
    let _watchdog = Watchdog::with_limit(LIMIT);
    let array = Array::new(&[1_u32, 5]).unwrap();
    let prepare = || {
        array.set(1, 5).unwrap();
        let victim = Victim::new(
            || array.fetch_add(1, 0).unwrap(),
            |_| assert_eq!(array.fetch_add(1, 7).unwrap(), 5),
        );
        (victim, ())
    };
    let survivors = kill_everywhere(WHAT, prepare, |mut victim, ()| {
        let held = array.try_lock().is_none();
        let killed = victim.kill();
        let guard = array.lock();
        let survivor = Survivor::since(killed, held);
        assert_eq!(guard.abandoned(), held);
        let seen = guard.to_vec();
        assert!(seen == [1, 5] || seen == [1, 12], "torn: {seen:?}");
        survivor
    });
    survivors.judge(WHAT).assert_some();
}

#[test]
fn killed_while_adding_after_a_guard() {
    const WHAT: &str = "a small value added to after a wait";
    let _watchdog = Watchdog::with_limit(LIMIT);
    let (value, other) = (Value::new(0_u64).unwrap(), Value::new(0_u8).unwrap());
    let prepare = || {
        value.set(5);
        let guard = value.lock();
        let victim = Victim::new(|| drop(other.lock()), |()| assert_eq!(value.fetch_add(7).unwrap(), 5));
        // It found the lock taken, and waits.
        victim.run_to_sleep();
        drop(guard);
        victim.wait_for_wake();
        (victim, ())
    };
    let survivors = kill_everywhere(WHAT, prepare, |mut victim, ()| {
        let held = value.try_lock().is_none();
        let killed = victim.kill();
        let seen = value.get();
        assert!(seen == 5 || seen == 12, "torn: {seen}");
        let guard = value.lock();
        let survivor = Survivor::since(killed, held);
        assert_eq!((guard.abandoned(), *guard), (held, seen));
        survivor
    });
    survivors.judge(WHAT).assert_some();
}

#[test]
fn killed_while_setting_a_large_value() {
    change_and_die("a large value set", OLD, NEW, Value::set);
}

#[test]
fn killed_while_writing_an_array_each_element_is_old_or_new() {
    const WHAT: &str = "an array written";
    let _watchdog = Watchdog::with_limit(LIMIT);
    let array = Array::new(&[OLD, OLD]).unwrap();
    let prepare = || {
        array.copy_from_slice(&[OLD, OLD]).unwrap();
        let victim = Victim::new(
            || array.copy_from_slice(&[OLD, OLD]).unwrap(),
            |()| array.copy_from_slice(&[NEW, NEW]).unwrap(),
        );
        (victim, ())
    };
    let mut half = 0;
    let survivors = kill_everywhere(WHAT, prepare, |mut victim, ()| {
        let held = array.try_lock().is_none();
        let killed = victim.kill();
        let guard = array.lock();
        let survivor = Survivor::since(killed, held);
        assert_eq!(guard.abandoned(), held);
        let seen = guard.to_vec();
        assert!(
            seen.iter().all(|element| [OLD, NEW].contains(element)),
            "torn: {seen:?}"
        );
        half += usize::from(seen == [NEW, OLD]);
        assert_ne!(seen, [OLD, NEW], "they are written in order");
        survivor
    });
    assert!(
        half > 0,
        "no kill came between the two elements, of which the next holder is told"
    );
    survivors.judge(WHAT).assert_some();
}
