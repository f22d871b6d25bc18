//! Processes started from tests: arguments, endings, families, descriptors.

mod descriptors;
mod ending;
mod family;
mod start;
mod support;

#[path = "../support/watchdog.rs"]
mod watchdog;

// Deep in a module on purpose: children find the entry wherever it stands.
mod somewhere {
    mod else_where {
        byproxy::test_support!();
    }
}
