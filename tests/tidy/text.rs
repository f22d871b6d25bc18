//! Rules for the text of sources: nothing left for later, nothing printed by the library, no giants.

use crate::source::rust;
use std::fmt::Write as _;

/// The most lines a file may have without a reason below.
const LINES_MAX: usize = 600;

/// Longer files, each with the reason why splitting it would make it worse.
const LONGER: &[(&str, &str)] = &[];

#[test]
fn nothing_is_left_for_later() {
    // Spelled in two parts, so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
    ];
    let mut wrong = String::new();
    for source in rust() {
        for (number, line) in source.text.lines().enumerate() {
            for word in words.iter().filter(|&&word| line.contains(word)) {
                let _ = writeln!(
                    wrong,
                    "{}:{}: `{word}`: do it, or leave it out",
                    source.path,
                    number + 1
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_library_prints_nothing() {
    let mut wrong = String::new();
    for source in rust() {
        let library = (source.path.starts_with("src/") && !source.path.starts_with("src/bin/"))
            || source.path.starts_with("proto/src/");
        for (number, line) in source.code().lines().enumerate().filter(|_| library) {
            if ["println!", "eprintln!", "print!", "eprint!", "dbg!"]
                .iter()
                .any(|word| line.contains(word))
            {
                let _ = writeln!(
                    wrong,
                    "{}:{}: return an error instead, or say it in the command",
                    source.path,
                    number + 1
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn files_are_short_enough_to_be_read() {
    let mut wrong = String::new();
    for source in rust() {
        let lines = source.text.lines().count();
        let listed = LONGER.iter().any(|(path, _)| *path == source.path);
        if lines > LINES_MAX && !listed {
            let _ = writeln!(
                wrong,
                "{} has {lines} lines: split it, or say in LONGER why not",
                source.path
            );
        }
        if lines <= LINES_MAX && listed {
            let _ = writeln!(wrong, "{} has {lines} lines: take it out of LONGER", source.path);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_module_begins_with_its_contract() {
    let mut wrong = String::new();
    for source in rust().iter().filter(|source| !has_contract(&source.text)) {
        let _ = writeln!(wrong, "{}: begin with `//! ` and what the file is for", source.path);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The library's own contract is the README.
fn has_contract(text: &str) -> bool {
    text.starts_with("//! ") || text.starts_with("#![doc = include_str!")
}
