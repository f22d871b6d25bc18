//! A program in another language, written from the protocol's specification alone, shares objects with one in Rust.

use byproxy::{DictProxy, ListProxy, Manager, QueueProxy, Value};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");
const CONVERSATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/conversation.py");

/// A server process, ended with this.
struct Server(Child);

impl Server {
    fn start(path: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_byproxy"));
        let mut child = command
            .args(["serve", "--listen"])
            .arg(format!("unix:{}", path.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, format!("listening on unix:{}\n", path.display()));
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_python_program_shares_dicts_lists_and_queues() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "python3 is missing");
        // Written past the capture of test output, so that it is seen.
        writeln!(std::io::stderr(), "SKIPPED: python3 is not installed").unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("server.sock");
    let _server = Server::start(&path);
    let manager = Manager::connect(format!("unix:{}", path.display())).unwrap();
    let scores: DictProxy<String, i128> = manager.dict_named("scores").unwrap();
    scores.insert("Ada", 3).unwrap();
    let mixed: DictProxy<String, Option<Value>> = manager.dict_named("mixed").unwrap();
    mixed.insert("nothing", None).unwrap();
    let names: ListProxy<String> = manager.list_named("names").unwrap();
    names.extend(["one", "two"]).unwrap();
    let outer: DictProxy<String, ListProxy<i64>> = manager.dict_named("outer").unwrap();
    let work: QueueProxy<Value> = manager.queue_named("work", 0).unwrap();

    let output = Command::new("python3")
        .arg("-B")
        .arg(CONVERSATION)
        .arg(&path)
        .output()
        .unwrap();
    let (said, wrong) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success() && said == "all said\n", "{said}{wrong}");

    assert_eq!(
        scores.items().unwrap(),
        [("Ada".to_owned(), -4), ("小明".to_owned(), 1 << 100)]
    );
    assert_eq!(names.to_vec().unwrap(), ["one", "two", "three", "four", "five"]);
    let inner = outer.get("inner").unwrap().expect("the program put a list there");
    assert_eq!(inner.to_vec().unwrap(), [1, 2, 3]);
    let audit = work.audit().unwrap();
    assert_eq!(
        (audit.accepted, audit.committed, audit.in_flight, audit.waiting),
        (6, 6, 0, 0),
        "{audit:?}"
    );
}

#[test]
fn the_client_is_as_short_as_it_is_said_to_be() {
    let text = std::fs::read_to_string(CLIENT).unwrap();
    assert!(
        text.lines().count() <= 150,
        "tests/python/client.py has {} lines",
        text.lines().count()
    );
    let imports: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("import ") || line.starts_with("from "))
        .collect();
    assert_eq!(
        imports,
        [
            "import itertools",
            "import socket",
            "import struct",
            "from collections import namedtuple"
        ]
    );
}
