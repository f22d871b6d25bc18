//! The smaller examples.

use crate::watchdog::Watchdog;
use crate::{best_of_five, run};

#[test]
fn shared_list() {
    let _watchdog = Watchdog::new();
    let out = run("shared_list", &[]);
    let lines: Vec<&str> = out.lines().collect();
    let [before, child, after] = lines[..] else {
        panic!("{out}")
    };
    for name in ["李雷", "韩梅梅", "Grace", "Alan"] {
        assert!(child.contains(name) && after.contains(name), "{out}");
    }
    assert!(before.contains("李雷") && !before.contains("Grace"), "{out}");
    assert!(
        child.ends_with("plain = 99") && after.ends_with("plain = 0"),
        "a plain variable is not shared: {out}"
    );
}

#[test]
fn producer_consumer() {
    let _watchdog = Watchdog::new();
    let out = run("producer_consumer", &[]);
    let squares = format!("{:?}", (0..12_u32).map(|job| job * job).collect::<Vec<_>>());
    assert_eq!(
        out.lines().filter(|line| line.ends_with(&squares)).count(),
        2,
        "both ways do every job once: {out}"
    );
}

#[test]
fn bounded_queue() {
    let _watchdog = Watchdog::new();
    let out = run("bounded_queue", &[]);
    assert!(out.contains("size 2 of 2, full: true"), "{out}");
    assert!(out.contains("try_put:     full, here is \"third\" back"), "{out}");
    assert!(out.contains("put_timeout: \"third\" back after "), "{out}");
    assert!(out.contains("consumer: took \"first\""), "{out}");
    assert!(out.contains("left: \"second\", \"third\""), "{out}");
    assert!(out.contains("try_get:     empty"), "{out}");
}

#[test]
fn file_log() {
    let _watchdog = Watchdog::new();
    let out = run("file_log", &[]);
    assert_eq!(out.lines().last(), Some("50 of 50 lines are whole"), "{out}");
}

#[test]
fn lifo_stack() {
    let _watchdog = Watchdog::new();
    let out = run("lifo_stack", &[]);
    let words: Vec<String> = out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let wanted = [
        "from the stack: cup bowl plate",
        "with priority 1: put out the fire",
        "with priority 2: answer the telephone",
        "with priority 3: sweep",
    ];
    assert_eq!(words, wanted);
}

#[test]
fn threads_and_processes() {
    let _watchdog = Watchdog::new();
    let out = run("threads_and_processes", &[]);
    let lines: Vec<&str> = out.lines().collect();
    let [threads, processes] = lines[..] else {
        panic!("{out}")
    };
    for (line, who) in [(threads, "threads"), (processes, "processes")] {
        assert!(line.contains(who), "{out}");
        assert!(
            line.matches("1000").count() >= 3,
            "the three right ways count every round: {out}"
        );
    }
}

#[test]
fn connect() {
    let _watchdog = Watchdog::new();
    let out = run("connect", &[]);
    let last = out.lines().last().unwrap();
    assert!(
        last.starts_with("Ada: ") && last.contains('7') && last.contains("小明") && last.contains('5'),
        "{out}"
    );
}

/// As from terminals of their own: a server, and two programs that are told its address.
#[test]
fn connect_from_outside() {
    let _watchdog = Watchdog::new();
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("socket").display());
    let server = byproxy::Server::builder()
        .listen(address.parse().unwrap())
        .build()
        .unwrap();
    let handle = server.handle();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve());
        run("connect", &[&address, "Ada", "3"]);
        let out = run("connect", &[&address, "小明", "5"]);
        handle.stop();
        serving.join().unwrap().unwrap();
        assert!(
            out.contains("Ada") && out.contains('3') && out.contains("小明") && out.contains('5'),
            "{out}"
        );
    });
}

#[test]
fn shared_value() {
    let _watchdog = Watchdog::new();
    let seen = |out: &String| out.lines().filter(|line| line.contains("km/h")).count();
    // The train does not wait for anybody who looks at it.
    let out = best_of_five(|| run("shared_value", &[]), |out| seen(out) >= 2);
    assert!(seen(&out) >= 2, "{out}");
    assert!(out.contains("arrived at kilometre 10.0"), "{out}");
}

#[test]
fn shared_array() {
    let _watchdog = Watchdog::new();
    let out = run("shared_array", &[]);
    assert!(out.contains("the squares below 1000 add up to 332833500"), "{out}");
    let moved: i64 = 2 * (0..1000).map(|round| round % 7).sum::<i64>();
    let end = format!("the accounts hold [{}, {}]", 10_000 - moved, 10_000 + moved);
    assert!(out.contains(&end), "{out}");
}

#[test]
fn counter() {
    let _watchdog = Watchdog::new();
    let lost = |out: &String| {
        let line = out.lines().find(|line| line.starts_with("get, then set")).unwrap();
        let (_, lost) = line.rsplit_once(" of 800000, ").unwrap();
        lost.split_whitespace().next().unwrap().parse::<u32>().unwrap()
    };
    // About half, unless they had to take turns.
    let out = best_of_five(|| run("counter", &[]), |out| lost(out) > 0);
    assert!(lost(&out) > 0, "without a lock rounds are lost: {out}");
    let exact = out
        .lines()
        .filter(|line| line.contains("800000 of 800000,      0 lost"));
    assert!(exact.count() >= 3, "the three right ways count every round: {out}");
}
