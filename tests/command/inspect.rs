//! `byproxy ping`, `ls` and `show`: a look into a server.

use crate::served::{Served, byproxy};
use crate::watchdog::Watchdog;
use crate::{Ended, end, run};
use byproxy::Manager;
use std::fs::File;
use std::process::Stdio;

#[test]
fn ping_says_whether_it_answers() {
    let _watchdog = Watchdog::new();
    let server = Served::start();
    let Ended { code, out, err } = run(&["ping", server.address()]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with(&format!("{} answers in ", server.address())) && out.ends_with("s\n"),
        "{out}"
    );
}

#[test]
fn ls_lists_names_with_their_kinds() {
    let _watchdog = Watchdog::new();
    let server = Served::start();
    assert_eq!(run(&["ls", server.address()]).out, "");
    let manager = Manager::connect(server.address()).unwrap();
    manager.dict_named::<String, u64>("scores").unwrap();
    manager.queue_named::<u64>("任务", 0).unwrap();
    manager.list::<u64>().unwrap();
    let Ended { code, out, err } = run(&["ls", server.address()]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["dict   scores", "queue  任务"],
        "anonymous objects are nobody else's business"
    );
}

/// A name can't end the line, nor colour or clear the terminal of whoever lists it.
#[test]
fn ls_lists_one_name_a_line_whatever_is_in_it() {
    let _watchdog = Watchdog::new();
    let server = Served::start();
    let manager = Manager::connect(server.address()).unwrap();
    let name = "new\nline \u{1b}[31mred ß";
    manager.list_named::<u64>(name).unwrap().append(7).unwrap();
    assert_eq!(
        run(&["ls", server.address()]).out,
        "list  new\\nline \\u{1b}[31mred ß\n"
    );
    assert_eq!(run(&["show", server.address(), name]).out, "[7]\n");
}

#[test]
fn show_shortens_what_is_long() {
    let _watchdog = Watchdog::new();
    let server = Served::start();
    let manager = Manager::connect(server.address()).unwrap();
    manager.list_named::<u64>("long").unwrap().extend(0..100_000).unwrap();
    let Ended { code, out, err } = run(&["show", server.address(), "long"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("[0, 1, 2, ") && out.ends_with("…\n"));
    assert!((60_000..=(64 << 10) + 1).contains(&out.len()), "{}", out.len());
}

#[test]
fn show_prints_the_contents() {
    let _watchdog = Watchdog::new();
    let server = Served::start();
    let manager = Manager::connect(server.address()).unwrap();
    let scores = manager.dict_named::<String, u64>("scores").unwrap();
    scores.insert("Ada", 3).unwrap();
    scores.insert("小明", 5).unwrap();
    let Ended { code, out, err } = run(&["show", server.address(), "scores"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, format!("{scores}\n"));
    assert!(out.contains("Ada") && out.contains("小明"), "{out}");
}

#[test]
fn what_is_not_there_is_an_error_that_says_so() {
    let _watchdog = Watchdog::new();
    let mut server = Served::start();
    let address = server.address().to_owned();
    let Ended { code, out, err } = run(&["show", &address, "nothing"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with("byproxy: ") && err.contains("`nothing`") && err.contains(&format!("`byproxy ls {address}`")),
        "{err}"
    );

    server.kill();
    for arguments in [
        &["ping", &address][..],
        &["ls", &address],
        &["show", &address, "scores"],
        &["ping", "unix:/no/such.sock"],
    ] {
        let Ended { code, out, err } = run(arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(
            err.starts_with("byproxy: can't connect to unix:/") && err.contains("byproxy serve"),
            "what to do: {err}"
        );
    }
}

/// As in `byproxy show … | head`: the reader has seen enough.
#[test]
fn a_reader_that_left_is_no_problem_and_a_full_disk_is_one() {
    let _watchdog = Watchdog::new();
    let server = Served::start();
    let manager = Manager::connect(server.address()).unwrap();
    manager.list_named::<u64>("sold").unwrap();
    for arguments in [
        &["ping", server.address()][..],
        &["ls", server.address()],
        &["show", server.address(), "sold"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let Ended { code, err, .. } = end(byproxy().args(arguments).stdout(writer));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");

        let full = Stdio::from(File::create("/dev/full").unwrap());
        let Ended { code, err, .. } = end(byproxy().args(arguments).stdout(full));
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(err.starts_with("byproxy: ") && err.contains("No space left"), "{err}");
    }
}
