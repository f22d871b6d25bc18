//! A test in a process of its own: for what concerns a whole process, and for what forks.
//!
//! A forked child has only the thread that forked it. This library's own books are anew in it, but what it inherits of a program whose other
//! threads were in the middle of something is nobody's guess; so whoever forks a child that does more than use its parent's objects is alone.

use std::process::{Command, Stdio};

/// Runs a test in a process of its own: its name is the test's path.
pub(crate) fn alone(name: &str, test: impl FnOnce()) {
    if std::env::var("BYPROXY_TEST_ALONE").is_ok_and(|alone| alone == name) {
        return test();
    }
    let output = spawn_alone(name)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{printed}");
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{name} failed on its own"
    );
}

/// This program, about to run one test only.
pub(crate) fn spawn_alone(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("BYPROXY_TEST_ALONE", name);
    command
}
