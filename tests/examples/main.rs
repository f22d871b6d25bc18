//! Every example, run as a reader of the README would run it, and what it prints looked at.

mod booking;
mod others;

#[path = "../support/watchdog.rs"]
mod watchdog;

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs an example that ends well, and returns what it printed. A plain `cargo test` has built it beside this program.
fn run(name: &str, arguments: &[&str]) -> String {
    let program = folder().join(name);
    assert!(
        program.exists(),
        "{} is not there: build it with `cargo build --examples`",
        program.display()
    );
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{name} {arguments:?}: {}\n{out}\n{err}",
        output.status
    );
    out
}

/// What comes of something that goes another way now and then, where a busy machine has processes take turns: of five times, the first that
/// comes out as wanted, or else the last.
fn best_of_five<T>(mut attempt: impl FnMut() -> T, is_wanted: impl Fn(&T) -> bool) -> T {
    let mut outcome = attempt();
    for _ in 0..4 {
        if is_wanted(&outcome) {
            break;
        }
        outcome = attempt();
    }
    outcome
}

/// Where the examples of this build stand.
fn folder() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.ancestors().nth(2).unwrap().join("examples")
}

/// Every example in the folder has a test here and a line in the index: one without is one that nobody looks at.
#[test]
fn every_example_is_run_and_indexed() {
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let index = std::fs::read_to_string(sources.join("README.md")).unwrap();
    let tests = [include_str!("booking.rs"), include_str!("others.rs")].concat();
    let mut examples = 0;
    for entry in std::fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(tests.contains(&format!("run(\"{name}\"")), "{name} has no test");
            assert!(
                index.contains(&format!("[{name}]({name}.rs)")),
                "{name} is not in examples/README.md"
            );
            examples += 1;
        }
    }
    assert!(examples >= 8, "{examples}");
}
