//! Every method of a proxy and of the manager says what it costs: a call to another process is a thousand times a call to a function.

use std::fmt::Write as _;

use crate::examples::public_items;
use crate::source::rust;

/// How a method says it.
const COSTS: &[&str] = &["ound trip", "Local", "Takes a few milliseconds"];

/// Where nobody is asked: descriptions of a manager, conversions of arguments.
const APART: &[&str] = &[
    "src/manager/builder.rs",
    "src/manager/address.rs",
    "src/proxy/element.rs",
];

#[test]
fn every_method_says_what_it_costs() {
    let (mut wrong, mut found) = (String::new(), 0);
    for source in rust() {
        let noun = source.path.starts_with("src/proxy/") || source.path.starts_with("src/manager/");
        if !noun || APART.contains(&source.path.as_str()) {
            continue;
        }
        for (number, name, above) in public_items(&source) {
            let line = source.text.lines().nth(number - 1).unwrap_or_default();
            let is_method =
                line.starts_with(' ') && line.contains("fn ") && above.iter().any(|line| line.starts_with("///"));
            if !is_method || above.contains(&"#[doc(hidden)]") {
                continue;
            }
            found += 1;
            if !COSTS.iter().any(|words| above.iter().any(|line| line.contains(words))) {
                let _ = writeln!(
                    wrong,
                    "{}:{number}: say what `{name}` costs: round trips, or `Local.`",
                    source.path
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(found > 120, "only {found} methods: the search is broken");
}
