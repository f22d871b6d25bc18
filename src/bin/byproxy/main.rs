//! The `byproxy` command.
fn main() {}
