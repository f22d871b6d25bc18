//! The project's files, and Rust source with everything blanked that is not code.

use std::path::{Path, PathBuf};

/// One file of the project.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the project's root, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// The text with comments, strings and characters replaced by blanks; lines stay where they were.
    pub(crate) fn code(&self) -> String {
        blank_out(&self.text)
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the project.
///
/// # Panics
/// If it is not there: every file asked for by name is one the project has promised.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// Every file with this extension under the folders the project's sources live in, sorted.
pub(crate) fn all(extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["src", "proto", "tests", "examples"] {
        walk(&root().join(folder), extension, &mut found);
    }
    found.sort();
    let source = |path: PathBuf| Source {
        text: std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        path: path
            .strip_prefix(root())
            .expect("found under the root")
            .to_string_lossy()
            .into_owned(),
    };
    let sources: Vec<_> = found.into_iter().map(source).collect();
    assert!(!sources.is_empty(), "no .{extension} files found: the walk is broken");
    sources
}

pub(crate) fn rust() -> Vec<Source> {
    all("rs")
}

fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(&path, extension, found);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// A small lexer: it knows comments (nested), strings (raw, byte, escaped) and tells characters from lifetimes.
fn blank_out(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let end = token_end(&chars, at);
        if end == at {
            out.push(c);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment, string or character that starts here ends; here, if none starts.
fn token_end(chars: &[char], at: usize) -> usize {
    let from = |offset: usize| chars.get(at + offset).copied();
    let previous = at.checked_sub(1).and_then(|before| chars.get(before)).copied();
    let inside_word = previous.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match (from(0), from(1)) {
        (Some('/'), Some('/')) => chars[at..]
            .iter()
            .position(|&c| c == '\n')
            .map_or(chars.len(), |length| at + length),
        (Some('/'), Some('*')) => comment_end(chars, at),
        (Some('"'), _) => string_end(chars, at + 1),
        (Some('r'), Some('"' | '#')) if !inside_word || previous == Some('b') => {
            raw_string_end(chars, at + 1).unwrap_or(at)
        }
        (Some('\''), Some('\\')) => chars[at + 3..]
            .iter()
            .position(|&c| c == '\'')
            .map_or(chars.len(), |length| at + 3 + length + 1),
        (Some('\''), Some(_)) if from(2) == Some('\'') => at + 3,
        _ => at,
    }
}

fn comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start..].iter().take_while(|&&c| c == '#').count();
    if chars.get(start + hashes) != Some(&'"') {
        return None;
    }
    let body = start + hashes + 1;
    let closes =
        |at: &usize| chars[*at] == '"' && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
    Some(
        (body..chars.len())
            .find(closes)
            .map_or(chars.len(), |quote| quote + hashes + 1),
    )
}

#[test]
fn what_is_not_code_is_blanked() {
    let text = r##"let a = "unsafe \" x"; // unsafe
/* unsafe /* nested */ unsafe */ let b: &'static str = r#"unsafe " "#; let c = ('"', '\'', b"unsafe"); unsafe_name"##;
    let code = blank_out(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(code.matches("unsafe").count(), 1, "{code}");
    assert!(code.contains("&'static str") && code.contains("unsafe_name"), "{code}");
}
