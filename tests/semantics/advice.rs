//! Whoever makes a mistake is told what to do about it.

use crate::support::{check, embedded, on_threads, unix, until_waiting};
use byproxy::{ListProxy, Manager, Process, QueueProxy, Value, shm};
use std::fmt::Display;
use std::io::Write as _;
use std::os::unix::net::UnixListener;

/// The largest value, in bytes.
const VALUE_BYTES_MAX: usize = 64 << 20;
/// The largest arguments that a server takes: what stands around them has to have room in a frame.
const ARGUMENTS_BYTES_MAX: usize = VALUE_BYTES_MAX - (2 << 10);

/// A mistake, what it was answered, and the words that tell what to do.
type Row = (&'static str, String, &'static str);

fn row<T>(mistake: &'static str, outcome: Result<T, impl Display>, advice: &'static str) -> Row {
    let message = outcome.err().map_or_else(String::new, |error| error.to_string());
    (mistake, message, advice)
}

fn all_are_advised(rows: &[Row]) {
    let unadvised: Vec<_> = rows
        .iter()
        .filter(|(_, message, advice)| !message.contains(advice))
        .collect();
    assert!(unadvised.is_empty(), "{unadvised:#?}");
}

on_every_backend! {
    fn a_wrong_argument_is_answered_with_advice(manager) {
        let list = manager.list_from::<u8>([1, 255, 3])?;
        let dict = manager.dict_from::<String, u8>([("full", 255)])?;
        let names = manager.list_from::<String>(["Ada"])?;
        let values = manager.list::<Value>()?;
        let queue = manager.queue::<u8>(0)?;
        let lock = manager.lock()?;
        manager.dict_named::<String, u8>("seats")?;
        let deep = (0..64).fold(Value::from(1), |inner, _| Value::List(vec![inner]));
        all_are_advised(&[
            row("an index behind the end", list.get(3), "use 0 to 2, or -1 to -3"),
            row("an index before the front", list.set(-4, 1), "use 0 to 2, or -1 to -3"),
            row("any index of an empty list", values.pop_at(0), "append an item first"),
            row("a key that modify needs", dict.modify("none", |_| ()), "insert it first, or use setdefault"),
            row("a key that fetch_add needs", dict.fetch_add("none", 1), "use fetch_add_from"),
            row("a sum that is too large for a dict", dict.fetch_add("full", 1), "use a larger type"),
            row("a sum that is too large for a list", list.fetch_add(1, 1), "use a larger type"),
            row("a value of another type", names.cast::<u32>().get(0), "returned() gives it back, cast()"),
            row("a value that is too deep", values.append(&deep), "make it flatter"),
            row("a free lock released", lock.release(), "acquire it first"),
            row("one task_done too many", queue.task_done(), "call it once for each"),
            row("the name of another kind", manager.list_named::<u8>("seats"), "choose another name"),
            row("a name that is not there", manager.show("none"), "names() lists"),
        ]);
        assert!(manager.remove("seats")?);
    }
}

/// On one backend: it takes long to write so much.
#[test]
fn what_is_too_large_is_answered_with_advice() {
    check(unix, |manager| {
        let names = manager.list::<String>()?;
        let big = "x".repeat(VALUE_BYTES_MAX + 1);
        // It can be stored, with about twenty bytes for each proxy, and not be handed out again, with up to ten more for its reference.
        let crowded = manager.list::<(String, Vec<ListProxy<u8>>)>()?;
        let crowd = (
            big[..ARGUMENTS_BYTES_MAX - 2_600].to_owned(),
            vec![manager.list()?; 100],
        );
        all_are_advised(&[
            row("a value", names.append(&*big), "split it"),
            row("arguments", names.append(&big[..VALUE_BYTES_MAX - 1_000]), "split it"),
            row(
                "a value and its proxies",
                crowded.append(crowd),
                "proxies is over the limit of 67106816; split it",
            ),
        ]);
        Ok(())
    });
}

#[test]
fn a_wrong_way_to_a_server_is_answered_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let address = |name: &str| format!("unix:{}", folder.path().join(name).display());
    std::fs::write(folder.path().join("file"), "not a socket").unwrap();
    drop(UnixListener::bind(folder.path().join("dead")).unwrap());
    let stranger = UnixListener::bind(folder.path().join("stranger")).unwrap();
    let strangers = std::thread::spawn(move || {
        let (mut stream, _) = stranger.accept().unwrap();
        stream.write_all(b"-ERR unknown command\r\n").unwrap();
        stream
    });
    let start = "start one with `byproxy serve --listen unix:/";
    let rows = [
        row("no scheme", Manager::connect("/run/app.sock"), "write `unix:PATH`"),
        row("no path", Manager::connect("unix:"), "such as unix:/run/app.sock"),
        row(
            "a long path",
            Manager::connect(address(&"x".repeat(200))),
            "choose a shorter one",
        ),
        row("no socket", Manager::connect(address("nobody")), start),
        row(
            "a socket that nobody listens on",
            Manager::connect(address("dead")),
            start,
        ),
        row(
            "a file",
            Manager::connect(address("file")),
            "give the path that a server listens on",
        ),
        row(
            "another server",
            Manager::connect(address("stranger")),
            "give the address of a byproxy server",
        ),
    ];
    drop(strangers.join().unwrap());
    all_are_advised(&rows);
    for (mistake, message, advice) in rows {
        assert_eq!(message.contains(start), advice == start, "{mistake}: {message}");
    }
}

#[test]
fn who_waits_for_a_server_that_ends_is_told_to_connect_again() {
    let fixture = unix();
    let manager = &fixture.manager;
    let (empty, owed) = (manager.queue::<u8>(0).unwrap(), manager.queue::<u8>(0).unwrap());
    owed.put(1).unwrap();
    owed.get().unwrap();
    let rows = on_threads(3, |index| match index {
        0 => row("a join", owed.join(), "connect again or make a new manager"),
        1 => row("a get", empty.get(), "connect again or make a new manager"),
        _ => {
            until_waiting(manager, 2);
            row(
                "a ping",
                manager.shutdown().and_then(|()| manager.ping()),
                "connect again or make a new manager",
            )
        }
    });
    all_are_advised(&rows);
    let unknown = byproxy::Error::OutcomeUnknown {
        operation: "queue.put",
        reason: "the connection was lost".to_owned(),
    };
    let advice = "look at the object before you repeat it";
    all_are_advised(&[row("a lost put", Err::<(), _>(unknown), advice)]);
}

#[test]
fn a_full_server_and_a_wrong_index_of_an_array_are_answered_with_advice() {
    let small = Manager::builder().memory_bytes_max(4096).embedded().unwrap();
    let list = small.list::<String>().unwrap();
    let array = shm::Array::new(&[250u8, 2]).unwrap();
    all_are_advised(&[
        row(
            "a full server",
            list.append("x".repeat(8192)),
            "a higher memory_bytes_max",
        ),
        row("an index of an array", array.get(2), "use 0 to 1, or -1 to -2"),
        row("a sum of an array", array.fetch_add(0, 9), "use a larger type"),
    ]);
    assert!(
        embedded()
            .manager
            .list::<String>()
            .unwrap()
            .append("x".repeat(8192))
            .is_ok()
    );
}

fn take_and_leave(queue: QueueProxy<u8>) -> byproxy::Result<()> {
    queue.get()?;
    Ok(())
}

#[test]
fn whoever_joins_a_queue_whose_consumer_died_is_told_what_is_left_to_do() {
    let fixture = unix();
    let queue = fixture.manager.queue::<u8>(0).unwrap();
    queue.put(1).unwrap();
    Process::spawn(take_and_leave, (&queue,)).unwrap().join().unwrap();
    all_are_advised(&[row(
        "a consumer that died",
        queue.join(),
        "call task_done for each of them",
    )]);
}
