//! What is promised about faults, and the tests that are said to hold it: those tests exist, and the seeded bugs named beside them are
//! listed as turning them red.

use crate::source::{read, rust};

const HEADING: &str = "## What is promised, and which test would fail";

#[test]
fn every_promise_names_a_test_and_canaries_that_are_there() {
    let document = read("src/README.md");
    let section = document
        .split(HEADING)
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next());
    let rows: Vec<Vec<&str>> = section
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| fault"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 30, "only {} promises: the search is broken", rows.len());
    let list = read("tests/canaries/list.txt");
    let sources = rust();
    for row in rows {
        let [fault, test, canaries] = row[..] else {
            panic!("a promise has a fault, a test and canaries: {row:?}")
        };
        let Some((path, name)) = test.trim_matches('`').split_once("::") else {
            panic!("{fault}: name the test as `path::name`, not {test}")
        };
        let source = sources.iter().find(|source| source.path == path);
        assert!(
            source.is_some_and(|source| source.code().contains(&format!("fn {name}("))),
            "{fault}: there is no test {name} in {path}"
        );
        for canary in canaries.split(", ").filter(|canary| *canary != "–") {
            let canary = canary.trim_matches('`');
            assert!(
                list.lines().any(|line| turns_red(line, canary, path, name)),
                "{fault}: tests/canaries/list.txt does not say that {canary} turns {test} red"
            );
        }
    }
}

/// Whether a line of the list says that a canary turns a test red: it names the target, and a part of the test's full name.
fn turns_red(line: &str, canary: &str, path: &str, name: &str) -> bool {
    let mut columns = line.split('|').map(str::trim);
    let (Some(listed), Some(arguments)) = (columns.next(), columns.next()) else {
        return false;
    };
    let arguments = arguments.trim_start_matches("slow:");
    let (target, filter) = arguments.rsplit_once(' ').unwrap_or((arguments, ""));
    let (belongs_to, module) = match path.strip_prefix("tests/").and_then(|path| path.split_once('/')) {
        Some((folder, file)) => (format!("--test {folder}"), file),
        None => ("--lib".to_owned(), path.trim_start_matches("src/")),
    };
    let module = module
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .replace('/', "::");
    listed == canary && target == belongs_to && format!("{module}::{name}").contains(filter)
}
