//! Who may import whom, and where `unsafe` and the outside world may be touched.

use crate::source::{Source, rust};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What every layer may use: the words of errors, the seam, and helpers that know no other layer.
const COMMON: &[&str] = &["error", "Error", "Result"];

/// For each top-level module of `src/`: the modules it may import beside itself and [`COMMON`].
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("error", &["codec", "process"]),
    ("fork", &[]),
    ("sys", &[]),
    ("seeded", &[]),
    ("ram", &[]),
    ("transport", &["sys", "shm"]),
    ("backend", &[]),
    ("handle", &["backend"]),
    ("registry", &["backend", "client", "fork"]),
    ("references", &["backend", "handle", "registry"]),
    ("codec", &["backend", "handle", "references"]),
    ("embedded", &["engine", "backend", "registry"]),
    ("server", &["engine", "transport", "sys", "ram", "process", "shm"]),
    (
        "client",
        &["transport", "backend", "registry", "fork", "sys", "process"],
    ),
    ("proxy", &["backend", "handle", "codec", "references"]),
    (
        "manager",
        &[
            "engine",
            "backend",
            "handle",
            "codec",
            "references",
            "registry",
            "embedded",
            "engine",
            "client",
            "server",
            "proxy",
            "process",
            "shm",
            "descriptors",
            "ram",
        ],
    ),
    (
        "process",
        &[
            "fork",
            "sys",
            "references",
            "descriptors",
            "handle",
            "registry",
            "backend",
        ],
    ),
    ("descriptors", &["references", "handle", "registry"]),
    ("shm", &["fork", "sys", "descriptors", "process"]),
];

/// What a folder's code must not mention, and why.
const NEVER: &[(&str, &[&str], &str)] = &[
    (
        "src/engine/",
        &[
            "std::io",
            "std::net",
            "std::os",
            "std::fs",
            "std::thread",
            "std::process",
            "Instant",
            "SystemTime",
            "rustix",
            "interprocess",
            "proto::frame",
        ],
        "the engine is pure: time is an argument, and what happens is an output",
    ),
    (
        "src/",
        &["SystemTime", "Realtime"],
        "a clock that somebody can set back or forward must not end a wait: time is monotonic",
    ),
    (
        "proto/src/",
        &[
            "std::io",
            "std::net",
            "std::thread",
            "std::process",
            "std::fs",
            "Instant",
            "SystemTime",
            "unsafe",
        ],
        "the protocol does no input or output, reads no clock, starts no thread",
    ),
    (
        "src/transport/",
        &["proto::op", "proto::fault"],
        "a transport moves bytes; calls and faults are not its business",
    ),
    (
        "src/proxy/",
        &["proto::frame", "rustix", "interprocess", "std::os"],
        "a proxy knows the backend, never frames or sockets",
    ),
    (
        "src/bin/",
        &["byproxy_proto", "engine::"],
        "the command uses the public API only",
    ),
];

/// Where `unsafe` may stand; everywhere else it is denied.
const MAY_BE_UNSAFE: &[&str] = &[
    "src/shm/",
    "src/fork.rs",
    "src/process/entry.rs",
    "src/process/fd.rs",
    "src/sys.rs",
    "tests/versus/limits/ring.rs",
    // Its tests stop, step and kill processes, and scribble over their memory.
    "tests/shm/",
    "tests/allocations/",
];

#[test]
fn modules_import_only_what_their_layer_may() {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = String::new();
    for source in rust().iter().filter(|source| is_library(&source.path)) {
        let module = top_module(&source.path);
        let Some(imports) = allowed.get(module) else {
            let _ = writeln!(
                wrong,
                "{}: `{module}` is not in the table of layers: say there what it may import",
                source.path
            );
            continue;
        };
        for (line, name) in crate_paths(source) {
            if name != module && !COMMON.contains(&name.as_str()) && !imports.contains(&name.as_str()) {
                let _ = writeln!(wrong, "{}:{line}: `{module}` may not import `{name}`", source.path);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn layers_do_not_touch_what_is_not_theirs() {
    let mut wrong = String::new();
    for source in rust() {
        let rules: Vec<_> = NEVER
            .iter()
            .filter(|(folder, ..)| source.path.starts_with(folder))
            .collect();
        let code = if rules.is_empty() { continue } else { source.code() };
        for (number, line) in without_tests(&code).lines().enumerate() {
            for (_, words, why) in &rules {
                for word in words.iter().filter(|word| mentions(line, word)) {
                    let _ = writeln!(wrong, "{}:{}: `{word}`: {why}", source.path, number + 1);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let mut wrong = String::new();
    for source in rust() {
        if MAY_BE_UNSAFE.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for (number, line) in source.code().lines().enumerate() {
            if mentions(line, "unsafe") && !line.contains("unsafe_code") {
                let _ = writeln!(
                    wrong,
                    "{}:{}: `unsafe` belongs into {MAY_BE_UNSAFE:?}",
                    source.path,
                    number + 1
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Whether the file is the library's own code. Its tests may use what they like.
fn is_library(path: &str) -> bool {
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    path.strip_prefix("src/")
        .is_some_and(|rest| rest != "lib.rs" && !rest.starts_with("bin/") && !is_test)
}

/// `src/engine/object/list.rs` belongs to `engine`, `src/error.rs` to `error`.
fn top_module(path: &str) -> &str {
    let rest = path.strip_prefix("src/").unwrap_or(path);
    rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs")
}

/// The names that follow `crate::` (each one of a group in braces), with their lines.
fn crate_paths(source: &Source) -> Vec<(usize, String)> {
    let code = source.code();
    let code = without_tests(&code);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        // `$crate::` in a macro names the crate of whoever defined it: the same tree.
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let names = rest
            .strip_prefix('{')
            .map_or_else(|| vec![first_word(rest)], group_heads);
        found.extend(
            names
                .into_iter()
                .filter(|name| !name.is_empty())
                .map(|name| (line, name)),
        );
    }
    found
}

fn first_word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first word of every item of a `{…}` group, whose opening brace has been read.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(first_word(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

/// A module's tests may use what they like.
fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]\nmod tests {")
        .map_or(code, |start| &code[..start])
}

/// Whether the line has this path or word, not as a part of a longer one.
fn mentions(line: &str, word: &str) -> bool {
    let whole = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        (word.contains("::") || whole(line[..at].chars().next_back())) && whole(line[at + word.len()..].chars().next())
    })
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::{engine::{A, B}, proxy};\nfn f() { crate::sys::g(); mycrate::x(); }\n// crate::server";
    let source = Source {
        path: "src/x.rs".into(),
        text: text.into(),
    };
    let found: Vec<_> = crate_paths(&source)
        .into_iter()
        .map(|(line, name)| format!("{line} {name}"))
        .collect();
    assert_eq!(found, ["1 engine", "1 proxy", "2 sys"]);
    assert!(mentions("use std::io::Read;", "std::io") && !mentions("use std::iox;", "std::io"));
    assert!(!mentions("let unsafer = 1;", "unsafe"));
}
