//! What a child is given, and what stops a start.

use std::collections::BTreeMap;
use std::env;
use std::io::Read;
use std::path::PathBuf;

use byproxy::Process;
use byproxy::process::{SpawnError, current};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::{Desk, visit};
use crate::watchdog::Watchdog;

fn report(desk: PathBuf, name: String, count: u32, list: Vec<i64>) {
    visit(&desk, &format!("{name} {count} {list:?}"));
}

#[test]
fn arguments_are_spread_over_the_parameters() {
    let _watchdog = Watchdog::new();
    let desk = Desk::new();
    let owned = (desk.path(), "Ann".to_owned(), 3_u32, vec![-1_i64, i64::MAX]);
    Process::spawn(report, owned).unwrap().join().unwrap();
    assert_eq!(desk.message(), "Ann 3 [-1, 9223372036854775807]");
}

#[test]
fn references_strings_and_literals_find_their_parameters() {
    let _watchdog = Watchdog::new();
    let desk = Desk::new();
    let list = vec![5];
    Process::spawn(report, (&desk.path(), "Bob", 4, &list))
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(desk.message(), "Bob 4 [5]");
    Process::spawn(report, (desk.path(), "Cid", 5, &list[..]))
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(desk.message(), "Cid 5 [5]");
    Process::spawn(report, (desk.path(), "Dan", 6, [7, 8]))
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(desk.message(), "Dan 6 [7, 8]");
    Process::spawn(report, (desk.path(), "Eva", 7, &[9; 3]))
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(desk.message(), "Eva 7 [9, 9, 9]");
}

#[test]
fn a_function_has_between_no_and_eight_parameters() {
    let _watchdog = Watchdog::new();
    let sum = |a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8| a + b + c + d + e + f + g + h;
    let all = Process::spawn(sum, (1, 2, 3, 4, 5, 6, 7, 8)).unwrap();
    assert_eq!(all.join().unwrap_err().exit_code(), Some(36));
    let none = Process::spawn(|| 9_u8, ()).unwrap();
    assert_eq!(none.join().unwrap_err().exit_code(), Some(9));
}

#[test]
fn functions_alike_are_not_confused() {
    fn size_of_it<T>() -> u8 {
        u8::try_from(size_of::<T>()).unwrap()
    }
    let _watchdog = Watchdog::new();
    let children = [
        (Process::spawn(size_of_it::<u16>, ()), 2),
        (Process::spawn(size_of_it::<u32>, ()), 4),
        (Process::spawn(size_of_it::<i32>, ()), 4),
        (Process::spawn(size_of_it::<u128>, ()), 16),
        (Process::spawn(|| 5_u8, ()), 5),
        (Process::spawn(|| 6_u8, ()), 6),
    ];
    for (child, code) in children {
        assert_eq!(child.unwrap().join().unwrap_err().exit_code(), Some(code));
    }
}

#[test]
fn values_of_many_kinds_arrive() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Seat {
        Window,
        Aisle { row: u8 },
    }
    fn check(map: BTreeMap<String, Vec<Seat>>, nothing: Option<u8>, something: Option<f64>, unit: ()) {
        assert_eq!(map["G101"], [Seat::Window, Seat::Aisle { row: 7 }]);
        assert_eq!((nothing, something, unit), (None, Some(2.5), ()));
    }
    let _watchdog = Watchdog::new();
    let map = BTreeMap::from([("G101".to_owned(), vec![Seat::Window, Seat::Aisle { row: 7 }])]);
    Process::spawn(check, (&map, None, Some(2.5), ()))
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn large_arguments_arrive_whole() {
    let _watchdog = Watchdog::new();
    let text = "0123456789abcdef".repeat(256 << 10);
    let check = |text: String| {
        assert_eq!(text.len(), 4 << 20);
        assert!(text.as_bytes().chunks(16).all(|chunk| chunk == b"0123456789abcdef"));
    };
    Process::spawn(check, (&text,)).unwrap().join().unwrap();
}

#[test]
fn standard_input_of_a_child_is_empty() {
    let _watchdog = Watchdog::new();
    let read = || {
        let mut input = Vec::new();
        std::io::stdin().read_to_end(&mut input).unwrap();
        u8::try_from(input.len()).unwrap()
    };
    Process::spawn(read, ()).unwrap().join().unwrap();
}

#[test]
fn a_child_knows_its_name_and_its_parent() {
    let _watchdog = Watchdog::new();
    let check = |parent: u32, name: String| {
        let this = current();
        assert_eq!(
            (this.name(), this.parent_pid(), this.daemon()),
            (name.as_str(), Some(parent), true)
        );
        assert_eq!(this.pid(), std::process::id());
        let last = env::args().next_back().unwrap();
        assert!(last.ends_with(name.as_str()), "the list of processes shows {last}");
    };
    let child = Process::builder()
        .name("clerk")
        .daemon(true)
        .spawn(check, (std::process::id(), "clerk"))
        .unwrap();
    assert_eq!((child.name(), child.daemon()), ("clerk", true));
    child.join().unwrap();
    assert_eq!(
        (current().name(), current().parent_pid(), current().daemon()),
        ("MainProcess", None, false)
    );
}

#[test]
fn a_name_may_be_any_text() {
    let _watchdog = Watchdog::new();
    for name in ["", "a\0b", "two\nlines", "günther", &"long".repeat(1000)] {
        let check = |name: String| assert_eq!(current().name(), name);
        Process::builder()
            .name(name)
            .spawn(check, (name,))
            .unwrap()
            .join()
            .unwrap();
    }
}

/// Goes wrong on the way, in the way its text says.
struct Fragile(&'static str);

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == "stay" {
            return Err(serde::ser::Error::custom("it wants to stay"));
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "refuse" => Err(D::Error::custom("it refuses")),
            text => panic!("{text} panics"),
        }
    }
}

#[test]
fn an_argument_that_cannot_travel_stops_the_start() {
    let _watchdog = Watchdog::new();
    let run = |_: Fragile| ();
    let error = Process::spawn(run, (Fragile("stay"),)).unwrap_err();
    assert!(
        matches!(&error, SpawnError::Encode(message) if message.contains("it wants to stay")),
        "{error}"
    );

    let builder = Process::builder().name("reader");
    let error = builder.spawn(run, (Fragile("refuse"),)).unwrap_err();
    assert!(
        matches!(&error, SpawnError::Refused { name, message } if name == "reader" && message.contains("it refuses")),
        "{error}"
    );
    let error = builder.spawn(run, (Fragile("loud"),)).unwrap_err();
    assert!(
        matches!(&error, SpawnError::Refused { message, .. } if message.contains("loud panics")),
        "{error}"
    );
}

#[test]
fn a_child_that_cannot_take_its_order_says_why() {
    let _watchdog = Watchdog::new();
    let error = Process::builder()
        .name("x".repeat(100_000))
        .spawn(|| (), ())
        .unwrap_err();
    assert!(
        matches!(&error, SpawnError::Refused { message, .. } if message.contains("larger than its limit")),
        "{}",
        error.to_string().trim_start_matches("process ").trim_start_matches('x')
    );
}
