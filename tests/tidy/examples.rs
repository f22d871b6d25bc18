//! Every public type and function is shown by an example, and every example runs.
//!
//! The lint `unreachable_pub` makes `pub` mean what it says: what is marked so can be reached from outside, so the marks are what is
//! looked at here. Whether an example is right is not asked: they are tests themselves.

use std::fmt::Write as _;

use crate::source::{Source, rust};

/// How a line begins that needs an example above it.
const BEGINNINGS: &[&str] = &[
    "pub fn ",
    "pub const fn ",
    "pub unsafe fn ",
    "pub struct ",
    "pub enum ",
    "pub trait ",
    "pub unsafe trait ",
    "pub type ",
];

/// What needs no example of its own, with the reason.
const EXEMPT: &[(&str, &str)] = &[
    ("Arrival", "only hidden methods name it"),
    ("Encoded", "only hidden methods name it"),
    ("Farewell", "only hidden methods name it"),
    ("Sealed", "its module is private: nobody can use it"),
];

#[test]
fn what_is_public_has_an_example() {
    let (mut wrong, mut found) = (String::new(), Vec::new());
    for source in rust().iter().filter(|source| is_for_users(&source.path)) {
        for (number, name, above) in public_items(source) {
            let exempt = above.contains(&"#[doc(hidden)]") || EXEMPT.iter().any(|&(item, _)| item == name);
            if !exempt && !has_example(&above) {
                let _ = writeln!(wrong, "{}:{number}: show `{name}` by an example", source.path);
            }
            found.push(name.to_owned());
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(
        found.len() > 400,
        "only {} public items: the search is broken",
        found.len()
    );
    for (item, _) in EXEMPT {
        assert!(
            found.iter().any(|name| name == item),
            "take `{item}` out of EXEMPT: it is gone"
        );
    }
}

/// The calls as values have no examples of their own, because the macro that makes them knows no arguments: their type's example has all.
#[test]
fn every_call_as_a_value_is_in_the_example_of_its_type() {
    let mut found = 0;
    for source in rust().iter().filter(|source| source.path.starts_with("src/proxy/")) {
        let Some((_, table)) = source.text.split_once("\ncalls! {\n") else {
            continue;
        };
        let (above, rows) = table.split_once("] {\n").expect("a table of calls has rows");
        let rows = rows.split("\n}").next().unwrap_or_default();
        let names = rows
            .lines()
            .filter_map(|line| line.strip_prefix("        fn ")?.split('(').next());
        for name in names {
            found += 1;
            assert!(
                above.contains(&format!(".{name}(")),
                "{}: show `{name}` in the example above the table of calls",
                source.path
            );
        }
    }
    assert!(found > 40, "only {found} calls as values: the search is broken");
}

#[test]
fn examples_run() {
    let mut wrong = String::new();
    for source in rust() {
        for (number, line) in source.text.lines().enumerate() {
            let fence = line
                .trim_start()
                .trim_start_matches(['/', '!', ' '])
                .strip_prefix("```");
            if fence.is_some_and(|kind| kind.contains("no_run") || kind.contains("ignore")) {
                let _ = writeln!(wrong, "{}:{}: let the example run", source.path, number + 1);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Whether a file is part of what others see of the library. The engine is public for this project's own tests, and hidden.
fn is_for_users(path: &str) -> bool {
    let inside = path.starts_with("src/bin/") || path.starts_with("src/engine");
    path.starts_with("proto/src/") || path.starts_with("src/") && !inside
}

/// The public items of a file: their line, their name, and the lines of documentation and attributes above them.
pub(crate) fn public_items(source: &Source) -> Vec<(usize, &str, Vec<&str>)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut items = Vec::new();
    let mut in_trait = false;
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        in_trait &= *line != "}";
        let method = code.strip_prefix("unsafe ").unwrap_or(code).strip_prefix("fn ");
        let method = method.filter(|_| in_trait || is_row_of_calls(&lines[at..]));
        let marked = || BEGINNINGS.iter().find_map(|beginning| code.strip_prefix(beginning));
        // A name with `$` stands for those that the macro is given where it is used, and their documentation with them.
        if let Some(rest) = method.or_else(marked).filter(|rest| !rest.starts_with('$')) {
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next();
            let above = lines[..at].iter().rev().map(|line| line.trim());
            let above: Vec<&str> = above.take_while(|line| belongs_to_next(line)).collect();
            items.push((at + 1, name.unwrap_or_default(), above.into_iter().rev().collect()));
        }
        in_trait |= line.starts_with("pub ") && line.contains("trait ") && line.ends_with('{');
    }
    items
}

/// Whether a method is a row of the table that `calls!` makes methods from: `fn …(…) -> … = … => …;`.
fn is_row_of_calls(lines: &[&str]) -> bool {
    let end = lines.iter().position(|line| line.contains([';', '{'])).unwrap_or(0);
    lines[..=end].iter().any(|line| line.contains(" => "))
}

/// Whether a line is documentation, or (a part of) an attribute.
fn belongs_to_next(line: &str) -> bool {
    line.starts_with("///") || !(line.is_empty() || line.ends_with([';', '{', '}']))
}

/// Whether one of the code blocks is an example that runs. Each second fence closes a block.
fn has_example(above: &[&str]) -> bool {
    let text = above.iter().filter_map(|line| line.strip_prefix("///"));
    let mut opening = text.map(str::trim).filter(|text| text.starts_with("```")).step_by(2);
    opening.any(|fence| fence == "```" || fence == "```should_panic")
}
