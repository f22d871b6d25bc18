//! The `byproxy` command as people and scripts use it: what it prints, how it ends, what it leaves behind.

byproxy::test_support!();

mod inspect;
mod serve;

#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/served.rs"]
mod served;
#[path = "../support/watchdog.rs"]
mod watchdog;

use std::process::{Command, Stdio};

/// How a run of the command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the command to its end.
fn run(arguments: &[&str]) -> Ended {
    end(served::byproxy().args(arguments))
}

fn end(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The variable that chooses a seeded bug is asked for in the build that holds them all, and in no other.
#[test]
fn an_ordinary_build_can_not_be_asked_for_a_seeded_bug() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_byproxy")).unwrap();
    let name = b"BYPROXY_CANARY";
    let is_there = program.windows(name.len()).any(|bytes| bytes == name);
    assert_eq!(is_there, cfg!(canary = "any"));
}
