//! Seeded bugs, which `tests/canaries` has tests find. An ordinary build has none of them, and nothing of this file but a constant `false`.

/// Whether the seeded bug of this name is at work: in a build with `--cfg canary="name"` it is, and in one with `--cfg canary="any"` if the
/// environment variable `BYPROXY_CANARY` is its name. That build has them all, so that it takes one build to look for each.
#[cfg(not(canary = "any"))]
macro_rules! seeded {
    ($name:literal) => {
        cfg!(canary = $name)
    };
}

/// The same in the build that has them all.
#[cfg(canary = "any")]
macro_rules! seeded {
    ($name:literal) => {
        $crate::seeded::is_chosen($name)
    };
}

/// Whether this process, or the one that started it, was told to have this bug. The environment is read once: seeds stand where calls
/// are counted in nanoseconds, where nothing may be allocated, and where a process is stopped at each instruction.
#[cfg(canary = "any")]
pub(crate) fn is_chosen(name: &str) -> bool {
    use std::sync::LazyLock;

    static CHOSEN: LazyLock<String> = LazyLock::new(|| std::env::var("BYPROXY_CANARY").unwrap_or_default());
    *CHOSEN == name
}
